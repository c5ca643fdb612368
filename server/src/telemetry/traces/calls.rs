//! Spans of `tracing` that continue what a peer began: unary calls, and streams that open.

use super::Traces;
use super::span::span_context;
use fray_proto::trace::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tokio::time::Instant;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What a peer says of its own trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Nothing.
    Silent,
    /// It is sampled: this span.
    Sampled(TraceContext),
    /// It is not: so nothing is traced here either.
    Unsampled,
}

impl Traces {
    /// Calls a span something else: what it is about turned out only within it.
    pub fn rename(&self, span: &Span, name: &'static str) {
        if self.is_on() {
            span.context().span().update_name(name);
        }
    }

    /// Makes a span that was not entered yet part of the trace that a peer began. Past the budget it is only linked with it, so
    /// that peers cannot fill the collector.
    pub fn adopt(&self, span: &Span, peer: Peer) {
        let (Some(on), Peer::Sampled(peer)) = (&self.on, peer) else { return };
        if on.peers.admits(Instant::now()) {
            let context = Context::new().with_remote_span_context(span_context(peer));
            // Fails only where no layer listens, or the span was begun: then there is nothing to continue.
            let _ = span.set_parent(context);
        } else {
            span.add_link(span_context(peer));
        }
    }
}
