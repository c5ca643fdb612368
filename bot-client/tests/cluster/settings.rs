//! What `scripts/test-cluster.sh` says about the cluster and the images.

use serde_json::{Value, json};
use std::env;
use std::path::PathBuf;

/// A command of whoever runs the tests, for what Kubernetes has no verb for. It is run by bash, with arguments.
#[derive(Clone, Debug)]
pub struct Hook(String);

/// See the module.
#[derive(Clone, Debug)]
pub struct Settings {
    pub namespace: String,
    /// Of the kubeconfig; whoever changes the current one meanwhile changes nothing here.
    pub context: String,
    pub image: Image,
    /// The same with rules of the next version.
    pub image_next: Option<Image>,
    pub envoy_image: Option<Image>,
    pub nats_image: Option<Image>,
    pub jaeger_image: Option<Image>,
    /// Ends a node at once: NAME.
    pub node_kill: Option<Hook>,
    /// Starts it again: NAME.
    pub node_start: Option<Hook>,
    /// Runs a command in a node's network, as root: NAME COMMAND...
    pub node_exec: Option<Hook>,
    /// Whether nodes may be drained, cut off and killed: the cluster is for tests.
    pub owns_nodes: bool,
    pub players: u64,
    pub rooms: u64,
    /// Which scenes are played: those whose names contain one of these. Empty: all.
    pub only: Vec<String>,
    /// Also those that nobody needs every time.
    pub long: bool,
    /// How long players may wait, p99 of their longest waits, while something happens by will.
    pub gap_ms: f64,
    /// Where logs, reports and pictures go.
    pub out: PathBuf,
    /// What scenes did to nodes and did not yet undo: see [`super::undo`].
    pub undo: PathBuf,
}

/// Ten times the goal: whoever else uses the machine is in every figure, too.
const GAP_MS: f64 = 5_000.0;

/// REPOSITORY:TAG.
#[derive(Clone, Debug)]
pub struct Image {
    pub repository: String,
    pub tag: String,
}

impl Image {
    fn parse(name: &str) -> Self {
        let (repository, tag) = name.rsplit_once(':').expect("an image is REPOSITORY:TAG");
        assert!(!tag.contains('/'), "{name}: the tag is missing");
        Self { repository: repository.to_owned(), tag: tag.to_owned() }
    }

    pub fn values(&self) -> Value {
        json!({ "repository": self.repository, "tag": self.tag })
    }

    pub fn name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

impl Hook {
    /// Its command with these arguments.
    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &self.0, "hook"]).args(arguments);
        command
    }
}

impl Settings {
    /// `None`: nobody asked for these tests.
    pub fn of_environment() -> Option<Self> {
        text("FRAY_TEST_CLUSTER")?;
        let image = |name| text(name).map(|image| Image::parse(&image));
        let hook = |name| text(name).map(Hook);
        let number =
            |name, default| text(name).map_or(default, |number| number.parse().expect("a number"));
        let gap_ms = text("FRAY_CLUSTER_GAP_MS").map(|gap| gap.parse().expect("a number"));
        let must = |name| {
            text(name).unwrap_or_else(|| panic!("{name} is not set: use scripts/test-cluster.sh"))
        };
        let only = text("FRAY_CLUSTER_ONLY").unwrap_or_default();
        let out = PathBuf::from(must("FRAY_CLUSTER_OUT"));
        Some(Self {
            namespace: must("FRAY_CLUSTER_NAMESPACE"),
            context: must("FRAY_CLUSTER_CONTEXT"),
            image: Image::parse(&must("FRAY_CLUSTER_IMAGE")),
            image_next: image("FRAY_CLUSTER_IMAGE_NEXT"),
            envoy_image: image("FRAY_CLUSTER_ENVOY_IMAGE"),
            nats_image: image("FRAY_CLUSTER_NATS_IMAGE"),
            jaeger_image: image("FRAY_CLUSTER_JAEGER_IMAGE"),
            node_kill: hook("FRAY_CLUSTER_NODE_KILL"),
            node_start: hook("FRAY_CLUSTER_NODE_START"),
            node_exec: hook("FRAY_CLUSTER_NODE_EXEC"),
            owns_nodes: text("FRAY_CLUSTER_NODES").is_some(),
            players: number("FRAY_CLUSTER_PLAYERS", 200),
            rooms: number("FRAY_CLUSTER_ROOMS", 20),
            only: only.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            long: text("FRAY_CLUSTER_LONG").is_some(),
            gap_ms: gap_ms.unwrap_or(GAP_MS),
            undo: text("FRAY_CLUSTER_UNDO").map_or_else(|| out.join("undo"), PathBuf::from),
            out,
        })
    }

    /// The tests' own rules in a node; others may have theirs.
    pub fn table(&self) -> String {
        self.namespace.replace('-', "_")
    }
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
