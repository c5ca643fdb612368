//! What happens against everybody's will: rooms come back from their last checkpoint, or their players are told that they are lost.
//! Nobody hangs.

use super::fleet::{Fleet, PATIENCE, Pod, RELEASE, SERVERS, chart, players_of};
use super::kube::{Kube, metric, printed, until};
use super::load::{Found, Load, play_on};
use super::nodes;
use super::scenes::Stage;
use super::undo::{Undo, Verb};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longer than two checkpoints.
const A_WHILE: Duration = Duration::from_secs(20);

/// Who is without the game for longer hangs: a node's end is noticed after 40 s, by a default.
const NOBODY_HANGS_MS: f64 = 90_000.0;

pub fn scenes(stage: &mut Stage) {
    stage.on_three_servers("crash: delete pod --force", |fleet| {
        let load = Load::begin(fleet, "force");
        play_on(A_WHILE);
        let (pod, players) = fullest(fleet);
        let before = Restored::of(&fleet.kube, &fleet.servers());
        fleet.kube.kubectl(&["delete", "pod", &pod.name, "--grace-period=0", "--force"]);
        fleet.until_servers(3);
        play_on(A_WHILE);
        let restored = Restored::of(&fleet.kube, &fleet.servers()).more_than(&before);
        let found = load.end();
        let figures = nobody_hangs(&found);
        // The API forgets the pod at once; but a kubelet that is still there ends its containers in the usual way. Then rooms move, as
        // when the pod is deleted by will. Whoever is too late for that is restored.
        let moved = found.count("/redirects");
        assert!(
            moved > 0 || restored > 0,
            "{players} players were there, and nothing happened to them"
        );
        no_room_is_lost(&found);
        assert_eq!(
            restored > 0,
            found.told(RESTORED).is_some(),
            "{restored} restored: {}",
            found.more()
        );
        format!("{players} players were there, {restored} rooms restored; {figures}")
    });
    kill_of_a_server(stage);
    crash_of_a_node(stage, "crash: a node with two of three servers", 2);
    crash_of_a_node(stage, "crash: a node with one of three servers", 1);
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

/// Its process ends at once, as when there is no more memory; the pod stays, and starts it again.
fn kill_of_a_server(stage: &mut Stage) {
    let name = "crash: a server is killed";
    let settings = stage.kube.settings.clone();
    let Some(hook) = settings.node_exec else {
        return stage.skip(name, "nothing here can end a process (FRAY_CLUSTER_NODE_EXEC)");
    };
    stage.on_three_servers(name, |fleet| {
        let load = Load::begin(fleet, "killed");
        play_on(A_WHILE);
        let (pod, players) = fullest(fleet);
        let servers = fleet.servers();
        let before = Restored::of(&fleet.kube, &servers);
        let restarts = || {
            let of = fleet.kube.find(&format!("pod/{}", pod.name), RESTARTS);
            of.and_then(|count| count.as_u64()).unwrap_or(0)
        };
        let restarts_before = restarts();
        let kill = [&pod.node, "sh", "-c", KILL, "sh", &pod.name];
        printed(&mut hook.command(&kill)).expect("its process is found and killed");
        until("it starts again", PATIENCE, || (restarts() > restarts_before).then_some(()));
        fleet.until_servers(3);
        play_on(A_WHILE);
        let restored = Restored::of(&fleet.kube, &servers).more_than(&before);
        let found = load.end();
        let figures = nobody_hangs(&found);
        rooms_came_back(&found, restored);
        format!("{players} players were there, {restored} rooms restored; {figures}")
    });
}

/// Kills the one server of a pod ($1): its environment says whose it is, wherever on the node it is.
const KILL: &str = r#"for process in /proc/[0-9]*; do
  [ "$(cat "$process/comm" 2>/dev/null)" = fray-server ] || continue
  tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -qxF "FRAY_POD_NAME=$1" || continue
  kill -KILL "${process#/proc/}"; exit
done
echo "no process of $1" >&2; exit 1"#;

/// How often the container of a pod was started again.
const RESTARTS: &str = "/status/containerStatuses/0/restartCount";

fn crash_of_a_node(stage: &mut Stage, name: &str, count: usize) {
    let settings = stage.kube.settings.clone();
    let (Some(kill), Some(_)) = (settings.node_kill, settings.node_start) else {
        return stage.skip(
            name,
            "nothing here can end a node (FRAY_CLUSTER_NODE_KILL, FRAY_CLUSTER_NODE_START)",
        );
    };
    stage.on_three_servers(name, |fleet| {
        let node = fleet.busy_node.clone().expect("a second node");
        nodes::place(fleet, SERVERS, &node, count);
        let load = Load::begin(fleet, &format!("node-{count}"));
        play_on(A_WHILE);
        let (gone, stay): (Vec<_>, Vec<_>) =
            fleet.servers().into_iter().partition(|pod| pod.node == node);
        assert_eq!((gone.len(), stay.len()), (count, 3 - count), "servers on {node}, and elsewhere");
        let players: u64 = gone.iter().map(|pod| players_of(&fleet.kube, &pod.name)).sum();
        assert!(players > 0, "nobody plays on {node}");
        println!("{count} of 3 servers are on {node}, with {players} players; it ends");
        let before = Restored::of(&fleet.kube, &stay);
        let down = Undo::note(&fleet.kube, Verb::Start, &node);
        printed(&mut kill.command(&[&node])).expect("the node is killed");
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
        let restored = Restored::of(&fleet.kube, &stay).more_than(&before);
        let found = load.end();
        drop(down);
        let ready = format!("node/{node}");
        fleet.kube.kubectl(&["wait", "--for=condition=Ready", &ready, "--timeout=120s"]);
        fleet.until_servers(3);
        let figures = nobody_hangs(&found);
        rooms_came_back(&found, restored);
        format!(
            "{count} servers gone with {players} players, noticed by the cluster after {noticed} s, {restored} rooms restored; {figures}"
        )
    });
}

/// Who has most of the players, and how many.
fn fullest(fleet: &Fleet) -> (Pod, u64) {
    let players = |pod: Pod| {
        let count = players_of(&fleet.kube, &pod.name);
        (pod, count)
    };
    let fullest = fleet.servers().into_iter().map(players).max_by_key(|(_, count)| *count);
    let (pod, count) = fullest.expect("a server");
    assert!(count > 0, "nobody plays");
    (pod, count)
}

/// How many rooms went on at each of some servers after their own server was lost. A server that started again begins at 0.
struct Restored(BTreeMap<String, u64>);

impl Restored {
    fn of(kube: &Kube, servers: &[Pod]) -> Self {
        let count = |pod: &Pod| metric(kube, &pod.name, ROOMS_RESTORED) as u64;
        Self(servers.iter().map(|pod| (pod.name.clone(), count(pod))).collect())
    }

    /// So many more than before.
    fn more_than(&self, before: &Self) -> u64 {
        let more = |(server, count): (&String, &u64)| {
            let before = before.0.get(server).copied().unwrap_or(0);
            // It started again.
            if *count < before { *count } else { count - before }
        };
        self.0.iter().map(more).sum()
    }
}

/// Without those that their server had time to park.
const ROOMS_RESTORED: &str = r#"fray_rooms_restored_total{cause="lost"}"#;

/// What players are told in words when their room goes on from a checkpoint.
const RESTORED: &str = "KIND_ROOM_RESTORED";

/// Each player goes on in its room, which may have fallen back to its last checkpoint, or heard that the room is lost, and plays in
/// another one.
fn nobody_hangs(found: &Found) -> String {
    println!("{found}");
    let (lost, told) = (found.count("/sessions_lost"), found.errors_with("ROOM_LOST"));
    assert_eq!(lost, told, "sessions lost, and players told so: {}", found.more());
    found.is_sound();
    let longest = found.largest_gap_ms();
    assert!(longest < NOBODY_HANGS_MS, "somebody was without the game for {longest} ms");
    let restored = found.told(RESTORED).map_or(String::new(), |text| format!("; told: {text:?}"));
    format!("{told} told that their room is lost{restored}; {found}")
}

/// The directory was there all the time, and it has all rooms' checkpoints.
fn no_room_is_lost(found: &Found) {
    let (lost, told) = (found.count("/sessions_lost"), found.errors_with("ROOM_LOST"));
    assert_eq!((lost, told), (0, 0), "sessions lost, and told so: {}", found.more());
}

/// From their checkpoints, and their players were told.
fn rooms_came_back(found: &Found, restored: u64) {
    no_room_is_lost(found);
    assert!(restored > 0, "no server says that it restored a room: {}", found.more());
    assert!(found.told(RESTORED).is_some(), "nobody was told: {}", found.more());
}

#[test]
fn rooms_restored_since_then_are_counted_though_a_server_started_again() {
    let of = |counts: &[(&str, u64)]| {
        Restored(counts.iter().map(|(server, count)| ((*server).to_owned(), *count)).collect())
    };
    let before = of(&[("a", 5), ("b", 2), ("gone", 9)]);
    // One more; started again, and two since; new, and four.
    assert_eq!(of(&[("a", 6), ("b", 2)]).more_than(&before), 1);
    assert_eq!(of(&[("a", 2), ("b", 2), ("new", 4)]).more_than(&before), 6);
}
