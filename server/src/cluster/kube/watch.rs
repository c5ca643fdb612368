//! Follows the EndpointSlices of a Service. While the API is away, what was known last is still known.

use super::slices::{Change, Slice, Slices};
use crate::cluster::endpoints::{Endpoint, Endpoints};
use crate::telemetry::Metrics;
use futures_util::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long the API holds one request open. A connection that is silently dead is noticed 5 s after that, and not sooner.
const WATCH_TIMEOUT_S: u32 = 30;
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How many slices are asked for at once.
const PAGE: u32 = 64;

/// Whose Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Servers,
    Edges,
}

impl Whose {
    fn name(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Edges => "edges",
        }
    }

    /// Replaces what is known. Whether that makes a difference.
    fn set(self, endpoints: &mut Endpoints, merged: BTreeMap<IpAddr, Endpoint>) -> bool {
        match self {
            Self::Servers => replace(&mut endpoints.servers, Some(merged)),
            Self::Edges => {
                // One that is not ready yet may have asked for servers already, and missed the newest.
                let stays =
                    |(address, edge): (IpAddr, Endpoint)| (!edge.is_terminating).then_some(address);
                let edges = merged.into_iter().filter_map(stays).collect();
                replace(&mut endpoints.edges, Some(edges))
            }
        }
    }

    fn set_current(self, endpoints: &mut Endpoints, is_current: bool) -> bool {
        match self {
            Self::Servers => replace(&mut endpoints.servers_are_current, is_current),
            Self::Edges => replace(&mut endpoints.edges_are_current, is_current),
        }
    }
}

fn replace<T: PartialEq>(old: &mut T, new: T) -> bool {
    let is_new = *old != new;
    *old = new;
    is_new
}

/// A Service that is followed.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) whose: Whose,
    /// What is known, for all who look.
    pub(super) kept: Arc<watch::Sender<Arc<Endpoints>>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Follower {
    /// Follows until `stop`. After each failure it waits longer, and lists everything anew: the library would resume a watch,
    /// but not say that it has.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (what, service) = (self.whose.name(), &self.service);
        let mut known = Slices::default();
        let mut pauses = watcher::DefaultBackoff::default();
        self.tell(&known, false);
        let mut is_said = false;
        while let Some(error) = stop.run_until_cancelled(self.listen(&mut known)).await {
            self.metrics.kube.watch_failed(what);
            if self.tell(&known, false) || !is_said {
                is_said = true;
                tracing::warn!(%error, %service, "{what} are not heard of; what is known of them stays");
            } else {
                tracing::debug!(%error, %service, "{what} are still not heard of");
            }
            let pause = pauses.next().unwrap_or(PAUSE_MAX);
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Lists and listens until something fails.
    async fn listen(&self, known: &mut Slices) -> watcher::Error {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        let config = watcher::Config::default()
            .labels(&format!("kubernetes.io/service-name={}", self.service))
            .timeout(WATCH_TIMEOUT_S)
            .page_size(PAGE);
        let mut changes = pin!(watcher::watcher(slices, config));
        let left_out_before = known.left_out();
        loop {
            let is_complete = match changes.next().await {
                Some(Ok(event)) => known.take(read(event)),
                Some(Err(error)) => return error,
                // The library's stream never ends.
                None => return watcher::Error::NoResourceVersion,
            };
            if is_complete && self.tell(known, true) {
                let (what, service) = (self.whose.name(), &self.service);
                let left_out = known.left_out() - left_out_before;
                if left_out > 0 {
                    tracing::error!(%service, left_out, "the Service has more EndpointSlices than are kept");
                }
                tracing::info!(%service, "{what} are heard of");
            }
        }
    }

    /// Tells all who look. Whether it was otherwise before that changes are heard of, or are not.
    fn tell(&self, known: &Slices, is_current: bool) -> bool {
        self.metrics.kube.watch_is_stale(self.whose.name(), !is_current);
        let mut has_turned = false;
        self.kept.send_if_modified(|endpoints| {
            let mut new = Endpoints::clone(endpoints);
            has_turned = self.whose.set_current(&mut new, is_current);
            let is_new = (is_current && self.whose.set(&mut new, known.merged())) || has_turned;
            if is_new {
                *endpoints = Arc::new(new);
            }
            is_new
        });
        has_turned
    }
}

fn read(event: Event<EndpointSlice>) -> Change {
    match event {
        Event::Init => Change::ListBegan,
        Event::InitApply(slice) => Change::Listed(slice.into()),
        Event::InitDone => Change::ListEnded,
        Event::Apply(slice) => Change::Set(slice.into()),
        Event::Delete(slice) => Change::Gone(Slice::from(slice).name),
    }
}
