//! One player's place in a room.

use super::Error;
use super::handle::{Attachment, MOVES_WAITING_MAX, Move};
use super::inbox::{Inbox, Said, Word};
use super::resumes::Resumes;
use crate::game::{Profile, Refusal};
use crate::store::sessions::Session;
use crate::store::{SessionRef, sessions};
use fray_proto::hash::{MoveContent, applied_hash};
use fray_proto::update::MoveAck;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many of a player's moves one tick applies.
pub const MOVES_PER_TICK_MAX: usize = 8;
/// How many refusals are kept for streams that skip ticks, and for how many ticks: longer than deltas are.
const REFUSALS_KEPT_MAX: usize = 64;
const REFUSAL_KEPT_TICKS: u32 = 128;

/// Where a seat is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Reserved by `Join`; nobody came yet. Free again after this tick.
    Reserved {
        /// The last tick of it.
        until_tick: u32,
    },
    /// A stream is there.
    Playing,
    /// The room has just come from another server, and the stream is on its way, too: controls hold until this tick.
    Expected {
        /// The last tick of it.
        until_tick: u32,
    },
    /// The stream broke; the player may return until this tick.
    Dropped {
        /// The last tick of it.
        until_tick: u32,
    },
    /// The player left; the seat is shown until this tick so that its stream can tell.
    Left {
        /// The last tick of it.
        until_tick: u32,
    },
}

/// One player's place: what outlives its streams.
#[derive(Debug)]
pub struct Seat {
    /// Who it is, over all rooms.
    pub player_id: String,
    /// What it looks like.
    pub profile: Profile,
    /// Hash of the resume token; none before the first stream.
    pub token_hash: Option<[u8; 32]>,
    /// The player's entity; 0 before the first stream.
    pub entity: u32,
    /// Counts streams: only the newest is listened to.
    pub generation: u32,
    /// How many of them came lately.
    resumes: Resumes,
    /// The stream, if one is there.
    pub attachment: Option<Arc<Attachment>>,
    /// Where the seat is in its life.
    pub presence: Presence,
    /// Since which tick.
    pub since_tick: u32,
    /// Acknowledged so far.
    pub ack: MoveAck,
    /// Moves refused lately: tick, sequence, reason.
    pub refusals: VecDeque<(u32, u32, Refusal)>,
    waiting: VecDeque<Move>,
    /// The stream has brought its last move.
    has_closed: bool,
}

/// A seat that is taken, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The player's number in the room.
    pub player: u32,
    /// Who it is, over all rooms.
    pub player_id: String,
    /// What others see.
    pub name: String,
    /// Where the seat is in its life.
    pub presence: Presence,
    /// For how long, by the room's ticks.
    pub in_state: Duration,
    /// How many streams the session has had.
    pub streams: u32,
}

impl Seat {
    /// A seat that waits for its player from this tick on.
    pub fn reserved(player_id: String, profile: Profile, tick: u32, until_tick: u32) -> Self {
        Self {
            player_id,
            profile,
            token_hash: None,
            entity: 0,
            generation: 0,
            resumes: Resumes::default(),
            attachment: None,
            presence: Presence::Reserved { until_tick },
            since_tick: tick,
            ack: MoveAck::default(),
            refusals: VecDeque::new(),
            waiting: VecDeque::new(),
            has_closed: false,
        }
    }

    /// The seat of a session that came from another owner: its stream is expected until that tick.
    pub(super) fn arrived(session: Session, tick: u32, expected_until_tick: u32) -> Self {
        let presence = match session.presence {
            sessions::Presence::Reserved { until_tick } => Presence::Reserved { until_tick },
            sessions::Presence::Playing => Presence::Expected { until_tick: expected_until_tick },
            sessions::Presence::Dropped { until_tick } => Presence::Dropped { until_tick },
        };
        Self {
            token_hash: session.token_hash,
            entity: session.entity,
            // Streams are counted anew; what counts is whether there was one.
            generation: u32::from(session.token_hash.is_some()),
            ack: MoveAck {
                input_ack: session.input_ack,
                applied_count: session.applied_count,
                applied_hash: session.applied_hash,
                arrival_margin_ms: 0,
            },
            presence,
            ..Self::reserved(session.player_id, session.profile, tick, 0)
        }
    }

    /// A move that its last owner had not applied yet.
    pub(super) fn expect(&mut self, received: Move) {
        wait(&mut self.waiting, self.ack.input_ack, received);
    }

    /// Whether a tick applies its moves.
    pub fn applies_moves(&self) -> bool {
        matches!(self.presence, Presence::Playing | Presence::Expected { .. })
    }

