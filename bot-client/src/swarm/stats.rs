//! What a swarm measures.

use super::conditions::ServerTold;
use super::series::{Fresh, HANG, Happenings};
use crate::client::{Counters, Ended, Updated};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Times are recorded in microseconds up to this; what is longer counts as this long.
const LONGEST: Duration = Duration::from_secs(120);

/// How many statuses are told apart; a server that invents ever new ones must not fill the memory.
const LABELS_MAX: usize = 64;

/// How much of an error's message is kept.
const MESSAGE_CHARS_MAX: usize = 300;

/// A histogram of times, or of anything else with three digits.
#[derive(Clone, Debug)]
pub struct Spread(Histogram<u64>);

impl Default for Spread {
    fn default() -> Self {
        let longest = LONGEST.as_micros() as u64;
        Self(Histogram::new_with_bounds(1, longest, 3).expect("the bounds are constants that fit"))
    }
}

impl Spread {
    /// Takes in a time.
    pub fn record(&mut self, time: Duration) {
        self.record_micros(time.as_micros() as u64);
    }

    /// Takes in a number of millionths.
    pub fn record_micros(&mut self, micros: u64) {
        self.0.saturating_record(micros);
    }

    /// Takes in a time between two events that should be `period` apart, and the waits of all the events that were
    /// missing in between: `time - period`, `time - 2 * period`, and so on.
    pub fn record_missing(&mut self, time: Duration, period: Duration) {
        let micros = time.min(LONGEST).as_micros() as u64;
        let period = period.as_micros().max(1) as u64;
        // Within bounds, so it cannot fail.
        let _ = self.0.record_correct(micros, period);
    }

    /// Adds another one's.
    pub fn add(&mut self, other: &Self) {
        // The bounds are the same, so it cannot fail.
        let _ = self.0.add(&other.0);
    }

    /// How many were taken in.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A quantile in thousands of the unit of record: milliseconds for times.
    pub fn quantile(&self, quantile: f64) -> f64 {
        // The highest value that the bucket stands for may lie above what was seen.
        self.0.value_at_quantile(quantile).min(self.0.max()) as f64 / 1000.0
    }

    /// The largest, in thousands of the unit of record.
    pub fn max(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }

    /// All values in thousands of the unit of record, ascending, and how often each was taken in.
    pub fn counts(&self) -> impl Iterator<Item = (f64, u64)> {
        let recorded = self.0.iter_recorded();
        recorded.map(|value| (value.value_iterated_to() as f64 / 1000.0, value.count_at_value()))
    }
}

/// Players that do not read, reported apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stalled {
    /// How many.
    pub players: u64,
    /// Moves that they sent while they did not read.
    pub moves: u64,
    /// Streams of theirs that ended unasked.
    pub disconnects: u64,
}

/// Everything, or a share of it.
#[derive(Debug, Default)]
pub struct Stats {
    /// Between two updates that a player could apply, with the waits for those that were missing.
    pub update_gap: Spread,
    /// How old the world was that a player held: before each update, and for each that was missing.
    pub staleness: Spread,
    /// From when a tick was due at the player to its arrival.
    pub tick_to_receive: Spread,
    /// From when the player wanted a move to the update that contains it.
    pub move_to_ack: Spread,
    /// From the loss of a stream to the first update on the next one.
    pub resume: Spread,
    /// Between the last update before a room moved and the first one on its new server; without those for missing ones.
    pub redirect_gap: Spread,
    /// Each player's longest wait for an update.
    pub largest_gap: Spread,
    /// How old the state was that sessions were set back to, in thousandths of a second.
    pub set_back_age: Spread,
    /// The sizes of corrections, in thousandths of a unit.
    pub correction: Spread,
    /// What the sessions counted.
    pub counters: Counters,
    /// Players that were welcomed.
    pub players: u64,
    /// Those that play just now.
    pub playing: u64,
    /// Streams that went on with a session.
    pub resumes: u64,
    /// Streams that were followed to another server, because the room moved there.
    pub redirects: u64,
    /// Streams that ended unasked.
    pub disconnects: u64,
    /// Players that got in again with a new session, because the old one was lost.
    pub sessions_anew: u64,
    /// Sessions that ended though nobody left.
    pub sessions_lost: u64,
    /// Streams that were dropped on purpose.
    pub drops: u64,
    /// Moves that were under way when a session ended for good.
    pub unresolved_moves: u64,
    /// Bytes of the updates of which entities were counted.
    pub measured_bytes: u64,
    /// Entities in view that moved, over all ticks of these updates.
    pub entity_ticks: u64,
    /// Those of them that are rocks.
    pub rock_ticks: u64,
    /// The time that players spent playing.
    pub played: Duration,
    /// Players that do not read.
    pub stalled: Stalled,
    /// Ends of streams and refusals, by status and reason: how many, and what the first one said.
    pub errors: BTreeMap<String, (u64, String)>,
    /// Streams on which the server broke their rules.
    pub violations: u64,
    /// What the server told the first player that got in.
    pub server: Option<ServerTold>,
    /// What was noted since the last look, over time. Everything of the above is in it as well.
    pub fresh: Fresh,
}

