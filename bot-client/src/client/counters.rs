//! What a session counts.

use std::ops::AddAssign;

/// Counts of what happened in a session. All but the first four and the last four must be 0 with a correct server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Updates received.
    pub updates: u64,
    /// Their bytes, framing included.
    pub update_bytes: u64,
    /// Moves numbered.
    pub moves: u64,
    /// Checksums compared.
    pub checksums: u64,
    /// Checksums that differed: the client's world was not the server's.
    pub desyncs: u64,
    /// Updates that did not fit, or could not be read.
    pub broken_updates: u64,
    /// Moves acknowledged but not applied.
    pub lost_moves: u64,
    /// Moves applied more than once.
    pub duplicate_moves: u64,
    /// Acknowledgements after which other moves were applied than those sent.
    pub altered_moves: u64,
    /// Streams that were to go on with the session and came back as somebody else.
    pub identity_changes: u64,
    /// Streams whose server had an older epoch of the room than one before.
    pub stale_epochs: u64,
    /// Updates that came while keyframes were waited for.
    pub ignored_updates: u64,
    /// Times that the session was set back, because its room was restored from what had been recorded.
    pub set_backs: u64,
    /// Moves, acknowledged or not, that were dropped with that.
    pub set_back_moves: u64,
    /// Moves that the game refused.
    pub refusals: u64,
}

impl Counters {
    /// Whether anything happened that never may.
    pub fn has_faults(&self) -> bool {
        self.desyncs
            + self.broken_updates
            + self.lost_moves
            + self.duplicate_moves
            + self.altered_moves
            + self.identity_changes
            + self.stale_epochs
            > 0
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.updates += other.updates;
        self.update_bytes += other.update_bytes;
        self.moves += other.moves;
        self.checksums += other.checksums;
        self.desyncs += other.desyncs;
        self.broken_updates += other.broken_updates;
        self.lost_moves += other.lost_moves;
        self.duplicate_moves += other.duplicate_moves;
        self.altered_moves += other.altered_moves;
        self.identity_changes += other.identity_changes;
        self.stale_epochs += other.stale_epochs;
        self.ignored_updates += other.ignored_updates;
        self.set_backs += other.set_backs;
        self.set_back_moves += other.set_back_moves;
        self.refusals += other.refusals;
    }
}
