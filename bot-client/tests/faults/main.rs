//! Goal: whatever breaks in a fleet, every player plays again or is told plainly that the room is gone; nobody else notices;
//! and no room is ever two things at once. Method: real servers, NATS and Envoy, each with an address of its own in a world
//! of network namespaces; players that go on as people would; an oracle that compares what all of them saw.
//!
//! Needs `envoy`, `helm` and `nats-server`: `scripts/tools.sh envoy helm nats-server` installs them.

#![allow(
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "nobody but this test uses its modules"
)]

mod crowd;
#[path = "../edge/envoy.rs"]
mod envoy;
mod oracle;
mod processes;
#[path = "../programs/mod.rs"]
mod programs;
mod world;

use crowd::{Crowd, Diary, Entry};
use envoy::Edge;
use fray_bot::client::transport::GrpcServer;
use processes::{Folder, Nats, Server};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use world::World;

const PLAYERS: usize = 36;
const ROOMS: usize = 12;
/// What a player may have to wait, at the most, on a machine with nothing else to do. The test waits for longer, since
/// machines are shared, and says how long it was.
const GOAL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(40);
/// A stream that goes on has no gap as long as this, even on a busy machine.
const UNNOTICED: Duration = Duration::from_secs(3);

#[test]
fn whatever_breaks_everybody_plays_again_or_is_told() {
    world::run_within("within_a_world_whatever_breaks");
}

/// Not a test: a server of the fleet, which the tests start.
#[test]
#[ignore = "a process that the other tests start"]
fn a_server_of_the_fleet() {
    processes::serve();
}

#[test]
#[ignore = "whatever_breaks_everybody_plays_again_or_is_told starts it in namespaces of its own"]
fn within_a_world_whatever_breaks() {
    if !world::is_within() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(whatever_breaks());
}

async fn whatever_breaks() {
    let mut world = World::new();
    let folder = Folder::new("faults");
    processes::write_keys(&folder.0);
    let Some(mut nats) = Nats::start(world.host(), &folder.0).await else { return };
    let mut servers = Vec::new();
    for name in ["one", "two", "three"] {
        servers.push(Server::start(name, world.host(), &folder.0, &nats.url(), &[]).await);
    }
    let addresses: Vec<_> = servers.iter().map(Server::players).collect();
    let mut values = envoy::values(&addresses, "");
    // The same port after a restart: players come back to it.
    values["edge"]["listen"]["port"] = 8443.into();
    let Some(mut edge) = Edge::start(&values).await else { return };
    edge.healthy("servers", 3).await;

    let url = format!("http://{}", edge.address);
    let way = |_| Arc::new(GrpcServer::at(&url).expect("an address")) as Arc<_>;
    let crowd = Crowd::gather(PLAYERS, ROOMS, way).await;
    crowd.until("everybody plays", PATIENCE, |diary| diary.updates.len() > 20).await;
    let owners: std::collections::BTreeSet<_> =
        crowd.diaries().iter().map(|diary| diary.server.clone()).collect();
    assert_eq!(owners.len(), 3, "rooms are on all servers: {owners:?}");

    let fault = Fault::begins("Envoy is restarted");
    drop(edge);
    edge = Edge::start(&values).await.expect("it was there");
    fault.everybody_plays_on_as_themselves(&crowd).await;

    let fault = Fault::begins("NATS is restarted");
    nats.restart(Duration::from_secs(4), false).await;
    fault.nobody_notices(&crowd).await;

    let fault = Fault::begins("NATS is wiped");
    nats.restart(Duration::from_secs(2), true).await;
    fault.nobody_notices(&crowd).await;

    let fault = Fault::begins("one server is cut off from its peers only");
    World::cut(servers[0].host, servers[1].host);
    World::cut(servers[0].host, servers[2].host);
    sleep(Duration::from_secs(12)).await;
    World::heal(servers[0].host, servers[1].host);
    World::heal(servers[0].host, servers[2].host);
    fault.nobody_notices(&crowd).await;

    let fault = Fault::begins("one server is cut off from NATS only");
    let (there, name) = (servers[1].host, servers[1].name.clone());
    let affected = fault.players_of(&crowd, &name);
    World::cut(there, nats.host);
    fault.all_play_or_are_told(&crowd, &affected).await;
    fault.others_do_not_notice(&crowd, &affected);
    World::heal(there, nats.host);
    sleep(Duration::from_secs(3)).await;

    let fault = Fault::begins("one server is killed");
    let name = servers[2].name.clone();
    let affected = fault.players_of(&crowd, &name);
    servers[2].kill();
    fault.all_play_or_are_told(&crowd, &affected).await;
    fault.others_do_not_notice(&crowd, &affected);

    let conflicts = crowd.oracle.conflicts();
    assert!(conflicts.is_empty(), "{conflicts:#?}");
    println!("{} updates compared, none differs", crowd.oracle.seen());
    for diary in crowd.diaries() {
        assert_eq!((diary.desyncs, diary.lost_moves), (0, 0), "{:?}", diary.entries);
    }
    assert!(crowd.oracle.seen() > 1000);
    crowd.go_home().await;
    drop(edge);
}

