//! The live page: what it tells, that it goes on telling, to how many, and what it never tells.

mod support;

use bytes::Bytes;
use fray_proto::v1;
use fray_proto::v1::join_request::Room;
use fray_server::status::snapshot::ROOMS_SHOWN_MAX;
use fray_server::status::{EVERY, READERS_MAX};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use support::Net;
use tokio::time::Instant;

type Answer = http::Response<Incoming>;

/// What the admin port answers.
async fn get(net: &Net, path: &str) -> Answer {
    let (client, server) = tokio::io::duplex(16 * 1024);
    let parts = Arc::clone(&net.parts);
    net.spawn(async move { parts.serve_operator(server).await });
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(client)).await.expect("HTTP");
    net.spawn_client(async move { drop(connection.await) });
    let request = http::Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new());
    sender.send_request(request.expect("a request")).await.expect("an answer")
}

async fn json(net: &Net) -> Value {
    let answer = get(net, "/status.json").await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&body).expect("JSON")
}

/// A stream of events.
struct Reader {
    answer: Answer,
    /// What came of the next one.
    begun: String,
}

impl Reader {
    async fn open(net: &Net) -> Self {
        let answer = get(net, "/status/events").await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, begun: String::new() }
    }

    /// The next snapshot; `None`: it ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.begun.split_once("\n\n") {
                let data = event.strip_prefix("data: ").expect("data and nothing else");
                let data = serde_json::from_str(data).expect("JSON");
                self.begun = rest.to_string();
                return Some(data);
            }
            let frame = self.answer.body_mut().frame().await?.expect("sound");
            let data = frame.into_data().expect("data");
            self.begun += std::str::from_utf8(&data).expect("ASCII here");
        }
    }
}

async fn private_room(net: &Net, name: &str) -> v1::JoinResponse {
    let room = v1::CreateRoom { name: name.into(), private: true, ..Default::default() };
    let request = v1::JoinRequest { room: Some(Room::Create(room)), ..Default::default() };
    net.lobby().await.join(request).await.expect("joined").into_inner()
}

#[tokio::test(start_paused = true)]
async fn the_numbers_are_those_of_the_rooms() {
    let net = Net::new(&["--tick-rate", "20"]);
    let mut ada = net.player("Ada").await;
    for _ in 0..60 {
        ada.steer(10, 127).await;
        ada.update().await.expect("goes on");
    }
    let now = json(&net).await;
    let (totals, room) = (&now["totals"], &now["rooms"][0]);
    assert_eq!(totals["rooms"], 1);
    assert_eq!(totals["players"], 1);
    assert_eq!(totals["streams_opened"]["grpc"], 1);
    assert_eq!(totals["ticks_per_s"], 20);
    assert!(totals["tick_duration_p99_us"].is_u64() && totals["tick_lateness_p99_us"].is_u64());
    assert!(totals["updates_per_s"].is_null(), "nothing to compare with yet");
    assert_eq!(room["id"], ada.welcome.room.as_ref().expect("a room").room_id);
    assert_eq!((&room["players"], &room["capacity"]), (&1.into(), &64.into()));
    assert!(room["tick"].as_u64() >= Some(60), "{room}");
    assert!(
        room["moves_per_s"].as_u64() >= Some(15) && room["entities"].as_u64() >= Some(1),
        "{room}"
    );
    assert_eq!(
        now["health"],
        serde_json::json!({"live": true, "ready": true, "serving": true, "drained": false, "draining": false})
    );
    assert_eq!(now["rooms_left_out"], 0);
    assert!(cfg!(not(target_os = "linux")) || totals["rss_bytes"].as_u64() > Some(1 << 20));

    // A client that stops saying what it has: what it sees grows old.
    let before = room["staleness_max_ms"].as_u64().expect("a number");
    ada.acks_updates = false;
    for _ in 0..15 {
        ada.update().await.expect("goes on");
    }
    tokio::time::sleep(EVERY).await;
    let room = &json(&net).await["rooms"][0];
    let after = room["staleness_max_ms"].as_u64().expect("a number");
    assert!(before <= 200 && after >= 700, "{before} ms, then {after} ms");
}

