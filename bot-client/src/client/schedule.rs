//! When ticks are due at a client.
//!
//! A room ticks evenly, so the arrival of tick n is `t0 + n * period` plus whatever delayed it. The least delayed tick
//! lies on that line; every other one is late by its distance from the line. Nothing but arrivals is needed: no common
//! clock, and no knowledge of the way's length.

use std::time::{Duration, Instant};

/// How far apart the clocks of two machines may run. A line that only ever falls would, after hours, charge a server for
/// the drift of its crystal.
const DRIFT_PPM: i64 = 100;

/// The grid of ticks on which arrivals are measured.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate_hz: u32,
    tick: u32,
    at: Instant,
}

impl Schedule {
    /// A grid through the arrival of one tick; every other arrival is measured from it.
    pub fn new(rate_hz: u32, tick: u32, at: Instant) -> Self {
        Self { rate_hz: rate_hz.max(1), tick, at }
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        Duration::from_nanos(1_000_000_000 / u64::from(self.rate_hz))
    }

    /// How long after the grid's time for it a tick arrived, in nanoseconds; negative: before it.
    pub fn offset(&self, tick: u32, at: Instant) -> i64 {
        let elapsed = match at.checked_duration_since(self.at) {
            Some(after) => after.as_nanos() as i64,
            None => -(self.at.duration_since(at).as_nanos() as i64),
        };
        elapsed - self.nanos_to(tick)
    }

    fn nanos_to(&self, tick: u32) -> i64 {
        (i64::from(tick) - i64::from(self.tick)) * 1_000_000_000 / i64::from(self.rate_hz)
    }

    fn age_ns(&self, at: Instant) -> i64 {
        at.saturating_duration_since(self.at).as_nanos() as i64
    }
}

/// The line of the least delayed ticks so far.
#[derive(Clone, Copy, Debug)]
pub struct TickLine {
    schedule: Schedule,
    floor_ns: i64,
    floored_ns: i64,
}

impl TickLine {
    /// A line through the arrival of one tick.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, floor_ns: 0, floored_ns: 0 }
    }

    /// Takes in an arrival.
    pub fn observe(&mut self, tick: u32, at: Instant) {
        let age = self.schedule.age_ns(at);
        self.floor_ns += (age - self.floored_ns).max(0) / (1_000_000 / DRIFT_PPM);
        self.floored_ns = age;
        self.floor_ns = self.floor_ns.min(self.schedule.offset(tick, at));
    }

    /// How late a tick is that arrives now.
    pub fn lateness(&self, tick: u32, at: Instant) -> Duration {
        self.lateness_of_offset(self.schedule.offset(tick, at))
    }

    /// How late an arrival with this [`Schedule::offset`] was.
    pub fn lateness_of_offset(&self, offset_ns: i64) -> Duration {
        Duration::from_nanos((offset_ns - self.floor_ns).max(0) as u64)
    }

    /// When a tick is due.
    pub fn due(&self, tick: u32) -> Instant {
        let nanos = self.schedule.nanos_to(tick) + self.floor_ns;
        if nanos < 0 {
            let before = Duration::from_nanos(nanos.unsigned_abs());
            self.schedule.at.checked_sub(before).unwrap_or(self.schedule.at)
        } else {
            self.schedule.at + Duration::from_nanos(nanos as u64)
        }
    }

    /// The newest tick that is due at this time.
    pub fn tick_at(&self, at: Instant) -> u32 {
        // The offset of the grid's own tick is the time since the line passed it.
        let since = self.schedule.offset(self.schedule.tick, at) - self.floor_ns;
        let ticks = i128::from(since) * i128::from(self.schedule.rate_hz);
        let ticks = ticks.div_euclid(1_000_000_000);
        (i128::from(self.schedule.tick) + ticks).clamp(0, u32::MAX.into()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(50);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std() + Duration::from_secs(3600)
    }

    #[test]
    fn the_least_delayed_tick_defines_the_line() {
        let start = start();
        let mut line = TickLine::new(Schedule::new(20, 100, start + Duration::from_millis(30)));
        line.observe(101, start + PERIOD + Duration::from_millis(10));
        line.observe(102, start + 2 * PERIOD);
        line.observe(103, start + 3 * PERIOD + Duration::from_millis(7));
        let late = line.lateness(103, start + 3 * PERIOD + Duration::from_millis(7));
        assert!(late.abs_diff(Duration::from_millis(7)) < Duration::from_micros(20));
        let due = line.due(104);
        assert!(due - start >= 4 * PERIOD && due - start < 4 * PERIOD + Duration::from_micros(20));
        assert_eq!(line.tick_at(due + Duration::from_millis(1)), 104);
        assert_eq!(line.tick_at(start + Duration::from_millis(199)), 103);
    }

    #[test]
    fn a_clock_that_drifts_apart_is_not_lateness() {
        // One hour against a server whose clock is 50 ppm slow.
        let start = start();
        let mut line = TickLine::new(Schedule::new(20, 1, start));
        let mut at = start;
        let mut tick = 1;
        for _ in 0..72_000 {
            at += PERIOD + PERIOD / 20_000;
            tick += 1;
            line.observe(tick, at);
        }
        assert!(line.lateness(tick, at) < Duration::from_micros(10));
    }

    #[test]
    fn a_server_that_falls_behind_is_late_by_all_it_lost() {
        let start = start();
        let mut line = TickLine::new(Schedule::new(20, 1, start));
        let mut at = start;
        for tick in 2..102 {
            at += Duration::from_millis(60);
            line.observe(tick, at);
        }
        let late = line.lateness(101, at);
        assert!(late > Duration::from_millis(995) && late <= Duration::from_secs(1));
    }
}
