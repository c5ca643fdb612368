//! What all players of a run saw, compared: a room at a tick is one thing, whoever let it out; in an epoch it has one server;
//! and no epoch goes on when a later one has begun.
//!
//! A checksum tells a player that its world is the server's. That two servers have the same room, and each of them is right,
//! only players can tell who look at the same room.

use fray_proto::hash::cell_checksum;
use fray_proto::replica::Replica;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Ticks kept of an epoch: 20 s at 20 Hz. What is older nobody is told any more.
const TICKS_KEPT: usize = 400;

/// Epochs kept of a room.
const EPOCHS_KEPT: usize = 8;

/// Rooms that are compared; more are passed over.
const ROOMS_MAX: usize = 4096;

/// How long what an earlier owner sent may still be under way when the next one's updates come: longer than a client is
/// allowed to be behind.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// Conflicts that are told in words.
const EXAMPLES_MAX: usize = 10;

/// What came of comparing. The names of the fields are those of the JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Worlds {
    /// Updates that were compared.
    pub updates: u64,
    /// What cannot be: a room that was two things at once.
    pub conflicts: u64,
    /// The first of them, in words.
    pub examples: Vec<String>,
    /// Ticks that players saw, and saw again otherwise in a later epoch: their room fell back to an earlier state.
    pub rolled_back_ticks: u64,
    /// How long after the first update of a later epoch one of an earlier epoch of the same room still came, at most. What was
    /// under way then is in it, so a few hundred are no fault.
    pub epoch_overlap_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    rooms: Mutex<HashMap<String, Arc<Mutex<Room>>>>,
    found: Mutex<Worlds>,
    updates: AtomicU64,
}

#[derive(Debug, Default)]
struct Room {
    epochs: BTreeMap<u64, Epoch>,
}

#[derive(Debug, Default)]
struct Epoch {
    server: String,
    /// When its first update came to anybody.
    began: Option<Instant>,
    ticks: BTreeMap<u32, Tick>,
    /// That it goes on beside a later one is told once.
    is_told: bool,
}

#[derive(Debug, Default)]
struct Tick {
    cells: HashMap<u32, u32>,
    is_rolled_back: bool,
}

impl Oracle {
    /// A server welcomed a player to a room in this epoch.
    pub(super) fn welcomed(&self, room: &str, epoch: u64, server: &str) {
        let Some(seen) = self.room(room) else { return };
        let mut seen = lock(&seen);
        let known = seen.epochs.entry(epoch).or_default();
        if known.server.is_empty() {
            server.clone_into(&mut known.server);
        } else if known.server != server {
            let other = &known.server;
            self.conflict(format!("room {room}, epoch {epoch}: on {other}, and on {server}"));
        }
        while seen.epochs.len() > EPOCHS_KEPT {
            seen.epochs.pop_first();
        }
    }

    /// What a player holds after an update of a room in this epoch.
    pub(super) fn saw(&self, room: &str, epoch: u64, replica: &Replica, now: Instant) {
        let Some(seen) = self.room(room) else { return };
        self.updates.fetch_add(1, Ordering::Relaxed);
        // Before the lock: the others of the room need not wait for it.
        let cells = replica.cells().map(|(cell, entities)| (cell, cell_checksum(cell, entities)));
        let cells: Vec<(u32, u32)> = cells.collect();
        let mut seen = lock(&seen);
        self.is_alone(room, epoch, &mut seen, now);
        self.is_one(room, epoch, &mut seen, replica.tick(), &cells);
        let known = seen.epochs.entry(epoch).or_default();
        known.began.get_or_insert(now);
        while known.ticks.len() > TICKS_KEPT {
            known.ticks.pop_first();
        }
    }

    /// No later epoch has begun.
    fn is_alone(&self, room: &str, epoch: u64, seen: &mut Room, now: Instant) {
        let later = seen.epochs.range(epoch + 1..).filter_map(|(later, known)| {
            Some((now.saturating_duration_since(known.began?), *later))
        });
        let Some((since, later)) = later.max() else { return };
        {
            let mut found = lock(&self.found);
            let overlap_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            found.epoch_overlap_ms = found.epoch_overlap_ms.max(overlap_ms);
        }
        let Some(known) = seen.epochs.get_mut(&epoch) else { return };
        if since > UNDER_WAY && !known.is_told {
            known.is_told = true;
            self.conflict(format!(
                "room {room}: epoch {epoch} goes on {since:?} after epoch {later} began"
            ));
        }
    }

