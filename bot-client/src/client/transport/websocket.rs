//! `Play` over a WebSocket, as browsers do it: one binary message is one protobuf message.

use super::{Answer, GrpcServer, Link, Message, Server, Trust, explain};
use crate::client::Ended;
use crate::client::connection::CONNECT_MS;
use crate::client::tracing::Tracer;
use fray_proto::v1;
use futures_util::{Sink, SinkExt as _, StreamExt as _, future, stream};
use prost::Message as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tonic::Code;

/// How long connecting, and the handshake, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(CONNECT_MS);

/// The longest message that is accepted.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A server whose `Play` is a WebSocket at `/ws`. The lobby is asked over gRPC.
#[derive(Clone, Debug)]
pub struct WebSocketServer {
    lobby: GrpcServer,
    uri: Uri,
    trust: Trust,
}

impl WebSocketServer {
    /// A server at an address such as `http://127.0.0.1:7777`, with a lobby that may be shared.
    pub fn new(url: &str, lobby: GrpcServer) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl(url.to_owned());
        let base = url.trim_end_matches('/');
        let address = match base.split_once("://") {
            Some(("http" | "ws", rest)) => format!("ws://{rest}/ws"),
            Some(("https" | "wss", rest)) => format!("wss://{rest}/ws"),
            _ => return Err(invalid()),
        };
        let uri = address.parse().map_err(|_| invalid())?;
        Ok(Self { lobby, uri, trust: Trust::default() })
    }

    /// With others to be trusted behind `https://`.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }
}

/// An address that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no http or https address")]
pub struct InvalidUrl(String);

impl Server for WebSocketServer {
    fn join(&self, request: v1::JoinRequest) -> Answer<v1::JoinResponse> {
        self.lobby.join(request)
    }

    fn play(&self, ticket: &str) -> Answer<Link> {
        let (uri, ticket, trust) = (self.uri.clone(), ticket.to_owned(), self.trust.clone());
        Box::pin(async move {
            let is_secure = uri.scheme_str() == Some("wss");
            let port = if is_secure { 443 } else { 80 };
            let address = (host(&uri).to_owned(), uri.port_u16().unwrap_or(port));
            let broken = |error| Ended::unreachable(&error);
            let silent = |_| Ended::broken("nobody answers");
            let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
            let socket = connecting.map_err(silent)?.map_err(broken)?;
            socket.set_nodelay(true).map_err(broken)?;
            if !is_secure {
                return websocket_over(socket, uri, &ticket).await;
            }
            let securing = timeout(CONNECT_TIMEOUT, trust.connect(host(&uri), socket)).await;
            let socket = securing.map_err(silent)?.map_err(broken)?;
            websocket_over(socket, uri, &ticket).await
        })
    }

    fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        self.lobby.tracer()
    }
}

/// An IPv6 address stands in brackets in a URL, and without them elsewhere.
fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// Opens a `Play` stream as a WebSocket over any transport, such as one through TLS.
pub async fn websocket_over<S>(socket: S, uri: Uri, ticket: &str) -> Result<Link, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = ClientRequestBuilder::new(uri).with_sub_protocol("fray.v1");
    if !ticket.is_empty() {
        request = request.with_sub_protocol(format!("ticket.{ticket}"));
    }
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MESSAGE_BYTES_MAX);
    config.write_buffer_size = 0;
    let handshake = client_async_with_config(request, socket, Some(config));
    let opened = timeout(CONNECT_TIMEOUT, handshake).await;
    let (socket, _) = opened
        .map_err(|_| Ended::timed_out("the WebSocket's handshake takes too long"))?
        .map_err(|error| ended(&error))?;
    let (frames, messages) = socket.split();
    let messages = messages
        .scan(false, |is_over, frame| future::ready(incoming(is_over, frame)))
        .filter_map(future::ready);
    Ok(Link { requests: Box::pin(Frames { frames }), messages: messages.boxed() })
}

/// What a frame means: `None` ends the stream, `Some(None)` is nothing to tell.
#[expect(clippy::option_option, reason = "the shape that scan and filter_map want")]
fn incoming(
    is_over: &mut bool,
    frame: Result<Frame, Error>,
) -> Option<Option<Result<Message, Ended>>> {
    if *is_over {
        return None;
    }
    match frame {
        Ok(Frame::Binary(bytes)) => {
            let framing = header_bytes(bytes.len());
            Some(Some(Ok(Message { bytes, framing })))
        }
        Ok(Frame::Close(close)) => {
            *is_over = true;
            let ended = match close {
                Some(close) => Ended::from_close(close.code.into(), &close.reason),
                None => Some(Ended::broken("closed without a code")),
            };
            ended.map(|ended| Some(Err(ended)))
        }
        Ok(_) => Some(None),
        Err(error) => {
            *is_over = true;
            Some(Some(Err(ended(&error))))
        }
    }
}

/// The header of a server's frame, which is not masked.
fn header_bytes(length: usize) -> usize {
    match length {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

fn ended(error: &Error) -> Ended {
    match error {
        Error::Http(response) => {
            let status = response.status();
            let code = match status.as_u16() {
                400 => Code::InvalidArgument,
                401 => Code::Unauthenticated,
                403 => Code::PermissionDenied,
                404 => Code::Unimplemented,
                429 => Code::ResourceExhausted,
                _ => Code::Unavailable,
            };
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let message = format!("the WebSocket is refused: {status} {body}");
            Ended { code, reason: String::new(), message }
        }
        error => Ended::broken(explain(error).unwrap_or_else(|| error.to_string())),
    }
}

/// Requests as frames. `Leave` is the graceful end, so closing only flushes; dropping both halves drops the socket.
struct Frames<S> {
    frames: stream::SplitSink<WebSocketStream<S>, Frame>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<v1::PlayRequest> for Frames<S> {
    type Error = Ended;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.frames.poll_ready_unpin(cx).map_err(|error| ended(&error))
    }

    fn start_send(mut self: Pin<&mut Self>, request: v1::PlayRequest) -> Result<(), Ended> {
        let frame = Frame::Binary(request.encode_to_vec().into());
        self.frames.start_send_unpin(frame).map_err(|error| ended(&error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.frames.poll_flush_unpin(cx).map_err(|error| ended(&error))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.poll_flush(cx)
    }
}
