//! Goal: rooms of a server that ends play on at others: their players go with them, and of their moves none is lost, doubled
//! or changed. Method: servers of one fleet, of which one ends while bots play on it; the bots' own ledgers and replicas compare all that
//! they are told.

use super::forget::told;
use super::servers::{Fleet, Running};
use super::{PATIENCE, create, joins, seat};
use fray_bot::client::{Controls, Event, Options, Player};
use fray_proto::v1;
use std::time::Duration;
use tokio::time::timeout;

/// Players of the room that moves.
const PLAYERS: usize = 4;
/// Updates before and after, for each of them.
const UPDATES: usize = 40;

/// One that steers with every update.
pub async fn plays(player: &mut Player, updates: usize, mut each: impl FnMut(&Player, &Event)) {
    let mut seen = 0;
    let played = timeout(PATIENCE, async {
        while seen < updates {
            let event = player.next().await.expect("nothing is violated").expect("it goes on");
            each(player, &event);
            if matches!(event, Event::Updated(_)) {
                seen += 1;
                let axis_x = i32::try_from(seen % 200).expect("small") - 100;
                let controls = Controls { axis_x, axis_y: 127, ..Controls::default() };
                // A stream that is gone takes none; the next one does.
                let _ = player.steer(controls);
            }
        }
    });
    played.await.expect("in time");
}

pub async fn acknowledged(player: &mut Player) {
    let done = timeout(PATIENCE, async {
        while player.session().unacknowledged() > 0 {
            player.next().await.expect("nothing is violated").expect("it goes on");
        }
    });
    done.await.expect("every move is acknowledged");
}

struct Before {
    welcome: v1::Welcome,
    tick: u32,
}

async fn room_of(fleet: &Fleet, name: &str, private: bool) -> (usize, v1::JoinResponse) {
    let made = seat(&fleet.servers[0], create(name, private)).await;
    let route = made.route_of();
    let owner = fleet.servers.iter().position(|server| server.players.to_string() == route);
    (owner.expect("one of them"), made)
}

pub trait Routed {
    fn route_of(&self) -> String;
}

