//! How much later than its best a thing that should happen at a fixed rate happens: rooms' ticks, and timers that do nothing
//! else, in the same process and by the same measure.

use crate::clock;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Timers beside the rooms; each has a phase of its own, as rooms have.
const TIMERS: u32 = 16;
/// What is best is found among so many times that follow.
const FOLLOWING: usize = 40;
/// Times are counted in steps of 10 µs, up to a second: more than a tick is given up for.
const BIN_US: u32 = 10;
const BINS: usize = 100_000;

static LATENESS: Mutex<[Vec<u32>; 2]> = Mutex::new([Vec::new(), Vec::new()]);

/// Of whom a time is.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    /// A room's tick, when its rules begin.
    Rooms,
    /// A bare timer.
    Timers,
}

/// What should happen every so often. What comes late is made up for at once, or given up in whole periods: either way the times that follow
/// come when they should, and the best of those says when a time was due. So when exactly that was need not be known, and what the
/// timer's grain adds to all of them is left out of both.
#[derive(Debug, Default)]
pub struct Schedule {
    period_us: u32,
    count: usize,
    /// The last times, each less the periods that went before it; the oldest is the next to be replaced.
    shifted_us: Vec<u32>,
}

impl Schedule {
    /// Nothing has happened yet.
    pub fn every(period_us: u32) -> Self {
        Self { period_us, count: 0, shifted_us: Vec::with_capacity(FOLLOWING + 1) }
    }

    /// It happened: how late it was `FOLLOWING` times ago, once there are as many.
    pub fn began(&mut self, now_us: u32) -> Option<u32> {
        let shifted_us = now_us.wrapping_sub((self.count as u32).wrapping_mul(self.period_us));
        let oldest = self.count % (FOLLOWING + 1);
        self.count += 1;
        if self.shifted_us.len() <= FOLLOWING {
            self.shifted_us.push(shifted_us);
        } else {
            self.shifted_us[oldest] = shifted_us;
        }
        if self.shifted_us.len() <= FOLLOWING {
            return None;
        }
        let seen_us = self.shifted_us[self.count % (FOLLOWING + 1)];
        let after = self.shifted_us.iter().map(|us| us.wrapping_sub(seen_us) as i32);
        after.min().map(i32::unsigned_abs)
    }
}

/// Counts a time.
pub fn note(whose: Whose, late_us: Option<u32>) {
    let Some(late_us) = late_us else { return };
    let mut all = LATENESS.lock().unwrap_or_else(PoisonError::into_inner);
    let bins = &mut all[whose as usize];
    bins.resize(BINS, 0);
    bins[((late_us / BIN_US) as usize).min(BINS - 1)] += 1;
}

/// Times since this was last asked.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Lateness {
    /// How many.
    pub count: u64,
    /// µs
    pub p50_us: u32,
    /// µs
    pub p99_us: u32,
}

/// Times since this was last asked.
pub fn take(whose: Whose) -> Lateness {
    let mut all = LATENESS.lock().unwrap_or_else(PoisonError::into_inner);
    let bins = std::mem::take(&mut all[whose as usize]);
    let count: u64 = bins.iter().map(|count| u64::from(*count)).sum();
    let up_to = |share: f64| {
        let (wanted, mut sum) = ((count as f64 * share) as u64, 0);
        let bin = bins.iter().position(|count| {
            sum += u64::from(*count);
            sum > wanted
        });
        bin.unwrap_or_default() as u32 * BIN_US
    };
    Lateness { count, p50_us: up_to(0.5), p99_us: up_to(0.99) }
}

/// Timers that do nothing else, at this rate.
pub fn timers(rate_hz: u32) -> JoinSet<()> {
    let period = Duration::from_secs(1) / rate_hz.max(1);
    let mut timers = JoinSet::new();
    for timer in 0..TIMERS {
        let mut due = Instant::now() + period * timer / TIMERS;
        timers.spawn(async move {
            let mut schedule = Schedule::every(period.as_micros() as u32);
            loop {
                tokio::time::sleep_until(due).await;
                note(Whose::Timers, schedule.began(clock::now_us()));
                due += period;
            }
        });
    }
    timers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How late each was, of so many that have enough after them.
    fn lateness(times: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut schedule = Schedule::every(50);
        times.into_iter().filter_map(|now_us| schedule.began(now_us)).collect()
    }

    #[test]
    fn a_time_is_as_late_as_those_that_follow_are_not() {
        // Every 50, but for one that is 15 late, and one that is 120 late, with two that make up for it.
        let times = (0..100).map(|time| match time {
            7 => 1000 + 7 * 50 + 15,
            20..=22 => 1000 + 20 * 50 + 120 + (time - 20),
            _ => 1000 + time * 50,
        });
        let late = lateness(times);
        assert_eq!(late.len(), 100 - FOLLOWING);
        assert_eq!((late[7], late[20], late[21], late[22]), (15, 120, 71, 22));
        assert_eq!(late.iter().filter(|us| **us > 0).count(), 4);
    }

    #[test]
    fn what_is_given_up_does_not_make_later_times_late() {
        // After the tenth, three periods are given up, and the clock goes over its end.
        let begin = u32::MAX - 2000;
        let times =
            (0..100).map(|time| begin.wrapping_add(time * 50 + if time > 10 { 150 } else { 0 }));
        assert!(lateness(times).iter().all(|us| *us == 0));
    }
}
