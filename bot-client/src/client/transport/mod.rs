//! Ways to a server: gRPC and WebSocket, and whatever else implements [`Server`] (tests bring one in memory).

mod grpc;
mod tls;
mod websocket;

pub(crate) use grpc::with_ticket;
pub use grpc::{Channels, GrpcServer};
pub use tls::{Trust, explain};
pub use websocket::{InvalidUrl, WebSocketServer, websocket_over};

use super::Ended;
use super::tracing::Tracer;
use bytes::Bytes;
use fray_proto::v1;
use futures_util::{Sink, Stream};
use std::pin::Pin;
use std::sync::Arc;

/// The answer to come.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Ended>> + Send>>;

/// Requests on their way to the server. Closing is the graceful end; dropping it unclosed cuts the stream off.
pub type Requests = Pin<Box<dyn Sink<v1::PlayRequest, Error = Ended> + Send>>;

/// Messages from the server. The end without an error is status OK.
pub type Messages = Pin<Box<dyn Stream<Item = Result<Message, Ended>> + Send>>;

/// One `PlayResponse`, still encoded: so its bytes can be counted, and decoded without copying.
#[derive(Clone, Debug)]
pub struct Message {
    /// The protobuf message.
    pub bytes: Bytes,
    /// How many bytes frame it on the wire: the gRPC prefix, or the WebSocket header.
    pub framing: usize,
}

/// An open stream.
pub struct Link {
    /// To the server; bounded, so that a server that does not read is felt here.
    pub requests: Requests,
    /// From the server.
    pub messages: Messages,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// A server that can be joined and played on.
pub trait Server: Send + Sync {
    /// Asks the lobby for a seat.
    fn join(&self, request: v1::JoinRequest) -> Answer<v1::JoinResponse>;

    /// Opens a `Play` stream with a ticket. Errors may also come as the stream's first message.
    fn play(&self, ticket: &str) -> Answer<Link>;

    /// Who traces the moves of those that play here, if anybody does.
    fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        None
    }
}

/// How many requests may wait to be written to one stream.
const REQUESTS_QUEUED_MAX: usize = 16;
