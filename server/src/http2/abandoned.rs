//! Streams that a peer opens and gives up again ("rapid reset"): each costs more than it cost the peer.

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

/// How many may be given up at once, beside twice as many as may be open.
const AT_ONCE_MIN: u32 = 100;
/// And how many a second from then on. A player gives one up, and comes back.
const PER_S: u32 = 20;

/// What a peer may give up.
#[derive(Debug)]
pub(super) struct Abandoned {
    in_all: Counter,
    left: u32,
    left_max: u32,
    renewed: Instant,
}

impl Abandoned {
    pub(super) fn new(streams_per_connection_max: u32, in_all: Counter) -> Self {
        let left_max = streams_per_connection_max.saturating_mul(2).saturating_add(AT_ONCE_MIN);
        Self { in_all, left: left_max, left_max, renewed: Instant::now() }
    }

    /// So many more were given up; whether that is more than may be.
    pub(super) fn is_too_much_with(&mut self, given_up: u32) -> bool {
        self.in_all.inc_by(u64::from(given_up));
        let seconds = self.renewed.elapsed().as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(PER_S);
            self.left = self.left.saturating_add(more).min(self.left_max);
            self.renewed = Instant::now();
        }
        let is_too_much = given_up > self.left;
        self.left = self.left.saturating_sub(given_up);
        is_too_much
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn so_many_are_given_up_at_once_and_so_many_a_second() {
        let in_all = Counter::default();
        let mut abandoned = Abandoned::new(50, in_all.clone());
        assert!(!abandoned.is_too_much_with(2 * 50 + AT_ONCE_MIN));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!abandoned.is_too_much_with(PER_S));
        assert!(abandoned.is_too_much_with(1));
        // However long it is quiet, no more comes together.
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(abandoned.is_too_much_with(2 * 50 + AT_ONCE_MIN + 1));
        assert_eq!(in_all.get(), u64::from(2 * (2 * 50 + AT_ONCE_MIN) + PER_S + 2));
    }
}
