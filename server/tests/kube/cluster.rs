//! A way to the cluster, and names in it that are removed after the test.

use fray_server::cluster::endpoints::{Endpoints, EndpointsView};
use fray_server::cluster::kube::annotations::Load;
use fray_server::cluster::kube::{Kube, Options};
use fray_server::cluster::news::{self, NewsSender};
use fray_server::telemetry::Metrics;
use fray_server::tls;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A long time, after which a test that waits gives up.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// How often something is looked at that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A cluster, for one test.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// What this test's things are called.
    pub(crate) name: String,
}

/// Runs a test on a cluster, if there is to be one, and removes what it made.
pub(crate) fn on_cluster(test: impl AsyncFnOnce(&Cluster)) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if std::env::var_os("FRAY_TEST_CLUSTER").is_none() {
        eprintln!("SKIPPED: no cluster: set FRAY_TEST_CLUSTER=1 and KUBECONFIG");
        return;
    }
    tls::install_provider();
    let runtime = Runtime::new().expect("a runtime");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("fray-test-{}-{count}", std::process::id());
    runtime.block_on(async {
        let config = Config::from_kubeconfig(&KubeConfigOptions::default()).await;
        let config = config.expect("KUBECONFIG names a cluster");
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).expect("a client");
        let cluster = Cluster { client, namespace, name };
        let _clean = Clean(&cluster);
        test(&cluster).await;
    });
}

/// Removes what a test made, however it ends.
struct Clean<'a>(&'a Cluster);

impl Drop for Clean<'_> {
    fn drop(&mut self) {
        let cluster = self.0;
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(cluster.clean());
        });
    }
}

impl Cluster {
    async fn clean(&self) {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _ = self.slices().delete(&self.name, &now).await;
        let edge = format!("{}-edge", self.name);
        let _ = self.slices().delete(&edge, &now).await;
        let _ = self.pods().delete(&self.name, &now).await;
        let _ = self.api::<Secret>().delete(&self.name, &now).await;
        let about = ListParams::default().fields(&format!("regarding.name={}", self.name));
        let _ = self.api::<Event>().delete_collection(&now, &about).await;
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        self.api()
    }

    fn slices(&self) -> Api<EndpointSlice> {
        self.api()
    }

    /// Writes a Service's only slice, with these endpoints. The Service itself is not needed.
    pub(crate) async fn write_slice(&self, service: &str, endpoints: Value) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": service,
                "labels": {
                    "kubernetes.io/service-name": service,
                    // Else the cluster's own controller takes it for its own.
                    "endpointslice.kubernetes.io/managed-by": "fray-tests",
                },
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [],
        });
        let apply = PatchParams::apply("fray-tests").force();
        self.slices().patch(service, &apply, &Patch::Apply(slice)).await.expect("written");
    }

    pub(crate) async fn remove_slice(&self, service: &str) {
        self.slices().delete(service, &DeleteParams::default()).await.expect("removed");
    }

    /// A pod that no node takes. Returns its uid.
    pub(crate) async fn make_pod(&self) -> String {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": self.name},
            "spec": {
                "nodeSelector": {"fray.dev/no-such-node": "true"},
                "containers": [{"name": "none", "image": "none"}],
            },
        }))
        .expect("a pod");
        let made = self.pods().create(&PostParams::default(), &pod).await.expect("made");
        made.metadata.uid.expect("a uid")
    }

    pub(crate) async fn kube(&self, options: Options, load: Load) -> Running {
        let metrics = Arc::new(Metrics::default());
        let (news, receiver) = news::queue(metrics.kube.news_dropped.clone());
        let kube = Kube::connect(options, receiver, &metrics).await.expect("a way");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let endpoints = kube.endpoints();
        kube.spawn(Box::new(move || load), &tasks, &stop);
        tasks.close();
        Running { endpoints, news, metrics, tasks, stop }
    }
}

/// A server's part that talks to the cluster.
pub(crate) struct Running {
    pub(crate) endpoints: EndpointsView,
    pub(crate) news: NewsSender,
    pub(crate) metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    /// Waits until what is known is so.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Endpoints) -> bool) {
        let waited = tokio::time::timeout(WAIT, async {
            while !is_so(&self.endpoints.now()) {
                self.endpoints.changed().await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", self.endpoints.now());
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Looks until there is something.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let waited = tokio::time::timeout(WAIT, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} never came"))
}
