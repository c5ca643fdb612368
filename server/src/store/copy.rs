//! A part of a recording, as a recording of its own.

use super::record::{Checkpoint, End, EndReason, Header, Record};
use super::{Error, Reader};
use bytes::BytesMut;
use std::io::Read;

/// How much is gathered before it is given on.
const PIECE_BYTES: usize = 64 * 1024;

/// See [`super::cut`].
pub(super) fn cut(
    reader: &mut Reader<impl Read>,
    from_tick: u32,
    to_tick: u32,
    incident: &str,
    out: &mut dyn FnMut(&mut BytesMut) -> bool,
) -> Result<(), Error> {
    let mut copy = Copy { from_tick, incident, written: None, piece: BytesMut::new() };
    let mut last_tick = None;
    while let Some(record) = reader.next_record()? {
        if let Record::Tick(tick) = &record {
            if tick.tick > to_tick {
                break;
            }
            last_tick = Some(tick.tick);
        }
        let is_end = matches!(record, Record::End(_));
        copy.take(record);
        if copy.has_begun(last_tick) && copy.piece.len() >= PIECE_BYTES && !out(&mut copy.piece) {
            return Ok(());
        }
        if is_end && last_tick == Some(to_tick) {
            break;
        }
    }
    // What was cut off by a crash stays so; what ends here because it was asked to says so.
    if last_tick == Some(to_tick) && !reader.is_complete() {
        End { tick: to_tick, reason: EndReason::Cut }.put(&mut copy.piece);
    }
    if copy.written.is_none() {
        return Err(Error::NotFound);
    }
    if !copy.piece.is_empty() {
        out(&mut copy.piece);
    }
    Ok(())
}

struct Copy<'a> {
    from_tick: u32,
    incident: &'a str,
    /// The newest header that was read, and whether it is in the piece, with the tick that it was written for.
    written: Option<Written>,
    piece: BytesMut,
}

struct Written {
    header: Header,
    has_checkpoint: bool,
    next_tick: u32,
}

impl Copy<'_> {
    /// Whether what is in the piece is sure to stay: a later checkpoint cannot begin the copy any more.
    fn has_begun(&self, last_tick: Option<u32>) -> bool {
        last_tick.is_some_and(|tick| tick > self.from_tick)
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Header(header) => {
                let mut header = *header;
                header.code.clear();
                if !self.incident.is_empty() {
                    self.incident.clone_into(&mut header.incident);
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
            Record::Unknown => {}
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        let Some(written) = &mut self.written else { return };
        // Until the wanted tick is reached, each checkpoint is a better beginning than what came before it.
        if checkpoint.tick <= self.from_tick || !written.has_checkpoint {
            if checkpoint.tick <= self.from_tick {
                self.piece.clear();
            }
            if checkpoint.tick <= self.from_tick || self.piece.is_empty() {
                written.header.first_tick = checkpoint.tick.saturating_add(1);
                written.header.put(&mut self.piece);
            }
            written.has_checkpoint = true;
        }
        Checkpoint::put(checkpoint.tick, checkpoint.hash, &checkpoint.state, &mut self.piece);
    }
}
