//! The spans that a client of ours writes: its own move, and what it shows of other players' moves.

use super::span::{Past, Wall};
use super::{Traces, is_drawn, names};
use crate::telemetry::metrics::rpc::status_name;
use fray_proto::trace::{TraceContext, TracedMove};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use rand::RngExt as _;
use tokio::time::Instant;

/// A sampled move, from when the player wanted it to its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct ClientMove {
    /// As [`Traces::begin_client_move`] gave it.
    pub context: TraceContext,
    /// Who made it, by number in the room.
    pub player: u32,
    /// Its number in the session.
    pub sequence: u32,
    /// When the player wanted it.
    pub began: Instant,
    /// When its acknowledgement came.
    pub ended: Instant,
}

/// A sampled call.
#[derive(Clone, Copy, Debug)]
pub struct ClientCall {
    /// As [`Traces::begin_client_move`] gave it.
    pub context: TraceContext,
    /// Service and method.
    pub method: &'static str,
    /// When it was made.
    pub began: Instant,
    /// When it was answered.
    pub ended: Instant,
    /// The gRPC status.
    pub code: i32,
}

/// Another player's move takes effect in a client's copy of the world.
#[derive(Clone, Copy, Debug)]
pub struct ClientApply {
    /// As the server tells of it.
    pub traced: TracedMove,
    /// Whose copy, by number in the room.
    pub player: u32,
    /// The tick of the update that brought it.
    pub tick: u32,
    /// When the update came.
    pub began: Instant,
    /// When it was applied.
    pub ended: Instant,
}

impl Traces {
    /// The ids of a new trace, if the move is sampled. They travel before the span is written.
    pub fn begin_client_move(&self) -> Option<TraceContext> {
        let on = self.on.as_ref()?;
        is_drawn(on.settings.moves)
            .then(|| TraceContext::new(rand::rng().random(), rand::rng().random()))
            .flatten()
    }

    /// The first span of a move's trace.
    pub fn write_client_move(&self, sent: &ClientMove) {
        let Some(on) = &self.on else { return };
        let mut span = Past::new(names::MOVE, None, sent.began).until(sent.ended);
        span.kind = SpanKind::Client;
        span.ids = (sent.context.trace_id.get(), sent.context.span_id.get());
        span.attributes = vec![
            KeyValue::new(names::PLAYER, i64::from(sent.player)),
            KeyValue::new(names::SEQUENCE, i64::from(sent.sequence)),
        ];
        span.write(&on.tracer, Wall::now());
    }

    /// The client's span of a call.
    pub fn write_client_call(&self, call: &ClientCall) {
        let Some(on) = &self.on else { return };
        let mut span = Past::new(call.method, None, call.began).until(call.ended);
        span.kind = SpanKind::Client;
        span.ids = (call.context.trace_id.get(), call.context.span_id.get());
        span.attributes = vec![
            KeyValue::new(names::RPC_SYSTEM, "grpc"),
            KeyValue::new(names::RPC_METHOD, call.method),
            KeyValue::new(names::RPC_STATUS, status_name(call.code)),
        ];
        span.write(&on.tracer, Wall::now());
    }

    /// The last span of a move's trace.
    pub fn write_client_apply(&self, applied: &ClientApply) {
        let Some(on) = &self.on else { return };
        let traced = applied.traced;
        let mut span =
            Past::new(names::MOVE_APPLY, Some(traced.context), applied.began).until(applied.ended);
        span.kind = SpanKind::Consumer;
        span.attributes = vec![
            KeyValue::new(names::PLAYER, i64::from(applied.player)),
            KeyValue::new(names::MOVER, i64::from(traced.player)),
            KeyValue::new(names::SEQUENCE, i64::from(traced.sequence)),
            KeyValue::new(names::TICK_NUMBER, i64::from(applied.tick)),
        ];
        span.write(&on.tracer, Wall::now());
    }
}
