//! Axes: from values to places, and the round values to write beside them.

/// From values to 0 (the lower end) … 1 (the upper end).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Axis {
    /// From 0 to this.
    Linear(f64),
    /// From the first to the second; both above 0.
    Log(f64, f64),
}

/// What stands for 0 on a logarithmic axis, and everything below it.
const LOG_LEAST: f64 = 0.01;

/// How many values are written beside an axis.
const TICKS_MAX: usize = 6;

impl Axis {
    /// From 0 to a round number that is not below any of these.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        Self::Linear(if most > 0.0 {
            round_up(most, &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
        } else {
            1.0
        })
    }

    /// Between round numbers around these, and at least a factor of 4 wide.
    pub(super) fn log(values: impl Iterator<Item = f64>) -> Self {
        let values = values.filter(|value| value.is_finite()).map(|value| value.max(LOG_LEAST));
        let (least, most) = values.fold((f64::MAX, LOG_LEAST), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let (low, high) = (round_down(least.min(most)), round_up(most, &STEPS));
        if high / low >= 4.0 {
            Self::Log(low, high)
        } else {
            Self::Log(round_down(low / 1.5), round_up(high * 1.5, &STEPS))
        }
    }

    /// Where a value is.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear(most) => value / most,
            Self::Log(low, high) => (value.max(LOG_LEAST) / low).ln() / (high / low).ln(),
        };
        place.clamp(0.0, 1.0)
    }

    /// The values to write beside it.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear(most) => {
                let step = round_up(most / 4.0, &[1.0, 2.0, 2.5, 5.0]);
                (0..=4).map(|n| f64::from(n) * step).filter(|tick| *tick <= most * 1.0001).collect()
            }
            Self::Log(low, high) => {
                let by = |steps: &[f64]| log_ticks(low, high, steps);
                let finer = [&STEPS[..], &[1.0, 3.0]].map(by);
                let few = finer.into_iter().find(|ticks| ticks.len() <= TICKS_MAX);
                few.unwrap_or_else(|| by(&[1.0]))
            }
        }
    }
}

const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

fn log_ticks(low: f64, high: f64, steps: &[f64]) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    decades
        .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
        .filter(|tick| (low * 0.999..=high * 1.001).contains(tick))
        .collect()
}

fn round_up(value: f64, steps: &[f64]) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let up = steps.iter().map(|step| step * decade).find(|round| *round >= value * 0.9999);
    up.unwrap_or(decade * 10.0)
}

fn round_down(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let down = STEPS.iter().rev().map(|step| step * decade).find(|round| *round <= value * 1.0001);
    down.unwrap_or(decade)
}

/// The moments to write below a time line of this many seconds: at most nine.
pub(super) fn moments(span_s: f64) -> Vec<f64> {
    const STEPS_S: [u32; 17] =
        [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];
    let fits = |step: &f64| span_s / step <= 8.0;
    let mut steps = STEPS_S.into_iter().map(f64::from);
    let step = steps.find(fits).unwrap_or_else(|| (span_s / 8.0 / 86_400.0).ceil() * 86_400.0);
    (0..=8).map(|n| f64::from(n) * step).filter(|second| *second <= span_s).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_are_round_and_hold_everything() {
        assert_eq!(Axis::linear([3.0, 47.0].into_iter()), Axis::Linear(50.0));
        assert_eq!(Axis::linear(std::iter::empty()), Axis::Linear(1.0));
        assert_eq!(Axis::log([0.7, 180.0].into_iter()), Axis::Log(0.5, 200.0));
        let Axis::Log(low, high) = Axis::log([50.0, 51.0].into_iter()) else {
            panic!("it is logarithmic");
        };
        assert!(low < 50.0 && high >= 100.0 && high / low >= 4.0, "{low} {high}");
    }

    proptest! {
        #[test]
        fn whatever_the_values_are_there_are_few_ticks_within(
            values in prop::collection::vec(prop::num::f64::ANY, 0..20),
        ) {
            let positive = || values.iter().map(|value| value.abs().min(1e12));
            for axis in [Axis::linear(positive()), Axis::log(positive())] {
                let ticks = axis.ticks();
                prop_assert!((1..=20).contains(&ticks.len()), "{axis:?} {ticks:?}");
                for place in ticks.iter().chain(&values).map(|value| axis.place(*value)) {
                    prop_assert!(place.is_nan() || (0.0..=1.0).contains(&place));
                }
            }
        }

        #[test]
        fn a_time_line_has_few_moments(span_s in 0.0..1e9_f64) {
            prop_assert!((1..=9).contains(&moments(span_s).len()));
        }
    }
}
