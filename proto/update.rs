//! The header of an `Update`, and how it is put in front of shared cells.
//!
//! Protobuf lets encodings be joined: the bytes of `repeated cells` elements, encoded once for everybody, follow a header
//! that is made per player. So a player's update costs a small header and a copy.

use crate::cell::put_varint;
use crate::trace::TracedMove;
use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes that gRPC puts before each message: a flag and the length.
pub const GRPC_PREFIX_BYTES: usize = 5;

/// Which moves an update contains; `MoveAck` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoveAck {
    /// All moves up to this sequence.
    pub input_ack: u32,
    /// How many were applied in the session.
    pub applied_count: u32,
    /// Their rolling hash.
    pub applied_hash: u32,
    /// How long before its tick the newest of them arrived.
    pub arrival_margin_ms: u32,
}

/// What is a player's own in an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateHeader<'a> {
    /// The tick that the update leads to.
    pub tick: u32,
    /// What it builds on; `None` is the tick before.
    pub base_tick: Option<u32>,
    /// Moves contained, when that is news.
    pub move_ack: Option<MoveAck>,
    /// Sequence and reason of refused moves.
    pub refusals: &'a [(u32, u32)],
    /// Cells coming into view.
    pub cells_added: &'a [u32],
    /// Cells going out of view.
    pub cells_removed: &'a [u32],
    /// Sum of the visible cells' checksums.
    pub view_checksum: Option<u32>,
    /// The player's private values, when they changed.
    pub private: Option<&'a [i32]>,
}

/// A `PlayResponse` or `WatchResponse` (they agree here) with an update, as gRPC frames it: prefix, header, cells.
/// Without its first [`GRPC_PREFIX_BYTES`] it is the bare message, as a WebSocket carries it.
pub fn frame_update<'a>(
    header: &UpdateHeader<'_>,
    cells: impl Iterator<Item = &'a Bytes> + Clone,
    space: &mut Space,
) -> Bytes {
    let head = &mut space.head;
    head.clear();
    // The envelope is before the header, and says how long all of it is.
    head.resize(ENVELOPE_BYTES_MAX, 0);
    header.encode(head);
    let cells_bytes = cells.clone().map(Bytes::len).sum::<usize>();
    let update_bytes = head.len() - ENVELOPE_BYTES_MAX + cells_bytes;
    let mut envelope = [0; ENVELOPE_BYTES_MAX];
    let begin = ENVELOPE_BYTES_MAX - put_envelope(&mut envelope, update_bytes as u32);
    head[begin..ENVELOPE_BYTES_MAX].copy_from_slice(&envelope[begin..]);
    let message_bytes = head.len() - begin + cells_bytes;
    let mut out = space.take(GRPC_PREFIX_BYTES + message_bytes);
    out.put_u8(0);
    out.put_u32(message_bytes as u32);
    out.extend_from_slice(&space.head[begin..]);
    for cell in cells {
        out.extend_from_slice(cell);
    }
    space.give_back(out)
}

/// A tag and a length.
const ENVELOPE_BYTES_MAX: usize = 6;

/// Writes what goes before an update into the end of `out`; says how long it is.
fn put_envelope(out: &mut [u8; ENVELOPE_BYTES_MAX], update_bytes: u32) -> usize {
    let length = (update_bytes.checked_ilog2().unwrap_or(0) / 7 + 1) as usize;
    let begin = ENVELOPE_BYTES_MAX - 1 - length;
    out[begin] = (2 << 3 | LEN) as u8;
    for (index, byte) in out[begin + 1..].iter_mut().enumerate() {
        let more = if index + 1 < length { 0x80 } else { 0 };
        *byte = (update_bytes >> (7 * index)) as u8 & 0x7f | more;
    }
    length + 1
}

/// Where updates are made, of as many streams as you like: a piece of memory that is begun anew once it is used up, and used again
/// if what was in it has left by then. So updates of ordinary length share an allocation, and none of their streams keeps memory.
#[derive(Debug, Default)]
pub struct Space {
    head: Vec<u8>,
    bytes: BytesMut,
}

impl Space {
    /// What an update that is under way may keep in memory besides itself.
    pub const PIECE_BYTES: usize = 4096;
    /// Longer updates, as a world's first, get memory of their own: few, and what they took is free again.
    pub const BYTES_MAX: usize = Self::PIECE_BYTES / 4;

    fn take(&mut self, bytes: usize) -> BytesMut {
        if bytes > Self::BYTES_MAX {
            return BytesMut::with_capacity(bytes);
        }
        if self.bytes.capacity() < bytes {
            // Begins again at the front, if nothing of what was there is still under way.
            self.bytes.reserve(Self::PIECE_BYTES);
        }
        std::mem::take(&mut self.bytes)
    }

