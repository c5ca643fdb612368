//! Goal: any server of a fleet is a good one: a player gets to the room wherever it is. Method: several servers in this
//! process share a directory in memory, or a real NATS with what they record; real clients over loopback.

#![allow(unreachable_pub, missing_docs, reason = "nobody but this test uses its modules")]

#[path = "../../../server/tests/support/certificates.rs"]
mod certificates;
mod chatty;
#[path = "../../../server/tests/support/flags.rs"]
mod flags;
mod forget;
mod moving;
#[path = "../../../server/tests/support/nats.rs"]
mod nats;
#[path = "../programs/mod.rs"]
mod programs;
mod recordings;
mod restored;
mod secrecy;
#[path = "../server_process/mod.rs"]
mod server_process;
#[allow(dead_code, reason = "each test uses its own part of it")]
mod servers;
mod slow;

use fray_bot::client::{Controls, Event, Options, Player};
use fray_proto::v1::join_request::Room;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::{self, CreateRoom, JoinRequest, ListRoomsRequest};
use servers::{Fleet, Running};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Code;
use tonic_types::StatusExt as _;

/// Not a test: a server of the fleet, which tests start.
#[test]
#[ignore = "a process that tests start"]
fn a_server_of_the_fleet() {
    server_process::serve();
}

/// Ends a test that hangs; nothing is measured.
const PATIENCE: Duration = Duration::from_secs(60);

fn create(name: &str, private: bool) -> JoinRequest {
    let create = CreateRoom { name: name.into(), private, capacity: 0 };
    JoinRequest {
        request_id: format!("{:032x}", rand::random::<u128>()),
        room: Some(Room::Create(create)),
        ..JoinRequest::default()
    }
}

/// Where a room is, by who lists it as its own.
async fn seat(server: &Running, request: JoinRequest) -> v1::JoinResponse {
    server.lobby().await.join(request).await.expect("a seat").into_inner()
}

