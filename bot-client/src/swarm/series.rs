//! A run over time, in a bounded number of buckets however long it takes.
//!
//! Players note what happens under the second in which it happened ([`Fresh`]); once a second all of that is added to the
//! run's [`Series`]. A bucket is a second at first. When there are more than [`BUCKETS_MAX`], every two become one: counts
//! add up, and percentiles stay right because each bucket keeps its histograms and not its percentiles.

use super::sketch::Sketch;
use crate::client::Counters;
use std::collections::BTreeMap;
use std::time::Duration;

/// The most buckets that a run is kept in.
pub const BUCKETS_MAX: usize = 600;

/// A wait for an update that is this long is marked on the time line: people call it a hang.
pub const HANG: Duration = Duration::from_millis(500);

/// What happened to players or their streams, marked on the time line. What sessions count (desyncs, moves) is not here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happenings {
    /// Streams dropped on purpose.
    pub drops: u64,
    /// Streams that went on with a session.
    pub resumes: u64,
    /// Streams that were followed to another server.
    pub redirects: u64,
    /// Players that stopped reading, on purpose.
    pub stops_reading: u64,
    /// Waits for an update of at least [`HANG`].
    pub hangs: u64,
    /// Streams that ended unasked.
    pub disconnects: u64,
    /// Sessions that ended though nobody left.
    pub sessions_lost: u64,
    /// Sessions that came back as somebody else, and streams on which the server broke their rules.
    pub violations: u64,
    /// Refusals, and ends with an error.
    pub errors: u64,
}

/// What happened in a span of time.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// As in [`super::stats::Stats`], like the next three.
    pub update_gap: Sketch,
    /// From a move to the update that contains it.
    pub move_to_ack: Sketch,
    /// From when a tick was due to its arrival; under the second of the arrival.
    pub tick_to_receive: Sketch,
    /// How old the world was that a player held, before each update.
    pub staleness: Sketch,
    /// What sessions counted.
    pub counters: Counters,
    /// What else happened.
    pub happenings: Happenings,
    /// Sum of the numbers of players over all looks.
    pub playing_sum: u64,
    /// How often somebody looked.
    pub looks: u64,
}

impl Bucket {
    /// Adds another one's.
    pub fn add(&mut self, other: &Self) {
        self.update_gap.add(&other.update_gap);
        self.move_to_ack.add(&other.move_to_ack);
        self.tick_to_receive.add(&other.tick_to_receive);
        self.staleness.add(&other.staleness);
        self.counters += other.counters;
        self.happenings += other.happenings;
        self.playing_sum += other.playing_sum;
        self.looks += other.looks;
    }

    /// Players that played, on average; `None` when nobody looked.
    pub fn playing(&self) -> Option<f64> {
        (self.looks > 0).then(|| self.playing_sum as f64 / self.looks as f64)
    }
}

/// What was noted since the last look, by second of the run.
///
/// Its size is bounded by how far back anything is noted: no further than a stream's arrivals wait to be judged.
#[derive(Debug, Default)]
pub struct Fresh {
    seconds: BTreeMap<u32, Bucket>,
    /// How late ticks came, judged by what was known when they came; for people who look on.
    pub lateness_so_far: Sketch,
}

impl Fresh {
    /// Where to note what happened in a second of the run.
    pub fn at(&mut self, second: u32) -> &mut Bucket {
        self.seconds.entry(second).or_default()
    }

    /// Adds another one's.
    pub fn add(&mut self, other: Self) {
        self.lateness_so_far.add(&other.lateness_so_far);
        for (second, bucket) in other.seconds {
            self.at(second).add(&bucket);
        }
    }

    /// All gaps between updates.
    pub fn update_gap(&self) -> Sketch {
        let mut sum = Sketch::default();
        self.seconds.values().for_each(|bucket| sum.add(&bucket.update_gap));
        sum
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Series {
    bucket_s: u32,
    buckets: Vec<Bucket>,
}

impl Default for Series {
    fn default() -> Self {
        Self { bucket_s: 1, buckets: Vec::new() }
    }
}

impl Series {
    /// How many seconds a bucket is.
    pub fn bucket_s(&self) -> u32 {
        self.bucket_s
    }

    /// All buckets from the start of the run on.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The bucket of a second of the run.
    pub fn at(&mut self, second: u32) -> &mut Bucket {
        while (second / self.bucket_s) as usize >= BUCKETS_MAX {
            self.coarsen();
        }
        let index = (second / self.bucket_s) as usize;
        if self.buckets.len() <= index {
            self.buckets.resize_with(index + 1, Bucket::default);
        }
        &mut self.buckets[index]
    }

    /// Takes in what is fresh.
    pub fn add(&mut self, fresh: &Fresh) {
        for (second, bucket) in &fresh.seconds {
            self.at(*second).add(bucket);
        }
    }

    fn coarsen(&mut self) {
        self.bucket_s *= 2;
        let mut fine = std::mem::take(&mut self.buckets).into_iter();
        while let Some(mut bucket) = fine.next() {
            if let Some(second) = fine.next() {
                bucket.add(&second);
            }
            self.buckets.push(bucket);
        }
    }
}

impl std::ops::AddAssign for Happenings {
    fn add_assign(&mut self, other: Self) {
        self.drops += other.drops;
        self.resumes += other.resumes;
        self.redirects += other.redirects;
        self.stops_reading += other.stops_reading;
        self.hangs += other.hangs;
        self.disconnects += other.disconnects;
        self.sessions_lost += other.sessions_lost;
        self.violations += other.violations;
        self.errors += other.errors;
    }
}

#[cfg(test)]
mod tests;
