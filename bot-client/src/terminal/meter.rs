//! How the way to the server is: what came in the last seconds.

use crate::client::Updated;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is averaged over.
const WINDOW: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: Instant,
    bytes: usize,
    ticks: u32,
}

/// Counts updates.
#[derive(Debug, Default)]
pub(super) struct Meter {
    arrivals: VecDeque<Arrival>,
    corrections: u64,
    last_correction: f64,
}

/// What the last two seconds were like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) bytes_per_s: f64,
    pub(super) ticks_per_s: f64,
    /// Between updates, on average.
    pub(super) gap: Duration,
    /// The longest time between two, or since the last one.
    pub(super) gap_max: Duration,
    /// Since the beginning.
    pub(super) corrections: u64,
    /// How large the last one was, in units.
    pub(super) last_correction: f64,
}

impl Meter {
    /// An update came.
    pub(super) fn note(&mut self, update: &Updated, now: Instant) {
        self.arrivals.push_back(Arrival { at: now, bytes: update.wire_bytes, ticks: update.ticks });
        while self.arrivals.front().is_some_and(|old| now - old.at > WINDOW) {
            self.arrivals.pop_front();
        }
        if let Some(correction) = update.correction {
            self.corrections += 1;
            self.last_correction = correction.units;
        }
    }

    /// Another stream: what came before it is no measure of it.
    pub(super) fn restart(&mut self) {
        self.arrivals.clear();
    }

    /// What it is like now.
    pub(super) fn reading(&self, now: Instant) -> Reading {
        let mut reading = Reading {
            corrections: self.corrections,
            last_correction: self.last_correction,
            ..Reading::default()
        };
        let (Some(first), Some(last)) = (self.arrivals.front(), self.arrivals.back()) else {
            return reading;
        };
        let pairs = self.arrivals.iter().zip(self.arrivals.iter().skip(1));
        let longest = pairs.map(|(a, b)| b.at - a.at).max().unwrap_or_default();
        let waiting = now.saturating_duration_since(last.at);
        reading.gap_max = longest.max(waiting);
        let count = self.arrivals.len() - 1;
        let seconds = (last.at - first.at).max(waiting).as_secs_f64();
        if count > 0 && seconds > 0.0 {
            // The first arrival only marks where the measured time begins.
            let (bytes, ticks) = self
                .arrivals
                .iter()
                .skip(1)
                .fold((0, 0), |(b, t), arrival| (b + arrival.bytes, t + arrival.ticks));
            reading.bytes_per_s = bytes as f64 / seconds;
            reading.ticks_per_s = f64::from(ticks) / seconds;
            reading.gap = (last.at - first.at) / count as u32;
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Correction;

    #[test]
    fn an_even_stream_reads_as_its_rate() {
        let (mut meter, start) = (Meter::default(), tokio::time::Instant::now().into_std());
        let mut now = start;
        for tick in 1..=100 {
            now = start + Duration::from_millis(50) * tick;
            let correction = (tick == 3).then_some(Correction { tick, units: 4.0 });
            let update =
                Updated { tick, ticks: 1, wire_bytes: 100, correction, ..Updated::default() };
            meter.note(&update, now);
        }
        let reading = meter.reading(now + Duration::from_millis(10));
        assert!((reading.ticks_per_s - 20.0).abs() < 0.01, "{reading:?}");
        assert!((reading.bytes_per_s - 2000.0).abs() < 1.0, "{reading:?}");
        assert_eq!(reading.gap, Duration::from_millis(50));
        assert_eq!((reading.corrections, reading.last_correction), (1, 4.0));
        let silent = meter.reading(now + Duration::from_millis(900));
        assert_eq!(silent.gap_max, Duration::from_millis(900));
    }
}