impl Stats {
    /// Takes in an update that came in this second of the run.
    pub fn note_update(&mut self, second: u32, update: &Updated) {
        let bucket = self.fresh.at(second);
        for latency in &update.acknowledged {
            self.move_to_ack.record(*latency);
            bucket.move_to_ack.record(*latency);
        }
        if let Some(correction) = update.correction {
            self.correction.record_micros((correction.units * 1000.0) as u64);
        }
        self.measured_bytes += update.wire_bytes as u64;
        self.entity_ticks += update.entity_ticks.all;
        self.rock_ticks += update.entity_ticks.apart;
    }

    /// Takes in a wait for an update, and that the world was this late when it began. `period` is at least a millisecond.
    pub fn note_gap(&mut self, second: u32, gap: Duration, age: Duration, period: Duration) {
        let bucket = self.fresh.at(second);
        self.update_gap.record_missing(gap, period);
        bucket.update_gap.record_missing(gap, period);
        // As for the gap: one for each update that should have come, each as old as it would have found the world.
        let mut wait = gap.min(LONGEST);
        loop {
            self.staleness.record(wait + age);
            bucket.staleness.record(wait + age);
            wait = wait.saturating_sub(period);
            if wait < period {
                break;
            }
        }
        bucket.happenings.hangs += u64::from(gap >= HANG);
    }

    /// Takes in how late a tick was that came in this second.
    pub fn note_tick(&mut self, second: u32, late: Duration) {
        self.tick_to_receive.record(late);
        self.fresh.at(second).tick_to_receive.record(late);
    }

    /// Takes in what a session counted.
    pub fn note_counters(&mut self, second: u32, counters: Counters) {
        self.counters += counters;
        self.fresh.at(second).counters += counters;
    }

    /// What happens in this second.
    pub fn happenings(&mut self, second: u32) -> &mut Happenings {
        &mut self.fresh.at(second).happenings
    }

    /// Takes in an end that nobody asked for.
    pub fn note_error(&mut self, second: u32, ended: &Ended) {
        let mut label = ended.label();
        if self.errors.len() >= LABELS_MAX && !self.errors.contains_key(&label) {
            "OTHER".clone_into(&mut label);
        }
        let violations = u64::from(ended.is_misbehaviour());
        self.violations += violations;
        let happenings = self.happenings(second);
        happenings.violations += violations;
        happenings.errors += 1;
        self.note_errors(label, 1, &ended.message);
    }

    /// Takes in several of them.
    pub fn note_errors(&mut self, label: String, count: u64, message: &str) {
        let entry = self.errors.entry(label);
        let short = || message.chars().take(MESSAGE_CHARS_MAX).collect();
        entry.or_insert_with(|| (0, short())).0 += count;
    }

    /// Takes in what the server told a player.
    pub fn note_server(&mut self, told: &ServerTold) {
        match &mut self.server {
            Some(server) => server.add_rooms(told),
            None => self.server = Some(told.clone()),
        }
    }

