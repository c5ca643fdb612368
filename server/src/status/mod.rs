//! `/status` on the admin port: how this server does just now, for people (a page that updates itself) and for scripts
//! (`/status.json`). It only looks.
//!
//! - [`snapshot`]: the numbers. Made at most once a second, when somebody asks, and shared by all who do.
//! - `/status/events` sends each as a server-sent event. A reader that takes none costs nothing but its place: nothing is made
//!   or kept for it, and when it reads again, the next is the newest.

pub mod snapshot;

pub use snapshot::Snapshot;

use crate::session::Sessions;
use crate::telemetry::Health;
use crate::web::page::Embedded;
use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use snapshot::Sampler;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How many may have the page open at once.
pub const READERS_MAX: usize = 16;
/// How often the page is told.
pub const EVERY: Duration = Duration::from_secs(1);
/// A snapshot younger than this is good for whoever asks; shorter than [`EVERY`], so that nobody sees one twice.
const FRESH: Duration = Duration::from_millis(900);

static PAGE: LazyLock<Embedded> =
    LazyLock::new(|| Embedded::new(include_str!("../../assets/status.html")));

/// All that the routes need.
struct Status {
    sessions: Arc<Sessions>,
    health: Arc<Health>,
    latest: Mutex<Latest>,
    readers: Arc<Semaphore>,
    stop: CancellationToken,
}

struct Latest {
    sampler: Sampler,
    made: Option<(Instant, Bytes)>,
}

/// `/status`, `/status.json`, `/status/events`; events end at `stop`.
pub fn router(sessions: &Arc<Sessions>, health: &Arc<Health>, stop: CancellationToken) -> Router {
    let status = Status {
        sessions: Arc::clone(sessions),
        health: Arc::clone(health),
        latest: Mutex::new(Latest { sampler: Sampler::new(Instant::now()), made: None }),
        readers: Arc::new(Semaphore::new(READERS_MAX)),
        stop,
    };
    Router::new()
        .route("/status", get(async || PAGE.respond()))
        .route("/status.json", get(json))
        .route("/status/events", get(events))
        .with_state(Arc::new(status))
}

impl Status {
    /// The newest snapshot as JSON, in one line.
    fn newest(&self) -> Bytes {
        // Nothing in there is ever half changed.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &latest.made {
            Some((at, made)) if now.saturating_duration_since(*at) < FRESH => made.clone(),
            _ => {
                let snapshot = latest.sampler.look(&self.sessions, &self.health, now);
                let made = serde_json::to_vec(&snapshot).map_or_else(|_| Bytes::new(), Bytes::from);
                latest.made = Some((now, made.clone()));
                made
            }
        }
    }
}

async fn json(State(status): State<Arc<Status>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, status.newest()).into_response()
}

async fn events(State(status): State<Arc<Status>>) -> Response {
    let Ok(place) = Arc::clone(&status.readers).try_acquire_owned() else {
        let retry = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
        let text = "as many look on as may; /status.json is there for all\n";
        return (StatusCode::SERVICE_UNAVAILABLE, retry, text).into_response();
    };
    let events = async_stream::stream! {
        let _place = place;
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while status.stop.run_until_cancelled(looks.tick()).await.is_some() {
            let newest = status.newest();
            // JSON is UTF-8, and has no line breaks.
            yield Ok::<_, Infallible>(Event::default().data(String::from_utf8_lossy(&newest)));
        }
    };
    Sse::new(events).into_response()
}
