//! The loop: commands when they come, a tick when it is due.

use super::clock::Clock;
use super::core::Core;
use super::core::Packed;
use super::followers::Followers;
use super::handle::{COMMANDS_WAITING_MAX, Command, Ending, Handle};
use super::recorder::{Recorder, Trouble};
use super::traced::{Made, Traced};
use super::travel::{Departure, Outcome};
use super::vitals::Ticked;
use super::{Error, Permit, RoomInfo, Settings};
use crate::replication::TickFrame;
use crate::store::{EndReason, Header};
use crate::telemetry::traces::moves::MOVE_SPANS;
use crate::telemetry::{Metrics, Traces, panic_message};
use fray_proto::trace::TraceContext;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What players are told of a room that ends with its server, and has no end in its log.
const NOT_IN_TIME: &str =
    "the room could not be given away in time: another server goes on from its log";

/// All that a room's task owns.
pub(super) struct Parts {
    pub(super) core: Core,
    pub(super) clock: Clock,
    pub(super) recorder: Recorder,
    pub(super) metrics: Arc<Metrics>,
    pub(super) traces: Arc<Traces>,
    pub(super) settings: Settings,
    pub(super) permit: Arc<Permit>,
    /// What its recording begins with.
    pub(super) header: Header,
    /// A room with players has no end when the server ends.
    pub(super) goes_on: CancellationToken,
}

/// Where a room begins.
#[derive(Clone, Copy)]
pub(super) enum Beginning {
    /// With its first tick.
    First,
    /// After the tick that its last owner made last.
    Arrived,
}

/// Makes a room's first tick, or shows what came, and returns its handle with the task that makes all others. The task ends when the room has
/// been empty for long enough, or `stop` is cancelled; dropping it ends the room, too. `None`: the rules panic at once.
pub(super) fn room(
    info: RoomInfo,
    parts: Parts,
    beginning: Beginning,
    stop: CancellationToken,
) -> Option<(Handle, impl Future<Output = ()> + Send + 'static)> {
    let traced = Traced::new(info.id.as_str(), &parts.settings);
    let mut room =
        Room { parts, traced, is_broken: false, is_frozen: false, end: None, departs: None };
    let first = match beginning {
        Beginning::First => {
            let (first, report) = room.guarded(1, |core| core.tick(Instant::now()))?;
            info.vitals.ticked(&Ticked {
                tick: 1,
                took: Duration::ZERO,
                late: Duration::ZERO,
                skipped: 0,
                moves: report.moves_applied,
                entities: report.entities,
            });
            room.guarded(1, Core::note)?;
            room.hand_over(false);
            first
        }
        Beginning::Arrived => {
            let tick = room.parts.core.tick_count();
            room.guarded(tick + 1, Core::show)?
        }
    };
    info.players.store(room.parts.core.players(), Ordering::Relaxed);
    let info = Arc::new(info);
    let (commands_in, mut commands) = mpsc::channel(COMMANDS_WAITING_MAX);
    let (frames, frames_out) = watch::channel(first);
    let followers = Arc::<Followers>::default();
    let handle = Handle::new(Arc::clone(&info), commands_in, frames_out, Arc::clone(&followers));
    let frames = Frames { newest: Some(frames), followers };
    let task = async move {
        let mut reason = EndReason::ShutDown;
        let mut ending = Ending::Over;
        let mut has_end = true;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let goes_on = room.parts.goes_on.is_cancelled();
                    if goes_on && !room.is_broken && room.parts.core.players() > 0 {
                        (has_end, ending) = (false, Ending::Parked(NOT_IN_TIME));
                    }
                    break;
                }
                () = tokio::time::sleep_until(room.parts.clock.due()), if !room.is_frozen => {
                    if !room.parts.permit.allows(Instant::now()) {
                        // Whoever holds the lease thaws it, or ends it.
                        room.stand_still(true, &info, &frames);
                        continue;
                    }
                    room.tick(&frames, &info).await;
                    if room.parts.core.is_over() {
                        reason = EndReason::RoomOver;
                        break;
                    }
                }
                command = commands.recv() => {
                    let Some(command) = command else { break };
                    room.handle_commands(command, &mut commands);
                    room.stand_still(room.is_frozen, &info, &frames);
                    if let Some(why) = room.end {
                        (reason, ending) = (EndReason::RoomOver, why);
                        // It may go on from its log, with another owner.
                        has_end = !matches!(why, Ending::Disowned | Ending::Parked(_));
                        break;
                    }
                    if let Some(reply) = room.departs.take() {
                        match room.depart(reply, &info, &stop).await {
                            Outcome::Stays if room.end.is_some() => {
                                (has_end, ending) = (false, Ending::Disowned);
                                break;
                            }
                            Outcome::Stays => {
                                info.moving.send_replace(false);
                                frames.followers.wake();
                            }
                            Outcome::Moved(moved) => {
                                has_end = !moved.shares_log;
                                (reason, ending) = (EndReason::Moved, Ending::Moved);
                                // Nobody else sets it.
                                let _ = info.moved.set(moved);
                                break;
                            }
                            Outcome::Parked(why) => {
                                (has_end, ending) = (false, Ending::Parked(why));
                                break;
                            }
                        }
                    }
                }
            }
            if room.is_broken {
                room.traced.flush(&room.parts.traces);
                // Its streams are told that it failed; nobody else notices.
                return;
            }
            info.players.store(room.parts.core.players(), Ordering::Relaxed);
        }
        room.traced.flush(&room.parts.traces);
        if has_end {
            room.parts.core.log().end(reason);
        }
        room.hand_over(true);
        // Nobody else sets it.
        let _ = info.ended.set(ending);
        tracing::info!(room = %info.id, ?ending, ticks = room.parts.core.tick_count(), "room ended");
    };
    Some((handle, task))
}