/// Something that breaks, and what players say about it.
struct Fault {
    what: &'static str,
    at: Instant,
}

impl Fault {
    fn begins(what: &'static str) -> Self {
        println!("--- {what}");
        Self { what, at: Instant::now() }
    }

    fn players_of(&self, crowd: &Crowd, server: &str) -> Vec<usize> {
        let diaries = crowd.diaries();
        let there = diaries.iter().enumerate().filter(|(_, diary)| diary.server == server);
        let players: Vec<_> = there.map(|(player, _)| player).collect();
        assert!(!players.is_empty(), "{}: nobody is on {server}", self.what);
        players
    }

    fn say(&self, waited: impl Iterator<Item = Duration>) {
        let longest = waited.max().unwrap_or_default();
        let verdict = if longest <= GOAL { "within" } else { "OVER" };
        println!(
            "{}: at the longest {:.1} s, {verdict} {GOAL:?}",
            self.what,
            longest.as_secs_f64()
        );
    }

    /// Streams break, sessions do not.
    async fn everybody_plays_on_as_themselves(&self, crowd: &Crowd) {
        let at = self.at;
        let resumed = |diary: &Diary| {
            let entries = diary.since(at);
            entries.iter().any(|entry| matches!(entry, Entry::Welcomed { resumed: true, .. }))
                && diary.updates.last().is_some_and(|last| last.elapsed() < Duration::from_secs(1))
        };
        crowd.until(self.what, PATIENCE, resumed).await;
        let now = Instant::now();
        self.say(crowd.diaries().iter().map(|diary| diary.longest_gap(at, now)));
        for diary in crowd.diaries() {
            let told = diary.since(at).into_iter().find(|entry| matches!(entry, Entry::Told(_)));
            assert!(told.is_none(), "{}: {told:?}", self.what);
        }
    }

    async fn nobody_notices(&self, crowd: &Crowd) {
        // What comes of it comes within this.
        sleep(Duration::from_secs(10)).await;
        let everybody: Vec<usize> = Vec::new();
        self.others_do_not_notice(crowd, &everybody);
    }

    fn others_do_not_notice(&self, crowd: &Crowd, affected: &[usize]) {
        let now = Instant::now();
        for (player, diary) in crowd.diaries().iter().enumerate() {
            if affected.contains(&player) {
                continue;
            }
            let entries = diary.since(self.at);
            assert!(
                entries.is_empty(),
                "{}: player {player} on {}: {entries:?}",
                self.what,
                diary.server
            );
            let gap = diary.longest_gap(self.at, now);
            assert!(gap < UNNOTICED, "{}: player {player} waited {gap:?}", self.what);
        }
    }

    /// Each of them has an update of its old room or of a new one, after it was told that the old one is gone.
    async fn all_play_or_are_told(&self, crowd: &Crowd, affected: &[usize]) {
        let at = self.at;
        let mut settled = vec![None; affected.len()];
        let deadline = at + PATIENCE;
        while settled.iter().any(Option::is_none) {
            for (place, &player) in settled.iter_mut().zip(affected) {
                if place.is_some() {
                    continue;
                }
                let diaries = crowd.diaries();
                let diary = &diaries[player];
                let told = diary.since(at).iter().find_map(|entry| match entry {
                    Entry::Told(why) => Some(why.clone()),
                    _ => None,
                });
                let resumed = diary
                    .since(at)
                    .iter()
                    .any(|entry| matches!(entry, Entry::Welcomed { resumed: true, .. }));
                if told.is_some() || resumed {
                    *place = Some((at.elapsed(), told));
                }
            }
            if Instant::now() > deadline {
                let diaries = crowd.diaries();
                let silent: Vec<_> = affected
                    .iter()
                    .zip(&settled)
                    .filter(|(_, place)| place.is_none())
                    .map(|(&player, _)| {
                        diaries[player].entries.iter().rev().take(8).cloned().collect::<Vec<_>>()
                    })
                    .collect();
                panic!("{}: nobody tells {} players: {silent:#?}", self.what, silent.len());
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.say(settled.iter().flatten().map(|(after, _)| *after));
        for (_, told) in settled.into_iter().flatten() {
            if let Some(why) = told {
                assert!(why.ends_with("ROOM_LOST"), "{}: told {why}", self.what);
            }
        }
        let plays = |diary: &Diary| {
            diary.updates.last().is_some_and(|last| last.elapsed() < Duration::from_secs(1))
        };
        crowd.until("everybody plays somewhere", PATIENCE, plays).await;
    }
}
