//! The way in, as in production: the real Envoy with TLS before real servers, whose keys it asks them for.

use crate::certificates::{Authority, with_tls};
use crate::envoy::{Edge, PATIENCE, folder, values};
use crate::tickets::read;
use fray_bot::client::transport::{Channels, GrpcServer, Server, Trust, WebSocketServer};
use fray_bot::client::{Controls, Ended, Event, Player};
use fray_proto::v1::join_request::Room;
use fray_proto::v1::play_request::Message;
use fray_proto::v1::play_response::Message as Response;
use fray_proto::v1::{self, JoinRequest};
use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::timeout;
use tonic::Request;
use tonic::transport::Channel;

/// An edge, and what players need to come in by it.
pub struct Gate {
    pub edge: Edge,
    pub url: String,
    /// Whom players trust: a file.
    pub authority: PathBuf,
    trust: Trust,
}

impl Gate {
    /// Before these servers, with values that are changed as is said, once it knows that all of them are well. `None`: something is
    /// not installed, and that was said.
    pub async fn before(servers: &[SocketAddr], change: impl FnOnce(&mut Value)) -> Option<Self> {
        let folder = folder();
        Authority::new().mount(&folder.join("tls"), "localhost", 1);
        let authority = folder.join("tls/ca.crt");
        let trust = Trust::of_file(&authority).expect("an authority");
        let mut values = with_tls(values(servers, ""));
        change(&mut values);
        let edge = Edge::start_in(folder, &values).await?;
        edge.healthy("servers", servers.len() as u64).await;
        for version in values["edge"]["versions"].as_array().expect("versions") {
            let name = version["name"].as_str().expect("a name");
            let addresses = version["addresses"].as_array().expect("addresses");
            edge.healthy(&format!("lobby-{name}"), addresses.len() as u64).await;
        }
        let url = format!("https://localhost:{}", edge.address.port());
        Some(Self { edge, url, authority, trust })
    }

    /// Connections of which each takes one stream.
    pub fn channels(&self) -> Channels {
        Channels::trusting(&self.url, 1, &self.trust).expect("an address")
    }

    pub fn grpc(&self) -> GrpcServer {
        self.channels().next(0)
    }

    pub fn websocket(&self) -> WebSocketServer {
        let server = WebSocketServer::new(&self.url, self.grpc()).expect("an address");
        server.trusting(self.trust.clone())
    }

    /// Each of the ways in which one plays.
    pub fn doors(&self) -> [Arc<dyn Server>; 2] {
        [Arc::new(self.grpc()), Arc::new(self.websocket())]
    }

    /// For what is no playing.
    pub async fn channel(&self) -> Channel {
        let endpoint = self.trust.endpoint(&self.url).expect("an address");
        endpoint.connect().await.expect("connected")
    }
}

/// The doors of a server itself.
pub fn doors_of(server: SocketAddr) -> [Arc<dyn Server>; 2] {
    let url = format!("http://{server}");
    let grpc = GrpcServer::at(&url).expect("an address");
    let websocket = WebSocketServer::new(&url, grpc.clone()).expect("an address");
    [Arc::new(grpc), Arc::new(websocket)]
}

/// Asks for a new room.
pub fn new_room(name: &str, private: bool) -> JoinRequest {
    let create = v1::CreateRoom { name: name.into(), private, capacity: 0 };
    asks(Room::Create(create))
}

/// Asks for a room, or for what was played there.
pub fn asks(room: Room) -> JoinRequest {
    let request_id = format!("{:032x}", rand::random::<u128>());
    JoinRequest { request_id, room: Some(room), ..JoinRequest::default() }
}

/// A request that comes with a ticket.
pub fn with_ticket<T>(ticket: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {ticket}").parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// Where a ticket leads.
pub fn route_of(ticket: &str) -> String {
    use base64::Engine as _;
    let route = read(ticket)["route"].as_str().expect("a route").to_owned();
    let route = base64::engine::general_purpose::STANDARD.decode(route).expect("base64");
    String::from_utf8(route).expect("text")
}

/// How a stream begins that comes with a ticket, and no resume token.
pub async fn opened(door: &dyn Server, ticket: &str) -> Result<v1::Welcome, Ended> {
    let mut link = timeout(PATIENCE, door.play(ticket)).await.expect("in time")?;
    let hello = v1::Hello {
        protocol_version: fray_proto::PROTOCOL_VERSION,
        ticket: ticket.to_owned(),
        ..v1::Hello::default()
    };
    let hello = v1::PlayRequest { message: Some(Message::Hello(hello)) };
    // If it is not taken, the other side says why.
    let _ = link.requests.send(hello).await;
    let first = timeout(PATIENCE, link.messages.next()).await.expect("in time");
    let first = first.expect("an answer")?;
    match v1::PlayResponse::decode(first.bytes).expect("a message").message {
        Some(Response::Welcome(welcome)) => Ok(welcome),
        other => panic!("{other:?}"),
    }
}

/// Waits until it happens, in a session that lives.
pub async fn until(player: &mut Player, what: &str, holds: impl Fn(&Player, &Event) -> bool) {
    let waited = timeout(PATIENCE, async {
        loop {
            let event = player.next().await.expect("the session lives").expect("it goes on");
            if holds(player, &event) {
                return;
            }
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Makes so many moves and waits until all of them are acknowledged.
pub async fn moves(player: &mut Player, count: i32) {
    for axis_x in 1..=count {
        let controls = Controls { axis_x, axis_y: 100, ..Controls::default() };
        player.steer(controls).expect("room for it");
        until(player, "an update", |_, event| matches!(event, Event::Updated(_))).await;
    }
    until(player, "the moves", |player, _| player.session().unacknowledged() == 0).await;
}
