//! `GET /rooms/{id}/events`: a public room for pages that only look on, as server-sent events. `docs/SSE.md` has the format.
//!
//! Each reader has a task of its own, which takes no look before its last one was read: for who reads slowly, nothing is made or
//! kept but the one piece that is on its way.

use super::Origins;
use super::websocket::ORIGIN_FORBIDDEN;
use crate::rpc::status::code;
use crate::session::directory::{Held, Method, RoomRecord, ServerRecord};
use crate::session::lobby::RoomChoice;
use crate::session::onlooking::Onlookers;
use crate::session::placing::Place;
use crate::session::play::Entry;
use crate::session::relay::relay;
use crate::session::{Error, Lobby, Sessions, telling};
use crate::telemetry::traces::Peer;
use crate::wire;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::{empty, once};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::convert::Infallible;
use std::sync::Arc;

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
        Ok(Place::There(server, held)) => return elsewhere(&door, server, &held).await,
        Err(error) => return refused(sessions, &error),
    };
    match door.onlookers.look_on(room) {
        Ok(reader) => respond(telling::pieces(sessions, reader)),
        Err(error) => refused(sessions, &error),
    }
}

/// A room that another server runs: that server tells, and this one passes it on.
async fn elsewhere(door: &Door, server: Arc<ServerRecord>, held: &Held<RoomRecord>) -> Response {
    let sessions = door.lobby.sessions();
    let room = held.record.room.to_string();
    if !sessions.fleet.relays {
        return refused(sessions, &Error::WrongServer { room });
    }
    let entry = Entry {
        door: "events",
        ticket: None,
        trace: Peer::Silent,
        passed_on: false,
        parse: wire::incoming,
    };
    let request = wire::events_request(room);
    let carried = relay(Arc::clone(sessions), server, Method::Events, entry, request, empty());
    let mut carried = Box::pin(carried);
    // Whether there is anything to see must be known before the answer begins.
    match carried.next().await {
        Some(Ok(first)) => {
            let rest = carried
                .take_while(|piece| ready(piece.is_ok()))
                .filter_map(|piece| ready(piece.ok()));
            respond(
                once(ready(first)).chain(rest).filter_map(|piece| ready(wire::events_piece(piece))),
            )
        }
        Some(Err(error)) => refused(sessions, &error),
        None => refused(sessions, &Error::OwnerUnreachable),
    }
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

fn respond(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // What some proxies heed: pass each piece on as it comes.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(pieces.map(Ok::<Bytes, Infallible>))).into_response()
}
