//! `GET /rooms/{id}/events`: a public room for pages that only look on, as server-sent events. `docs/SSE.md` has the format.
//!
//! Each reader has a task of its own, which takes no look before its last one was read: for who reads slowly, nothing is made or
//! kept but the one piece that is on its way.

use super::Origins;
use super::websocket::ORIGIN_FORBIDDEN;
use crate::rpc::status::code;
use crate::session::directory::{Held, RoomRecord, ServerRecord};
use crate::session::lobby::RoomChoice;
use crate::session::onlooking::{EVERY, Event, Onlookers, Reader};
use crate::session::placing::Place;
use crate::session::{Error, Lobby, Sessions};
use crate::telemetry::metrics::labels::Door as DoorLabel;
use crate::telemetry::spawn_named;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;

/// When nothing happens, a comment is sent this often, so that proxies and readers know that the stream lives.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long browsers wait before they come back.
const RETRY: &[u8] = b"retry: 3000\n\n";
const COMMENT: &[u8] = b":\n\n";
/// How long the last event may take.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// gRPC status codes.
const NOT_FOUND: i32 = 5;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNAVAILABLE: i32 = 14;
/// When who is one too many may come again, in seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("5");

/// What the door needs.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) lobby: Arc<Lobby>,
    pub(super) origins: Arc<Origins>,
    pub(super) onlookers: Arc<Onlookers>,
}

/// The route.
pub(super) async fn open(
    State(door): State<Door>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let sessions = door.lobby.sessions();
    if !door.origins.allow(&headers) {
        sessions.metrics.refused(ORIGIN_FORBIDDEN);
        return (StatusCode::FORBIDDEN, "pages of this origin may not look on here")
            .into_response();
    }
    if sessions.is_draining() {
        return refused(sessions, &Error::ShuttingDown);
    }
    // No code is taken: an address that lets somebody into a private room would end up in logs.
    let room = match door.lobby.find(&RoomChoice::Id(id)).await {
        Ok(Place::Here(room)) => room,
        Ok(Place::There(server, held)) => return elsewhere(&door, &server, &held).await,
        Err(error) => return refused(sessions, &error),
    };
    match door.onlookers.look_on(room) {
        Ok(reader) => respond(sessions, reader),
        Err(error) => refused(sessions, &error),
    }
}

/// A room that another server runs.
#[expect(clippy::unused_async, reason = "the server will be asked")]
async fn elsewhere(door: &Door, _server: &ServerRecord, held: &Held<RoomRecord>) -> Response {
    let room = held.record.room.to_string();
    refused(door.lobby.sessions(), &Error::WrongServer { room })
}

/// A refusal as JSON: the reason, as it is everywhere, and words for people.
fn refused(sessions: &Sessions, error: &Error) -> Response {
    sessions.metrics.refused(error.reason());
    let status = match error {
        Error::WrongServer { .. } => StatusCode::MISDIRECTED_REQUEST,
        _ => match code(error) as i32 {
            NOT_FOUND => StatusCode::NOT_FOUND,
            RESOURCE_EXHAUSTED | UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    };
    let mut said = serde_json::json!({ "reason": error.reason(), "message": error.to_string() });
    if let Error::WrongServer { room } = error {
        said["room"] = room.as_str().into();
    }
    let json = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = (status, json, said.to_string()).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S);
    }
    response
}

fn respond(sessions: &Arc<Sessions>, reader: Reader) -> Response {
    sessions.metrics.streams.get_or_create(&DoorLabel { door: "events" }).inc();
    // One piece on its way, and no more.
    let (out, pieces) = mpsc::channel(1);
    // A shutdown waits for it, as for any other stream.
    spawn_named(&sessions.streams, "onlooker", show(Arc::clone(sessions), reader, out));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // What some proxies heed: pass each piece on as it comes.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let pieces = ReceiverStream::new(pieces).map(Ok::<Bytes, Infallible>);
    (headers, Body::from_stream(pieces)).into_response()
}

/// A reader's life.
async fn show(sessions: Arc<Sessions>, mut reader: Reader, out: mpsc::Sender<Bytes>) {
    let patience = sessions.limits.idle_timeout;
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut piece = BytesMut::from(RETRY);
    let mut said = Instant::now();
    let why = loop {
        let place = tokio::select! {
            biased;
            () = sessions.drained() => break Error::ShuttingDown,
            place = timeout(patience, out.reserve()) => match place {
                Ok(Ok(place)) => place,
                // Gone, or takes no bytes: others want its place.
                _ => return,
            },
        };
        tokio::select! {
            biased;
            () = sessions.drained() => break Error::ShuttingDown,
            () = out.closed() => return,
            _ = looks.tick() => {}
        }
        if let Some(why) = reader.ended() {
            break why;
        }
        let now = Instant::now();
        for event in reader.look(now) {
            sessions.metrics.events.inc();
            put(&mut piece, &event);
        }
        if piece.is_empty() && now.saturating_duration_since(said) >= HEARTBEAT {
            piece.put_slice(COMMENT);
        }
        if !piece.is_empty() {
            said = now;
            place.send(piece.split().freeze());
        }
    };
    put(&mut piece, &Event::end(&why));
    // Whether it hears of it is its own matter by now.
    let _ = timeout(END_TIMEOUT, out.send(piece.freeze())).await;
}

/// As the format has it. JSON has no line breaks.
fn put(piece: &mut BytesMut, event: &Event) {
    piece.put_slice(b"event: ");
    piece.put_slice(event.name.as_bytes());
    piece.put_slice(b"\ndata: ");
    piece.put_slice(&event.json);
    piece.put_slice(b"\n\n");
}
