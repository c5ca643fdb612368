//! What all players of all rooms saw, compared: a room at a tick is one thing, whoever let it out, and in an epoch it has one
//! server.

use fray_proto::hash::cell_checksum;
use fray_proto::replica::Replica;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// Ticks kept of a room: what is older nobody is told any more.
const TICKS_KEPT: usize = 2048;

/// Cells' hashes at a tick, and the epoch in which each was first seen.
type Cells = HashMap<u32, (u32, u64)>;

/// Collects (room, tick, cell, hash) from all players.
#[derive(Default)]
pub struct Oracle {
    rooms: Mutex<HashMap<String, BTreeMap<u32, Cells>>>,
    /// Of each room and epoch, who said that it runs it.
    owners: Mutex<HashMap<(String, u64), String>>,
    conflicts: Mutex<Vec<String>>,
    seen: std::sync::atomic::AtomicU64,
}

impl Oracle {
    /// A server welcomed a player to a room in this epoch.
    pub fn welcomed(&self, room: &str, epoch: u64, server: &str) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = owners.entry((room.to_owned(), epoch)).or_insert_with(|| server.to_owned());
        if owner != server {
            self.conflict(format!("room {room}, epoch {epoch}: on {owner}, and on {server}"));
        }
    }

    /// The newest tick of a room that anybody saw.
    pub fn newest(&self, room: &str) -> Option<u32> {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.get(room)?.keys().next_back().copied()
    }

    /// What a player holds after an update of a room in this epoch.
    pub fn saw(&self, room: &str, epoch: u64, replica: &Replica) {
        let tick = replica.tick();
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let ticks = rooms.entry(room.to_owned()).or_default();
        let cells = ticks.entry(tick).or_default();
        for (cell, entities) in replica.cells() {
            let hash = cell_checksum(cell, entities);
            let (known, of_epoch) = *cells.entry(cell).or_insert((hash, epoch));
            if known != hash {
                let what = format!(
                    "room {room}, tick {tick}, cell {cell}: {known:08x} in epoch {of_epoch}, {hash:08x} in epoch {epoch}"
                );
                self.conflict(what);
            }
        }
        while ticks.len() > TICKS_KEPT {
            ticks.pop_first();
        }
        self.seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn conflict(&self, what: String) {
        self.conflicts.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What cannot be: a room that was two things at once.
    pub fn conflicts(&self) -> Vec<String> {
        self.conflicts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many updates were compared.
    pub fn seen(&self) -> u64 {
        self.seen.load(std::sync::atomic::Ordering::Relaxed)
    }
}