impl Routed for v1::JoinResponse {
    /// What the ticket says.
    fn route_of(&self) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let claims = self.ticket.split('.').nth(1).expect("a JWT");
        let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
        let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
        let route = STANDARD.decode(claims["route"].as_str().expect("a route")).expect("base64");
        String::from_utf8(route).expect("an address")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_a_server_that_ends_play_on_at_another() {
    let mut fleet = Fleet::of(3, &[]).await;
    let (owner, made) = room_of(&fleet, "Moves", false).await;
    // They come in by another server's port, which stays.
    let door = (owner + 1) % fleet.servers.len();
    let mut players = Vec::new();
    for _ in 0..PLAYERS {
        let server = fleet.servers[door].grpc();
        let player = Player::join(server, joins(&made), Options::default()).await;
        players.push(player.expect("a stream"));
    }
    let mut before = Vec::new();
    for player in &mut players {
        plays(player, UPDATES, |_, _| {}).await;
        let welcome = player.session().welcome().expect("welcomed").clone();
        let tick = player.session().replica().expect("it plays").tick();
        before.push(Before { welcome, tick });
    }
    fleet.end(owner);
    for (player, before) in players.iter_mut().zip(&before) {
        let mut moved = false;
        let goes_on = plays(player, 3 * UPDATES, |player, event| {
            if matches!(event, Event::Welcomed { .. }) {
                let welcome = player.session().welcome().expect("welcomed");
                assert!(welcome.resumed && welcome.restored_age_ms.is_none(), "{welcome:?}");
                assert_eq!(welcome.epoch, before.welcome.epoch + 1);
                assert!(welcome.first_tick > before.tick - UPDATES as u32);
                assert_eq!(welcome.player, before.welcome.player);
                assert_eq!(welcome.player_id, before.welcome.player_id);
                assert_eq!(welcome.entity, before.welcome.entity);
                moved = true;
            }
        });
        goes_on.await;
        assert!(moved, "it was sent to another server");
        acknowledged(player).await;
        let counters = player.session_mut().take_counters();
        assert!(!counters.has_faults(), "{counters:?}");
    }
    let arrived = |server: &Running| server.telemetry.metrics.moving.arrived.get();
    let arrived: u64 = fleet.servers.iter().map(arrived).sum();
    assert_eq!(arrived, 1);
    drop(players);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_room_stays_private_and_keeps_its_code() {
    let mut fleet = Fleet::of(2, &[]).await;
    let (owner, made) = room_of(&fleet, "Secret", true).await;
    let code = made.room.as_ref().expect("a room").code.clone();
    let by_code = || v1::JoinRequest {
        room: Some(v1::join_request::Room::Code(code.clone())),
        ..v1::JoinRequest::default()
    };
    let door = 1 - owner;
    let server = fleet.servers[door].grpc();
    let mut player = Player::join(server, by_code(), Options::default()).await.expect("a stream");
    plays(&mut player, 5, |_, _| {}).await;
    fleet.end(owner);
    let mut moved = false;
    while !moved {
        plays(&mut player, 5, |_, event| moved |= matches!(event, Event::Welcomed { .. })).await;
    }
    let again = seat(&fleet.servers[door], by_code()).await;
    let room = again.room.expect("a room");
    assert_eq!((room.code, room.private), (code, true));
    let listed =
        fleet.servers[door].lobby().await.list_rooms(v1::ListRoomsRequest::default()).await;
    assert!(listed.expect("a list").into_inner().rooms.is_empty());
    drop(player);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_end_at_once_give_their_rooms_to_the_third() {
    let mut fleet = Fleet::of(3, &[]).await;
    let mut players = Vec::new();
    let mut owners = Vec::new();
    for number in 0..9 {
        let (owner, made) = room_of(&fleet, &format!("Room {number}"), false).await;
        owners.push(owner);
        let server = fleet.servers[2].grpc();
        let player = Player::join(server, joins(&made), Options::default()).await;
        players.push(player.expect("a stream"));
    }
    for player in &mut players {
        plays(player, 5, |_, _| {}).await;
    }
    fleet.end(0);
    fleet.end(1);
    for (player, owner) in players.iter_mut().zip(&owners) {
        let epoch = |player: &Player| player.session().welcome().expect("welcomed").epoch;
        let mut updates = 0;
        // However often it moves on the way.
        while (*owner != 2 && epoch(player) == 1) || updates < 20 {
            plays(player, 1, |_, _| {}).await;
            updates += 1;
        }
        acknowledged(player).await;
        assert_eq!(player.session_mut().take_counters().desyncs, 0);
    }
    drop(players);
    timeout(Duration::from_secs(30), fleet.stop()).await.expect("they end");
}

/// The operator says so; nothing ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_goes_to_the_server_that_an_operator_names() {
    let fleet = Fleet::of(2, &[]).await;
    let (owner, made) = room_of(&fleet, "Named", false).await;
    let room = made.room.as_ref().expect("a room").room_id.clone();
    let server = fleet.servers[owner].grpc();
    let mut player = Player::join(server, joins(&made), Options::default()).await.expect("joined");
    plays(&mut player, UPDATES, |_, _| {}).await;
    let to = format!("server-{}", 1 - owner);
    let said = told(&fleet.servers[owner], &["rebalance", &room, "--to", &to]).await;
    let text = String::from_utf8_lossy(&said.stdout);
    assert_eq!(text, format!("{room} (2 players) plays on {to} now\n"), "{said:?}");
    let mut has_moved = false;
    while !has_moved {
        plays(&mut player, 5, |_, event| has_moved |= matches!(event, Event::Welcomed { .. }))
            .await;
    }
    acknowledged(&mut player).await;
    let counters = player.session_mut().take_counters();
    assert!(!counters.has_faults(), "{counters:?}");
    assert_eq!(fleet.servers[1 - owner].telemetry.metrics.moving.arrived.get(), 1);
    // All of it, back again.
    let said = told(&fleet.servers[1 - owner], &["rebalance", "--all", "--json"]).await;
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(said["rooms"][0]["server"], format!("server-{owner}"), "{said}");
    drop(player);
    fleet.stop().await;
}
