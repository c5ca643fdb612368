//! What a run found: for people as a table, for pipelines as JSON.

use super::columns::Columns;
use super::conditions::Conditions;
use super::histogram::Bars;
use super::limits::{Check, Limits};
use super::oracle::Worlds;
use super::stats::{Spread, Stalled, Stats};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A spread of values in a few numbers; all 0 when there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Half of them are at most this.
    pub p50: f64,
    /// 90 % of them are at most this.
    pub p90: f64,
    /// 99 % of them are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// How many there were.
    pub count: u64,
}

impl Summary {
    fn of(spread: &Spread) -> Self {
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| spread.quantile(q));
        Self { p50, p90, p99, max: spread.max(), count: spread.len() }
    }

    /// The 99th percentile, if there is one.
    pub fn measured_p99(&self) -> Option<f64> {
        (self.count > 0).then_some(self.p99)
    }

    /// The largest, if there is one.
    pub fn measured_max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }
}

/// How wrong the players' predictions of their own ships were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Corrections {
    /// Per minute and player.
    pub per_minute: f64,
    /// Their sizes in units (pixels at normal zoom).
    pub units: Summary,
}

/// A run. The names of the fields are those of the JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Players that got in.
    pub players: u64,
    /// Players that were to get in.
    pub players_wanted: u64,
    /// From the first join to the last good-bye.
    pub duration_s: f64,
    /// Updates received.
    pub updates: u64,
    /// Between updates; see the module's page for how.
    pub update_gap_ms: Summary,
    /// From a tick's due time to its arrival.
    pub tick_to_receive_ms: Summary,
    /// From a move to the update that contains it.
    pub move_to_ack_ms: Summary,
    /// How old the world was that players held; see the module's page.
    pub staleness_ms: Summary,
    /// From the loss of a stream to the first update after it.
    pub resume_ms: Summary,
    /// From the last update before a room moved to the first one on its new server.
    pub redirect_gap_ms: Summary,
    /// Each player's longest wait for an update: over players, those without any left out.
    pub largest_gap_ms: Summary,
    /// How old the state was that sessions were set back to.
    pub set_back_age_s: Summary,
    /// Bytes of all updates, framing included.
    pub update_bytes: u64,
    /// Whole messages, framing included.
    pub bytes_per_update: Option<f64>,
    /// Bytes of updates per entity in view that moved, and tick; rocks included.
    pub bytes_per_entity_tick: Option<f64>,
    /// The same if rocks are not counted among the entities.
    pub bytes_per_entity_tick_without_rocks: Option<f64>,
    /// Checksums compared.
    pub checksums: u64,
    /// Checksums that differed.
    pub desyncs: u64,
    /// Updates that could not be applied.
    pub broken_updates: u64,
    /// Moves sent.
    pub moves: u64,
    /// Moves that were acknowledged but not applied, or not acknowledged at the end.
    pub lost_moves: u64,
    /// Moves applied more than once.
    pub duplicate_moves: u64,
    /// Acknowledgements after which other moves were applied than those sent.
    pub altered_moves: u64,
    /// Moves under way when a session ended for good.
    pub unresolved_moves: u64,
    /// Moves that are gone because a room was restored from what had been recorded, and said so.
    pub set_back_moves: u64,
    /// Moves that the game refused.
    pub refused_moves: u64,
    /// Streams that went on with a session.
    pub resumes: u64,
    /// Sessions that came back with another entity, player or score.
    pub identity_changes: u64,
    /// Streams that were followed to another server, because the room moved there.
    pub redirects: u64,
    /// Sessions that were set back with their room.
    pub set_back_sessions: u64,
    /// Streams whose server had an older epoch of the room than one before.
    pub stale_epochs: u64,
    /// Streams that ended unasked.
    pub disconnects: u64,
    /// Players that got in again with a new session, because the old one was lost.
    pub sessions_anew: u64,
    /// Sessions that ended though nobody left.
    pub sessions_lost: u64,
    /// Streams that were dropped on purpose.
    pub drops: u64,
    /// Ends and refusals by status.
    pub errors: BTreeMap<String, u64>,
    /// What the first of each said.
    pub error_examples: BTreeMap<String, String>,
    /// What players were told in a line, by kind.
    pub notices: BTreeMap<String, u64>,
    /// The first text of each.
    pub notice_examples: BTreeMap<String, String>,
    /// What came of comparing the players' worlds with each other; `None`: they were not compared.
    pub worlds: Option<Worlds>,
    /// Streams on which the server broke their rules.
    pub violations: u64,
    /// Predictions that were wrong.
    pub corrections: Corrections,
    /// Players that did not read.
    pub stalled: Stalled,
    /// What the run must keep to, and whether it did; empty before [`Report::judge`].
    pub verdict: Vec<Check>,
    /// Under what conditions it took place.
    pub conditions: Conditions,
    /// All times of the run, by the name of their summary.
    pub histograms: BTreeMap<String, Bars>,
    /// The run over time.
    pub series: Columns,
}

