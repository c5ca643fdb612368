//! Hands a room's log to the store, and keeps incidents. Never waits: a store that does not keep up loses a part of the
//! recording, not the room its tick.

use super::RoomId;
use crate::store::{Chunk, Error, Incident, Name, Writer};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::labels::Reason;
use fray_proto::trace::TraceContext;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How much before an incident is kept, at least.
const INCIDENT_BEFORE_S: u32 = 10;
/// A room keeps no more than one incident in this time, but for the one that ends it.
const INCIDENT_PAUSE_S: u32 = 60;

/// Something that somebody will want to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A tick began so late, ms.
    Late(u64),
    /// A client's copy of the world is not what it should be at this tick.
    Desync {
        /// The player's number.
        player: u32,
        /// The tick of the update that failed there.
        tick: u32,
        /// The cell, where it is known.
        cell: Option<u32>,
    },
    /// The game's rules panicked, with these words.
    Panic(String),
}

impl Trouble {
    /// For metrics and names.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Late(_) => "late",
            Self::Desync { .. } => "desync",
            Self::Panic(_) => "panic",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(ms) => write!(f, "the tick began {ms} ms late"),
            Self::Desync { player, tick, cell: Some(cell) } => {
                write!(f, "player {player} reports another checksum at tick {tick} in cell {cell}")
            }
            Self::Desync { player, tick, cell: None } => {
                write!(f, "player {player} reports another checksum at tick {tick}")
            }
            Self::Panic(message) => write!(f, "the game's rules panicked: {message}"),
        }
    }
}

/// So that a hiccup of the whole machine, or clients that lie, do not fill the store: over all rooms, late ticks and desyncs
/// are kept no more often than this.
const INCIDENT_EVERY: Duration = Duration::from_secs(2);

/// What all rooms share: late ticks and desyncs are kept no more often than every two seconds over all of them.
#[derive(Debug)]
pub struct Budget {
    began: Instant,
    next_ms: AtomicU64,
}

impl Budget {
    /// From now on.
    pub fn new(now: Instant) -> Self {
        Self { began: now, next_ms: AtomicU64::new(0) }
    }

    fn allows(&self, now: Instant) -> bool {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now_ms = ms(now.saturating_duration_since(self.began));
        let take = |next: u64| (next <= now_ms).then(|| now_ms.saturating_add(ms(INCIDENT_EVERY)));
        self.next_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// A room's way to the store.
pub struct Recorder {
    room: RoomId,
    tick_rate_hz: u32,
    writer: Option<Box<dyn Writer>>,
    metrics: Arc<Metrics>,
    budget: Arc<Budget>,
    /// A chunk was refused: what follows makes sense only from the next checkpoint on.
    has_gap: bool,
    /// Of late ticks, and of desyncs: one must not hide the other.
    last_incident_ticks: [Option<u32>; 2],
}

impl Recorder {
    /// Without a writer, nothing is kept.
    pub fn new(
        room: RoomId,
        tick_rate_hz: u32,
        writer: Option<Box<dyn Writer>>,
        metrics: Arc<Metrics>,
        budget: Arc<Budget>,
    ) -> Self {
        let (has_gap, last_incident_ticks) = (false, [None; 2]);
        Self { room, tick_rate_hz, writer, metrics, budget, has_gap, last_incident_ticks }
    }

    /// Whether what the room plays goes anywhere.
    pub fn is_writing(&self) -> bool {
        self.writer.is_some()
    }

    /// Hands over what was gathered.
    pub fn append(&mut self, chunk: Chunk) {
        let Some(writer) = &mut self.writer else { return };
        if self.has_gap && !chunk.has_checkpoint {
            self.metrics.log_chunks_lost.inc();
            return;
        }
        let (tick, bytes) = (chunk.first_tick, chunk.records.len());
        match writer.append(chunk) {
            Ok(()) => {
                self.has_gap = false;
                self.metrics.log_bytes.inc_by(bytes as u64);
            }
            Err(error) => {
                self.metrics.log_chunks_lost.inc();
                if !self.has_gap {
                    tracing::error!(room = %self.room, tick, %error, "a part of the room's recording is lost");
                }
                self.has_gap = true;
                if let Error::Fenced(_) = error {
                    self.writer = None;
                }
            }
        }
    }

    /// Keeps the last seconds, which were handed over before, as a recording of its own.
    ///
    /// `trace` is where the tick can be seen, if it was traced.
    pub fn keep(
        &mut self,
        tick: u32,
        trouble: &Trouble,
        now: Instant,
        trace: Option<TraceContext>,
    ) {
        let trace_id = trace.map(TraceContext::trace_id_hex);
        self.metrics.incidents.get_or_create(&Reason { reason: trouble.kind() }).inc();
        let pause_ticks = INCIDENT_PAUSE_S * self.tick_rate_hz;
        let is_last = matches!(trouble, Trouble::Panic(_));
        let last_tick = &mut self.last_incident_ticks[usize::from(trouble.kind() == "desync")];
        let is_too_soon = last_tick.is_some_and(|last| tick.saturating_sub(last) < pause_ticks);
        if !is_last && (is_too_soon || !self.budget.allows(now)) {
            return;
        }
        let room = &self.room;
        let name = Name::parse(&format!("{room}-{tick}-{}", trouble.kind()));
        let (Some(writer), Some(name)) = (&mut self.writer, name) else {
            tracing::warn!(%room, tick, %trouble, "an incident, and no store that could keep it");
            return;
        };
        let what = format!("tick {tick}: {trouble}");
        let from_tick = tick.saturating_sub(INCIDENT_BEFORE_S * self.tick_rate_hz);
        match writer.keep(Incident { name: name.clone(), what, from_tick }) {
            Ok(()) => {
                *last_tick = Some(tick);
                tracing::warn!(%room, tick, %trouble, recording = %name, trace_id, "an incident; its recording is kept");
            }
            Err(error) => {
                tracing::error!(%room, tick, %trouble, %error, "an incident, and its recording cannot be kept");
            }
        }
    }
}
