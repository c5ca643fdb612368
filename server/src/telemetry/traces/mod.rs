//! Traces: where a move spent its time, and which room's tick was slow and why. `docs/TRACING.md` is the guide.
//!
//! An endless stream has no useful span: it ends when the player leaves. So moves and ticks are traced. Whether a move is sampled is
//! decided when it comes; its times are noted on its way, and its spans written afterwards, by the room, when nobody waits.
//! Off, all that is left of it is a check whether it is on.
//!
//! - [`moves`], [`ticks`], [`session`]: the spans of each. [`calls`]: unary calls. [`client`]: what bots write. [`names`]: what they are called.
//! - [`export`]: the way to the collector; [`budget`]: how many traces peers may ask for.

pub mod budget;
pub mod calls;
pub mod client;
pub mod export;
mod ids;
pub mod moves;
pub mod names;
pub mod session;
mod span;
pub mod ticks;

pub use calls::Peer;
pub use moves::{AppliedMove, MoveTrace};
pub use session::SessionTrace;
pub use ticks::{Phases, TickTrace};

use budget::Budget;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use rand::RngExt as _;
use std::time::Duration;
use tokio::time::Instant;

/// Late ticks are traced whatever the ratio is, but not all of a thousand rooms on a machine that is too busy.
const LATE_TICKS_PER_S_MAX: u32 = 20;

/// How much is traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Which share of the moves, 0 to 1, whether or not their clients trace them.
    pub moves: f64,
    /// Which share of the ticks, 0 to 1. Late ones, and those that applied a sampled move, come on top.
    pub ticks: f64,
    /// How many traces that clients began are continued each second; beyond that they are linked, if at all.
    pub peers_per_s: u32,
}

/// Whether and how this process traces.
#[derive(Debug, Default)]
pub struct Traces {
    on: Option<On>,
}

#[derive(Debug)]
struct On {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    settings: Settings,
    began: Instant,
    peers: Budget,
    late_ticks: Budget,
}

impl Traces {
    /// Nothing is traced.
    pub fn off() -> Self {
        Self::default()
    }

    /// Spans go to this provider, made by [`export::provider`] or [`export::builder`].
    pub fn on(provider: SdkTracerProvider, settings: Settings) -> Self {
        let now = Instant::now();
        let tracer = provider.tracer("fray");
        let peers = Budget::per_s(settings.peers_per_s, now);
        let late_ticks = Budget::per_s(LATE_TICKS_PER_S_MAX, now);
        Self { on: Some(On { provider, tracer, settings, began: now, peers, late_ticks }) }
    }

    /// Whether anything is traced.
    pub fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// How many of its traces a stream may have continued each second: half of what all may have, so that no one client can
    /// use it up for the others.
    pub fn peers_per_s(&self) -> u32 {
        self.on.as_ref().map_or(0, |on| on.settings.peers_per_s.div_ceil(2))
    }

    /// For `tracing`'s spans: what its layer writes to.
    pub fn tracer(&self) -> Option<SdkTracer> {
        self.on.as_ref().map(|on| on.tracer.clone())
    }

    /// Writes what waits, for no longer than `timeout`. Blocks.
    pub fn shut_down(&self, timeout: Duration) {
        if let Some(on) = &self.on
            && let Err(error) = on.provider.shutdown_with_timeout(timeout)
        {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }

    /// Waits until what was written is exported. Blocks; for tests.
    pub fn flush(&self) {
        if let Some(on) = &self.on
            && let Err(error) = on.provider.force_flush()
        {
            tracing::warn!(%error, "traces were not exported");
        }
    }

    /// µs since tracing began: what [`crate::replication::traced::Sends`] counts in.
    pub fn us(&self, now: Instant) -> u64 {
        let since = self.on.as_ref().map(|on| now.saturating_duration_since(on.began));
        since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Whether one of so many is to be sampled.
fn is_drawn(share: f64) -> bool {
    share > 0.0 && (share >= 1.0 || rand::rng().random::<f64>() < share)
}
