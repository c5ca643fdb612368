//! What a platform does by will costs players nothing: rollouts, drains, scaling, upgrades.

use super::fleet::{self, Fleet, RELEASE, players_of};
use super::kube::{before_long, try_metric, until};
use super::load::{Found, Load, play_on};
use super::nodes;
use super::scenes::Stage;
use super::undo::{Undo, Verb};
use serde_json::json;
use std::time::{Duration, Instant};

/// Rooms are under way, and what comes of something is seen, within this.
const A_WHILE: Duration = Duration::from_secs(5);

pub fn scenes(stage: &mut Stage) {
    stage.on_three_servers("by will: nothing (control)", |fleet| {
        let load = Load::begin(fleet, "control");
        play_on(4 * A_WHILE);
        let found = load.end();
        found.nobody_noticed();
        found.nobody_waited_long();
        found.to_string()
    });
    stage.on_three_servers("by will: rollout restart", |fleet| {
        players_lose_nothing(fleet, "rollout", |fleet| {
            fleet.kube.kubectl(&["rollout", "restart", SERVERS]);
            fleet.until_rolled_out(SERVERS);
        })
    });
    stage.on_three_servers("by will: delete pod", |fleet| {
        players_lose_nothing(fleet, "delete", |fleet| {
            let pod = fleet.servers().swap_remove(0);
            fleet.kube.kubectl(&["delete", "pod", &pod.name, "--timeout=120s"]);
            fleet.until_servers(3);
        })
    });
    stage.on_three_servers("by will: scale 3, 1, 3", |fleet| {
        players_lose_nothing(fleet, "scale", |fleet| {
            scale(fleet, 1);
            scale(fleet, 3);
        })
    });
    stage.on_three_servers("by will: helm upgrade with changed values", |fleet| {
        players_lose_nothing(fleet, "upgrade", |fleet| {
            fleet.upgrade(&json!({ "servers": { "checkpointEvery": "8s" } }));
            fleet.until_rolled_out(SERVERS);
        })
    });
    stage.on_three_servers("by will: rollout of the edge", |fleet| {
        players_lose_nothing(fleet, "edge", |fleet| {
            let edge = format!("deployment/{RELEASE}-edge");
            fleet.kube.kubectl(&["rollout", "restart", &edge]);
            fleet.until_rolled_out(&edge);
        })
    });
    stage.on_three_servers("by will: restart of NATS", |fleet| {
        players_lose_nothing(fleet, "nats", |fleet| restart_nats(fleet, 0))
    });
    drain_of_a_node(stage);
    drain_of_the_node_with_nats(stage);
    scale_in(stage);
    scale_out(stage);
    upgrade_of_rules(stage);
}

const SERVERS: &str = "deployment/fray-servers";

/// Everybody plays; something happens; everybody plays on, and lost nothing.
fn players_lose_nothing(fleet: &mut Fleet, name: &str, happens: impl FnOnce(&mut Fleet)) -> String {
    what_players_found(fleet, name, happens).to_string()
}

fn what_players_found(fleet: &mut Fleet, name: &str, happens: impl FnOnce(&mut Fleet)) -> Found {
    let load = Load::begin(fleet, name);
    play_on(A_WHILE);
    happens(fleet);
    play_on(2 * A_WHILE);
    let found = load.end();
    println!("{found}");
    found.cost_nobody_anything();
    found
}

fn scale(fleet: &Fleet, servers: usize) {
    fleet.kube.kubectl(&["scale", SERVERS, &format!("--replicas={servers}")]);
    fleet.until_servers(servers);
}

/// As when its node is drained: it comes back, with an empty disk if it is the only one.
fn restart_nats(fleet: &Fleet, number: usize) {
    let pod = format!("{RELEASE}-nats-{number}");
    fleet.kube.kubectl(&["delete", "pod", &pod, "--timeout=120s"]);
    until_nats(fleet);
}

fn until_nats(fleet: &Fleet) {
    let set = format!("statefulset/{RELEASE}-nats");
    fleet.kube.kubectl(&["rollout", "status", &set, "--timeout=120s"]);
}

fn drain_of_a_node(stage: &mut Stage) {
    let name = "by will: drain of a node";
    if !may_drain(stage, name) {
        return;
    }
    stage.on_three_servers(name, |fleet| {
        let node = fleet.busy_node.clone().expect("a second node");
        players_lose_nothing(fleet, "drain", |fleet| drain(fleet, &node))
    });
}

/// As the chart comes: one NATS, whose disk is gone with the pod, wherever it is; and servers beside it. While it is away no server can
/// hand its rooms over, and whoever is asked to leave has to wait for it.
fn drain_of_the_node_with_nats(stage: &mut Stage) {
    let name = "by will: drain of the node with NATS";
    if !may_drain(stage, name) {
        return;
    }
    stage.scene(name, |kube| {
        let mut fleet = Fleet::install(kube, &json!({ "servers": { "replicas": 3 } }));
        let node = fleet.busy_node.clone().expect("a second node");
        nodes::place(&fleet, "app.kubernetes.io/component=nats", &node, 1);
        fleet.until_servers(3);
        let there = servers_on(&fleet, &node);
        if there == 0 {
            nodes::place(&fleet, fleet::SERVERS, &node, 1);
        }
        let found = what_players_found(&mut fleet, "drain-nats", |fleet| {
            drain(fleet, &node);
            until_nats(fleet);
        });
        format!(
            "NATS and {} of 3 servers had to go; told: {}; {found}",
            there.max(1),
            found.notices()
        )
    });
}

