//! What this process says of itself to those who probe it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most addresses that are remembered of those who ask for health; an edge has few.
pub const CALLERS_MAX: usize = 1024;

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
    /// It waits until every edge knows it.
    awaits_edges: AtomicBool,
    /// Who has asked for health meanwhile.
    callers: Mutex<BTreeSet<IpAddr>>,
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

    /// From now on, until told otherwise, this server takes no rooms, and remembers who asks whether its rooms can be reached:
    /// a player's ticket may name it only once every edge knows the way.
    pub fn set_awaits_edges(&self, awaits: bool) {
        self.awaits_edges.store(awaits, Ordering::Release);
        if !awaits {
            self.lock_callers().clear();
        }
    }

    /// Whether it waits for edges.
    pub fn awaits_edges(&self) -> bool {
        self.awaits_edges.load(Ordering::Acquire)
    }

    /// Somebody at this address has asked whether rooms can be reached.
    pub fn note_caller(&self, address: IpAddr) {
        if !self.awaits_edges() {
            return;
        }
        let mut callers = self.lock_callers();
        if callers.len() < CALLERS_MAX {
            callers.insert(address.to_canonical());
        }
    }

    /// Who has asked since this server waits for edges.
    pub fn callers(&self) -> BTreeSet<IpAddr> {
        self.lock_callers().clone()
    }

    fn lock_callers(&self) -> MutexGuard<'_, BTreeSet<IpAddr>> {
        // Nothing panics while it is held.
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing but the edges keeps it from taking rooms.
    pub fn could_take_rooms(&self) -> bool {
        self.takes_rooms.load(Ordering::Acquire)
            && !self.is_drained()
            && self.is_live()
            && !self.is_cut_off.load(Ordering::Acquire)
    }

    /// Readiness, `""` and `fray.v1.Lobby`: takes rooms.
    pub fn takes_rooms(&self) -> bool {
        self.could_take_rooms() && !self.awaits_edges()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_server_that_waits_for_edges_is_not_ready_and_remembers_who_asks() {
        let health = Health::default();
        let edge = IpAddr::from([10, 0, 0, 1]);
        health.note_caller(edge);
        assert!(health.callers().is_empty(), "it does not wait");
        health.set_awaits_edges(true);
        health.bound();
        assert!(health.could_take_rooms() && !health.takes_rooms());
        assert!(health.serves_rooms() && health.is_live());
        health.note_caller(IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped()));
        assert_eq!(health.callers(), BTreeSet::from([edge]), "one address, however it is written");
        health.set_awaits_edges(false);
        assert!(health.takes_rooms() && health.callers().is_empty());
    }

    #[test]
    fn no_more_callers_are_remembered_than_there_is_room_for() {
        let health = Health::default();
        health.set_awaits_edges(true);
        for n in 0..2 * CALLERS_MAX as u32 {
            health.note_caller(IpAddr::V4(Ipv4Addr::from(n)));
        }
        assert_eq!(health.callers().len(), CALLERS_MAX);
    }
}
