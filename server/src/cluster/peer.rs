//! Asking other servers: for a seat, for a stream, for a sign of life. The only place of the cluster that knows tonic.

use super::fate::{Fates, PROBE_TIMEOUT};
use super::handover::{Carrier, NotTaken};
use super::probe::{Probe, ProbeOutcome};
use crate::room::RoomId;
use crate::session::Error;
use crate::session::arriving::{Offer, Taken};
use crate::session::directory::{
    Carried, Fate, Held, InstanceId, Method, PEER_HEADER, Peers, RoomRecord, Seated, ServerRecord,
};
use crate::session::error::Passed;
use crate::session::lobby::JoinSpec;
use crate::telemetry::traces::Peer;
use crate::tls::Connector;
use crate::wire;
use bytes::{Buf as _, BufMut as _, Bytes};
use dashmap::DashMap;
use fray_proto::v1;
use fray_proto::v1::lobby_client::LobbyClient;
use fray_proto::v1::transfer_request::Part;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

/// Streams that share a connection. As many as an edge puts on one.
const STREAMS_PER_CONNECTION: usize = 100;
/// What may be under way to one stream: a reader that stalls holds this much, and no more.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Room for all of a connection's streams, so that those which stall cannot use up what the others need; and 32 times as much,
/// since h2 ends a connection on which small messages wait that cost more than half of its window, at 256 bytes each. So
/// streams that are full of messages of 16 bytes do not get there. What waits is bounded by the streams' windows.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_PER_CONNECTION as u32 * 32;
/// A piece of a room on its way.
const PIECE_BYTES: usize = 64 * 1024;
/// Servers that connections are kept to.
const SERVERS_MAX: usize = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A seat is given within this, or the other server is taken for unreachable.
const JOIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon a stream must be answered.
const CARRY_TIMEOUT: Duration = Duration::from_secs(3);
/// A server that does not answer pings is gone: the players of streams that are carried there are told so after both, and
/// have to be somewhere else within ten seconds.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Signs what this server shows to the one at that address; `None`: it cannot be signed just now.
pub type Sign = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// How servers speak TLS among themselves.
#[derive(Clone)]
pub struct PeerTls {
    /// Whom this server trusts, and what it shows.
    pub connector: Arc<Connector>,
    /// The name in every server's certificate: they are known by addresses, which change.
    pub name: String,
}

/// The other servers, over gRPC.
pub struct PeerClient {
    sign: Sign,
    tls: Option<PeerTls>,
    connections: DashMap<String, Arc<Connections>>,
}

impl PeerClient {
    /// Asks nobody yet. Without `tls` in cleartext.
    pub fn new(sign: Sign, tls: Option<PeerTls>) -> Self {
        Self { sign, tls, connections: DashMap::new() }
    }

    fn connections(&self, address: &str) -> Result<Arc<Connections>, Error> {
        if let Some(known) = self.connections.get(address) {
            return Ok(Arc::clone(&known));
        }
        if address.is_empty() {
            return Err(Error::OwnerUnreachable);
        }
        if self.connections.len() >= SERVERS_MAX {
            // Servers come and go; those of the past take their places with them.
            self.connections.retain(|_, connections| connections.is_in_use());
        }
        if self.connections.len() >= SERVERS_MAX {
            return Err(Error::OwnerUnreachable);
        }
        let fresh = Arc::new(Connections::new(address, self.tls.clone())?);
        Ok(Arc::clone(&self.connections.entry(address.to_owned()).or_insert(fresh)))
    }

    /// What every call to the server at that address carries.
    fn credentials(&self, address: &str, metadata: &mut MetadataMap) -> Result<(), Error> {
        let token =
            (self.sign)(address).and_then(|token| token.parse::<MetadataValue<Ascii>>().ok());
        metadata.insert(PEER_HEADER, token.ok_or(Error::Internal)?);
        Ok(())
    }

    async fn try_join(&self, address: &str, spec: JoinSpec) -> Result<Seated, Error> {
        let connections = self.connections(address)?;
        let channel = connections.calls.clone();
        let mut request = Request::new(wire::join_request(spec));
        self.credentials(address, request.metadata_mut())?;
        request.set_timeout(JOIN_TIMEOUT);
        let mut lobby = LobbyClient::new(channel);
        let answer = tokio::time::timeout(JOIN_TIMEOUT, lobby.join(request)).await;
        let answer =
            answer.map_err(|_| Error::OwnerUnreachable)?.map_err(|status| passed(&status))?;
        wire::seated(answer.into_inner()).ok_or(Error::Internal)
    }

