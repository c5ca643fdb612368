//! Where a player goes: to which room, on which server.

use super::Error;
use super::directory::{
    Directory, Fate, Held, ListedRoom, RoomRecord, Seated, ServerRecord, code_hash,
};
use super::lobby::{JoinSpec, Lobby, RoomChoice, profile};
use super::ticket;
use super::token::ResumeToken;
use crate::room::registry::{Draft, NewRoom};
use crate::room::{Handle, RoomId};
use rand::RngExt as _;
use std::sync::Arc;

/// How many rooms are tried for somebody who takes any: what is known of others is a moment old, so they may be full.
const ROOMS_TRIED_MAX: usize = 4;

/// Where a room is.
pub enum Place {
    /// On this server.
    Here(Handle),
    /// On another one.
    There(Arc<ServerRecord>, Held<RoomRecord>),
}

impl Lobby {
    /// Where the room is that somebody means who names one. Private rooms are found by their code only.
    pub async fn find(&self, choice: &RoomChoice) -> Result<Place, Error> {
        match choice {
            RoomChoice::Id(id) => {
                let id = RoomId::parse(id).ok_or(Error::RoomNotFound)?;
                if let Some(room) = self.sessions.rooms.get(&id) {
                    return Some(room)
                        .filter(is_public)
                        .map(Place::Here)
                        .ok_or(Error::RoomNotFound);
                }
                let held = self.known(&id)?;
                if held.record.code_hash.is_some() {
                    return Err(Error::RoomNotFound);
                }
                self.locate(held).await
            }
            RoomChoice::Code(code) => {
                if let Some(room) = self.sessions.rooms.by_code(code) {
                    return Ok(Place::Here(room));
                }
                let hash = code_hash(&self.sessions.token_key, code);
                let mut rooms = self.directory().rooms().into_iter();
                let held = rooms.find(|held| held.record.code_hash.as_ref() == Some(&hash));
                self.locate(held.ok_or_else(|| self.unknown())?).await
            }
            RoomChoice::Any | RoomChoice::New(_) => {
                let mut rooms = self.open_rooms(false, true);
                let (_, held) = rooms.drain(..).next().ok_or(Error::RoomNotFound)?;
                self.locate(held).await
            }
        }
    }

    /// Where a room is whose id somebody has who may enter it: from a ticket or a resume token.
    pub async fn whereabouts(&self, id: &RoomId) -> Result<Place, Error> {
        match self.sessions.rooms.get(id) {
            Some(room) => Ok(Place::Here(room)),
            None => self.locate(self.known(id)?).await,
        }
    }

    /// The public rooms of all servers, in the order of their ids.
    pub fn listed(&self) -> Vec<ListedRoom> {
        let local = &self.sessions.rooms;
        let mut rooms: Vec<_> = local.public().iter().map(listed).collect();
        let me = self.directory().me();
        for held in self.directory().rooms() {
            let record = &held.record;
            if record.owner == *me || record.code_hash.is_some() || record.lost.is_some() {
                continue;
            }
            if let Some(server) = self.directory().server(&record.owner) {
                rooms.push(listed_there(record, &server.record));
            }
        }
        rooms.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        rooms
    }

    pub(super) async fn seat(&self, spec: &JoinSpec, player_id: &str) -> Result<Seated, Error> {
        match &spec.room {
            RoomChoice::Id(_) | RoomChoice::Code(_) => {
                let place = self.find(&spec.room).await?;
                self.seat_at(place, spec, player_id).await
            }
            RoomChoice::New(new) => self.seat_in_new(new, spec, player_id).await,
            RoomChoice::Any => {
                if let Some(seated) = self.seat_in_any(spec, player_id).await? {
                    return Ok(seated);
                }
                let _one_at_a_time = self.opening.lock().await;
                if let Some(seated) = self.seat_in_any(spec, player_id).await? {
                    return Ok(seated);
                }
                self.seat_in_new(&NewRoom::default(), spec, player_id).await
            }
        }
    }

    /// The same seat as before in this room, for somebody who repeats a request.
    pub(super) async fn seat_again(
        &self,
        room: &RoomId,
        spec: &JoinSpec,
        player_id: &str,
    ) -> Result<Seated, Error> {
        let place = self.whereabouts(room).await?;
        // The other server remembers the request itself.
        self.seat_at(place, spec, player_id).await
    }

    pub(super) async fn spectate(&self, spec: JoinSpec) -> Result<Seated, Error> {
        match self.find(&spec.room).await? {
            Place::Here(room) => Ok(Seated {
                ticket: self.ticket(&room, "")?,
                room: listed(&room),
                player_id: String::new(),
            }),
            Place::There(server, held) => {
                let id = held.record.room.to_string();
                let room = if matches!(spec.room, RoomChoice::Code(_)) {
                    spec.room.clone()
                } else {
                    RoomChoice::Id(id)
                };
                self.pass_on(&server, JoinSpec { room, ..spec }).await
            }
        }
    }

