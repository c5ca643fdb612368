//! What lasts for longer than a minute, and a server that stands still: too long for every change.

use super::crowd::{Crowd, Guest};
use super::fault::{Fault, PATIENCE};
use super::processes::Server;
use super::relayed::{Relayed, total};
use super::stage::Stage;
use super::world::{Host, World};
use fray_bot::client::transport::GrpcServer;
use fray_bot::client::{Config, Options};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// For how long the directory is away: longer than it keeps anything by itself.
const AWAY: Duration = Duration::from_secs(75);
/// For how long two servers do not reach it, which the third does.
const SHORTLY_AWAY: Duration = Duration::from_secs(20);
/// For how long a server stands still: others may claim its rooms long before it wakes.
const ASLEEP: Duration = Duration::from_secs(20);

pub async fn whatever_lasts() {
    let Some(mut stage) = Stage::set().await else { return };
    nats_is_away(&mut stage).await;
    two_of_three_are_apart_from_nats_and_the_third(&stage).await;
    one_stands_still(&stage).await;
    stage.servers[1].ready().await;
    two_of_three_are_cut_off_from_nats(&stage).await;
    stage.all_was_one().await;
}

/// Everybody plays on; only new rooms wait.
async fn nats_is_away(stage: &mut Stage) {
    let relayed = Relayed::gather(&stage.servers, &stage.crowd).await;
    let claims = given_up(&stage.servers).await;
    let fault = Fault::begins("NATS is away for long");
    stage.nats.kill();
    let (from, newcomers) = (Instant::now(), stage.newcomers());
    sleep(AWAY).await;
    let until = Instant::now();
    stage.nats.start_again(false).await;
    fault.has_its_time().await;
    fault.nobody_notices(&stage.crowd);
    fault.nobody_notices(&relayed.crowd);
    newcomers.end().await.only_new_rooms_wait(fault.what, from, until);
    assert_eq!(given_up(&stage.servers).await, claims, "{}", fault.what);
    relayed.go_home().await;
}

/// They are a majority: they play on, and the third, which reaches NATS, leaves their rooms alone.
async fn two_of_three_are_apart_from_nats_and_the_third(stage: &Stage) {
    let relayed = Relayed::gather(&stage.servers, &stage.crowd).await;
    let claims = given_up(&stage.servers).await;
    let fault = Fault::begins("two of three servers are apart from NATS and the third for long");
    let affected = relayed.between(|entry, owner| (entry == 2) != (owner == 2));
    let newcomers = stage.newcomers();
    let [one, two, three] = [0, 1, 2].map(|number| stage.servers[number].host);
    let cuts = [(one, stage.nats.host), (two, stage.nats.host), (one, three), (two, three)];
    for (here, there) in cuts {
        World::cut(here, there);
    }
    fault.all_play_or_are_told(&relayed.crowd, &affected).await;
    sleep_until(fault.at + AWAY).await;
    for (here, there) in cuts {
        World::heal(here, there);
    }
    fault.has_its_time().await;
    fault.nobody_notices(&stage.crowd);
    fault.others_do_not_notice(&relayed.crowd, &affected);
    newcomers.end().await.all_get_in(fault.what, false);
    assert_eq!(given_up(&stage.servers).await, claims, "{}", fault.what);
    relayed.go_home().await;
}

/// The third tells them that it reaches NATS: so they must not play on, and nobody claims while most are silent.
async fn two_of_three_are_cut_off_from_nats(stage: &Stage) {
    let fault = Fault::begins("two of three servers are cut off from NATS only");
    let cut_off = &stage.servers[..2];
    let is_affected = |server: &str| cut_off.iter().any(|cut_off| cut_off.name == server);
    let affected = stage.crowd.where_server(is_affected);
    let cut = |cut: fn(Host, Host)| {
        for server in cut_off {
            cut(server.host, stage.nats.host);
        }
    };
    cut(World::cut);
    let heals = async {
        sleep(SHORTLY_AWAY).await;
        println!("{}: it is over", fault.what);
        cut(World::heal);
    };
    tokio::join!(heals, fault.all_play_or_are_told(&stage.crowd, &affected));
    fault.has_its_time().await;
    fault.others_do_not_notice(&stage.crowd, &affected);
}

/// Rooms that a server claimed, and rooms that one had to end.
async fn given_up(servers: &[Server]) -> (f64, f64) {
    let claims = total(servers, "fray_directory_claims_total").await;
    (claims, total(servers, "fray_directory_rooms_disowned_total").await)
}

/// Its players are told, or play elsewhere; once it wakes, nothing of those rooms comes out of it.
async fn one_stands_still(stage: &Stage) {
    let server = &stage.servers[1];
    let rooms: Vec<_> = rooms_of(&stage.crowd, &server.name);
    let steadfast = steadfast(server, &rooms, &stage.crowd);
    steadfast.until("they play", PATIENCE, |diary| diary.updates.len() > 20).await;

    let fault = Fault::begins("one server stands still, and wakes");
    let affected = fault.players_of(&stage.crowd, &server.name);
    let claims = given_up(&stage.servers).await;
    server.stop();
    let (stopped, newcomers) = (Instant::now(), stage.newcomers());
    let settled = fault.all_play_or_are_told(&stage.crowd, &affected);
    let wakes = async {
        sleep(ASLEEP).await;
        let newest: BTreeMap<_, _> =
            rooms.iter().map(|room| (room, stage.crowd.oracle.newest(room))).collect();
        server.wake();
        println!("{}: it wakes after {:.1} s", fault.what, stopped.elapsed().as_secs_f64());
        newest
    };
    let ((), newest) = tokio::join!(settled, wakes);
    let all: Vec<_> = (0..rooms.len()).collect();
    fault.all_play_or_are_told(&steadfast, &all).await;
    fault.has_its_time().await;
    fault.others_do_not_notice(&stage.crowd, &affected);
    let mut went_on = 0;
    for (room, newest) in newest {
        let (newest, now) = (newest.expect("seen"), stage.crowd.oracle.newest(room).expect("seen"));
        assert!(now <= newest + 1, "{}: {room} went on from {newest} to {now}", fault.what);
        went_on += now - newest;
    }
    // A tick that was made before it fell asleep may come out yet. Seldom: most of the time it makes none.
    println!("{}: {went_on} of {} rooms let another tick out", fault.what, rooms.len());
    assert!(went_on as usize <= rooms.len() / 2, "{}: they go on when it wakes", fault.what);
    newcomers.end().await.all_get_in(fault.what, true);
    let (claimed, ended) = given_up(&stage.servers).await;
    println!(
        "{}: {} rooms claimed by others, {} ended by itself",
        fault.what,
        claimed - claims.0,
        ended - claims.1
    );
    steadfast.lost_nothing();
    steadfast.go_home().await;
}

fn rooms_of(crowd: &Crowd, server: &str) -> Vec<String> {
    let rooms = crowd.rooms().into_iter();
    rooms.filter_map(|(room, at)| (at == server).then_some(room)).collect()
}

/// Players who do not take a silent server for dead: whatever it lets out when it wakes, they see it.
fn steadfast(server: &Server, rooms: &[String], there: &Crowd) -> Crowd {
    let session = Config { idle_timeout: false, ..Config::default() };
    let options = Options { session, ..Options::default() };
    let guests = rooms.iter().map(|room| {
        let way = Arc::new(GrpcServer::at(&server.url()).expect("an address"));
        Guest { way, room: room.clone() }
    });
    Crowd::of("steadfast players", guests.collect(), Arc::clone(&there.oracle), &options)
}
