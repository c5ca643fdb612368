//! How a room does, for those who look on: written by its task once a tick, and by its players' streams; read by anybody at any
//! time. Numbers only, each an atomic: nobody waits for anybody, and a reader may see parts of two ticks.
//!
//! What is "lately" is the last whole second of the room and what there is of the one after it. Ticks turn these seconds; of a
//! room that makes none any more, nothing is lately, whoever reads.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// How long what is noted counts as lately, at least.
const LATELY_MS: u64 = 1000;
/// Buckets for each doubling of a time: what is read from them is at most a quarter too high.
const STEPS_PER_DOUBLING: usize = 4;
/// From 1 µs to over 16 s.
const BUCKETS: usize = 25 * STEPS_PER_DOUBLING;

/// One room's numbers.
#[derive(Debug)]
pub struct Vitals {
    since: Instant,
    turned_at_ms: AtomicU64,
    ticked_at_ms: AtomicU64,
    tick: AtomicU32,
    entities: AtomicU32,
    skipped_ticks: AtomicU64,
    took_us: AtomicU32,
    late_us: AtomicU32,
    took_max_us: Lately,
    late_max_us: Lately,
    staleness_max_ms: Lately,
    ticks: Lately,
    moves: Lately,
    took: Times,
    late: Times,
}

/// What a tick was like.
#[derive(Clone, Copy, Debug)]
pub struct Ticked {
    /// Which.
    pub tick: u32,
    /// How long it took.
    pub took: Duration,
    /// How late it began.
    pub late: Duration,
    /// How many ticks' time was given up before it.
    pub skipped: u64,
    /// Moves applied.
    pub moves: u64,
    /// Entities in the world.
    pub entities: usize,
}

/// A room's numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The newest tick.
    pub tick: u32,
    /// How long ago it was made.
    pub since_tick_ms: u64,
    /// Entities in the world.
    pub entities: u32,
    /// Ticks given up, since the room opened.
    pub skipped_ticks: u64,
    /// How long the newest tick took, and the longest lately.
    pub took_us: u32,
    /// See above.
    pub took_max_us: u32,
    /// How late the newest tick began, and the latest lately.
    pub late_us: u32,
    /// See above.
    pub late_max_us: u32,
    /// How old, at worst, what a player sees was lately: since the newest tick that its client says it has; and at least since
    /// the newest tick, if that is over a second ago and there are players.
    pub staleness_max_ms: u32,
    /// Ticks made in the last whole second.
    pub ticks_per_s: u32,
    /// Moves applied in it, refused ones included.
    pub moves_per_s: u32,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            turned_at_ms: AtomicU64::default(),
            ticked_at_ms: AtomicU64::default(),
            tick: AtomicU32::default(),
            entities: AtomicU32::default(),
            skipped_ticks: AtomicU64::default(),
            took_us: AtomicU32::default(),
            late_us: AtomicU32::default(),
            took_max_us: Lately::default(),
            late_max_us: Lately::default(),
            staleness_max_ms: Lately::default(),
            ticks: Lately::default(),
            moves: Lately::default(),
            took: Times::default(),
            late: Times::default(),
        }
    }
}

impl Vitals {
    /// The room made a tick. Called by its task alone.
    pub(super) fn ticked(&self, ticked: &Ticked) {
        let now_ms = self.now_ms();
        if now_ms - self.turned_at_ms.load(Relaxed) >= LATELY_MS {
            self.turned_at_ms.store(now_ms, Relaxed);
            self.turn();
        }
        let (took_us, late_us) = (micros(ticked.took), micros(ticked.late));
        self.ticked_at_ms.store(now_ms, Relaxed);
        self.tick.store(ticked.tick, Relaxed);
        self.entities.store(u32::try_from(ticked.entities).unwrap_or(u32::MAX), Relaxed);
        self.skipped_ticks.fetch_add(ticked.skipped, Relaxed);
        self.took_us.store(took_us, Relaxed);
        self.late_us.store(late_us, Relaxed);
        self.took_max_us.raise(took_us);
        self.late_max_us.raise(late_us);
        self.took.note(took_us);
        self.late.note(late_us);
        self.ticks.add(1);
        self.moves.add(u32::try_from(ticked.moves).unwrap_or(u32::MAX));
    }

