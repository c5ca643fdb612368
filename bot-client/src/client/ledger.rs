//! The moves of a session: what was sent, what the server says that it applied, and whether both agree.
//!
//! An acknowledgement alone proves little: a server that loses one move and applies another twice still acknowledges
//! the last of them. So every acknowledgement comes with a count and a rolling hash over the applied moves, and the
//! ledger recomputes both.

use super::Controls;
use fray_proto::hash::applied_hash;
use fray_proto::model::Steering;
use fray_proto::trace::TraceContext;
use fray_proto::v1;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most moves that may wait for their acknowledgement, by the rules of the stream.
pub const UNACKNOWLEDGED_MAX: usize = 64;

/// Acknowledged moves that are kept nevertheless: what an older state of the room says of them can be checked.
const ACKNOWLEDGED_KEPT: usize = 192;

/// All moves that are kept, for players that do not read and so never see an acknowledgement.
const KEPT_MAX: usize = 4096;

/// What a server says about a session's moves: the newest one applied, how many there were, and their rolling hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// All moves up to this one.
    pub sequence: u32,
    /// How many were applied.
    pub count: u32,
    /// The rolling hash over them.
    pub hash: u32,
}

/// What a server did wrong with a player's moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveFault {
    /// Acknowledged, but not applied.
    #[error("{0} moves were acknowledged but not applied")]
    Lost(u32),
    /// Applied more often than sent.
    #[error("{0} moves were applied more than once")]
    Duplicate(u32),
    /// As many as were sent, but not those, or not in this order; or moves that were never sent.
    #[error("other moves were applied than those sent")]
    Altered,
}

/// What an acknowledgement changed.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// How long each newly acknowledged move took, from when it was due.
    pub(super) latencies: Vec<Duration>,
    /// What the server did wrong.
    pub(super) fault: Option<MoveFault>,
    /// Which of the newly acknowledged ones were sampled, and since when each was due.
    pub(super) traced: Vec<(TraceContext, u32, Instant)>,
}

#[derive(Debug)]
struct Entry {
    message: v1::Move,
    /// The rolling hash after this move.
    hash: u32,
    /// When the player wanted it.
    due: Instant,
    /// When it was first written; for the time of a round trip.
    sent: Option<Instant>,
    trace: Option<TraceContext>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What is true before the first entry.
    start: Applied,
    /// Moves `start.sequence + 1` and on.
    entries: VecDeque<Entry>,
    acknowledged: u32,
}

impl Ledger {
    /// A ledger of a session that has these moves behind it.
    pub(super) fn new(start: Applied) -> Self {
        Self { start, entries: VecDeque::new(), acknowledged: start.sequence }
    }

    /// Takes in a move and numbers it.
    pub(super) fn push(
        &mut self,
        controls: Controls,
        due: Instant,
        trace: Option<TraceContext>,
    ) -> u32 {
        let sequence = self.newest().wrapping_add(1);
        let mut message = controls.into_move(sequence);
        message.trace = trace.map(Into::into);
        let hash = applied_hash(self.newest_hash(), &(&message).into());
        self.entries.push_back(Entry { message, hash, due, sent: None, trace });
        self.forget();
        sequence
    }

    /// The number of the newest move; 0 is none.
    pub(super) fn newest(&self) -> u32 {
        self.start.sequence.wrapping_add(self.entries.len() as u32)
    }

    /// The newest move that is acknowledged.
    pub(super) fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// How many moves wait for their acknowledgement.
    pub(super) fn unacknowledged(&self) -> usize {
        self.newest().wrapping_sub(self.acknowledged) as usize
    }

    /// The message of a move that is to be written now.
    pub(super) fn message(&mut self, sequence: u32, now: Instant) -> Option<v1::Move> {
        let index = self.index(sequence)?;
        let entry = self.entries.get_mut(index)?;
        entry.sent.get_or_insert(now);
        Some(entry.message.clone())
    }

    /// The moves that wait for their acknowledgement, in order.
    pub(super) fn unacknowledged_moves(&self) -> impl Iterator<Item = (u32, Steering)> {
        let moves = self.entries.iter().map(|entry| &entry.message);
        let waiting = moves.filter(|message| message.sequence > self.acknowledged);
        waiting.map(|message| (message.sequence, steering(message)))
    }

    /// When a move was first written.
    pub(super) fn sent_at(&self, sequence: u32) -> Option<Instant> {
        self.entries.get(self.index(sequence)?)?.sent
    }

