//! Pages that only look on: what they are told, which may, how many, and that they hold up nobody.

mod support;

use bytes::Bytes;
use fray_proto::v1;
use fray_proto::v1::join_request::Room;
use fray_server::cluster::memory::MemoryDirectory;
use fray_server::room::Ending;
use fray_server::session::directory::{Directory as _, RoomRecord, ServerRecord};
use fray_server::session::onlooking::{EVERY, Event, Onlookers, READERS_MAX, READERS_PER_ROOM_MAX};
use fray_server::session::telling::HEARTBEAT;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use support::{Net, Player, hello_with_ticket};
use tokio::time::{Instant, timeout};

type Answer = http::Response<Incoming>;

/// What the players' port answers to a page of this origin.
async fn get(net: &Net, path: &str, origin: Option<&str>) -> Answer {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(net.pipe())).await.expect("HTTP");
    net.spawn_client(async move { drop(connection.await) });
    let mut request = http::Request::get(path).header("host", "localhost");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    sender.send_request(request).await.expect("an answer")
}

async fn refusal(answer: Answer) -> (u16, Value) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn path(room_id: &str) -> String {
    format!("/rooms/{room_id}/events")
}

/// A stream of events, read as browsers read it.
struct Reader {
    answer: Answer,
    /// What came of the next one.
    begun: String,
    comments: u32,
}

impl Reader {
    /// Opens one, and takes what comes before the first event.
    async fn open(net: &Net, room_id: &str) -> Self {
        let answer = get(net, &path(room_id), None).await;
        assert_eq!((answer.status().as_u16(), content_type(&answer)), (200, "text/event-stream"));
        let mut reader = Self { answer, begun: String::new(), comments: 0 };
        assert_eq!(reader.block().await.as_deref(), Some("retry: 3000"));
        reader
    }

    /// The next block of lines; `None`: it ended, in order.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.begun.split_once("\n\n") {
                let block = block.to_owned();
                self.begun = rest.to_string();
                return Some(block);
            }
            let Some(frame) = self.answer.body_mut().frame().await else {
                assert!(self.begun.is_empty(), "half an event: {}", self.begun);
                return None;
            };
            let data = frame.expect("sound").into_data().expect("data");
            self.begun += std::str::from_utf8(&data).expect("text");
        }
    }

    /// The next event: its name and its data.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let block = timeout(Duration::from_secs(600), self.block()).await.expect("in time")?;
            if block == ":" {
                self.comments += 1;
                continue;
            }
            let (name, data) = block.split_once('\n').expect("two lines");
            let name = name.strip_prefix("event: ").expect("a name").to_owned();
            let data = data.strip_prefix("data: ").expect("data");
            return Some((name, serde_json::from_str(data).expect("JSON")));
        }
    }

    /// The next event of this name.
    async fn next_of(&mut self, wanted: &str) -> Value {
        loop {
            let (name, data) = self.next().await.expect("it goes on");
            if name == wanted {
                return data;
            }
        }
    }
}

fn content_type(answer: &Answer) -> &str {
    answer.headers()["content-type"].to_str().expect("text")
}

/// Somebody in a new room.
async fn opens(net: &Net, name: &str, is_private: bool) -> (Player, v1::Room) {
    let room = v1::CreateRoom { name: "Den".into(), private: is_private, ..Default::default() };
    let request = v1::JoinRequest {
        player_name: name.into(),
        room: Some(Room::Create(room)),
        ..Default::default()
    };
    let joined = net.lobby().await.join(request).await.expect("joined").into_inner();
    let player = net.open(hello_with_ticket(&joined.ticket)).await.expect("seated");
    (player, joined.room.expect("a room"))
}

async fn comes(net: &Net, name: &str, room_id: &str) -> Player {
    let request = v1::JoinRequest {
        player_name: name.into(),
        room: Some(Room::RoomId(room_id.into())),
        ..Default::default()
    };
    let joined = net.lobby().await.join(request).await.expect("joined").into_inner();
    net.open(hello_with_ticket(&joined.ticket)).await.expect("seated")
}

