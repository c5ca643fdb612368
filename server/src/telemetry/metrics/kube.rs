//! What is counted of the Kubernetes API. Without `--kube` nothing is, and nothing is stale.

use super::register::count;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Watched {
    /// `servers` or `edges`.
    pub what: &'static str,
}

/// What was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// `annotate` or `event`.
    pub kind: &'static str,
    /// `ok` or `failed`.
    pub outcome: &'static str,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Kube {
    stale: Family<Watched, Gauge>,
    failures: Family<Watched, Counter>,
    requests: Family<Request, Counter>,
    /// News that waited for too long behind others.
    pub news_dropped: Counter,
}

impl Kube {
    /// Notes whether changes are not heard of.
    pub fn watch_is_stale(&self, what: &'static str, is_stale: bool) {
        self.stale.get_or_create(&Watched { what }).set(i64::from(is_stale));
    }

    /// Notes that a watch failed.
    pub fn watch_failed(&self, what: &'static str) {
        self.failures.get_or_create(&Watched { what }).inc();
    }

    /// Notes a request.
    pub fn requested(&self, kind: &'static str, is_ok: bool) {
        let outcome = if is_ok { "ok" } else { "failed" };
        self.requests.get_or_create(&Request { kind, outcome }).inc();
    }

    pub(super) fn register(&self, r: &mut Registry) {
        let help =
            "1: changes to EndpointSlices are not heard of just now; what was known last still is";
        count(r, "kube_watch_stale", help, &self.stale);
        let help = "Watches of EndpointSlices that failed";
        count(r, "kube_watch_failures", help, &self.failures);
        count(
            r,
            "kube_requests",
            "Requests to the Kubernetes API, without watches",
            &self.requests,
        );
        let help = "News for operators that were not passed on because too many waited";
        count(r, "kube_news_dropped", help, &self.news_dropped);
    }

    pub(super) fn make_known_series(&self) {
        for what in ["servers", "edges"] {
            drop(self.stale.get_or_create(&Watched { what }));
            drop(self.failures.get_or_create(&Watched { what }));
        }
        for kind in ["annotate", "event"] {
            for outcome in ["ok", "failed"] {
                drop(self.requests.get_or_create(&Request { kind, outcome }));
            }
        }
    }
}
