//! What is traced, and where traces go: our own flags, and OpenTelemetry's standard variables.

use crate::telemetry::Traces;
use crate::telemetry::traces::{Settings, export};
use clap::Args;
use std::sync::Arc;
use std::time::Duration;

/// Flags about traces; a server and `fray-bot` have the same. Nothing is traced without a collector.
#[derive(Args, Clone, Debug)]
pub struct TraceFlags {
    /// Send traces to this OpenTelemetry collector, by OTLP over gRPC, for example <http://localhost:4317>; `https://` works, too. All other
    /// `OTEL_*` variables are heeded, too
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", help_heading = "Traces")]
    pub otlp_endpoint: Option<String>,

    /// Trace this share of the moves, 0 to 1
    #[arg(long, env = "FRAY_TRACE_MOVES", value_name = "SHARE", default_value_t = 0.01, value_parser = share, help_heading = "Traces")]
    pub trace_moves: f64,

    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", hide = true)]
    otlp_traces_endpoint: Option<String>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", hide = true)]
    otlp_certificate: Option<String>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", hide = true)]
    otlp_traces_certificate: Option<String>,
    #[arg(long, env = "OTEL_TRACES_EXPORTER", hide = true)]
    traces_exporter: Option<String>,
    #[arg(long, env = "OTEL_SDK_DISABLED", hide = true)]
    otel_sdk_disabled: Option<String>,
    #[arg(long, env = "OTEL_TRACES_SAMPLER", hide = true)]
    traces_sampler: Option<String>,
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", hide = true)]
    traces_sampler_arg: Option<String>,
    #[arg(long, env = "OTEL_BSP_MAX_QUEUE_SIZE", hide = true)]
    traces_queue: Option<String>,
    #[arg(long, env = "OTEL_BSP_SCHEDULE_DELAY", hide = true)]
    traces_delay_ms: Option<String>,
}

/// Flags about traces that only a server has.
#[derive(Args, Clone, Debug)]
pub struct ServerTraceFlags {
    /// Trace this share of the ticks, 0 to 1. Those that are late (up to 20 a second) or apply a traced move are traced anyway
    #[arg(long, env = "FRAY_TRACE_TICKS", value_name = "SHARE", default_value_t = 0.01, value_parser = share, help_heading = "Traces")]
    pub trace_ticks: f64,

    /// Continue so many traces a second that clients begin; the rest is at most linked
    #[arg(
        long,
        env = "FRAY_TRACE_BUDGET",
        value_name = "PER_S",
        default_value_t = 20,
        help_heading = "Traces"
    )]
    pub trace_budget: u32,
}

/// Spans that wait for the collector, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise.
const QUEUE_SPANS_MAX: usize = 2048;
/// How often spans are sent, unless `OTEL_BSP_SCHEDULE_DELAY` says otherwise: soon, since somebody may be looking.
const EXPORT_EVERY_MS: u64 = 1000;
/// Whatever it says.
const QUEUE_SPANS_LIMIT: usize = 1 << 20;

impl TraceFlags {
    /// Starts tracing, if a collector is named. Must be called within a tokio runtime. What an `OTEL_*` variable says and we do not
    /// know is passed over, and an address that cannot be used means no traces: telemetry keeps nobody from playing. `complain` hears of it.
    pub fn start(
        &self,
        service: &'static str,
        instance: String,
        server: Option<&ServerTraceFlags>,
        counts: &export::Counts,
        mut complain: impl FnMut(&str),
    ) -> Arc<Traces> {
        if !self.is_on() {
            return Arc::default();
        }
        let argument = self.traces_sampler_arg.as_ref().and_then(|text| text.parse().ok());
        let name = self.traces_sampler.as_deref().unwrap_or_default();
        let sampler = export::sampler(name, argument).unwrap_or_else(|| {
            complain(&format!("OTEL_TRACES_SAMPLER={name} is unknown; all calls are sampled"));
            export::default_sampler()
        });
        let queue = self.traces_queue.as_ref().and_then(|text| text.parse().ok());
        let delay_ms = self.traces_delay_ms.as_ref().and_then(|text| text.parse().ok());
        let trust = match self.trust() {
            Ok(trust) => trust,
            Err(problem) => {
                complain(&format!("{problem}; nothing is traced"));
                return Arc::default();
            }
        };
        let target = export::Target {
            // The variable for traces alone goes before the one for everything; the exporter reads it.
            endpoint: self
                .otlp_endpoint
                .clone()
                .filter(|_| !is_given(self.otlp_traces_endpoint.as_ref())),
            trust,
            service,
            instance,
            version: env!("CARGO_PKG_VERSION"),
            sampler,
            delay: Duration::from_millis(delay_ms.unwrap_or(EXPORT_EVERY_MS)),
            waiting_max: queue.unwrap_or(QUEUE_SPANS_MAX).clamp(1, QUEUE_SPANS_LIMIT),
        };
        let settings = Settings {
            moves: self.trace_moves,
            ticks: server.map_or(0.0, |flags| flags.trace_ticks),
            peers_per_s: server.map_or(0, |flags| flags.trace_budget),
        };
        match export::provider(target, counts) {
            Ok(provider) => Arc::new(Traces::on(provider, settings)),
            Err(error) => {
                complain(&format!("{error}; nothing is traced"));
                Arc::default()
            }
        }
    }

    /// Whom to trust of collectors, if the one that is named is behind TLS. What is for traces alone goes first.
    fn trust(&self) -> Result<Option<export::Trust>, String> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let endpoint = given(&self.otlp_traces_endpoint).or_else(|| given(&self.otlp_endpoint));
        let scheme = endpoint.as_ref().and_then(|endpoint| endpoint.split("://").next());
        if !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) {
            return Ok(None);
        }
        let file = given(&self.otlp_traces_certificate).or_else(|| given(&self.otlp_certificate));
        let Some(file) = file else { return Ok(Some(export::Trust::System)) };
        let pem = std::fs::read(&file)
            .map_err(|error| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {file}: {error}"))?;
        Ok(Some(export::Trust::Authorities(pem)))
    }

    fn is_on(&self) -> bool {
        let has_collector =
            is_given(self.otlp_endpoint.as_ref()) || is_given(self.otlp_traces_endpoint.as_ref());
        let is_off =
            self.otel_sdk_disabled.as_deref().is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let exports = self.traces_exporter.as_deref().is_none_or(|name| name.contains("otlp"));
        has_collector && !is_off && exports
    }
}

/// An empty variable is none, as OpenTelemetry has it.
fn is_given(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not from 0 to 1".into()) }
}
