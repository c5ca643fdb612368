//! Goal: with a store that all servers share, rooms of a server that is killed, or that ends as the last one, play on: their
//! players are who they were, and are told since when something is missing. Method: servers that are processes of their own, and a
//! real NATS; the bots' own ledgers and replicas compare all that they are told.

use super::moving::{Routed as _, acknowledged, plays};
use super::nats::Nats;
use super::server_process::{Folder, ServerProcess};
use super::servers::write_keys;
use super::{PATIENCE, create, joins};
use fray_bot::client::transport::{GrpcServer, Server as _};
use fray_bot::client::{Event, Options, Player};
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::{self, JoinRequest};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

/// One with each update.
const MOVES: u32 = 40;

fn door(address: SocketAddr) -> Arc<GrpcServer> {
    Arc::new(GrpcServer::at(&format!("http://{address}")).expect("an address"))
}

fn flags(keys: &[String; 4], nats: &Nats) -> Vec<String> {
    let more = ["--nats", &nats.url(), "--store-nats"].map(str::to_owned);
    keys.iter().cloned().chain(more).collect()
}

async fn start(folder: &Folder, name: &str, flags: &[String]) -> ServerProcess {
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    ServerProcess::start(&folder.0, name, &flags).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_a_killed_server_play_on_with_players_who_are_told_since_when() {
    let Some(nats) = Nats::start() else { return };
    let folder = Folder::new();
    let flags = flags(&write_keys(&folder.0), &nats);
    let mut servers = Vec::new();
    for name in ["one", "two", "three"] {
        servers.push(start(&folder, name, &flags).await);
    }
    let made = door(servers[0].players).join(create("Survives", false)).await.expect("a seat");
    let route = made.route_of();
    let owner = servers.iter().position(|server| server.players.to_string() == route);
    let owner = owner.expect("one of them");
    let stays = (owner + 1) % servers.len();
    let mut players = Vec::new();
    for _ in 0..4 {
        let way = door(servers[stays].players);
        players.push(Player::join(way, joins(&made), Options::default()).await.expect("a stream"));
    }
    for player in &mut players {
        plays(player, 60, |_, _| {}).await;
    }
    servers[owner].kill();
    let killed = Instant::now();
    for player in &mut players {
        let before = player.session().welcome().expect("welcomed").clone();
        let mut age_ms = None;
        let goes_on = plays(player, 60, |player, event| {
            if matches!(event, Event::Welcomed { .. }) {
                let welcome = player.session().welcome().expect("welcomed");
                assert!(welcome.resumed && welcome.epoch == 2, "{welcome:?}");
                assert_eq!((welcome.player, welcome.entity), (before.player, before.entity));
                assert_eq!(welcome.player_id, before.player_id);
                assert_ne!(welcome.server, before.server);
                age_ms = welcome.restored_age_ms;
                let after_ms = killed.elapsed().as_millis();
                println!(
                    "player {}: plays again {after_ms} ms after the kill, set back by {age_ms:?} ms",
                    welcome.player
                );
            }
        });
        goes_on.await;
        let age_ms = age_ms.expect("it is told since when");
        assert!(Duration::from_millis(age_ms) < PATIENCE);
        acknowledged(player).await;
        let counters = player.session_mut().take_counters();
        assert!(!counters.has_faults(), "{counters:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_the_last_server_waits_for_the_next_one_and_nothing_is_missing() {
    let Some(nats) = Nats::start() else { return };
    let folder = Folder::new();
    let flags = flags(&write_keys(&folder.0), &nats);
    let last = start(&folder, "last", &flags).await;
    let way = door(last.players);
    let mut player =
        Player::join(way, create("Waits", false), Options::default()).await.expect("a stream");
    plays(&mut player, MOVES as usize, |_, _| {}).await;
    acknowledged(&mut player).await;
    let welcome = player.session().welcome().expect("welcomed").clone();
    let resume_token = player.session().resume_token().to_owned();
    last.stop().await;
    drop(player);

    let next = start(&folder, "next", &flags).await;
    let begun = Instant::now();
    let way = door(next.players);
    let rejoin = JoinRequest { resume_token: resume_token.clone(), ..JoinRequest::default() };
    let seat = loop {
        match way.join(rejoin.clone()).await {
            Ok(seat) => break seat,
            Err(refused) => {
                assert!(begun.elapsed() < PATIENCE, "{refused}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    println!("in its seat again after {:?}", begun.elapsed());
    assert_eq!(seat.player_id, welcome.player_id);
    let hello = v1::Hello { protocol_version: 1, resume_token, ..v1::Hello::default() };
    let hello = v1::PlayRequest { message: Some(v1::play_request::Message::Hello(hello)) };
    let channel = Channel::from_shared(format!("http://{}", next.players)).expect("an address");
    let mut play = PlayClient::new(channel.connect_lazy());
    let stream = play.play(tokio_stream::once(hello).chain(tokio_stream::pending())).await;
    let first = stream.expect("a stream").into_inner().message().await.expect("an answer");
    let Some(v1::play_response::Message::Welcome(again)) = first.and_then(|first| first.message)
    else {
        panic!("no welcome")
    };
    assert!(again.resumed && again.restored_age_ms.is_none(), "{again:?}");
    assert_eq!((again.player, again.entity), (welcome.player, welcome.entity));
    assert_eq!(again.epoch, welcome.epoch + 1);
    // All that was acknowledged is there.
    assert_eq!(again.last_applied_sequence, MOVES);
}
