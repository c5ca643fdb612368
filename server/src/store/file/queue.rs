//! The one queue between all rooms and the thread that owns the files. Nobody waits to put something in.

use super::index::Place;
use crate::store::{Chunk, Error, Incident};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most chunks and incidents that wait: a thousand rooms hand over about four chunks each second.
pub const QUEUE_CHUNKS_MAX: usize = 8192;
/// The most bytes of chunks that wait.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// For the thread.
#[derive(Debug)]
pub(super) enum Message {
    Append(Arc<Place>, Chunk),
    Keep(Arc<Place>, Incident),
    /// A writer is gone. Always taken, so that none is forgotten: there is one for each writer.
    Gone(Arc<Place>),
}

/// Held only to put something in, or to take all out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    chunks: usize,
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    pub(super) fn push(&self, message: Message) -> Result<(), Error> {
        let (chunks, bytes) = match &message {
            Message::Append(_, chunk) => (1, chunk.records.len()),
            Message::Keep(..) => (1, 0),
            Message::Gone(_) => (0, 0),
        };
        let mut waiting = self.lock();
        let is_full =
            waiting.chunks + chunks > QUEUE_CHUNKS_MAX || waiting.bytes + bytes > QUEUE_BYTES_MAX;
        // A chunk that is alone larger than the limit is taken when nothing else waits.
        let is_alone = waiting.chunks == 0;
        if waiting.is_closed || (chunks > 0 && is_full && !is_alone) {
            return Err(Error::Full);
        }
        waiting.chunks += chunks;
        waiting.bytes += bytes;
        waiting.messages.push_back(message);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes all that waits, and says whether nothing more will come.
    pub(super) fn take(&self) -> (VecDeque<Message>, bool) {
        let mut waiting = self.lock();
        waiting.chunks = 0;
        waiting.bytes = 0;
        (std::mem::take(&mut waiting.messages), waiting.is_closed)
    }

    /// Waits until there is something to take, at most so long.
    pub(super) fn wait(&self, at_most: Option<Duration>) {
        let is_idle = |waiting: &mut Waiting| waiting.messages.is_empty() && !waiting.is_closed;
        let waiting = self.lock();
        match at_most {
            Some(at_most) => {
                drop(self.changed.wait_timeout_while(waiting, at_most, is_idle));
            }
            None => drop(self.changed.wait_while(waiting, is_idle)),
        }
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
