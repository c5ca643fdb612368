//! Nodes: which of them are for what, and which pods are where.

use super::fleet::Fleet;
use super::kube::{Kube, before_long};
use super::undo::Undo;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Kubernetes itself taints nodes with these (a node that is not ready, or cordoned) and takes them away again; the last of them up
/// to some seconds after the node is ready, or no longer cordoned.
const PASSING: &str = "node.kubernetes.io/";

/// For such taints to go.
const SETTLE: Duration = Duration::from_secs(60);

/// A node, as far as scenes look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    is_cordoned: bool,
    is_ready: bool,
    /// Keys of those that keep pods away.
    taints: Vec<String>,
}

impl Node {
    fn of(node: &Value) -> Self {
        let taints = node["spec"]["taints"].as_array().into_iter().flatten();
        let keeps_away = |taint: &&Value| taint["effect"] != "PreferNoSchedule";
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        Self {
            name: node["metadata"]["name"].as_str().expect("a name").to_owned(),
            is_cordoned: node["spec"]["unschedulable"] == true,
            is_ready: ready.any(|condition| condition["status"] == "True"),
            taints: taints
                .filter(keeps_away)
                .filter_map(|taint| taint["key"].as_str().map(str::to_owned))
                .collect(),
        }
    }

    fn takes_pods(&self) -> bool {
        self.is_ready && !self.is_cordoned && self.taints.is_empty()
    }

    /// It does not yet, and nobody has to do anything about it.
    fn will_take_pods(&self) -> bool {
        let only_passing = self.taints.iter().all(|key| key.starts_with(PASSING));
        !self.takes_pods() && !self.is_cordoned && only_passing
    }
}

fn all(kube: &Kube) -> Vec<Node> {
    let nodes = kube.get(&["nodes"]);
    nodes["items"].as_array().expect("a list").iter().map(Node::of).collect()
}

/// Those that take pods. Waits for those that are about to.
fn that_take_pods(kube: &Kube) -> Vec<String> {
    let mut nodes = Vec::new();
    let settled = before_long(SETTLE, || {
        nodes = all(kube);
        (!nodes.iter().any(Node::will_take_pods)).then_some(())
    });
    if settled.is_none() {
        println!("without those nodes that do not take pods after {SETTLE:?}: {nodes:?}");
    }
    let names: Vec<_> =
        nodes.iter().filter(|node| node.takes_pods()).map(|node| node.name.clone()).collect();
    assert!(!names.is_empty(), "no node takes pods: {nodes:?}");
    names
}

/// A quiet one, and another one, if there is one. The one that has the cluster's DNS is quiet: else whatever happens to it would be
/// its loss, and not ours.
pub fn choose(kube: &Kube) -> (String, Option<String>) {
    let names = that_take_pods(kube);
    let dns = kube.get(&["pods", "--namespace", "kube-system", "--selector", "k8s-app=kube-dns"]);
    let dns = dns["items"].as_array().expect("a list").iter();
    let dns: BTreeSet<String> =
        dns.filter_map(|pod| pod["spec"]["nodeName"].as_str()).map(str::to_owned).collect();
    let quiet = names.iter().find(|name| dns.contains(*name)).or(names.first());
    let quiet = quiet.expect("at least one").clone();
    (quiet.clone(), names.into_iter().find(|name| *name != quiet))
}

/// So many of the pods are on this node, and the others elsewhere. Nobody plays yet: pods go, and come back where they may.
pub fn place(fleet: &Fleet, selector: &str, node: &str, count: usize) {
    let kube = &fleet.kube;
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        kube.pods(selector).into_iter().partition(|pod| pod.node == node);
    let others = || that_take_pods(kube).into_iter().filter(|other| other != node).collect();
    let (too_many, closed): (&[_], Vec<String>) = if here.len() > count {
        (&here[count..], vec![node.to_owned()])
    } else {
        (&elsewhere[..(count - here.len()).min(elsewhere.len())], others())
    };
    if !too_many.is_empty() {
        let _cordons: Vec<Undo> = closed.iter().map(|node| Undo::cordon(kube, node)).collect();
        for pod in too_many {
            kube.kubectl(&["delete", "pod", &pod.name, "--timeout=120s"]);
        }
        fleet.until_pods(selector, here.len() + elsewhere.len());
    }
    let there = kube.pods(selector).into_iter().filter(|pod| pod.node == node).count();
    assert_eq!(there, count, "pods of {selector} on {node}");
}

#[cfg(test)]
mod tests {
    use super::Node;
    use serde_json::{Value, json};

    fn node(is_ready: &str, is_cordoned: bool, taints: &[(&str, &str)]) -> Node {
        let taint = |(key, effect): &(&str, &str)| json!({ "key": key, "effect": effect });
        let taints: Vec<Value> = taints.iter().map(taint).collect();
        Node::of(&json!({
            "metadata": { "name": "n" },
            "spec": { "unschedulable": is_cordoned, "taints": taints },
            "status": { "conditions": [ { "type": "Ready", "status": is_ready } ] },
        }))
    }

    #[test]
    fn a_node_that_was_not_ready_is_waited_for_until_its_taints_are_gone() {
        let unreachable = ("node.kubernetes.io/unreachable", "NoExecute");
        let unschedulable = ("node.kubernetes.io/unschedulable", "NoSchedule");
        // Ready again, or no longer cordoned, and the controller has not yet looked.
        for node in [node("True", false, &[unreachable]), node("True", false, &[unschedulable])] {
            assert!(!node.takes_pods() && node.will_take_pods(), "{node:?}");
        }
        let down = node("Unknown", false, &[unreachable]);
        assert!(!down.takes_pods() && down.will_take_pods());
    }

    #[test]
    fn a_node_that_is_somebodys_or_cordoned_is_not_waited_for() {
        let control_plane =
            node("True", false, &[("node-role.kubernetes.io/control-plane", "NoSchedule")]);
        let cordoned = node("True", true, &[("node.kubernetes.io/unschedulable", "NoSchedule")]);
        for node in [control_plane, cordoned] {
            assert!(!node.takes_pods() && !node.will_take_pods(), "{node:?}");
        }
        let preferred = node("True", false, &[("somebodys", "PreferNoSchedule")]);
        assert!(preferred.takes_pods() && !preferred.will_take_pods());
    }
}
