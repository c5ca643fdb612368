//! The traces of a room: each tick's when it is made, its sampled moves' one tick later, when streams have had their time to send.

use super::Settings;
use super::clock::Due;
use super::core::TickReport;
use crate::replication::TickFrame;
use crate::telemetry::Traces;
use crate::telemetry::traces::{AppliedMove, TickTrace};
use fray_proto::trace::TraceContext;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a room remembers for its traces.
pub(super) struct Traced {
    room: Arc<str>,
    interval: Duration,
    /// Moves of the last tick, if any of them was sampled.
    waiting: Option<Waiting>,
}

/// A tick that was made.
pub(super) struct Made {
    pub(super) started: Instant,
    pub(super) due: Due,
    pub(super) report: TickReport,
    pub(super) published: Instant,
    pub(super) players: u32,
    /// Whether the tick goes into a recording.
    pub(super) is_recorded: bool,
}

struct Waiting {
    frame: Arc<TickFrame>,
    made: Made,
    tick_span: Option<TraceContext>,
    moves: Vec<AppliedMove>,
}

impl Traced {
    pub(super) fn new(room: &str, settings: &Settings) -> Self {
        let interval = Duration::from_secs(1) / settings.tick_rate_hz.max(1);
        Self { room: room.into(), interval, waiting: None }
    }

    /// A tick was made and published; says where its trace is, if it has one.
    pub(super) fn tick(
        &mut self,
        traces: &Traces,
        frame: &Arc<TickFrame>,
        made: Made,
        moves: Vec<AppliedMove>,
    ) -> Option<TraceContext> {
        if !traces.is_on() {
            return None;
        }
        self.flush(traces);
        let tick_span = traces.write_tick(&self.describe(frame, &made), &moves);
        if !moves.is_empty() {
            let frame = Arc::clone(frame);
            self.waiting = Some(Waiting { frame, made, tick_span, moves });
        }
        tick_span
    }

    /// Writes the spans of the moves that wait.
    pub(super) fn flush(&mut self, traces: &Traces) {
        let Some(Waiting { frame, made, tick_span, moves }) = self.waiting.take() else { return };
        let sends = |index: usize| frame.traced.get(index)?.sends.so_far();
        traces.write_moves(&self.describe(&frame, &made), tick_span, &moves, sends);
    }

    fn describe<'a>(&'a self, frame: &TickFrame, made: &Made) -> TickTrace<'a> {
        TickTrace {
            room: &self.room,
            // A running room's recording is called as the room is.
            recording: made.is_recorded.then_some(&self.room),
            tick: frame.tick,
            interval: self.interval,
            lateness: made.due.late,
            skipped: made.due.skipped,
            began: made.started,
            phases: made.report.phases,
            published: made.published,
            moves: made.report.moves_applied,
            entities: made.report.entities,
            players: made.players,
        }
    }
}
