//! Goal: with `--store-nats`, what any server's rooms play is everybody's to see, and a restart of NATS in the middle takes
//! nothing of it. Method: servers of one fleet that record into a real NATS, which is killed while they play and comes back.
//!
//! Needs `nats-server`: `scripts/tools.sh nats-server` installs it.

use super::nats::Nats;
use super::servers::{Fleet, Running};
use super::{PATIENCE, create, joins, seat};
use bytes::Bytes;
use fray_bot::client::{Controls, Event, Options, Player};
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::resync::Reason;
use fray_proto::v1::verify_response::Verdict;
use fray_proto::v1::{self, play_request};
use fray_server::store::jetstream;
use fray_server::store::{JetStreamStore, Name, Reader, Record, Store as _, last_sessions};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const ROOMS: usize = 3;
const PLAYERS_OF_A_ROOM: usize = 2;
/// Updates in each part of the game: before NATS goes, while it is away, and after it is back. At 20 a second.
const UPDATES: usize = 70;

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_on_every_server_and_a_restart_of_nats_takes_nothing_of_them() {
    let Some(mut nats) = Nats::start() else { return };
    let url = format!("nats://127.0.0.1:{}", nats.port());
    // Checkpoints, and ends of rooms, soon; no incident but the one that is asked for.
    let flags = [
        ["--store-nats", "true"],
        ["--checkpoint-every", "2s"],
        ["--room-ttl", "2s"],
        ["--incident-lateness", "1h"],
    ];
    let fleet = Fleet::at_nats(&url, &[flags.as_flattened(); 3]).await;
    let mut played = Played::begin(&fleet).await;

    played.go_on(UPDATES).await;
    nats.kill();
    played.go_on(UPDATES / 2).await;
    // An incident, of which the newest part is not in NATS yet.
    let tick = played.players[0].session().replica().expect("it plays").tick();
    report_desync(&fleet.servers[0], &played.rooms[0], tick).await;
    played.go_on(UPDATES / 2).await;
    nats.start_again();
    played.go_on(UPDATES).await;

    sessions_are_in_the_store_only(&fleet, &nats, &played.rooms[0]).await;
    let last_ticks = played.leave().await;
    let mut incidents = BTreeSet::new();
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for server in &fleet.servers {
        let listed = listed_when_over(server, &last_ticks).await;
        for recording in &listed {
            let bytes = download(server, &recording.name).await;
            let known = files.entry(recording.name.clone()).or_insert_with(|| bytes.clone());
            assert_eq!(*known, bytes, "{}: as on the other servers", recording.name);
            let report = verify(server, &bytes).await;
            assert_eq!(report.verdict(), Verdict::Same, "{report:?}");
            assert!(!report.incomplete && report.hashes_compared > 0, "{report:?}");
            assert_eq!((report.gaps, report.last_tick), (0, recording.last_tick), "{report:?}");
            if recording.incident.is_empty() {
                everybody_came_and_left(server, recording).await;
            } else {
                incidents.insert(recording.incident.clone());
                assert!(recording.last_tick >= tick, "the tick in question is in it");
            }
        }
    }
    let incidents: Vec<_> = incidents.into_iter().collect();
    let [incident] = &incidents[..] else { panic!("one incident is kept: {incidents:?}") };
    assert!(incident.contains(&format!("another checksum at tick {tick}")), "{incident}");
    assert_eq!(files.len(), ROOMS + 1, "all rooms, and the incident");
    fleet.stop().await;
}

/// A game in each of some rooms.
struct Played {
    rooms: Vec<v1::JoinResponse>,
    players: Vec<Player>,
}

impl Played {
    /// Rooms by way of each server, with players who come by any.
    async fn begin(fleet: &Fleet) -> Self {
        // Until the directory is there, new rooms are refused.
        for server in &fleet.servers {
            timeout(PATIENCE, server.until_in_fleet()).await.expect("it is ready in time");
        }
        let (mut rooms, mut players) = (Vec::new(), Vec::new());
        for number in 0..ROOMS {
            let way = |player: usize| fleet.servers[(number + player) % 3].grpc();
            let wish = create("Recorded", false);
            let first = Player::join(way(0), wish, Options::default()).await.expect("a stream");
            let room = first.seat().expect("a seat").clone();
            players.push(first);
            for player in 1..PLAYERS_OF_A_ROOM {
                let player = Player::join(way(player), joins(&room), Options::default()).await;
                players.push(player.expect("a stream"));
            }
            rooms.push(room);
        }
        Self { rooms, players }
    }

    /// They play on, and notice nothing.
    async fn go_on(&mut self, updates: usize) {
        let all = join_all(self.players.iter_mut().map(|player| play(player, updates)));
        timeout(PATIENCE, all).await.expect("they play");
    }

    /// They leave, and the rooms end. The last tick that anybody saw of each.
    async fn leave(self) -> BTreeMap<String, u32> {
        let mut last_ticks = BTreeMap::<_, u32>::new();
        for mut player in self.players {
            let room = player.session().welcome().and_then(|welcome| welcome.room.clone());
            player.leave();
            let left = async { while player.next().await.expect("it leaves").is_some() {} };
            timeout(PATIENCE, left).await.expect("it leaves in time");
            let tick = player.session().replica().expect("it played").tick();
            let last = last_ticks.entry(room.expect("a room").room_id).or_default();
            *last = tick.max(*last);
        }
        last_ticks
    }
}

