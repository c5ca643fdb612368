//! A part of a recording, as a recording of its own.

use super::record::{Checkpoint, End, EndReason, Header, Record};
use super::{Error, Reader};
use bytes::BytesMut;
use std::io::Read;

/// How much is gathered before it is given on.
const PIECE_BYTES: usize = 64 * 1024;

/// A part of a recording as a recording of its own, piece by piece; see [`super::cut`].
pub struct Cutter<R> {
    reader: Reader<R>,
    copy: Copy,
}

impl<R: Read> Cutter<R> {
    /// The reader must stand at its beginning.
    pub fn new(reader: Reader<R>, from_tick: u32, to_tick: u32, incident: &str) -> Self {
        Self { reader, copy: Copy::new(from_tick, to_tick, incident) }
    }

    /// The next bytes; `None` after the last. May take its time.
    pub fn next_piece(&mut self) -> Result<Option<BytesMut>, Error> {
        self.copy.next_piece(&mut self.reader)
    }
}

/// See [`super::cut`].
pub(super) fn cut(
    reader: &mut Reader<impl Read>,
    from_tick: u32,
    to_tick: u32,
    incident: &str,
    out: &mut dyn FnMut(&mut BytesMut) -> bool,
) -> Result<(), Error> {
    let mut copy = Copy::new(from_tick, to_tick, incident);
    while let Some(mut piece) = copy.next_piece(reader)? {
        if !out(&mut piece) {
            break;
        }
    }
    Ok(())
}

struct Copy {
    from_tick: u32,
    to_tick: u32,
    incident: String,
    /// The newest header that was read, and whether it is in the piece, with the tick that it was written for.
    written: Option<Written>,
    last_tick: Option<u32>,
    /// What is in the piece is sure to stay: a later checkpoint cannot begin the copy any more.
    has_begun: bool,
    is_done: bool,
    piece: BytesMut,
}

struct Written {
    header: Header,
    has_checkpoint: bool,
    next_tick: u32,
}

impl Copy {
    fn new(from_tick: u32, to_tick: u32, incident: &str) -> Self {
        Self {
            from_tick,
            to_tick,
            incident: incident.to_owned(),
            written: None,
            last_tick: None,
            has_begun: false,
            is_done: false,
            piece: BytesMut::new(),
        }
    }

    fn next_piece(&mut self, reader: &mut Reader<impl Read>) -> Result<Option<BytesMut>, Error> {
        while !self.is_done {
            let Some(record) = reader.next_record()? else { break };
            if let Record::Tick(tick) = &record {
                if tick.tick > self.to_tick {
                    break;
                }
                self.last_tick = Some(tick.tick);
                self.has_begun |= tick.tick > self.from_tick;
            }
            self.is_done = matches!(record, Record::End(_)) && self.last_tick == Some(self.to_tick);
            self.take(record);
            if self.has_begun && self.piece.len() >= PIECE_BYTES {
                return Ok(Some(self.piece.split()));
            }
        }
        self.is_done = true;
        // What was cut off by a crash stays so; what ends here because it was asked to says so.
        if self.last_tick == Some(self.to_tick) && !reader.is_complete() {
            self.last_tick = None;
            End { tick: self.to_tick, reason: EndReason::Cut }.put(&mut self.piece);
        }
        if self.written.is_none() {
            return Err(Error::NotFound);
        }
        Ok(if self.piece.is_empty() { None } else { Some(self.piece.split()) })
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Header(header) => {
                let mut header = *header;
                if self.incident.is_empty() {
                    // It leaves the server.
                    header.code.clear();
                } else {
                    // It stays in the store, for whoever has the code.
                    header.incident.clone_from(&self.incident);
                }
                match &mut self.written {
                    // The next segment of the same log: one header is enough.
                    Some(written)
                        if written.next_tick == header.first_tick
                            && written.header.epoch == header.epoch => {}
                    _ => {
                        if self.written.is_some() {
                            header.put(&mut self.piece);
                        }
                        let next_tick = header.first_tick;
                        self.written = Some(Written { header, has_checkpoint: false, next_tick });
                    }
                }
            }
            Record::Checkpoint(checkpoint) => self.checkpoint(&checkpoint),
            Record::Tick(tick) => {
                if let Some(written) = &mut self.written {
                    written.next_tick = tick.tick.saturating_add(1);
                }
                tick.put(&mut self.piece);
            }
            Record::End(end) => end.put(&mut self.piece),
            // Players' ids and what proves who they are: nobody needs them to look at what was played.
            Record::Sessions(_) | Record::Unknown => {}
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        let Some(written) = &mut self.written else { return };
        // Until the wanted tick is reached, each checkpoint is a better beginning than what came before it.
        let is_better = checkpoint.tick <= self.from_tick && !self.has_begun;
        if is_better || !written.has_checkpoint {
            if is_better {
                self.piece.clear();
            }
            if is_better || self.piece.is_empty() {
                written.header.first_tick = checkpoint.tick.saturating_add(1);
                written.header.put(&mut self.piece);
            }
            written.has_checkpoint = true;
        }
        Checkpoint::put(checkpoint.tick, checkpoint.hash, &checkpoint.state, &mut self.piece);
    }
}
