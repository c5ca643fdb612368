//! Numbers and texts within a record's payload. Reading never fails loudly: whatever the bytes are, it is an error with a name.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Least significant seven bits first, as in Protocol Buffers.
pub(super) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// What is longer than what is read again is cut.
pub(super) fn put_short_text(out: &mut BytesMut, text: &str, bytes_max: usize) {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_text(out, &text[..end]);
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn take_u8(from: &mut Bytes) -> Result<u8, Malformed> {
    if from.has_remaining() { Ok(from.get_u8()) } else { Err(Malformed("a record ends too soon")) }
}

pub(super) fn take_u16(from: &mut Bytes) -> Result<u16, Malformed> {
    Ok(u16::from_le_bytes([take_u8(from)?, take_u8(from)?]))
}

pub(super) fn take_u64(from: &mut Bytes) -> Result<u64, Malformed> {
    if from.remaining() < 8 {
        return Err(Malformed("a record ends too soon"));
    }
    Ok(from.get_u64_le())
}

pub(super) fn take_varint(from: &mut Bytes) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_u8(from)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed("a number is longer than it can be"))
}

pub(super) fn take_u32(from: &mut Bytes) -> Result<u32, Malformed> {
    u32::try_from(take_varint(from)?).map_err(|_| Malformed("a number is larger than it can be"))
}

/// At most `max` bytes; shares the memory of `from`.
pub(super) fn take_bytes(from: &mut Bytes, max: usize) -> Result<Bytes, Malformed> {
    let length = take_varint(from)?;
    if length > max as u64 {
        return Err(Malformed("a text is longer than it can be"));
    }
    if length > from.remaining() as u64 {
        return Err(Malformed("a record ends too soon"));
    }
    Ok(from.split_to(length as usize))
}

pub(super) fn take_text(from: &mut Bytes, max: usize) -> Result<String, Malformed> {
    let bytes = take_bytes(from, max)?;
    String::from_utf8(bytes.into()).map_err(|_| Malformed("a text is not UTF-8"))
}
