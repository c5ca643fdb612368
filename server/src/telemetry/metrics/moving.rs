//! What is counted of rooms that move from one server to another.

use super::register::{count, time};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What came of giving a room away.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Departed {
    /// `moved`, `parked`, `refused`, `unknown` or `stayed`.
    pub outcome: &'static str,
}

/// All outcomes.
const OUTCOMES: [&str; 5] = ["moved", "parked", "refused", "unknown", "stayed"];
/// How long rooms stand still, in seconds.
const STILL_S: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// All of it.
#[derive(Debug)]
pub struct Moving {
    /// Rooms that came from other servers.
    pub arrived: Counter,
    departed: Family<Departed, Counter>,
    /// How long rooms that moved stood still.
    pub still: Histogram,
}

impl Default for Moving {
    fn default() -> Self {
        Self {
            arrived: Counter::default(),
            departed: Family::default(),
            still: Histogram::new(STILL_S),
        }
    }
}

impl Moving {
    /// Notes an attempt to give a room away.
    pub fn departed(&self, outcome: &'static str) {
        self.departed.get_or_create(&Departed { outcome }).inc();
    }

    pub(super) fn register(&self, r: &mut Registry) {
        let help = "Rooms that came from other servers of the fleet";
        count(r, "rooms_arrived", help, &self.arrived);
        let help = "Attempts to give a room to another server, by what came of them";
        count(r, "rooms_departed", help, &self.departed);
        let help = "How long rooms that moved stood still";
        time(r, "room_move", help, &self.still);
    }

    pub(super) fn make_known_series(&self) {
        for outcome in OUTCOMES {
            drop(self.departed.get_or_create(&Departed { outcome }));
        }
    }
}
