//! What a client tells of its moves to whoever traces them. The client itself knows no exporter.

use fray_proto::trace::{TraceContext, TracedMove};
use std::fmt::Debug;
use std::time::Instant;

/// Traces moves. One may serve many players.
pub trait Tracer: Debug + Send + Sync {
    /// A new move: where its trace is, if it is sampled.
    fn begin(&self) -> Option<TraceContext>;

    /// A call that begins: where its trace is, if it is sampled.
    fn begin_call(&self) -> Option<TraceContext> {
        self.begin()
    }

    /// A sampled call was answered.
    fn answered(&self, call: &AnsweredCall);

    /// A sampled move was acknowledged: its span is over.
    fn acknowledged(&self, sent: &AcknowledgedMove);

    /// This player's replica holds, since just now, what somebody else's sampled move changed.
    fn applied(&self, applied: &AppliedMove);
}

/// A sampled call of this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnsweredCall {
    /// As [`Tracer::begin_call`] gave it.
    pub context: TraceContext,
    /// Service and method.
    pub method: &'static str,
    /// When it was made.
    pub began: Instant,
    /// The gRPC status that answered it.
    pub code: i32,
}

/// A sampled move of this player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcknowledgedMove {
    /// As [`Tracer::begin`] gave it.
    pub context: TraceContext,
    /// Who made it, by number in the room.
    pub player: u32,
    /// Its number in the session.
    pub sequence: u32,
    /// When the player wanted it.
    pub due: Instant,
    /// When its acknowledgement came.
    pub acknowledged: Instant,
}

/// A sampled move of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedMove {
    /// As the server tells of it.
    pub traced: TracedMove,
    /// Who applied it, by number in the room.
    pub player: u32,
    /// The tick of the update.
    pub tick: u32,
    /// When the update came.
    pub received: Instant,
}