    async fn try_carry(
        &self,
        address: &str,
        call: Carried,
        incoming: BoxStream<'static, Option<Bytes>>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let connections = self.connections(address)?;
        let (channel, lease) = connections.lease();
        let mut request = Request::new(incoming);
        self.credentials(address, request.metadata_mut())?;
        let said = [
            ("authorization", call.ticket.map(|ticket| format!("Bearer {ticket}"))),
            ("traceparent", traceparent(call.trace)),
        ];
        for (name, value) in said {
            if let Some(Ok(value)) = value.map(|value| value.parse()) {
                request.metadata_mut().insert(name, value);
            }
        }
        let path = PathAndQuery::from_static(match call.method {
            Method::Play => "/fray.v1.Play/Play",
            Method::Watch => "/fray.v1.Play/Watch",
            Method::Events => "/fray.v1.Peer/Events",
        });
        let opened = async {
            let mut grpc = Grpc::new(channel);
            grpc.ready().await.map_err(|_| Error::OwnerUnreachable)?;
            grpc.streaming(request, path, Opaque).await.map_err(|status| passed(&status))
        };
        let opened = tokio::time::timeout(CARRY_TIMEOUT, opened).await;
        let messages = opened.map_err(|_| Error::OwnerUnreachable)??.into_inner();
        // The lease goes with the stream.
        let messages = stream::unfold((messages, lease), |(mut messages, lease)| async {
            let message = messages.next().await?;
            Some((message.map_err(|status| passed(&status)), (messages, lease)))
        });
        Ok(messages.boxed())
    }
}

impl Carrier for PeerClient {
    fn transfer<'a>(
        &'a self,
        peer: &'a str,
        offer: Offer,
    ) -> BoxFuture<'a, Result<Taken, NotTaken>> {
        Box::pin(async move {
            const NOT_SENT: NotTaken = NotTaken::Refused("OWNER_UNREACHABLE");
            let connections = self.connections(peer).map_err(|_| NOT_SENT)?;
            let begin = Part::Begin(wire::transfer_begin(&offer));
            let pieces = (0..offer.bytes.len()).step_by(PIECE_BYTES).map(move |start| {
                let end = offer.bytes.len().min(start + PIECE_BYTES);
                Part::Piece(offer.bytes.slice(start..end))
            });
            let parts = std::iter::once(begin).chain(pieces);
            let parts = parts.map(|part| v1::TransferRequest { part: Some(part) });
            let mut request = Request::new(stream::iter(parts));
            self.credentials(peer, request.metadata_mut()).map_err(|_| NOT_SENT)?;
            let mut peer = v1::peer_client::PeerClient::new(connections.calls.clone());
            match peer.transfer(request).await {
                Ok(answer) => {
                    let v1::TransferResponse { epoch, first_tick } = answer.into_inner();
                    Ok(Taken { epoch, first_tick })
                }
                Err(status) if was_refused(&status) => Err(NOT_SENT),
                Err(status) => Err(not_taken(&status)),
            }
        })
    }
}

/// Whether the other server does not have the room, by what it said; or it said nothing.
fn not_taken(status: &Status) -> NotTaken {
    let info = status.get_details_error_info();
    let reason = info.map_or("", |info| Passed::known_reason(&info.reason));
    if MAY_HAVE_IT.contains(&reason) { NotTaken::Unknown } else { NotTaken::Refused(reason) }
}

/// What does not say that the other server does not have the room; nothing at all is the first of it.
const MAY_HAVE_IT: &[&str] = &["", "DIRECTORY_AWAY", "ROOM_EXISTS", "INTERNAL"];

impl Probe for PeerClient {
    fn probe<'a>(&'a self, peer: &'a str, room: Option<&'a RoomId>) -> BoxFuture<'a, ProbeOutcome> {
        Box::pin(async move {
            let Ok(connections) = self.connections(peer) else { return ProbeOutcome::Silent };
            let room_id = room.map(RoomId::to_string).unwrap_or_default();
            let mut request = Request::new(v1::ProbeRequest { room_id });
            if self.credentials(peer, request.metadata_mut()).is_err() {
                return ProbeOutcome::Silent;
            }
            let channel = connections.calls.clone();
            let mut peer = v1::peer_client::PeerClient::new(channel);
            match tokio::time::timeout(PROBE_TIMEOUT, peer.probe(request)).await {
                Ok(Ok(answer)) => answered(&answer.into_inner()),
                Ok(Err(status)) if was_refused(&status) => ProbeOutcome::Refused,
                Ok(Err(_)) | Err(_) => ProbeOutcome::Silent,
            }
        })
    }
}

/// What a server says of itself.
fn answered(answer: &v1::ProbeResponse) -> ProbeOutcome {
    match InstanceId::parse(&answer.instance_id) {
        None => ProbeOutcome::Silent,
        Some(instance) => ProbeOutcome::Answered {
            instance,
            reaches_directory: answer.reaches_directory,
            plays_room: answer.plays_room,
            epoch: answer.epoch,
        },
    }
}

