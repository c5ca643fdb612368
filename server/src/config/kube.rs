//! Flags of a server that runs in Kubernetes.

use clap::{ArgAction, Args};
use std::time::Duration;

/// What the server may ask of the Kubernetes API, and where it runs. Nothing of it is needed to play.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubeFlags {
    /// Talk to the Kubernetes API as the pod's service account. Play goes on while the API is away
    #[arg(long, env = "FRAY_KUBE", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = ArgAction::Set, requires_if("true", "pod_name"))]
    pub kube: bool,

    /// This pod (downward API: metadata.name)
    #[arg(long, env = "FRAY_POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,

    /// Its namespace (downward API: metadata.namespace) [default: the service account's]
    #[arg(long, env = "FRAY_POD_NAMESPACE", value_name = "NAMESPACE")]
    pub pod_namespace: Option<String>,

    /// Its node (downward API: spec.nodeName). Servers of one node end together: when it is gone, it counts once among those who
    /// must be there for others to go on with its rooms, however many servers were on it
    #[arg(long, env = "FRAY_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// Its zone, for choosing servers nearby; may be empty. With --kube and --kube-service, it is learned from the EndpointSlices
    #[arg(long, env = "FRAY_ZONE", value_name = "ZONE", default_value = "")]
    pub zone: String,

    /// The headless Service of all servers: the watch of its EndpointSlices tells which of them are about to end
    #[arg(long, env = "FRAY_KUBE_SERVICE", value_name = "NAME")]
    pub kube_service: Option<String>,

    /// The Service of the edge: the watch of its EndpointSlices tells for whom --edge-wait waits
    #[arg(long, env = "FRAY_KUBE_EDGE_SERVICE", value_name = "NAME")]
    pub kube_edge_service: Option<String>,

    /// Take no rooms until every edge has asked for this server's health (fray.v1.Play), which shows that it can be reached
    /// from there; but wait no longer than this. Without --kube-edge-service it is always that long. 0s: do not wait
    #[arg(long, env = "FRAY_EDGE_WAIT", value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub edge_wait: Duration,

    /// Keep two annotations on the own pod: how dear its deletion is (pod-deletion-cost), and whether a node with it may be
    /// removed (safe-to-evict). Needs the right to patch pods
    #[arg(long, env = "FRAY_KUBE_ANNOTATE", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub kube_annotate: bool,

    /// Post Events about drains and about rooms that are moved, restored and lost. Needs the right to create and patch events
    #[arg(long, env = "FRAY_KUBE_EVENTS", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub kube_events: bool,
}

impl KubeFlags {
    /// The Service of all servers, if there is one: charts leave an environment variable empty rather than out.
    pub fn service(&self) -> Option<&str> {
        self.kube_service.as_deref().filter(|name| !name.is_empty())
    }

    /// The same of the edge.
    pub fn edge_service(&self) -> Option<&str> {
        self.kube_edge_service.as_deref().filter(|name| !name.is_empty())
    }

    /// The pod's namespace, if it is known.
    pub fn namespace(&self) -> Option<&str> {
        self.pod_namespace.as_deref().filter(|name| !name.is_empty())
    }
}
