//! How a run goes just now.

use super::plan::Plan;
use super::stats::Stats;
use std::fmt;
use std::time::Duration;

/// How a run goes just now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// How long it is to take; `None`: until told.
    pub total: Option<Duration>,
    /// Players that play.
    pub playing: u64,
    /// Players that are to play.
    pub players_wanted: u64,
    /// Updates received in the last second.
    pub updates_per_s: f64,
    /// Bytes of updates received in the last second.
    pub bytes_per_s: f64,
    /// Moves made in the last second.
    pub moves_per_s: f64,
    /// 99th percentile of the gaps since the last time.
    pub p99_gap_ms: f64,
    /// 99th percentile of how late ticks came since the last time, as far as is known by now.
    pub p99_tick_to_receive_ms: f64,
    /// Checksums that differed, so far.
    pub desyncs: u64,
    /// Moves lost, doubled or altered, so far.
    pub move_faults: u64,
    /// Streams that ended unasked, so far.
    pub disconnects: u64,
    /// Streams dropped on purpose, so far.
    pub drops: u64,
    /// Streams that went on with a session, so far.
    pub resumes: u64,
    /// Streams that were followed to another server, so far.
    pub redirects: u64,
    /// Ends and refusals, so far.
    pub errors: u64,
    pub(super) updates: u64,
    pub(super) bytes: u64,
    pub(super) moves: u64,
}

impl Progress {
    pub(super) fn of(stats: &Stats, plan: &Plan, elapsed: Duration, before: &Self) -> Self {
        let seconds = elapsed.saturating_sub(before.elapsed).as_secs_f64().max(0.001);
        let counters = &stats.counters;
        let (updates, bytes) = (counters.updates, counters.update_bytes);
        Self {
            elapsed,
            total: plan.duration.map(|duration| plan.ramp + duration),
            playing: stats.playing,
            players_wanted: plan.players as u64,
            updates_per_s: (updates - before.updates) as f64 / seconds,
            bytes_per_s: (bytes - before.bytes) as f64 / seconds,
            moves_per_s: (counters.moves - before.moves) as f64 / seconds,
            p99_gap_ms: stats.fresh.update_gap().quantile_ms(0.99),
            p99_tick_to_receive_ms: stats.fresh.lateness_so_far.quantile_ms(0.99),
            desyncs: counters.desyncs + counters.broken_updates,
            move_faults: counters.lost_moves + counters.duplicate_moves + counters.altered_moves,
            disconnects: stats.disconnects,
            drops: stats.drops,
            resumes: stats.resumes,
            redirects: stats.redirects,
            errors: stats.errors.values().map(|(count, _)| count).sum(),
            updates,
            bytes,
            moves: counters.moves,
        }
    }
}

impl Progress {
    /// What never may happen, so far: number and name.
    pub fn faults(&self) -> [(u64, &'static str); 4] {
        [
            (self.desyncs, "desyncs"),
            (self.move_faults, "move faults"),
            (self.disconnects, "disconnects"),
            (self.errors, "errors"),
        ]
    }
}

/// One line, for a log.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5}", self.elapsed.as_secs())?;
        if let Some(total) = self.total {
            write!(f, "/{}", total.as_secs())?;
        }
        write!(
            f,
            " s  {}/{} players  {:.0} updates/s  {:.2} MB/s  {:.0} moves/s  gap p99 {:.1} ms  \
             tick-to-receipt p99 {:.1} ms",
            self.playing,
            self.players_wanted,
            self.updates_per_s,
            self.bytes_per_s / 1e6,
            self.moves_per_s,
            self.p99_gap_ms,
            self.p99_tick_to_receive_ms,
        )?;
        self.faults().iter().try_for_each(|(count, name)| write!(f, "  {count} {name}"))
    }
}
