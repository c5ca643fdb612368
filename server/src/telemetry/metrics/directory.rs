//! What is counted of the directory that servers share, and of this server's lease in it.

use super::register::{count, time};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// What was asked of the directory, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// `read`, `create`, `swap`, `remove`, `announce`, `withdraw` or `dismiss`.
    pub kind: &'static str,
    /// `ok`, `conflict`, `away` or `malformed`.
    pub outcome: &'static str,
}

/// All of it. A server alone has no such directory: nothing is counted then.
#[derive(Debug, Default)]
pub struct Directory {
    /// Requests, by kind and outcome.
    requests: Family<Request, Counter>,
    /// Renewals of this server's lease that were answered.
    pub renewals: Counter,
    /// How long ago the newest of them was sent.
    pub lease_age: Gauge<f64, AtomicU64>,
    /// Whether renewals of this server's lease are answered.
    pub reachable: Gauge,
    /// Rooms that stand still because the lease was not renewed.
    pub rooms_frozen: Gauge,
    /// Rooms that had to end because they have, or may have, another owner.
    pub rooms_disowned: Counter,
    /// Records of rooms that were written again after the directory had lost them.
    pub rooms_restored: Counter,
    /// Rooms of servers that are gone, declared lost by this server.
    pub claims: Counter,
    /// Records that cannot be read.
    pub malformed: Counter,
    /// Times that the directory had to be read in full again.
    pub breaks: Counter,
    /// Times that the directory was found emptied or set back.
    pub wipes: Counter,
}

impl Directory {
    /// Notes a request.
    pub fn requested(&self, kind: &'static str, outcome: &'static str) {
        self.requests.get_or_create(&Request { kind, outcome }).inc();
    }

    pub(super) fn register(&self, r: &mut Registry) {
        let help = "Requests to the directory of rooms and servers";
        count(r, "directory_requests", help, &self.requests);
        let help = "Renewals of this server's lease that were answered";
        count(r, "directory_renewals", help, &self.renewals);
        let help = "How long ago the newest renewal that was answered was sent";
        time(r, "directory_lease_age", help, &self.lease_age);
        let help = "Whether a renewal of this server's lease was answered within the last 3 s";
        count(r, "directory_reachable", help, &self.reachable);
        let help = "Rooms that stand still because the lease was not renewed";
        count(r, "directory_rooms_frozen", help, &self.rooms_frozen);
        let help = "Rooms that had to end because they have, or may have, another owner";
        count(r, "directory_rooms_disowned", help, &self.rooms_disowned);
        let help = "Records of rooms that the directory had lost and this server wrote again";
        count(r, "directory_rooms_restored", help, &self.rooms_restored);
        let help = "Rooms of servers that are gone, declared lost by this server";
        count(r, "directory_claims", help, &self.claims);
        let help = "Records in the directory that cannot be read";
        count(r, "directory_malformed", help, &self.malformed);
        let help = "Tries to follow the directory that came to a break";
        count(r, "directory_breaks", help, &self.breaks);
        let help = "Times that the directory was found emptied or set back";
        count(r, "directory_wipes", help, &self.wipes);
    }

    pub(super) fn make_known_series(&self) {
        let writes = ["create", "swap", "remove", "announce", "withdraw", "dismiss"];
        for outcome in ["ok", "conflict", "away", "malformed"] {
            for kind in writes.iter().chain(&["read"]) {
                drop(self.requests.get_or_create(&Request { kind, outcome }));
            }
        }
    }
}
