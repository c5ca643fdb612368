//! What goes wrong with a player's stream, by accident or on purpose.

use super::Bot;
use crate::arena::PlayerEntry;
use crate::client::Ended;
use rand::RngExt as _;
use std::time::Duration;
use tokio::time::Instant;

/// When a stalling player stops to read, after its welcome.
pub(super) const STALL_AFTER: Duration = Duration::from_secs(2);

impl Bot {
    pub(super) fn disconnected(&mut self, ended: &Ended) {
        let now = Instant::now();
        // To lose the stream ends that.
        let was_stalled = self.is_stalled;
        self.lose(now);
        let second = self.shared.second(now);
        let mut stats = self.shared.board.shard(self.index);
        stats.note_error(second, ended);
        if was_stalled {
            stats.stalled.disconnects += 1;
        } else {
            stats.disconnects += 1;
            stats.happenings(second).disconnects += 1;
        }
    }

    /// The room moves to another server, and the player with it: no disconnect.
    pub(super) fn moved(&mut self) {
        self.lose(Instant::now());
        self.is_moving = true;
    }

    /// Its entry, to be compared with that on the next stream.
    pub(super) fn remember_entry(&mut self) {
        let session = self.player.session();
        if let Some((welcome, replica)) = session.welcome().zip(session.replica()) {
            self.entry_before = PlayerEntry::of(replica, welcome.player);
        }
    }

    /// The stream is gone, whoever cut it.
    pub(super) fn lose(&mut self, now: Instant) {
        let mut stats = self.shared.board.shard(self.index);
        if let Some(mut lateness) = self.lateness.take() {
            lateness.flush(|at, late| stats.note_tick(self.shared.second(at.into()), late));
        }
        drop(stats);
        if self.is_stalled {
            // What it knows is old; the next stream begins as one that reads.
            self.is_stalled = false;
            self.player.set_reading(true);
            self.stall_due = Some(now + STALL_AFTER);
            self.updated_at = None;
        }
        self.is_moving = false;
        self.lost_at = self.lost_at.or(Some(now));
    }

    /// As when a train enters a tunnel: no good-bye.
    pub(super) fn drop_stream(&mut self, now: Instant) {
        let session = self.player.session();
        let grace_ms = session.welcome().map_or(0, |welcome| welcome.grace_ms);
        let longest = u64::from(grace_ms / 2).clamp(101, 1500);
        let away = Duration::from_millis(self.random.random_range(100..longest));
        self.remember_entry();
        self.player.cut_off(away);
        // The pause is of the player's making: only the time from when it wants to be back is measured, and no gap.
        self.lost_at = Some(now + away);
        self.lose(now);
        self.churn_due = None;
        self.updated_at = None;
        let mut stats = self.shared.board.shard(self.index);
        stats.drops += 1;
        stats.happenings(self.shared.second(now)).drops += 1;
    }

    pub(super) fn stall(&mut self) {
        self.stall_due = None;
        self.is_stalled = true;
        self.player.set_reading(false);
        let second = self.shared.second(Instant::now());
        self.shared.board.shard(self.index).happenings(second).stops_reading += 1;
    }
}
