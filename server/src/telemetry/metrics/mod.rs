//! Metrics for Prometheus, by its official client library. The number of series is fixed: see [`labels`]. All names are in
//! `docs/METRICS.md`, and a test compares.
//!
//! - [`Metrics`]: what the server counts; `register.rs` gives each its name. [`rpc`]: calls. [`directory`]: the fleet's directory.
//!   [`kube`]: the Kubernetes API.
//! - `process.rs`, `runtime.rs`: what is read from the system, from tokio and from [`Health`] at each scrape.
//!
//! Counters and gauges are single atomic numbers, and the only ones that are touched per move and per update. The library's
//! histograms take a lock for each value: a room gives them its values once a tick, after the frame is out, and a stream
//! once a second.

pub mod claims;
pub mod connections;
pub mod directory;
pub mod kube;
pub mod labels;
pub mod moving;
#[cfg(target_os = "linux")]
mod process;
mod register;
pub mod rpc;
mod runtime;
#[cfg(test)]
mod tests;

use super::Health;
use super::traces::export;
use fray_proto::trace::TraceContext;
use labels::{Build, Door, Reason, Source, TraceLabel, Verdict};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// All metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Rooms that run.
    pub rooms: Gauge,
    /// Rooms that did not tick when somebody looked.
    pub rooms_stalled: Gauge,
    /// Rooms that broke while they ran.
    pub rooms_failed: Counter,
    /// Streams of players.
    pub players: Gauge,
    /// Players for whom there may be rooms.
    pub capacity_players: Gauge,
    /// The most rooms.
    pub capacity_rooms: Gauge,
    /// Connections of players.
    pub connections: connections::Connections,
    /// Connections that are let in at once.
    pub capacity_connections: Gauge,
    /// Streams of spectators.
    pub spectators: Gauge,
    /// Pages that look on.
    pub onlookers: Gauge,
    /// What they were sent.
    pub events: Counter,
    /// Streams that show a recording.
    pub replays: Gauge,
    /// Jobs that wait for the threads of replays.
    pub replay_jobs_waiting: Gauge,
    /// Ticks played again, to watch or to verify.
    pub replayed_ticks: Counter,
    /// Recordings verified, by verdict.
    pub verifications: Family<Verdict, Counter>,
    /// Calls, by gRPC and by WebSocket.
    pub rpc: rpc::Calls,
    /// Times that the browser's page was served.
    pub pages: Counter,
    /// Streams opened, by door.
    pub streams: Family<Door, Counter>,
    /// Streams carried on to the server that has their room, by door.
    pub relayed: Family<Door, Counter>,
    /// Those that are open.
    pub relays: Gauge,
    /// Updates written.
    pub updates: Counter,
    /// Their bytes, before HTTP/2.
    pub update_bytes: Counter,
    /// Updates held back because the client had not acknowledged enough.
    pub updates_held_back: Counter,
    /// Bytes of cells that were encoded: each once.
    pub encoded_bytes: Counter,
    /// Bytes of cells that went into updates: each as often as it was shared.
    pub spliced_bytes: Counter,
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
    /// Late ticks, desyncs and panics.
    pub incidents: Family<Reason, Counter>,
    /// Keys that verify tickets.
    pub ticket_keys: Gauge,
    /// Spans that the collector took.
    pub spans_exported: Counter,
    /// Spans that were not sent: the queue was full.
    pub spans_dropped: Counter,
    /// Spans that were sent and not taken.
    pub spans_failed: Counter,
    /// Log records that were left out because there were too many of their kind.
    pub log_suppressed: Counter,
    reload_failures: Family<Source, Counter>,
    handshakes_failed: Family<Reason, Counter>,
    /// The directory that servers share.
    pub directory: directory::Directory,
    /// Rooms that go on from the store.
    pub claims: claims::Claims,
    /// Rooms that move between servers.
    pub moving: moving::Moving,
    /// The Kubernetes API.
    pub kube: self::kube::Kube,
    build: Family<Build, Gauge>,
    store_disk_errors: Counter,
    store_chunks_lost: Counter,
    ticks: Counter,
    ticks_late: Counter,
    ticks_skipped: Counter,
    tick_period: Gauge<f64, AtomicU64>,
    tick_duration: HistogramWithExemplars<TraceLabel>,
    tick_lateness: HistogramWithExemplars<TraceLabel>,
    move_wait: HistogramWithExemplars<TraceLabel>,
    move_queue_depth: Histogram,
    staleness: Histogram,
    staleness_window: Gauge<f64, AtomicU64>,
    clients_stale: Counter,
}

