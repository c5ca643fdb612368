//! Goal: whatever breaks in a fleet, every player plays again or is told plainly that the room is gone; nobody else notices;
//! and no room is ever two things at once. Method: real servers, NATS and Envoy, each with an address of its own in a world
//! of network namespaces; players that go on as people would, through the edge and without one, and newcomers all the while;
//! an oracle that compares what all of them saw.
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
mod fault;
mod long;
mod newcomers;
mod oracle;
mod processes;
#[path = "../programs/mod.rs"]
mod programs;
mod relayed;
mod stage;
mod world;

use fault::Fault;
use relayed::Relayed;
use stage::Stage;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use world::{Runs, World};

/// For how long one server does not reach its peers: longer than a lease.
const APART: Duration = Duration::from_secs(12);
/// Ends a test that hangs.
const NO_END: Duration = Duration::from_secs(900);

#[test]
fn whatever_breaks_everybody_plays_again_or_is_told() {
    world::run_within("within_a_world_whatever_breaks", Runs::InMakeTest);
}

#[test]
fn whatever_lasts_for_over_a_minute_nobody_is_two_things() {
    world::run_within("within_a_world_whatever_lasts", Runs::WhenAsked);
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
    within(whatever_breaks());
}

#[test]
#[ignore = "whatever_lasts_for_over_a_minute_nobody_is_two_things starts it in namespaces of its own"]
fn within_a_world_whatever_lasts() {
    within(long::whatever_lasts());
}

fn within(scenes: impl Future<Output = ()>) {
    if world::is_within() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async { timeout(NO_END, scenes).await.expect("it comes to an end") });
    }
}

async fn whatever_breaks() {
    let Some(mut stage) = Stage::set().await else { return };
    let relayed = Relayed::gather(&stage.servers, &stage.crowd).await;
    envoy_is_restarted(&mut stage, &relayed).await;
    nats_is_restarted(&mut stage, &relayed, Fault::begins("NATS is restarted"), false).await;
    nats_is_restarted(&mut stage, &relayed, Fault::begins("NATS is wiped"), true).await;
    one_is_cut_off_from_its_peers(&stage, &relayed).await;
    relayed.go_home().await;
    one_is_cut_off_from_nats(&stage).await;
    one_is_killed(&mut stage).await;
    stage.all_was_one().await;
}

async fn envoy_is_restarted(stage: &mut Stage, relayed: &Relayed) {
    let fault = Fault::begins("Envoy is restarted");
    let newcomers = stage.newcomers();
    stage.restart_edge().await;
    fault.everybody_plays_on_as_themselves(&stage.crowd).await;
    fault.nobody_notices(&relayed.crowd);
    newcomers.end().await.all_get_in(fault.what, false);
}

async fn nats_is_restarted(stage: &mut Stage, relayed: &Relayed, fault: Fault, wiped: bool) {
    stage.nats.kill();
    let (from, newcomers) = (Instant::now(), stage.newcomers());
    sleep(Duration::from_secs(4)).await;
    let until = Instant::now();
    stage.nats.start_again(wiped).await;
    fault.has_its_time().await;
    fault.nobody_notices(&stage.crowd);
    fault.nobody_notices(&relayed.crowd);
    newcomers.end().await.only_new_rooms_wait(fault.what, from, until);
}

async fn one_is_cut_off_from_its_peers(stage: &Stage, relayed: &Relayed) {
    let fault = Fault::begins("one server is cut off from its peers only");
    let affected = relayed.between(|entry, owner| entry == 0 || owner == 0);
    let newcomers = stage.newcomers();
    let [one, two, three] = [0, 1, 2].map(|number| stage.servers[number].host);
    World::cut(one, two);
    World::cut(one, three);
    fault.all_play_or_are_told(&relayed.crowd, &affected).await;
    sleep_until(fault.at + APART).await;
    World::heal(one, two);
    World::heal(one, three);
    fault.has_its_time().await;
    fault.nobody_notices(&stage.crowd);
    fault.others_do_not_notice(&relayed.crowd, &affected);
    newcomers.end().await.all_get_in(fault.what, false);
}

async fn one_is_cut_off_from_nats(stage: &Stage) {
    let relayed = Relayed::gather(&stage.servers, &stage.crowd).await;
    let fault = Fault::begins("one server is cut off from NATS only");
    let server = &stage.servers[1];
    let affected = fault.players_of(&stage.crowd, &server.name);
    let carried = relayed.between(|_, owner| owner == 1);
    let newcomers = stage.newcomers();
    World::cut(server.host, stage.nats.host);
    tokio::join!(
        fault.all_play_or_are_told(&stage.crowd, &affected),
        fault.all_play_or_are_told(&relayed.crowd, &carried),
    );
    fault.is_looked_at().await;
    fault.others_do_not_notice(&stage.crowd, &affected);
    fault.others_do_not_notice(&relayed.crowd, &carried);
    newcomers.end().await.all_get_in(fault.what, true);
    relayed.go_home().await;
    World::heal(server.host, stage.nats.host);
    sleep(Duration::from_secs(3)).await;
}

async fn one_is_killed(stage: &mut Stage) {
    let relayed = Relayed::gather(&stage.servers, &stage.crowd).await;
    let fault = Fault::begins("one server is killed");
    let name = stage.servers[2].name.clone();
    let affected = fault.players_of(&stage.crowd, &name);
    // Those who came in by it know other addresses.
    let carried = relayed.between(|entry, owner| entry == 2 || owner == 2);
    let newcomers = stage.newcomers();
    stage.servers[2].kill();
    tokio::join!(
        fault.all_play_or_are_told(&stage.crowd, &affected),
        fault.all_play_or_are_told(&relayed.crowd, &carried),
    );
    fault.is_looked_at().await;
    fault.others_do_not_notice(&stage.crowd, &affected);
    fault.others_do_not_notice(&relayed.crowd, &carried);
    newcomers.end().await.all_get_in(fault.what, true);
    relayed.go_home().await;
}
