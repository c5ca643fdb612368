//! One subject, and one who writes to it: messages one after the other, each of which says which one it follows.
//!
//! JetStream takes a message only if the last one of its subject is the one that the writer names. So nobody can write between
//! two messages of a writer unseen, and a message that is sent again cannot be there twice. When no answer comes, the last
//! message of the subject tells what became of it; until then exactly this message is sent again, never another in its place.

use super::message::{Meta, Stored};
use super::stream::{NotTaken, Stream};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::{Duration, sleep};

/// How long it is waited before the next try: doubled each time, up to the second.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often it is looked whether NATS is back.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whole records, which become a message or several.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) records: Bytes,
    pub(super) has_checkpoint: bool,
    pub(super) first_tick: u32,
    pub(super) last_tick: u32,
    pub(super) has_end: bool,
}

/// What became of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// JetStream has it.
    Done,
    /// What went before it is gone, so that it cannot follow: only what begins with a checkpoint can.
    Gap,
    /// A later owner, in this epoch, has written.
    Fenced(u64),
}

pub(super) struct Lane {
    stream: Arc<Stream>,
    subject: String,
    epoch: u64,
    writer: u64,
    /// The last message of the subject; `None`: not known for sure.
    expected: Option<u64>,
    /// The last message that this writer knows to be there: its own, or where it began.
    tail: Option<Meta>,
    /// It has a message there: whoever writes in its epoch now came later.
    has_written: bool,
    /// What others have written before it began, in its own epoch.
    before: u64,
    segment: u64,
    offset: u64,
    errors: Arc<AtomicU64>,
}

