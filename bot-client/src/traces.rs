//! Where bots' traces go: to a collector, as a server's do. The spans are made where all of Fray's are, in `fray_server::telemetry`.

use crate::client::tracing::{AcknowledgedMove, AnsweredCall, AppliedMove, Tracer};
use fray_proto::trace::TraceContext;
use fray_server::telemetry::Traces;
use fray_server::telemetry::traces::client::{ClientApply, ClientCall, ClientMove};
use std::sync::Arc;
use tokio::time::Instant;

/// Exports what players tell of their moves.
#[derive(Clone, Debug)]
pub struct Exporter(pub Arc<Traces>);

impl Tracer for Exporter {
    fn begin(&self) -> Option<TraceContext> {
        self.0.begin_client_move()
    }

    fn answered(&self, call: &AnsweredCall) {
        self.0.write_client_call(&ClientCall {
            context: call.context,
            method: call.method,
            began: call.began.into(),
            ended: Instant::now(),
            code: call.code,
        });
    }

    fn acknowledged(&self, sent: &AcknowledgedMove) {
        self.0.write_client_move(&ClientMove {
            context: sent.context,
            player: sent.player,
            sequence: sent.sequence,
            began: sent.due.into(),
            ended: sent.acknowledged.into(),
        });
    }

    fn applied(&self, applied: &AppliedMove) {
        self.0.write_client_apply(&ClientApply {
            traced: applied.traced,
            player: applied.player,
            tick: applied.tick,
            began: applied.received.into(),
            ended: Instant::now(),
        });
    }
}
