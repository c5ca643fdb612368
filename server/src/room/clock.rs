//! When ticks are due.

use std::time::Duration;
use tokio::time::Instant;

/// The schedule of a room's ticks: fixed rate, with a phase of its own so that rooms do not all tick at once.
#[derive(Debug)]
pub struct Clock {
    period: Duration,
    due: Instant,
    catch_up_ticks_max: u32,
}

/// What to do about a tick that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// How long after its time the tick starts.
    pub late: Duration,
    /// How many ticks' time was given up, because catching up would have taken too many at once.
    pub skipped: u64,
}

impl Clock {
    /// The first tick is due one period and `phase` (a part of 2^32 of the period) after `now`.
    pub fn new(now: Instant, tick_rate_hz: u32, phase: u32, catch_up_ticks_max: u32) -> Self {
        let period = Duration::from_secs(1) / tick_rate_hz.max(1);
        let phase = (period.as_nanos() * u128::from(phase)) >> 32;
        let due = now + period + Duration::from_nanos(phase as u64);
        Self { period, due, catch_up_ticks_max }
    }

    /// Of a room that has come from elsewhere: the first tick is due in less than a period.
    pub fn resumed(now: Instant, tick_rate_hz: u32, phase: u32, catch_up_ticks_max: u32) -> Self {
        let clock = Self::new(now, tick_rate_hz, phase, catch_up_ticks_max);
        Self { due: clock.due - clock.period, ..clock }
    }

    /// When the next tick is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Takes the due tick at `now`: schedules the next one. Late ticks follow at once, but at most a few: what is later than
    /// that is given up, in whole periods, so that lateness never feeds on itself.
    pub fn take(&mut self, now: Instant) -> Due {
        let late = now.saturating_duration_since(self.due);
        let behind = late.as_nanos() / self.period.as_nanos().max(1);
        let skipped = behind.saturating_sub(u128::from(self.catch_up_ticks_max)) as u64;
        let periods = u32::try_from(skipped).unwrap_or(u32::MAX).saturating_add(1);
        self.due += self.period * periods;
        Due { late, skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn late_ticks_are_caught_up_at_once_but_only_a_few() {
        let start = Instant::now();
        let mut clock = Clock::new(start, 20, 0, 3);
        assert_eq!(clock.due(), start + 50 * MS);
        assert_eq!(clock.take(start + 50 * MS), Due { late: Duration::ZERO, skipped: 0 });
        // A pause of ten periods: seven are given up, three are made up for.
        let after = start + 600 * MS;
        assert_eq!(clock.take(after), Due { late: 500 * MS, skipped: 7 });
        let mut ticks = 0;
        while clock.due() <= after {
            assert_eq!(clock.take(after).skipped, 0);
            ticks += 1;
        }
        assert_eq!(ticks, 3);
        assert_eq!(clock.due(), start + 650 * MS);
    }

    #[test]
    fn phases_spread_rooms_over_the_period() {
        let start = Instant::now();
        let half = Clock::new(start, 20, 1 << 31, 3);
        assert_eq!(half.due(), start + 75 * MS);
    }
}
