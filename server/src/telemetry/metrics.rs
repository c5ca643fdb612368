//! Metrics for Prometheus, by its official client library. No label is a player or a room: the number of series is fixed.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// Why something was refused, or a stream ended: the reasons of the wire's `ErrorInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// As in `ErrorInfo.reason`.
    pub reason: &'static str,
}

/// By which door something came in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Door {
    /// "grpc", "websocket", "watch" or "replay".
    pub door: &'static str,
}

/// How a recording came out that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Verdict {
    /// "same", "differs", "damaged" or "panicked".
    pub verdict: &'static str,
}

/// All metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Rooms that run.
    pub rooms: Gauge,
    /// Streams of players.
    pub players: Gauge,
    /// Streams of spectators.
    pub spectators: Gauge,
    /// Streams that show a recording.
    pub replays: Gauge,
    /// Jobs that wait for the threads of replays.
    pub replay_jobs_waiting: Gauge,
    /// Ticks played again, to watch or to verify.
    pub replayed_ticks: Counter,
    /// Recordings verified, by verdict.
    pub verifications: Family<Verdict, Counter>,
    /// Streams opened, by door.
    pub streams: Family<Door, Counter>,
    /// Updates written.
    pub updates: Counter,
    /// Their bytes, before HTTP/2.
    pub update_bytes: Counter,
    /// Updates held back because the client had not acknowledged enough.
    pub updates_held_back: Counter,
    /// Moves received.
    pub moves_received: Counter,
    /// Moves applied in ticks, refused ones included.
    pub moves_applied: Counter,
    /// Moves that the game refused.
    pub moves_refused: Counter,
    /// Streams that continued a session.
    pub resumes: Counter,
    /// Replicas that asked to start again, by reason.
    pub resyncs: Family<Reason, Counter>,
    /// Requests refused and streams ended with an error, by reason.
    pub refusals: Family<Reason, Counter>,
    /// Bytes of rooms' logs handed to the store.
    pub log_bytes: Counter,
    /// Parts of rooms' logs that the store could not take.
    pub log_chunks_lost: Counter,
    /// The length of all recordings.
    pub store_bytes: Gauge,
    /// Calls that the disk refused, so far.
    pub store_disk_errors: Gauge,
    /// Parts of logs that the store had taken and could not write, so far.
    pub store_chunks_lost: Gauge,
    /// Late ticks, desyncs and panics.
    pub incidents: Family<Reason, Counter>,
    /// Lines of the process's own log that were not written, because too many like them were.
    pub log_lines_suppressed: Counter,
    ticks_skipped: Counter,
    tick_duration: Histogram,
    tick_lateness: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 20 µs, a small room's tick, to 1 s, in steps of less than three.
        let tick_buckets = || {
            [
                20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3,
                100e-3, 200e-3, 500e-3, 1.0,
            ]
        };
        let mut metrics = Self {
            registry: Registry::with_prefix("fray"),
            rooms: Gauge::default(),
            players: Gauge::default(),
            spectators: Gauge::default(),
            replays: Gauge::default(),
            replay_jobs_waiting: Gauge::default(),
            replayed_ticks: Counter::default(),
            verifications: Family::default(),
            streams: Family::default(),
            updates: Counter::default(),
            update_bytes: Counter::default(),
            updates_held_back: Counter::default(),
            moves_received: Counter::default(),
            moves_applied: Counter::default(),
            moves_refused: Counter::default(),
            resumes: Counter::default(),
            resyncs: Family::default(),
            refusals: Family::default(),
            log_bytes: Counter::default(),
            log_chunks_lost: Counter::default(),
            store_bytes: Gauge::default(),
            store_disk_errors: Gauge::default(),
            store_chunks_lost: Gauge::default(),
            incidents: Family::default(),
            log_lines_suppressed: Counter::default(),
            ticks_skipped: Counter::default(),
            tick_duration: Histogram::new(tick_buckets()),
            tick_lateness: Histogram::new(tick_buckets()),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("rooms", "Rooms that run", self.rooms.clone());
        r.register("players", "Open streams of players", self.players.clone());
        r.register("spectators", "Open streams of spectators", self.spectators.clone());
        r.register("streams", "Streams opened", self.streams.clone());
        r.register("replays", "Open streams of recordings", self.replays.clone());
        r.register(
            "replay_jobs_waiting",
            "Jobs that wait for the threads of replays",
            self.replay_jobs_waiting.clone(),
        );
        r.register("replayed_ticks", "Ticks played again", self.replayed_ticks.clone());
        r.register("verifications", "Recordings verified", self.verifications.clone());
        r.register("updates", "Updates written", self.updates.clone());
        r.register_with_unit(
            "update",
            "Bytes of updates written",
            Unit::Bytes,
            self.update_bytes.clone(),
        );
        r.register(
            "updates_held_back",
            "Updates held back for want of acknowledgements",
            self.updates_held_back.clone(),
        );
        r.register("moves_received", "Moves received", self.moves_received.clone());
        r.register("moves_applied", "Moves applied in ticks", self.moves_applied.clone());
        r.register("moves_refused", "Moves that the game refused", self.moves_refused.clone());
        r.register("resumes", "Streams that continued a session", self.resumes.clone());
        r.register("resyncs", "Replicas that asked to start again", self.resyncs.clone());
        r.register(
            "refusals",
            "Requests refused and streams ended with an error",
            self.refusals.clone(),
        );
        r.register_with_unit(
            "log",
            "Bytes of rooms' logs handed to the store",
            Unit::Bytes,
            self.log_bytes.clone(),
        );
        r.register(
            "log_chunks_lost",
            "Parts of rooms' logs that the store could not take",
            self.log_chunks_lost.clone(),
        );
        r.register_with_unit(
            "store",
            "Length of all recordings",
            Unit::Bytes,
            self.store_bytes.clone(),
        );
        r.register(
            "store_disk_errors",
            "Calls that the store's disk refused since the start",
            self.store_disk_errors.clone(),
        );
        r.register(
            "store_chunks_lost",
            "Parts of rooms' logs that the store had taken and could not write since the start",
            self.store_chunks_lost.clone(),
        );
        r.register(
            "incidents",
            "Late ticks, desyncs reported by clients, panics of a game's rules",
            self.incidents.clone(),
        );
        r.register(
            "log_lines_suppressed",
            "Lines of the process's own log that were not written, because too many like them were",
            self.log_lines_suppressed.clone(),
        );
        r.register(
            "ticks_skipped",
            "Ticks given up because the room was too late",
            self.ticks_skipped.clone(),
        );
        r.register_with_unit(
            "tick_duration",
            "How long a tick takes",
            Unit::Seconds,
            self.tick_duration.clone(),
        );
        r.register_with_unit(
            "tick_lateness",
            "How late a tick starts",
            Unit::Seconds,
            self.tick_lateness.clone(),
        );
    }

    /// Notes a tick: how long it took, how late it began, how many ticks' time was given up before it.
    pub fn tick_made(&self, took: Duration, late: Duration, skipped: u64) {
        self.tick_duration.observe(took.as_secs_f64());
        self.tick_lateness.observe(late.as_secs_f64());
        if skipped > 0 {
            self.ticks_skipped.inc_by(skipped);
        }
    }

    /// Notes a refusal.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&Reason { reason }).inc();
    }

    /// All of it, in the text format that Prometheus scrapes.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics cannot be written as text");
        }
        text
    }
}
