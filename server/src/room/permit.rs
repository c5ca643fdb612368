//! Until when the rooms of a process may tick without being told again.
//!
//! A server that shares its rooms with others may run them only for a while after it last heard that they are still its own.
//! Whoever holds that lease extends it here; each room looks before each tick, so that a process which stood still for long
//! lets nothing out before its lease was looked at.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// One for all rooms of a process. Without a limit until one is set.
#[derive(Debug)]
pub struct Permit {
    base: Instant,
    /// In milliseconds after `base`; [`FOR_EVER`] without a limit.
    until_ms: AtomicU64,
}

const FOR_EVER: u64 = u64::MAX;

impl Permit {
    /// Without a limit.
    pub fn unlimited() -> Self {
        Self { base: Instant::now(), until_ms: AtomicU64::new(FOR_EVER) }
    }

    /// Rooms may tick before `until`, and not from then on.
    pub fn limit_to(&self, until: Instant) {
        let ms = until.saturating_duration_since(self.base).as_millis();
        self.until_ms.store(u64::try_from(ms).unwrap_or(FOR_EVER), Ordering::Release);
    }

    /// Whether a tick may be made now.
    pub fn allows(&self, now: Instant) -> bool {
        let until_ms = self.until_ms.load(Ordering::Acquire);
        until_ms == FOR_EVER
            || now.saturating_duration_since(self.base).as_millis() < u128::from(until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_permit_has_no_limit_until_one_is_set_and_ends_exactly_there() {
        let permit = Permit::unlimited();
        let now = Instant::now();
        assert!(permit.allows(now + Duration::from_secs(1_000_000)));
        permit.limit_to(now + Duration::from_secs(5));
        assert!(permit.allows(now + Duration::from_millis(4999)));
        assert!(!permit.allows(now + Duration::from_secs(5)));
        permit.limit_to(now + Duration::from_secs(6));
        assert!(permit.allows(now + Duration::from_secs(5)));
        permit.limit_to(now);
        assert!(!permit.allows(now));
    }
}