impl Report {
    pub(super) fn of(
        stats: &Stats,
        conditions: Conditions,
        series: Columns,
        duration: Duration,
    ) -> Self {
        let counters = &stats.counters;
        let ratio = |of: u64, by: u64| (by > 0).then(|| of as f64 / by as f64);
        let minutes = stats.played.as_secs_f64() / 60.0;
        let correction_count = stats.correction.len() as f64;
        let per_minute = if minutes > 0.0 { correction_count / minutes } else { 0.0 };
        Self {
            players: stats.players,
            players_wanted: conditions.players,
            duration_s: duration.as_secs_f64(),
            updates: counters.updates,
            update_gap_ms: Summary::of(&stats.update_gap),
            tick_to_receive_ms: Summary::of(&stats.tick_to_receive),
            move_to_ack_ms: Summary::of(&stats.move_to_ack),
            staleness_ms: Summary::of(&stats.staleness),
            resume_ms: Summary::of(&stats.resume),
            redirect_gap_ms: Summary::of(&stats.redirect_gap),
            largest_gap_ms: Summary::of(&stats.largest_gap),
            set_back_age_s: Summary::of(&stats.set_back_age),
            update_bytes: counters.update_bytes,
            bytes_per_update: ratio(counters.update_bytes, counters.updates),
            bytes_per_entity_tick: ratio(stats.measured_bytes, stats.entity_ticks),
            bytes_per_entity_tick_without_rocks: ratio(
                stats.measured_bytes,
                stats.entity_ticks - stats.rock_ticks,
            ),
            checksums: counters.checksums,
            desyncs: counters.desyncs,
            broken_updates: counters.broken_updates,
            moves: counters.moves,
            lost_moves: counters.lost_moves,
            duplicate_moves: counters.duplicate_moves,
            altered_moves: counters.altered_moves,
            unresolved_moves: stats.unresolved_moves,
            set_back_moves: counters.set_back_moves,
            refused_moves: counters.refusals,
            resumes: stats.resumes,
            identity_changes: counters.identity_changes,
            redirects: stats.redirects,
            set_back_sessions: counters.set_backs,
            stale_epochs: counters.stale_epochs,
            disconnects: stats.disconnects,
            sessions_anew: stats.sessions_anew,
            sessions_lost: stats.sessions_lost,
            drops: stats.drops,
            errors: counts(&stats.errors),
            error_examples: examples(&stats.errors),
            notices: counts(&stats.notices),
            notice_examples: examples(&stats.notices),
            worlds: None,
            violations: stats.violations,
            corrections: Corrections { per_minute, units: Summary::of(&stats.correction) },
            stalled: stats.stalled,
            verdict: Vec::new(),
            conditions,
            histograms: [
                ("update_gap_ms", &stats.update_gap),
                ("tick_to_receive_ms", &stats.tick_to_receive),
                ("move_to_ack_ms", &stats.move_to_ack),
                ("staleness_ms", &stats.staleness),
                ("resume_ms", &stats.resume),
                ("redirect_gap_ms", &stats.redirect_gap),
                ("largest_gap_ms", &stats.largest_gap),
            ]
            .map(|(name, spread)| (name.to_owned(), Bars::of(spread)))
            .into(),
            series,
        }
    }

    /// Compares with the limits, and keeps the outcome. Returns what failed.
    pub fn judge(&mut self, limits: &Limits) -> Vec<String> {
        self.verdict = limits.checks(self);
        limits.failures(self)
    }
}

/// What is counted by name, with the first text of each.
type Told = BTreeMap<String, (u64, String)>;

fn counts(told: &Told) -> BTreeMap<String, u64> {
    told.iter().map(|(name, (count, _))| (name.clone(), *count)).collect()
}

