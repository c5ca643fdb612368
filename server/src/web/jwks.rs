//! `/.well-known/jwks.json`: the keys by which others verify tickets, an edge first of all.

use crate::session::Lobby;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use std::sync::Arc;

/// `GET /.well-known/jwks.json`.
pub(super) async fn serve(State(lobby): State<Arc<Lobby>>) -> Response {
    let keys = &lobby.sessions().keys;
    match serde_json::to_string(&keys.ring().jwks()) {
        Ok(json) => {
            let max_age = format!("public, max-age={}", keys.jwks_max_age().as_secs());
            let headers = [
                (header::CONTENT_TYPE, "application/json".to_owned()),
                (header::CACHE_CONTROL, max_age),
            ];
            (headers, json).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the public keys cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
