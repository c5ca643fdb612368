//! What a watch makes of an API that fails: a stand-in in this process, for faults that a real API cannot be made to show.

use super::watch::{Follower, Whose};
use crate::cluster::endpoints::{Endpoints, EndpointsView};
use crate::telemetry::Metrics;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How the API answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Every answer is this status.
    Fails(u16),
}

#[derive(Debug)]
struct State {
    mood: Mood,
    /// The last bytes of the addresses that a list has.
    listed: Vec<u8>,
    lists: u32,
    /// The watch that is open.
    open: Option<mpsc::Sender<String>>,
}

/// An API with one Service.
#[derive(Clone)]
struct Api(Arc<Mutex<State>>);

impl Api {
    fn new(listed: &[u8]) -> Self {
        let state = State { mood: Mood::Well, listed: listed.to_vec(), lists: 0, open: None };
        Self(Arc::new(Mutex::new(state)))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().expect("nobody panicked"))
    }

    /// Breaks the watch off that is open, and answers so from now on.
    fn turns(&self, mood: Mood) {
        self.change(|state| (state.mood, state.open) = (mood, None));
    }

    async fn until_open(&self) {
        while self.change(|state| state.open.is_none()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn says(&self, event: Value) {
        let open = self.change(|state| state.open.clone()).expect("a watch is open");
        open.send(format!("{event}\n")).await.expect("somebody listens");
    }

    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(&request)) }
        });
        Client::new(service, "default")
    }

    fn answer(&self, request: &Request<Body>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        assert!(query.contains("labelSelector=kubernetes.io%2Fservice-name%3Dfray"), "{query}");
        let whole = |status: u16, json: &Value| {
            let body = Full::new(Bytes::from(json.to_string())).boxed_unsync();
            Response::builder().status(status).body(body).expect("a response")
        };
        match self.change(|state| state.mood) {
            Mood::Fails(code) => {
                let reason = "InternalError";
                whole(
                    code,
                    &json!({"kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": reason}),
                )
            }
            Mood::Well if query.contains("watch=true") => {
                let (send, receive) = mpsc::channel::<String>(8);
                self.change(|state| state.open = Some(send));
                let lines = stream::unfold(receive, async |mut receive| {
                    let line = receive.recv().await?;
                    Some((Ok::<_, Infallible>(Frame::data(Bytes::from(line))), receive))
                });
                Response::new(StreamBody::new(lines).boxed_unsync())
            }
            Mood::Well => {
                let slice = self.change(|state| {
                    state.lists += 1;
                    slice(&state.listed)
                });
                let meta = json!({"resourceVersion": "7"});
                whole(
                    200,
                    &json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": meta, "items": [slice]}),
                )
            }
        }
    }
}

fn slice(addresses: &[u8]) -> Value {
    let endpoints: Vec<_> =
        addresses.iter().map(|byte| json!({"addresses": [format!("10.0.0.{byte}")]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "fray-x", "namespace": "default", "resourceVersion": "8"},
        "addressType": "IPv4",
        "endpoints": endpoints,
    })
}

struct Watching {
    view: EndpointsView,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
}

impl Watching {
    fn of(api: &Api) -> Self {
        let kept = Arc::new(watch::Sender::default());
        let view = EndpointsView::new(kept.subscribe());
        let (metrics, stop) = (Arc::new(Metrics::default()), CancellationToken::new());
        let follower = Follower {
            client: api.client(),
            namespace: "default".into(),
            service: "fray".into(),
            whose: Whose::Servers,
            kept,
            metrics: Arc::clone(&metrics),
        };
        TaskTracker::new().spawn(follower.run(stop.clone()));
        Self { view, metrics, _stop: stop.drop_guard() }
    }

    /// Waits, in virtual time, until the servers are these.
    async fn until(&mut self, is_current: bool, addresses: &[u8]) {
        let wanted: Vec<IpAddr> = addresses.iter().map(|&byte| [10, 0, 0, byte].into()).collect();
        let is_so = |known: &Endpoints| {
            let servers = known.servers.iter().flatten().map(|(address, _)| *address);
            known.servers_are_current == is_current && servers.eq(wanted.iter().copied())
        };
        let waited = tokio::time::timeout(Duration::from_secs(300), async {
            while !is_so(&self.view.now()) {
                self.view.changed().await;
            }
        });
        assert!(waited.await.is_ok(), "{:?} instead of {wanted:?}", self.view.now());
        let stale = format!("fray_kube_watch_stale{{what=\"servers\"}} {}", u8::from(!is_current));
        assert!(self.metrics.render().contains(&stale), "{stale}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_are_heard_of_as_they_come() {
    let api = Api::new(&[1]);
    let mut watching = Watching::of(&api);
    watching.until(true, &[1]).await;
    api.until_open().await;
    api.says(json!({"type": "MODIFIED", "object": slice(&[1, 2])})).await;
    watching.until(true, &[1, 2]).await;
    api.says(json!({"type": "DELETED", "object": slice(&[])})).await;
    watching.until(true, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_api_fails_what_was_known_stays_and_then_it_catches_up() {
    for mood in [Mood::Fails(500), Mood::Fails(403), Mood::Fails(401)] {
        let api = Api::new(&[1, 2]);
        let mut watching = Watching::of(&api);
        watching.until(true, &[1, 2]).await;
        api.until_open().await;
        api.turns(mood);
        watching.until(false, &[1, 2]).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        watching.until(false, &[1, 2]).await;
        // Meanwhile one was replaced.
        api.change(|state| state.listed = vec![2, 3]);
        api.turns(Mood::Well);
        watching.until(true, &[2, 3]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_away_is_left_alone_for_longer_and_longer() {
    let api = Api::new(&[1]);
    api.turns(Mood::Fails(500));
    let watching = Watching::of(&api);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let text = watching.metrics.render();
    let line = "fray_kube_watch_failures_total{what=\"servers\"} ";
    let failures = text.lines().find_map(|text| text.strip_prefix(line)).expect("the metric");
    let failures: u32 = failures.parse().expect("a number");
    assert!((10..=60).contains(&failures), "{failures} tries in 600 s");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_too_old_begins_anew() {
    let api = Api::new(&[1]);
    let mut watching = Watching::of(&api);
    watching.until(true, &[1]).await;
    api.until_open().await;
    let lists = api.change(|state| {
        state.listed = vec![3];
        state.lists
    });
    let gone = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
    api.says(json!({"type": "ERROR", "object": gone})).await;
    watching.until(true, &[3]).await;
    assert_eq!(api.change(|state| state.lists), lists + 1);
}