/// Where frames are shown. Once this is gone there are no more, and whoever follows is told that, too.
struct Frames {
    /// `None`: on the way out.
    newest: Option<watch::Sender<Arc<TickFrame>>>,
    followers: Arc<Followers>,
}

impl Frames {
    fn show(&self, frame: Arc<TickFrame>) {
        if let Some(newest) = &self.newest {
            newest.send_replace(frame);
        }
        self.followers.wake();
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.newest = None;
        self.followers.wake();
    }
}

struct Room {
    parts: Parts,
    traced: Traced,
    /// The game's rules panicked: nothing may look at the game any more.
    is_broken: bool,
    /// No ticks are made.
    is_frozen: bool,
    /// The room is to end, and why.
    end: Option<Ending>,
    /// Somebody wants to give it to another server.
    departs: Option<oneshot::Sender<Result<Departure, Error>>>,
}

impl Room {
    async fn tick(&mut self, frames: &Frames, info: &RoomInfo) {
        let started = Instant::now();
        let due = self.parts.clock.take(started);
        let next = self.parts.core.tick_count() + 1;
        let Some((frame, mut report)) = self.guarded(next, |core| core.tick(started)) else {
            return;
        };
        info.players.store(self.parts.core.players(), Ordering::Relaxed);
        frames.show(Arc::clone(&frame));
        let published = Instant::now();
        // The frame is out: the streams that it woke go first, and do not wait for what the log needs.
        tokio::task::yield_now().await;
        if self.guarded(next, Core::note).is_none() {
            return;
        }
        self.hand_over(false);
        let parts = &mut self.parts;
        let metrics = &parts.metrics;
        let moves = parts.core.take_traced();
        let players = parts.core.players();
        metrics.moves_drained(&report.waits, report.queue_depth_max);
        parts.core.reuse(std::mem::take(&mut report.waits));
        metrics.cells_spliced(report.encoded_bytes, 0);
        metrics.spans_dropped.inc_by(report.traces_cut * MOVE_SPANS);
        info.vitals.ticked(&Ticked {
            tick: next,
            took: published - started,
            late: due.late,
            skipped: due.skipped,
            moves: report.moves_applied,
            entities: report.entities,
        });
        metrics.moves_applied.inc_by(report.moves_applied);
        metrics.moves_refused.inc_by(report.moves_refused);
        let is_recorded = parts.recorder.is_writing();
        let made = Made { started, due, report, published, players, is_recorded };
        let trace = self.traced.tick(&parts.traces, &frame, made, moves);
        metrics.tick_made(published - started, due.late, due.skipped, trace);
        if due.late > self.parts.settings.incident_lateness {
            let late_ms = u64::try_from(due.late.as_millis()).unwrap_or(u64::MAX);
            self.keep(&Trouble::Late(late_ms), trace);
        }
    }

    fn stand_still(&mut self, is_frozen: bool, info: &RoomInfo, frames: &Frames) {
        self.is_frozen = is_frozen;
        let was = |frozen: &mut bool| std::mem::replace(frozen, is_frozen) != is_frozen;
        if info.frozen.send_if_modified(was) {
            frames.followers.wake();
            tracing::warn!(room = %info.id, frozen = is_frozen, "a room stands still, or goes on");
        }
    }

