//! The loop: commands when they come, a tick when it is due.

use super::clock::Clock;
use super::core::Core;
use super::handle::{COMMANDS_WAITING_MAX, Command, Handle, RoomInfo};
use crate::replication::TickFrame;
use crate::telemetry::Metrics;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Makes a room's first tick, and returns its handle with the task that makes all others. The task ends when the room has
/// been empty for long enough, or `stop` is cancelled; dropping it ends the room, too.
pub(super) fn room(
    info: RoomInfo,
    mut core: Core,
    mut clock: Clock,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> (Handle, impl Future<Output = ()> + Send + 'static) {
    let (first, _) = core.tick(Instant::now());
    let info = Arc::new(info);
    let (commands_in, mut commands) = mpsc::channel(COMMANDS_WAITING_MAX);
    let (frames, frames_out) = watch::channel(first);
    let handle = Handle::new(Arc::clone(&info), commands_in, frames_out);
    let task = async move {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(clock.due()) => {
                    tick(&mut core, &mut clock, &frames, &metrics);
                    info.players.store(core.players(), Ordering::Relaxed);
                    if core.is_over() {
                        break;
                    }
                }
                command = commands.recv() => {
                    let Some(command) = command else { break };
                    handle_commands(&mut core, command, &mut commands);
                    info.players.store(core.players(), Ordering::Relaxed);
                }
            }
        }
        info.ended.store(true, Ordering::Release);
        tracing::info!(room = %info.id, ticks = core.tick_count(), "room ended");
    };
    (handle, task)
}

fn tick(
    core: &mut Core,
    clock: &mut Clock,
    frames: &watch::Sender<Arc<TickFrame>>,
    metrics: &Metrics,
) {
    let started = Instant::now();
    let due = clock.take(started);
    let (frame, report) = core.tick(started);
    frames.send_replace(frame);
    metrics.tick_made(started.elapsed(), due.late, due.skipped);
    metrics.moves_applied.inc_by(report.moves_applied);
    metrics.moves_refused.inc_by(report.moves_refused);
}

/// This command and those that wait with it, so that a rush of joins does not cost a wake-up each.
fn handle_commands(core: &mut Core, first: Command, more: &mut mpsc::Receiver<Command>) {
    const AT_ONCE_MAX: usize = 64;
    core.handle(first);
    for _ in 1..AT_ONCE_MAX {
        match more.try_recv() {
            Ok(command) => core.handle(command),
            Err(_) => break,
        }
    }
}
