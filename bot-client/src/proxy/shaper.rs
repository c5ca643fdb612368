//! When a chunk of bytes may leave: the network's character, without a network.

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg32;
use std::time::{Duration, Instant};

/// What a way is like, in each of its two directions.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// How long every byte is under way, one way. A round trip takes twice as long.
    pub delay: Duration,
    /// The delay varies by up to this, to both sides. The order is kept all the same.
    pub jitter: Duration,
    /// Every so often…
    pub stall_every: Duration,
    /// …nothing passes for this long; 0 is never.
    pub stall: Duration,
    /// Bytes per second; `None` is no limit.
    pub bytes_per_s: Option<u64>,
}

/// Schedules the chunks of one direction.
#[derive(Debug)]
pub struct Shaper {
    shape: Shape,
    started: Instant,
    random: Pcg32,
    /// When the wire is free again.
    free_at: Instant,
    /// When the chunk before arrives.
    last: Instant,
}

impl Shaper {
    /// A direction that begins now.
    pub fn new(shape: Shape, seed: u64, now: Instant) -> Self {
        let random = Pcg32::seed_from_u64(seed);
        Self { shape, started: now, random, free_at: now, last: now }
    }

    /// When a chunk of this length that enters now comes out at the other end. Never before an earlier one.
    pub fn release_at(&mut self, bytes: usize, now: Instant) -> Instant {
        let start = self.free_at.max(now);
        let wire_time = self.shape.bytes_per_s.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
        });
        self.free_at = start + wire_time;
        let swing = 2 * self.shape.jitter.as_micros() as u64;
        let extra = Duration::from_micros(self.random.random_range(0..=swing));
        let delay = (self.shape.delay + extra).saturating_sub(self.shape.jitter);
        let at = self.after_stall(self.free_at + delay);
        self.last = self.last.max(at);
        self.last
    }

    /// What would arrive during a stall arrives at its end.
    fn after_stall(&self, at: Instant) -> Instant {
        let (every, stall) = (self.shape.stall_every, self.shape.stall);
        if every.is_zero() || stall.is_zero() {
            return at;
        }
        let round = every + stall;
        let since = at.duration_since(self.started).as_nanos() % round.as_nanos();
        let since = Duration::from_nanos(since as u64);
        if since < every { at } else { at + round.saturating_sub(since) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_chunk_takes_the_delay() {
        let now = start();
        let mut shaper = Shaper::new(Shape { delay: 80 * MS, ..Shape::default() }, 1, now);
        assert_eq!(shaper.release_at(100, now + 5 * MS), now + 85 * MS);
    }

    #[test]
    fn jitter_stays_in_its_range_and_keeps_the_order() {
        let now = start();
        let shape = Shape { delay: 80 * MS, jitter: 20 * MS, ..Shape::default() };
        let mut shaper = Shaper::new(shape, 1, now);
        let mut last = now;
        let mut delays = Vec::new();
        for n in 0..1000 {
            let enters = now + n * 50 * MS;
            let leaves = shaper.release_at(10, enters);
            assert!(leaves >= last);
            last = leaves;
            delays.push(leaves - enters);
        }
        assert!(delays.iter().all(|d| (60 * MS..=100 * MS).contains(d)));
        assert!(delays.iter().any(|d| *d < 65 * MS) && delays.iter().any(|d| *d > 95 * MS));
    }

    #[test]
    fn a_stall_holds_everything_back_until_it_ends() {
        let now = start();
        let shape = Shape { stall_every: 1000 * MS, stall: 200 * MS, ..Shape::default() };
        let mut shaper = Shaper::new(shape, 1, now);
        assert_eq!(shaper.release_at(1, now + 999 * MS), now + 999 * MS);
        assert_eq!(shaper.release_at(1, now + 1000 * MS), now + 1200 * MS);
        assert_eq!(shaper.release_at(1, now + 1199 * MS), now + 1200 * MS);
        assert_eq!(shaper.release_at(1, now + 1201 * MS), now + 1201 * MS);
    }

    #[test]
    fn bandwidth_spreads_chunks_out() {
        let now = start();
        let shape = Shape { bytes_per_s: Some(1000), ..Shape::default() };
        let mut shaper = Shaper::new(shape, 1, now);
        assert_eq!(shaper.release_at(100, now), now + 100 * MS);
        assert_eq!(shaper.release_at(100, now), now + 200 * MS);
        assert_eq!(shaper.release_at(100, now + 500 * MS), now + 600 * MS);
    }
}
