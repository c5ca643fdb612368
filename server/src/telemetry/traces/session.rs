//! What happens within a session: events on a span that is written when its stream ends, beside the one that opened it.

use super::span::{Past, Wall, context_of};
use super::{Traces, names};
use fray_proto::trace::TraceContext;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, TraceContextExt as _};
use opentelemetry_sdk::trace::SdkTracer;
use tokio::time::Instant;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The most events that are kept of a session, the first ones; how many there were besides is said.
const EVENTS_MAX: usize = 32;

/// A stream's notes about itself. Written when it is dropped, however the stream ended.
#[derive(Debug)]
pub struct SessionTrace {
    tracer: SdkTracer,
    opened: TraceContext,
    began: Instant,
    events: Vec<(&'static str, u32, Instant)>,
    events_dropped: u32,
    reason: &'static str,
}

impl Traces {
    /// Begins to note what happens on a stream that `opened` has opened; `None` where that is not sampled.
    pub fn session(&self, opened: &tracing::Span) -> Option<SessionTrace> {
        let on = self.on.as_ref()?;
        Some(SessionTrace {
            tracer: on.tracer.clone(),
            opened: context_of(opened.context().span().span_context())?,
            began: Instant::now(),
            events: Vec::new(),
            events_dropped: 0,
            reason: "STREAM_DROPPED",
        })
    }
}

impl SessionTrace {
    /// Something happened: one of [`names::EVENTS`], at this tick.
    pub fn note(&mut self, event: &'static str, tick: u32) {
        if self.events.len() == EVENTS_MAX {
            self.events_dropped = self.events_dropped.saturating_add(1);
            return;
        }
        self.events.push((event, tick, Instant::now()));
    }

    /// Why the stream ends: `OK`, or the reason of its status.
    pub fn ends(&mut self, reason: &'static str) {
        self.reason = reason;
    }
}

impl Drop for SessionTrace {
    fn drop(&mut self) {
        let mut span =
            Past::new(names::SESSION, Some(self.opened), self.began).until(Instant::now());
        let wall = Wall::now();
        let event = |(name, tick, at): &(&'static str, u32, Instant)| {
            let attributes = vec![KeyValue::new(names::TICK_NUMBER, i64::from(*tick))];
            Event::new(*name, wall.at(*at), attributes, 0)
        };
        span.events = self.events.iter().map(event).collect();
        span.attributes = vec![
            KeyValue::new(names::REASON, self.reason),
            KeyValue::new(names::EVENTS_DROPPED, i64::from(self.events_dropped)),
        ];
        span.write(&self.tracer, wall);
    }
}