#[tokio::test(start_paused = true)]
async fn the_page_is_told_every_second_and_all_are_told_the_same() {
    let net = Net::new(&[]);
    let _ada = net.player("Ada").await;
    let (mut one, mut other) = (Reader::open(&net).await, Reader::open(&net).await);
    let (mut last, mut rates) = (0, Vec::new());
    for _ in 0..5 {
        let (a, b) = (one.next().await.expect("told"), other.next().await.expect("told"));
        assert_eq!(a, b, "one snapshot for all");
        let tick = a["rooms"][0]["tick"].as_u64().expect("a tick");
        assert!(tick > last, "it goes on: {tick} after {last}");
        last = tick;
        rates.push(a["totals"]["update_bytes_per_s"].as_u64());
    }
    assert!(rates[0].is_none() && rates[1] > Some(0), "{rates:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_per_second_is_of_the_last_seconds_or_not_known() {
    let net = Net::new(&["--tick-rate", "20"]);
    let mut ada = net.player("Ada").await;
    let mut look_after = async |seconds: u64| {
        for _ in 0..20 * seconds {
            ada.update().await.expect("goes on");
        }
        let totals = json(&net).await["totals"].clone();
        (totals["updates_per_s"].as_u64(), totals["update_bytes_per_s"].is_u64())
    };
    assert_eq!(look_after(1).await, (None, false), "nothing to compare with yet");
    assert_eq!(look_after(1).await, (Some(20), true));
    assert_eq!(look_after(2).await, (Some(20), true));
    assert_eq!(look_after(4).await, (None, false), "nobody looked for too long");
    assert_eq!(look_after(1).await, (Some(20), true));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_look_on_and_a_place_comes_free() {
    let net = Net::new(&[]);
    let mut readers = Vec::new();
    for _ in 0..READERS_MAX {
        let mut reader = Reader::open(&net).await;
        reader.next().await.expect("told");
        readers.push(reader);
    }
    let refused = get(&net, "/status/events").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(json(&net).await["totals"]["rooms"], 0, "JSON is there for all");
    readers.pop();
    tokio::time::sleep(2 * EVERY).await;
    assert_eq!(get(&net, "/status/events").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_ends_events_and_waits_for_no_reader() {
    let net = Net::new(&[]);
    let (mut reader, stalled) = (Reader::open(&net).await, Reader::open(&net).await);
    reader.next().await.expect("told");
    // Nobody reads the other one; its connection is full after some minutes.
    let full = Instant::now() + Duration::from_secs(600);
    while Instant::now() < full {
        reader.next().await.expect("told");
    }
    net.parts.sessions().drain();
    net.parts.health().draining();
    let told = reader.next().await.expect("still told");
    assert_eq!(told["health"]["draining"], true);
    let since = Instant::now();
    net.parts.stop_operators();
    assert_eq!(reader.next().await, None, "the end, in order");
    assert!(since.elapsed() < EVERY, "at once");
    net.all_served().await;
    assert!(since.elapsed() <= Duration::from_secs(3), "{:?}", since.elapsed());
    drop(stalled);
}

#[tokio::test(start_paused = true)]
async fn a_private_rooms_code_is_not_told() {
    let net = Net::new(&[]);
    let joined = private_room(&net, "</script><b>Den").await;
    let code = joined.room.expect("a room").code;
    let now = json(&net).await;
    assert_eq!(now["rooms"][0]["name"], "</script><b>Den");
    assert_eq!(now["rooms"][0]["is_private"], true);
    assert!(code.len() >= 6 && !now.to_string().contains(&code));
    let mut reader = Reader::open(&net).await;
    assert!(!reader.next().await.expect("told").to_string().contains(&code));
}

#[tokio::test(start_paused = true)]
async fn many_rooms_are_shown_in_part() {
    let net = Net::new(&[]);
    for _ in 0..ROOMS_SHOWN_MAX + 3 {
        private_room(&net, "Den").await;
    }
    let now = json(&net).await;
    assert_eq!(now["rooms"].as_array().map(Vec::len), Some(ROOMS_SHOWN_MAX));
    assert_eq!((&now["rooms_left_out"], &now["totals"]["rooms"]), (&3.into(), &53.into()));
}

#[tokio::test(start_paused = true)]
async fn the_page_loads_nothing_and_runs_only_its_own() {
    let net = Net::new(&[]);
    let answer = get(&net, "/status").await;
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    let page = answer.into_body().collect().await.expect("a body").to_bytes();
    let page = std::str::from_utf8(&page).expect("text");
    assert!(page.len() < 30 * 1024);
    for outside in ["src=", "@import", "url(", "innerHTML", "style=", "https://"] {
        assert!(!page.contains(outside), "{outside}");
    }
}