#[tokio::test(start_paused = true)]
async fn a_page_sees_the_room_its_board_and_who_comes_and_goes() {
    let net = Net::new(&["--grace", "2s"]);
    let (_ada, room) = opens(&net, "Ada \"the\" <b>\n", false).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut reader = Reader::open(&net, &room.room_id).await;
    let first = reader.next().await.expect("told");
    let expected = json!({
        "room": room.room_id, "name": "Den", "game": "arena", "players": 1, "capacity": 64, "state": "playing"
    });
    assert_eq!(first, ("room".to_owned(), expected));
    let (name, board) = reader.next().await.expect("told");
    assert_eq!(name, "scoreboard");
    assert_eq!(board["players"][0]["player"], 1);
    assert_eq!(board["players"][0]["name"], "Ada \"the\" <b>");
    assert_eq!(board["players"][0]["score"], 0);
    assert_eq!(board["players"][0]["attributes"].as_array().map(Vec::len), Some(8));
    assert!(board["tick"].as_u64() >= Some(1));
    let kinds: Vec<_> = board["others"].as_array().expect("a list").iter().collect();
    assert!(kinds.iter().any(|other| other["kind"] == 17), "the round: {board}");

    let mut bob = comes(&net, "Bob", &room.room_id).await;
    assert_eq!(
        reader.next_of("join").await,
        json!({"players": [{"player": 2, "name": "Bob"}], "left_out": 0})
    );
    let board = reader.next_of("scoreboard").await;
    assert_eq!(board["players"].as_array().map(Vec::len), Some(2));
    bob.leave().await.expect("left");
    assert_eq!(reader.next_of("leave").await["players"], json!([{"player": 2, "name": "Bob"}]));

    // A stream that breaks is no leave until its time is over.
    drop(comes(&net, "Eve", &room.room_id).await);
    assert_eq!(reader.next_of("join").await["players"], json!([{"player": 3, "name": "Eve"}]));
    let since = Instant::now();
    assert_eq!(reader.next_of("leave").await["players"], json!([{"player": 3, "name": "Eve"}]));
    assert!(since.elapsed() >= Duration::from_secs(1), "{:?}", since.elapsed());

    let here = net.parts.sessions().rooms.all().remove(0);
    here.freeze().expect("told");
    assert_eq!(reader.next_of("room").await["state"], "frozen");
    here.thaw().expect("told");
    assert_eq!(reader.next_of("room").await["state"], "playing");
}