    /// It is what others saw.
    fn is_one(&self, room: &str, epoch: u64, seen: &mut Room, tick: u32, cells: &[(u32, u32)]) {
        let is_otherwise =
            seen.epochs.iter().filter(|(other, _)| **other != epoch).any(|(_, other)| {
                let known = other.ticks.get(&tick);
                known.is_some_and(|known| {
                    cells.iter().any(|(cell, hash)| {
                        known.cells.get(cell).is_some_and(|known| known != hash)
                    })
                })
            });
        let known = seen.epochs.entry(epoch).or_default().ticks.entry(tick).or_default();
        if is_otherwise && !known.is_rolled_back {
            known.is_rolled_back = true;
            lock(&self.found).rolled_back_ticks += 1;
        }
        for &(cell, hash) in cells {
            let other = *known.cells.entry(cell).or_insert(hash);
            if other != hash {
                self.conflict(format!(
                    "room {room}, epoch {epoch}, tick {tick}, cell {cell}: {other:08x}, and {hash:08x}"
                ));
            }
        }
    }

    fn room(&self, id: &str) -> Option<Arc<Mutex<Room>>> {
        let mut rooms = lock(&self.rooms);
        if let Some(room) = rooms.get(id) {
            return Some(Arc::clone(room));
        }
        (rooms.len() < ROOMS_MAX).then(|| Arc::clone(rooms.entry(id.to_owned()).or_default()))
    }

    fn conflict(&self, what: String) {
        let mut found = lock(&self.found);
        found.conflicts += 1;
        if found.examples.len() < EXAMPLES_MAX {
            found.examples.push(what);
        }
    }

    /// What was found.
    pub(super) fn found(&self) -> Worlds {
        Worlds { updates: self.updates.load(Ordering::Relaxed), ..lock(&self.found).clone() }
    }
}

/// What was seen stays seen when a task that wrote it panicked.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(oracle: &Oracle, epoch: u64, tick: u32, hash: u32, now: Instant) {
        let room = oracle.room("r").expect("there is room for it");
        let mut room = lock(&room);
        oracle.is_alone("r", epoch, &mut room, now);
        oracle.is_one("r", epoch, &mut room, tick, &[(7, hash)]);
        room.epochs.entry(epoch).or_default().began.get_or_insert(now);
    }

    #[tokio::test]
    async fn a_tick_is_one_thing_in_an_epoch() {
        let (oracle, now) = (Oracle::default(), Instant::now());
        see(&oracle, 1, 100, 5, now);
        see(&oracle, 1, 100, 5, now);
        assert_eq!(oracle.found().conflicts, 0);
        see(&oracle, 1, 100, 6, now);
        assert_eq!(oracle.found().conflicts, 1);
    }

    #[tokio::test]
    async fn a_room_that_fell_back_is_no_conflict_but_its_ticks_are_counted() {
        let (oracle, now) = (Oracle::default(), Instant::now());
        for tick in 100..110 {
            see(&oracle, 1, tick, tick, now);
        }
        for tick in 105..120 {
            see(&oracle, 2, tick, tick + u32::from(tick != 105), now);
            see(&oracle, 2, tick, tick + u32::from(tick != 105), now);
        }
        let found = oracle.found();
        assert_eq!((found.conflicts, found.rolled_back_ticks), (0, 4));
    }

    #[tokio::test]
    async fn an_epoch_does_not_go_on_beside_a_later_one() {
        let (oracle, now) = (Oracle::default(), Instant::now());
        see(&oracle, 1, 100, 5, now);
        see(&oracle, 2, 101, 6, now);
        // What was under way.
        see(&oracle, 1, 102, 7, now + Duration::from_secs(1));
        assert_eq!(oracle.found().conflicts, 0);
        see(&oracle, 1, 190, 7, now + UNDER_WAY + Duration::from_secs(1));
        see(&oracle, 1, 191, 7, now + UNDER_WAY + Duration::from_secs(1));
        let found = oracle.found();
        assert_eq!(found.conflicts, 1, "{:?}", found.examples);
    }

    #[tokio::test]
    async fn how_long_two_epochs_went_on_side_by_side_is_told() {
        let (oracle, begin) = (Oracle::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        see(&oracle, 1, 100, 5, at(0));
        see(&oracle, 1, 101, 5, at(5_000));
        assert_eq!(oracle.found().epoch_overlap_ms, 0, "one epoch alone");
        see(&oracle, 2, 102, 6, at(5_050));
        see(&oracle, 2, 103, 6, at(6_000));
        assert_eq!(oracle.found().epoch_overlap_ms, 0, "the later one goes on");
        see(&oracle, 1, 102, 5, at(5_450));
        see(&oracle, 1, 103, 5, at(5_150));
        let found = oracle.found();
        assert_eq!((found.epoch_overlap_ms, found.conflicts), (400, 0), "the longest counts");
        // From the first that began, not from the newest.
        see(&oracle, 3, 110, 7, at(5_900));
        see(&oracle, 1, 104, 5, at(6_050));
        assert_eq!(oracle.found().epoch_overlap_ms, 1_000);
    }

    #[test]
    fn an_epoch_has_one_server() {
        let oracle = Oracle::default();
        oracle.welcomed("r", 1, "one");
        oracle.welcomed("r", 1, "one");
        oracle.welcomed("r", 2, "two");
        assert_eq!(oracle.found().conflicts, 0);
        oracle.welcomed("r", 2, "one");
        assert_eq!(oracle.found().conflicts, 1);
    }
}
