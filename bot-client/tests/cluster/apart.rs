//! A pod that does not reach somebody: no room is ever two things, and who does not need whom plays on.

use super::fleet::{Fleet, Pod};
use super::kube::printed;
use super::load::{Found, Load, play_on};
use super::scenes::Stage;
use super::settings::Hook;
use super::undo::{Undo, Verb};
use std::time::Duration;

/// For longer than a lease (8 s), and as long again.
const APART: Duration = Duration::from_secs(18);
const AFTERWARDS: Duration = Duration::from_secs(10);

/// What an earlier owner of a room sent last may come so much later than the first of the next one, because it was under way. An
/// owner that goes on beside the next one goes on for longer.
const UNDER_WAY_MS: u64 = 1_000;

pub fn scenes(stage: &mut Stage) {
    let names = ["apart: from the API server", "apart: from NATS", "apart: from its peers"];
    let settings = stage.kube.settings.clone();
    let Some(hook) = settings.node_exec.filter(|_| settings.owns_nodes) else {
        for name in names {
            stage.skip(
                name,
                "nothing here can cut a pod off (FRAY_CLUSTER_NODE_EXEC, FRAY_CLUSTER_NODES)",
            );
        }
        return;
    };
    let [api, nats, peers] = names;
    stage.on_three_servers(api, |fleet| {
        let from = fleet.kube.get(&[
            "endpointslices",
            "--namespace=default",
            "--selector=kubernetes.io/service-name=kubernetes",
        ]);
        let from = from["items"].as_array().expect("a list").iter();
        let addresses =
            from.flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        let addresses: Vec<String> =
            addresses.filter_map(|end| end["addresses"][0].as_str().map(str::to_owned)).collect();
        let load = cut_off(fleet, "api", &hook, &fleet.servers()[0], &addresses);
        let found = load.end();
        println!("{found}");
        no_room_had_two_owners(&found);
        found.nobody_noticed();
        found.to_string()
    });
    stage.on_three_servers(nats, |fleet| {
        let directory = fleet.kube.pods("app.kubernetes.io/component=nats");
        let load = cut_off(fleet, "from-nats", &hook, &fleet.servers()[0], &addresses(&directory));
        let found = load.end();
        println!("{found}");
        no_room_had_two_owners(&found);
        found.is_sound();
        let (lost, told) = (found.count("/sessions_lost"), found.errors_with("ROOM_LOST"));
        assert_eq!(lost, told, "a session was lost, and nobody said why: {}", found.more());
        fleet.until_servers(3);
        format!("{told} told that their room is lost; {found}")
    });
    stage.on_three_servers(peers, |fleet| {
        let mut others = fleet.servers();
        let one = others.swap_remove(0);
        let load = cut_off(fleet, "peers", &hook, &one, &addresses(&others));
        let found = load.end();
        println!("{found}");
        no_room_had_two_owners(&found);
        found.nobody_noticed();
        found.to_string()
    });
}

/// Not even for less than what the comparison of worlds lets pass as a conflict.
fn no_room_had_two_owners(found: &Found) {
    let overlap_ms = found.count("/worlds/epoch_overlap_ms");
    assert!(
        overlap_ms <= UNDER_WAY_MS,
        "an earlier owner's updates still came {overlap_ms} ms after the first of a later one: {}",
        found.more()
    );
}

fn addresses(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.address.clone()).collect()
}

/// Everybody plays, one pod reaches none of these addresses for a while, and then it does again.
fn cut_off(fleet: &Fleet, name: &str, hook: &Hook, pod: &Pod, from: &[String]) -> Load {
    assert!(!from.is_empty(), "from nobody");
    let load = Load::begin(fleet, name);
    play_on(AFTERWARDS);
    let cut = cut(fleet, hook, pod, from);
    play_on(APART);
    drop(cut);
    play_on(AFTERWARDS);
    load
}

/// Rules in the pod's node, until what it returns is dropped.
fn cut(fleet: &Fleet, hook: &Hook, pod: &Pod, from: &[String]) -> Undo {
    let (address, others) = (&pod.address, from.join(", "));
    let table = fleet.kube.settings.table();
    let rules = format!(
        "add table inet {table}; \
         add chain inet {table} forward {{ type filter hook forward priority -200; policy accept; }}; \
         add rule inet {table} forward ip saddr {address} ip daddr {{ {others} }} drop; \
         add rule inet {table} forward ip saddr {{ {others} }} ip daddr {address} drop"
    );
    let undo = Undo::note(&fleet.kube, Verb::Heal, &pod.node);
    let cutting = printed(&mut hook.command(&[&pod.node, "nft", &rules]));
    cutting.unwrap_or_else(|error| panic!("{} cannot be cut off: {error}", pod.name));
    println!("{} on {} reaches none of {others}", pod.name, pod.node);
    undo
}
