//! How long a player was without the game at the longest, over all of its sessions.

use std::time::Duration;
use tokio::time::Instant;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct LongestWait {
    /// When the last update came; `None`: it does not count what comes next.
    since: Option<Instant>,
    longest: Option<Duration>,
}

impl LongestWait {
    /// An update came.
    pub(super) fn updated(&mut self, now: Instant) {
        self.end(now);
        self.since = Some(now);
    }

    /// The player does not want updates for a while.
    pub(super) fn pause(&mut self) {
        self.since = None;
    }

    /// The player leaves: a wait that is open counts.
    pub(super) fn end(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            let wait = now.saturating_duration_since(since);
            self.longest = Some(self.longest.map_or(wait, |longest| longest.max(wait)));
        }
    }

    /// `None`: it never waited, since it never played.
    pub(in super::super) fn longest(&self) -> Option<Duration> {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_of_its_own_do_not_count_and_an_open_wait_does() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut wait = LongestWait::default();
        wait.updated(at(0));
        wait.updated(at(60));
        assert_eq!(wait.longest(), Some(Duration::from_millis(60)));
        wait.pause();
        wait.updated(at(5000));
        wait.end(at(5100));
        wait.end(at(9000));
        assert_eq!(wait.longest(), Some(Duration::from_millis(100)));
    }
}