    fn add(&mut self, other: &Self) {
        self.update_gap.add(&other.update_gap);
        self.staleness.add(&other.staleness);
        self.tick_to_receive.add(&other.tick_to_receive);
        self.move_to_ack.add(&other.move_to_ack);
        self.resume.add(&other.resume);
        self.redirect_gap.add(&other.redirect_gap);
        self.largest_gap.add(&other.largest_gap);
        self.set_back_age.add(&other.set_back_age);
        self.correction.add(&other.correction);
        self.counters += other.counters;
        self.players += other.players;
        self.playing += other.playing;
        self.resumes += other.resumes;
        self.redirects += other.redirects;
        self.sessions_anew += other.sessions_anew;
        self.disconnects += other.disconnects;
        self.sessions_lost += other.sessions_lost;
        self.drops += other.drops;
        self.unresolved_moves += other.unresolved_moves;
        self.measured_bytes += other.measured_bytes;
        self.entity_ticks += other.entity_ticks;
        self.rock_ticks += other.rock_ticks;
        self.played += other.played;
        self.stalled.players += other.stalled.players;
        self.stalled.moves += other.stalled.moves;
        self.stalled.disconnects += other.stalled.disconnects;
        self.violations += other.violations;
        if let Some(told) = &other.server {
            self.note_server(told);
        }
        for (label, (count, message)) in &other.errors {
            self.note_errors(label.clone(), *count, message);
        }
    }
}

/// Stats that many players write to: in shards, so that they rarely wait for each other, and so that memory does not
/// grow with players or time.
#[derive(Debug)]
pub struct Board {
    shards: Vec<Mutex<Stats>>,
}

impl Default for Board {
    fn default() -> Self {
        Self { shards: (0..4).map(|_| Mutex::default()).collect() }
    }
}

impl Board {
    /// The shard of a player.
    pub fn shard(&self, index: usize) -> MutexGuard<'_, Stats> {
        lock(&self.shards[index % self.shards.len()])
    }

    /// All of it so far; what is fresh begins anew.
    pub fn collect(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.shards {
            let mut shard = lock(shard);
            sum.add(&shard);
            sum.fresh.add(std::mem::take(&mut shard.fresh));
        }
        sum
    }
}

/// Numbers stay numbers when a task that wrote some of them panicked.
fn lock(shard: &Mutex<Stats>) -> MutexGuard<'_, Stats> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_stands_for_all_the_updates_that_are_missing_in_it() {
        let mut spread = Spread::default();
        spread.record_missing(Duration::from_millis(200), Duration::from_millis(50));
        assert_eq!(spread.len(), 4);
        assert!((spread.quantile(0.5) - 100.0).abs() < 1.0);
        assert!((spread.max() - 200.0).abs() < 1.0);
    }

    #[test]
    fn staleness_is_the_wait_and_how_late_the_world_was_when_it_began() {
        let mut stats = Stats::default();
        let ms = Duration::from_millis;
        stats.note_gap(3, ms(200), ms(30), ms(50));
        assert_eq!((stats.staleness.len(), stats.update_gap.len()), (4, 4));
        assert!((stats.staleness.max() - 230.0).abs() < 1.0);
        assert!((stats.staleness.quantile(0.25) - 80.0).abs() < 1.0);
        // An update before its time waits for nothing, but it is one.
        stats.note_gap(3, ms(20), ms(0), ms(50));
        assert_eq!((stats.staleness.len(), stats.update_gap.len()), (5, 5));
        assert_eq!(stats.happenings(3).hangs, 0);
        stats.note_gap(3, HANG, ms(0), ms(50));
        assert_eq!(stats.happenings(3).hangs, 1);
    }

    #[test]
    fn invented_statuses_do_not_fill_the_memory() {
        let mut stats = Stats::default();
        for n in 0..1000 {
            let reason = format!("R{n}");
            stats.note_error(0, &Ended { reason, ..Ended::broken("") });
        }
        assert!(stats.errors.len() <= LABELS_MAX + 1);
        assert_eq!(stats.errors.values().map(|(count, _)| count).sum::<u64>(), 1000);
    }
}
