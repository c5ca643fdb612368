//! Real servers behind the edge, and real players before it.

use crate::envoy::{Edge, PATIENCE, values};
use crate::gate::with_ticket;
use crate::http::Client;
use crate::servers::{Fleet, Running};
use fray_bot::client::transport::{GrpcServer, Server, WebSocketServer};
use fray_bot::client::{Controls, Event, Options, Player};
use fray_proto::v1::join_request::Room;
use fray_proto::v1::lobby_client::LobbyClient;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::{CreateRoom, JoinRequest, WatchRequest, WatchRoomsRequest};
use fray_server::telemetry::metrics::labels::Door;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

/// How long everybody is left alone: longer than Envoy's own limit of 15 s for an answer.
const ALONE: Duration = Duration::from_secs(20);

fn room(number: usize) -> JoinRequest {
    let create = CreateRoom { name: format!("Room {number}"), private: false, capacity: 0 };
    JoinRequest { room: Some(Room::Create(create)), ..JoinRequest::default() }
}

/// Streams that it carried on though a ticket led them; a page's events need none, and may come to any server.
pub fn by_ticket_relayed(server: &Running) -> u64 {
    let doors = ["grpc", "websocket", "watch"].map(|door| Door { door });
    let relayed = &server.telemetry.metrics.relayed;
    doors.iter().map(|door| relayed.get_or_create(door).get()).sum()
}

/// Waits until the player's moves are acknowledged, and says how often it was welcomed meanwhile.
async fn plays(player: &mut Player) -> usize {
    player.steer(Controls { axis_x: 100, ..Controls::default() }).expect("room for it");
    let mut welcomes = 0;
    while player.session().unacknowledged() > 0 {
        let event = timeout(PATIENCE, player.next()).await.expect("in time");
        let event = event.expect("the session lives").expect("it goes on");
        welcomes += usize::from(matches!(event, Event::Welcomed { .. }));
    }
    welcomes
}

/// The server's own keys, found by asking; tickets of `Join`; both doors; and nobody's stream at a wrong server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_are_where_their_rooms_are_and_stay_there_for_20_s_without_a_word() {
    let fleet = Fleet::of(3, &[]).await;
    let addresses: Vec<_> = fleet.servers.iter().map(|server| server.players).collect();
    let Some(edge) = Edge::start(&values(&addresses, "")).await else { return };
    edge.healthy("servers", 3).await;
    edge.healthy("lobby-v1", 3).await;
    let url = format!("http://{}", edge.address);
    let grpc = GrpcServer::at(&url).expect("an address");
    let websocket = WebSocketServer::new(&url, grpc.clone()).expect("an address");
    let doors: [Arc<dyn Server>; 2] = [Arc::new(grpc), Arc::new(websocket)];

    let mut players = Vec::new();
    for number in 0..12 {
        let door = Arc::clone(&doors[number % 2]);
        players.push(Player::join(door, room(number), Options::default()).await.expect("a stream"));
    }
    let of = |player: &Player| player.session().welcome().expect("welcomed").server.clone();
    let servers: BTreeSet<_> = players.iter().map(of).collect();
    assert!(servers.len() > 1, "the rooms are on several servers: {servers:?}");
    join_all(players.iter_mut().map(plays)).await;

    let endpoint = Endpoint::from_shared(url).expect("an address");
    let channel = endpoint.connect().await.expect("connected");
    let rooms = LobbyClient::new(channel.clone()).watch_rooms(WatchRoomsRequest {}).await;
    let mut rooms = rooms.expect("a stream").into_inner();
    rooms.message().await.expect("the rooms").expect("the rooms");
    let seat = players[0].seat().expect("it has one").clone();
    let room_id = seat.room.expect("a room").room_id;
    let mut page = Client::connect(edge.address).await;
    let mut events = page.open(&format!("/rooms/{room_id}/events"), &[]).await;
    let first = events.chunk().await;
    assert_eq!(events.headers["content-type"], "text/event-stream", "{first:?}");
    let request = WatchRequest { room_id, ..WatchRequest::default() };
    let request = with_ticket(&seat.ticket, request);
    let mut watched = PlayClient::new(channel).watch(request).await.expect("a stream").into_inner();

    // Everybody listens, as clients do, and does nothing.
    let listened = join_all(players.iter_mut().map(async |player: &mut Player| {
        let _ = timeout(ALONE, async {
            loop {
                let event = player.next().await.expect("the session lives").expect("it goes on");
                assert!(!matches!(event, Event::Welcomed { .. }), "the stream was opened again");
            }
        })
        .await;
    }));
    let quiet = async {
        let _ = timeout(ALONE, async {
            while watched.message().await.expect("it goes on").is_some() {}
            panic!("the spectator's stream ended");
        })
        .await;
    };
    let ended = async {
        tokio::select! {
            () = sleep(ALONE) => {}
            () = async { while rooms.message().await.expect("it goes on").is_some() {} } => {
                panic!("the list of rooms ended");
            }
        }
    };
    let shown = async {
        let end = timeout(ALONE, events.end()).await;
        assert!(end.is_err(), "the page's events ended: {end:?}");
    };
    tokio::join!(listened, quiet, ended, shown);
    let welcomes: Vec<_> = join_all(players.iter_mut().map(plays)).await;
    assert_eq!(welcomes, [0; 12], "each on its one stream");

    // They drop, and come back as themselves.
    for player in &mut players {
        let before = player.session().welcome().expect("welcomed").clone();
        player.cut_off(Duration::ZERO);
        let returned = async {
            let is_back = |event: &Event| matches!(event, Event::Welcomed { .. });
            while !player.next().await.expect("it comes back").is_some_and(|e| is_back(&e)) {}
        };
        timeout(PATIENCE, returned).await.expect("it comes back in time");
        let after = player.session().welcome().expect("welcomed");
        assert!(after.resumed);
        assert_eq!((&after.player_id, &after.server), (&before.player_id, &before.server));
    }
    let relayed: Vec<u64> = fleet.servers.iter().map(by_ticket_relayed).collect();
    assert_eq!(relayed, [0; 3], "no server was asked for another's room");
    drop(players);
    fleet.stop().await;
}