    fn give_back(&mut self, mut filled: BytesMut) -> Bytes {
        if filled.len() > Self::BYTES_MAX {
            return filled.freeze();
        }
        let update = filled.split();
        self.bytes = filled;
        update.freeze()
    }
}

/// How a cell's bytes are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// From the tick before.
    Delta,
    /// The whole cell.
    Keyframe,
}

/// How many ticks `CellUpdate.place` tells apart.
pub const PLACE_TICKS: u32 = 128;

/// `CellUpdate.place`: which cell, and which tick.
pub fn place(cell: u32, tick: u32) -> u32 {
    cell * PLACE_TICKS + tick % PLACE_TICKS
}

/// One element of `Update.cells`, tag and length included: ready to be joined.
pub fn frame_cell(
    cell: u32,
    tick: u32,
    encoding: Encoding,
    body: &[u8],
    checksum: Option<u32>,
    traced_moves: impl IntoIterator<Item = TracedMove>,
) -> Bytes {
    let mut message = Vec::with_capacity(body.len() + 16);
    put_uint(&mut message, 1, place(cell, tick));
    let field = match encoding {
        Encoding::Delta => 2,
        Encoding::Keyframe => 3,
    };
    put_bytes(&mut message, field, body);
    if let Some(checksum) = checksum {
        put_fixed32(&mut message, 4, checksum);
    }
    for traced in traced_moves {
        put_traced_move(&mut message, 5, traced);
    }
    let mut out = Vec::with_capacity(message.len() + 4);
    put_bytes(&mut out, 15, &message);
    out.into()
}

impl UpdateHeader<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(out, 1, self.tick);
        if let Some(base) = self.base_tick {
            put_tag(out, 2, VARINT);
            put_varint(out, base);
        }
        if let Some(ack) = self.move_ack {
            put_message(out, 3, |out| {
                put_uint(out, 1, ack.input_ack);
                put_uint(out, 2, ack.applied_count);
                if ack.applied_hash != 0 {
                    put_fixed32(out, 3, ack.applied_hash);
                }
                put_uint(out, 4, ack.arrival_margin_ms);
            });
        }
        for (sequence, reason) in self.refusals {
            put_message(out, 4, |out| {
                put_uint(out, 1, *sequence);
                put_uint(out, 2, *reason);
            });
        }
        for (field, cells) in [(5, self.cells_added), (6, self.cells_removed)] {
            if !cells.is_empty() {
                put_message(out, field, |out| cells.iter().for_each(|cell| put_varint(out, *cell)));
            }
        }
        if let Some(checksum) = self.view_checksum {
            put_fixed32(out, 7, checksum);
        }
        if let Some(values) = self.private {
            put_message(out, 8, |out| {
                if !values.is_empty() {
                    put_message(out, 1, |out| {
                        for value in values {
                            put_varint(out, (value << 1) as u32 ^ (value >> 31) as u32);
                        }
                    });
                }
            });
        }
    }
}

const VARINT: u32 = 0;
const LEN: u32 = 2;
const FIXED64: u32 = 1;
const FIXED32: u32 = 5;

fn put_tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    put_varint(out, field << 3 | wire_type);
}

