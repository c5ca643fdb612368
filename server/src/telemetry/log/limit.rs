//! A limit for each kind of line, so that nobody can fill the log, or bury in it what matters.
//!
//! A kind is a place in the source, ours or a dependency's. Each has a bucket of its own, one atomic, so that lines of
//! different kinds never wait for each other. What is suppressed is counted, and said from time to time.
//! (What comes through the `log` crate has only one place per level; those share.)

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The target of the lines that say how many were suppressed; they are not limited themselves: one per kind and report.
const SUMMARY_TARGET: &str = "fray_server::telemetry::log::summary";
/// How many kinds have a bucket of their own; a program has a few hundred. All others share one.
const KINDS_MAX: usize = 2048;
/// How many places of the table are looked at for a kind.
const PROBES_MAX: usize = 16;

/// How much of one kind is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many at once.
    pub burst: u32,
    /// And then so many per second.
    pub per_s: u32,
}

/// Warnings and below: a peer can cause them.
pub const RATE: Rate = Rate { burst: 20, per_s: 5 };
/// Errors are the server's own, and rare: more of them is worth seeing.
pub const ERROR_RATE: Rate = Rate { burst: 100, per_s: 20 };

/// A token bucket in one number: when it would be full again, in ns of the limit's clock.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

impl Bucket {
    /// Takes a token, if there is one.
    fn take(&self, now_ns: u64, rate: Rate) -> bool {
        let pause_ns = 1_000_000_000 / u64::from(rate.per_s.max(1));
        let ahead_ns_max = pause_ns * u64::from(rate.burst.saturating_sub(1));
        let taken = |full_ns: u64| {
            let full_ns = full_ns.max(now_ns);
            (full_ns - now_ns <= ahead_ns_max).then(|| full_ns + pause_ns)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

#[derive(Debug, Default)]
struct Kind {
    metadata: OnceLock<&'static Metadata<'static>>,
    bucket: Bucket,
    suppressed: AtomicU64,
}

impl Kind {
    /// Whether this place is this kind's, or is now.
    fn is_for(&self, metadata: &'static Metadata<'static>) -> bool {
        ptr::eq(*self.metadata.get_or_init(|| metadata), metadata)
    }
}

/// The buckets of all kinds.
pub struct Limit {
    kinds: Box<[Kind]>,
    others: Kind,
    /// Time since some beginning.
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Told of each line that is not written.
    suppressed: Box<dyn Fn() + Send + Sync>,
}

impl Limit {
    /// Full buckets. `clock` gives the time since any fixed beginning; `suppressed` is called for each line not written.
    pub fn new(
        clock: impl Fn() -> Duration + Send + Sync + 'static,
        suppressed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let kinds = (0..KINDS_MAX).map(|_| Kind::default()).collect();
        let (clock, suppressed) = (Box::new(clock), Box::new(suppressed));
        Self { kinds, others: Kind::default(), clock, suppressed }
    }

    /// Whether one more line of this kind is written; if not, it is counted.
    pub fn admit(&self, metadata: &'static Metadata<'static>) -> bool {
        if metadata.target() == SUMMARY_TARGET {
            return true;
        }
        let kind = self.kind(metadata);
        let now_ns = u64::try_from((self.clock)().as_nanos()).unwrap_or(u64::MAX / 2);
        let rate = if *metadata.level() == Level::ERROR { ERROR_RATE } else { RATE };
        let is_admitted = kind.bucket.take(now_ns, rate);
        if !is_admitted {
            kind.suppressed.fetch_add(1, Ordering::Relaxed);
            (self.suppressed)();
        }
        is_admitted
    }

    /// Says of each kind how many lines were not written since the last report.
    pub fn report(&self) {
        for kind in self.kinds.iter().chain([&self.others]) {
            let suppressed = kind.suppressed.swap(0, Ordering::Relaxed);
            if suppressed == 0 {
                continue;
            }
            let metadata = kind.metadata.get();
            let target = metadata.map_or("(many kinds)", |metadata| metadata.target());
            let at = metadata.and_then(|metadata| Some((metadata.file()?, metadata.line()?)));
            let (file, line) = at.map_or(("", 0), |(file, line)| (file_name(file), line));
            tracing::warn!(
                target: SUMMARY_TARGET,
                suppressed,
                kind = target,
                at = %format_args!("{file}:{line}"),
                "more lines like it were not written"
            );
        }
    }

    fn kind(&self, metadata: &'static Metadata<'static>) -> &Kind {
        // Metadata lies 8-aligned somewhere in the program; multiplying spreads it over the table.
        let address = ptr::from_ref(metadata).addr() as u64;
        let first = (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let places = (0..PROBES_MAX).map(|probe| &self.kinds[(first + probe) % KINDS_MAX]);
        places.into_iter().find(|place| place.is_for(metadata)).unwrap_or(&self.others)
    }
}

/// Without the folders of whoever built it.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl std::fmt::Debug for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limit").finish_non_exhaustive()
    }
}

/// Only the layer that writes lines is limited: events in traces go on as they are. A layer around it and not a filter: in
/// tracing-subscriber 0.3, a filter that looks at single events leaves marks that later events of the thread fall over.
pub(super) struct Limited<L> {
    pub(super) limit: Option<Arc<Limit>>,
    pub(super) lines: L,
}

impl<S: Subscriber, L: Layer<S>> Layer<S> for Limited<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.limit.as_ref().is_none_or(|limit| limit.admit(event.metadata())) {
            self.lines.on_event(event, context);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATES: [Rate; 2] = [RATE, ERROR_RATE];

    proptest! {
        /// Over any time, no more than the burst and what time has brought; and nothing is refused while there are tokens.
        #[test]
        fn a_bucket_gives_no_more_than_its_rate_and_no_less(
            steps_ms in prop::collection::vec(prop_oneof![Just(0), 0..50_u64, 0..5000_u64], 1..300),
            which in 0..2_usize,
        ) {
            let rate = RATES[which];
            let bucket = Bucket::default();
            let (mut now_ns, mut level) = (0_u64, f64::from(rate.burst));
            for step_ms in steps_ms {
                now_ns += step_ms * 1_000_000;
                let gained = f64::from(rate.per_s) * step_ms as f64 / 1000.0;
                level = f64::min(level + gained, f64::from(rate.burst));
                let is_taken = bucket.take(now_ns, rate);
                // The plain bucket of the books, but for what floats round at the very edge.
                if (level - 1.0).abs() > 1e-6 {
                    prop_assert_eq!(is_taken, level > 1.0, "at {} ns", now_ns);
                }
                if is_taken {
                    level -= 1.0;
                }
            }
        }
    }

    #[test]
    fn threads_together_get_no_more_than_one() {
        let bucket = Bucket::default();
        let taken = || (0..1000).filter(|_| bucket.take(7, RATE)).count();
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(taken)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(all, RATE.burst as usize);
    }
}
