//! When something is due though nothing came.

use super::{Phase, RESYNC_AGAIN, Session};
use fray_proto::replica::Replica;
use std::time::{Duration, Instant};

impl Session {
    pub(super) fn seen_tick(&self) -> u32 {
        // A server takes it for the newest tick that it wrote.
        let all = self.config.acknowledges_unread.then_some(u32::MAX);
        all.unwrap_or_else(|| self.replica.as_ref().map_or(0, Replica::tick))
    }

    pub(super) fn idle_deadline(&self) -> Option<Instant> {
        let is_open = matches!(self.phase, Phase::Open | Phase::Leaving);
        let timeout_ms = self.welcome.as_ref()?.idle_timeout_ms;
        let applies = is_open && self.config.idle_timeout && timeout_ms > 0;
        let heard_at = self.heard_at.filter(|_| applies);
        heard_at.map(|at| at + Duration::from_millis(timeout_ms.into()))
    }

    /// Acknowledgements are due at least every quarter of the staleness window, and they are the client's heartbeat.
    pub(super) fn ping_due(&self) -> Option<Instant> {
        let window_ms = self.welcome.as_ref()?.staleness_window_ms.max(40);
        let sent_at = self.sent_at.filter(|_| self.phase == Phase::Open && !self.wants_ping);
        sent_at.map(|at| at + Duration::from_millis(window_ms.into()) / 4)
    }

    pub(super) fn resync_due(&self) -> Option<Instant> {
        let (_, asked_at) = self.resync_asked.as_ref().filter(|_| self.phase == Phase::Open)?;
        Some(*asked_at + RESYNC_AGAIN)
    }
}
