//! Goal: however long a run is and in whatever order things are noted, nothing is lost, percentiles are those of all
//! samples of the span, and the number of buckets is bounded.

use super::*;
use proptest::prelude::*;

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 1.0];

fn note(bucket: &mut Bucket, micros: u64) {
    bucket.update_gap.record(Duration::from_micros(micros));
    bucket.counters.updates += 1;
    bucket.counters.update_bytes += micros;
    bucket.happenings.drops += micros % 2;
    bucket.playing_sum += micros % 7;
    bucket.looks += 1;
}

proptest! {
    #[test]
    fn coarsening_keeps_sums_and_percentiles(
        samples in prop::collection::vec((0_u32..20_000, 1_u64..5_000_000), 1..400),
    ) {
        let mut series = Series::default();
        let mut fresh = Fresh::default();
        for (index, (second, micros)) in samples.iter().enumerate() {
            // Some go in one by one, some in batches, as in a run.
            if index % 3 == 0 {
                note(series.at(*second), *micros);
            } else {
                note(fresh.at(*second), *micros);
            }
        }
        series.add(&fresh);
        let width = series.bucket_s();
        prop_assert!(series.buckets().len() <= BUCKETS_MAX && width.is_power_of_two());
        for (index, bucket) in series.buckets().iter().enumerate() {
            let mut expected = Bucket::default();
            for (second, micros) in &samples {
                if (second / width) as usize == index {
                    note(&mut expected, *micros);
                }
            }
            prop_assert_eq!(bucket.counters, expected.counters);
            prop_assert_eq!(bucket.happenings, expected.happenings);
            prop_assert_eq!(bucket.playing(), expected.playing());
            prop_assert_eq!(bucket.update_gap.len(), expected.update_gap.len());
            for quantile in QUANTILES {
                let (is, should) = (&bucket.update_gap, &expected.update_gap);
                let (is, should) = (is.quantile_ms(quantile), should.quantile_ms(quantile));
                prop_assert!((is - should).abs() < 1e-9, "{quantile}: {is} is not {should}");
            }
        }
    }

    #[test]
    fn percentiles_are_within_a_hundredth(mut micros in prop::collection::vec(1_u64..100_000_000, 1..200)) {
        let mut sketch = Sketch::default();
        for time in &micros {
            sketch.record(Duration::from_micros(*time));
        }
        micros.sort_unstable();
        for quantile in QUANTILES {
            let rank = ((micros.len() as f64 * quantile).ceil() as usize).clamp(1, micros.len());
            let exact = micros[rank - 1] as f64 / 1000.0;
            let is = sketch.quantile_ms(quantile);
            prop_assert!((is - exact).abs() <= exact * 0.01, "{quantile}: {is} is not {exact}");
        }
    }
}

#[test]
fn a_weeks_run_stays_bounded() {
    let mut series = Series::default();
    let week_s = 7 * 24 * 3600;
    for second in (0..week_s).step_by(7) {
        series.at(second).counters.updates += 1;
    }
    assert!(series.buckets().len() <= BUCKETS_MAX);
    assert_eq!(series.bucket_s(), 1024);
    let sum: u64 = series.buckets().iter().map(|bucket| bucket.counters.updates).sum();
    assert_eq!(sum, u64::from(week_s.div_ceil(7)));
}

#[test]
fn the_last_second_that_can_be_named_is_a_bucket_like_any_other() {
    let mut series = Series::default();
    series.at(u32::MAX).counters.updates = 1;
    assert!(series.buckets().len() <= BUCKETS_MAX);
    assert_eq!(series.buckets().last().map(|bucket| bucket.counters.updates), Some(1));
}