    /// What a player sees is this old.
    pub fn saw_staleness(&self, staleness_ms: u32) {
        self.staleness_max_ms.raise(staleness_ms);
    }

    /// All of it, now; `players` are in the room.
    pub fn read(&self, players: u32) -> Reading {
        let now_ms = self.now_ms();
        let since_tick_ms = now_ms.saturating_sub(self.ticked_at_ms.load(Relaxed));
        let is_over = self.is_over(now_ms);
        let lately = |number: u32| if is_over { 0 } else { number };
        // Between two ticks of a room that is well, this would say nothing but when somebody looked.
        let unseen_ms = if players > 0 && since_tick_ms > LATELY_MS { since_tick_ms } else { 0 };
        let staleness_max_ms = lately(self.staleness_max_ms.highest());
        Reading {
            tick: self.tick.load(Relaxed),
            since_tick_ms,
            entities: self.entities.load(Relaxed),
            skipped_ticks: self.skipped_ticks.load(Relaxed),
            took_us: self.took_us.load(Relaxed),
            took_max_us: lately(self.took_max_us.highest()),
            late_us: self.late_us.load(Relaxed),
            late_max_us: lately(self.late_max_us.highest()),
            staleness_max_ms: staleness_max_ms.max(u32::try_from(unseen_ms).unwrap_or(u32::MAX)),
            ticks_per_s: lately(self.ticks.before.load(Relaxed)),
            moves_per_s: lately(self.moves.before.load(Relaxed)),
        }
    }

    /// Adds the room's last whole second to those of others: how long ticks took, and how late they began.
    pub fn add_to(&self, took: &mut Distribution, late: &mut Distribution) {
        if !self.is_over(self.now_ms()) {
            self.took.add_to(took);
            self.late.add_to(late);
        }
    }

    /// Whether what was lately is over: no tick has turned the seconds when it should have.
    fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.turned_at_ms.load(Relaxed)) >= 2 * LATELY_MS
    }

    fn turn(&self) {
        for number in
            [&self.took_max_us, &self.late_max_us, &self.staleness_max_ms, &self.ticks, &self.moves]
        {
            number.turn();
        }
        self.took.turn();
        self.late.turn();
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// A number of the second that goes on, and of the one before.
#[derive(Debug, Default)]
struct Lately {
    now: AtomicU32,
    before: AtomicU32,
}

impl Lately {
    fn raise(&self, to: u32) {
        self.now.fetch_max(to, Relaxed);
    }

    fn add(&self, more: u32) {
        self.now.fetch_add(more, Relaxed);
    }

    fn turn(&self) {
        self.before.store(self.now.swap(0, Relaxed), Relaxed);
    }

    fn highest(&self) -> u32 {
        self.now.load(Relaxed).max(self.before.load(Relaxed))
    }
}

#[derive(Debug)]
struct Times([Lately; BUCKETS]);

impl Default for Times {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Lately::default()))
    }
}

impl Times {
    fn note(&self, us: u32) {
        self.0[bucket(us)].add(1);
    }

    fn turn(&self) {
        self.0.iter().for_each(Lately::turn);
    }

    fn add_to(&self, all: &mut Distribution) {
        for (count, times) in all.0.iter_mut().zip(&self.0) {
            *count += u64::from(times.before.load(Relaxed));
        }
    }
}

/// Times of many ticks.
#[derive(Clone, Debug)]
pub struct Distribution([u64; BUCKETS]);

