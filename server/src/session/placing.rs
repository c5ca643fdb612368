//! Where a player goes: to which room, on which server.

use super::Error;
use super::directory::{
    Directory, Fate, Held, ListedRoom, RoomRecord, Seated, ServerRecord, code_hash,
};
use super::load::listed;
use super::lobby::{JoinSpec, Lobby, RoomChoice, profile, within_window};
use super::message::Redirect;
use super::ticket;
use super::token::ResumeToken;
use crate::room::registry::{Draft, NewRoom};
use crate::room::{Handle, Moved, RoomId};
use std::sync::Arc;
use std::time::Duration;

/// How many rooms are tried for somebody who takes any: what is known of others is a moment old, so they may be full.
const ROOMS_TRIED_MAX: usize = 4;

/// How soon a room is opened that the directory has been told of.
const OPENED_WITHIN: Duration = Duration::from_secs(1);

/// Reasons why somebody who takes any room, or wants a new one, is not seated in one place, but may be in another.
const GOES_ON_ELSEWHERE: &[&str] = &[
    "ROOM_FULL",
    "ROOM_NOT_FOUND",
    "ROOM_LOST",
    "ROOM_MOVED",
    "ROOMS_EXHAUSTED",
    "OWNER_UNREACHABLE",
    "SHUTTING_DOWN",
    "DRAINING",
    "KICKED",
    "OVERLOADED",
    "DIRECTORY_AWAY",
    "LEASE_LOST",
];
/// How long somebody who takes any room waits for one with others in it, before a new one is made.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(2);

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
                let held = self.known(&id).await?;
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
            None => self.locate(self.known(id).await?).await,
        }
    }

    /// Whether this is a room that plays now, and on another server.
    pub fn plays_elsewhere(&self, id: &str) -> bool {
        let held = RoomId::parse(id).and_then(|id| self.directory().room(&id));
        held.is_some_and(|held| {
            held.record.lost.is_none() && held.record.owner != *self.directory().me()
        })
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
                // Whoever waited here looks once more at what was opened meanwhile, but only at home: others take their time.
                let at_home = JoinSpec { passed_on: true, ..spec.clone() };
                if let Some(seated) = self.seat_in_any(&at_home, player_id).await? {
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
            Place::There(server, held) => self.pass_on(&server, &held, spec).await,
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
            Place::There(server, held) => self.pass_on(&server, &held, spec.clone()).await,
        }
    }

    /// A seat in the fullest public room that has one: full rooms are good rooms. `None`: none was found in time.
    async fn seat_in_any(&self, spec: &JoinSpec, player_id: &str) -> Result<Option<Seated>, Error> {
        let search = tokio::time::timeout(SEARCH_TIMEOUT, self.search(spec, player_id));
        search.await.unwrap_or(Ok(None))
    }

    async fn search(&self, spec: &JoinSpec, player_id: &str) -> Result<Option<Seated>, Error> {
        let mut unreachable = Vec::new();
        let mut tried = 0;
        for (_, held) in self.open_rooms(spec.passed_on, false) {
            let owner = held.record.owner.clone();
            if unreachable.contains(&owner) {
                continue;
            }
            if tried == ROOMS_TRIED_MAX {
                break;
            }
            tried += 1;
            let room = RoomChoice::Id(held.record.room.to_string());
            let spec = JoinSpec { room, ..spec.clone() };
            let seated = match self.locate(held).await {
                Ok(place) => self.seat_at(place, &spec, player_id).await,
                Err(error) => Err(error),
            };
            // What is known from outside may be old: the room itself decides.
            match seated {
                Ok(seated) => return Ok(Some(seated)),
                Err(error) if error.reason() == Error::OwnerUnreachable.reason() => {
                    unreachable.push(owner);
                }
                Err(error) if GOES_ON_ELSEWHERE.contains(&error.reason()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn seat_in_new(
        &self,
        new: &NewRoom,
        original: &JoinSpec,
        player_id: &str,
    ) -> Result<Seated, Error> {
        let id = self.id_for(original).await;
        if !original.passed_on
            && let Some(server) = self.roomiest()
        {
            let room = RoomChoice::New(new.clone());
            let spec = JoinSpec { room, passed_on: true, ..original.clone() };
            match self.sessions.fleet.peers.join(&server, spec).await {
                Err(error) if GOES_ON_ELSEWHERE.contains(&error.reason()) => {
                    if error.reason() == Error::OwnerUnreachable.reason() {
                        self.note_unreachable(&server.instance);
                    }
                }
                // The same request made its room on a third server.
                Err(error) if error.reason() == "WRONG_SERVER" => {
                    return self.seat_again(&id, original, player_id).await;
                }
                there => return there,
            }
        }
        self.sessions.takes_players()?;
        let room = match self.open(self.sessions.rooms.draft(new.clone(), id.clone())).await {
            Ok(room) => room,
            // The same request was here or on another server before.
            Err(Error::RoomExists) => return self.seat_again(&id, original, player_id).await,
            Err(other) => return Err(other),
        };
        self.seat_at(Place::Here(room), original, player_id).await
    }

    /// The same request makes the same room, on whichever server it arrives, for as long as proxies may repeat it. Later it
    /// makes another one: ids are never used again.
    async fn id_for(&self, spec: &JoinSpec) -> RoomId {
        if !spec.has_unique_id() {
            return RoomId::random();
        }
        let bits = self.sessions.token_key.derive("room", &within_window(&spec.request_id));
        let id = RoomId::from_bits(u128::from_str_radix(&bits, 16).unwrap_or_default());
        if self.directory().room(&id).is_some() {
            return id;
        }
        let was_here = self.recorded(id.as_str()).await.is_some();
        if was_here { RoomId::random() } else { id }
    }

    /// Opens a room here, once the directory knows of it.
    async fn open(&self, draft: Draft) -> Result<Handle, Error> {
        let rooms = &self.sessions.rooms;
        // Whatever the directory says: after it was wiped, it may not know of the room yet.
        if rooms.get(&draft.id).is_some() {
            return Err(Error::RoomExists);
        }
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
            parked: false,
            parked_whole: false,
        }
    }

    /// What the directory knows of a room that is not here. The view lags a moment behind: before somebody is told that there
    /// is no such room, the directory itself is asked.
    async fn known(&self, id: &RoomId) -> Result<Held<RoomRecord>, Error> {
        if let Some(held) = self.directory().room(id) {
            return Ok(held);
        }
        match self.directory().read(id).await {
            Ok(held) => held.ok_or_else(|| self.unknown()),
            Err(_) => Err(Error::DirectoryAway),
        }
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
        if held.record.parked {
            return self.settled(held).await;
        }
        if held.record.owner == *fleet.directory.me() {
            return self.opened(&held.record.room).await;
        }
        if let Some(server) = fleet.directory.server(&held.record.owner) {
            return Ok(Place::There(server.record, held));
        }
        self.settled(held).await
    }

    /// A room of this server's that the directory has: it is here, or about to be.
    async fn opened(&self, id: &RoomId) -> Result<Place, Error> {
        let (rooms, fleet) = (&self.sessions.rooms, &self.sessions.fleet);
        let mut changes = rooms.changes();
        let me = self.directory().me();
        let opened = async {
            loop {
                if let Some(room) = rooms.get(id) {
                    return Some(room);
                }
                changes.changed().await.ok()?;
                // It has just gone to another server.
                if self.directory().room(id).is_some_and(|held| held.record.owner != *me) {
                    return None;
                }
            }
        };
        if let Ok(Some(room)) = tokio::time::timeout(OPENED_WITHIN, opened).await {
            return Ok(Place::Here(room));
        }
        // A server that was cut off, or stood still, has ended its rooms, and may have to hear yet what became of them.
        match self.directory().read(id).await {
            Ok(Some(held)) => match (&held.record.lost, fleet.directory.server(&held.record.owner))
            {
                (Some(why), _) => Err(Error::RoomLost(why.clone())),
                (None, Some(server)) if held.record.owner != *me && !held.record.parked => {
                    Ok(Place::There(server.record, held))
                }
                (None, _) => Err(Error::OwnerUnreachable),
            },
            Ok(None) => Err(self.unknown()),
            Err(_) => Err(Error::OwnerUnreachable),
        }
    }

    /// What has become of a room whose owner does not answer.
    async fn settled(&self, held: Held<RoomRecord>) -> Result<Place, Error> {
        let fleet = &self.sessions.fleet;
        match fleet.peers.settle(held).await? {
            Fate::Lost(why) => Err(Error::RoomLost(why)),
            Fate::Owned(held) if held.record.owner == *fleet.directory.me() => {
                self.opened(&held.record.room).await
            }
            Fate::Owned(held) => match fleet.directory.server(&held.record.owner) {
                Some(server) => Ok(Place::There(server.record, held)),
                None => Err(Error::OwnerUnreachable),
            },
        }
    }

    /// Lets the room's own server do it. If that is gone, it is found out what became of the room.
    pub(super) async fn pass_on(
        &self,
        server: &ServerRecord,
        held: &Held<RoomRecord>,
        spec: JoinSpec,
    ) -> Result<Seated, Error> {
        if spec.passed_on {
            // Once is enough: the other server knows better, or nobody does.
            return Err(Error::WrongServer { room: held.record.room.to_string() });
        }
        let peers = &self.sessions.fleet.peers;
        let spec = JoinSpec { passed_on: true, ..spec };
        match peers.join(server, spec.clone()).await {
            // Its own word, or nothing at all.
            Err(error) if error.reason() == Error::OwnerUnreachable.reason() => {}
            answered => return answered,
        }
        self.note_unreachable(&server.instance);
        match self.settled(held.clone()).await? {
            // It has another owner by now.
            Place::There(other, _) if other.instance != server.instance => {
                peers.join(&other, spec).await
            }
            // It goes on here. Whoever was in it is in it again; others ask once more.
            Place::Here(room) => match spec.resume_token.as_deref().and_then(ResumeToken::parse) {
                Some(token) => {
                    let player_id = room.find(token.hash()).await?;
                    self.seated(&room, player_id)
                }
                None => Err(Error::OwnerUnreachable),
            },
            Place::There(..) => Err(Error::OwnerUnreachable),
        }
    }

    fn seated(&self, room: &Handle, player_id: String) -> Result<Seated, Error> {
        let ticket = self.ticket(&player_id, room.info().id.as_str())?;
        let code = room.info().code.clone();
        Ok(Seated { ticket, room: ListedRoom { code, ..listed(room) }, player_id })
    }

    /// A ticket that leads here.
    pub(super) fn ticket(&self, player_id: &str, room: &str) -> Result<String, Error> {
        let fleet = &self.sessions.fleet;
        let (route, version) = (fleet.route.as_str(), fleet.release.as_str());
        let draft = ticket::Draft { player_id, room, route, version };
        self.sessions.keys.sign(draft, self.sessions.limits.ticket_ttl)
    }

    /// Where a player's room has gone. `None`: it has not, or no ticket can be signed just now; then Join has one.
    pub(super) fn redirect(&self, room: &Handle, player_id: &str) -> Option<Redirect> {
        let Moved { route, release, epoch, first_tick, .. } = room.info().moved()?;
        let room = room.info().id.as_str();
        let draft = ticket::Draft { player_id, room, route, version: release };
        let expires_in = self.sessions.limits.ticket_ttl;
        let ticket = self.sessions.keys.sign(draft, expires_in).ok()?;
        Some(Redirect { ticket, expires_in, epoch: *epoch, first_tick: *first_tick })
    }

    pub(super) fn directory(&self) -> &dyn Directory {
        self.sessions.fleet.directory.as_ref()
    }
}

fn is_public(room: &Handle) -> bool {
    room.info().code.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_that_send_players_elsewhere_are_reasons() {
        for reason in GOES_ON_ELSEWHERE {
            assert!(Error::REASONS.contains(reason), "{reason}");
        }
    }
}
