//! What this process says of itself to those who probe it.

use std::sync::atomic::{AtomicBool, Ordering};

/// The names that gRPC health knows, and when each is well. Nothing is, before the listeners are bound.
#[derive(Debug, Default)]
pub struct Health {
    takes_rooms: AtomicBool,
    serves_rooms: AtomicBool,
    is_live: AtomicBool,
    is_draining: AtomicBool,
    /// It shares rooms with other servers, and is cut off from them.
    is_cut_off: AtomicBool,
    is_drained: AtomicBool,
}

impl Health {
    /// The listeners are bound.
    pub fn bound(&self) {
        self.is_live.store(true, Ordering::Release);
        self.serves_rooms.store(true, Ordering::Release);
        self.takes_rooms.store(true, Ordering::Release);
    }

    /// The process will end: no new rooms; those that run can still be reached.
    pub fn draining(&self) {
        self.takes_rooms.store(false, Ordering::Release);
        self.is_draining.store(true, Ordering::Release);
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// An operator has the server take no new rooms and no new players, or take them again.
    /// Returns whether it was otherwise before.
    pub fn set_drained(&self, is_drained: bool) -> bool {
        self.is_drained.swap(is_drained, Ordering::AcqRel) != is_drained
    }

    /// Whether an operator has the server drained: rooms play on.
    pub fn is_drained(&self) -> bool {
        self.is_drained.load(Ordering::Acquire)
    }

    /// Ticks advance, or they do not.
    pub fn set_live(&self, is_live: bool) {
        self.is_live.store(is_live, Ordering::Release);
    }

    /// This server cannot share rooms with the others just now: it is not ready, and lives on.
    pub fn set_cut_off(&self, is_cut_off: bool) {
        self.is_cut_off.store(is_cut_off, Ordering::Release);
    }

    /// Readiness, `""` and `fray.v1.Lobby`: takes rooms.
    pub fn takes_rooms(&self) -> bool {
        self.takes_rooms.load(Ordering::Acquire)
            && !self.is_drained()
            && self.is_live()
            && !self.is_cut_off.load(Ordering::Acquire)
    }

    /// `fray.v1.Play`: rooms that exist can be reached.
    pub fn serves_rooms(&self) -> bool {
        self.serves_rooms.load(Ordering::Acquire)
    }

    /// Liveness, `live`: ticks advance.
    pub fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Acquire)
    }
}
