//! The chart, installed.

use super::kube::{Kube, metric, until};
use super::nodes;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// As in the README: Services are then fray-edge, fray-servers, fray-nats.
pub const RELEASE: &str = "fray";

/// How long what was asked for may take to be there.
pub const PATIENCE: Duration = Duration::from_secs(240);

pub const SERVERS: &str = "app.kubernetes.io/component=server";

/// See the module.
pub struct Fleet {
    pub kube: Kube,
    /// Where players' pods are, the directory, and the cluster's DNS: nothing happens to it.
    pub quiet_node: String,
    /// Another one, which may be drained or crash; `None`: there is only one.
    pub busy_node: Option<String>,
    /// How long it took until everything was ready.
    pub took: Duration,
    values: Value,
}

impl Fleet {
    /// Installs the chart with these values, and waits until all of it is ready.
    pub fn install(kube: &Kube, values: &Value) -> Self {
        Self::install_with(kube, values, &[])
    }

    pub fn install_with(kube: &Kube, values: &Value, flags: &[&str]) -> Self {
        let (quiet_node, busy_node) = nodes::choose(kube);
        let mut fleet = Self {
            kube: kube.clone(),
            quiet_node,
            busy_node,
            took: Duration::ZERO,
            values: images(kube),
        };
        let begin = Instant::now();
        fleet.upgrade_with(values, flags);
        fleet.took = begin.elapsed();
        fleet
    }

    /// Servers with these values, and a directory where nothing happens.
    pub fn of_servers(kube: &Kube, servers: &Value) -> Self {
        let (quiet_node, _) = nodes::choose(kube);
        let there = json!({ "kubernetes.io/hostname": quiet_node });
        Self::install(kube, &json!({ "servers": servers, "nats": { "nodeSelector": there } }))
    }

    /// Changes these values on top of those before, and waits until all is as it should be.
    pub fn upgrade(&mut self, values: &Value) {
        self.upgrade_with(values, &[]);
    }

    pub fn upgrade_with(&mut self, values: &Value, flags: &[&str]) {
        merge(&mut self.values, values);
        let file = self.kube.out("values.json");
        std::fs::write(&file, self.values.to_string()).expect("a file");
        let (chart, file) = (chart(), file.display().to_string());
        let chart = chart.display().to_string();
        let mut arguments = vec![
            "upgrade",
            "--install",
            RELEASE,
            &chart,
            "--values",
            &file,
            "--wait",
            "--timeout",
            "240s",
        ];
        arguments.extend(flags);
        self.kube.helm(&arguments);
    }

    /// All of it is gone, but what is kept.
    pub fn uninstall(self) {
        uninstall(&self.kube);
    }

    /// The pods of servers that are not on their way out.
    pub fn servers(&self) -> Vec<Pod> {
        self.kube.pods(SERVERS)
    }

    /// So many servers are ready, and none is on its way out.
    pub fn until_servers(&self, count: usize) {
        self.until_pods(SERVERS, count);
    }

    /// The same of other pods.
    pub fn until_pods(&self, selector: &str, count: usize) {
        until(&format!("{count} pods of {selector}"), PATIENCE, || {
            let pods = self.kube.get(&["pods", "--selector", selector]);
            let pods = pods["items"].as_array().expect("a list").len();
            let ready = self.kube.pods(selector).into_iter().filter(|pod| pod.ready).count();
            (pods == count && ready == count).then_some(())
        });
    }

    /// A rollout has come to its end, and nothing of before is left.
    pub fn until_rolled_out(&self, object: &str) {
        self.kube.kubectl(&["rollout", "status", object, "--timeout=300s"]);
        let path = "/spec/replicas";
        let wanted = self.kube.find(object, path).and_then(|count| count.as_u64());
        if object.ends_with("-servers") {
            self.until_servers(usize::try_from(wanted.expect("a count")).expect("a few"));
        }
    }
}

/// A pod, as far as scenes look at it.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub node: String,
    pub address: String,
    pub ready: bool,
    /// What its own annotation says of it; lower ones go first.
    pub deletion_cost: Option<i64>,
}

impl Kube {
    /// Those that are not on their way out.
    pub fn pods(&self, selector: &str) -> Vec<Pod> {
        let pods = self.get(&["pods", "--selector", selector]);
        let pods = pods["items"].as_array().expect("a list").iter();
        let there = pods.filter(|pod| pod["metadata"].get("deletionTimestamp").is_none());
        there.map(Pod::of).collect()
    }
}

impl Pod {
    fn of(pod: &Value) -> Self {
        let text =
            |pointer| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let conditions = pod["status"]["conditions"].as_array();
        let is_ready =
            |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        let cost = text("/metadata/annotations/controller.kubernetes.io~1pod-deletion-cost");
        Self {
            name: text("/metadata/name"),
            node: text("/spec/nodeName"),
            address: text("/status/podIP"),
            ready: conditions.is_some_and(|all| all.iter().any(is_ready)),
            deletion_cost: cost.parse().ok(),
        }
    }
}

/// How many play on a server.
pub fn players_of(kube: &Kube, server: &str) -> u64 {
    metric(kube, server, "fray_players") as u64
}

pub fn uninstall(kube: &Kube) {
    kube.helm(&["uninstall", RELEASE, "--wait", "--ignore-not-found", "--timeout", "180s"]);
    let ours = format!("app.kubernetes.io/instance={RELEASE}");
    // Helm does not wait for pods.
    until("pods are gone", PATIENCE, || {
        let pods = kube.get(&["pods", "--selector", &ours]);
        pods["items"].as_array().expect("a list").is_empty().then_some(())
    });
}

pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm")
}

/// What this cluster can have.
fn images(kube: &Kube) -> Value {
    let settings = &kube.settings;
    let mut values = json!({
        "image": settings.image.values(),
        // All players come from one address.
        "edge": { "limits": { "join": { "address": { "burst": 400, "perSecond": 200 } } } },
    });
    let parts = [
        ("edge", &settings.envoy_image),
        ("nats", &settings.nats_image),
        ("jaeger", &settings.jaeger_image),
    ];
    for (part, image) in parts {
        if let Some(image) = image {
            values[part]["image"] = image.values();
        }
    }
    values
}

/// Values on top of others, as Helm has it.
fn merge(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                merge(below.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}
