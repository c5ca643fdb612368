//! What is counted of rooms that go on from the store, after their servers.

use super::register::{count, time};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Why a room went on from the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Restored {
    /// `lost` with its server, or `parked` by it.
    pub cause: &'static str,
}

/// How old states are that rooms go on from, in seconds.
const AGES_S: [f64; 9] = [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0, 300.0];

/// All of it.
#[derive(Debug)]
pub struct Claims {
    restored: Family<Restored, Counter>,
    age: Histogram,
}

impl Default for Claims {
    fn default() -> Self {
        Self { restored: Family::default(), age: Histogram::new(AGES_S) }
    }
}

impl Claims {
    /// A room goes on here; how old its state was, if something may be missing.
    pub fn restored(&self, was_parked: bool, age: Option<Duration>) {
        self.restored.get_or_create(&Restored { cause: cause(was_parked) }).inc();
        if let Some(age) = age {
            self.age.observe(age.as_secs_f64());
        }
    }

    /// How many went on here so far.
    pub fn count(&self, was_parked: bool) -> u64 {
        self.restored.get_or_create(&Restored { cause: cause(was_parked) }).get()
    }

    pub(super) fn register(&self, r: &mut Registry) {
        let help = "Rooms that go on here from the store, after their servers";
        count(r, "rooms_restored", help, &self.restored);
        let help = "How old the state was that a room of a lost server goes on from";
        time(r, "room_restored_age", help, &self.age);
    }

    pub(super) fn make_known_series(&self) {
        for was_parked in [false, true] {
            drop(self.restored.get_or_create(&Restored { cause: cause(was_parked) }));
        }
    }
}

fn cause(was_parked: bool) -> &'static str {
    if was_parked { "parked" } else { "lost" }
}
