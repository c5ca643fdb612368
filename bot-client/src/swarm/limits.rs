//! What a run must not exceed.

use super::report::Report;
use serde::Serialize;
use std::fmt;

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

/// Something that a run must keep to, and whether it did. The names of the fields are those of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What is limited.
    pub what: String,
    /// What was found; `None`: it was not measured, which is a failure.
    pub value: Option<f64>,
    /// The limit.
    pub limit: f64,
    /// Whether the limit is the least, and not the most.
    pub is_least: bool,
    /// Whether it was kept.
    pub passed: bool,
}

impl Check {
    fn at_most(what: &str, value: Option<f64>, limit: f64) -> Self {
        let passed = value.is_some_and(|value| value <= limit);
        Self { what: what.to_owned(), value, limit, is_least: false, passed }
    }

    fn at_least(what: &str, value: u64, limit: u64) -> Self {
        let (value, limit) = (value as f64, limit as f64);
        let passed = value >= limit;
        Self { what: what.to_owned(), value: Some(value), limit, is_least: true, passed }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, limit, is_least, .. } = self;
        let least = if *is_least { "at least " } else { "" };
        match value {
            // A count.
            Some(value) if value.fract() == 0.0 => {
                write!(f, "{what}: {value}, limit {least}{limit}")
            }
            Some(value) => write!(f, "{what}: {value:.2}, limit {least}{limit}"),
            None => write!(f, "{what}: not measured, limit {least}{limit}"),
        }
    }
}

impl Limits {
    /// Everything that a run must keep to: no fault is ever allowed, and the limits that were set.
    pub fn checks(&self, report: &Report) -> Vec<Check> {
        let count = |count: u64| Some(count as f64);
        let mut checks: Vec<Check> = [
            (report.desyncs, "desyncs"),
            (report.broken_updates, "updates that could not be applied"),
            (report.lost_moves, "lost moves"),
            (report.duplicate_moves, "moves applied twice"),
            (report.altered_moves, "moves applied that were not sent"),
            (report.violations, "streams on which the server broke their rules"),
            (report.identity_changes, "sessions that came back as somebody else"),
            (
                report.worlds.as_ref().map_or(0, |worlds| worlds.conflicts),
                "rooms that were two things",
            ),
        ]
        .map(|(found, what)| Check::at_most(what, count(found), 0.0))
        .into();
        let gap = &report.update_gap_ms;
        let resume = report.resume_ms.measured_p99();
        let limited = [
            ("p99 of update_gap_ms", gap.measured_p99(), self.max_p99_gap_ms),
            ("update_gap_ms", gap.measured_max(), self.max_gap_ms),
            (
                "p99 of tick_to_receive_ms",
                report.tick_to_receive_ms.measured_p99(),
                self.max_p99_tick_to_receive_ms,
            ),
            (
                "p99 of move_to_ack_ms",
                report.move_to_ack_ms.measured_p99(),
                self.max_p99_move_to_ack_ms,
            ),
            // Nobody had to come back: nobody took too long.
            ("p99 of resume_ms", resume.or(Some(0.0)), self.max_p99_resume_ms),
            ("bytes_per_update", report.bytes_per_update, self.max_bytes_per_update),
            ("bytes_per_entity_tick", report.bytes_per_entity_tick, self.max_bytes_per_entity_tick),
            ("disconnects", count(report.disconnects), self.max_disconnects.map(|n| n as f64)),
            (
                "sessions lost",
                count(report.sessions_lost),
                Some(self.max_sessions_lost.unwrap_or(0) as f64),
            ),
            ("errors", count(report.errors.values().sum()), self.max_errors.map(|n| n as f64)),
        ];
        for (what, value, limit) in limited {
            checks.extend(limit.map(|limit| Check::at_most(what, value, limit)));
        }
        if report.players > 0 {
            checks.push(Check::at_least("updates", report.updates, 1));
        }
        let least = self.min_players.unwrap_or(report.players_wanted);
        checks.push(Check::at_least("players that got in", report.players, least));
        checks
    }

    /// Everything that makes a run a failure. Empty: it passed.
    pub fn failures(&self, report: &Report) -> Vec<String> {
        let checks = self.checks(report).into_iter();
        checks.filter(|check| !check.passed).map(|check| check.to_string()).collect()
    }
}