impl Default for Distribution {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Distribution {
    /// No more than one in a hundred is longer, in µs, rounded up by at most a quarter; `None` of nothing.
    pub fn p99_us(&self) -> Option<u64> {
        let all: u64 = self.0.iter().sum();
        let rank = (all * 99).div_ceil(100);
        let mut up_to = 0;
        let found = self.0.iter().position(|count| {
            up_to += count;
            up_to >= rank
        });
        found.filter(|_| all > 0).map(upper_us)
    }
}

/// The bucket whose upper end is the first not below.
fn bucket(us: u32) -> usize {
    let octave = us.max(1).ilog2() as usize;
    let first = octave * STEPS_PER_DOUBLING;
    let fits = (first..BUCKETS).find(|bucket| upper_us(*bucket) >= u64::from(us));
    fits.unwrap_or(BUCKETS - 1)
}

fn upper_us(bucket: usize) -> u64 {
    let (octave, step) = (bucket / STEPS_PER_DOUBLING, bucket % STEPS_PER_DOUBLING);
    let low = 1_u64 << octave;
    low + (low * (step as u64 + 1)).div_ceil(STEPS_PER_DOUBLING as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tick(took_us: u64, moves_applied: u64) -> Ticked {
        let took = Duration::from_micros(took_us);
        Ticked {
            tick: 3,
            took,
            late: Duration::from_millis(1),
            skipped: 2,
            moves: moves_applied,
            entities: 7,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lately_is_forgotten_after_two_seconds() {
        let vitals = Vitals::default();
        vitals.ticked(&tick(900, 5));
        vitals.saw_staleness(40);
        vitals.ticked(&tick(100, 5));
        let read = vitals.read(1);
        assert_eq!((read.took_us, read.took_max_us, read.late_us), (100, 900, 1000));
        assert_eq!((read.staleness_max_ms, read.entities, read.skipped_ticks), (40, 7, 4));
        assert_eq!(read.ticks_per_s, 0, "no whole second yet");
        tokio::time::advance(Duration::from_secs(1)).await;
        vitals.ticked(&tick(50, 0));
        let read = vitals.read(1);
        assert_eq!((read.took_max_us, read.ticks_per_s, read.moves_per_s), (900, 2, 10));
        let (mut took, mut late) = Default::default();
        vitals.add_to(&mut took, &mut late);
        assert!((900..=1125).contains(&took.p99_us().expect("ticks")));
        tokio::time::advance(Duration::from_secs(1)).await;
        vitals.ticked(&tick(60, 1));
        let read = vitals.read(1);
        assert_eq!((read.took_max_us, read.staleness_max_ms, read.ticks_per_s), (60, 0, 1));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(vitals.read(1).since_tick_ms, 7000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_stops_does_not_look_well() {
        let vitals = Vitals::default();
        for _ in 0..60 {
            tokio::time::advance(Duration::from_millis(50)).await;
            vitals.ticked(&tick(900, 5));
            vitals.saw_staleness(40);
        }
        let is_busy = |read: Reading| read.ticks_per_s == 20 && read.took_max_us == 900;
        tokio::time::advance(Duration::from_millis(999)).await;
        let read = vitals.read(1);
        assert!(is_busy(read) && read.staleness_max_ms == 40, "it may be late: {read:?}");
        tokio::time::advance(Duration::from_millis(900)).await;
        let read = vitals.read(1);
        assert_eq!(
            (is_busy(read), read.staleness_max_ms),
            (true, 1899),
            "nobody sees anything new"
        );
        assert_eq!(vitals.read(0).staleness_max_ms, 40, "nobody looks");

        tokio::time::advance(Duration::from_millis(101)).await;
        // The streams go on, and see no more than that no tick came.
        vitals.saw_staleness(50);
        let stopped = Reading {
            tick: 3,
            since_tick_ms: 2000,
            entities: 7,
            skipped_ticks: 120,
            took_us: 900,
            late_us: 1000,
            ..Reading::default()
        };
        assert_eq!(vitals.read(1), Reading { staleness_max_ms: 2000, ..stopped });
        assert_eq!(vitals.read(0), stopped);
        let (mut took, mut late) = Default::default();
        vitals.add_to(&mut took, &mut late);
        assert_eq!((took.p99_us(), late.p99_us()), (None, None));

        vitals.ticked(&tick(2_000_000, 0));
        let read = vitals.read(1);
        assert_eq!((read.took_max_us, read.since_tick_ms), (2_000_000, 0), "it goes on");
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Distribution::default().p99_us(), None);
    }

    proptest! {
        #[test]
        fn a_bucket_is_not_below_and_at_most_a_quarter_above(us in 1_u32..16_000_000) {
            let upper = upper_us(bucket(us));
            prop_assert!(upper >= u64::from(us));
            prop_assert!(upper <= u64::from(us) + (u64::from(us) / 4).max(1) + 1);
        }
    }
}
