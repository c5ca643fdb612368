//! What a platform does by will costs players nothing: rollouts, drains, scaling, upgrades.

use super::fleet::{Fleet, RELEASE};
use super::kube::{Kube, metric, until};
use super::load::{Load, play_on};
use super::scenes::Stage;
use serde_json::json;
use std::time::Duration;

/// Rooms are under way, and what comes of something is seen, within this.
const A_WHILE: Duration = Duration::from_secs(5);

pub fn scenes(stage: &mut Stage) {
    stage.on_three_servers("by will: nothing (control)", |fleet| {
        let load = Load::begin(fleet, "control");
        play_on(4 * A_WHILE);
        let found = load.end();
        found.nobody_noticed();
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
    scale_in(stage);
    upgrade_of_rules(stage);
}

const SERVERS: &str = "deployment/fray-servers";

/// Everybody plays; something happens; everybody plays on, and lost nothing.
fn players_lose_nothing(fleet: &mut Fleet, name: &str, happens: impl FnOnce(&mut Fleet)) -> String {
    let load = Load::begin(fleet, name);
    play_on(A_WHILE);
    happens(fleet);
    play_on(2 * A_WHILE);
    let found = load.end();
    println!("{found}");
    found.nobody_lost_anything();
    found.to_string()
}

fn scale(fleet: &Fleet, servers: usize) {
    fleet.kube.kubectl(&["scale", SERVERS, &format!("--replicas={servers}")]);
    fleet.until_servers(servers);
}

/// As when its node is drained: it comes back, with an empty disk if it is the only one.
pub fn restart_nats(fleet: &Fleet, number: usize) {
    let (pod, set) = (format!("{RELEASE}-nats-{number}"), format!("statefulset/{RELEASE}-nats"));
    fleet.kube.kubectl(&["delete", "pod", &pod, "--timeout=120s"]);
    fleet.kube.kubectl(&["rollout", "status", &set, "--timeout=120s"]);
}

fn drain_of_a_node(stage: &mut Stage) {
    let name = "by will: drain of a node";
    if !stage.kube.settings.owns_nodes {
        return stage.skip(
            name,
            "others may use this cluster; FRAY_CLUSTER_NODES=1 says that its nodes are the tests'",
        );
    }
    stage.on_three_servers(name, |fleet| {
        let node = fleet.busy_node.clone().expect("a second node");
        players_lose_nothing(fleet, "drain", |fleet| {
            let there = fleet.servers().into_iter().filter(|pod| pod.node == node).count();
            assert!(there > 0, "no server is on {node}");
            let drained = fleet.kube.try_kubectl(&[
                "drain",
                &node,
                "--ignore-daemonsets",
                "--delete-emptydir-data",
                &format!("--pod-selector=app.kubernetes.io/instance={RELEASE}"),
                "--timeout=240s",
            ]);
            fleet.until_servers(3);
            fleet.kube.kubectl(&["uncordon", &node]);
            drained.unwrap_or_else(|error| panic!("the drain ended with {error}"));
        })
    });
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
        scale(fleet, 3);
        assert!(!stays, "{} had the fewest players, and another one went", emptiest.name);
        found.nobody_lost_anything();
        format!(
            "who had {fewest} players (the fullest had {most}) went, at a cost of {cost}; {found}"
        )
    });
}

fn players_of(kube: &Kube, server: &str) -> u64 {
    metric(kube, server, "fray_players") as u64
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
