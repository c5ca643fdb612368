//! Writing a span that is over: when it began and ended is known, and so is where it belongs.

use fray_proto::trace::TraceContext;
use opentelemetry::trace::{
    Event, Link, Span as _, SpanContext, SpanKind, TraceContextExt as _, TraceFlags, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use std::time::SystemTime;
use tokio::time::Instant;

/// A span that is over.
pub(super) struct Past {
    pub(super) name: &'static str,
    pub(super) kind: SpanKind,
    /// `None`: the first of its trace.
    pub(super) parent: Option<TraceContext>,
    /// Ids that others know already; 0 is any. See [`super::ids`].
    pub(super) ids: (u128, u64),
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) links: Vec<TraceContext>,
    pub(super) events: Vec<Event>,
}

impl Past {
    pub(super) fn new(name: &'static str, parent: Option<TraceContext>, began: Instant) -> Self {
        Self {
            name,
            kind: SpanKind::Internal,
            parent,
            ids: (0, 0),
            began,
            ended: began,
            attributes: Vec::new(),
            links: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn until(self, ended: Instant) -> Self {
        Self { ended: ended.max(self.began), ..self }
    }

    /// Writes it, whatever the sampler says: it was decided on before. `None` only where tracing has ended.
    pub(super) fn write(self, tracer: &SdkTracer, wall: Wall) -> Option<TraceContext> {
        let parent = self.parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(span_context(parent))
        });
        let links = self.links.into_iter().map(|link| Link::with_context(span_context(link)));
        let builder = tracer
            .span_builder(self.name)
            .with_kind(self.kind)
            .with_start_time(wall.at(self.began))
            .with_attributes(self.attributes)
            .with_links(links.collect())
            .with_events(self.events);
        let (trace_id, span_id) = self.ids;
        let mut span =
            super::ids::with_ids(trace_id, span_id, || tracer.build_with_context(builder, &parent));
        let context = context_of(span.span_context());
        span.end_with_timestamp(wall.at(self.ended));
        context
    }
}

/// What the clock on the wall shows at an instant. Taken once for spans that belong together, so that they agree to the µs
/// however the wall's clock is set meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    now: Instant,
    time: SystemTime,
}

impl Wall {
    pub(super) fn now() -> Self {
        Self { now: Instant::now(), time: SystemTime::now() }
    }

    pub(super) fn at(self, instant: Instant) -> SystemTime {
        let earlier = self.now.saturating_duration_since(instant);
        let later = instant.saturating_duration_since(self.now);
        self.time.checked_sub(earlier).unwrap_or(self.time) + later
    }
}

pub(super) fn span_context(context: TraceContext) -> SpanContext {
    SpanContext::new(
        context.trace_id.get().into(),
        context.span_id.get().into(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    )
}

/// `None`: it is not sampled, or of no trace at all.
pub(super) fn context_of(span: &SpanContext) -> Option<TraceContext> {
    let trace_id = u128::from_be_bytes(span.trace_id().to_bytes());
    let context = TraceContext::new(trace_id, u64::from_be_bytes(span.span_id().to_bytes()));
    context.filter(|_| span.is_sampled())
}