    /// The oldest time at which a move that is still unacknowledged was due.
    pub(super) fn oldest_due(&self) -> Option<Instant> {
        self.due_of(self.acknowledged.wrapping_add(1))
    }

    fn due_of(&self, sequence: u32) -> Option<Instant> {
        Some(self.entries.get(self.index(sequence)?)?.due)
    }

    /// Takes in an acknowledgement on a stream that goes on.
    pub(super) fn acknowledge(&mut self, applied: Applied, now: Instant) -> Acknowledged {
        let mut outcome = Acknowledged { fault: self.check(applied), ..Acknowledged::default() };
        let back = self.acknowledged.saturating_sub(applied.sequence);
        if back > 0 {
            outcome.fault.get_or_insert(MoveFault::Lost(back));
            return outcome;
        }
        for sequence in self.acknowledged.wrapping_add(1)..=applied.sequence.min(self.newest()) {
            let index = self.index(sequence);
            let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) else {
                continue;
            };
            outcome.latencies.push(now.saturating_duration_since(entry.due));
            outcome.traced.extend(entry.trace.take().map(|context| (context, sequence, entry.due)));
        }
        self.acknowledged = applied.sequence;
        if outcome.fault.is_some() {
            self.adopt(applied);
        }
        self.forget();
        outcome
    }

    /// Takes in what a server says at the start of a further stream of the session. If it knows less than an earlier one
    /// did, acknowledged moves are lost, and the numbers go on from where it stands.
    pub(super) fn resume(&mut self, applied: Applied, now: Instant) -> Acknowledged {
        if applied.sequence < self.acknowledged {
            let lost = self.newest().saturating_sub(applied.sequence);
            *self = Self::new(applied);
            return Acknowledged { fault: Some(MoveFault::Lost(lost)), ..Acknowledged::default() };
        }
        self.acknowledge(applied, now)
    }

    /// The room was restored from what had been recorded, and says so: moves past that are gone, acknowledged or not, and
    /// their numbers are free. How many, and what is wrong with those that are left, as far as they are known.
    pub(super) fn set_back(&mut self, applied: Applied) -> (u32, Option<MoveFault>) {
        let fault = self.check(applied);
        let dropped = self.newest().saturating_sub(applied.sequence);
        *self = Self::new(applied);
        (dropped, fault)
    }

    /// Compares with what was sent.
    fn check(&self, applied: Applied) -> Option<MoveFault> {
        if applied.sequence > self.newest() {
            return Some(MoveFault::Altered);
        }
        let hash = self.hash_after(applied.sequence)?;
        let sent = self.start.count.wrapping_add(applied.sequence - self.start.sequence);
        let surplus = applied.count.wrapping_sub(sent) as i32;
        match surplus {
            0 if hash == applied.hash => None,
            0 => Some(MoveFault::Altered),
            1.. => Some(MoveFault::Duplicate(surplus as u32)),
            _ => Some(MoveFault::Lost(surplus.unsigned_abs())),
        }
    }

    /// Goes on from what the server says, so that one fault is counted once.
    fn adopt(&mut self, applied: Applied) {
        let behind = applied.sequence.wrapping_sub(self.start.sequence) as usize;
        self.entries.drain(..behind.min(self.entries.len()));
        self.start = applied;
        let mut hash = applied.hash;
        for entry in &mut self.entries {
            hash = applied_hash(hash, &(&entry.message).into());
            entry.hash = hash;
        }
    }

    fn forget(&mut self) {
        while self.entries.len() > KEPT_MAX
            || self.entries.len() > ACKNOWLEDGED_KEPT + self.unacknowledged()
        {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.start.sequence = self.start.sequence.wrapping_add(1);
            self.start.count = self.start.count.wrapping_add(1);
            self.start.hash = oldest.hash;
        }
    }

    fn index(&self, sequence: u32) -> Option<usize> {
        sequence.checked_sub(self.start.sequence)?.checked_sub(1).map(|index| index as usize)
    }

    /// The rolling hash after a move, if it is known.
    fn hash_after(&self, sequence: u32) -> Option<u32> {
        if sequence == self.start.sequence {
            return Some(self.start.hash);
        }
        Some(self.entries.get(self.index(sequence)?)?.hash)
    }

    fn newest_hash(&self) -> u32 {
        self.entries.back().map_or(self.start.hash, |entry| entry.hash)
    }
}

fn steering(message: &v1::Move) -> Steering {
    let aim = message.aim.map(|aim| aim as u16);
    Steering { axis_x: message.axis_x, axis_y: message.axis_y, aim }
}

#[cfg(test)]
mod tests;
