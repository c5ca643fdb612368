//! So many a second, and no more, whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

const SECOND_NS: u64 = 1_000_000_000;

/// Admits a steady rate, and after a pause as much as a second's worth at once. The generic cell rate algorithm (ITU-T I.371):
/// one number, the time at which all that was admitted would have come evenly, so it needs no lock.
#[derive(Debug)]
pub struct Budget {
    began: Instant,
    /// Between two at the steady rate; `None` admits nothing.
    interval_ns: Option<u64>,
    earned_until_ns: AtomicU64,
}

impl Budget {
    /// `per_s` each second from now on; 0: none at all.
    pub fn per_s(per_s: u32, now: Instant) -> Self {
        Self {
            began: now,
            interval_ns: SECOND_NS.checked_div(per_s.into()),
            earned_until_ns: AtomicU64::new(0),
        }
    }

    /// Whether one more is admitted now.
    pub fn admits(&self, now: Instant) -> bool {
        let Some(interval_ns) = self.interval_ns else { return false };
        let since = now.saturating_duration_since(self.began).as_nanos();
        let now_ns = u64::try_from(since).unwrap_or(u64::MAX);
        let take = |earned_until_ns: u64| {
            let next = earned_until_ns.max(now_ns).saturating_add(interval_ns);
            (next <= now_ns.saturating_add(SECOND_NS)).then_some(next)
        };
        let ordering = Ordering::Relaxed;
        self.earned_until_ns.fetch_update(ordering, ordering, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn no_more_than_the_rate_and_a_second_s_worth_are_admitted(
            per_s in 0_u32..200,
            pauses_ms in prop::collection::vec(0_u64..50, 1..400),
        ) {
            let start = Instant::now();
            let budget = Budget::per_s(per_s, start);
            let (mut now, mut admitted) = (start, 0);
            for pause_ms in pauses_ms {
                now += Duration::from_millis(pause_ms);
                admitted += u64::from(budget.admits(now));
            }
            let most = u64::from(per_s) * (now - start).as_millis() as u64 / 1000 + u64::from(per_s);
            prop_assert!(admitted <= most, "{admitted} of {most}");
        }
    }

    #[test]
    fn what_was_used_up_comes_back_with_time() {
        let start = Instant::now();
        let budget = Budget::per_s(10, start);
        let admitted = |now| (0..100).filter(|_| budget.admits(now)).count();
        assert_eq!(admitted(start), 10);
        assert_eq!(admitted(start), 0);
        assert_eq!(admitted(start + Duration::from_millis(500)), 5);
        assert_eq!(admitted(start + Duration::from_secs(100)), 10);
    }
}
