//! `Play` and the lobby over gRPC.

use super::{Answer, Link, Message, REQUESTS_QUEUED_MAX, Server, Trust};
use crate::client::Ended;
use crate::client::connection::{CONNECT_MS, JOIN_MS};
use crate::client::tracing::{AnsweredCall, Tracer};
use bytes::{Buf as _, Bytes};
use fray_proto::v1;
use fray_proto::v1::lobby_client::LobbyClient;
use fray_proto::v1::play_client::PlayClient;
use futures_util::{Sink, StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use tonic::CancellationHandle;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// The prefix of every gRPC message: a flag and the length.
const PREFIX_BYTES: usize = 5;

/// What may be under way to one stream. Small on purpose: a client that does not read must be felt by the server, and
/// not fill a buffer with the past.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Connections to one server, each shared by a number of streams.
#[derive(Clone, Debug)]
pub struct Channels {
    endpoint: Endpoint,
    connections: Vec<Channel>,
    streams_per_connection: usize,
    tracer: Option<Arc<dyn Tracer>>,
}

impl Channels {
    /// No connection yet. One connection takes at most `streams_per_connection` streams.
    pub fn new(url: &str, streams_per_connection: usize) -> Result<Self, tonic::transport::Error> {
        Self::trusting(url, streams_per_connection, &Trust::default())
    }

    /// The same, with authorities for an `https` address.
    pub fn trusting(
        url: &str,
        streams_per_connection: usize,
        trust: &Trust,
    ) -> Result<Self, tonic::transport::Error> {
        let streams_per_connection = streams_per_connection.max(1);
        // No stream may starve its neighbours by not reading, so the connection's window has room for all of them. And for more:
        // h2 ends connections on which small messages wait that cost half of it, at 256 bytes each.
        let streams = u32::try_from(streams_per_connection).unwrap_or(u32::MAX).saturating_mul(32);
        let connection_window = STREAM_WINDOW_BYTES.saturating_mul(streams).min(i32::MAX as u32);
        let endpoint = trust
            .endpoint(url)?
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_millis(CONNECT_MS))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(connection_window)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        Ok(Self { endpoint, connections: Vec::new(), streams_per_connection, tracer: None })
    }

    /// Whoever plays over these connections tells `tracer` of its moves.
    #[must_use]
    pub fn traced(self, tracer: Option<Arc<dyn Tracer>>) -> Self {
        Self { tracer, ..self }
    }

    /// The way for the next stream: the newest connection while it has room, else a new one. It connects on first use,
    /// and again when it broke.
    pub fn next(&mut self, streams_so_far: usize) -> GrpcServer {
        let index = streams_so_far / self.streams_per_connection;
        while self.connections.len() <= index {
            self.connections.push(self.endpoint.connect_lazy());
        }
        GrpcServer { channel: self.connections[index].clone(), tracer: self.tracer.clone() }
    }
}

/// A server over one connection.
#[derive(Clone, Debug)]
pub struct GrpcServer {
    channel: Channel,
    tracer: Option<Arc<dyn Tracer>>,
}

impl GrpcServer {
    /// A server behind a channel of your own making, for TLS or special settings.
    pub fn new(channel: Channel) -> Self {
        Self { channel, tracer: None }
    }

    /// A server at an address such as `http://127.0.0.1:7777`; connects on first use.
    pub fn at(url: &str) -> Result<Self, tonic::transport::Error> {
        Self::trusting(url, &Trust::default())
    }

    /// The same, with authorities for an `https` address.
    pub fn trusting(url: &str, trust: &Trust) -> Result<Self, tonic::transport::Error> {
        Ok(Channels::trusting(url, 1, trust)?.next(0))
    }

    /// Looks on, with a ticket from `Join` if the server gives any to spectators.
    pub fn watch(
        &self,
        request: v1::WatchRequest,
        ticket: &str,
    ) -> Answer<Streaming<v1::WatchResponse>> {
        let mut play = PlayClient::new(self.channel.clone());
        let request = with_ticket(Request::new(request), ticket);
        Box::pin(async move { Ok(play.watch(request).await?.into_inner()) })
    }
}

