//! The name of every metric. Counters get `_total`, what has a unit gets that.

use super::super::Health;
use super::Metrics;
use super::labels::{Door, Reason, Verdict};
use super::runtime::{HealthCollector, RuntimeCollector};
use prometheus_client::registry::{Metric, Registry, Unit};
use std::sync::Arc;

impl Metrics {
    pub(super) fn register(&mut self, health: &Arc<Health>) {
        #[cfg(target_os = "linux")]
        self.registry.register_collector(Box::new(super::process::ProcessCollector::new()));
        let mut registry = std::mem::take(&mut self.registry);
        let fray = registry.sub_registry_with_prefix("fray");
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            fray.register_collector(Box::new(RuntimeCollector(runtime)));
        }
        fray.register_collector(Box::new(HealthCollector(Arc::clone(health))));
        count(fray, "build_info", "1: what runs here", &self.build);
        self.register_play(fray);
        self.register_doors(fray);
        self.register_recordings(fray);
        self.register_telemetry(fray);
        self.directory.register(fray);
        self.claims.register(fray);
        self.moving.register(fray);
        self.kube.register(fray);
        self.registry = registry;
        self.make_known_series();
    }

    fn register_play(&self, r: &mut Registry) {
        count(r, "rooms", "Rooms that run", &self.rooms);
        count(r, "rooms_stalled", "Rooms that made no tick for 5 s", &self.rooms_stalled);
        count(r, "rooms_failed", "Rooms that broke while they ran", &self.rooms_failed);
        count(r, "players", "Open streams of players", &self.players);
        let help =
            "Players for whom there may be rooms: most rooms, times the most players in each";
        count(r, "capacity_players", help, &self.capacity_players);
        count(r, "capacity_rooms", "The most rooms", &self.capacity_rooms);
        count(r, "spectators", "Open streams of spectators", &self.spectators);
        count(r, "relays", "Open streams that are carried on to another server", &self.relays);
        count(r, "moves_received", "Moves received", &self.moves_received);
        count(r, "moves_applied", "Moves applied in ticks", &self.moves_applied);
        count(r, "moves_refused", "Moves that the game refused", &self.moves_refused);
        let help = "How long moves waited, from their arrival to the start of their tick";
        time(r, "move_wait", help, &self.move_wait);
        let help =
            "The most moves that waited for any one player when a tick took them, once a tick";
        count(r, "move_queue_depth", help, &self.move_queue_depth);
        time(r, "tick_duration", "How long a tick takes", &self.tick_duration);
        time(r, "tick_lateness", "How late a tick starts", &self.tick_lateness);
        time(r, "tick_period", "The time between two ticks, as configured", &self.tick_period);
        count(r, "ticks", "Ticks made", &self.ticks);
        let help = "Ticks that began after the next one was due";
        count(r, "ticks_late", help, &self.ticks_late);
        let help = "Ticks given up because the room was too late";
        count(r, "ticks_skipped", help, &self.ticks_skipped);
        let help = "Late ticks, desyncs reported by clients, panics of a game's rules";
        count(r, "incidents", help, &self.incidents);
    }

    fn register_doors(&self, r: &mut Registry) {
        self.rpc.register(r);
        count(r, "pages", "Times that the browser's page was served", &self.pages);
        self.connections.register(r);
        let help = "TLS handshakes of players' connections that came to nothing";
        count(r, "tls_handshakes_failed", help, &self.handshakes_failed);
        let help = "Connections that are let in at once";
        count(r, "capacity_connections", help, &self.capacity_connections);
        count(r, "streams", "Streams opened", &self.streams);
        count(
            r,
            "streams_relayed",
            "Streams carried on to the server that has their room",
            &self.relayed,
        );
        count(r, "onlookers", "Pages that look on by server-sent events", &self.onlookers);
        count(r, "events", "Server-sent events for pages that look on", &self.events);
        count(r, "updates", "Updates written", &self.updates);
        bytes(r, "update", "Bytes of updates written", &self.update_bytes);
        let help = "Updates held back for want of acknowledgements";
        count(r, "updates_held_back", help, &self.updates_held_back);
        let help = "Bytes of cells encoded in rooms that run: each once, however many see it";
        bytes(r, "cells_encoded", help, &self.encoded_bytes);
        let help = "Bytes of cells that went into updates of rooms that run";
        bytes(r, "cells_spliced", help, &self.spliced_bytes);
        let help = "How far clients are behind the newest tick, by what they acknowledged; once a second and stream";
        time(r, "staleness", help, &self.staleness);
        let help = "How far clients may be behind before updates are held back, as configured";
        time(r, "staleness_window", help, &self.staleness_window);
        let help = "Looks at which a client was behind by more than half of the window";
        count(r, "clients_stale", help, &self.clients_stale);
        count(r, "resumes", "Streams that continued a session", &self.resumes);
        count(r, "resyncs", "Replicas that asked to start again", &self.resyncs);
        let help = "Requests refused and streams ended with an error";
        count(r, "refusals", help, &self.refusals);
    }

    fn register_recordings(&self, r: &mut Registry) {
        count(r, "replays", "Open streams of recordings", &self.replays);
        let help = "Jobs that wait for the threads of replays";
        count(r, "replay_jobs_waiting", help, &self.replay_jobs_waiting);
        count(r, "replayed_ticks", "Ticks played again", &self.replayed_ticks);
        count(r, "verifications", "Recordings verified", &self.verifications);
        bytes(r, "log", "Bytes of rooms' logs handed to the store", &self.log_bytes);
        let help = "Parts of rooms' logs that the store could not take";
        count(r, "log_chunks_lost", help, &self.log_chunks_lost);
        bytes(r, "store", "Length of all recordings", &self.store_bytes);
        let help = "Calls that the store's disk refused";
        count(r, "store_disk_errors", help, &self.store_disk_errors);
        let help = "Parts of rooms' logs that the store had taken and could not write";
        count(r, "store_chunks_lost", help, &self.store_chunks_lost);
    }

    fn register_telemetry(&self, r: &mut Registry) {
        count(r, "spans_exported", "Spans that the collector took", &self.spans_exported);
        let help = "Spans that were not sent because too many waited";
        count(r, "spans_dropped", help, &self.spans_dropped);
        let help = "Spans that were sent and that the collector did not take";
        count(r, "spans_failed", help, &self.spans_failed);
        count(r, "ticket_keys", "Keys that verify tickets", &self.ticket_keys);
        let help = "Times that keys or certificates were read again and could not be used";
        count(r, "reload_failures", help, &self.reload_failures);
        let help = "Log records left out because there were too many of their kind";
        count(r, "log_records_suppressed", help, &self.log_suppressed);
    }

    /// What is known beforehand is there from the start, so that the first of a kind is an increase, and not a new series
    /// of which nobody can say whether it was there before.
    fn make_known_series(&self) {
        for reason in ["late", "desync", "panic"] {
            drop(self.incidents.get_or_create(&Reason { reason }));
        }
        for verdict in ["same", "differs", "damaged", "panicked"] {
            drop(self.verifications.get_or_create(&Verdict { verdict }));
        }
        for door in ["grpc", "websocket", "watch", "replay", "events"] {
            drop(self.streams.get_or_create(&Door { door }));
        }
        for door in ["grpc", "websocket", "watch", "events"] {
            drop(self.relayed.get_or_create(&Door { door }));
        }
        self.rpc.expect(super::rpc::WEBSOCKET);
        self.connections.make_known_series();
        self.directory.make_known_series();
        self.claims.make_known_series();
        self.moving.make_known_series();
        self.kube.make_known_series();
    }
}

pub(super) fn count(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: &(impl Metric + Clone),
) {
    registry.register(name, help, metric.clone());
}

fn bytes(registry: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    registry.register_with_unit(name, help, Unit::Bytes, metric.clone());
}

pub(super) fn time(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: &(impl Metric + Clone),
) {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
}
