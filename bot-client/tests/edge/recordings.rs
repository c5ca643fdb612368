//! What was played, fetched and watched through the edge: each server has recordings of its own.

use crate::envoy::PATIENCE;
use crate::gate::{Gate, asks, moves, new_room, route_of, with_ticket};
use crate::nats::Nats;
use crate::servers::{Fleet, Running};
use crate::tickets::read;
use fray_bot::client::transport::{GrpcServer, Server as _};
use fray_bot::client::{Options, Player};
use fray_proto::v1::join_request::Room;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::replays_client::ReplaysClient;
use fray_proto::v1::verify_response::Verdict;
use fray_proto::v1::watch_response::Message;
use fray_proto::v1::{
    self, DownloadRequest, JoinRequest, TimelineRequest, VerifyRequest, WatchRequest,
};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// The pieces of an upload.
const PIECE_BYTES: usize = 60_000;
/// Rooms that are played in at once, and how often that is done at most: where they are is the servers' choice.
const ROOMS: usize = 12;
const ROUNDS_MAX: usize = 10;

/// A room in which somebody played, and what is needed to see that.
struct Past {
    name: String,
    code: String,
    /// The server that ran it.
    owner: usize,
}

/// Somebody plays a little in a new room, and leaves.
async fn played(fleet: &Fleet, door: GrpcServer, private: bool) -> Past {
    let joined = Player::join(Arc::new(door), new_room("Past", private), Options::default()).await;
    let mut player = joined.expect("a seat");
    moves(&mut player, 20).await;
    let seat = player.seat().expect("a seat").clone();
    player.leave();
    let left = async { while player.next().await.expect("it leaves").is_some() {} };
    timeout(PATIENCE, left).await.expect("it leaves in time");
    let room = seat.room.expect("a room");
    let route = route_of(&seat.ticket);
    let owner = fleet.servers.iter().position(|server| server.players.to_string() == route);
    Past { name: room.room_id, code: room.code, owner: owner.expect("one of them") }
}

