//! Tickets for those who only look on: at a room that plays, or at what was played.
//!
//! They name no player and open no seat. Before an edge, they are what takes a spectator's stream to the right server; what may be
//! seen there is decided there.

use super::Error;
use super::directory::{ListedRoom, Seated};
use super::load::listed;
use super::lobby::{JoinSpec, Lobby, RoomChoice};
use super::placing::Place;
use crate::room::RoomId;
use crate::store::{Name, Summary};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How many at once may have all servers asked for a recording.
pub(super) const ASKING_MAX: usize = 8;
/// How long they have to answer.
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// How many other servers are asked for a recording that is not here.
const SERVERS_ASKED_MAX: usize = 32;

impl Lobby {
    pub(super) async fn spectate(&self, spec: JoinSpec) -> Result<Seated, Error> {
        let (server, held) = match self.find(&spec.room).await {
            Ok(Place::Here(room)) => {
                let ticket = self.ticket("", room.info().id.as_str())?;
                return Ok(Seated { ticket, room: listed(&room), player_id: String::new() });
            }
            Ok(Place::There(server, held)) => (server, held),
            // It plays no more, and maybe never did; but what was played may be there.
            Err(Error::RoomNotFound | Error::RoomLost(_)) => return self.look_back(spec).await,
            Err(error) => return Err(error),
        };
        let by_id = || RoomChoice::Id(held.record.room.to_string());
        let room = match &spec.room {
            RoomChoice::Code(code) => RoomChoice::Code(code.clone()),
            RoomChoice::Any | RoomChoice::Id(_) | RoomChoice::New(_) => by_id(),
        };
        self.pass_on(&server, &held, JoinSpec { room, ..spec }).await
    }

    /// A ticket that leads to a server that has the recording of this name. Of a private room's, the server there asks for the code.
    async fn look_back(&self, spec: JoinSpec) -> Result<Seated, Error> {
        let RoomChoice::Id(name) = &spec.room else { return Err(Error::RoomNotFound) };
        if let Some(found) = self.recorded(name).await {
            let header = &found.header;
            let room = ListedRoom {
                id: RoomId::parse(&header.room).ok_or(Error::RoomNotFound)?,
                name: if header.code.is_empty() { header.room_name.clone() } else { String::new() },
                game: header.game.clone(),
                players: 0,
                capacity: header.capacity,
                is_private: !header.code.is_empty(),
                code: None,
            };
            let ticket = self.ticket("", found.name.as_str())?;
            return Ok(Seated { ticket, room, player_id: String::new() });
        }
        if spec.passed_on {
            return Err(Error::RoomNotFound);
        }
        let fleet = &self.sessions.fleet;
        if fleet.shares_store {
            // They have no other recordings than this one.
            return Err(Error::RoomNotFound);
        }
        let _one_of_few = self.asking.try_acquire().map_err(|_| Error::Overloaded)?;
        let mut servers = fleet.directory.servers();
        servers.retain(|held| held.record.instance != *fleet.directory.me());
        let mut answers: FuturesUnordered<_> = servers
            .iter()
            .take(SERVERS_ASKED_MAX)
            .map(|held| {
                fleet.peers.join(&held.record, JoinSpec { passed_on: true, ..spec.clone() })
            })
            .collect();
        let found = async {
            while let Some(answer) = answers.next().await {
                if answer.is_ok() {
                    return answer;
                }
            }
            Err(Error::RoomNotFound)
        };
        timeout(ASKED_WITHIN, found).await.unwrap_or(Err(Error::RoomNotFound))
    }

    /// What this server's store knows of a recording. Stores may take their time.
    pub(super) async fn recorded(&self, name: &str) -> Option<Summary> {
        let name = Name::parse(name)?;
        let store = Arc::clone(self.sessions.rooms.store());
        tokio::task::spawn_blocking(move || store.find(&name).ok()).await.ok().flatten()
    }
}
