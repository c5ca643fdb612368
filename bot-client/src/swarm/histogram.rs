//! All times of a run, in bars on a logarithmic axis.

use super::stats::Spread;
use serde::{Deserialize, Serialize};

/// How many bars there are from 1 to 10 ms, and so on.
pub const BARS_PER_DECADE: i32 = 20;

/// The index of the bar that holds everything below 0.01 ms.
const LOWEST: i32 = -2 * BARS_PER_DECADE;

/// The index of the bar that holds everything above 1000 s.
const HIGHEST: i32 = 6 * BARS_PER_DECADE;

/// How many times lie in each span of the axis; only spans that have some, ascending: bar `n` is from 10^(n/20) ms on, up
/// to the next. There are at most 161.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bars(pub Vec<(i32, u64)>);

impl Bars {
    /// The bars of a spread.
    pub fn of(spread: &Spread) -> Self {
        let mut bars: Vec<(i32, u64)> = Vec::new();
        for (ms, count) in spread.counts() {
            let bar = bar_of(ms);
            match bars.last_mut() {
                Some((last, sum)) if *last == bar => *sum += count,
                _ => bars.push((bar, count)),
            }
        }
        Self(bars)
    }

    /// Only what [`Bars::of`] can have made, whoever wrote it.
    #[must_use]
    pub fn sound(self) -> Self {
        let mut bars = self.0;
        bars.retain(|(bar, count)| (LOWEST..=HIGHEST).contains(bar) && *count > 0);
        bars.sort_unstable_by_key(|(bar, _)| *bar);
        bars.dedup_by_key(|(bar, _)| *bar);
        Self(bars)
    }

    /// How many times there are.
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// The bar of a time.
fn bar_of(ms: f64) -> i32 {
    let bar = (ms.log10() * f64::from(BARS_PER_DECADE)).floor();
    // The logarithm of 0 is below everything.
    bar.clamp(f64::from(LOWEST), f64::from(HIGHEST)) as i32
}

/// From which time on a bar is.
pub fn bar_from_ms(bar: i32) -> f64 {
    10_f64.powf(f64::from(bar) / f64::from(BARS_PER_DECADE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bars_hold_every_time_and_are_where_it_is() {
        let mut spread = Spread::default();
        for ms in [0, 1, 50, 51, 999_999] {
            spread.record(Duration::from_millis(ms));
        }
        let bars = Bars::of(&spread);
        assert_eq!(bars.sum(), 5);
        for (bar, _) in &bars.0 {
            let (from, to) = (bar_from_ms(*bar), bar_from_ms(bar + 1));
            let is_in = |ms: f64| (from..to).contains(&ms);
            // What is recorded as 0 counts as less than everything, and 120 s is the longest.
            assert!([0.01, 1.0, 50.0, 51.0, 120_000.0].into_iter().any(is_in), "{from} to {to}");
        }
    }

    #[test]
    fn bars_of_somebody_else_are_made_sound() {
        let wild =
            Bars(vec![(i32::MAX, 1), (3, 2), (-5, 0), (3, 7), (i32::MIN, 9), (-7, u64::MAX)]);
        assert_eq!(wild.sound(), Bars(vec![(-7, u64::MAX), (3, 2)]));
    }
}
