//! How much a client may send in the long run, whatever it is: pings and settings cost the server more than who sends them, and players need
//! little.

use tokio::time::Instant;

/// At once: several recordings to be verified.
const AT_ONCE_BYTES_MAX: u64 = 64 << 20;
/// And so many a second from then on. A player's moves are some KiB.
const PER_S_BYTES: u64 = 2 << 20;

/// What whoever reads a connection is told then.
pub(crate) const TOO_MUCH: &str = "more came than a client may send";

/// What a client may still send. The clock is looked at only once it is used up.
#[derive(Debug)]
pub(crate) struct Intake {
    left_bytes: u64,
    renewed: Instant,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self { left_bytes: AT_ONCE_BYTES_MAX, renewed: Instant::now() }
    }

    /// So many more have come; whether that is more than may.
    pub(crate) fn is_too_much_with(&mut self, bytes: usize) -> bool {
        if let Some(left_bytes) = self.left_bytes.checked_sub(bytes as u64) {
            self.left_bytes = left_bytes;
            return false;
        }
        let earned_bytes = self.renewed.elapsed().as_secs().saturating_mul(PER_S_BYTES);
        self.left_bytes = earned_bytes.min(AT_ONCE_BYTES_MAX);
        self.renewed = Instant::now();
        earned_bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PIECE_BYTES: usize = 16 << 10;

    /// After how many seconds a client is sent away that sends so many bytes a second, within an hour.
    async fn ends_after_s(bytes_per_s: usize) -> Option<u64> {
        let began = Instant::now();
        let mut intake = Intake::new();
        while began.elapsed() < Duration::from_secs(3600) {
            for _ in 0..bytes_per_s / PIECE_BYTES {
                if intake.is_too_much_with(PIECE_BYTES) {
                    return Some(began.elapsed().as_secs());
                }
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_much_for_long_is_sent_away_and_who_uploads_is_not() {
        assert_eq!(ends_after_s(1 << 30).await, Some(0));
        assert!(ends_after_s(8 << 20).await.is_some_and(|seconds| (8..30).contains(&seconds)));
        assert_eq!(ends_after_s(1 << 20).await, None);
        assert_eq!(ends_after_s(PIECE_BYTES).await, None);
    }
}
