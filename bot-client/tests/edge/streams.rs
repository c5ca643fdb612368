//! How long each kind of stream lives.

use crate::envoy::{Edge, values};
use crate::http::{Client, End, Open, socket};
use crate::tickets::Issuer;
use crate::upstream::Upstream;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::{WebSocketStream, client_async};

const PATIENCE: Duration = Duration::from_secs(60);

/// Every kind that goes over HTTP/2.
const KINDS: [&str; 6] = [
    "/fray.v1.Play/Play",
    "/fray.v1.Play/Watch",
    "/fray.v1.Lobby/WatchRooms",
    "/fray.v1.Replays/Download",
    "/fray.v1.Replays/Verify",
    "/rooms/r1/events",
];

/// One stream of each kind.
struct Streams {
    open: Vec<(&'static str, Open)>,
    websocket: WebSocketStream<TcpStream>,
    _client: Client,
}

impl Streams {
    async fn open(
        edge: &Edge,
        issuer: &Issuer,
        server: &Upstream,
        headers: &[(&str, &str)],
    ) -> Self {
        let bearer = issuer.bearer(server.address);
        let headers = [headers, &[("authorization", bearer.as_str())]].concat();
        let mut client = Client::connect(edge.address).await;
        let mut open = Vec::new();
        for kind in KINDS {
            let mut stream = client.open(kind, &headers).await;
            assert_eq!(stream.echo().await["path"], kind);
            open.push((kind, stream));
        }
        let mut websocket = websocket(edge, &issuer.ticket(server.address)).await;
        let first = websocket.next().await.expect("a message").expect("a message");
        assert!(first.into_text().expect("text").contains("/ws"));
        Self { open, websocket, _client: client }
    }

    /// Whether a stream lives: nothing came of it for a moment but what it was told to say.
    async fn is_open(stream: &mut Open) -> bool {
        let looked = async { while stream.next().await.is_ok() {} };
        timeout(Duration::from_millis(50), looked).await.is_err()
    }

    async fn websocket_answers(&mut self) -> bool {
        let asked = self.websocket.send(Message::text("still there?")).await;
        let answer = timeout(PATIENCE, self.websocket.next()).await.expect("in time");
        asked.is_ok() && matches!(answer, Some(Ok(Message::Text(_))))
    }
}

pub async fn websocket(edge: &Edge, ticket: &str) -> WebSocketStream<TcpStream> {
    let socket = socket(edge.address).await;
    let uri = format!("ws://{}/ws", edge.address).parse().expect("an address");
    let request = ClientRequestBuilder::new(uri).with_sub_protocol("fray.v1");
    let request = request.with_sub_protocol(format!("ticket.{ticket}"));
    client_async(request, socket).await.expect("a handshake").0
}

/// With the values that are shipped: past Envoy's own limit of 15 s for an answer, and with nothing said by anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_stream_may_be_silent_for_20_s() {
    let (issuer, server) = (Issuer::new("one"), Upstream::start("v1").await);
    let values = values(&[server.address], &Issuer::jwks(&[&issuer]));
    let Some(edge) = Edge::start(&values).await else { return };
    let mut streams = Streams::open(&edge, &issuer, &server, &[]).await;
    sleep(Duration::from_secs(20)).await;
    for (kind, stream) in &mut streams.open {
        assert!(Streams::is_open(stream).await, "{kind}");
    }
    assert!(streams.websocket_answers().await);
    for (kind, stream) in streams.open {
        if ["/fray.v1.Play/Play", "/fray.v1.Replays/Verify"].contains(&kind) {
            assert_eq!(stream.finish().await, End::Status(Some(0)), "{kind} ends in order");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_on_which_nobody_says_anything_is_ended_except_the_list_of_rooms() {
    let (issuer, server) = (Issuer::new("one"), Upstream::start("v1").await);
    let mut values = values(&[server.address], &Issuer::jwks(&[&issuer]));
    values["edge"]["timeouts"] = json!({ "idle": "1s" });
    let Some(edge) = Edge::start(&values).await else { return };
    let mut streams = Streams::open(&edge, &issuer, &server, &[]).await;
    for (kind, stream) in &mut streams.open {
        if *kind != "/fray.v1.Lobby/WatchRooms" {
            assert_eq!(timeout(PATIENCE, stream.end()).await, Ok(End::Cut), "{kind}");
        }
    }
    let end = timeout(PATIENCE, streams.websocket.next()).await.expect("an end");
    assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
    let (kind, rooms) = &mut streams.open[2];
    assert!(Streams::is_open(rooms).await, "{kind}: in a quiet lobby there is nothing to say");
    for kind in KINDS.into_iter().chain(["/ws"]).filter(|kind| !kind.ends_with("WatchRooms")) {
        let is_end =
            |line: &serde_json::Value| line["type"] == "DownstreamEnd" && line["path"] == kind;
        assert_eq!(edge.logged(is_end).await["details"], "stream_idle_timeout", "{kind}");
    }
}

/// Everything that ends connections in Envoy, set to 1 s; 4 s is more than all of it one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_on_which_something_is_said_outlives_everything() {
    let (issuer, server) = (Issuer::new("one"), Upstream::start("v1").await);
    let mut values = values(&[server.address], &Issuer::jwks(&[&issuer]));
    values["edge"]["timeouts"] = json!({
        "idle": "1s", "requestHeaders": "1s", "connectionIdle": "1s", "connectionAge": "1s", "drain": "1s", "connect": "1s",
    });
    let Some(edge) = Edge::start(&values).await else { return };
    let speaks = [("x-speak-every-ms", "200")];
    let mut streams = Streams::open(&edge, &issuer, &server, &speaks).await;
    let mut client = Client::connect(edge.address).await;
    let bearer = issuer.bearer(server.address);
    // Nothing comes down on this one; that the player says something is enough.
    let mut listens = client.open("/fray.v1.Play/Play", &[("authorization", &bearer)]).await;
    listens.echo().await;
    for _ in 0..20 {
        sleep(Duration::from_millis(200)).await;
        assert!(streams.websocket_answers().await);
        listens.say().await;
    }
    assert!(edge.stat("http.players.downstream_cx_max_duration_reached").await > 0);
    for (kind, stream) in &mut streams.open {
        assert!(Streams::is_open(stream).await, "{kind}");
    }
    assert_eq!(listens.finish().await, End::Status(Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_nobody_answers_ends() {
    let (issuer, server) = (Issuer::new("one"), Upstream::start("v1").await);
    let values = values(&[server.address], &Issuer::jwks(&[&issuer]));
    let Some(edge) = Edge::start(&values).await else { return };
    server.does.hangs.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut client = Client::connect(edge.address).await;
    let reply = client.call("/fray.v1.Lobby/Join", &[]).await;
    assert_eq!(reply.grpc(), Some(14), "UNAVAILABLE: {reply:?}");
    assert_eq!(
        server.does.seen().len(),
        1,
        "nobody knows whether it was done: it is not done again"
    );
}
