//! Kubernetes: the only place that knows it. Nothing of it is needed to play; while the API is away, what was known last is
//! still known, and the rest catches up later.
//!
//! - [`slices`]: what a Service's EndpointSlices say together, pure; `watch`: follows them.
//! - [`annotations`]: what the own pod's annotations say, and when, pure; `pod`: writes them.
//! - [`digest`]: few Events of much news, pure; `events`: posts them.
//! - `secret`: the fleet's keys, made once. `client`: the way to the API.
//!
//! Architecture Invariant: only files of this folder name the crates `kube` and `k8s_openapi`.

pub mod annotations;
mod client;
pub mod digest;
mod events;
mod pod;
mod secret;
pub mod slices;
#[cfg(test)]
mod slices_tests;
mod watch;
#[cfg(test)]
mod watch_tests;

pub use client::Error;
pub use pod::LoadOf;
pub use secret::{Ensured, ensure};

use super::endpoints::{Endpoints, EndpointsView};
use super::news::NewsReceiver;
use crate::telemetry::{Metrics, spawn_named};
use events::Poster;
use pod::Annotator;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use watch::{Follower, Whose};

/// What is asked of Kubernetes, and about whom.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// This pod.
    pub pod: String,
    /// Its namespace, which all else is in, too; `None`: the service account's.
    pub namespace: Option<String>,
    /// The Service of all servers.
    pub service: Option<String>,
    /// The Service of the edge.
    pub edge_service: Option<String>,
    /// It keeps its pod's annotations.
    pub annotates: bool,
    /// It posts Events.
    pub posts_events: bool,
}

/// A server's way to Kubernetes.
pub struct Kube {
    endpoints: Arc<tokio::sync::watch::Sender<Arc<Endpoints>>>,
    followers: Vec<Follower>,
    annotator: Option<Annotator>,
    poster: Option<(Poster, NewsReceiver)>,
}

impl Kube {
    /// Finds the way; whether the API answers is seen later. The news become Events, if there are to be any.
    pub async fn connect(
        options: Options,
        news: NewsReceiver,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        let (client, default_namespace) = client::connect().await?;
        let Options { pod, namespace, service, edge_service, annotates, posts_events } = options;
        let namespace = namespace.unwrap_or(default_namespace);
        let endpoints = Arc::new(tokio::sync::watch::Sender::default());
        let services = [(service, Whose::Servers), (edge_service, Whose::Edges)];
        let followers = services.into_iter().filter_map(|(service, whose)| {
            Some(Follower {
                client: client.clone(),
                namespace: namespace.clone(),
                service: service?,
                whose,
                kept: Arc::clone(&endpoints),
                metrics: Arc::clone(metrics),
            })
        });
        let followers = followers.collect();
        let annotator = annotates.then(|| Annotator {
            client: client.clone(),
            namespace: namespace.clone(),
            pod: pod.clone(),
            metrics: Arc::clone(metrics),
        });
        let poster = posts_events.then(|| {
            let endpoints = EndpointsView::new(endpoints.subscribe());
            (Poster::new(client, namespace, pod, endpoints, Arc::clone(metrics)), news)
        });
        Ok(Self { endpoints, followers, annotator, poster })
    }

    /// What is known of servers and edges, from now on.
    pub fn endpoints(&self) -> EndpointsView {
        EndpointsView::new(self.endpoints.subscribe())
    }

    /// Follows, posts and patches until `stop`.
    pub fn spawn(self, load: LoadOf, tasks: &TaskTracker, stop: &CancellationToken) {
        for follower in self.followers {
            spawn_named(tasks, "watch of EndpointSlices", follower.run(stop.clone()));
        }
        if let Some(annotator) = self.annotator {
            spawn_named(tasks, "pod's annotations", annotator.run(load, stop.clone()));
        }
        if let Some((poster, news)) = self.poster {
            spawn_named(tasks, "Events", poster.run(news, stop.clone()));
        }
    }
}
