//! Small histograms, of which a run keeps thousands.

use hdrhistogram::Histogram;
use std::time::Duration;

/// What is longer counts as this long. Together with two digits it bounds a sketch to 12 KiB.
const LONGEST: Duration = Duration::from_secs(120);

/// Times in microseconds with two digits: within 1 %, which is less than a plot can show.
#[derive(Clone, Debug)]
pub struct Sketch(Histogram<u32>);

impl Default for Sketch {
    fn default() -> Self {
        // It grows with what is recorded, so that an empty second costs next to nothing.
        Self(Histogram::new(2).expect("two digits are a constant that fits"))
    }
}

impl Sketch {
    /// Takes in a time.
    pub fn record(&mut self, time: Duration) {
        // Within bounds, so it cannot fail.
        let _ = self.0.record(micros(time));
    }

    /// Takes in a time between two events that should be `period` apart, and the waits of those that were missing.
    pub fn record_missing(&mut self, time: Duration, period: Duration) {
        let period = period.as_micros().max(1) as u64;
        // Within bounds, so it cannot fail.
        let _ = self.0.record_correct(micros(time), period);
    }

    /// Adds another one's; the outcome is that of recording everything in one.
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

    /// A quantile in milliseconds; 0 when there are none.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        // The highest value that the bucket stands for may lie above what was seen.
        self.0.value_at_quantile(quantile).min(self.0.max()) as f64 / 1000.0
    }
}

/// At least 1: a sketch tells nothing apart below a microsecond.
fn micros(time: Duration) -> u64 {
    time.min(LONGEST).as_micros().max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_the_longest_counts_as_that_and_costs_no_more() {
        let mut sketch = Sketch::default();
        sketch.record(Duration::MAX);
        sketch.record_missing(Duration::MAX, Duration::from_secs(60));
        assert_eq!(sketch.len(), 3);
        assert!((sketch.quantile_ms(1.0) - 120_000.0).abs() < 1200.0);
        assert!(sketch.0.distinct_values() * size_of::<u32>() <= 12 * 1024);
    }
}
