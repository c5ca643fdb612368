//! The series of a run as columns of numbers: what the JSON has of it, and what is drawn.

use super::series::{Bucket, Series};
use super::sketch::Sketch;
use crate::client::Counters;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A spread of times in milliseconds, by bucket; null where there were none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpreadColumns {
    /// Half of them are at most this.
    pub p50: Vec<Option<f64>>,
    /// 90 % of them are at most this.
    pub p90: Vec<Option<f64>>,
    /// 99 % of them are at most this.
    pub p99: Vec<Option<f64>>,
    /// The largest.
    pub max: Vec<Option<f64>>,
    /// How many there were.
    pub count: Vec<u64>,
}

impl SpreadColumns {
    fn of(buckets: &[Bucket], spread: impl Fn(&Bucket) -> &Sketch) -> Self {
        let quantiles = |quantile: f64| {
            let of = |sketch: &Sketch| (!sketch.is_empty()).then(|| sketch.quantile_ms(quantile));
            buckets.iter().map(|bucket| of(spread(bucket))).collect()
        };
        Self {
            p50: quantiles(0.5),
            p90: quantiles(0.9),
            p99: quantiles(0.99),
            max: quantiles(1.0),
            count: buckets.iter().map(|bucket| spread(bucket).len()).collect(),
        }
    }
}

/// The kinds of happenings that are marked on the time line: name in the JSON, what people read, and whether it is a fault.
pub const MARKS: [Mark; 13] = [
    mark("drops", "dropped on purpose", false, |bucket| bucket.happenings.drops),
    mark("resumes", "resumed", false, |bucket| bucket.happenings.resumes),
    mark("redirects", "followed their room to another server", false, |bucket| {
        bucket.happenings.redirects
    }),
    mark("stops_reading", "stopped reading on purpose", false, |bucket| {
        bucket.happenings.stops_reading
    }),
    mark("refused_moves", "moves refused by the game", false, |bucket| bucket.counters.refusals),
    mark("hangs", "waits of 500 ms and more", true, |bucket| bucket.happenings.hangs),
    mark("disconnects", "disconnected", true, |bucket| bucket.happenings.disconnects),
    mark("sessions_lost", "sessions lost", true, |bucket| bucket.happenings.sessions_lost),
    mark("set_backs", "sessions set back", true, |bucket| bucket.counters.set_backs),
    mark("desyncs", "desyncs, broken updates", true, |bucket| {
        bucket.counters.desyncs + bucket.counters.broken_updates
    }),
    mark("move_faults", "moves lost, doubled, altered", true, |bucket| {
        move_faults(&bucket.counters)
    }),
    mark("violations", "rules broken, wrong identity", true, |bucket| {
        let Counters { identity_changes, stale_epochs, .. } = bucket.counters;
        identity_changes + stale_epochs + bucket.happenings.violations
    }),
    mark("errors", "refusals and errors", true, |bucket| bucket.happenings.errors),
];

const fn mark(
    name: &'static str,
    label: &'static str,
    is_fault: bool,
    count: fn(&Bucket) -> u64,
) -> Mark {
    Mark { name, label, is_fault, count }
}

fn move_faults(counters: &Counters) -> u64 {
    counters.lost_moves + counters.duplicate_moves + counters.altered_moves
}

/// A kind of happening.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// In the JSON.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// Whether a run is better without.
    pub is_fault: bool,
    count: fn(&Bucket) -> u64,
}

/// See the module. All columns are as long as there are buckets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Columns {
    /// How many seconds a bucket is. The last one is as long as the run goes on.
    pub bucket_s: u32,
    /// Between updates.
    pub update_gap_ms: SpreadColumns,
    /// From a tick's due time to its arrival.
    pub tick_to_receive_ms: SpreadColumns,
    /// From a move to the update that contains it.
    pub move_to_ack_ms: SpreadColumns,
    /// The age of the world that players held.
    pub staleness_ms: SpreadColumns,
    /// Players that played, on average.
    pub players: Vec<Option<f64>>,
    /// Updates received.
    pub updates: Vec<u64>,
    /// Their bytes, framing included.
    pub bytes: Vec<u64>,
    /// Moves made.
    pub moves: Vec<u64>,
    /// How many of each of [`MARKS`].
    pub marks: BTreeMap<String, Vec<u64>>,
}

impl Columns {
    pub(super) fn of(series: &Series) -> Self {
        let buckets = series.buckets();
        let column = |of: fn(&Bucket) -> u64| buckets.iter().map(of).collect::<Vec<u64>>();
        Self {
            bucket_s: series.bucket_s(),
            update_gap_ms: SpreadColumns::of(buckets, |bucket| &bucket.update_gap),
            tick_to_receive_ms: SpreadColumns::of(buckets, |bucket| &bucket.tick_to_receive),
            move_to_ack_ms: SpreadColumns::of(buckets, |bucket| &bucket.move_to_ack),
            staleness_ms: SpreadColumns::of(buckets, |bucket| &bucket.staleness),
            players: buckets.iter().map(Bucket::playing).collect(),
            updates: column(|bucket| bucket.counters.updates),
            bytes: column(|bucket| bucket.counters.update_bytes),
            moves: column(|bucket| bucket.counters.moves),
            marks: MARKS
                .iter()
                .map(|mark| {
                    let counts = buckets.iter().map(|bucket| (mark.count)(bucket));
                    (mark.name.to_owned(), counts.collect())
                })
                .collect(),
        }
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.updates.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn columns_have_what_happened_in_each_bucket() {
        let mut series = Series::default();
        series.at(2).update_gap.record(Duration::from_millis(50));
        series.at(2).counters.lost_moves = 2;
        series.at(2).counters.altered_moves = 1;
        series.at(0).happenings.hangs = 4;
        let columns = Columns::of(&series);
        assert_eq!((columns.len(), columns.bucket_s), (3, 1));
        let p99 = &columns.update_gap_ms.p99;
        assert!(p99[0].is_none() && p99[2].is_some_and(|ms| (ms - 50.0).abs() < 0.5));
        assert_eq!(columns.marks["move_faults"], [0, 0, 3]);
        assert_eq!(columns.marks["hangs"], [4, 0, 0]);
    }

    #[test]
    fn columns_survive_json() {
        let mut series = Series::default();
        series.at(900).update_gap.record(Duration::from_micros(1_234_567));
        let columns = Columns::of(&series);
        let json = serde_json::to_string(&columns).expect("it is plain data");
        assert_eq!(serde_json::from_str::<Columns>(&json).expect("its own JSON"), columns);
    }
}
