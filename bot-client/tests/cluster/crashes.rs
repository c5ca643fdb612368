//! What happens against everybody's will: rooms come back from their last checkpoint, or their players are told that they are lost.
//! Nobody hangs.

use super::fleet::{Fleet, PATIENCE, RELEASE, chart};
use super::kube::{printed, until};
use super::load::{Found, Load, play_on};
use super::scenes::Stage;
use super::settings::Hook;
use serde_json::json;
use std::time::{Duration, Instant};

/// Longer than two checkpoints.
const A_WHILE: Duration = Duration::from_secs(20);

/// Who is without the game for longer hangs: a node's end is noticed after 40 s, by a default.
const NOBODY_HANGS_MS: f64 = 90_000.0;

pub fn scenes(stage: &mut Stage) {
    stage.on_three_servers("crash: delete pod --force", |fleet| {
        let load = Load::begin(fleet, "force");
        play_on(A_WHILE);
        let pod = fleet.servers().swap_remove(0);
        fleet.kube.kubectl(&["delete", "pod", &pod.name, "--grace-period=0", "--force"]);
        fleet.until_servers(3);
        play_on(A_WHILE);
        come_back_or_are_told(&load.end())
    });
    crash_of_a_node(stage);
    stage.scene("crash: one of three NATS", |kube| {
        let values = chart().join("ha-values.yaml").display().to_string();
        let fleet = Fleet::install_with(kube, &json!({}), &["--values", &values]);
        let load = Load::begin(&fleet, "nats-of-three");
        play_on(A_WHILE / 2);
        let (pod, set) = (format!("{RELEASE}-nats-1"), format!("statefulset/{RELEASE}-nats"));
        kube.kubectl(&["delete", "pod", &pod, "--grace-period=0", "--force"]);
        play_on(A_WHILE / 2);
        kube.kubectl(&["rollout", "status", &set, "--timeout=120s"]);
        play_on(A_WHILE / 2);
        let found = load.end();
        println!("{found}");
        found.nobody_noticed();
        found.to_string()
    });
}

fn crash_of_a_node(stage: &mut Stage) {
    let name = "crash: a node";
    let settings = stage.kube.settings.clone();
    let (Some(kill), Some(start)) = (settings.node_kill, settings.node_start) else {
        return stage.skip(
            name,
            "nothing here can end a node (FRAY_CLUSTER_NODE_KILL, FRAY_CLUSTER_NODE_START)",
        );
    };
    stage.on_three_servers(name, |fleet| {
        let node = fleet.busy_node.clone().expect("a second node");
        let load = Load::begin(fleet, "node");
        play_on(A_WHILE);
        let there = fleet.servers().into_iter().filter(|pod| pod.node == node).count();
        assert!(there > 0, "no server is on {node}");
        println!("{there} of 3 servers are on {node}, which ends");
        let down = Down::new(&kill, &start, &node);
        let killed = Instant::now();
        // Those who came in by an edge on that node find another one only when the cluster has noticed.
        let is_gone = || {
            fleet.kube.find(&format!("node/{node}"), "/status/conditions").filter(|all| {
                all.as_array().is_some_and(|all| {
                    all.iter().any(|one| one["type"] == "Ready" && one["status"] != "True")
                })
            })
        };
        until("the cluster notices", PATIENCE, is_gone);
        let noticed = killed.elapsed().as_secs();
        play_on(A_WHILE);
        let found = load.end();
        drop(down);
        let ready = format!("node/{node}");
        fleet.kube.kubectl(&["wait", "--for=condition=Ready", &ready, "--timeout=120s"]);
        fleet.until_servers(3);
        format!(
            "{there} servers gone, noticed by the cluster after {noticed} s; {}",
            come_back_or_are_told(&found)
        )
    });
}

/// A node that is down, until this is dropped: also when the scene ends before its time.
struct Down<'a> {
    start: &'a Hook,
    node: &'a str,
}

impl<'a> Down<'a> {
    fn new(kill: &Hook, start: &'a Hook, node: &'a str) -> Self {
        printed(&mut kill.command(&[node])).expect("the node is killed");
        Self { start, node }
    }
}

impl Drop for Down<'_> {
    fn drop(&mut self) {
        if let Err(error) = printed(&mut self.start.command(&[self.node])) {
            eprintln!("{} does not start again: {error}", self.node);
        }
    }
}

/// Each player goes on in its room, which may have fallen back to its last checkpoint, or heard that the room is lost, and plays in
/// another one.
fn come_back_or_are_told(found: &Found) -> String {
    println!("{found}");
    let (lost, told) = (found.count("/sessions_lost"), found.errors_with("ROOM_LOST"));
    assert_eq!(lost, told, "sessions lost, and players told so: {}", found.more());
    found.is_sound();
    let longest = found.largest_gap_ms();
    assert!(longest < NOBODY_HANGS_MS, "somebody was without the game for {longest} ms");
    let restored =
        found.told("KIND_ROOM_RESTORED").map_or(String::new(), |text| format!("; told: {text:?}"));
    format!("{told} told that their room is lost{restored}; {found}")
}
