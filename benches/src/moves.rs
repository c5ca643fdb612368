//! Moves that are encoded once: only numbers of fixed width change in them.

use fray_proto::v1;
use prost::Message as _;

/// gRPC's own: not compressed, and the length.
const PREFIX_BYTES: usize = 5;
/// A varint may be longer than it must be: so its place stays where it is.
const VARINT_BYTES: usize = 5;

/// A move as it leaves, with its prefix.
#[derive(Clone, Debug)]
pub struct MoveBytes {
    bytes: Vec<u8>,
    sequence_at: usize,
}

impl MoveBytes {
    /// One of Fray's, within the message of its stream.
    pub fn of_fray() -> Self {
        Self::new(true)
    }

    /// One for the others.
    pub fn plain() -> Self {
        Self::new(false)
    }

    fn new(is_in_request: bool) -> Self {
        let mut body = vec![0x08];
        body.extend([0; VARINT_BYTES]);
        body.push(0x10);
        body.extend([0; VARINT_BYTES]);
        body.extend([0x18, 0x80, 0, 0x20, 0x80, 0]); // axes: zigzag up to 254
        let mut bytes = vec![0; PREFIX_BYTES];
        if is_in_request {
            bytes.extend([0x12, body.len() as u8]);
        }
        let sequence_at = bytes.len() + 1;
        bytes.extend(body);
        let length = (bytes.len() - PREFIX_BYTES) as u32;
        bytes[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        Self { bytes, sequence_at }
    }

    /// The next one.
    pub fn with(&mut self, sequence: u32, seen_tick: u32, turn: i8, thrust: i8) -> &[u8] {
        let at = self.sequence_at;
        varint(&mut self.bytes[at..at + VARINT_BYTES], sequence);
        let at = at + VARINT_BYTES + 1;
        varint(&mut self.bytes[at..at + VARINT_BYTES], seen_tick);
        let at = at + VARINT_BYTES + 1;
        axis(&mut self.bytes[at..at + 2], turn);
        axis(&mut self.bytes[at + 3..at + 5], thrust);
        &self.bytes
    }
}

fn varint(place: &mut [u8], value: u32) {
    for (index, byte) in place.iter_mut().enumerate() {
        let more = if index + 1 < VARINT_BYTES { 0x80 } else { 0 };
        *byte = (value >> (7 * index)) as u8 & 0x7f | more;
    }
}

fn axis(place: &mut [u8], way: i8) {
    let zigzag: u8 = match way.signum() {
        0 => 0,
        1 => 254,
        _ => 253,
    };
    (place[0], place[1]) = (zigzag & 0x7f | 0x80, zigzag >> 7);
}

/// An acknowledgement that wants no answer, with its prefix.
pub fn ping(seen_tick: u32) -> Vec<u8> {
    framed(v1::play_request::Message::Ping(v1::Ping { seen_tick, echo: 0 }))
}

/// A guest's first message, with its prefix.
pub fn hello(name: &str) -> Vec<u8> {
    let hello = v1::Hello {
        protocol_version: fray_proto::PROTOCOL_VERSION,
        player_name: name.into(),
        ..v1::Hello::default()
    };
    framed(v1::play_request::Message::Hello(hello))
}

fn framed(message: v1::play_request::Message) -> Vec<u8> {
    let request = v1::PlayRequest { message: Some(message) };
    let mut bytes = vec![0];
    bytes.extend((request.encoded_len() as u32).to_be_bytes());
    // A Vec grows.
    request.encode(&mut bytes).unwrap_or_default();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naive::NaiveMove;

    #[test]
    fn both_servers_read_the_same_move() {
        for (sequence, seen, turn, thrust) in
            [(1, 0, 0, 0), (300, 70_000, -1, 1), (9, u32::MAX, 1, -1)]
        {
            let mut fray = MoveBytes::of_fray();
            let bytes = fray.with(sequence, seen, turn, thrust);
            let request = v1::PlayRequest::decode(&bytes[PREFIX_BYTES..]).expect("a message");
            let Some(v1::play_request::Message::Move(made)) = request.message else {
                panic!("{request:?}")
            };
            let ways = [turn, thrust].map(|way| i32::from(way) * 127);
            assert_eq!((made.sequence, made.seen_tick), (sequence, seen));
            assert_eq!([made.axis_x, made.axis_y], ways);
            let mut plain = MoveBytes::plain();
            let bytes = plain.with(sequence, seen, turn, thrust);
            let made = NaiveMove::decode(&bytes[PREFIX_BYTES..]).expect("a message");
            assert_eq!((made.sequence, made.seen_tick), (sequence, seen));
            assert_eq!([made.axis_x, made.axis_y], ways);
        }
    }
}
