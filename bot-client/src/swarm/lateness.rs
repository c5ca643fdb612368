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
    offsets: Vec<i64>,
}

impl Lateness {
    /// Starts with the first tick of a stream.
    pub(super) fn new(rate_hz: u32, tick: u32, at: Instant) -> Self {
        let schedule = Schedule::new(rate_hz, tick, at);
        Self { schedule, line: TickLine::new(schedule), offsets: Vec::new() }
    }

    /// Takes in the arrival of an update that brought these ticks; `record` gets what can be judged.
    pub(super) fn arrived(
        &mut self,
        newest: u32,
        ticks: u32,
        at: Instant,
        record: impl FnMut(Duration),
    ) {
        self.line.observe(newest, at);
        let oldest = newest.saturating_sub(ticks.saturating_sub(1));
        self.offsets.extend((oldest..=newest).map(|tick| self.schedule.offset(tick, at)));
        if self.offsets.len() >= WINDOW {
            self.flush(record);
        }
    }

    /// Judges what is left; at the end of the stream.
    pub(super) fn flush(&mut self, mut record: impl FnMut(Duration)) {
        for offset in self.offsets.drain(..) {
            record(self.line.lateness_of_offset(offset));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lateness: &mut Lateness) -> Vec<u128> {
        let mut all = Vec::new();
        lateness.flush(|late| all.push((late.as_micros() + 500) / 1000));
        all
    }

    #[test]
    fn every_tick_of_a_pause_is_charged() {
        // 20 Hz; tick 3 pauses for 200 ms, and ticks 3 to 6 come in one update.
        let start = tokio::time::Instant::now().into_std();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lateness = Lateness::new(20, 1, at(50));
        lateness.arrived(1, 1, at(50), |_| ());
        lateness.arrived(2, 1, at(100), |_| ());
        lateness.arrived(6, 4, at(350), |_| ());
        lateness.arrived(7, 1, at(350), |_| ());
        assert_eq!(judged(&mut lateness), [0, 0, 200, 150, 100, 50, 0]);
    }

    #[test]
    fn a_late_first_tick_does_not_flatter_the_others() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lateness = Lateness::new(20, 1, at(80));
        lateness.arrived(1, 1, at(80), |_| ());
        lateness.arrived(2, 1, at(110), |_| ());
        lateness.arrived(3, 1, at(150), |_| ());
        assert_eq!(judged(&mut lateness), [30, 10, 0]);
    }
}