    /// Copies of all moves that wait to be applied.
    pub(super) fn unapplied(&self) -> impl Iterator<Item = Move> + '_ {
        self.waiting.iter().cloned()
    }

    /// Whether the player counts: it plays, or may come back.
    pub fn is_taken(&self) -> bool {
        !matches!(self.presence, Presence::Left { .. })
    }

    /// Goes on to the next part of its life.
    pub fn enter(&mut self, presence: Presence, tick: u32) {
        self.presence = presence;
        self.since_tick = tick;
    }

    /// What the log says of it; nothing of who left.
    pub fn session(&self, player: u32) -> Option<SessionRef<'_>> {
        let presence = match self.presence {
            Presence::Reserved { until_tick } => sessions::Presence::Reserved { until_tick },
            Presence::Playing | Presence::Expected { .. } => sessions::Presence::Playing,
            Presence::Dropped { until_tick } => sessions::Presence::Dropped { until_tick },
            Presence::Left { .. } => return None,
        };
        Some(SessionRef {
            player,
            player_id: &self.player_id,
            profile: &self.profile,
            entity: self.entity,
            token_hash: self.token_hash.as_ref(),
            input_ack: self.ack.input_ack,
            applied_count: self.ack.applied_count,
            applied_hash: self.ack.applied_hash,
            presence,
        })
    }

    /// Gives the seat to a new stream; the one before is not listened to any more. What it sent and was not applied the
    /// client resends.
    /// Whether another stream may have the seat now. The first always may.
    pub(super) fn admit(&mut self, tick: u32, tick_rate_hz: u32) -> Result<(), Error> {
        let may = self.generation == 0 || self.resumes.take(tick, tick_rate_hz);
        may.then_some(()).ok_or(Error::Overloaded)
    }

    pub(super) fn attach(&mut self, player: u32, inbox: &Arc<Inbox>, tick: u32) -> Arc<Attachment> {
        self.generation += 1;
        self.waiting.clear();
        self.has_closed = false;
        let inbox = Arc::clone(inbox);
        let attachment = Arc::new(Attachment::new(inbox, player, self.generation, tick));
        self.attachment = Some(Arc::clone(&attachment));
        self.enter(Presence::Playing, tick);
        attachment
    }

    /// Whether the stream is gone without having said good-bye, or has not looked at the room for `patience_ticks`: its
    /// peer takes no bytes, so it cannot notice anything itself.
    pub fn has_lost_its_stream(&self, tick: u32, patience_ticks: u32) -> bool {
        self.attachment.as_ref().is_some_and(|attachment| {
            let is_gone = Arc::strong_count(attachment) == 1 && !attachment.is_closing();
            is_gone || attachment.has_stalled(tick, patience_ticks)
        })
    }

    /// Whether the player said good-bye and all that it sent is applied.
    pub fn has_finished(&self) -> bool {
        self.has_closed && !self.next_is_waiting()
    }

    /// Lets go of the stream.
    pub fn detach(&mut self) {
        if let Some(attachment) = self.attachment.take() {
            attachment.abandon();
        }
        self.waiting.clear();
        self.has_closed = false;
    }

    fn next_is_waiting(&self) -> bool {
        let next = self.ack.input_ack.wrapping_add(1);
        self.waiting.front().is_some_and(|front| front.sequence == next)
    }

    /// The next move to apply in this tick, if it is there. Duplicates vanish, a gap waits.
    pub fn next_move(&mut self) -> Option<Move> {
        if self.next_is_waiting() { self.waiting.pop_front() } else { None }
    }

    /// What a stream has brought takes its place, if it is the stream that counts.
    pub(super) fn hear(&mut self, word: Word) {
        if self.attachment.is_none() || word.generation != self.generation {
            return;
        }
        match word.said {
            // The stream lets in only moves that are at most `MOVES_WAITING_MAX` ahead, so this is bounded by them.
            Said::Move(received) => wait(&mut self.waiting, self.ack.input_ack, received),
            Said::Closed => self.has_closed = true,
        }
    }

    /// How many moves wait: the next ones, and those behind a gap.
    pub fn moves_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Lets go of refusals that every stream has been told of, or never will be: each is copied in every tick.
    pub fn forget_old_refusals(&mut self, tick: u32) {
        let is_old =
            |refusal: &(u32, u32, Refusal)| refusal.0.saturating_add(REFUSAL_KEPT_TICKS) < tick;
        while self.refusals.front().is_some_and(is_old) {
            self.refusals.pop_front();
        }
    }

    /// Notes that a move was applied in this tick (or refused: that is acknowledged all the same).
    pub fn applied(&mut self, applied: &Move, refusal: Option<Refusal>, tick: u32, now: Instant) {
        let controls = &applied.controls;
        let content = MoveContent {
            sequence: applied.sequence,
            axis_x: controls.steering.axis_x,
            axis_y: controls.steering.axis_y,
            aim: controls.steering.aim.map(u32::from),
            buttons: controls.buttons,
            target: controls.target,
            payload: &controls.payload,
        };
        let margin = now.saturating_duration_since(applied.arrived);
        self.ack = MoveAck {
            input_ack: applied.sequence,
            applied_count: self.ack.applied_count.wrapping_add(1),
            applied_hash: applied_hash(self.ack.applied_hash, &content),
            arrival_margin_ms: u32::try_from(margin.as_millis()).unwrap_or(u32::MAX),
        };
        if let Some(reason) = refusal {
            if self.refusals.len() == REFUSALS_KEPT_MAX {
                self.refusals.pop_front();
            }
            self.refusals.push_back((tick, applied.sequence, reason));
        }
    }
}

/// Puts a move among those that wait, unless it is there or was applied already.
fn wait(waiting: &mut VecDeque<Move>, input_ack: u32, received: Move) {
    let place = waiting.partition_point(|other| other.sequence < received.sequence);
    let is_waiting = waiting.get(place).is_some_and(|other| other.sequence == received.sequence);
    let is_applied = received.sequence <= input_ack;
    if !is_applied && !is_waiting && waiting.len() < MOVES_WAITING_MAX {
        waiting.insert(place, received);
    }
}