/// Whether nobody listens there: the system at the address said so.
fn was_refused(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The other servers, and what becomes of their rooms.
pub struct FleetPeers {
    /// Asks them.
    pub client: Arc<PeerClient>,
    /// Finds out what became of rooms.
    pub fates: Arc<Fates>,
}

impl Peers for FleetPeers {
    fn join(&self, server: &ServerRecord, spec: JoinSpec) -> BoxFuture<'_, Result<Seated, Error>> {
        let address = server.peer.clone();
        Box::pin(async move { self.client.try_join(&address, spec).await })
    }

    fn carry(
        &self,
        server: &ServerRecord,
        call: Carried,
        incoming: BoxStream<'static, Option<Bytes>>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, Error>>, Error>> {
        let address = server.peer.clone();
        Box::pin(async move { self.client.try_carry(&address, call, incoming).await })
    }

    fn settle(&self, room: Held<RoomRecord>) -> BoxFuture<'_, Result<Fate, Error>> {
        Box::pin(self.fates.settle(room))
    }

    fn forget(&self, server: Held<ServerRecord>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.fates.forget(&server).await })
    }
}

/// The connections to one server, each shared by a number of streams.
struct Connections {
    endpoint: Endpoint,
    tls: Option<PeerTls>,
    /// For calls, which must not wait for streams.
    calls: Channel,
    open: Mutex<Vec<(Channel, Arc<AtomicUsize>)>>,
}

impl Connections {
    fn new(address: &str, tls: Option<PeerTls>) -> Result<Self, Error> {
        // With TLS, too: that is the connector's affair.
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        // What the directory says of a server's address may be anything.
        let endpoint = endpoint.map_err(|_| Error::OwnerUnreachable)?;
        let endpoint = endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        let calls = lazy(&endpoint, tls.as_ref());
        Ok(Self { endpoint, tls, calls, open: Mutex::default() })
    }

    /// A connection with a place for one more stream. It connects on first use, and again when it broke.
    fn lease(&self) -> (Channel, Lease) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let free = open.iter().find(|(_, streams)| {
            let one_more = |streams| (streams < STREAMS_PER_CONNECTION).then_some(streams + 1);
            streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
        });
        if let Some((channel, streams)) = free {
            return (channel.clone(), Lease(Arc::clone(streams)));
        }
        // Those that a rush left behind.
        open.retain(|(_, streams)| streams.load(Ordering::Relaxed) > 0);
        let channel = lazy(&self.endpoint, self.tls.as_ref());
        let streams = Arc::new(AtomicUsize::new(1));
        open.push((channel.clone(), Arc::clone(&streams)));
        (channel, Lease(streams))
    }

    fn is_in_use(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().any(|(_, streams)| streams.load(Ordering::Relaxed) > 0)
    }
}

/// A connection that is made when it is needed.
fn lazy(endpoint: &Endpoint, tls: Option<&PeerTls>) -> Channel {
    let Some(tls) = tls.cloned() else { return endpoint.connect_lazy() };
    endpoint.connect_with_connector_lazy(tower::service_fn(move |address: Uri| {
        let tls = tls.clone();
        async move {
            let address = address.authority().map(http::uri::Authority::as_str);
            let stream = TcpStream::connect(address.unwrap_or_default()).await?;
            stream.set_nodelay(true)?;
            tls.connector.connect(&tls.name, stream).await.map(TokioIo::new)
        }
    }))
}

/// A stream's place on a connection.
struct Lease(Arc<AtomicUsize>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Another server's refusal, or that there was no answer.
fn passed(status: &Status) -> Error {
    let info = status.get_details_error_info();
    let Some(info) = info else {
        // Not an answer of the server's: something on the way.
        tracing::debug!(%status, "another server does not answer");
        return Error::OwnerUnreachable;
    };
    if info.reason == Error::PeerTokenInvalid.reason() {
        tracing::warn!("another server does not know this one: --ticket-keys or the clocks differ");
        return Error::OwnerUnreachable;
    }
    if info.reason == Error::DeadlineExceeded.reason() {
        return Error::OwnerUnreachable;
    }
    Error::Passed(Box::new(Passed {
        code: status.code() as i32,
        reason: Passed::known_reason(&info.reason),
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
    }))
}

fn traceparent(trace: Peer) -> Option<String> {
    match trace {
        Peer::Sampled(context) => Some(context.to_traceparent()),
        Peer::Silent | Peer::Unsampled => None,
    }
}

/// Messages that are not looked into.
#[derive(Clone, Copy, Default)]
struct Opaque;

impl Codec for Opaque {
    type Encode = Option<Bytes>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Opaque {
    type Item = Option<Bytes>;
    type Error = Status;

    fn encode(&mut self, message: Option<Bytes>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // A body that fails is what makes the other server's half break: one that merely stops would look like a leave.
        into.put(message.ok_or_else(|| Status::cancelled("the client's stream broke"))?);
        Ok(())
    }
}

impl Decoder for Opaque {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