    pub(super) async fn rejoin(&self, spec: JoinSpec) -> Result<Seated, Error> {
        let token = spec.resume_token.as_deref().and_then(ResumeToken::parse);
        let token = token.ok_or(Error::SessionNotFound)?;
        let place = self.whereabouts(&token.room).await.map_err(|error| match error {
            Error::RoomNotFound => Error::SessionNotFound,
            other => other,
        })?;
        match place {
            Place::Here(room) if room.info().epoch < token.epoch => Err(Error::OwnerUnreachable),
            Place::Here(room) => {
                let player_id = room.find(token.hash()).await?;
                self.seated(&room, player_id)
            }
            Place::There(server, _) => self.pass_on(&server, spec).await,
        }
    }

    async fn seat_at(
        &self,
        place: Place,
        spec: &JoinSpec,
        player_id: &str,
    ) -> Result<Seated, Error> {
        match place {
            Place::Here(room) => {
                self.sessions.takes_players()?;
                room.reserve(player_id.to_owned(), profile(spec, player_id)).await?;
                self.seated(&room, player_id.to_owned())
            }
            Place::There(server, _) => self.pass_on(&server, spec.clone()).await,
        }
    }

    /// A seat in the fullest public room that has one: full rooms are good rooms.
    async fn seat_in_any(&self, spec: &JoinSpec, player_id: &str) -> Result<Option<Seated>, Error> {
        for (_, held) in self.open_rooms(spec.passed_on, false).into_iter().take(ROOMS_TRIED_MAX) {
            let room = RoomChoice::Id(held.record.room.to_string());
            let spec = JoinSpec { room, ..spec.clone() };
            let Ok(place) = self.locate(held).await else { continue };
            // What is known from outside may be old: the room itself decides.
            match self.seat_at(place, &spec, player_id).await {
                Ok(seated) => return Ok(Some(seated)),
                Err(
                    Error::RoomFull
                    | Error::RoomNotFound
                    | Error::OwnerUnreachable
                    | Error::Kicked
                    | Error::Draining
                    | Error::ShuttingDown,
                ) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }

    async fn seat_in_new(
        &self,
        new: &NewRoom,
        spec: &JoinSpec,
        player_id: &str,
    ) -> Result<Seated, Error> {
        if !spec.passed_on
            && let Some(server) = self.roomiest()
        {
            let room = RoomChoice::New(new.clone());
            let there = self.pass_on(&server, JoinSpec { room, ..spec.clone() }).await;
            if !matches!(
                there,
                Err(Error::OwnerUnreachable | Error::ShuttingDown | Error::Draining)
            ) {
                return there;
            }
        }
        self.sessions.takes_players()?;
        let id = self.id_for(spec);
        let room = match self.open(self.sessions.rooms.draft(new.clone(), id.clone())).await {
            Ok(room) => room,
            // The same request was here or on another server before.
            Err(Error::RoomExists) => return self.seat_again(&id, spec, player_id).await,
            Err(other) => return Err(other),
        };
        self.seat_at(Place::Here(room), spec, player_id).await
    }

    /// The same request makes the same room, on whichever server it arrives.
    fn id_for(&self, spec: &JoinSpec) -> RoomId {
        let is_unique = spec.request_id.len() >= super::lobby::REQUEST_ID_BYTES_UNIQUE;
        if !is_unique || !matches!(spec.room, RoomChoice::New(_)) {
            return RoomId::random();
        }
        let bits = self.sessions.token_key.derive("room", &spec.request_id);
        RoomId::from_bits(u128::from_str_radix(&bits, 16).unwrap_or_default())
    }

    /// Opens a room here, once the directory knows of it.
    async fn open(&self, draft: Draft) -> Result<Handle, Error> {
        let rooms = &self.sessions.rooms;
        if !rooms.has_place() {
            return Err(Error::RoomsExhausted);
        }
        let record = self.record(&draft);
        let id = draft.id.clone();
        let revision = self.directory().create(record).await.map_err(|error| match error {
            super::directory::DirectoryError::Conflict => Error::RoomExists,
            other => other.into(),
        })?;
        match rooms.open(draft) {
            Ok(room) => Ok(room),
            Err(error) => {
                // If that fails, too: a room that its owner does not have is removed by the keeper.
                let _ = self.directory().remove(&id, revision).await;
                Err(error.into())
            }
        }
    }

    fn record(&self, draft: &Draft) -> RoomRecord {
        let (game, sim_version) = self.sessions.rooms.game();
        RoomRecord {
            room: draft.id.clone(),
            owner: self.directory().me().clone(),
            epoch: draft.epoch,
            followers: Vec::new(),
            game: game.to_owned(),
            sim_version,
            name: draft.name.clone(),
            capacity: draft.capacity,
            code_hash: draft.code.as_ref().map(|code| code_hash(&self.sessions.token_key, code)),
            lost: None,
        }
    }

    /// Another server where a new room is better made than here: the less loaded of two, so that a rush does not all go to
    /// the one that was emptiest a moment ago. Only of the same release: a canary's share is decided before.
    fn roomiest(&self) -> Option<Arc<ServerRecord>> {
        let fleet = &self.sessions.fleet;
        let mut servers = fleet.directory.servers();
        servers.retain(|held| {
            let server = &held.record;
            let has_place = (server.players.len() as u64) < u64::from(server.rooms_max);
            !server.is_draining && has_place && server.release == fleet.release
        });
        if servers.is_empty() {
            return None;
        }
        let mut random = rand::rng();
        let mut pick = || &servers[random.random_range(0..servers.len())];
        let load =
            |held: &&Held<ServerRecord>| (held.record.players_total(), held.record.players.len());
        let (one, other) = (pick(), pick());
        let best = if load(&other) < load(&one) { other } else { one };
        let is_me = best.record.instance == *fleet.directory.me();
        (!is_me).then(|| Arc::clone(&best.record))
    }

    /// Public rooms of this release, with a free seat or `full_too`, the fullest first. Own ones as they are now, others as last heard.
    fn open_rooms(&self, own_only: bool, full_too: bool) -> Vec<(u32, Held<RoomRecord>)> {
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
                    held.record.release == fleet.release && (full_too || !held.record.is_draining)
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

    /// What the directory knows of a room that is not here.
    fn known(&self, id: &RoomId) -> Result<Held<RoomRecord>, Error> {
        self.directory().room(id).ok_or_else(|| self.unknown())
    }

    /// Of a room that the directory does not name.
    fn unknown(&self) -> Error {
        if self.directory().is_settled() { Error::RoomNotFound } else { Error::DirectoryAway }
    }

    async fn locate(&self, held: Held<RoomRecord>) -> Result<Place, Error> {
        let fleet = &self.sessions.fleet;
        if let Some(why) = &held.record.lost {
            return Err(Error::RoomLost(why.clone()));
        }
        if held.record.owner == *fleet.directory.me() {
            return self
                .sessions
                .rooms
                .get(&held.record.room)
                .map(Place::Here)
                .ok_or(Error::RoomNotFound);
        }
        if let Some(server) = fleet.directory.server(&held.record.owner) {
            return Ok(Place::There(server.record, held));
        }
        match fleet.peers.settle(held).await? {
            Fate::Lost(why) => Err(Error::RoomLost(why)),
            Fate::Owned(held) if held.record.owner == *fleet.directory.me() => self
                .sessions
                .rooms
                .get(&held.record.room)
                .map(Place::Here)
                .ok_or(Error::RoomNotFound),
            Fate::Owned(held) => match fleet.directory.server(&held.record.owner) {
                Some(server) => Ok(Place::There(server.record, held)),
                None => Err(Error::OwnerUnreachable),
            },
        }
    }

    async fn pass_on(&self, server: &ServerRecord, spec: JoinSpec) -> Result<Seated, Error> {
        if spec.passed_on {
            // Once is enough: the other server knows better, or nobody does.
            let room = String::new();
            return Err(Error::WrongServer { room });
        }
        self.sessions.fleet.peers.join(server, JoinSpec { passed_on: true, ..spec }).await
    }

    fn seated(&self, room: &Handle, player_id: String) -> Result<Seated, Error> {
        let ticket = self.ticket(room, &player_id)?;
        let code = room.info().code.clone();
        Ok(Seated { ticket, room: ListedRoom { code, ..listed(room) }, player_id })
    }

    fn ticket(&self, room: &Handle, player_id: &str) -> Result<String, Error> {
        let fleet = &self.sessions.fleet;
        let (route, version) = (fleet.route.as_str(), fleet.release.as_str());
        let draft = ticket::Draft { player_id, room: &room.info().id, route, version };
        self.sessions.keys.sign(draft, self.sessions.limits.ticket_ttl)
    }

    fn directory(&self) -> &dyn Directory {
        self.sessions.fleet.directory.as_ref()
    }
}

fn is_public(room: &Handle) -> bool {
    room.info().code.is_none()
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
