//! Sampled moves in a tick: they ride once, in the shared bytes of the mover's cell, and streams note when they wrote them.

use fray_proto::trace::TracedMove;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A sampled move that took effect in a tick.
#[derive(Debug)]
pub struct TracedCell {
    /// The cell that the mover's entity is in, or the global cell.
    pub cell: u32,
    /// What the cell's bytes say of it.
    pub moved: TracedMove,
    /// Who has sent it.
    pub sends: Sends,
}

impl TracedCell {
    /// Nobody has sent it yet.
    pub fn new(cell: u32, moved: TracedMove) -> Self {
        Self { cell, moved, sends: Sends::default() }
    }
}

/// How many streams have written an update, and when the last did. Times are µs since whatever moment the caller counts from.
#[derive(Debug, Default)]
pub struct Sends {
    streams: AtomicU32,
    last_us: AtomicU64,
}

impl Sends {
    /// A stream has written it.
    pub fn note(&self, at_us: u64) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.last_us.fetch_max(at_us, Ordering::Relaxed);
    }

    /// How many streams have, and when the last of them; `None` if none has.
    pub fn so_far(&self) -> Option<(u32, u64)> {
        let streams = self.streams.load(Ordering::Relaxed);
        (streams > 0).then(|| (streams, self.last_us.load(Ordering::Relaxed)))
    }
}
