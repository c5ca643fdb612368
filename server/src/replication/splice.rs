//! What one stream has been sent, and its next update.

use super::frame::{PRIVATE_VALUES_MAX, PlayerFrame, TickFrame};
use super::view::{self, Spans};
use crate::game::{Refusal, View};
use bytes::Bytes;
use fray_proto::update::{MoveAck, Space, UpdateHeader, frame_update};
use std::cell::RefCell;

thread_local! {
    /// Where the updates of all streams are made that this thread polls: warm in the cache, which the memory of a thousand streams is not.
    static SPACE: RefCell<Space> = RefCell::default();
}

/// An entity costs about this much in a keyframe; below that, missed deltas are surely no longer than one.
const KEYFRAME_ENTITY_BYTES_MIN: usize = 8;

/// A stream's memory of what was written to it: nothing else chooses the base of its next update.
#[derive(Debug, Default)]
pub struct Splicer {
    /// The tick that the client holds once it has read everything; 0: nothing.
    base: u32,
    /// The cells that it then holds, in ascending order.
    held: Vec<u32>,
    /// Where it looked then.
    spans: Option<Spans>,
    ack: Option<MoveAck>,
    private: Option<([i32; PRIVATE_VALUES_MAX], usize)>,
    // Kept from update to update only to spare allocations.
    added: Vec<u32>,
    removed: Vec<u32>,
    seen: Vec<u32>,
    keyframes: Vec<u32>,
    refusals: Vec<(u32, u32)>,
    counts: Counts,
}

/// Bytes of cells that updates were made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Encoded because this stream was the first to need them.
    pub encoded_bytes: u64,
    /// Written, mostly shared with other streams.
    pub spliced_bytes: u64,
}

impl Splicer {
    /// The tick of the newest update written; 0 before the first, and after [`Self::restart`].
    pub fn base(&self) -> u32 {
        self.base
    }

    /// Whether the client holds this cell once it has read everything.
    pub fn holds(&self, cell: u32) -> bool {
        self.held.binary_search(&cell).is_ok()
    }

    /// What was counted since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Makes the next update start from nothing.
    pub fn restart(&mut self) {
        self.base = 0;
        self.held.clear();
        self.spans = None;
        self.ack = None;
        self.private = None;
    }

    /// The update from what was written last to `frame`, as [`frame_update`] frames it, or `None` if there is nothing newer.
    /// A spectator has no `player`, and looks at `view`.
    pub fn update(
        &mut self,
        frame: &TickFrame,
        player: Option<&PlayerFrame>,
        view: View,
    ) -> Option<Bytes> {
        if frame.tick <= self.base {
            return None;
        }
        let missed = frame.tick - self.base;
        if self.base != 0 && missed as usize > frame.history.len() {
            self.restart();
        }
        let fresh = self.base == 0;
        self.look(frame, view);
        let missed_deltas = if fresh { 0 } else { missed as usize };
        self.choose_keyframes(frame, missed_deltas);

        let ack = player.map(|p| p.ack).filter(|ack| Some(ack) != self.ack.as_ref());
        let private =
            player.map(|p| p.private).filter(|private| Some(private) != self.private.as_ref());
        self.refusals.clear();
        for (tick, sequence, reason) in player.map_or(&[][..], |p| &p.refusals) {
            if *tick > self.base {
                self.refusals.push((*sequence, refusal_code(*reason)));
            }
        }
        let checks_view = frame.tick / frame.check_ticks != self.base / frame.check_ticks;
        let header = UpdateHeader {
            tick: frame.tick,
            base_tick: (fresh || missed > 1).then_some(self.base),
            move_ack: ack,
            refusals: &self.refusals,
            cells_added: &self.added,
            cells_removed: &self.removed,
            view_checksum: checks_view.then(|| frame.view_checksum(&self.held)),
            private: private.as_ref().map(|(values, count)| &values[..*count]),
        };
        // Each delta of a cell that stays in view, oldest first, then keyframes.
        let deltas = frame.history.iter().skip(frame.history.len() - missed_deltas);
        let deltas = deltas.flat_map(|tick| &tick.cells).filter_map(|(cell, bytes)| {
            let stays = self.held.binary_search(cell).is_ok();
            (stays && self.keyframes.binary_search(cell).is_err()).then_some(bytes)
        });
        let mut encoded_bytes = 0;
        for cell in &self.keyframes {
            frame.keyframe(*cell, &mut encoded_bytes);
        }
        let keyframes = self.keyframes.iter().map(|cell| frame.keyframe(*cell, &mut 0));
        let cells = deltas.chain(keyframes);
        let spliced_bytes = cells.clone().map(|cell| cell.len() as u64).sum::<u64>();
        let framed = SPACE.with_borrow_mut(|space| frame_update(&header, cells, space));
        self.counts.encoded_bytes += encoded_bytes;
        self.counts.spliced_bytes += spliced_bytes;
        self.base = frame.tick;
        self.ack = ack.or(self.ack);
        self.private = private.or(self.private);
        Some(framed)
    }

    /// Takes the view, once per written update: `held` becomes what is seen now; `added` and `removed` say what is new.
    fn look(&mut self, frame: &TickFrame, view: View) {
        self.added.clear();
        self.removed.clear();
        let spans = Spans::of(frame.grid.world, view);
        // From where it looked last time it sees the same.
        if self.spans.replace(spans) == Some(spans) {
            return;
        }
        view::select(frame.grid.world, spans, &self.held, &mut self.seen);
        self.added.extend(self.seen.iter().filter(|cell| self.held.binary_search(cell).is_err()));
        self.removed.extend(self.held.iter().filter(|cell| self.seen.binary_search(cell).is_err()));
        std::mem::swap(&mut self.held, &mut self.seen);
    }

    /// The cells that are new, and those of which the deltas that were missed are longer than all of it.
    fn choose_keyframes(&mut self, frame: &TickFrame, missed_deltas: usize) {
        self.keyframes.clone_from(&self.added);
        if missed_deltas < 2 {
            return;
        }
        let deltas = frame.history.iter().skip(frame.history.len() - missed_deltas);
        for cell in &self.held {
            if self.added.binary_search(cell).is_ok() {
                continue;
            }
            let written: usize =
                deltas.clone().filter_map(|tick| tick.of(*cell)).map(Bytes::len).sum();
            let least = frame.entities(*cell).len() * KEYFRAME_ENTITY_BYTES_MIN;
            let encoded_bytes = &mut self.counts.encoded_bytes;
            if written > least && written > frame.keyframe(*cell, encoded_bytes).len() {
                self.keyframes.push(*cell);
            }
        }
        self.keyframes.sort_unstable();
    }
}

impl super::frame::TickDeltas {
    fn of(&self, cell: u32) -> Option<&Bytes> {
        let index = self.cells.binary_search_by_key(&cell, |(number, _)| *number);
        index.ok().map(|index| &self.cells[index].1)
    }
}

/// The wire's number for a reason (`Refusal.Reason`).
fn refusal_code(reason: Refusal) -> u32 {
    match reason {
        Refusal::InvalidTarget => 1,
        Refusal::InvalidPayload => 2,
        Refusal::NotAllowed => 3,
    }
}
