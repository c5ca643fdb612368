//! Keeps the own pod's annotations.

use super::annotations::{Annotations, Load, Pace};
use super::client::ask;
use crate::telemetry::Metrics;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// How often the server's load is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How full this server is, whenever it is asked.
pub type LoadOf = Box<dyn Fn() -> Load + Send>;

/// The own pod.
pub(super) struct Annotator {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) metrics: Arc<Metrics>,
}

impl Annotator {
    /// Keeps them until `stop`.
    pub(super) async fn run(self, load: LoadOf, stop: CancellationToken) {
        let mut pace = Pace::default();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            let wanted = Annotations::from(load());
            if !pace.is_due(wanted, Instant::now()) {
                continue;
            }
            let Some(written) = stop.run_until_cancelled(self.write(wanted)).await else { return };
            pace.tried(wanted, written, Instant::now());
        }
    }

    async fn write(&self, wanted: Annotations) -> bool {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let patch = Patch::Merge(serde_json::json!({ "metadata": { "annotations": {
            DELETION_COST: wanted.deletion_cost.to_string(),
            SAFE_TO_EVICT: wanted.is_safe_to_evict.to_string(),
        }}}));
        let written = ask(pods.patch_metadata(&self.pod, &PatchParams::default(), &patch)).await;
        self.metrics.kube.requested("annotate", written.is_ok());
        match written {
            Ok(_) => tracing::debug!(?wanted, "the pod's annotations are written"),
            Err(error) => {
                tracing::warn!(%error, pod = %self.pod, "the pod's annotations cannot be written: scale-in may take a full pod");
                return false;
            }
        }
        true
    }
}
