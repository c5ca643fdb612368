//! A recording, message after message, from one that begins a segment.

use super::message::{Meta, Stored};
use super::stream::Stream;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// A question that was not answered is asked again so often.
const TRIES: usize = 3;

/// Gives records in order, whole ones only: of a chunk in several messages, all or nothing.
pub(super) struct Cursor {
    stream: Arc<Stream>,
    subject: String,
    next: u64,
    /// The parts of a chunk that has not come to its end yet.
    parts: Vec<(Meta, Bytes)>,
    /// Of the chunk before: who wrote it, and what offset follows.
    before: Option<(u64, u64)>,
    epoch: u64,
}

impl Cursor {
    /// From this message on, which begins a segment.
    pub(super) fn new(stream: Arc<Stream>, begin: &Stored) -> Self {
        let (subject, next) = (begin.subject.clone(), begin.sequence);
        Self { stream, subject, next, parts: Vec::new(), before: None, epoch: 0 }
    }

    /// The number of the message that comes next, at least.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// What comes next, a few messages at once; nothing: there are no more yet.
    pub(super) async fn more(&mut self) -> io::Result<Vec<Bytes>> {
        let mut records = Vec::new();
        loop {
            let messages = self.ask().await?;
            if messages.is_empty() {
                return Ok(records);
            }
            for message in messages {
                self.take(message, &mut records)?;
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    async fn ask(&self) -> io::Result<Vec<Stored>> {
        let mut tries = 1;
        loop {
            match self.stream.next(&self.subject, self.next).await {
                Err(error) if tries < TRIES => {
                    tracing::debug!(subject = self.subject, %error, "asked again");
                    tries += 1;
                }
                answered => return answered,
            }
        }
    }

    fn take(&mut self, message: Stored, out: &mut Vec<Bytes>) -> io::Result<()> {
        if message.sequence < self.next {
            return Ok(());
        }
        self.next = message.sequence + 1;
        let Some(meta) = message.meta.filter(|meta| meta.epoch >= self.epoch) else {
            return Ok(());
        };
        if meta.part == 0 {
            // What its writer did not bring to its end it has given up.
            self.parts.clear();
        }
        let before = match self.parts.last() {
            Some((last, payload)) => Some((last.writer, last.offset + payload.len() as u64)),
            None => self.before,
        };
        let follows =
            before == Some((meta.writer, meta.offset)) && meta.part as usize == self.parts.len();
        if !follows && !meta.begins() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "this part was let go meanwhile"));
        }
        self.epoch = meta.epoch;
        let end = meta.offset + message.payload.len() as u64;
        self.parts.push((meta, message.payload));
        if meta.part + 1 == meta.parts {
            self.before = Some((meta.writer, end));
            out.extend(self.parts.drain(..).map(|(_, payload)| payload));
        }
        Ok(())
    }
}