    /// This command and those that wait with it, so that a rush of joins does not cost a wake-up each.
    fn handle_commands(&mut self, first: Command, more: &mut mpsc::Receiver<Command>) {
        const AT_ONCE_MAX: usize = 64;
        let mut next = Some(first);
        for handled in 1..=AT_ONCE_MAX {
            match next.take() {
                None => return,
                Some(Command::Report(trouble)) => self.keep(&trouble, None),
                Some(Command::Freeze(frozen)) => self.is_frozen = frozen,
                Some(Command::End(why)) => self.end = Some(why),
                Some(Command::Depart(reply)) => {
                    // What comes after it waits until it is known whether the room stays.
                    self.departs = Some(reply);
                    return;
                }
                Some(command) => {
                    // Between two ticks, what is fed is an input of the next one.
                    let next = self.parts.core.tick_count() + 1;
                    if self.guarded(next, |core| core.handle(command)).is_none() {
                        return;
                    }
                }
            }
            if handled < AT_ONCE_MAX {
                next = more.try_recv().ok();
            }
        }
    }

    /// Gives everything away, and stands still until it is known what came of that. Requests wait meanwhile; what streams bring
    /// waits with them. If nobody says what came of it, the room ends: it may have another owner.
    async fn depart(
        &mut self,
        reply: oneshot::Sender<Result<Departure, Error>>,
        info: &RoomInfo,
        stop: &CancellationToken,
    ) -> Outcome {
        if self.is_frozen {
            // Whether the room is this server's at all is not known just now.
            let _ = reply.send(Err(Error::Overloaded));
            return Outcome::Stays;
        }
        let next = self.parts.core.tick_count() + 1;
        let header = self.parts.header.clone();
        let Some(packed) = self.guarded(next, |core| core.pack(&header)) else {
            return Outcome::Stays;
        };
        let Packed { tick, bytes, moves, barred } = match packed {
            Ok(packed) => packed,
            Err(error) => {
                let _ = reply.send(Err(error));
                return Outcome::Stays;
            }
        };
        self.hand_over(true);
        let (outcome, answer) = oneshot::channel();
        let (room, epoch) = (info.id.clone(), info.epoch);
        let restorations = info.restorations.clone();
        let departure =
            Departure { room, epoch, tick, bytes, moves, barred, restorations, outcome };
        info.departing.store(true, Ordering::Release);
        if reply.send(Ok(departure)).is_err() {
            info.departing.store(false, Ordering::Release);
            return Outcome::Stays;
        }
        let outcome = tokio::select! {
            biased;
            outcome = answer => outcome.ok(),
            () = stop.cancelled() => None,
        };
        if outcome == Some(Outcome::Stays) {
            info.departing.store(false, Ordering::Release);
        }
        outcome.unwrap_or_else(|| {
            // Another server may have it.
            let _ = info.has_unknown_owner.set(());
            self.end = Some(Ending::Disowned);
            Outcome::Stays
        })
    }

    /// Keeps the last seconds, up to the tick that was made last.
    fn keep(&mut self, trouble: &Trouble, trace: Option<TraceContext>) {
        self.hand_over(true);
        let tick = self.parts.core.tick_count();
        self.parts.recorder.keep(tick, trouble, Instant::now(), trace);
    }

    fn hand_over(&mut self, all: bool) {
        while let Some(chunk) = self.parts.core.log().take(all) {
            self.parts.recorder.append(chunk);
        }
    }

    /// Lets the game's rules run. The room's border: a panic in them ends this room alone, and its last seconds are kept.
    /// `tick` is the one that its log should say of it.
    fn guarded<T>(&mut self, tick: u32, run: impl FnOnce(&mut Core) -> T) -> Option<T> {
        if self.is_broken {
            return None;
        }
        match catch_unwind(AssertUnwindSafe(|| run(&mut self.parts.core))) {
            Ok(done) => Some(done),
            Err(panic) => {
                self.break_down(tick, panic.as_ref());
                None
            }
        }
    }

    fn break_down(&mut self, tick: u32, panic: &(dyn Any + Send)) {
        self.is_broken = true;
        self.parts.core.note_panic(tick);
        self.hand_over(true);
        let trouble = Trouble::Panic(panic_message(panic));
        self.parts.recorder.keep(tick, &trouble, Instant::now(), None);
    }
}
