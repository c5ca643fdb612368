//! Records from bytes, wherever they come from: a file, a store, an upload.

use super::bytes::Malformed;
use super::record::{
    self, CHECKSUM_BYTES, HEAD_BYTES, Header, PAYLOAD_BYTES_MAX, Record, TICK_MAX, head_check,
};
use bytes::{Buf as _, BytesMut};
use std::io::{self, Read};

/// How much is asked for at a time.
const READ_BYTES: usize = 64 * 1024;

/// Why a recording cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not as they were written.
    #[error("DAMAGED at offset {offset}: {problem}")]
    Damaged {
        /// Where the record begins that is wrong.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A newer version wrote it.
    #[error("written in format {0}, which this version does not read")]
    Newer(u32),
    /// The bytes cannot be had.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads records one after the other, in memory for one record, and checks that they are in order: a header, its checkpoint,
/// then tick after tick. A recording may be several segments, each with a header of its own.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    buffer: BytesMut,
    /// Of the buffer's first byte.
    offset: u64,
    /// Nothing but zeros follows.
    is_at_a_hole: bool,
    order: Order,
}

impl<R: Read> Reader<R> {
    /// Reads from the beginning of a recording.
    pub fn new(from: R) -> Self {
        Self {
            from,
            buffer: BytesMut::new(),
            offset: 0,
            is_at_a_hole: false,
            order: Order::default(),
        }
    }

    /// The next record; `None` when there is no further whole record. More may come later if the source grows.
    pub fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        if self.is_at_a_hole || !self.fill(HEAD_BYTES)? {
            return Ok(None);
        }
        let head = [self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]];
        let check = u16::from_le_bytes([self.buffer[4], self.buffer[5]]);
        if check != head_check(head) {
            return self.hole_or(HEAD_BYTES, "not a record");
        }
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        // Three bytes cannot say more than the limit.
        debug_assert!(length <= PAYLOAD_BYTES_MAX);
        let whole = HEAD_BYTES + length + CHECKSUM_BYTES;
        if !self.fill(whole)? {
            return Ok(None);
        }
        let checksum = crc32fast::hash(&self.buffer[..whole - CHECKSUM_BYTES]);
        if checksum.to_le_bytes() != self.buffer[whole - CHECKSUM_BYTES..whole] {
            return self.hole_or(whole, "a record's checksum is wrong");
        }
        // A copy: slices of this buffer would keep all of it for as long as one of them lives.
        let payload = bytes::Bytes::copy_from_slice(&self.buffer[HEAD_BYTES..HEAD_BYTES + length]);
        let record = Record::take(head[3], payload).map_err(|error| match error {
            record::Error::Malformed(Malformed(problem)) => self.damaged(problem),
            record::Error::Newer(version) => ReadError::Newer(version),
        })?;
        self.order.take(&record).map_err(|problem| self.damaged(problem))?;
        self.buffer.advance(whole);
        self.offset += whole as u64;
        Ok(Some(record))
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the log came to its end, and was not cut off.
    pub fn is_complete(&self) -> bool {
        self.order.has_ended
    }

    /// The newest header, once it was read.
    pub fn header(&self) -> Option<&Header> {
        self.order.header.as_deref()
    }

    fn damaged(&self, problem: &'static str) -> ReadError {
        ReadError::Damaged { offset: self.offset, problem }
    }

    /// Whether so many bytes are there.
    fn fill(&mut self, wanted: usize) -> Result<bool, ReadError> {
        while self.buffer.len() < wanted {
            let have = self.buffer.len();
            self.buffer.resize(have + READ_BYTES, 0);
            let got = self.from.read(&mut self.buffer[have..]);
            self.buffer.truncate(have + *got.as_ref().unwrap_or(&0));
            match got {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Whether these bytes end with a zero, and nothing but zeros follows: a file system may leave them after a crash, where the
    /// file had grown before its bytes were there. Then the record was cut off; otherwise it is damaged.
    fn hole_or(
        &mut self,
        length: usize,
        problem: &'static str,
    ) -> Result<Option<Record>, ReadError> {
        let mut start = length - 1;
        loop {
            if self.buffer[start..].iter().any(|byte| *byte != 0) {
                return Err(self.damaged(problem));
            }
            // Zeros that were looked at need not be kept.
            self.buffer.truncate(length);
            start = length;
            if !self.fill(length + 1)? {
                self.is_at_a_hole = true;
                return Ok(None);
            }
        }
    }
}

/// What may follow what.
#[derive(Debug, Default)]
struct Order {
    header: Option<Box<Header>>,
    last_tick: Option<u32>,
    has_ended: bool,
}

impl Order {
    fn take(&mut self, record: &Record) -> Result<(), &'static str> {
        let last_tick = self.last_tick;
        match record {
            Record::Header(header) => {
                self.follow(header)?;
                self.header = Some(header.clone());
                self.last_tick = None;
                self.has_ended = false;
            }
            Record::Unknown => {}
            _ if self.header.is_none() => return Err("a recording begins with a header"),
            _ if self.has_ended => return Err("something follows the end"),
            Record::Checkpoint(checkpoint) => {
                let first = self.header.as_ref().map(|header| header.first_tick - 1);
                if last_tick.or(first) != Some(checkpoint.tick) {
                    return Err("a checkpoint is out of order");
                }
                self.last_tick = Some(checkpoint.tick);
            }
            Record::Tick(tick) => {
                if last_tick.is_none() {
                    return Err("a checkpoint is missing");
                }
                if tick.tick > TICK_MAX {
                    return Err("a tick is later than there can be");
                }
                if last_tick.and_then(|last| last.checked_add(1)) != Some(tick.tick) {
                    return Err("a tick is missing or out of order");
                }
                self.last_tick = Some(tick.tick);
            }
            Record::Sessions(sessions) => {
                if last_tick != Some(sessions.tick) {
                    return Err("sessions are out of order");
                }
            }
            Record::End(end) => {
                if last_tick != Some(end.tick) {
                    return Err("the end is out of order");
                }
                self.has_ended = true;
            }
        }
        Ok(())
    }

    /// Whether a segment with this header may follow what was read. Ticks may be missing between segments, where the writer
    /// could not keep up; a later owner may go back to what was the last tick that it knew.
    fn follow(&self, next: &Header) -> Result<(), &'static str> {
        let Some(last) = &self.header else { return Ok(()) };
        let is_same_game = last.game == next.game
            && last.sim_version == next.sim_version
            && last.room == next.room
            && last.tick_rate_hz == next.tick_rate_hz;
        if !is_same_game {
            return Err("a segment of another recording");
        }
        let goes_on = self.last_tick.is_some_and(|last| last < next.first_tick);
        let is_later_owner = next.epoch > last.epoch;
        if is_later_owner || (next.epoch == last.epoch && goes_on) {
            Ok(())
        } else {
            Err("a segment is out of order")
        }
    }
}
