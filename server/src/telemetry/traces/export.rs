//! On their way out: a bounded queue, one thread, OTLP over gRPC. Whoever makes a span never waits for it.
//!
//! The collector may be away, slow or refuse. Then the queue fills, and what has no place in it is dropped and counted.

use super::ids::{Decided, Ids};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter as OtlpExporter, WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
    SpanExporter, SpanProcessor, TracerProviderBuilder,
};
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The collector, such as `http://localhost:4317`; `None`: as `OTEL_EXPORTER_OTLP_*` say.
    pub endpoint: Option<String>,
    /// Whom to trust, if the address says `https`.
    pub trust: Option<Trust>,
    /// The service's name, unless `OTEL_SERVICE_NAME` gives another.
    pub service: &'static str,
    /// Which of the processes of that service; `service.instance.id`.
    pub instance: String,
    /// The service's version.
    pub version: &'static str,
    /// Who decides about spans that are neither a move's nor a tick's.
    pub sampler: Sampler,
    /// How long spans wait to be sent together.
    pub delay: Duration,
    /// The most spans that wait, or are on their way.
    pub waiting_max: usize,
}

/// Whose certificate a collector may show.
#[derive(Clone, Debug)]
pub enum Trust {
    /// One that the system's authorities have signed.
    System,
    /// One that these have signed: PEM.
    Authorities(Vec<u8>),
}

/// What became of spans, since the start.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Taken by the collector.
    pub exported: Counter,
    /// Had no place in the queue.
    pub dropped: Counter,
    /// Were not taken by the collector.
    pub failed: Counter,
}

/// The collector's address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}")]
pub struct Error(#[from] ExporterBuildError);

/// A provider that exports over OTLP. Must be called within a tokio runtime, which carries the connection.
pub fn provider(target: Target, counts: &Counts) -> Result<SdkTracerProvider, Error> {
    let mut otlp = OtlpExporter::builder().with_tonic();
    if let Some(endpoint) = &target.endpoint {
        otlp = otlp.with_endpoint(endpoint);
    }
    otlp = match target.trust {
        None => otlp,
        Some(Trust::System) => otlp.with_tls_config(ClientTlsConfig::new().with_native_roots()),
        Some(Trust::Authorities(pem)) => {
            let authorities = Certificate::from_pem(pem);
            otlp.with_tls_config(ClientTlsConfig::new().ca_certificate(authorities))
        }
    };
    let waiting = Arc::new(AtomicUsize::new(0));
    let exporter = Counted {
        inner: otlp.build()?,
        waiting: Arc::clone(&waiting),
        counts: counts.clone(),
        has_failed: AtomicBool::new(false),
    };
    let queue = BatchConfigBuilder::default()
        .with_scheduled_delay(target.delay)
        .with_max_queue_size(target.waiting_max)
        .build();
    let processor = Bounded {
        inner: BatchSpanProcessor::builder(exporter).with_batch_config(queue).build(),
        waiting,
        waiting_max: target.waiting_max,
        dropped: counts.dropped.clone(),
    };
    // Whatever OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say is read by the builder and wins.
    let ours = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", target.service),
            KeyValue::new("service.version", target.version),
            KeyValue::new("service.instance.id", target.instance),
        ])
        .build();
    let mut resource = Resource::builder();
    for (key, value) in &ours {
        let given = Resource::builder().build().get(key);
        if given.is_none_or(|given| given.as_str().starts_with("unknown_service")) {
            resource = resource.with_attribute(KeyValue::new(key.clone(), value.clone()));
        }
    }
    Ok(builder(target.sampler)
        .with_resource(resource.build())
        .with_span_processor(processor)
        .build())
}

/// What every provider of ours has: chosen ids, and decisions that were taken before. Tests add an exporter of their own.
pub fn builder(sampler: Sampler) -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_id_generator(Ids::default())
        .with_sampler(Decided::new(sampler))
}

/// The sampler that `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` name; `None` for a name that is unknown.
pub fn sampler(name: &str, argument: Option<f64>) -> Option<Sampler> {
    let ratio = Sampler::TraceIdRatioBased(argument.unwrap_or(1.0).clamp(0.0, 1.0));
    Some(match name {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => ratio,
        "" | "parentbased_always_on" => default_sampler(),
        "parentbased_always_off" => Sampler::ParentBased(Box::new(Sampler::AlwaysOff)),
        "parentbased_traceidratio" => Sampler::ParentBased(Box::new(ratio)),
        _ => return None,
    })
}

/// All, but what a peer decided not to sample.
pub fn default_sampler() -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::AlwaysOn))
}

/// Lets in only what has a place. The SDK's own queue has the same bound, but nobody learns of what it drops.
#[derive(Debug)]
struct Bounded {
    inner: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
    dropped: Counter,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.waiting_max {
            self.inner.on_end(span);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what the collector took, and gives their places back.
#[derive(Debug)]
struct Counted<E> {
    inner: E,
    waiting: Arc<AtomicUsize>,
    counts: Counts,
    has_failed: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.inner.export(batch).await;
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        let counter = if exported.is_ok() { &self.counts.exported } else { &self.counts.failed };
        counter.inc_by(spans as u64);
        let has_failed = exported.is_err();
        if has_failed != self.has_failed.swap(has_failed, Ordering::Relaxed) {
            match &exported {
                Ok(()) => tracing::info!("the collector takes traces again"),
                Err(error) => tracing::warn!(%error, "the collector does not take traces"),
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
