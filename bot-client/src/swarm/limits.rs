//! What a run must not exceed.

use super::report::Report;

/// Thresholds; a run that misses one has failed. `None` sets no limit.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits (exit code 1 when one is missed)")]
pub struct Limits {
    /// Highest 99th percentile of the gap between updates, in ms
    #[arg(long, value_name = "MS")]
    pub max_p99_gap_ms: Option<f64>,
    /// Longest gap between updates, in ms
    #[arg(long, value_name = "MS")]
    pub max_gap_ms: Option<f64>,
    /// Highest 99th percentile of the time from a tick's due time to its arrival, in ms
    #[arg(long, value_name = "MS")]
    pub max_p99_tick_to_receive_ms: Option<f64>,
    /// Highest 99th percentile of the time from a move to the update that contains it, in ms
    #[arg(long, value_name = "MS")]
    pub max_p99_move_to_ack_ms: Option<f64>,
    /// Highest 99th percentile of the time to come back after a lost stream, in ms
    #[arg(long, value_name = "MS")]
    pub max_p99_resume_ms: Option<f64>,
    /// Most bytes per update
    #[arg(long, value_name = "BYTES")]
    pub max_bytes_per_update: Option<f64>,
    /// Most bytes per entity that moved and tick, rocks included
    #[arg(long, value_name = "BYTES")]
    pub max_bytes_per_entity_tick: Option<f64>,
    /// Most streams that ended unasked
    #[arg(long, value_name = "N")]
    pub max_disconnects: Option<u64>,
    /// Most sessions that ended though nobody left; without it none
    #[arg(long, value_name = "N")]
    pub max_sessions_lost: Option<u64>,
    /// Most refusals and ends with an error, of all statuses together
    #[arg(long, value_name = "N")]
    pub max_errors: Option<u64>,
    /// Least players that got in; without it all
    #[arg(long, value_name = "N")]
    pub min_players: Option<u64>,
}

impl Limits {
    /// Everything that makes a run a failure: faults, which are never allowed, and missed limits. Empty: it passed.
    pub fn failures(&self, report: &Report) -> Vec<String> {
        let mut failures = Vec::new();
        for (count, what) in [
            (report.desyncs, "desyncs"),
            (report.broken_updates, "updates that could not be applied"),
            (report.lost_moves, "lost moves"),
            (report.duplicate_moves, "moves applied twice"),
            (report.altered_moves, "moves applied that were not sent"),
            (report.violations, "streams on which the server broke their rules"),
            (report.identity_changes, "sessions that came back as somebody else"),
        ] {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        }
        let mut at_most = |value: Option<f64>, limit: Option<f64>, what: &str| {
            if let Some(limit) = limit {
                match value {
                    Some(value) if value <= limit => {}
                    Some(value) => failures.push(format!("{what} is {value:.2}, limit {limit}")),
                    None => failures.push(format!("{what} was not measured, limit {limit}")),
                }
            }
        };
        let count = |count: u64| Some(count as f64);
        let (gap, tick, ack) =
            (&report.update_gap_ms, &report.tick_to_receive_ms, &report.move_to_ack_ms);
        at_most(gap.measured_p99(), self.max_p99_gap_ms, "p99 of update_gap_ms");
        at_most(gap.measured_max(), self.max_gap_ms, "update_gap_ms");
        at_most(tick.measured_p99(), self.max_p99_tick_to_receive_ms, "p99 of tick_to_receive_ms");
        at_most(ack.measured_p99(), self.max_p99_move_to_ack_ms, "p99 of move_to_ack_ms");
        let resume = report.resume_ms.measured_p99();
        // Nobody had to come back: nobody took too long.
        at_most(resume.or(Some(0.0)), self.max_p99_resume_ms, "p99 of resume_ms");
        at_most(report.bytes_per_update, self.max_bytes_per_update, "bytes_per_update");
        let per_entity_tick = report.bytes_per_entity_tick;
        at_most(per_entity_tick, self.max_bytes_per_entity_tick, "bytes_per_entity_tick");
        let disconnects = self.max_disconnects.map(|limit| limit as f64);
        at_most(count(report.disconnects), disconnects, "disconnects");
        let sessions_lost = Some(self.max_sessions_lost.unwrap_or(0) as f64);
        at_most(count(report.sessions_lost), sessions_lost, "sessions lost");
        let errors = report.errors.values().sum();
        at_most(count(errors), self.max_errors.map(|limit| limit as f64), "errors");
        if report.players > 0 && report.updates == 0 {
            failures.push("nobody got an update".to_owned());
        }
        let least = self.min_players.unwrap_or(report.players_wanted);
        if report.players < least {
            failures.push(format!("only {} of at least {least} players got in", report.players));
        }
        failures
    }
}
