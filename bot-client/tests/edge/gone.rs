//! Tickets and sessions of a server that was killed.

use crate::envoy::PATIENCE;
use crate::gate::{Gate, asks, doors_of, moves, new_room, opened, route_of, with_ticket};
use crate::nats::Nats;
use crate::server_process::{Folder, ServerProcess};
use crate::servers::write_keys;
use fray_bot::client::transport::Server;
use fray_bot::client::{Ended, Options, Player};
use fray_proto::v1::join_request::Room;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::replays_client::ReplaysClient;
use fray_proto::v1::{DownloadRequest, JoinRequest, WatchRequest};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// What a refusal says.
fn said(refused: &Ended) -> (Code, &str) {
    (refused.code, &refused.reason)
}

const UNREACHABLE: (Code, &str) = (Code::Unavailable, "OWNER_UNREACHABLE");
const WRONG_SERVER: (Code, &str) = (Code::FailedPrecondition, "WRONG_SERVER");
/// Of the edge itself: it has not heard of the end, and tried nobody else.
const OF_THE_EDGE: (Code, &str) = (Code::Unavailable, "");
const LOST: (Code, &str) = (Code::NotFound, "ROOM_LOST");

/// Asks again and again until the answer is that the room is lost; until then it is one of `before`, and nothing else.
async fn until_lost(who: &str, before: &[(Code, &str)], ask: impl AsyncFn() -> Ended) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let refused = ask().await;
        if said(&refused) == LOST {
            // And so it stays.
            assert_eq!(said(&ask().await), LOST, "{who}");
            return;
        }
        assert!(before.contains(&said(&refused)), "{who}: {refused}");
        assert!(Instant::now() < deadline, "{who}: nobody ever says that the room is lost");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Streams that only look, with a ticket, at the edge.
async fn looks(channel: &Channel, ticket: &str, room: &str) -> [Status; 2] {
    let watch = WatchRequest { room_id: room.into(), ..WatchRequest::default() };
    let watched = PlayClient::new(channel.clone()).watch(with_ticket(ticket, watch)).await;
    let download = DownloadRequest { name: room.into(), ..DownloadRequest::default() };
    let fetched = ReplaysClient::new(channel.clone()).download(with_ticket(ticket, download)).await;
    [watched.expect_err("nobody is there"), fetched.expect_err("nobody is there")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_servers_tickets_open_nothing_and_its_players_are_told_that_their_room_is_lost() {
    let Some(nats) = Nats::start() else { return };
    let nats_url = nats.url();
    let folder = Folder::new();
    let keys = write_keys(&folder.0);
    let mut flags: Vec<&str> = keys.iter().map(String::as_str).collect();
    flags.extend(["--nats", &nats_url]);
    let [dies, relays, refuses] = [("dies", "true"), ("relays", "true"), ("refuses", "false")];
    let start = async |(name, relay): (&str, &str)| {
        // Only one of them takes new rooms: so it is known who has the room.
        let rooms_max = if name == "dies" { "1000" } else { "0" };
        let own = ["--relay", relay, "--rooms-max", rooms_max];
        ServerProcess::start(&folder.0, name, &[&flags[..], &own].concat()).await
    };
    let mut dies = start(dies).await;
    let (relays, refuses) = (start(relays).await, start(refuses).await);
    let addresses = [dies.players, relays.players, refuses.players];
    let Some(gate) = Gate::before(&addresses, |_| ()).await else { return };
    let mut players = Vec::new();
    for door in gate.doors() {
        let joined = Player::join(door, new_room("Doomed", false), Options::default()).await;
        players.push(joined.expect("a seat"));
    }
    for player in &mut players {
        moves(player, 5).await;
        assert_eq!(player.session().welcome().expect("welcomed").server, dies.name);
    }
    let seat = players[0].seat().expect("a seat").clone();
    let (ticket, room) = (seat.ticket.as_str(), seat.room.expect("a room").room_id);
    assert_eq!(route_of(ticket), dies.players.to_string());
    let resume_token = players[0].session().resume_token().to_owned();
    let channel = gate.channel().await;

    dies.kill();
    let killed = Instant::now();
    // At the edge: nobody else gets them, whether or not it has heard of the end.
    for has_heard in [false, true] {
        if has_heard {
            gate.edge.healthy("servers", 2).await;
        }
        for door in gate.doors() {
            let refused = opened(door.as_ref(), ticket).await.expect_err("nobody is there");
            assert_eq!(said(&refused), OF_THE_EDGE, "{refused}");
        }
        for refused in looks(&channel, ticket, &room).await {
            assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        }
    }

    // Shown to another server: one that carries streams on cannot, one that does not says where it is wrong; and both say that the room
    // is lost as soon as that is known. The same for everybody who asks for the room.
    let edge = gate.grpc();
    let rejoin = || JoinRequest { resume_token: resume_token.clone(), ..JoinRequest::default() };
    let shown = async |server: &ServerProcess, before| {
        for door in doors_of(server.players) {
            let ask = async || opened(door.as_ref(), ticket).await.expect_err("the room is gone");
            until_lost(&server.name, &[before], ask).await;
        }
    };
    let asked = async |what: &str, request: &dyn Fn() -> JoinRequest| {
        let ask = async || edge.join(request()).await.expect_err("the room is gone");
        until_lost(what, &[UNREACHABLE, OF_THE_EDGE], ask).await;
    };
    let by_id = || asks(Room::RoomId(room.clone()));
    let told = async |player: &mut Player| loop {
        // Attempts that fail until then are events.
        match player.next().await {
            Ok(event) => assert!(event.is_some(), "it did not leave"),
            Err(ended) => return (ended, killed.elapsed()),
        }
    };
    let [by_grpc, by_websocket] = &mut players[..] else { panic!("two") };
    let ((), (), (), (), one, other) = tokio::join!(
        shown(&relays, UNREACHABLE),
        shown(&refuses, WRONG_SERVER),
        asked("who comes back", &rejoin),
        asked("who wants this room", &by_id),
        told(by_grpc),
        told(by_websocket),
    );
    for (ended, after) in [one, other] {
        assert_eq!(said(&ended), LOST, "{ended}");
        println!("a player is told after {:.1} s", after.as_secs_f64());
    }
    gate.edge.healthy("lobby-v1", 2).await;
    // The others are as good as ever, but take no rooms, as they were told.
    let none = edge.join(new_room("None", false)).await.expect_err("nobody takes it");
    assert_eq!(said(&none), (Code::ResourceExhausted, "ROOMS_EXHAUSTED"), "{none}");
}
