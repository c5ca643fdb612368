//! Calls: how many began and ended, how, and how long the short ones took.
//!
//! OpenTelemetry's conventions have one histogram, `rpc.server.call.duration`, for calls of every kind. Most of ours are streams
//! that last until the player leaves: their durations say how long people play, and would hide those of the short calls. So the
//! metrics are our own, and only the labels are the conventions': `rpc_method` is `rpc.method` as Prometheus spells it,
//! `grpc_status` is the text form of `rpc.response.status_code`.

use super::labels::{Method, Outcome};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

/// What is not one of our methods; so that nobody can make up series by calling what does not exist.
pub const OTHER: &str = "other";
/// `Play` by the WebSocket door.
pub const WEBSOCKET: &str = "websocket";

const CANCELLED: i32 = 1;

/// The status's name by its number, as in the conventions.
const STATUS_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What a method has series of before it is called: how calls end well, and how by the server's fault, or its deadline. An alert
/// looks for their increase, which a series that begins with its first call would not have.
const STATUSES_EXPECTED: [&str; 6] =
    ["OK", "UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// What a gRPC status is called.
pub fn status_name(code: i32) -> &'static str {
    usize::try_from(code).ok().and_then(|code| STATUS_NAMES.get(code)).unwrap_or(&"UNKNOWN")
}

/// Calls of all methods.
#[derive(Clone, Debug)]
pub struct Calls {
    started: Family<Method, Counter>,
    finished: Family<Outcome, Counter>,
    in_flight: Family<Method, Gauge>,
    duration: Family<Method, Histogram, fn() -> Histogram>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            started: Family::default(),
            finished: Family::default(),
            in_flight: Family::default(),
            duration: Family::new_with_constructor(|| {
                // Up to the deadline of unary calls; verifying may take longer.
                Histogram::new([
                    0.5e-3, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
                    10.0, 30.0,
                ])
            }),
        }
    }
}

impl Calls {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("rpc_started", "Calls begun", self.started.clone());
        registry.register(
            "rpc_finished",
            "Calls ended, by the gRPC status that ended them; CANCELLED: the client went away",
            self.finished.clone(),
        );
        registry.register("rpc_in_flight", "Calls that run", self.in_flight.clone());
        registry.register_with_unit(
            "rpc_duration",
            "How long calls took; only those whose answer is no stream",
            Unit::Seconds,
            self.duration.clone(),
        );
    }

    /// Makes the series of a method, so that its first call is an increase from 0.
    pub fn expect(&self, rpc_method: &'static str) {
        drop(self.started.get_or_create(&Method { rpc_method }));
        drop(self.in_flight.get_or_create(&Method { rpc_method }));
        for grpc_status in STATUSES_EXPECTED {
            drop(self.finished.get_or_create(&Outcome { rpc_method, grpc_status }));
        }
    }

    /// A call begins. Its duration is noted if the method's answer `is_unary`.
    pub fn begin(&self, rpc_method: &'static str, is_unary: bool) -> Call {
        self.started.get_or_create(&Method { rpc_method }).inc();
        let in_flight = self.in_flight.get_or_create_owned(&Method { rpc_method });
        in_flight.inc();
        Call {
            calls: self.clone(),
            rpc_method,
            in_flight,
            begun: is_unary.then(Instant::now),
            status: CANCELLED,
        }
    }
}

/// One call. It ends when this is dropped; as cancelled, unless it was said how.
#[derive(Debug)]
pub struct Call {
    calls: Calls,
    rpc_method: &'static str,
    in_flight: Gauge,
    begun: Option<Instant>,
    status: i32,
}

impl Call {
    /// The call ends with this gRPC status.
    pub fn end(mut self, status: i32) {
        self.status = status;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let rpc_method = self.rpc_method;
        self.in_flight.dec();
        let outcome = Outcome { rpc_method, grpc_status: status_name(self.status) };
        self.calls.finished.get_or_create(&outcome).inc();
        if let Some(begun) = self.begun {
            let duration = self.calls.duration.get_or_create(&Method { rpc_method });
            duration.observe(begun.elapsed().as_secs_f64());
        }
    }
}
