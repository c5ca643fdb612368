//! What a room has handed over and JetStream has not. Nobody waits to put something in.

use super::lane::Batch;
use crate::store::{Chunk, Error, Incident};
use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most chunks and incidents of a room that wait: at two chunks a second, eight minutes.
pub const ROOM_CHUNKS_MAX: usize = 1024;
/// The most bytes of all rooms that wait.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Chunks become one message up to so many bytes.
pub const COALESCED_BYTES_MAX: usize = 256 << 10;

/// For the task that writes the log.
#[derive(Debug)]
pub(super) enum Next {
    Append(Batch, Taken),
    Keep(Incident),
    /// Nothing more will come.
    Over,
}

/// What was taken out of the queue counts as waiting until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    all: Arc<AtomicUsize>,
    bytes: usize,
    /// How many chunks it is.
    pub(super) chunks: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// Nothing more is taken in.
    over: CancellationToken,
    /// The bytes of all rooms.
    all: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Waiting {
    items: VecDeque<Item>,
    /// Something was refused or lost, or nothing was taken yet.
    needs_checkpoint: bool,
    is_over: bool,
    fenced: Option<u64>,
}

#[derive(Debug)]
enum Item {
    Chunk(Chunk),
    Incident(Incident),
}

impl Queue {
    pub(super) fn new(all: Arc<AtomicUsize>) -> Self {
        let waiting = Waiting {
            items: VecDeque::new(),
            needs_checkpoint: true,
            is_over: false,
            fenced: None,
        };
        Self {
            waiting: Mutex::new(waiting),
            changed: Notify::new(),
            over: CancellationToken::new(),
            all,
        }
    }

