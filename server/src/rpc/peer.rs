//! `fray.v1.Peer`, and the door for it: what other servers of the fleet ask and carry here.

use crate::room::RoomId;
use crate::session::arriving::{ARRIVAL_TIMEOUT, Offer, ROOM_BYTES_MAX, Taken};
use crate::session::directory::PEER_HEADER;
use crate::session::onlooking::Onlookers;
use crate::session::{Error, Lobby, telling};
use crate::wire;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::BytesMut;
use fray_proto::v1;
use fray_proto::v1::lobby_server::LobbyServer;
use fray_proto::v1::peer_server::PeerServer;
use futures_util::{Stream, StreamExt as _};
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::timeout;
use tonic::Status;
use tonic::service::Routes;

/// The most bytes of a message of what is carried here.
const BEGIN_BYTES_MAX: usize = 32 << 20;

/// What is served to other servers. Nothing that comes in here is passed on to a third.
pub fn router(lobby: &Arc<Lobby>, onlookers: &Arc<Onlookers>) -> axum::Router {
    let calls = lobby.sessions().metrics.rpc.clone();
    let traces = Arc::clone(&lobby.sessions().traces);
    let service = Service { lobby: Arc::clone(lobby), onlookers: Arc::clone(onlookers) };
    let lobby_service = LobbyServer::new(super::lobby::Service::for_peers(Arc::clone(lobby)));
    // The first message of a room has all moves that wait in it.
    let service = PeerServer::new(service).max_decoding_message_size(BEGIN_BYTES_MAX);
    Routes::new(service)
        .add_service(lobby_service.max_decoding_message_size(crate::wire::INCOMING_BYTES_MAX))
        .add_service(super::play::Service::for_peers(Arc::clone(lobby)))
        .prepare()
        .into_axum_router()
        .layer(axum::middleware::map_response_with_state(
            Arc::clone(lobby.sessions()),
            super::status::blame_the_sender,
        ))
        .layer(axum::middleware::from_fn_with_state(traces, super::trace::calls))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(lobby), only_peers))
        .layer(axum::middleware::from_fn_with_state(calls, super::measure::measure))
}

/// Who does not show that it is of this fleet is refused.
async fn only_peers(State(lobby): State<Arc<Lobby>>, request: Request, next: Next) -> Response {
    let token = request.headers().get(PEER_HEADER).and_then(|token| token.to_str().ok());
    let sessions = lobby.sessions();
    if token.is_some_and(|token| sessions.keys.verify_peer(token, &sessions.fleet.peer).is_ok()) {
        return next.run(request).await;
    }
    sessions.metrics.refused(Error::PeerTokenInvalid.reason());
    Status::from(Error::PeerTokenInvalid).into_http()
}

struct Service {
    lobby: Arc<Lobby>,
    onlookers: Arc<Onlookers>,
}

/// Gathers a room that comes in pieces.
async fn offer(mut parts: tonic::Streaming<v1::TransferRequest>) -> Result<Offer, Error> {
    use v1::transfer_request::Part;
    let mut next = async || {
        let message =
            parts.message().await.map_err(|status| super::status::from_transport(&status))?;
        Ok::<_, Error>(message.map(|message| message.part))
    };
    let Some(Some(Part::Begin(begin))) = next().await? else {
        return Err(Error::Invalid { field: "part", problem: "the first is not `begin`" });
    };
    let size_bytes = usize::try_from(begin.size_bytes).unwrap_or(usize::MAX);
    if size_bytes > ROOM_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    // Not all at once: whoever lies about the size reserves nothing.
    let mut bytes = BytesMut::new();
    while let Some(part) = next().await? {
        let Some(Part::Piece(piece)) = part else {
            return Err(Error::Invalid { field: "part", problem: "not a piece" });
        };
        if bytes.len() + piece.len() > size_bytes {
            return Err(Error::TooLarge);
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() != size_bytes {
        return Err(Error::Invalid { field: "size_bytes", problem: "not as many as came" });
    }
    wire::offer(begin, bytes.freeze())
}

type Events = Pin<Box<dyn Stream<Item = Result<v1::EventsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl v1::peer_server::Peer for Service {
    type EventsStream = Events;

    async fn events(
        &self,
        request: tonic::Request<v1::EventsRequest>,
    ) -> Result<tonic::Response<Events>, Status> {
        let sessions = self.lobby.sessions();
        let room = RoomId::parse(&request.get_ref().room_id);
        let room = room.and_then(|room| sessions.rooms.get(&room));
        let room = room.filter(|room| room.info().code.is_none()).ok_or(Error::RoomNotFound);
        let reader = room.and_then(|room| self.onlookers.look_on(room)).map_err(|error| {
            sessions.metrics.refused(error.reason());
            Status::from(error)
        })?;
        let pieces = telling::pieces(sessions, reader);
        let messages = pieces.map(|piece| Ok(v1::EventsResponse { piece }));
        Ok(tonic::Response::new(Box::pin(messages)))
    }

    async fn transfer(
        &self,
        request: tonic::Request<tonic::Streaming<v1::TransferRequest>>,
    ) -> Result<tonic::Response<v1::TransferResponse>, Status> {
        let sessions = self.lobby.sessions();
        let taken = async {
            let place = sessions.arrivals.place()?;
            // Before a room stands still for its bytes to come.
            sessions.takes_players()?;
            if !sessions.rooms.has_place() {
                return Err(Error::RoomsExhausted);
            }
            let offer = timeout(ARRIVAL_TIMEOUT, offer(request.into_inner())).await;
            let offer = offer.map_err(|_| Error::UploadTimeout("a room does not come"))??;
            sessions.take_room(offer, place).await
        };
        let Taken { epoch, first_tick } = taken.await.map_err(|error| {
            sessions.metrics.refused(error.reason());
            Status::from(error)
        })?;
        Ok(tonic::Response::new(v1::TransferResponse { epoch, first_tick }))
    }

    async fn probe(
        &self,
        request: tonic::Request<v1::ProbeRequest>,
    ) -> Result<tonic::Response<v1::ProbeResponse>, Status> {
        let sessions = self.lobby.sessions();
        let directory = &sessions.fleet.directory;
        let room = RoomId::parse(&request.get_ref().room_id);
        let room = room.and_then(|room| sessions.rooms.get(&room));
        Ok(tonic::Response::new(v1::ProbeResponse {
            instance_id: directory.me().to_string(),
            reaches_directory: directory.is_reachable(),
            plays_room: room.is_some(),
            epoch: room.map_or(0, |room| room.info().epoch),
        }))
    }
}
