//! `fray.v1.Lobby`.

use crate::room::RoomId;
use crate::room::registry::NewRoom;
use crate::session::directory::ListedRoom;
use crate::session::lobby::{JoinSpec, RoomChoice};
use crate::session::{Error, Lobby};
use async_stream::stream;
use fray_proto::v1;
use futures_util::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

const PAGE_SIZE_DEFAULT: i32 = 100;
const PAGE_SIZE_MAX: i32 = 500;
/// How often the list of rooms is looked at for those who watch it.
const ROOMS_WATCHED_EVERY: Duration = Duration::from_secs(1);
/// When nothing was new for so long, that is said, too.
const ROOMS_QUIET_MAX: Duration = Duration::from_secs(30);
/// Unary calls take no longer than this, whatever the client allows.
const DEADLINE_MAX: Duration = Duration::from_secs(10);

/// The service.
pub struct Service {
    lobby: Arc<Lobby>,
    /// It answers other servers.
    is_for_peers: bool,
}

impl Service {
    /// Before this lobby.
    pub fn new(lobby: Arc<Lobby>) -> Self {
        Self { lobby, is_for_peers: false }
    }

    /// The same for other servers, which have looked everywhere else already.
    pub fn for_peers(lobby: Arc<Lobby>) -> Self {
        Self { lobby, is_for_peers: true }
    }

    async fn try_join(&self, request: v1::JoinRequest) -> Result<v1::JoinResponse, Error> {
        let spec = JoinSpec { passed_on: self.is_for_peers, ..request.try_into()? };
        let seated = self.lobby.join(spec).await?;
        Ok(v1::JoinResponse {
            ticket: seated.ticket,
            expires_in_s: self.lobby.sessions().limits.ticket_ttl.as_secs() as u32,
            room: Some(seated.room.into()),
            player_id: seated.player_id,
        })
    }