async fn until(player: &mut Player, what: &str, mut holds: impl FnMut(&Player, &Event) -> bool) {
    let waited = timeout(PATIENCE, async {
        loop {
            let event = player.next().await.expect("the session lives").expect("it goes on");
            if holds(player, &event) {
                return;
            }
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

fn joins(room: &v1::JoinResponse) -> JoinRequest {
    let id = room.room.as_ref().expect("a room").room_id.clone();
    JoinRequest { room: Some(Room::RoomId(id)), ..JoinRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_gets_to_the_room_through_any_server() {
    let fleet = Fleet::of(3, &[]).await;
    let made = seat(&fleet.servers[0], create("Far", false)).await;
    let mut names = BTreeSet::new();
    for server in &fleet.servers {
        let mut player =
            Player::join(server.grpc(), joins(&made), Options::default()).await.expect("a stream");
        let welcome = player.session().welcome().expect("welcomed").clone();
        names.insert(welcome.server.clone());
        player.steer(Controls { axis_x: 100, axis_y: 127, ..Controls::default() }).expect("open");
        until(&mut player, "the move", |player, _| player.session().unacknowledged() == 0).await;
        // It drops, and comes back as itself.
        player.cut_off(Duration::ZERO);
        until(&mut player, "the stream", |_, event| matches!(event, Event::Welcomed { .. })).await;
        let again = player.session().welcome().expect("welcomed");
        assert!(again.resumed);
        assert_eq!((again.player, &again.player_id), (welcome.player, &welcome.player_id));
        until(&mut player, "updates", |_, event| matches!(event, Event::Updated { .. })).await;
        player.leave();
        timeout(PATIENCE, async { while player.next().await.expect("it leaves").is_some() {} })
            .await
            .expect("it leaves in time");
    }
    assert_eq!(names.len(), 1, "one server has the room: {names:?}");
    let relayed: Vec<_> = fleet.servers.iter().map(Running::relayed).collect();
    assert_eq!(relayed.iter().filter(|&&count| count == 0).count(), 1, "{relayed:?}");
    assert_eq!(relayed.iter().sum::<u64>(), 4, "two streams each of two players: {relayed:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_relays_a_stream_is_told_where_it_is_wrong() {
    let fleet = Fleet::of(2, &["--relay", "false"]).await;
    let made = seat(&fleet.servers[0], create("Far", false)).await;
    let room = made.room.clone().expect("a room").room_id;
    let mut refused = 0;
    for server in &fleet.servers {
        let hello =
            v1::Hello { protocol_version: 1, ticket: made.ticket.clone(), ..v1::Hello::default() };
        let hello = v1::PlayRequest { message: Some(v1::play_request::Message::Hello(hello)) };
        let mut play = PlayClient::connect(server.url()).await.expect("a connection");
        let hello =
            tokio_stream::StreamExt::chain(tokio_stream::once(hello), tokio_stream::pending());
        let stream = play.play(hello).await.expect("a stream");
        let first = stream.into_inner().message().await;
        if let Err(status) = first {
            refused += 1;
            assert_eq!(status.code(), Code::FailedPrecondition);
            let info = status.get_details_error_info().expect("details");
            assert_eq!((info.reason.as_str(), &info.metadata["room"]), ("WRONG_SERVER", &room));
        }
    }
    assert_eq!(refused, 1);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_all_servers_are_found_everywhere() {
    let fleet = Fleet::of(3, &[]).await;
    let mut made = BTreeSet::new();
    for server in &fleet.servers {
        for _ in 0..4 {
            let seat = seat(server, create("Open", false)).await;
            made.insert(seat.room.expect("a room").room_id);
        }
    }
    let hidden = seat(&fleet.servers[0], create("Den", true)).await.room.expect("a room");
    for server in &fleet.servers {
        let mut lobby = server.lobby().await;
        let listed = lobby.list_rooms(ListRoomsRequest::default()).await.expect("a list");
        let listed: BTreeSet<_> =
            listed.into_inner().rooms.into_iter().map(|room| room.room_id).collect();
        assert_eq!(listed, made);
        let by_code =
            JoinRequest { room: Some(Room::Code(hidden.code.clone())), ..JoinRequest::default() };
        let found = seat(server, by_code).await.room.expect("a room");
        assert_eq!((found.room_id, found.code), (hidden.room_id.clone(), hidden.code.clone()));
        let by_id = Room::RoomId(hidden.room_id.clone());
        let by_id = JoinRequest { room: Some(by_id), ..JoinRequest::default() };
        assert_eq!(lobby.join(by_id).await.expect_err("hidden").code(), Code::NotFound);
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_elsewhere_makes_one_room_and_one_player() {
    let fleet = Fleet::of(3, &[]).await;
    for _ in 0..10 {
        let request = create("Once", false);
        let repeated = fleet.servers.iter().map(|server| seat(server, request.clone()));
        let seats = futures_util::future::join_all(repeated).await;
        let rooms: BTreeSet<_> =
            seats.iter().map(|seat| seat.room.clone().expect("a room").room_id).collect();
        let players: BTreeSet<_> = seats.iter().map(|seat| seat.player_id.clone()).collect();
        assert_eq!((rooms.len(), players.len()), (1, 1), "{rooms:?} {players:?}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spectators_see_rooms_of_other_servers() {
    let fleet = Fleet::of(2, &[]).await;
    let made = seat(&fleet.servers[0], create("Seen", false)).await;
    let room_id = made.room.expect("a room").room_id;
    for server in &fleet.servers {
        let request = v1::WatchRequest { room_id: room_id.clone(), ..v1::WatchRequest::default() };
        let mut play = PlayClient::connect(server.url()).await.expect("a connection");
        let mut watched = play.watch(request).await.expect("a stream").into_inner();
        let mut updates = 0;
        while updates < 3 {
            let message = timeout(PATIENCE, watched.message()).await.expect("in time");
            let message = message.expect("it goes on").expect("it goes on").message;
            updates += u32::from(matches!(message, Some(v1::watch_response::Message::Update(_))));
        }
        // And what was played there, once some of it is in the store.
        let recorded = timeout(PATIENCE, async {
            loop {
                let recording = room_id.clone();
                let request = v1::WatchRequest { recording, ..v1::WatchRequest::default() };
                let mut watched = play.watch(request).await.expect("a stream").into_inner();
                match watched.message().await {
                    Ok(first) => return first,
                    Err(status) => assert_eq!(status.code(), Code::NotFound),
                }
            }
        });
        assert!(recorded.await.expect("in time").is_some());
        let spectator = JoinRequest {
            spectate: true,
            room: Some(Room::RoomId(room_id.clone())),
            ..JoinRequest::default()
        };
        let seat = seat(server, spectator).await;
        assert!(seat.player_id.is_empty() && !seat.ticket.is_empty());
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_look_on_see_rooms_of_other_servers() {
    let fleet = Fleet::of(2, &[]).await;
    let made = seat(&fleet.servers[0], create("Shown", false)).await;
    let room_id = made.room.expect("a room").room_id;
    for server in &fleet.servers {
        let path = format!("/rooms/{room_id}/events");
        let told = timeout(PATIENCE, events(server, &path, "event: scoreboard"));
        let told = told.await.expect("in time");
        assert!(told.contains("200 OK") && told.contains("event: room"), "{told}");
        let gone = timeout(PATIENCE, events(server, "/rooms/nosuchroom/events", "ROOM_NOT_FOUND"));
        assert!(gone.await.expect("in time").contains("404"), "no such room");
    }
    let relayed: u64 = fleet.servers.iter().map(Running::relayed).sum();
    assert_eq!(relayed, 1, "one of the two has the room");
    fleet.stop().await;
}

/// What a server says to `GET path`, up to where `end` comes.
async fn events(server: &Running, path: &str, end: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(server.players).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.players);
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains(end) {
        let read = stream.read_buf(&mut told).await.expect("it goes on");
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&told));
    }
    String::from_utf8_lossy(&told).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_comes_in_by_the_servers_own_door() {
    let fleet = Fleet::of(2, &[]).await;
    let url = format!("http://{}", fleet.servers[0].peers);
    let mut peer = v1::peer_client::PeerClient::connect(url.clone()).await.expect("a connection");
    let made = seat(&fleet.servers[1], create("Any", false)).await;
    for token in ["", "nonsense", &made.ticket] {
        let mut request = tonic::Request::new(v1::ProbeRequest::default());
        if !token.is_empty() {
            request.metadata_mut().insert("x-fray-peer", token.parse().expect("a header"));
        }
        let refused = peer.probe(request).await.expect_err("refused");
        assert_eq!(refused.code(), Code::Unauthenticated, "{token}");
        let info = refused.get_details_error_info().expect("details");
        assert_eq!(info.reason, "PEER_TOKEN_INVALID");
    }
    let mut lobby = v1::lobby_client::LobbyClient::connect(url).await.expect("a connection");
    let refused = lobby.join(create("Any", false)).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    fleet.stop().await;
}
