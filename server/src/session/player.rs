//! What a player's stream does about each message and each frame. No waiting here: `playing.rs` does that.

use super::message::{Incoming, Outgoing};
use super::{Error, Limits};
use crate::replication::{Splicer, TickFrame};
use crate::room::handle::MOVES_WAITING_MAX;
use crate::room::recorder::Trouble;
use crate::room::{Attached, Move};
use crate::telemetry::metrics::labels::Reason;
use crate::telemetry::traces::budget::Budget;
use crate::telemetry::traces::{SessionTrace, names};
use crate::telemetry::{Metrics, Traces};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a client may say from one frame to the next, whatever it is: pings are answered, and answers cost more than questions.
const MESSAGES_PER_FRAME_MAX: usize = 2 * MOVES_WAITING_MAX;
/// A replica that breaks again and again is answered only this often, in ticks per second of the room.
const RESYNCS_PER_S_MAX: u32 = 4;

/// One player's stream, after its Welcome.
pub struct PlayerStream {
    attached: Attached,
    metrics: Arc<Metrics>,
    traces: Arc<Traces>,
    trace: Option<SessionTrace>,
    /// Of the traces that clients begin, this one's share.
    own_traces: Budget,
    splicer: Splicer,
    heartbeat: Duration,
    idle_timeout: Duration,
    window_ticks: u32,
    tick_rate_hz: u32,
    /// When the client's distance is noted next.
    next_note_tick: u32,
    resync_pause_ticks: u32,
    seen_tick: u32,
    /// Which moves were applied, as far as this stream has heard.
    input_ack: u32,
    /// The newest tick when something came last, and how much came since that tick: in all, and moves.
    came_since: (u32, usize, usize),
    last_resync_tick: u32,
    wants_resync: bool,
    has_reported: bool,
    is_held_back: bool,
    heard: Instant,
    said: Instant,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Go on.
    Wait,
    /// Write this and go on.
    Write(Outgoing),
    /// Tell the room, and go on.
    Report(Trouble),
    /// Write this, if anything, and end with OK.
    Finish(Option<Outgoing>),
}

impl PlayerStream {
    /// A stream that was just given its seat.
    pub fn new(
        attached: Attached,
        limits: &Limits,
        tick_rate_hz: u32,
        metrics: Arc<Metrics>,
        traces: Arc<Traces>,
        trace: Option<SessionTrace>,
        now: Instant,
    ) -> Self {
        let window_ticks = limits.staleness_window.as_millis() * u128::from(tick_rate_hz) / 1000;
        Self {
            input_ack: attached.ack.input_ack,
            attached,
            metrics,
            own_traces: Budget::per_s(traces.peers_per_s(), now),
            traces,
            trace,
            splicer: Splicer::default(),
            heartbeat: limits.heartbeat,
            idle_timeout: limits.idle_timeout,
            window_ticks: u32::try_from(window_ticks).unwrap_or(u32::MAX).max(1),
            tick_rate_hz,
            next_note_tick: 0,
            resync_pause_ticks: tick_rate_hz.div_ceil(RESYNCS_PER_S_MAX),
            seen_tick: 0,
            came_since: (0, 0, 0),
            last_resync_tick: 0,
            wants_resync: false,
            has_reported: false,
            is_held_back: false,
            heard: now,
            said: now,
        }
    }

    /// Something came from the client.
    pub fn on_message(
        &mut self,
        message: Incoming,
        now: Instant,
        tick: u32,
    ) -> Result<Step, Error> {
        self.heard = now;
        if !self.admits(tick, matches!(message, Incoming::Move { .. })) {
            return Err(Error::MoveFlood);
        }
        match message {
            Incoming::Hello(_) => return Err(Error::HelloExpected),
            Incoming::Move { sequence, seen_tick, controls, trace } => {
                self.see(seen_tick);
                self.metrics.moves_received.inc();
                // What is further ahead than a client may be would never find its place.
                let furthest = self.input_ack.saturating_add(MOVES_WAITING_MAX as u32);
                if sequence > furthest {
                    return Err(Error::MoveFlood);
                }
                // What was applied already leaves no trace, and must not use up what others may have.
                let is_new = sequence > self.input_ack;
                let may_continue = || is_new && self.own_traces.admits(now);
                let trace = self.traces.receive_move(trace, may_continue);
                let received = Move { sequence, controls, arrived: now, trace };
                self.attached.attachment.enqueue(received);
            }
            Incoming::Ping { seen_tick, echo } => {
                self.see(seen_tick);
                if echo != 0 {
                    self.said = now;
                    return Ok(Step::Write(Outgoing::Pong { echo, tick }));
                }
            }
            Incoming::Leave => {
                self.note(names::LEAVE, tick);
                self.close();
            }
            Incoming::Resync { reason, is_desync, tick, cell } => {
                self.metrics.resyncs.get_or_create(&Reason { reason }).inc();
                self.wants_resync = true;
                self.note(if is_desync { names::DESYNC } else { names::RESYNC }, tick);
                // Once per stream: whoever says it again and again must not keep the room busy.
                if is_desync && !std::mem::replace(&mut self.has_reported, true) {
                    let player = self.attached.player;
                    return Ok(Step::Report(Trouble::Desync { player, tick, cell }));
                }
            }
            Incoming::Unknown => {}
        }
        Ok(Step::Wait)
    }