fn put_uint(out: &mut Vec<u8>, field: u32, value: u32) {
    if value != 0 {
        put_tag(out, field, VARINT);
        put_varint(out, value);
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_tag(out, field, LEN);
    put_varint(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

/// Writes a part of its own without knowing beforehand how long it is: nearly always its length takes one byte.
fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_tag(out, field, LEN);
    let begin = out.len();
    out.push(0);
    write(out);
    let length = (out.len() - begin - 1) as u32;
    if length < 0x80 {
        out[begin] = length as u8;
    } else {
        let content = out.split_off(begin + 1);
        out.truncate(begin);
        put_varint(out, length);
        out.extend_from_slice(&content);
    }
}

fn put_traced_move(out: &mut Vec<u8>, field: u32, traced: TracedMove) {
    let trace_id = traced.context.trace_id.get();
    let mut context = Vec::with_capacity(27);
    put_fixed64(&mut context, 1, (trace_id >> 64) as u64);
    put_fixed64(&mut context, 2, trace_id as u64);
    put_fixed64(&mut context, 3, traced.context.span_id.get());
    let mut message = Vec::with_capacity(40);
    put_bytes(&mut message, 1, &context);
    put_uint(&mut message, 2, traced.player);
    put_uint(&mut message, 3, traced.sequence);
    put_bytes(out, field, &message);
}

/// Left out when it is 0, as prost does.
fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_tag(out, field, FIXED64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn put_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    put_tag(out, field, FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceContext;
    use crate::v1;
    use prost::Message as _;

    #[test]
    fn a_framed_update_is_the_message_that_prost_would_write() {
        let context = TraceContext::new(u128::MAX - 5, 9).expect("not zero");
        let traced = TracedMove { context, player: 3, sequence: 70_000 };
        let cell = frame_cell(7, 300, Encoding::Delta, &[1, 2, 3], Some(5), [traced]);
        let keyframe = frame_cell(0, 300, Encoding::Keyframe, &[], None, []);
        let header = UpdateHeader {
            tick: 300,
            base_tick: Some(0),
            move_ack: Some(MoveAck {
                input_ack: 9,
                applied_count: 8,
                applied_hash: 77,
                arrival_margin_ms: 300,
            }),
            refusals: &[(4, 1), (5, 2)],
            cells_added: &[0, 7, 300],
            cells_removed: &(1000..1100).collect::<Vec<_>>(),
            view_checksum: Some(0),
            private: Some(&[-1, i32::MIN, 0]),
        };
        let mut space = Space::default();
        let framed = frame_update(&header, [&cell, &keyframe].into_iter(), &mut space);
        let update = |encoding, cell, checksum, traced_moves| v1::CellUpdate {
            place: place(cell, 300),
            encoding: Some(encoding),
            checksum,
            traced_moves,
        };
        let expected = v1::PlayResponse {
            message: Some(v1::play_response::Message::Update(v1::Update {
                tick: 300,
                base_tick: Some(0),
                move_ack: Some(v1::MoveAck {
                    input_ack: 9,
                    applied_count: 8,
                    applied_hash: 77,
                    arrival_margin_ms: 300,
                }),
                refusals: vec![
                    v1::Refusal { sequence: 4, reason: 1 },
                    v1::Refusal { sequence: 5, reason: 2 },
                ],
                cells_added: vec![0, 7, 300],
                cells_removed: (1000..1100).collect(),
                view_checksum: Some(0),
                private: Some(v1::Private { values: vec![-1, i32::MIN, 0] }),
                cells: vec![
                    update(
                        v1::cell_update::Encoding::Delta(vec![1, 2, 3].into()),
                        7,
                        Some(5),
                        vec![traced.into()],
                    ),
                    update(v1::cell_update::Encoding::Keyframe(Bytes::new()), 0, None, vec![]),
                ],
            })),
        };
        let (prefix, message) = framed.split_at(GRPC_PREFIX_BYTES);
        let [high, low] = (message.len() as u16).to_be_bytes();
        assert_eq!(prefix, [0, 0, 0, high, low]);
        assert_eq!(message, expected.encode_to_vec());
        let watched = v1::WatchResponse::decode(message).map(|response| response.message.is_some());
        assert_eq!(watched, Ok(true));
    }

    #[test]
    fn updates_of_any_length_are_framed_as_prost_would() {
        let mut space = Space::default();
        for length in (0..200).chain([1000, 1100, 16_383, 16_384, 70_000, 40]) {
            let cell = Bytes::from(vec![7; length]);
            let header = UpdateHeader { tick: 9, ..UpdateHeader::default() };
            let framed = frame_update(&header, [&cell].into_iter(), &mut space);
            let mut update = Vec::new();
            header.encode(&mut update);
            update.extend_from_slice(&cell);
            let mut message = vec![2 << 3 | 2];
            prost::encoding::encode_varint(update.len() as u64, &mut message);
            message.extend(update);
            let mut expected = vec![0];
            expected.extend((message.len() as u32).to_be_bytes());
            expected.extend(message);
            assert_eq!(framed, expected);
        }
    }

    #[test]
    fn updates_that_have_left_make_room_for_others_and_those_under_way_are_not_touched() {
        let mut space = Space::default();
        let cell = Bytes::from_static(&[7; 100]);
        let mut place = None;
        let mut under_way = Vec::new();
        for tick in 1..100 {
            let header = UpdateHeader { tick, ..UpdateHeader::default() };
            let framed = frame_update(&header, [&cell].into_iter(), &mut space);
            if tick < 50 {
                // It has left.
                let first = *place.get_or_insert(framed.as_ptr() as usize);
                assert!((framed.as_ptr() as usize).abs_diff(first) < Space::PIECE_BYTES);
            } else {
                under_way.push((tick, framed));
            }
        }
        for (tick, framed) in under_way {
            let header = UpdateHeader { tick, ..UpdateHeader::default() };
            assert_eq!(framed, frame_update(&header, [&cell].into_iter(), &mut Space::default()));
        }
    }
}
