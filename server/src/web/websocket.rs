//! `/ws`: `Play` for browsers. One binary message is one message of the stream; everything else is as over gRPC.

use super::Origins;
use crate::addresses::Place;
use crate::intake::TOO_MUCH;
use crate::listener::Permit;
use crate::rpc::status::code;
use crate::session::Error;
use crate::session::lobby::Lobby;
use crate::session::play::{self, Entry};
use crate::telemetry::metrics::rpc::WEBSOCKET;
use crate::telemetry::traces::Peer;
use crate::wire;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fray_proto::update::GRPC_PREFIX_BYTES;
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use http::{HeaderMap, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The subprotocol that speaks these messages.
const PROTOCOL: &str = "fray.v1";
/// A ticket comes as a subprotocol of its own: browsers can set no other header, and a URL would end up in logs.
const TICKET_PREFIX: &str = "ticket.";
/// Close codes from here on are ours: this plus the gRPC status.
const CLOSE_CODE_BASE: u16 = 4000;
/// A small buffer per socket: messages from clients are small.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// How long the good-bye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the door needs.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) lobby: Arc<Lobby>,
    pub(super) origins: Arc<Origins>,
}

/// The reason in the metrics; the page itself is told no more than a 403.
pub const ORIGIN_FORBIDDEN: &str = "ORIGIN_FORBIDDEN";

/// `GET /ws`.
pub(super) async fn open(
    State(door): State<Door>,
    headers: HeaderMap,
    permit: Option<Extension<Arc<Permit>>>,
    place: Option<Extension<Arc<Place>>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !door.origins.allow(&headers) {
        door.lobby.sessions().metrics.refused(ORIGIN_FORBIDDEN);
        return (StatusCode::FORBIDDEN, "pages of this origin may not play here").into_response();
    }
    if !offered(&headers).any(|protocol| protocol == PROTOCOL) {
        return (StatusCode::BAD_REQUEST, "the subprotocol is fray.v1").into_response();
    }
    let ticket = ticket(&headers);
    upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(wire::INCOMING_BYTES_MAX)
        .max_frame_size(wire::INCOMING_BYTES_MAX)
        .on_upgrade(move |socket| run(door.lobby, ticket, socket, (permit, place)))
}

/// The subprotocols that the client offers.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

fn ticket(headers: &HeaderMap) -> Option<String> {
    offered(headers).find_map(|protocol| protocol.strip_prefix(TICKET_PREFIX).map(str::to_owned))
}

async fn run(
    lobby: Arc<Lobby>,
    ticket: Option<String>,
    socket: WebSocket,
    held: impl Sized + Send,
) {
    // The socket counts as a connection, as a stream of its address, and as one that a shutdown waits for, until it is closed.
    let (_held, _open) = (held, lobby.sessions().streams.token());
    let call = lobby.sessions().metrics.rpc.begin(WEBSOCKET, false);
    let patience = lobby.sessions().limits.idle_timeout;
    let (mut sink, source) = socket.split();
    // Browsers trace nothing of their own.
    let entry = Entry {
        door: "websocket",
        ticket,
        trace: Peer::Silent,
        passed_on: false,
        parse: wire::incoming,
    };
    let mut outgoing = play::play(lobby, entry, Box::pin(messages(source)));
    let mut close = CloseFrame { code: CLOSE_CODE_BASE, reason: "".into() };
    while let Some(item) = outgoing.next().await {
        match item {
            Ok(outgoing) => {
                let message = wire::frame_play(outgoing).slice(GRPC_PREFIX_BYTES..);
                // A peer that takes no bytes for as long as that is gone.
                let sent = timeout(patience, sink.send(Message::Binary(message))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            Err(error) => {
                let code = CLOSE_CODE_BASE + code(&error) as u16;
                let reason = format!("{}: {error}", error.reason());
                close = CloseFrame { code, reason: fitting(&reason).into() };
            }
        }
    }
    call.end(i32::from(close.code - CLOSE_CODE_BASE));
    // Whether the client hears it is its own matter by now.
    let _ = timeout(CLOSE_TIMEOUT, async {
        let _ = sink.send(Message::Close(Some(close))).await;
        let _ = sink.close().await;
    })
    .await;
}

/// The client's messages. The socket's end without `Leave` is a broken stream: the player may come back.
fn messages(
    source: impl Stream<Item = Result<Message, axum::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    let broken =
        futures_util::stream::once(async { Some(Err(Error::Broken("the socket closed".into()))) });
    source.map(|message| parse(message).transpose()).chain(broken).filter_map(std::future::ready)
}

fn parse(message: Result<Message, axum::Error>) -> Result<Option<Bytes>, Error> {
    const INVALID_ARGUMENT: i32 = 3;
    match message {
        Ok(Message::Binary(bytes)) => Ok(Some(bytes)),
        Ok(Message::Text(_)) => {
            Err(Error::Transport(INVALID_ARGUMENT, "messages are binary here".into()))
        }
        Ok(Message::Ping(_) | Message::Pong(_)) => Ok(None),
        Ok(Message::Close(_)) => Err(Error::Broken("the socket closed".into())),
        Err(error) => {
            let text = error.to_string();
            // The library's own error is hidden behind axum's; its words are what is left of it.
            Err(match text {
                text if text.contains("too long") => Error::TooLarge,
                text if text.contains(TOO_MUCH) => Error::MoveFlood,
                text => Error::Broken(text),
            })
        }
    }
}

/// A close frame's reason has at most 123 bytes.
fn fitting(reason: &str) -> String {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}