fn examples(told: &Told) -> BTreeMap<String, String> {
    told.iter().map(|(name, (_, text))| (name.clone(), text.clone())).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spread = |f: &mut fmt::Formatter<'_>, name: &str, summary: &Summary| {
            let Summary { p50, p90, p99, max, count } = summary;
            writeln!(f, "{name:<22}{p50:>10.2}{p90:>10.2}{p99:>10.2}{max:>10.2}{count:>12}")
        };
        let (players, wanted) = (self.players, self.players_wanted);
        writeln!(f, "{players} of {wanted} players, {:.1} s", self.duration_s)?;
        writeln!(
            f,
            "\n{:<22}{:>10}{:>10}{:>10}{:>10}{:>12}",
            "", "p50", "p90", "p99", "max", "count"
        )?;
        spread(f, "update_gap_ms", &self.update_gap_ms)?;
        spread(f, "tick_to_receive_ms", &self.tick_to_receive_ms)?;
        spread(f, "move_to_ack_ms", &self.move_to_ack_ms)?;
        spread(f, "staleness_ms", &self.staleness_ms)?;
        if self.resume_ms.count > 0 {
            spread(f, "resume_ms", &self.resume_ms)?;
        }
        spread(f, "largest_gap_ms", &self.largest_gap_ms)?;
        if self.redirect_gap_ms.count > 0 {
            spread(f, "redirect_gap_ms", &self.redirect_gap_ms)?;
        }
        if self.set_back_age_s.count > 0 {
            spread(f, "set_back_age_s", &self.set_back_age_s)?;
        }
        spread(f, "correction (units)", &self.corrections.units)?;
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
        writeln!(f, "\nupdates                {}", self.updates)?;
        writeln!(f, "bytes per update       {}", number(self.bytes_per_update))?;
        let without = number(self.bytes_per_entity_tick_without_rocks);
        let with = number(self.bytes_per_entity_tick);
        writeln!(f, "bytes per entity tick  {with} (without rocks {without})")?;
        writeln!(f, "corrections            {:.1} per minute", self.corrections.per_minute)?;
        let Self { checksums, desyncs, broken_updates, .. } = self;
        writeln!(
            f,
            "checksums              {checksums}, {desyncs} desyncs, {broken_updates} broken"
        )?;
        let Self { moves, lost_moves, duplicate_moves, altered_moves, .. } = self;
        writeln!(
            f,
            "moves                  {moves}: {lost_moves} lost, {duplicate_moves} doubled, \
             {altered_moves} altered, {} unresolved, {} set back, {} refused",
            self.unresolved_moves, self.set_back_moves, self.refused_moves,
        )?;
        let Self { disconnects, drops, resumes, identity_changes, .. } = self;
        writeln!(
            f,
            "streams                {disconnects} disconnected, {drops} dropped on purpose, \
             {resumes} resumed, {identity_changes} as somebody else, {} sessions lost, {} anew",
            self.sessions_lost, self.sessions_anew,
        )?;
        let Self { redirects, set_back_sessions, stale_epochs, .. } = self;
        writeln!(
            f,
            "moved rooms            {redirects} followed, {set_back_sessions} sessions set back, \
             {stale_epochs} stale epochs",
        )?;
        if self.stalled != Stalled::default() {
            let Stalled { players, moves, disconnects } = self.stalled;
            writeln!(
                f,
                "stalled                {players} players, {moves} moves, {disconnects} disconnected",
            )?;
        }
        if let Some(worlds) = &self.worlds {
            let Worlds { updates, conflicts, examples, rolled_back_ticks, epoch_overlap_ms } =
                worlds;
            writeln!(
                f,
                "worlds                 {updates} compared, {conflicts} conflicts, \
                 {rolled_back_ticks} ticks rolled back, epochs overlapped by {epoch_overlap_ms} ms",
            )?;
            examples.iter().try_for_each(|what| writeln!(f, "conflict               {what}"))?;
        }
        for (kind, count) in &self.notices {
            let example = self.notice_examples.get(kind).map_or("", String::as_str);
            writeln!(f, "notice                 {count} x {kind}: {example}")?;
        }
        for (label, count) in &self.errors {
            let example = self.error_examples.get(label).map_or("", String::as_str);
            writeln!(f, "error                  {count} x {label}: {example}")?;
        }
        Ok(())
    }
}