/// Waits until the room is over, and its recording whole.
async fn over(fleet: &Fleet, past: &Past) {
    let mut replays = ReplaysClient::new(channel_to(&fleet.servers[past.owner]).await);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (name, code) = (past.name.clone(), past.code.clone());
        let asked = replays.timeline(TimelineRequest { name, code, after_tick: 0 }).await;
        // Before the first of it is in the store, there is none.
        if asked.is_ok_and(|found| found.into_inner().recording.is_some_and(|r| !r.running)) {
            return;
        }
        assert!(Instant::now() < deadline, "the room does not end");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Asks to look on at what was played under that name.
fn looks_at(name: &str) -> JoinRequest {
    JoinRequest { spectate: true, ..asks(Room::RoomId(name.into())) }
}

async fn download(channel: &Channel, ticket: &str, past: &Past) -> Result<Vec<u8>, Status> {
    let request =
        DownloadRequest { name: past.name.clone(), code: past.code.clone(), ..Default::default() };
    let mut replays = ReplaysClient::new(channel.clone());
    let mut parts = replays.download(with_ticket(ticket, request)).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = timeout(PATIENCE, parts.message()).await.expect("in time")? {
        bytes.extend_from_slice(&part.data);
    }
    Ok(bytes)
}

/// Watches it to its end: who showed it, and its last tick.
async fn watch(channel: &Channel, ticket: &str, past: &Past) -> Result<(String, u32), Status> {
    let request = WatchRequest {
        recording: past.name.clone(),
        code: past.code.clone(),
        speed_percent: 1600,
        ..WatchRequest::default()
    };
    let mut play = PlayClient::new(channel.clone());
    let mut shown = play.watch(with_ticket(ticket, request)).await?.into_inner();
    let (mut server, mut tick) = (String::new(), 0);
    while let Some(shown) = timeout(PATIENCE, shown.message()).await.expect("in time")? {
        match shown.message {
            Some(Message::Welcome(welcome)) => server = welcome.server,
            Some(Message::Update(update)) => tick = update.tick,
            Some(Message::Notice(_)) | None => {}
        }
    }
    Ok((server, tick))
}

async fn verified(channel: &Channel, bytes: &[u8]) -> v1::VerifyResponse {
    let pieces: Vec<_> = bytes
        .chunks(PIECE_BYTES)
        .map(|data| VerifyRequest { data: data.to_vec().into() })
        .collect();
    let mut replays = ReplaysClient::new(channel.clone());
    replays.verify(tokio_stream::iter(pieces)).await.expect("an answer").into_inner()
}

async fn channel_to(server: &Running) -> Channel {
    Channel::from_shared(server.url()).expect("an address").connect().await.expect("connected")
}

/// Both a public room's and a private one's; asked for at the edge and at each server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_played_is_fetched_and_watched_through_the_edge_wherever_it_is_kept() {
    let Some(nats) = Nats::start() else { return };
    let fleet = Fleet::at_nats(&nats.url(), &[&["--room-ttl", "1s"][..]; 2]).await;
    let Some(gate) = Gate::before(&fleet.addresses(), |_| ()).await else { return };
    // Until each server has one of a public room and one of a private one.
    let mut kept: BTreeMap<(usize, bool), Past> = BTreeMap::new();
    for _ in 0..ROUNDS_MAX {
        let rooms = (0..ROOMS).map(|number| played(&fleet, gate.grpc(), number % 2 == 1));
        for past in join_all(rooms).await {
            over(&fleet, &past).await;
            kept.insert((past.owner, !past.code.is_empty()), past);
        }
        if kept.len() == 4 {
            break;
        }
    }
    assert_eq!(kept.len(), 4, "of each kind on each server");
    let channel = gate.channel().await;
    for past in kept.values() {
        let owner = &fleet.servers[past.owner];
        let ways =
            [gate.grpc(), (*fleet.servers[0].grpc()).clone(), (*fleet.servers[1].grpc()).clone()];
        let mut ticket = String::new();
        for (at, way) in ways.iter().enumerate() {
            let seat = way.join(looks_at(&past.name)).await.expect("a ticket");
            let claims = read(&seat.ticket);
            assert_eq!((&claims["room"], &claims["sub"]), (&past.name.as_str().into(), &"".into()));
            assert_eq!(route_of(&seat.ticket), owner.players.to_string(), "way {at}");
            ticket = seat.ticket;
        }
        let bytes = download(&channel, &ticket, past).await.expect("the recording");
        let own = channel_to(owner).await;
        assert_eq!(bytes, download(&own, "", past).await.expect("the same at its server"));
        let (server, last_tick) = watch(&channel, &ticket, past).await.expect("shown");
        let verdict = verified(&channel, &bytes).await;
        assert_eq!(verdict.verdict(), Verdict::Same, "{verdict:?}");
        assert!(verdict.hashes_compared > 0 && !verdict.incomplete, "{verdict:?}");
        assert_eq!((server, last_tick), (owner.name.clone(), verdict.last_tick));

        // Nobody else has it; without a ticket nobody is asked; and a private room's needs its code.
        let other = channel_to(&fleet.servers[1 - past.owner]).await;
        let nowhere = download(&other, "", past).await.expect_err("it is not there");
        assert_eq!(nowhere.code(), Code::NotFound, "{nowhere}");
        let ticketless = download(&channel, "", past).await.expect_err("the edge wants a ticket");
        assert_eq!(ticketless.code(), Code::Unauthenticated, "{ticketless}");
        if !past.code.is_empty() {
            let nosy = Past { name: past.name.clone(), code: String::new(), owner: past.owner };
            let hidden = download(&channel, &ticket, &nosy).await.expect_err("no code");
            assert_eq!(hidden.code(), Code::NotFound, "{hidden}");
            let hidden = watch(&channel, &ticket, &nosy).await.expect_err("no code");
            assert_eq!(hidden.code(), Code::NotFound, "{hidden}");
        }
    }
    // The program does all of it by itself.
    for past in kept.values() {
        let mut program = Command::new(env!("CARGO_BIN_EXE_fray-bot"));
        program.args(["replay", &gate.url, "--recording", &past.name, "--ca"]).arg(&gate.authority);
        if !past.code.is_empty() {
            program.args(["--code", &past.code]);
        }
        let ran = tokio::task::spawn_blocking(move || program.output()).await;
        let ran = ran.expect("no panic").expect("it runs");
        let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        assert!(ran.status.success() && said.contains("SAME"), "{said}");
    }
    let unknown = gate.grpc().join(looks_at("nosuchrecording")).await.expect_err("there is none");
    assert_eq!((unknown.code, unknown.reason.as_str()), (Code::NotFound, "ROOM_NOT_FOUND"));
    fleet.stop().await;
}
