//! What tokio and the probes know, read when somebody asks.

use super::super::Health;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The runtime that makes the ticks and serves the streams. Only what tokio promises to keep.
#[derive(Debug)]
pub(super) struct RuntimeCollector(pub(super) Handle);

impl Collector for RuntimeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let now = self.0.metrics();
        let workers = now.num_workers();
        let busy: Duration =
            (0..workers).map(|worker| now.worker_total_busy_duration(worker)).sum();
        let busy = ConstCounter::new(busy.as_secs_f64());
        let help = "Time for which threads of the runtime were not parked, of all of them";
        busy.encode(encoder.encode_descriptor(
            "runtime_busy",
            help,
            Some(&Unit::Seconds),
            busy.metric_type(),
        )?)?;
        let mut gauge = |name, help, value: usize| {
            let gauge = ConstGauge::new(value as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("runtime_workers", "Threads of the runtime", workers)?;
        gauge("runtime_alive_tasks", "Tasks that have not ended", now.num_alive_tasks())?;
        gauge(
            "runtime_global_queue_tasks",
            "Tasks that wait for a thread, in the queue of all threads",
            now.global_queue_depth(),
        )
    }
}

/// The same facts as the probes answer with.
#[derive(Debug)]
pub(super) struct HealthCollector(pub(super) Arc<Health>);

impl Collector for HealthCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut flag = |name, help, is_set: bool| {
            let gauge = ConstGauge::new(i64::from(is_set));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        flag("ready", "1: takes rooms, as /readyz says", self.0.takes_rooms())?;
        flag("live", "1: ticks advance, as /livez says", self.0.is_live())?;
        let help = "1: an operator has it take no new rooms and players";
        flag("drained", help, self.0.is_drained())?;
        let help = "1: takes no rooms yet, because not every edge has asked for its health";
        // Whatever else keeps it from rooms is said by `ready`.
        flag("edges_pending", help, self.0.awaits_edges() && self.0.could_take_rooms())?;
        flag("draining", "1: is about to end, takes no more players", self.0.is_draining())
    }
}