    /// The client will send no more: the player leaves once all that it sent is applied.
    pub fn close(&mut self) {
        self.attached.attachment.close();
    }

    /// The room made a tick, or several since the last.
    pub fn on_frame(&mut self, frame: &TickFrame, now: Instant) -> Result<Step, Error> {
        if self.attached.attachment.is_kicked() {
            return Err(Error::Kicked);
        }
        let Some(player) = frame.player(self.attached.player) else {
            // A frame from before this stream had its seat; or the seat is gone.
            let is_gone = frame.tick > self.attached.tick;
            return if is_gone { Err(Error::SessionNotFound) } else { Ok(Step::Wait) };
        };
        if player.generation > self.attached.generation {
            return Err(Error::TakenOver);
        }
        if self.attached.attachment.is_abandoned() {
            return Err(Error::IdleTimeout);
        }
        self.attached.attachment.look_at(frame.tick);
        self.input_ack = player.ack.input_ack;
        self.note_distance(frame.tick);
        if player.generation < self.attached.generation {
            return Ok(Step::Wait);
        }
        if player.left {
            // The last update goes past the window: it acknowledges all that the player sent.
            let last = self.splicer.update(frame, Some(player), player.view);
            return Ok(Step::Finish(last.map(|update| self.written(update, now))));
        }
        if now.saturating_duration_since(self.heard) >= self.idle_timeout {
            return Err(Error::IdleTimeout);
        }
        if self.wants_resync && frame.tick - self.last_resync_tick >= self.resync_pause_ticks {
            self.wants_resync = false;
            self.last_resync_tick = frame.tick;
            self.splicer.restart();
        }
        if self.is_ahead_of_the_client() {
            self.metrics.updates_held_back.inc();
            if !std::mem::replace(&mut self.is_held_back, true) {
                self.note(names::HELD_BACK, frame.tick);
            }
            if now.saturating_duration_since(self.said) >= self.heartbeat {
                self.said = now;
                return Ok(Step::Write(Outgoing::Pong { echo: 0, tick: frame.tick }));
            }
            return Ok(Step::Wait);
        }
        self.is_held_back = false;
        if self.seen_tick == 0 {
            self.seen_tick = frame.tick;
        }
        let update = self.splicer.update(frame, Some(player), player.view);
        if update.is_some() {
            self.sent(frame);
        }
        Ok(update.map_or(Step::Wait, |update| Step::Write(self.written(update, now))))
    }

    /// How old what the client sees is at this tick: since the newest one that it says it has. 0 before the first update.
    pub fn ticks_behind(&self, tick: u32) -> u32 {
        if self.seen_tick == 0 { 0 } else { tick.saturating_sub(self.seen_tick) }
    }

    /// Which update is the newest that was written; 0 before the first.
    pub fn written_tick(&self) -> u32 {
        self.splicer.base()
    }

    /// Who plays.
    pub fn player_id(&self) -> &str {
        &self.attached.player_id
    }

    /// Whether the room has given the stream up, because it did not look at frames for too long.
    pub fn is_abandoned(&self) -> bool {
        self.attached.attachment.is_abandoned()
    }

    /// Why the stream ends.
    pub fn ends(&mut self, reason: &'static str) {
        if let Some(trace) = &mut self.trace {
            trace.ends(reason);
        }
    }

    fn note(&mut self, event: &'static str, tick: u32) {
        if let Some(trace) = &mut self.trace {
            trace.note(event, tick);
        }
    }

    /// Says of the sampled moves in this frame that this stream sends what they changed.
    fn sent(&self, frame: &TickFrame) {
        for traced in frame.traced.iter().filter(|traced| self.splicer.holds(traced.cell)) {
            traced.sends.note(self.traces.us(Instant::now()));
        }
    }

    fn written(&mut self, update: bytes::Bytes, now: Instant) -> Outgoing {
        self.said = now;
        self.metrics.updates.inc();
        self.metrics.update_bytes.inc_by(update.len() as u64);
        let cells = self.splicer.take_counts();
        self.metrics.cells_spliced(cells.encoded_bytes, cells.spliced_bytes);
        Outgoing::Update(update)
    }

    /// How far the client is behind; once a second, since a histogram takes a lock.
    fn note_distance(&mut self, tick: u32) {
        if self.seen_tick != 0 && tick >= self.next_note_tick {
            self.next_note_tick = tick + self.tick_rate_hz;
            self.metrics.client_is_behind(tick - self.seen_tick.min(tick), self.tick_rate_hz);
        }
    }

    /// Whether more than the window's worth of ticks is on its way to the client.
    fn is_ahead_of_the_client(&self) -> bool {
        self.splicer.base().saturating_sub(self.seen_tick) >= self.window_ticks
    }

    /// Whether one more may come before the next tick.
    fn admits(&mut self, tick: u32, is_move: bool) -> bool {
        let (since, mut all, mut moves) = self.came_since;
        if since != tick {
            (all, moves) = (0, 0);
        }
        (all, moves) = (all + 1, moves + usize::from(is_move));
        self.came_since = (tick, all, moves);
        all <= MESSAGES_PER_FRAME_MAX && moves <= MOVES_WAITING_MAX
    }

    /// A client cannot have seen what was not written.
    fn see(&mut self, seen_tick: u32) {
        self.seen_tick = self.seen_tick.max(seen_tick.min(self.splicer.base()));
    }
}