/// How long a move waited to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// From its arrival to the start of its tick.
    pub took: Duration,
    /// The move's trace, if it is sampled.
    pub trace: Option<TraceContext>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&Arc::default())
    }
}

impl Metrics {
    /// With what `health` says. Within a tokio runtime, its metrics are there, too.
    pub fn new(health: &Arc<Health>) -> Self {
        // From 20 µs, a small room's tick, to 1 s, in steps of less than three. 50 ms is the time of a tick at 20 Hz.
        let tick_buckets = || {
            HistogramWithExemplars::new(
                [
                    20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3,
                    100e-3, 200e-3, 500e-3, 1.0,
                ]
                .into_iter(),
            )
        };
        let mut metrics = Self {
            registry: Registry::default(),
            rooms: Gauge::default(),
            rooms_stalled: Gauge::default(),
            rooms_failed: Counter::default(),
            players: Gauge::default(),
            capacity_players: Gauge::default(),
            capacity_rooms: Gauge::default(),
            connections: connections::Connections::default(),
            capacity_connections: Gauge::default(),
            spectators: Gauge::default(),
            onlookers: Gauge::default(),
            events: Counter::default(),
            replays: Gauge::default(),
            replay_jobs_waiting: Gauge::default(),
            replayed_ticks: Counter::default(),
            verifications: Family::default(),
            rpc: rpc::Calls::default(),
            pages: Counter::default(),
            streams: Family::default(),
            relayed: Family::default(),
            relays: Gauge::default(),
            updates: Counter::default(),
            update_bytes: Counter::default(),
            updates_held_back: Counter::default(),
            encoded_bytes: Counter::default(),
            spliced_bytes: Counter::default(),
            moves_received: Counter::default(),
            moves_applied: Counter::default(),
            moves_refused: Counter::default(),
            resumes: Counter::default(),
            resyncs: Family::default(),
            refusals: Family::default(),
            log_bytes: Counter::default(),
            log_chunks_lost: Counter::default(),
            store_bytes: Gauge::default(),
            incidents: Family::default(),
            ticket_keys: Gauge::default(),
            spans_exported: Counter::default(),
            spans_dropped: Counter::default(),
            spans_failed: Counter::default(),
            log_suppressed: Counter::default(),
            reload_failures: Family::default(),
            handshakes_failed: Family::default(),
            directory: directory::Directory::default(),
            claims: claims::Claims::default(),
            moving: moving::Moving::default(),
            kube: self::kube::Kube::default(),
            build: Family::default(),
            store_disk_errors: Counter::default(),
            store_chunks_lost: Counter::default(),
            ticks: Counter::default(),
            ticks_late: Counter::default(),
            ticks_skipped: Counter::default(),
            tick_period: Gauge::default(),
            tick_duration: tick_buckets(),
            tick_lateness: tick_buckets(),
            // Moves wait for the next tick: at 20 Hz, evenly up to 50 ms. More is a queue.
            move_wait: HistogramWithExemplars::new(
                [
                    1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 30e-3, 40e-3, 50e-3, 75e-3, 0.1, 0.15, 0.2,
                    0.3, 0.5, 1.0, 2.0, 5.0,
                ]
                .into_iter(),
            ),
            move_queue_depth: Histogram::new([0., 1., 2., 3., 4., 6., 8., 16., 32., 48., 64.]),
            // The window of staleness is 1 s unless it is set otherwise; a client that is gone is noticed after 15 s.
            staleness: Histogram::new([
                0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 15.0,
            ]),
            staleness_window: Gauge::default(),
            clients_stale: Counter::default(),
        };
        metrics.register(health);
        metrics
    }

    /// Notes a tick: how long it took, how late it began, how many ticks' time was given up before it; and where to see it.
    /// It counts as late if the next one was due before it began, see [`Self::set_tick_rate`].
    pub fn tick_made(
        &self,
        took: Duration,
        late: Duration,
        skipped: u64,
        trace: Option<TraceContext>,
    ) {
        observe(&self.tick_duration, took, trace);
        observe(&self.tick_lateness, late, trace);
        self.ticks.inc();
        if late.as_secs_f64() > self.tick_period.get() {
            self.ticks_late.inc();
        }
        if skipped > 0 {
            self.ticks_skipped.inc_by(skipped);
        }
    }

