//! How late each tick reached a player, without coordinated omission.
//!
//! A tick is due on the line through the least delayed tick of its stream. A server that pauses does not send less
//! samples for it: every tick that it owed meanwhile arrives, alone or with others in one update, and each is charged
//! from the moment at which it was due. The line is only known afterwards, so arrivals are kept for a window and judged
//! at its end; it may rise by no more than the drift of two clocks, so a server that slows down for good stays late.

use crate::client::schedule::{Schedule, TickLine};
use std::time::{Duration, Instant};

/// Arrivals per window.
const WINDOW: usize = 1024;

/// The arrivals of one stream.
#[derive(Debug)]
pub(super) struct Lateness {
    schedule: Schedule,
    line: TickLine,
    started: Instant,
    waiting: Vec<Arrival>,
}

/// A tick that came, not yet judged.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// Since the stream's first tick.
    after_us: u64,
    /// On the grid of ticks.
    offset_ns: i64,
}

impl Lateness {
    /// Starts with the first tick of a stream.
    pub(super) fn new(rate_hz: u32, tick: u32, at: Instant) -> Self {
        let schedule = Schedule::new(rate_hz, tick, at);
        Self { schedule, line: TickLine::new(schedule), started: at, waiting: Vec::new() }
    }

    /// Takes in the arrival of an update that brought these ticks; `record` gets what can be judged: when a tick came,
    /// and how late. Returns how late the newest one is, as far as is known by now.
    pub(super) fn arrived(
        &mut self,
        newest: u32,
        ticks: u32,
        at: Instant,
        record: impl FnMut(Instant, Duration),
    ) -> Duration {
        self.line.observe(newest, at);
        let oldest = newest.saturating_sub(ticks.saturating_sub(1));
        let after_us = at.saturating_duration_since(self.started).as_micros() as u64;
        self.waiting.extend((oldest..=newest).map(|tick| {
            let offset_ns = self.schedule.offset(tick, at);
            Arrival { after_us, offset_ns }
        }));
        let so_far = self.line.lateness(newest, at);
        if self.waiting.len() >= WINDOW {
            self.flush(record);
        }
        so_far
    }

    /// Judges what is left; at the end of the stream.
    pub(super) fn flush(&mut self, mut record: impl FnMut(Instant, Duration)) {
        for Arrival { after_us, offset_ns } in self.waiting.drain(..) {
            let at = self.started + Duration::from_micros(after_us);
            record(at, self.line.lateness_of_offset(offset_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lateness: &mut Lateness) -> Vec<u128> {
        let mut all = Vec::new();
        lateness.flush(|_, late| all.push((late.as_micros() + 500) / 1000));
        all
    }

    #[test]
    fn every_tick_of_a_pause_is_charged() {
        // 20 Hz; tick 3 pauses for 200 ms, and ticks 3 to 6 come in one update.
        let start = tokio::time::Instant::now().into_std();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lateness = Lateness::new(20, 1, at(50));
        lateness.arrived(1, 1, at(50), |_, _| ());
        lateness.arrived(2, 1, at(100), |_, _| ());
        lateness.arrived(6, 4, at(350), |_, _| ());
        lateness.arrived(7, 1, at(350), |_, _| ());
        assert_eq!(judged(&mut lateness), [0, 0, 200, 150, 100, 50, 0]);
    }

    #[test]
    fn a_late_first_tick_does_not_flatter_the_others() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lateness = Lateness::new(20, 1, at(80));
        lateness.arrived(1, 1, at(80), |_, _| ());
        lateness.arrived(2, 1, at(110), |_, _| ());
        lateness.arrived(3, 1, at(150), |_, _| ());
        assert_eq!(judged(&mut lateness), [30, 10, 0]);
    }
}
