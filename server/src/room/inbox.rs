//! What the streams of a room bring to its next tick.

use super::handle::Move;
use std::sync::{Mutex, PoisonError};

/// One for the whole room. A queue for each player would be as long as its bound, a hundred times what is ever in it, and as many
/// places to look into at each tick. The lock is held only while a word is put in, or all of it is taken out.
///
/// What bounds it: a stream brings at most [`super::handle::MOVES_WAITING_MAX`] moves from one frame that it has seen to the next,
/// so there are at most twice as many of each player.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Vec<Word>>);

/// What a stream said.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) player: u32,
    /// Which of the player's streams.
    pub(super) generation: u32,
    pub(super) said: Said,
}

#[derive(Debug)]
pub(super) enum Said {
    Move(Move),
    /// That was all.
    Closed,
}

impl Inbox {
    pub(super) fn put(&self, word: Word) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(word);
    }

    /// All that is there, in the order in which it came; `into` is empty, and its memory is what is used next.
    pub(super) fn take(&self, into: &mut Vec<Word>) {
        std::mem::swap(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), into);
    }
}
