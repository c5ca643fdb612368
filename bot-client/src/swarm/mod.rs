//! A swarm of bots: load, and at the same time the strictest critic of a server.
//!
//! Every player keeps a replica, compares every checksum, recomputes the hash over its applied moves, and checks that a
//! resumed session is the one that it lost.
//!
//! # How times are measured
//!
//! Coordinated omission is the mistake of measuring only when the server lets you: while it pauses nothing is sent, so
//! nothing is late, and one long pause counts as one sample. Here every tick and every move counts from when it was due:
//!
//! - `tick_to_receive_ms`: tick n is due at `t0 + n * period`, where `t0` belongs to the least delayed tick of the stream.
//!   Every tick is charged from then to its arrival, also those that come late together in one update. It is the delay on
//!   top of the shortest one seen, not the length of the way: the two clocks need not agree.
//! - `update_gap_ms`: the time between two updates. A gap of several periods also stands for the waits of the updates that
//!   should have come in between (a gap of 200 ms at 50 ms per tick is recorded as 200, 150, 100 and 50), and the gap that
//!   is open when the player leaves is recorded, too.
//! - `move_to_ack_ms`: from when the pilot wanted the move, not from when it could be written, to the arrival of the
//!   update that contains it.
//! - `staleness_ms`: how far the world that a player held was behind its schedule right before the next update: the time
//!   since the update before, plus how late that one's tick was. It stands for missing updates as gaps do. A room that
//!   pauses and does not make up for it is behind from then on.
//!
//! Players whose stream is dropped on purpose have no gap for the pause, and `resume_ms` is the time from when they want to
//! be back to their first update; moves that were cut off with the stream do take longer. Who follows a room to another server
//! has a gap like any other, and it is in `redirect_gap_ms` once, without the waits that it stands for. Players that do not read are left
//! out of all times.

mod bot;
pub mod columns;
pub mod comparison;
pub mod conditions;
pub mod histogram;
mod lateness;
pub mod limits;
pub mod live;
pub mod output;
pub mod page;
pub mod plan;
pub mod progress;
pub mod report;
mod rooms;
pub mod run_file;
pub mod series;
mod sketch;
pub mod stats;

pub use comparison::Comparison;
pub use limits::Limits;
pub use output::{Outputs, Watching};
pub use plan::{Plan, Role};
pub use progress::Progress;
pub use report::Report;
pub use run_file::RunFile;
pub use sketch::Sketch;

use crate::client::transport::Server;
use bot::Shared;
use columns::Columns;
use conditions::Conditions;
use rooms::Rooms;
use series::Series;
use stats::{Board, Stats};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Runs a swarm until its time is up or `stop` is cancelled. Then all players leave, and the report is complete.
///
/// `server` gives each player its way to the server; `progress` hears once a second how it goes.
pub async fn run(
    plan: Plan,
    stop: CancellationToken,
    mut server: impl FnMut(usize, Role) -> Arc<dyn Server>,
    mut progress: impl FnMut(&Progress),
) -> Report {
    let (started, started_at) = (Instant::now(), SystemTime::now());
    let deadline = plan.duration.map(|duration| started + plan.ramp + duration);
    let name = format!("swarm {:04x}", rand::random::<u16>());
    let rooms = Rooms::new(name, plan.rooms.unwrap_or(0));
    let leave = CancellationToken::new();
    let board = Board::default();
    let shared = Arc::new(Shared { board, rooms, leave: leave.clone(), started, plan });
    let plan = &shared.plan;

    let mut bots = JoinSet::new();
    let mut panics = 0;
    let mut next = 0;
    let mut ticker = interval(PROGRESS_EVERY);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = Progress::default();
    let mut series = Series::default();
    let mut take_in = |stats: &Stats| {
        series.add(&stats.fresh);
        let bucket = series.at(started.elapsed().as_secs() as u32);
        bucket.playing_sum += stats.playing;
        bucket.looks += 1;
    };
    let mut is_leaving = false;
    loop {
        let starts = next < plan.players && !is_leaving;
        let start_at = started + plan.start_of(next);
        if !starts && bots.is_empty() {
            // Also before the time: when everybody is gone there is nothing to wait for.
            break;
        }
        tokio::select! {
            () = sleep_until(start_at), if starts => {
                let server = server(next, plan.role_of(next));
                bots.spawn(bot::run(Arc::clone(&shared), next, server));
                next += 1;
            }
            Some(ended) = bots.join_next(), if !bots.is_empty() => {
                panics += u64::from(ended.is_err());
            }
            _ = ticker.tick() => {
                let stats = shared.board.collect();
                take_in(&stats);
                let now = Progress::of(&stats, plan, started.elapsed(), &before);
                progress(&now);
                before = now;
            }
            () = stop.cancelled(), if !is_leaving => {
                is_leaving = true;
                leave.cancel();
            }
            () = sleep_until(deadline.unwrap_or(started)), if deadline.is_some() && !is_leaving => {
                is_leaving = true;
                leave.cancel();
            }
        }
    }
    let mut stats = shared.board.collect();
    series.add(&stats.fresh);
    if panics > 0 {
        stats.note_errors("CLIENT_PANIC".to_owned(), panics, "see standard error");
    }
    let conditions = Conditions::of(plan, stats.server.take(), started_at);
    Report::of(&stats, conditions, Columns::of(&series), started.elapsed())
}