impl Lane {
    pub(super) fn new(
        stream: Arc<Stream>,
        subject: String,
        (epoch, writer): (u64, u64),
        errors: Arc<AtomicU64>,
    ) -> Self {
        Self {
            stream,
            subject,
            epoch,
            writer,
            expected: None,
            tail: None,
            has_written: false,
            before: 0,
            segment: 0,
            offset: 0,
            errors,
        }
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// The number of the last message of the subject, where that is known.
    pub(super) fn last_sequence(&self) -> Option<u64> {
        self.expected
    }

    /// Whether there is anything, of whomever.
    pub(super) fn is_empty(&self) -> bool {
        self.expected == Some(0)
    }

    /// Finds out where it writes, and whether it may: as often as it takes.
    pub(super) async fn begin(&mut self) -> Result<(), u64> {
        let mut pause = Pause::default();
        loop {
            self.until_connected().await;
            if let Err(error) = self.stream.ensure().await {
                self.errors.fetch_add(1, Relaxed);
                tracing::warn!(%error, "the stream of logs cannot be made");
            } else if let Ok(last) = self.look().await {
                return match self.take(last, None) {
                    Found::Fenced(epoch) => Err(epoch),
                    Found::There | Found::Before | Found::Lost => Ok(()),
                };
            }
            pause.wait().await;
        }
    }

    /// Writes, and tries again until it is known what became of it. Dropping it is giving up: then a part may be there, which
    /// readers pass over.
    pub(super) async fn put(&mut self, batch: &Batch) -> Put {
        let size = self.stream.payload_bytes_max();
        let parts = batch.records.len().div_ceil(size).max(1);
        // A chunk is bounded by a checkpoint and a few ticks, far below what would not fit.
        let parts = u32::try_from(parts).unwrap_or(u32::MAX);
        let mut rest = batch.records.clone();
        let mut first = 0;
        for part in 0..parts {
            let payload = rest.split_to(size.min(rest.len()));
            let meta = Meta {
                writer: self.writer,
                epoch: self.epoch,
                first_tick: batch.first_tick,
                last_tick: batch.last_tick,
                has_checkpoint: batch.has_checkpoint,
                has_end: batch.has_end,
                part,
                parts,
                segment: if batch.has_checkpoint { first } else { self.segment },
                offset: self.offset,
                written_at_ms: now_ms(),
            };
            let length = payload.len() as u64;
            match self.put_one(&meta, payload).await {
                Ok(sequence) if part == 0 => first = sequence,
                Ok(_) => {}
                Err(not_done) => return not_done,
            }
            // Not counted on from what was found meanwhile: the next message must fit to this one.
            self.offset = meta.offset + length;
        }
        if batch.has_checkpoint {
            self.segment = first;
        }
        Put::Done
    }

    async fn put_one(&mut self, meta: &Meta, payload: Bytes) -> Result<u64, Put> {
        let mut pause = Pause::default();
        loop {
            self.until_connected().await;
            let expected = match self.expected {
                Some(expected) => expected,
                None => match self.look().await.map(|last| self.take(last, Some(meta))) {
                    Err(_) => {
                        pause.wait().await;
                        continue;
                    }
                    Ok(Found::There) => return Ok(self.wrote(meta, self.expected.unwrap_or(0))),
                    Ok(Found::Fenced(epoch)) => return Err(Put::Fenced(epoch)),
                    Ok(Found::Lost) if !meta.begins() => return Err(Put::Gap),
                    Ok(Found::Before | Found::Lost) => self.expected.unwrap_or(0),
                },
            };
            match self.stream.publish(&self.subject, meta, payload.clone(), expected).await {
                Ok(sequence) => return Ok(self.wrote(meta, sequence)),
                Err(NotTaken::TooLarge) => {
                    tracing::error!(subject = self.subject, "JetStream takes smaller messages now");
                    return Err(Put::Gap);
                }
                Err(not_taken) => {
                    self.errors.fetch_add(1, Relaxed);
                    self.expected = None;
                    if not_taken == NotTaken::NoStream {
                        // It is looked for again in any case; what is wrong shows there.
                        if let Err(error) = self.stream.ensure_again().await {
                            tracing::warn!(%error, "the stream of logs cannot be made");
                        }
                    }
                    // The first time, what is there is looked at at once.
                    if not_taken != NotTaken::OtherLast || pause.0 > PAUSE {
                        pause.wait().await;
                    } else {
                        pause.0 *= 2;
                    }
                }
            }
        }
    }

    fn wrote(&mut self, meta: &Meta, sequence: u64) -> u64 {
        self.expected = Some(sequence);
        self.tail = Some(*meta);
        self.has_written = true;
        sequence
    }

    /// Nothing is sent while nobody is there: it would only wait in the client's queue.
    async fn until_connected(&self) {
        while !self.stream.is_connected() {
            sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) -> std::io::Result<Option<Stored>> {
        let last = self.stream.last(&self.subject).await;
        last.inspect_err(|error| {
            self.errors.fetch_add(1, Relaxed);
            tracing::debug!(subject = self.subject, %error, "the end of a log cannot be seen");
        })
    }

    /// What the last message of the subject says of the one that is being written.
    fn take(&mut self, last: Option<Stored>, writing: Option<&Meta>) -> Found {
        let Some(last) = last else {
            self.expected = Some(0);
            return if self.tail.is_none() { Found::Before } else { Found::Lost };
        };
        let sequence = last.sequence;
        let Some(meta) = last.meta else {
            // Whoever that was, it is no owner.
            self.expected = Some(sequence);
            return Found::Lost;
        };
        if meta.writer == self.writer {
            self.expected = Some(sequence);
            return if writing.is_some_and(|writing| writing.is(&meta)) {
                Found::There
            } else if self.tail.is_some_and(|tail| tail.is(&meta)) {
                Found::Before
            } else {
                Found::Lost
            };
        }
        let came_later = self.has_written || (self.tail.is_some() && sequence > self.before);
        if meta.epoch > self.epoch || (meta.epoch == self.epoch && came_later) {
            return Found::Fenced(meta.epoch);
        }
        // An earlier owner, which has not heard of this one before its first message.
        self.expected = Some(sequence);
        self.before = sequence;
        self.tail = Some(meta);
        self.offset = self.offset.max(meta.offset + last.payload.len() as u64);
        Found::Lost
    }
}

/// What the last message of a subject says.
enum Found {
    /// It is the one that was being written.
    There,
    /// It is the one before.
    Before,
    /// It is neither: what is to follow must begin with a checkpoint.
    Lost,
    /// It is a later owner's.
    Fenced(u64),
}

/// Before the next try.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(PAUSE)
    }
}

impl Pause {
    async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = PAUSE_MAX.min(self.0 * 2);
    }
}

pub(super) fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

impl Batch {
    /// Of chunks that follow each other; there is at least one.
    pub(super) fn of(chunks: &[crate::store::Chunk]) -> Self {
        let (first, last) = (&chunks[0], &chunks[chunks.len() - 1]);
        let records = if chunks.len() == 1 {
            first.records.clone()
        } else {
            let mut records = BytesMut::with_capacity(chunks.iter().map(|c| c.records.len()).sum());
            for chunk in chunks {
                records.extend_from_slice(&chunk.records);
            }
            records.freeze()
        };
        Self {
            records,
            has_checkpoint: first.has_checkpoint,
            first_tick: first.first_tick,
            last_tick: last.last_tick,
            has_end: last.has_end,
        }
    }
}