async fn play(player: &mut Player, updates: usize) {
    let mut seen = 0;
    while seen < updates {
        match player.next().await.expect("the session lives").expect("it goes on") {
            Event::Updated(_) => seen += 1,
            Event::Pong { .. } => {}
            other => panic!("{other:?}"),
        }
        if seen.is_multiple_of(4) {
            let axis_x = if seen.is_multiple_of(8) { 100 } else { -60 };
            let controls = Controls { axis_x, axis_y: 127, buttons: 1, ..Controls::default() };
            player.steer(controls).expect("the stream is open");
        }
    }
}

/// Somebody comes to the room, says that a checksum differs, and goes.
async fn report_desync(server: &Running, room: &v1::JoinResponse, tick: u32) {
    let seat = seat(server, joins(room)).await;
    let hello = v1::Hello { protocol_version: 1, ticket: seat.ticket, ..v1::Hello::default() };
    let resync = v1::Resync { reason: Reason::ChecksumMismatch.into(), tick, cell: None };
    let messages = [
        play_request::Message::Hello(hello),
        play_request::Message::Resync(resync),
        play_request::Message::Leave(v1::Leave {}),
    ];
    let messages = messages.map(|message| v1::PlayRequest { message: Some(message) });
    let mut play = PlayClient::connect(server.url()).await.expect("a connection");
    let stream = play.play(tokio_stream::iter(messages)).await.expect("a stream");
    let mut stream = stream.into_inner();
    let left = async { while stream.message().await.expect("it goes on").is_some() {} };
    timeout(PATIENCE, left).await.expect("it leaves in time");
}

/// What another server would need to take the sessions over is in NATS, and in nothing that leaves a server.
async fn sessions_are_in_the_store_only(fleet: &Fleet, nats: &Nats, room: &v1::JoinResponse) {
    let room = room.room.clone().expect("a room").room_id;
    let client = async_nats::connect(format!("127.0.0.1:{}", nats.port())).await.expect("NATS");
    let options = jetstream::Options::default();
    let store = JetStreamStore::open(client, options, tokio::runtime::Handle::current());
    let store = store.expect("a store");
    let name = Name::parse(&room).expect("a name");
    // Its calls wait for answers, on the thread that they are made on.
    let read = tokio::task::spawn_blocking(move || {
        let log = store.read(&name, 0).expect("the room's log");
        let sessions = last_sessions(&mut Reader::new(log)).expect("records");
        store.close().expect("nothing waits");
        sessions
    });
    let sessions = read.await.expect("no panic").expect("sessions are in the log");
    assert_eq!(sessions.sessions.len(), PLAYERS_OF_A_ROOM, "{sessions:?}");
    for session in &sessions.sessions {
        assert!(session.token_hash.is_some() && session.input_ack > 0, "{session:?}");
    }
    for server in &fleet.servers {
        let bytes = download(server, &room).await;
        let mut reader = Reader::new(&bytes[..]);
        while let Some(record) = reader.next_record().expect("records") {
            assert!(!matches!(record, Record::Sessions(_)), "sessions left the store");
        }
    }
}

/// The recordings, once all these rooms are over and their ends are there.
async fn listed_when_over(
    server: &Running,
    last_ticks: &BTreeMap<String, u32>,
) -> Vec<v1::Recording> {
    let mut replays = server.replays().await;
    let listed = async {
        loop {
            let page = replays.list(v1::ReplaysListRequest::default()).await.expect("a list");
            let listed = page.into_inner().recordings;
            let over: Vec<_> = listed.iter().filter(|one| !one.running).collect();
            let is_over = |room: &String| over.iter().any(|one| one.name == *room);
            if last_ticks.keys().all(is_over) {
                return listed;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let listed = timeout(PATIENCE, listed).await.expect("rooms end in time");
    for (room, last_tick) in last_ticks {
        let recording = listed.iter().find(|one| one.name == *room).expect("it was there");
        assert!(recording.last_tick >= *last_tick, "{recording:?} ends before {last_tick}");
        assert_eq!(recording.first_tick, 1, "nothing of it was let go");
    }
    listed
}

async fn download(server: &Running, name: &str) -> Vec<u8> {
    let request = v1::DownloadRequest { name: name.into(), ..v1::DownloadRequest::default() };
    let mut replays = server.replays().await;
    let mut parts = replays.download(request).await.expect("a file").into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await.expect("it goes on") {
        bytes.extend_from_slice(&part.data);
    }
    bytes
}

async fn verify(server: &Running, bytes: &[u8]) -> v1::VerifyResponse {
    let parts =
        bytes.chunks(60_000).map(|part| v1::VerifyRequest { data: Bytes::copy_from_slice(part) });
    let parts: Vec<_> = parts.collect();
    let mut replays = server.replays().await;
    replays.verify(tokio_stream::iter(parts)).await.expect("an answer").into_inner()
}

/// Nobody's coming or going is missing.
async fn everybody_came_and_left(server: &Running, recording: &v1::Recording) {
    use v1::marker::Kind;
    let request =
        v1::TimelineRequest { name: recording.name.clone(), ..v1::TimelineRequest::default() };
    let timeline = server.replays().await.timeline(request).await.expect("a time line");
    let markers = timeline.into_inner().markers;
    let of = |kind: Kind| -> BTreeSet<_> {
        markers.iter().filter(|one| one.kind() == kind).map(|one| one.player).collect()
    };
    let (came, left) = (of(Kind::Joined), of(Kind::Left));
    assert!(came.len() >= PLAYERS_OF_A_ROOM && came == left, "{came:?} came, {left:?} left");
}