fn may_drain(stage: &mut Stage, name: &str) -> bool {
    let may = stage.kube.settings.owns_nodes;
    if !may {
        stage.skip(
            name,
            "others may use this cluster; FRAY_CLUSTER_NODES=1 says that its nodes are the tests'",
        );
    }
    may
}

fn servers_on(fleet: &Fleet, node: &str) -> usize {
    fleet.servers().into_iter().filter(|pod| pod.node == node).count()
}

/// Everything of ours has left the node, and is elsewhere.
fn drain(fleet: &Fleet, node: &str) {
    assert!(servers_on(fleet, node) > 0, "no server is on {node}");
    let cordon = Undo::note(&fleet.kube, Verb::Uncordon, node);
    let drained = fleet.kube.try_kubectl(&[
        "drain",
        node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        &format!("--pod-selector=app.kubernetes.io/instance={RELEASE}"),
        "--timeout=240s",
    ]);
    fleet.until_servers(3);
    drop(cordon);
    drained.unwrap_or_else(|error| panic!("the drain ended with {error}"));
}

/// Who has the fewest players goes first.
fn scale_in(stage: &mut Stage) {
    stage.on_three_servers("by will: scale-in takes the emptiest", |fleet| {
        let load = Load::begin(fleet, "scale-in");
        let mut pods = fleet.servers();
        pods.sort_by_key(|pod| players_of(&fleet.kube, &pod.name));
        let most = players_of(&fleet.kube, &pods[2].name);
        let emptiest = pods.swap_remove(0);
        let fewest = players_of(&fleet.kube, &emptiest.name);
        // They are told every 30 s, in coarse steps.
        let cost = until("the annotations follow", Duration::from_secs(120), || {
            let pods = fleet.servers();
            let costs: Option<Vec<_>> = pods.iter().map(|pod| pod.deletion_cost).collect();
            let own = pods.iter().find(|pod| pod.name == emptiest.name)?.deletion_cost?;
            let lowest = costs?.into_iter().filter(|cost| *cost <= own).count() == 1;
            lowest.then_some(own)
        });
        fleet.kube.kubectl(&["scale", SERVERS, "--replicas=2"]);
        fleet.until_servers(2);
        let stays = fleet.servers().iter().any(|pod| pod.name == emptiest.name);
        play_on(A_WHILE);
        let found = load.end();
        println!("{found}");
        scale(fleet, 3);
        assert!(!stays, "{} had the fewest players, and another one went", emptiest.name);
        found.cost_nobody_anything();
        format!(
            "who had {fewest} players (the fullest had {most}) went, at a cost of {cost}; {found}"
        )
    });
}

/// Servers that come get their share of the players who are there.
fn scale_out(stage: &mut Stage) {
    stage.scene("by will: a new server gets its share", |kube| {
        let fleet =
            Fleet::of_servers(kube, &json!({ "replicas": 1, "rebalanceEvery": REBALANCE_EVERY }));
        let load = Load::begin(&fleet, "share");
        play_on(A_WHILE);
        let begin = Instant::now();
        scale(&fleet, 3);
        let mut last = Vec::new();
        let shared = before_long(SHARED_WITHIN.saturating_sub(begin.elapsed()), || {
            last = fleet
                .servers()
                .iter()
                .map(|pod| try_metric(kube, &pod.name, "fray_players").unwrap_or(0.0) as u64)
                .collect();
            is_shared(&last, kube.settings.players).then(|| begin.elapsed().as_secs())
        });
        // Whether it stays so, and costs nothing.
        play_on(2 * A_WHILE);
        let found = load.end();
        println!("{found}");
        let took = shared.unwrap_or_else(|| {
            panic!(
                "after {SHARED_WITHIN:?} servers have {last:?} players; {found}; {}",
                found.more()
            )
        });
        found.cost_nobody_anything();
        format!("after {took} s servers had {last:?} players; {found}")
    });
}

/// How often servers look for rooms to move, in the scene about it.
const REBALANCE_EVERY: &str = "5s";

/// From when there are to be more servers.
const SHARED_WITHIN: Duration = Duration::from_secs(150);

/// No server has more than 60 % of them, and hardly anybody is just on the way from one to another.
fn is_shared(players: &[u64], of: u64) -> bool {
    let sum: u64 = players.iter().sum();
    players.iter().all(|count| count * 10 <= of * 6) && sum * 20 >= of * 19
}

/// Rooms go on by the rules that they began with.
fn upgrade_of_rules(stage: &mut Stage) {
    let name = "by will: upgrade to the next rules";
    let Some(next) = stage.kube.settings.image_next.clone() else {
        return stage.skip(name, "there is no image of the next rules (FRAY_CLUSTER_IMAGE_NEXT)");
    };
    stage.on_three_servers(name, |fleet| {
        let before = json!({ "image": fleet.kube.settings.image.values() });
        let figures = players_lose_nothing(fleet, "rules", |fleet| {
            // The program with the next rules knows no other verb, such as the one that looks after the keys.
            fleet.upgrade_with(&json!({ "image": next.values() }), &["--no-hooks"]);
            fleet.until_rolled_out(SERVERS);
        });
        fleet.upgrade(&before);
        fleet.until_rolled_out(SERVERS);
        figures
    });
}

#[test]
fn players_are_shared_when_no_server_has_most_of_them() {
    assert!(is_shared(&[120, 40, 40], 200));
    assert!(!is_shared(&[130, 40, 30], 200), "one has most of them");
    assert!(!is_shared(&[100, 10, 0], 200), "many are nowhere");
    assert!(!is_shared(&[], 200));
}