    /// Notes what a tick took from the queues: how long each move waited, and the most that waited for one player.
    pub fn moves_drained(&self, waits: &[Wait], depth_max: usize) {
        for wait in waits {
            observe(&self.move_wait, wait.took, wait.trace);
        }
        self.move_queue_depth.observe(depth_max as f64);
    }

    /// Notes how far a client is behind the newest tick, its acknowledgement's way included. Once a second and stream. It
    /// counts as stale beyond half of the window, see [`Self::set_staleness_window`]: at the whole of it nothing is sent any more.
    pub fn client_is_behind(&self, ticks: u32, tick_rate_hz: u32) {
        let behind_s = f64::from(ticks) / f64::from(tick_rate_hz.max(1));
        self.staleness.observe(behind_s);
        if behind_s > self.staleness_window.get() / 2.0 {
            self.clients_stale.inc();
        }
    }

    /// Notes what an update is made of.
    pub fn cells_spliced(&self, encoded_bytes: u64, spliced_bytes: u64) {
        if encoded_bytes > 0 {
            self.encoded_bytes.inc_by(encoded_bytes);
        }
        self.spliced_bytes.inc_by(spliced_bytes);
    }

    /// Says which game runs here.
    pub fn set_game(&self, game: &'static str, sim_version: u32) {
        let (version, revision) = (env!("CARGO_PKG_VERSION"), super::REVISION);
        self.build.get_or_create(&Build { version, revision, game, sim_version }).set(1);
    }

    /// Says how many ticks a second rooms are to make.
    pub fn set_tick_rate(&self, tick_rate_hz: u32) {
        self.tick_period.set(1.0 / f64::from(tick_rate_hz.max(1)));
    }

    /// Says how far a client may be behind before updates to it are held back.
    pub fn set_staleness_window(&self, window: Duration) {
        self.staleness_window.set(window.as_secs_f64());
    }

    /// Takes over what the store has counted since the start.
    pub fn store_stands(&self, bytes: u64, disk_errors: u64, chunks_lost: u64) {
        self.store_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.store_disk_errors.inner().store(disk_errors, Ordering::Relaxed);
        self.store_chunks_lost.inner().store(chunks_lost, Ordering::Relaxed);
    }

    /// What the exporter of traces counts in.
    pub fn span_counts(&self) -> export::Counts {
        export::Counts {
            exported: self.spans_exported.clone(),
            dropped: self.spans_dropped.clone(),
            failed: self.spans_failed.clone(),
        }
    }

    /// Makes the series of refusals for these reasons, so that the first of each is an increase from 0.
    pub fn expect_refusals(&self, reasons: impl IntoIterator<Item = &'static str>) {
        expect(&self.refusals, reasons);
    }

    /// The same, of copies of the world that are asked for again.
    pub fn expect_resyncs(&self, reasons: impl IntoIterator<Item = &'static str>) {
        expect(&self.resyncs, reasons);
    }

    /// The same, of TLS handshakes that come to nothing.
    pub fn expect_handshakes_failed(&self, reasons: impl IntoIterator<Item = &'static str>) {
        expect(&self.handshakes_failed, reasons);
    }

    /// The same, of files that are read again and cannot be used.
    pub fn expect_reload_failures(&self, sources: impl IntoIterator<Item = &'static str>) {
        for source in sources {
            drop(self.reload_failures.get_or_create(&Source { source }));
        }
    }

    /// Notes that a connection came to nothing before anything was said.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshakes_failed.get_or_create(&Reason { reason }).inc();
    }

    /// Notes that files were read again and cannot be used.
    pub fn reload_failed(&self, source: &'static str) {
        self.reload_failures.get_or_create(&Source { source }).inc();
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

fn expect(counters: &Family<Reason, Counter>, reasons: impl IntoIterator<Item = &'static str>) {
    for reason in reasons {
        drop(counters.get_or_create(&Reason { reason }));
    }
}

fn observe(
    histogram: &HistogramWithExemplars<TraceLabel>,
    took: Duration,
    trace: Option<TraceContext>,
) {
    let label = trace.map(|trace| TraceLabel { trace_id: trace.trace_id_hex() });
    let at = label.as_ref().map(|_| SystemTime::now());
    histogram.observe(took.as_secs_f64(), label, at);
}
