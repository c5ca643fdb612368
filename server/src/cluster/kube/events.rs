//! Posts news as Events about the own pod.

use super::client::{self, ask};
use super::digest::{Digest, Post};
use crate::cluster::endpoints::EndpointsView;
use crate::cluster::news::NewsReceiver;
use crate::telemetry::Metrics;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most Events that wait while the API is away; then the oldest is dropped, and counted.
const WAITING_MAX: usize = 64;
/// How long it is left alone after it did not answer.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the last Events may take when the server ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);
/// An Event that is this much older than its post says so.
const OLD: Duration = Duration::from_secs(5);

const REPORTER: &str = "fray.dev/server";

/// Posts about a pod.
pub(super) struct Poster {
    client: Client,
    namespace: String,
    pod: String,
    endpoints: EndpointsView,
    metrics: Arc<Metrics>,
    /// What happened, and when.
    waiting: VecDeque<(Instant, Post)>,
}

/// What became of an Event.
enum Posted {
    Done,
    /// The API does not want it, now or ever.
    Refused,
    /// It is tried again.
    Away,
}

impl Poster {
    /// `endpoints` know the pod's uid, without which `kubectl describe` does not find its Events.
    pub(super) fn new(
        client: Client,
        namespace: String,
        pod: String,
        endpoints: EndpointsView,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, namespace, pod, endpoints, metrics, waiting: VecDeque::new() }
    }

    /// Posts until `stop`, and then what still waits.
    pub(super) async fn run(mut self, mut news: NewsReceiver, stop: CancellationToken) {
        let mut digest = Digest::default();
        let mut try_at = Instant::now();
        loop {
            let is_waiting = !self.waiting.is_empty();
            let due = digest.due();
            tokio::select! {
                () = stop.cancelled() => break,
                told = news.next() => match told {
                    Some(told) => self.put(digest.take(told, Instant::now())),
                    None => break,
                },
                () = at(due) => self.put(digest.end()),
                () = tokio::time::sleep_until(try_at), if is_waiting => {
                    // It is in the line while it is posted: nothing is lost if this ends.
                    match stop.run_until_cancelled(self.post_next()).await {
                        Some(true) => try_at = Instant::now(),
                        Some(false) => try_at = Instant::now() + PAUSE,
                        None => break,
                    }
                }
            }
        }
        let farewell = async {
            while let Some(told) = news.next_waiting() {
                self.put(digest.take(told, Instant::now()));
            }
            self.put(digest.end());
            while !self.waiting.is_empty() && self.post_next().await {}
        };
        if tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await.is_err() {
            tracing::warn!("the last Events are not posted: the Kubernetes API does not answer");
        }
    }

    fn put(&mut self, posts: Vec<Post>) {
        let now = Instant::now();
        self.waiting.extend(posts.into_iter().map(|post| (now, post)));
        while self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
            self.metrics.kube.news_dropped.inc();
        }
    }

    /// Posts the oldest. Whether to go on at once.
    async fn post_next(&mut self) -> bool {
        let Some((at, post)) = self.waiting.front().cloned() else { return true };
        match self.post(at, &post).await {
            Posted::Done | Posted::Refused => {
                self.waiting.pop_front();
                true
            }
            Posted::Away => false,
        }
    }

    async fn post(&self, at: Instant, post: &Post) -> Posted {
        let age = at.elapsed();
        let ago = if age >= OLD { format!(" ({} s ago)", age.as_secs()) } else { String::new() };
        let event = Event {
            type_: if post.is_warning { EventType::Warning } else { EventType::Normal },
            reason: post.reason.into(),
            note: Some(format!("{}{ago}", post.note)),
            action: post.action.into(),
            secondary: post.room.clone().map(|room| self.room(room)),
        };
        // A new one each time: it would take a second Event of the same reason for the first again, whatever it says.
        let reporter = Reporter { controller: REPORTER.into(), instance: Some(self.pod.clone()) };
        let recorder = Recorder::new(self.client.clone(), reporter);
        let posted = ask(recorder.publish(&event, &self.pod_reference())).await;
        self.metrics.kube.requested("event", posted.is_ok());
        match posted {
            Ok(()) => Posted::Done,
            Err(error) if is_refusal(&error) => {
                tracing::warn!(%error, reason = post.reason, note = %post.note, "an Event is refused");
                Posted::Refused
            }
            Err(error) => {
                tracing::debug!(%error, "an Event cannot be posted yet");
                Posted::Away
            }
        }
    }

    fn pod_reference(&self) -> ObjectReference {
        let known = self.endpoints.now();
        let mut pods = known.servers.iter().flat_map(BTreeMap::values);
        let own = pods.find(|endpoint| endpoint.pod == self.pod && !endpoint.uid.is_empty());
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(self.pod.clone()),
            namespace: Some(self.namespace.clone()),
            uid: own.map(|own| own.uid.clone()),
            ..ObjectReference::default()
        }
    }

    fn room(&self, room: String) -> ObjectReference {
        ObjectReference {
            api_version: Some("fray.v1".into()),
            kind: Some("Room".into()),
            name: Some(room),
            namespace: Some(self.namespace.clone()),
            ..ObjectReference::default()
        }
    }
}

/// Never, if there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Whether it is of no use to ask again.
fn is_refusal(error: &client::Error) -> bool {
    let client::Error::Api(error) = error else { return false };
    matches!(&**error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
}
