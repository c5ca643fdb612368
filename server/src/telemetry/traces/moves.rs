//! A sampled move: client `fray.move` → receive → queue → tick → encode → send → another client's apply.

use super::span::{Past, Wall};
use super::ticks::TickTrace;
use super::{On, Traces, is_drawn, names};
use fray_proto::trace::TraceContext;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use rand::RngExt as _;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many spans a server writes of a sampled move.
pub const MOVE_SPANS: u64 = 5;

/// A sampled move on its way through the server. Its ids are chosen where it comes in, since what it changes tells of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveTrace {
    trace_id: NonZeroU128,
    /// The client's span, if the trace is the client's.
    client: Option<NonZeroU64>,
    /// The client's trace, which it did not become part of.
    link: Option<TraceContext>,
    receive: NonZeroU64,
    send: NonZeroU64,
    /// When it was handed to the room.
    queued: Instant,
}

impl MoveTrace {
    /// The span that sends what the move changed.
    pub fn send_context(&self) -> TraceContext {
        TraceContext { trace_id: self.trace_id, span_id: self.send }
    }

    fn receive_context(&self) -> TraceContext {
        TraceContext { trace_id: self.trace_id, span_id: self.receive }
    }
}

/// A sampled move that a tick has applied.
#[derive(Debug)]
pub struct AppliedMove {
    /// Where its trace is.
    pub trace: Box<MoveTrace>,
    /// Whose, by number in the room.
    pub player: u32,
    /// Its number in the session.
    pub sequence: u32,
    /// Whether the game refused it.
    pub refused: bool,
    /// When it came in.
    pub arrived: Instant,
}

impl Traces {
    /// A move came in, with the context of the client's span or without: whether its way is traced. Boxed, so that a move that is
    /// not costs nothing but a null. A client's trace is continued only if `may_continue`, and within the budget of all.
    #[inline]
    pub fn receive_move(
        &self,
        client: Option<TraceContext>,
        may_continue: impl FnOnce() -> bool,
    ) -> Option<Box<MoveTrace>> {
        self.on.as_ref().and_then(|on| on.receive_move(client, may_continue))
    }

    /// The spans of the moves that `tick` applied; `tick_span` is its own, and `sends` says for each how many streams have
    /// written what it changed, and when the last one did ([`Traces::us`]).
    pub fn write_moves(
        &self,
        tick: &TickTrace<'_>,
        tick_span: Option<TraceContext>,
        moves: &[AppliedMove],
        sends: impl Fn(usize) -> Option<(u32, u64)>,
    ) {
        let Some(on) = &self.on else { return };
        let wall = Wall::now();
        for (index, applied) in moves.iter().enumerate() {
            on.write_move(tick, tick_span, applied, sends(index), wall);
        }
    }
}

impl On {
    fn receive_move(
        &self,
        client: Option<TraceContext>,
        may_continue: impl FnOnce() -> bool,
    ) -> Option<Box<MoveTrace>> {
        let (parent, link) = match client {
            None => (None, None),
            Some(client) if may_continue() && self.peers.admits(Instant::now()) => {
                (Some(client), None)
            }
            Some(client) => (None, Some(client)),
        };
        if parent.is_none() && !is_drawn(self.settings.moves) {
            return None;
        }
        let mut random = rand::rng();
        let span_id = |random: u64| NonZeroU64::new(random).unwrap_or(NonZeroU64::MIN);
        let own = || NonZeroU128::new(rand::rng().random()).unwrap_or(NonZeroU128::MIN);
        Some(Box::new(MoveTrace {
            trace_id: parent.map_or_else(own, |parent| parent.trace_id),
            client: parent.map(|parent| parent.span_id),
            link,
            receive: span_id(random.random()),
            send: span_id(random.random()),
            queued: Instant::now(),
        }))
    }

    fn write_move(
        &self,
        tick: &TickTrace<'_>,
        tick_span: Option<TraceContext>,
        applied: &AppliedMove,
        sends: Option<(u32, u64)>,
        wall: Wall,
    ) {
        let trace = &applied.trace;
        let attributes = || {
            vec![
                KeyValue::new(names::ROOM, Arc::clone(tick.room)),
                KeyValue::new(names::PLAYER, i64::from(applied.player)),
                KeyValue::new(names::SEQUENCE, i64::from(applied.sequence)),
            ]
        };
        let write = |past: Past| past.write(&self.tracer, wall);
        let client = trace.client.map(|span_id| TraceContext { trace_id: trace.trace_id, span_id });
        let mut receive =
            Past::new(names::MOVE_RECEIVE, client, applied.arrived).until(trace.queued);
        receive.kind = SpanKind::Server;
        receive.ids = (trace.trace_id.get(), trace.receive.get());
        receive.attributes = attributes();
        receive.links.extend(trace.link);
        write(receive);

        let parent = Some(trace.receive_context());
        let mut queue = Past::new(names::MOVE_QUEUE, parent, trace.queued).until(tick.began);
        queue.attributes = attributes();
        let queue = write(queue);

        let mut in_tick = Past::new(names::MOVE_TICK, queue, tick.began).until(tick.phases.stepped);
        in_tick.attributes = attributes();
        in_tick.attributes.extend(tick.attributes());
        in_tick.attributes.push(KeyValue::new(names::MOVE_REFUSED, applied.refused));
        in_tick.links.extend(tick_span);
        let in_tick = write(in_tick);

        let encoded = tick.phases.replicated;
        let mut encode = Past::new(names::MOVE_ENCODE, in_tick, tick.phases.stepped).until(encoded);
        encode.attributes = attributes();
        let encode = write(encode);

        // Without a stream that wrote it, publishing is all that there was.
        let (streams, last_us) = sends.unwrap_or_default();
        let written =
            if streams > 0 { self.began + Duration::from_micros(last_us) } else { tick.published };
        let mut send = Past::new(names::MOVE_SEND, encode, encoded).until(written);
        send.ids = (0, trace.send.get());
        send.kind = SpanKind::Producer;
        send.attributes = attributes();
        send.attributes.push(KeyValue::new(names::STREAMS, i64::from(streams)));
        write(send);
    }
}
