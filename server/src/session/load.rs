//! How full servers and rooms are: what is listed, and where there is place.

use super::directory::{Held, InstanceId, ListedRoom, RoomRecord, ServerRecord};
use super::lobby::Lobby;
use crate::room::Handle;
use rand::RngExt as _;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many players a room is taken to have that its server has not spoken of yet.
const NEW_ROOM_PLAYERS: u64 = 8;
/// A server that has not renewed its lease for so long is not sent anybody who could go elsewhere.
const SILENT_AFTER: Duration = Duration::from_millis(2500);
/// Nor is one that did not answer this server, for so long.
const UNREACHABLE_FOR: Duration = Duration::from_secs(5);
/// Of so many servers that is remembered.
pub(super) const UNREACHABLE_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// How old the list may be that those see who watch it.
const LIST_FRESH: Duration = Duration::from_millis(900);

/// The rooms of all servers, and since when that is known.
pub(super) type List = Option<(Instant, Arc<Vec<ListedRoom>>)>;

impl Lobby {
    /// Another server did not answer: for a while, nobody is sent there who could go elsewhere.
    pub(super) fn note_unreachable(&self, server: &InstanceId) {
        let mut unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        unreachable.put(server.clone(), Instant::now());
    }

    /// Whether another server is likely to answer.
    fn answers(&self, server: &InstanceId) -> bool {
        let silence = self.directory().silence(server);
        let mut unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        let was_silent = unreachable.get(server).is_some_and(|at| at.elapsed() < UNREACHABLE_FOR);
        !was_silent && silence.is_some_and(|silence| silence < SILENT_AFTER)
    }

    /// The same as [`Self::listed`], made at most about once a second, however many watch it.
    pub fn listed_lately(&self) -> Arc<Vec<ListedRoom>> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fresh)) = list.as_ref().filter(|(at, _)| at.elapsed() < LIST_FRESH) {
            return Arc::clone(fresh);
        }
        let fresh = Arc::new(self.listed());
        *list = Some((Instant::now(), Arc::clone(&fresh)));
        fresh
    }

    /// The public rooms of all servers, in the order of their ids.
    pub fn listed(&self) -> Vec<ListedRoom> {
        let local = &self.sessions.rooms;
        let mut rooms: Vec<_> = local.public().iter().map(listed).collect();
        let me = self.directory().me();
        let servers: HashMap<_, _> = self
            .directory()
            .servers()
            .into_iter()
            .map(|held| (held.record.instance.clone(), held.record))
            .collect();
        for held in self.directory().rooms() {
            let record = &held.record;
            if record.owner == *me || record.code_hash.is_some() || record.lost.is_some() {
                continue;
            }
            if let Some(server) = servers.get(&record.owner) {
                rooms.push(listed_there(record, server));
            }
        }
        rooms.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        rooms
    }

    /// Another server where a new room is better made than here: the less loaded of two, so that a rush does not all go to
    /// the one that was emptiest a moment ago. Only of the same release: a canary's share is decided before.
    pub(super) fn roomiest(&self) -> Option<Arc<ServerRecord>> {
        let fleet = &self.sessions.fleet;
        let mut servers = fleet.directory.servers();
        servers.retain(|held| {
            let server = &held.record;
            let has_place = (server.players.len() as u64) < u64::from(server.rooms_max);
            let is_well =
                server.instance == *fleet.directory.me() || self.answers(&server.instance);
            !server.is_draining && has_place && server.release == fleet.release && is_well
        });
        if servers.is_empty() {
            return None;
        }
        // A server says how full it is once a second; of rooms that are newer the directory knows.
        let mut new_rooms: HashMap<InstanceId, u64> = HashMap::new();
        for held in fleet.directory.rooms() {
            let owner = servers.iter().find(|server| server.record.instance == held.record.owner);
            if owner.is_some_and(|server| !server.record.players.contains_key(&held.record.room)) {
                *new_rooms.entry(held.record.owner.clone()).or_default() += 1;
            }
        }
        let load = |held: &Held<ServerRecord>| {
            let new_rooms = new_rooms.get(&held.record.instance).copied().unwrap_or(0);
            held.record.players_total() + new_rooms * NEW_ROOM_PLAYERS
        };
        let one = rand::rng().random_range(0..servers.len());
        let further = rand::rng().random_range(0..servers.len().max(2) - 1) + 1;
        let other = (one + further) % servers.len();
        let best = if load(&servers[other]) < load(&servers[one]) { other } else { one };
        let best = &servers[best].record;
        (best.instance != *fleet.directory.me()).then(|| Arc::clone(best))
    }

    /// Public rooms of this release, with a free seat or `full_too`, the fullest first. Own ones as they are now, others as last heard.
    pub(super) fn open_rooms(
        &self,
        own_only: bool,
        full_too: bool,
    ) -> Vec<(u32, Held<RoomRecord>)> {
        let fleet = &self.sessions.fleet;
        let me = fleet.directory.me();
        let mut rooms = Vec::new();
        for held in fleet.directory.rooms() {
            let record = &held.record;
            if record.code_hash.is_some() || record.lost.is_some() {
                continue;
            }
            let players = if record.owner == *me {
                // Whoever only looks on may.
                if !full_too && self.sessions.takes_players().is_err() {
                    continue;
                }
                self.sessions.rooms.get(&record.room).map(|room| room.info().players())
            } else if own_only {
                None
            } else {
                let server = fleet.directory.server(&record.owner);
                let server = server.filter(|held| {
                    let may_seat = !held.record.is_draining && self.answers(&record.owner);
                    held.record.release == fleet.release && (full_too || may_seat)
                });
                server.map(|held| held.record.players.get(&record.room).copied().unwrap_or(0))
            };
            let Some(players) = players else { continue };
            if players < record.capacity || full_too {
                rooms.push((players, held));
            }
        }
        rooms.sort_by_key(|(players, _)| std::cmp::Reverse(*players));
        rooms
    }
}

/// A room of this server's, as others see it.
pub fn listed(room: &Handle) -> ListedRoom {
    let info = room.info();
    ListedRoom {
        id: info.id.clone(),
        name: info.name.clone(),
        game: info.game.to_owned(),
        players: info.players(),
        capacity: info.capacity,
        is_private: info.code.is_some(),
        code: None,
    }
}

fn listed_there(record: &RoomRecord, server: &ServerRecord) -> ListedRoom {
    ListedRoom {
        id: record.room.clone(),
        name: record.name.clone(),
        game: record.game.clone(),
        players: server.players.get(&record.room).copied().unwrap_or(0),
        capacity: record.capacity,
        is_private: record.code_hash.is_some(),
        code: None,
    }
}