#[tokio::test(start_paused = true)]
async fn of_each_kind_two_events_come_a_second_at_most_and_none_without_news() {
    let net = Net::new(&["--room-capacity", "200"]);
    let (_ada, room) = opens(&net, "Ada", false).await;
    let mut reader = Reader::open(&net, &room.room_id).await;
    let began = Instant::now();
    let mut came: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    let mut others = Vec::new();
    for index in 0..60 {
        others.push(comes(&net, &format!("Bot {index}"), &room.room_id).await);
        tokio::time::sleep(Duration::from_millis(90)).await;
    }
    let mut joined = 0;
    while joined < 60 {
        let (name, data) = reader.next().await.expect("goes on");
        if name == "join" {
            joined += data["players"].as_array().map_or(0, Vec::len);
        }
        came.entry(name).or_default().push(began.elapsed());
    }
    // What was not read in time was never sent: the reader has the newest.
    assert!(came["join"].len() <= 14, "{came:?}");
    let mut last: Vec<Instant> = Vec::new();
    let mut waits = Vec::new();
    while waits.len() < 5 {
        let next = timeout(Duration::from_secs(60), reader.next_of("scoreboard")).await;
        let Ok(_) = next else { break };
        let now = Instant::now();
        waits.extend(last.last().map(|last| now - *last));
        last.push(now);
    }
    assert!(waits.iter().all(|wait| *wait >= EVERY), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_room_in_which_nothing_happens_sends_a_comment_now_and_then() {
    let net = Net::new(&["--room-ttl", "1h"]);
    let (mut ada, room) = opens(&net, "Ada", false).await;
    ada.leave().await.expect("left");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let here = net.parts.sessions().rooms.all().remove(0);
    here.freeze().expect("told");
    here.frozen().wait_for(|frozen| *frozen).await.expect("stands still");
    let mut reader = Reader::open(&net, &room.room_id).await;
    reader.next_of("scoreboard").await;
    assert!(timeout(HEARTBEAT * 6, reader.next()).await.is_err(), "no news");
    assert!((5..=6).contains(&reader.comments), "{}", reader.comments);
    here.thaw().expect("told");
    reader.next_of("room").await;
}

#[tokio::test(start_paused = true)]
async fn private_and_unknown_rooms_are_not_there_with_or_without_a_code() {
    let net = Net::new(&[]);
    let (_ada, room) = opens(&net, "Ada", true).await;
    let private = path(&room.room_id);
    let with_code = format!("{private}?code={}", room.code);
    for path in [private, with_code, path(&room.code), path("nowhere"), path("NO!")] {
        let (status, said) = refusal(get(&net, &path, None).await).await;
        assert_eq!((status, &said["reason"]), (404, &"ROOM_NOT_FOUND".into()), "{path}");
        assert!(!said.to_string().contains(&room.code));
    }
}

#[tokio::test(start_paused = true)]
async fn only_pages_of_the_server_s_own_and_of_allowed_origins_look_on() {
    let net = Net::new(&["--allow-origin", "https://board.example.com"]);
    let (_ada, room) = opens(&net, "Ada", false).await;
    let path = path(&room.room_id);
    let allowed = get(&net, &path, Some("https://board.example.com")).await;
    assert_eq!(allowed.status(), 200);
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://board.example.com");
    let own = get(&net, &path, Some("http://localhost")).await;
    assert_eq!(own.status(), 200);
    let other = get(&net, &path, Some("https://evil.example.com")).await;
    assert_eq!(other.status(), 403);
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    let refused = "fray_refusals_total{reason=\"ORIGIN_FORBIDDEN\"} 1";
    assert!(net.parts.sessions().metrics.render().contains(refused));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_room_is_the_last_that_is_told() {
    let net = Net::new(&[]);
    for (why, reason) in [(Ending::Closed, "ROOM_ENDED"), (Ending::Disowned, "LEASE_LOST")] {
        let (_ada, room) = opens(&net, "Ada", false).await;
        let mut reader = Reader::open(&net, &room.room_id).await;
        reader.next().await.expect("told");
        let rooms = &net.parts.sessions().rooms;
        let here = rooms.all().into_iter().find(|here| here.info().id.as_str() == room.room_id);
        here.expect("it is there").end(why).expect("told");
        assert_eq!(reader.next_of("end").await, json!({ "reason": reason }));
        assert_eq!(reader.next().await, None);
        let (status, _) = refusal(get(&net, &path(&room.room_id), None).await).await;
        assert_eq!(status, 404, "whoever comes back is told so");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_is_told_and_waits_for_no_reader() {
    let net = Net::new(&[]);
    let (ada, room) = opens(&net, "Ada", false).await;
    let mut reader = Reader::open(&net, &room.room_id).await;
    let stalled = get(&net, &path(&room.room_id), None).await;
    reader.next().await.expect("told");
    let sessions = net.parts.sessions();
    sessions.drain();
    assert_eq!(reader.next_of("end").await, json!({"reason": "SHUTTING_DOWN"}));
    assert_eq!(reader.next().await, None);
    drop(ada);
    let since = Instant::now();
    sessions.streams.close();
    sessions.streams.wait().await;
    assert!(since.elapsed() <= Duration::from_secs(3), "{:?}", since.elapsed());
    let (status, said) = refusal(get(&net, &path(&room.room_id), None).await).await;
    assert_eq!((status, &said["reason"]), (503, &"SHUTTING_DOWN".into()));
    drop(stalled);
}

#[tokio::test(start_paused = true)]
async fn so_many_look_on_at_a_room_and_a_place_comes_free() {
    let net = Net::new(&["--room-ttl", "1h"]);
    let (_ada, room) = opens(&net, "Ada", false).await;
    let mut readers = Vec::new();
    for _ in 0..READERS_PER_ROOM_MAX {
        readers.push(Reader::open(&net, &room.room_id).await);
    }
    let gauge = |net: &Net, wanted: usize| {
        let said = format!("\nfray_onlookers {wanted}\n");
        let text = net.parts.sessions().metrics.render();
        assert!(text.contains(&said), "{said} in {text}");
    };
    gauge(&net, READERS_PER_ROOM_MAX);
    let refused = get(&net, &path(&room.room_id), None).await;
    assert_eq!(refused.headers()["retry-after"], "5");
    let (status, said) = refusal(refused).await;
    assert_eq!((status, &said["reason"]), (503, &"OVERLOADED".into()));
    let (_bob, other) = opens(&net, "Bob", false).await;
    drop(Reader::open(&net, &other.room_id).await);

    readers.pop();
    tokio::time::sleep(Duration::from_secs(1)).await;
    gauge(&net, READERS_PER_ROOM_MAX - 1);
    drop(Reader::open(&net, &room.room_id).await);
}

#[tokio::test(start_paused = true)]
async fn no_more_look_on_at_a_server_than_it_says() {
    let net = Net::new(&["--room-ttl", "1h"]);
    let mut rooms = Vec::new();
    for _ in 0..=READERS_MAX / READERS_PER_ROOM_MAX {
        let (_, room) = opens(&net, "Ada", false).await;
        rooms.push(room);
    }
    // The door's own: streams for all of them would take long.
    let onlookers = Arc::new(Onlookers::new(net.parts.sessions()));
    let rooms = net.parts.sessions().rooms.all();
    let mut readers = Vec::new();
    for index in 0..READERS_MAX {
        let room = rooms[index / READERS_PER_ROOM_MAX].clone();
        readers.push(onlookers.look_on(room).expect("a place"));
    }
    let empty = rooms[READERS_MAX / READERS_PER_ROOM_MAX].clone();
    assert!(onlookers.look_on(empty.clone()).is_err());
    readers.pop();
    assert!(onlookers.look_on(empty).is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_costs_nothing_and_loses_its_place() {
    let net = Net::new(&[]);
    let (mut ada, room) = opens(&net, "Ada", false).await;
    let stalled = get(&net, &path(&room.room_id), None).await;
    assert_eq!(stalled.status(), 200);
    let events = |net: &Net| -> u64 {
        let text = net.parts.sessions().metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix("fray_events_total "));
        line.expect("it is counted").parse().expect("a number")
    };
    // Something happens all the time, so there is always news; until all buffers on the way are full.
    let mut counts = Vec::new();
    for _ in 0..200 {
        for _ in 0..20 {
            ada.steer(100, 100).await;
            ada.update().await.expect("goes on");
            let mut bob = comes(&net, "Bob, whose name is long.", &room.room_id).await;
            bob.leave().await.expect("left");
        }
        counts.push(events(&net));
        if net.parts.sessions().metrics.render().contains("\nfray_onlookers 0\n") {
            break;
        }
    }
    let metrics = net.parts.sessions().metrics.render();
    assert!(metrics.contains("\nfray_onlookers 0\n"), "it keeps its place: {counts:?}");
    // The player noticed nothing.
    assert!(ada.updates.iter().all(|(_, span)| *span == 1));
    drop(stalled);
}

#[tokio::test(start_paused = true)]
async fn all_who_look_at_a_room_share_one_picture_and_nothing_is_kept_when_nobody_does() {
    let net = Net::new(&[]);
    let (_ada, room) = opens(&net, "Ada", false).await;
    let here = net.parts.sessions().rooms.all().remove(0);
    let onlookers = Arc::new(Onlookers::new(net.parts.sessions()));
    let mut one = onlookers.look_on(here.clone()).expect("a place");
    let mut other = onlookers.look_on(here.clone()).expect("a place");
    let boards = |events: Vec<Event>| {
        let boards = events.into_iter().filter(|event| event.name == "scoreboard");
        boards.map(|event| event.json.as_ptr()).collect::<Vec<_>>()
    };
    let now = Instant::now();
    let first = boards(one.look(now));
    // Much happens until the other one looks, but not enough time has gone by for another picture.
    let _bob = comes(&net, "Bob", &room.room_id).await;
    let mut frames = here.frames();
    for _ in 0..3 {
        frames.changed().await.expect("goes on");
    }
    assert_eq!(boards(other.look(now + EVERY / 2)), first);
    assert!(boards(one.look(now + EVERY)) != first && !boards(other.look(now + EVERY)).is_empty());

    let info = Arc::downgrade(here.info());
    here.end(Ending::Closed).expect("told");
    while frames.changed().await.is_ok() {}
    drop((frames, here, one));
    tokio::time::sleep(EVERY).await;
    assert!(info.upgrade().is_some(), "somebody has it before their eyes");
    drop(other);
    assert!(info.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_room_of_another_server_is_named_as_such() {
    let net = Net::new(&["--relay", "false"]);
    let (_ada, here) = opens(&net, "Ada", false).await;
    let other = MemoryDirectory::alone();
    let directory = &net.parts.sessions().fleet.directory;
    let there = directory.rooms().remove(0).record;
    assert_eq!(there.room.as_str(), here.room_id);
    let instance = other.me().clone();
    let server = ServerRecord {
        instance: instance.clone(),
        name: "other".into(),
        route: "10.0.0.2:7777".into(),
        peer: String::new(),
        release: "1".into(),
        game: "arena".into(),
        sim_version: 1,
        sim_versions: Vec::new(),
        rooms_max: 1,
        room_capacity_max: 1,
        is_draining: false,
        players: BTreeMap::new(),
        electorate: Vec::new(),
        renewal_age_ms: 0,
        zone: String::new(),
        node: String::new(),
    };
    let elsewhere = fray_server::room::RoomId::parse("elsewhere").expect("an id");
    let record = RoomRecord { room: elsewhere, owner: instance, ..(*there).clone() };
    directory.create(record).await.expect("created");
    directory.announce(server).await.expect("announced");
    let (status, said) = refusal(get(&net, &path("elsewhere"), None).await).await;
    assert_eq!(
        (status, &said["reason"], &said["room"]),
        (421, &"WRONG_SERVER".into(), &"elsewhere".into())
    );
}

#[tokio::test(start_paused = true)]
async fn the_example_page_listens_to_all_that_is_documented_and_trusts_no_name() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).expect("there");
    let (page, docs) = (read("examples/scoreboard.html"), read("docs/SSE.md"));
    let rows = docs.lines().skip_while(|line| *line != "| event | when | data |").skip(2);
    let named: Vec<_> = rows.map_while(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(named, ["room", "scoreboard", "join", "leave", "end"]);
    for name in named {
        assert!(page.contains(&format!("on(\"{name}\"")), "{name}");
    }
    for unsafe_way in ["innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!page.contains(unsafe_way), "{unsafe_way}");
    }
}
