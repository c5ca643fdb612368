//! What the operating system knows of this process, read when somebody asks. The names are those of Prometheus' own client
//! libraries, so that any dashboard for processes fits.

use procfs::WithCurrentSystemInfo as _;
use procfs::process::{LimitValue, Process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::fmt;

/// Reads `/proc/self`.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    /// Since 1970, s. It does not change, and to find it the whole of `/proc/stat` is read.
    started_s: Option<f64>,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        Self { started_s: started_s().ok() }
    }
}

/// What is read at once.
struct Reading {
    cpu_s: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: i64,
    open_files: usize,
    open_files_max: Option<u64>,
}

fn started_s() -> procfs::ProcResult<f64> {
    use procfs::CurrentSI as _;
    let booted_s = procfs::KernelStats::current()?.btime as f64;
    let ticks = Process::myself()?.stat()?.starttime as f64;
    Ok(booted_s + ticks / procfs::ticks_per_second() as f64)
}

fn read() -> procfs::ProcResult<Reading> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let open_files_max = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(limit) => Some(limit),
        LimitValue::Unlimited => None,
    };
    Ok(Reading {
        cpu_s: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        resident_bytes: stat.rss_bytes().get(),
        virtual_bytes: stat.vsize,
        threads: stat.num_threads,
        open_files: process.fd_count()?,
        open_files_max,
    })
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        // Where there is no /proc, there are no such series; the server itself is none the worse for it.
        let Ok(now) = read() else { return Ok(()) };
        let cpu = ConstCounter::new(now.cpu_s);
        let help = "User and system CPU time";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        let mut gauge = |name, help, unit: Option<&Unit>, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        let bytes = Some(&Unit::Bytes);
        gauge("process_resident_memory", "Resident memory", bytes, now.resident_bytes as f64)?;
        gauge("process_virtual_memory", "Virtual memory", bytes, now.virtual_bytes as f64)?;
        gauge("process_threads", "Threads of the operating system", None, now.threads as f64)?;
        gauge("process_open_fds", "Open file descriptors", None, now.open_files as f64)?;
        if let Some(limit) = now.open_files_max {
            gauge("process_max_fds", "Most file descriptors that may be open", None, limit as f64)?;
        }
        if let Some(started_s) = self.started_s {
            let help = "When the process started, since 1970";
            gauge("process_start_time", help, Some(&Unit::Seconds), started_s)?;
        }
        Ok(())
    }
}