/// The edge routes by the ticket, and it can only see metadata.
pub(crate) fn with_ticket<T>(mut request: Request<T>, ticket: &str) -> Request<T> {
    if let Ok(bearer) = format!("Bearer {ticket}").parse()
        && !ticket.is_empty()
    {
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

impl Server for GrpcServer {
    fn join(&self, request: v1::JoinRequest) -> Answer<v1::JoinResponse> {
        let mut lobby = LobbyClient::new(self.channel.clone());
        let tracer = self.tracer.clone();
        Box::pin(async move {
            let mut request = Request::new(request);
            request.set_timeout(Duration::from_millis(JOIN_MS));
            let (began, traced) = (
                tokio::time::Instant::now().into_std(),
                tracer.as_ref().and_then(|t| t.begin_call()),
            );
            let header = traced.map(|context| context.to_traceparent().parse());
            if let Some(Ok(header)) = header {
                request.metadata_mut().insert("traceparent", header);
            }
            let answer = lobby.join(request).await;
            if let Some((tracer, context)) = tracer.zip(traced) {
                let code = answer.as_ref().err().map_or(0, |status| status.code() as i32);
                let method = "fray.v1.Lobby/Join";
                tracer.answered(&AnsweredCall { context, method, began, code });
            }
            Ok(answer?.into_inner())
        })
    }

    fn play(&self, ticket: &str) -> Answer<Link> {
        let (sender, receiver) = mpsc::channel(REQUESTS_QUEUED_MAX);
        let outgoing = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let mut request = with_ticket(Request::new(outgoing), ticket);
        let cancel = request.cancellation_handle();
        let channel = self.channel.clone();
        // The server may hold back its headers until it has seen `Hello`, so the call is part of the incoming stream.
        let call = async move {
            let mut grpc = Grpc::new(channel);
            let ready = grpc.ready().await;
            ready.map_err(|error| Ended::from(Status::from_error(error.into())))?;
            let path = PathAndQuery::from_static("/fray.v1.Play/Play");
            let response = grpc.streaming(request, path, RawCodec).await?;
            let messages = response.into_inner();
            let framed = |bytes| Message { bytes, framing: PREFIX_BYTES };
            Ok::<_, Ended>(messages.map_ok(framed).map_err(Ended::from))
        };
        let messages = stream::once(call).try_flatten().boxed();
        let requests = GrpcRequests { sender: PollSender::new(sender), cancel: Some(cancel) };
        Box::pin(async move { Ok(Link { requests: Box::pin(requests), messages }) })
    }

    fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        self.tracer.clone()
    }
}

/// Closing ends the request stream (half-close). Dropping it unclosed resets the stream: without that, the server would
/// take a broken client for one that left.
struct GrpcRequests {
    sender: PollSender<v1::PlayRequest>,
    cancel: Option<CancellationHandle>,
}

impl Drop for GrpcRequests {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.cancel();
        }
    }
}

fn gone<E>(_: E) -> Ended {
    Ended::broken("the stream takes no more requests")
}

impl Sink<v1::PlayRequest> for GrpcRequests {
    type Error = Ended;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Pin::new(&mut self.sender).poll_ready(cx).map_err(gone)
    }

    fn start_send(mut self: Pin<&mut Self>, request: v1::PlayRequest) -> Result<(), Ended> {
        Pin::new(&mut self.sender).start_send(request).map_err(gone)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Pin::new(&mut self.sender).poll_flush(cx).map_err(gone)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        ready!(Pin::new(&mut self.sender).poll_close(cx)).map_err(gone)?;
        // From here on the stream may end by itself; the response must not be cut off.
        self.cancel = None;
        Poll::Ready(Ok(()))
    }
}

/// Requests are encoded as ever; responses come as their bytes.
#[derive(Clone, Copy, Debug)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = v1::PlayRequest;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = v1::PlayRequest;
    type Error = Status;

    fn encode(&mut self, item: v1::PlayRequest, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(dst).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}
