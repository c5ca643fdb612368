//! A tick as a trace of its own: drain inputs, step, replicate, publish; linked with the sampled moves that it applied.

use super::moves::AppliedMove;
use super::span::{Past, Wall};
use super::{Traces, is_drawn, names};
use fray_proto::trace::TraceContext;
use opentelemetry::KeyValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// When a tick's parts were over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// Inputs were taken in.
    pub drained: Instant,
    /// The game was stepped.
    pub stepped: Instant,
    /// What everybody may see was encoded.
    pub replicated: Instant,
}

/// A tick that was made.
#[derive(Clone, Copy, Debug)]
pub struct TickTrace<'a> {
    /// The room's id; shared, since each span has it.
    pub room: &'a Arc<str>,
    /// The recording that holds the tick, if there is one: what `fray-bot replay --at` wants.
    pub recording: Option<&'a Arc<str>>,
    /// Its number.
    pub tick: u32,
    /// How long a tick may take.
    pub interval: Duration,
    /// How late it began.
    pub lateness: Duration,
    /// How many ticks' time was given up before it.
    pub skipped: u64,
    /// When it began.
    pub began: Instant,
    /// When its parts were over.
    pub phases: Phases,
    /// When the streams were told of it.
    pub published: Instant,
    /// Moves applied.
    pub moves: u64,
    /// Entities in the world.
    pub entities: usize,
    /// Seats taken.
    pub players: u32,
}

impl TickTrace<'_> {
    /// Late enough to be looked at: it began more than half a tick after its time, or took more than half a tick.
    pub fn is_late(&self) -> bool {
        let took = self.published.saturating_duration_since(self.began);
        self.lateness.max(took) > self.interval / 2
    }

    /// Which tick it is.
    pub(super) fn attributes(&self) -> impl Iterator<Item = KeyValue> + use<> {
        let recording =
            self.recording.map(|name| KeyValue::new(names::RECORDING, Arc::clone(name)));
        [KeyValue::new(names::TICK_NUMBER, i64::from(self.tick))].into_iter().chain(recording)
    }
}

impl Traces {
    /// Writes the spans of a tick if it is sampled, applied a sampled move, or was late. Says where they are.
    pub fn write_tick(&self, tick: &TickTrace<'_>, moves: &[AppliedMove]) -> Option<TraceContext> {
        let on = self.on.as_ref()?;
        let is_late = tick.is_late();
        let is_sampled = !moves.is_empty() || is_drawn(on.settings.ticks);
        if !(is_sampled || is_late && on.late_ticks.admits(tick.published)) {
            return None;
        }
        let wall = Wall::now();
        let mut span = Past::new(names::TICK, None, tick.began).until(tick.published);
        span.links = moves.iter().map(|applied| applied.trace.send_context()).collect();
        let lateness_ms = tick.lateness.as_secs_f64() * 1e3;
        span.attributes = vec![
            KeyValue::new(names::ROOM, Arc::clone(tick.room)),
            KeyValue::new(names::TICK_LATENESS_MS, lateness_ms),
            KeyValue::new(names::TICK_IS_LATE, is_late),
            KeyValue::new(names::TICKS_SKIPPED, i64::try_from(tick.skipped).unwrap_or(i64::MAX)),
            KeyValue::new(names::TICK_MOVES, i64::try_from(tick.moves).unwrap_or(i64::MAX)),
            KeyValue::new(names::TICK_ENTITIES, i64::try_from(tick.entities).unwrap_or(i64::MAX)),
            KeyValue::new(names::TICK_PLAYERS, i64::from(tick.players)),
        ];
        span.attributes.extend(tick.attributes());
        let whole = span.write(&on.tracer, wall);
        let mut began = tick.began;
        for (name, ended) in [
            (names::TICK_DRAIN, tick.phases.drained),
            (names::TICK_STEP, tick.phases.stepped),
            (names::TICK_REPLICATE, tick.phases.replicated),
            (names::TICK_PUBLISH, tick.published),
        ] {
            Past::new(name, whole, began).until(ended).write(&on.tracer, wall);
            began = ended;
        }
        whole
    }
}
