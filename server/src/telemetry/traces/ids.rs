//! Ids that are known before their span is written, and spans that no sampler may drop.
//!
//! A move's span ids travel with the move and in the cells that it changed, long before its spans are over and written. The SDK
//! makes ids only when a span is made; so its generator is asked for those that we have chosen. The same holds for sampling: whether a
//! move or a tick is traced is decided where it begins, and all or none of its spans are written.

use super::budget::Budget;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue, SpanId};
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, SamplingResult, ShouldSample,
};
use std::cell::Cell;
use std::sync::Arc;
use tokio::time::Instant;

/// How many traces of calls and sessions begin here each second; moves and ticks have limits of their own.
const CALL_TRACES_PER_S_MAX: u32 = 20;

/// The ids of the next span of this thread; 0 is any.
#[derive(Clone, Copy, Debug, Default)]
struct Chosen {
    trace_id: u128,
    span_id: u64,
}

thread_local! {
    static CHOSEN: Cell<Option<Chosen>> = const { Cell::new(None) };
}

/// Makes one span with these ids, whatever the sampler says. An id of 0 is any; a trace's id counts only without a parent.
pub(super) fn with_ids<T>(trace_id: u128, span_id: u64, make: impl FnOnce() -> T) -> T {
    CHOSEN.set(Some(Chosen { trace_id, span_id }));
    let made = make();
    CHOSEN.set(None);
    made
}

/// Takes chosen ids, else random ones.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        match CHOSEN.get().unwrap_or_default().trace_id {
            0 => self.0.new_trace_id(),
            chosen => TraceId::from(chosen),
        }
    }

    fn new_span_id(&self) -> SpanId {
        match CHOSEN.get().unwrap_or_default().span_id {
            0 => self.0.new_span_id(),
            chosen => SpanId::from(chosen),
        }
    }
}

/// Takes spans that were decided on before; asks the configured sampler about all others, of which those that begin a trace
/// have a budget: peers decide how many calls there are.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    sampler: Sampler,
    roots: Arc<Budget>,
}

impl Decided {
    pub(super) fn new(sampler: Sampler) -> Self {
        Self { sampler, roots: Arc::new(Budget::per_s(CALL_TRACES_PER_S_MAX, Instant::now())) }
    }
}

impl ShouldSample for Decided {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let ask = |sampler: &Sampler| {
            sampler.should_sample(parent, trace_id, name, kind, attributes, links)
        };
        if CHOSEN.get().is_some() {
            return ask(&Sampler::AlwaysOn);
        }
        let asked = ask(&self.sampler);
        let begins = parent.is_none_or(|parent| !parent.span().span_context().is_valid());
        let is_taken = asked.decision == SamplingDecision::RecordAndSample;
        if begins && is_taken && !self.roots.admits(Instant::now()) {
            return ask(&Sampler::AlwaysOff);
        }
        asked
    }
}