    fn try_list(&self, request: &v1::ListRoomsRequest) -> Result<v1::ListRoomsResponse, Error> {
        let page_size = match request.page_size {
            0 => PAGE_SIZE_DEFAULT,
            1.. => request.page_size.min(PAGE_SIZE_MAX),
            _ => {
                return Err(Error::Invalid { field: "page_size", problem: "negative" });
            }
        };
        let mut rooms = self.lobby.listed();
        if !request.page_token.is_empty() {
            let last = RoomId::parse(&request.page_token);
            let last =
                last.ok_or(Error::Invalid { field: "page_token", problem: "not from this list" })?;
            rooms.retain(|room| room.id > last);
        }
        let is_last = rooms.len() <= page_size as usize;
        rooms.truncate(page_size as usize);
        let next = rooms.last().filter(|_| !is_last).map(|room| room.id.to_string());
        Ok(v1::ListRoomsResponse {
            rooms: rooms.into_iter().map(v1::Room::from).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    /// Counts a refusal on its way out.
    fn answered<T>(&self, result: Result<T, Error>) -> Result<Response<T>, Status> {
        result.map(Response::new).map_err(|error| {
            self.lobby.sessions().metrics.refused(error.reason());
            error.into()
        })
    }
}

impl TryFrom<v1::JoinRequest> for JoinSpec {
    type Error = Error;

    fn try_from(request: v1::JoinRequest) -> Result<Self, Error> {
        use v1::join_request::Room;
        let hue = request.player_hue.map(u16::try_from).transpose();
        Ok(Self {
            request_id: request.request_id,
            player_name: request.player_name,
            player_hue: hue
                .map_err(|_| Error::Invalid { field: "player_hue", problem: "not in 0 to 359" })?,
            room: match request.room {
                None => RoomChoice::Any,
                Some(Room::RoomId(id)) => RoomChoice::Id(id),
                Some(Room::Code(code)) => RoomChoice::Code(code),
                Some(Room::Create(create)) => RoomChoice::New(NewRoom {
                    name: create.name,
                    private: create.private,
                    capacity: create.capacity,
                }),
            },
            resume_token: (!request.resume_token.is_empty()).then_some(request.resume_token),
            id_token: (!request.id_token.is_empty()).then_some(request.id_token),
            spectate: request.spectate,
            passed_on: false,
        })
    }
}

#[tonic::async_trait]
impl v1::lobby_server::Lobby for Service {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let deadline =
            super::play::grpc_timeout(request.metadata()).unwrap_or(DEADLINE_MAX).min(DEADLINE_MAX);
        let joined = tokio::time::timeout(deadline, self.try_join(request.into_inner())).await;
        match joined {
            Ok(result) => self.answered(result),
            Err(_) => self.answered(Err(Error::DeadlineExceeded)),
        }
    }

    async fn list_rooms(
        &self,
        request: Request<v1::ListRoomsRequest>,
    ) -> Result<Response<v1::ListRoomsResponse>, Status> {
        self.answered(self.try_list(request.get_ref()))
    }

    type WatchRoomsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchRoomsResponse, Status>> + Send>>;

    async fn watch_rooms(
        &self,
        _request: Request<v1::WatchRoomsRequest>,
    ) -> Result<Response<Self::WatchRoomsStream>, Status> {
        let lobby = Arc::clone(&self.lobby);
        Ok(Response::new(Box::pin(stream! {
            let mut known = Arc::new(Vec::new());
            let mut is_first = true;
            let mut told = Instant::now();
            let mut looks = tokio::time::interval(ROOMS_WATCHED_EVERY);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                if lobby.sessions().is_draining() {
                    yield Err(Error::ShuttingDown.into());
                    return;
                }
                let listed = lobby.listed_lately();
                let news = changes(&known, &listed);
                known = listed;
                let is_news = is_first || !news.rooms.is_empty() || !news.ended_room_ids.is_empty();
                if is_news || told.elapsed() >= ROOMS_QUIET_MAX {
                    (is_first, told) = (false, Instant::now());
                    yield Ok(news);
                }
            }
        })))
    }
}

/// What is new since then. Both are in the order of their ids, and whoever watches keeps no list of its own.
fn changes(then: &[ListedRoom], now: &[ListedRoom]) -> v1::WatchRoomsResponse {
    let mut news = v1::WatchRoomsResponse::default();
    let mut then = then.iter().peekable();
    for room in now {
        while let Some(ended) = then.next_if(|known| known.id < room.id) {
            news.ended_room_ids.push(ended.id.to_string());
        }
        if then.next_if(|known| known.id == room.id) != Some(room) {
            news.rooms.push(room.clone().into());
        }
    }
    news.ended_room_ids.extend(then.map(|ended| ended.id.to_string()));
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn rooms() -> impl Strategy<Value = Vec<ListedRoom>> {
        let of = |players: BTreeMap<u8, u32>| {
            let room = |(id, players): (u8, u32)| ListedRoom {
                id: RoomId::parse(&format!("room{id:03}")).expect("an id"),
                name: String::new(),
                game: "arena".into(),
                players,
                capacity: 8,
                is_private: false,
                code: None,
            };
            players.into_iter().map(room).collect()
        };
        prop::collection::btree_map(0..20_u8, 0..3_u32, 0..12).prop_map(of)
    }

    proptest! {
        #[test]
        fn whoever_takes_in_what_is_new_has_the_list(then in rooms(), now in rooms()) {
            let news = changes(&then, &now);
            let by_id = |rooms: &[ListedRoom]| -> BTreeMap<String, v1::Room> {
                rooms.iter().map(|room| (room.id.to_string(), room.clone().into())).collect()
            };
            let mut held = by_id(&then);
            for room in news.rooms {
                prop_assert_ne!(held.get(&room.room_id), Some(&room), "it is news");
                held.insert(room.room_id.clone(), room);
            }
            for ended in &news.ended_room_ids {
                prop_assert!(held.remove(ended).is_some());
            }
            prop_assert_eq!(held, by_id(&now));
        }
    }
}
