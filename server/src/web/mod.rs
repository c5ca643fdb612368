//! What browsers need: the page, the WebSocket that carries `Play`, events for pages that only look on. And the public keys of
//! tickets, for whoever verifies them.

pub mod events;
mod jwks;
pub mod page;
pub mod websocket;

use crate::session::Lobby;
use crate::session::onlooking::Onlookers;
use axum::Router;
use axum::routing::get;
use http::{HeaderMap, header};
use std::sync::Arc;

/// Which pages may use this server from a browser.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// As browsers send them, for example `https://play.example.com`; "*" allows all.
    pub allowed: Vec<String>,
    /// The server is reached on this machine only: then its own page has a local name, and any other name that leads here
    /// was made by somebody else's DNS.
    pub is_local: bool,
}

impl Origins {
    /// Whether a request may go on: it comes from no page at all, from this server's own page, or from an allowed one.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let is_own =
            host.is_some_and(|host| origin.split_once("://").is_some_and(|(_, of)| of == host));
        let is_trusted = host.is_some_and(|host| !self.is_local || is_local_name(host));
        (is_own && is_trusted) || self.lists(origin)
    }

    /// Whether the origin is one of those that were configured.
    pub fn lists(&self, origin: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == "*" || allowed == origin)
    }
}

fn is_local_name(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
}

/// The page at `/` and, since it knows by its address what to show, at `/replay`; the WebSocket at `/ws`; a room's events; the
/// public keys of tickets at `/.well-known/jwks.json`.
pub fn router(lobby: &Arc<Lobby>, origins: Arc<Origins>, onlookers: Arc<Onlookers>) -> Router {
    let pages = lobby.sessions().metrics.pages.clone();
    let page = get(async move || {
        pages.inc();
        page::serve()
    });
    let events =
        events::Door { lobby: Arc::clone(lobby), origins: Arc::clone(&origins), onlookers };
    let door = websocket::Door { lobby: Arc::clone(lobby), origins };
    Router::new()
        .route("/", page.clone())
        .route("/replay", page)
        .route("/.well-known/jwks.json", get(jwks::serve).with_state(Arc::clone(lobby)))
        .route("/ws", get(websocket::open).with_state(door))
        .route("/rooms/{id}/events", get(events::open).with_state(events))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &str, host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().expect("a header"));
        headers.insert(header::HOST, host.parse().expect("a header"));
        headers
    }

    #[test]
    fn only_the_own_page_and_listed_ones_are_let_in() {
        let origins = Origins { allowed: vec!["https://play.example.com".into()], is_local: true };
        assert!(origins.allow(&HeaderMap::new()));
        assert!(origins.allow(&headers("http://127.0.0.1:7777", "127.0.0.1:7777")));
        assert!(origins.allow(&headers("https://play.example.com", "10.0.0.1")));
        assert!(!origins.allow(&headers("https://evil.example.com", "127.0.0.1:7777")));
        assert!(!origins.allow(&headers("null", "127.0.0.1:7777")));
        assert!(!origins.allow(&headers("http://rebound.example.com", "rebound.example.com")));
        let public = Origins { is_local: false, ..origins };
        assert!(public.allow(&headers("https://fray.example.com", "fray.example.com")));
    }
}
