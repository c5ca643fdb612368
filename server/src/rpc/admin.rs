//! `fray.v1.Admin`: what operators tell this server. Whoever reaches its port may.

mod rebalance;
mod servers;

use crate::room::barred::BARRED_FOR;
use crate::room::{Ending, Handle, Occupant, Presence, RoomId, Who};
use crate::session::{Error, Sessions};
use axum::extract::{ConnectInfo, Request as HttpRequest};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response as HttpResponse};
use fray_proto::v1;
use http::{StatusCode, Version, header};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// The most bytes of a request.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024;
const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 500;
/// How long a room may take to answer, whatever the caller allows: its game may hang.
const DEADLINE_MAX: Duration = Duration::from_secs(5);

/// Lets only gRPC in. A page in an operator's browser reaches loopback, too, and may send what it likes as plain text; it can
/// neither speak HTTP/2 without TLS nor leave its origin out.
pub(super) async fn keep_pages_out(request: HttpRequest, next: Next) -> HttpResponse {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], |value| value.as_bytes());
    let is_grpc = content_type == b"application/grpc"
        || content_type.starts_with(b"application/grpc+")
        || content_type.starts_with(b"application/grpc;");
    let is_from_page = request.headers().contains_key(header::ORIGIN);
    if request.version() != Version::HTTP_2 || !is_grpc || is_from_page {
        let text = "operators' verbs are gRPC over HTTP/2, and not for pages\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// The service.
pub struct Service {
    sessions: Arc<Sessions>,
}

/// A call, for the log: who told the server to do what.
struct Verb {
    name: &'static str,
    changes: bool,
    room: String,
    within: Duration,
}

impl Verb {
    fn looks(name: &'static str, room: &str) -> Self {
        Self { name, changes: false, room: room.to_owned(), within: DEADLINE_MAX }
    }

    fn changes(name: &'static str, room: &str) -> Self {
        Self { changes: true, ..Self::looks(name, room) }
    }
}

impl Service {
    /// Over these sessions and their rooms.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions }
    }

    /// What is done until its deadline; logged with who asked for it, and counted when it is refused.
    async fn told<Q, A>(
        &self,
        verb: Verb,
        request: &Request<Q>,
        work: impl Future<Output = Result<A, Error>>,
    ) -> Result<Response<A>, Status> {
        let deadline = super::play::grpc_timeout(request.metadata()).unwrap_or(verb.within);
        let done = tokio::time::timeout(deadline.min(verb.within), work).await;
        let done = done.unwrap_or(Err(Error::DeadlineExceeded));
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.0.to_string());
        let Verb { name, changes, room, .. } = verb;
        let answer = done.as_ref().map_or_else(Error::reason, |_| "OK");
        if changes {
            tracing::warn!(verb = name, room, peer, answer, "an operator's call");
        } else {
            tracing::info!(verb = name, room, peer, answer, "an operator's call");
        }
        done.map(Response::new).map_err(|error| {
            self.sessions.metrics.refused(error.reason());
            error.into()
        })
    }

    fn room(&self, id: &str) -> Result<Handle, Error> {
        if id.is_empty() {
            return Err(Error::Invalid { field: "room_id", problem: "missing" });
        }
        let id = RoomId::parse(id).ok_or(Error::RoomNotFound)?;
        self.sessions.rooms.get(&id).ok_or(Error::RoomNotFound)
    }

    /// All rooms, and the seats taken in them.
    fn totals(&self) -> (u32, u32) {
        let rooms = self.sessions.rooms.all();
        let players = rooms.iter().map(|room| room.info().players()).sum();
        (u32::try_from(rooms.len()).unwrap_or(u32::MAX), players)
    }

    fn server(&self) -> v1::GetServerResponse {
        let Sessions { fleet, health, rooms: registry, server_name, .. } = self.sessions.as_ref();
        let (rooms, players) = self.totals();
        let me = fleet.directory.me();
        v1::GetServerResponse {
            instance_id: me.to_string(),
            name: server_name.clone(),
            release: fleet.release.clone(),
            draining: health.is_drained(),
            shutting_down: self.sessions.is_draining(),
            rooms,
            rooms_max: u32::try_from(registry.limits().0).unwrap_or(u32::MAX),
            players,
            reaches_directory: fleet.directory.is_reachable(),
            lease_age_ms: fleet.directory.silence(me).map(ms),
        }
    }

    fn page(
        &self,
        request: &v1::AdminListRoomsRequest,
    ) -> Result<v1::AdminListRoomsResponse, Error> {
        let page_size = page_size(request.page_size)?;
        let mut rooms = self.sessions.rooms.all();
        rooms.sort_by(|a, b| a.info().id.cmp(&b.info().id));
        if !request.page_token.is_empty() {
            let last = RoomId::parse(&request.page_token).ok_or(NOT_FROM_THIS_LIST)?;
            rooms.retain(|room| room.info().id > last);
        }
        let is_last = rooms.len() <= page_size;
        rooms.truncate(page_size);
        let next = rooms.last().filter(|_| !is_last).map(|room| room.info().id.to_string());
        Ok(v1::AdminListRoomsResponse {
            rooms: rooms.iter().map(row).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    async fn players(
        &self,
        request: &v1::ListPlayersRequest,
    ) -> Result<v1::ListPlayersResponse, Error> {
        let occupants = self.room(&request.room_id)?.occupants().await?;
        Ok(v1::ListPlayersResponse { players: occupants.into_iter().map(player).collect() })
    }

    fn set_drained(&self, is_drained: bool) -> v1::DrainResponse {
        let changed = self.sessions.health.set_drained(is_drained);
        let (rooms, players) = self.totals();
        v1::DrainResponse { draining: is_drained, changed, rooms, players }
    }

    async fn close(&self, request: &v1::CloseRoomRequest) -> Result<v1::CloseRoomResponse, Error> {
        let room = self.room(&request.room_id)?;
        let players = room.info().players();
        room.end(Ending::Closed)?;
        // Its frames end when it has.
        let mut frames = room.frames();
        while frames.changed().await.is_ok() {}
        let last_tick = frames.borrow().tick;
        Ok(v1::CloseRoomResponse { players, last_tick })
    }

    async fn remove(&self, request: &v1::KickRequest) -> Result<v1::KickResponse, Error> {
        use v1::kick_request::Who as Wire;
        let who = match request.who.clone() {
            Some(Wire::Player(number)) => Who::Number(number),
            Some(Wire::PlayerId(id)) => Who::Id(id),
            None => return Err(Error::Invalid { field: "who", problem: "missing" }),
        };
        let kicked = self.room(&request.room_id)?.kick(who).await?;
        let (number, id) = (kicked.player, &kicked.player_id);
        tracing::warn!(
            room = request.room_id,
            player = number,
            player_id = id,
            "a player is kicked"
        );
        let barred_for_s = u32::try_from(BARRED_FOR.as_secs()).unwrap_or(u32::MAX);
        Ok(v1::KickResponse { player: Some(player(kicked)), barred_for_s })
    }
}

/// How many are wanted on a page.
fn page_size(wanted: i32) -> Result<usize, Error> {
    match wanted {
        0 => Ok(PAGE_SIZE_DEFAULT),
        1.. => Ok(PAGE_SIZE_MAX.min(wanted as usize)),
        _ => Err(Error::Invalid { field: "page_size", problem: "negative" }),
    }
}

const NOT_FROM_THIS_LIST: Error =
    Error::Invalid { field: "page_token", problem: "not from this list" };

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn row(room: &Handle) -> v1::AdminRoom {
    let info = room.info();
    let reading = info.vitals.read(info.players());
    v1::AdminRoom {
        room_id: info.id.to_string(),
        name: info.name.clone(),
        game: info.game.to_owned(),
        private: info.code.is_some(),
        players: info.players(),
        capacity: info.capacity,
        epoch: info.epoch,
        tick: reading.tick,
        since_tick_ms: reading.since_tick_ms,
        frozen: *room.frozen().borrow(),
    }
}

fn player(occupant: Occupant) -> v1::AdminPlayer {
    use v1::admin_player::State;
    let state = match occupant.presence {
        Presence::Reserved { .. } => State::Reserved,
        Presence::Playing => State::Playing,
        Presence::Expected { .. } | Presence::Dropped { .. } => State::Dropped,
        // Whoever left has no seat any more.
        Presence::Left { .. } => State::Unspecified,
    };
    v1::AdminPlayer {
        player: occupant.player,
        player_id: occupant.player_id,
        name: occupant.name,
        state: state.into(),
        in_state_ms: ms(occupant.in_state),
        streams: occupant.streams,
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Service {
    async fn get_server(
        &self,
        request: Request<v1::GetServerRequest>,
    ) -> Result<Response<v1::GetServerResponse>, Status> {
        let verb = Verb::looks("GetServer", "");
        self.told(verb, &request, async { Ok(self.server()) }).await
    }

    async fn list_rooms(
        &self,
        request: Request<v1::AdminListRoomsRequest>,
    ) -> Result<Response<v1::AdminListRoomsResponse>, Status> {
        let verb = Verb::looks("ListRooms", "");
        self.told(verb, &request, async { self.page(request.get_ref()) }).await
    }

    async fn list_players(
        &self,
        request: Request<v1::ListPlayersRequest>,
    ) -> Result<Response<v1::ListPlayersResponse>, Status> {
        let verb = Verb::looks("ListPlayers", &request.get_ref().room_id);
        self.told(verb, &request, self.players(request.get_ref())).await
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        let is_drained = !request.get_ref().off;
        let verb = Verb::changes(if is_drained { "Drain" } else { "Drain off" }, "");
        self.told(verb, &request, async { Ok(self.set_drained(is_drained)) }).await
    }

    async fn close_room(
        &self,
        request: Request<v1::CloseRoomRequest>,
    ) -> Result<Response<v1::CloseRoomResponse>, Status> {
        let verb = Verb::changes("CloseRoom", &request.get_ref().room_id);
        self.told(verb, &request, self.close(request.get_ref())).await
    }

    async fn kick(
        &self,
        request: Request<v1::KickRequest>,
    ) -> Result<Response<v1::KickResponse>, Status> {
        let verb = Verb::changes("Kick", &request.get_ref().room_id);
        self.told(verb, &request, self.remove(request.get_ref())).await
    }

    async fn list_servers(
        &self,
        request: Request<v1::ListServersRequest>,
    ) -> Result<Response<v1::ListServersResponse>, Status> {
        let verb = Verb::looks("ListServers", "");
        let fleet = &self.sessions.fleet;
        self.told(verb, &request, async { servers::page(fleet, request.get_ref()) }).await
    }

    async fn forget_server(
        &self,
        request: Request<v1::ForgetServerRequest>,
    ) -> Result<Response<v1::ForgetServerResponse>, Status> {
        let verb = Verb::changes("ForgetServer", "");
        let fleet = &self.sessions.fleet;
        self.told(verb, &request, servers::forget(fleet, &request.get_ref().server)).await
    }

    async fn rebalance(
        &self,
        request: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::RebalanceResponse>, Status> {
        let rooms = request.get_ref().room_ids.join(",");
        let verb = Verb { within: rebalance::WITHIN, ..Verb::changes("Rebalance", &rooms) };
        self.told(verb, &request, rebalance::rebalance(&self.sessions, request.get_ref())).await
    }
}
