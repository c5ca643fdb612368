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
/// Times are counted in steps of 10 µs, up to 100 ms.
const BIN_US: u32 = 10;
const BINS: usize = 10_000;

/// On time is what is early by less than this part of a period.
const EARLY_DIVISOR: u32 = 16;

static LATENESS: Mutex<[Vec<u32>; 2]> = Mutex::new([Vec::new(), Vec::new()]);

/// Of whom a time is.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    /// A room's tick, when its rules begin.
    Rooms,
    /// A bare timer.
    Timers,
}

/// What should happen every so often: its best time so far is what all others are compared with. So when exactly it was due
/// need not be known, and what the timer's grain adds to all of them is left out of both.
#[derive(Debug, Default)]
pub struct Schedule {
    period_us: u32,
    due_us: Option<u32>,
    /// How many times were missed, and may be made up for.
    owed: u32,
}

impl Schedule {
    /// Nothing has happened yet.
    pub fn every(period_us: u32) -> Self {
        Self { period_us, due_us: None, owed: 0 }
    }

    /// It happened: how much later than its best. `None`: it makes up for one that was later than a whole period.
    pub fn began(&mut self, now_us: u32) -> Option<u32> {
        let period_us = self.period_us.max(1);
        let due_us = self.due_us.unwrap_or(now_us);
        let late_us = now_us.wrapping_sub(due_us) as i32;
        // What makes up for another comes at once after it; what is on time may be a little early.
        if self.owed > 0 && late_us < -((period_us / EARLY_DIVISOR) as i32) {
            self.owed -= 1;
            return None;
        }
        let best_us = if late_us < 0 && self.owed == 0 { now_us } else { due_us };
        let late_us = late_us.max(0) as u32;
        self.owed = late_us / period_us;
        self.due_us = Some(best_us.wrapping_add((self.owed + 1) * period_us));
        Some(late_us)
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

    #[test]
    fn what_happens_is_compared_with_the_best_so_far() {
        let mut schedule = Schedule::every(50);
        let late = [1007, 1055, 1120, 1155, 1330, 1331, 1356].map(|now| schedule.began(now));
        // The first; 2 early: that is the best from now on; 15 late; on time; late by two and a half periods; one that makes up for
        // it; 1 late.
        let late_us = [Some(0), Some(0), Some(15), Some(0), Some(125), None, Some(1)];
        assert_eq!(late, late_us);
    }

    #[test]
    fn what_was_missed_need_not_be_made_up_for() {
        let mut schedule = Schedule::every(50);
        // Two are missed; then each comes as before, now and then a little early.
        let late = [1000, 1050, 1160, 1198, 1250, 1299].map(|now| schedule.began(now));
        assert_eq!(late, [Some(0), Some(0), Some(60), Some(0), Some(0), Some(0)]);
    }
}