    pub(super) fn append(&self, chunk: Chunk) -> Result<(), Error> {
        let mut waiting = self.lock();
        waiting.check()?;
        let bytes = chunk.records.len();
        let is_full = waiting.items.len() >= ROOM_CHUNKS_MAX || !self.reserve(bytes);
        if is_full || (waiting.needs_checkpoint && !chunk.has_checkpoint) {
            if !is_full {
                self.all.fetch_sub(bytes, Relaxed);
            }
            waiting.needs_checkpoint = true;
            return Err(Error::Full);
        }
        waiting.needs_checkpoint = false;
        waiting.items.push_back(Item::Chunk(chunk));
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// A chunk that is alone larger than the limit is taken when nothing else waits.
    fn reserve(&self, bytes: usize) -> bool {
        let before = self.all.fetch_add(bytes, Relaxed);
        let fits = before == 0 || before + bytes <= QUEUE_BYTES_MAX;
        if !fits {
            self.all.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    pub(super) fn keep(&self, incident: Incident) -> Result<(), Error> {
        let mut waiting = self.lock();
        waiting.check()?;
        if waiting.items.len() >= ROOM_CHUNKS_MAX {
            return Err(Error::Full);
        }
        waiting.items.push_back(Item::Incident(incident));
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Nothing more is taken in. What waits is still to be written.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.over.cancel();
        self.changed.notify_one();
    }

    /// Waits until nothing more is taken in.
    pub(super) async fn ended(&self) {
        self.over.cancelled().await;
    }

    /// Another owner writes: nothing is of use any more. Says how many chunks that were.
    pub(super) fn fence(&self, epoch: u64) -> u64 {
        self.supersede(epoch);
        self.clear()
    }

    /// The same process has another writer now: nothing more is taken in, but what waits is written.
    pub(super) fn supersede(&self, epoch: u64) {
        let mut waiting = self.lock();
        waiting.fenced = Some(epoch);
        waiting.is_over = true;
        drop(waiting);
        self.over.cancel();
        self.changed.notify_one();
    }

    /// What went before is lost: only from a checkpoint on the rest is of use. Says how many chunks are lost, too.
    pub(super) fn skip_to_checkpoint(&self) -> u64 {
        let mut waiting = self.lock();
        let mut lost = 0;
        let mut kept = VecDeque::with_capacity(waiting.items.len());
        let mut has_checkpoint = false;
        for item in waiting.items.drain(..) {
            match &item {
                Item::Chunk(chunk) if !has_checkpoint && !chunk.has_checkpoint => {
                    lost += self.let_go(&item);
                }
                Item::Chunk(_) => {
                    has_checkpoint = true;
                    kept.push_back(item);
                }
                Item::Incident(_) => kept.push_back(item),
            }
        }
        waiting.items = kept;
        waiting.needs_checkpoint |= !has_checkpoint;
        lost
    }

    /// Lets all go; says how many chunks that were.
    pub(super) fn clear(&self) -> u64 {
        let items = std::mem::take(&mut self.lock().items);
        items.into_iter().map(|item| self.let_go(&item)).sum()
    }

    fn let_go(&self, item: &Item) -> u64 {
        match item {
            Item::Chunk(chunk) => {
                self.all.fetch_sub(chunk.records.len(), Relaxed);
                1
            }
            Item::Incident(_) => 0,
        }
    }

    /// Waits for what comes next: all chunks that wait, up to the next checkpoint, as one.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Next> {
        let mut waiting = self.lock();
        let first = match waiting.items.pop_front() {
            None if waiting.is_over => return Some(Next::Over),
            None => return None,
            Some(Item::Incident(incident)) => return Some(Next::Keep(incident)),
            Some(Item::Chunk(chunk)) => chunk,
        };
        let mut chunks = vec![first];
        let mut bytes = chunks[0].records.len();
        while let Some(Item::Chunk(next)) = waiting.items.front() {
            let last = &chunks[chunks.len() - 1];
            let follows = next.first_tick == last.last_tick.saturating_add(1) && !last.has_end;
            let fits = bytes + next.records.len() <= COALESCED_BYTES_MAX;
            if next.has_checkpoint || !follows || !fits {
                break;
            }
            bytes += next.records.len();
            // It is there: it was just looked at.
            if let Some(Item::Chunk(next)) = waiting.items.pop_front() {
                chunks.push(next);
            }
        }
        drop(waiting);
        let taken = Taken { all: Arc::clone(&self.all), bytes, chunks: chunks.len() as u64 };
        Some(Next::Append(Batch::of(&chunks), taken))
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn check(&self) -> Result<(), Error> {
        match self.fenced {
            Some(epoch) => Err(Error::Fenced(epoch)),
            None if self.is_over => Err(Error::Full),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn chunk(first_tick: u32, bytes: usize, has_checkpoint: bool) -> Chunk {
        Chunk {
            records: Bytes::from(vec![first_tick as u8; bytes]),
            has_checkpoint,
            first_tick,
            last_tick: first_tick + 9,
            has_end: false,
        }
    }

    fn queue() -> Queue {
        Queue::new(Arc::default())
    }

    fn next(queue: &Queue) -> Option<(u32, u32, usize)> {
        match queue.take() {
            Some(Next::Append(batch, _)) => {
                Some((batch.first_tick, batch.last_tick, batch.records.len()))
            }
            _ => None,
        }
    }

    #[test]
    fn what_waits_becomes_one_message_up_to_the_next_checkpoint() {
        let queue = queue();
        queue.append(chunk(1, 10, true)).unwrap();
        for first in [11, 21, 31] {
            queue.append(chunk(first, 10, false)).unwrap();
        }
        queue.append(chunk(41, 10, true)).unwrap();
        queue.append(chunk(51, COALESCED_BYTES_MAX, false)).unwrap();
        assert_eq!(next(&queue), Some((1, 40, 40)));
        assert_eq!(next(&queue), Some((41, 50, 10)));
        assert_eq!(next(&queue), Some((51, 60, COALESCED_BYTES_MAX)));
        assert_eq!(next(&queue), None);
        assert_eq!(queue.all.load(Relaxed), 0);
    }

    #[test]
    fn a_full_queue_refuses_until_a_checkpoint_fits() {
        let queue = queue();
        assert!(matches!(queue.append(chunk(1, 1, false)), Err(Error::Full)), "no beginning");
        queue.append(chunk(1, QUEUE_BYTES_MAX, true)).unwrap();
        assert!(matches!(queue.append(chunk(11, 1, false)), Err(Error::Full)));
        // What is taken out still counts, for as long as it is being written.
        let taken = queue.take();
        assert!(matches!(queue.append(chunk(21, 1, true)), Err(Error::Full)));
        drop(taken);
        assert!(matches!(queue.append(chunk(31, 1, false)), Err(Error::Full)), "a gap");
        queue.append(chunk(41, 1, true)).unwrap();
        queue.append(chunk(51, 1, false)).unwrap();
        assert_eq!(next(&queue), Some((41, 60, 2)));
    }

    #[test]
    fn a_room_has_so_many_chunks_waiting_and_no_more() {
        let queue = queue();
        for tick in 0..ROOM_CHUNKS_MAX as u32 {
            queue.append(chunk(tick * 10 + 1, 1, true)).unwrap();
        }
        assert!(matches!(queue.append(chunk(1, 1, true)), Err(Error::Full)));
        assert_eq!(queue.all.load(Relaxed), ROOM_CHUNKS_MAX);
        assert_eq!(queue.clear(), ROOM_CHUNKS_MAX as u64);
        assert_eq!(queue.all.load(Relaxed), 0);
    }

    #[test]
    fn after_a_gap_only_a_checkpoint_goes_on() {
        let queue = queue();
        queue.append(chunk(1, 1, true)).unwrap();
        assert_eq!(next(&queue), Some((1, 10, 1)));
        for (first, has_checkpoint) in [(11, false), (21, false), (31, true), (41, false)] {
            queue.append(chunk(first, 1, has_checkpoint)).unwrap();
        }
        assert_eq!(queue.skip_to_checkpoint(), 2);
        queue.append(chunk(51, 1, false)).unwrap();
        assert_eq!(next(&queue), Some((31, 60, 3)));
        assert_eq!(queue.skip_to_checkpoint(), 0);
        assert!(matches!(queue.append(chunk(61, 1, false)), Err(Error::Full)));
        queue.append(chunk(71, 1, true)).unwrap();
    }
}
