//! What a message of the stream says of itself, in its headers; its payload is whole records, or a part of them.

use crate::store::EPOCH_MAX;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

const WRITER: &str = "Fray-Writer";
const EPOCH: &str = "Fray-Epoch";
const FIRST_TICK: &str = "Fray-First-Tick";
const LAST_TICK: &str = "Fray-Last-Tick";
const CHECKPOINT: &str = "Fray-Checkpoint";
const END: &str = "Fray-End";
const PART: &str = "Fray-Part";
const SEGMENT: &str = "Fray-Segment";
const OFFSET: &str = "Fray-Offset";
const WRITTEN_AT_MS: &str = "Fray-Written-At-Ms";

/// What the headers take at most, those of NATS included; a payload leaves so much room.
pub(super) const HEADERS_BYTES_MAX: usize = 1024;

/// More bytes than a log ever has: beyond, no message is ours.
const OFFSET_MAX: u64 = 1 << 60;

/// Of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// Made up by each writer: so it knows its own messages again, and nobody else's look like them.
    pub(super) writer: u64,
    pub(super) epoch: u64,
    pub(super) first_tick: u32,
    pub(super) last_tick: u32,
    /// The records begin with a header and a checkpoint: reading may begin here.
    pub(super) has_checkpoint: bool,
    /// The last record is the log's end.
    pub(super) has_end: bool,
    /// From 0.
    pub(super) part: u32,
    /// 1 where the records are in one message.
    pub(super) parts: u32,
    /// The sequence of the message with which the newest checkpoint before these records begins; 0: this one.
    pub(super) segment: u64,
    /// How many bytes of the log were written before.
    pub(super) offset: u64,
    /// When it was written, in ms since 1970, by the writer's clock.
    pub(super) written_at_ms: u64,
}

impl Meta {
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(WRITER, format!("{:016x}", self.writer));
        headers.insert(EPOCH, HeaderValue::from(self.epoch));
        headers.insert(FIRST_TICK, HeaderValue::from(self.first_tick));
        headers.insert(LAST_TICK, HeaderValue::from(self.last_tick));
        if self.has_checkpoint {
            headers.insert(CHECKPOINT, "1");
        }
        if self.has_end {
            headers.insert(END, "1");
        }
        if self.parts > 1 {
            headers.insert(PART, format!("{}/{}", self.part + 1, self.parts));
        }
        headers.insert(SEGMENT, HeaderValue::from(self.segment));
        headers.insert(OFFSET, HeaderValue::from(self.offset));
        headers.insert(WRITTEN_AT_MS, HeaderValue::from(self.written_at_ms));
        headers
    }

    /// `None` if it is not one of ours.
    pub(super) fn parse(headers: &HeaderMap) -> Option<Self> {
        fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
            headers.get(name)?.as_str().parse().ok()
        }
        let (part, parts) = match headers.get(PART) {
            None => (1_u32, 1_u32),
            Some(part) => {
                let (part, parts) = part.as_str().split_once('/')?;
                (part.parse().ok()?, parts.parse().ok()?)
            }
        };
        if part == 0 || part > parts {
            return None;
        }
        let meta = Self {
            writer: u64::from_str_radix(headers.get(WRITER)?.as_str(), 16).ok()?,
            epoch: number(headers, EPOCH)?,
            first_tick: number(headers, FIRST_TICK)?,
            last_tick: number(headers, LAST_TICK)?,
            has_checkpoint: headers.get(CHECKPOINT).is_some(),
            has_end: headers.get(END).is_some(),
            part: part - 1,
            parts,
            segment: number(headers, SEGMENT)?,
            offset: number(headers, OFFSET)?,
            written_at_ms: number(headers, WRITTEN_AT_MS)?,
        };
        (meta.epoch <= EPOCH_MAX && meta.offset <= OFFSET_MAX).then_some(meta)
    }

    /// Reading may begin with this message.
    pub(super) fn begins(&self) -> bool {
        self.has_checkpoint && self.part == 0
    }

    /// Whether two are the same message, published again.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.writer == other.writer && self.offset == other.offset
    }
}

/// A message that the stream has.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// In the stream.
    pub(super) sequence: u64,
    pub(super) subject: String,
    /// `None`: somebody else's.
    pub(super) meta: Option<Meta>,
    pub(super) payload: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta() -> impl Strategy<Value = Meta> {
        let numbers = (any::<[u64; 5]>(), any::<[u32; 2]>(), any::<[bool; 2]>());
        (numbers, 1..u32::MAX).prop_flat_map(|((longs, ticks, flags), parts)| {
            (0..parts).prop_map(move |part| Meta {
                writer: longs[0],
                epoch: longs[1] % (EPOCH_MAX + 1),
                first_tick: ticks[0],
                last_tick: ticks[1],
                has_checkpoint: flags[0],
                has_end: flags[1],
                part,
                parts,
                segment: longs[2],
                offset: longs[3] % (OFFSET_MAX + 1),
                written_at_ms: longs[4],
            })
        })
    }

    proptest! {
        #[test]
        fn headers_are_read_as_they_were_written(meta in meta()) {
            let headers = meta.headers();
            prop_assert_eq!(Meta::parse(&headers), Some(meta));
            let bytes: usize = headers.iter().map(|(name, values)| {
                values.iter().map(|value| name.to_string().len() + value.as_str().len() + 4).sum::<usize>()
            }).sum();
            // Beside what NATS adds: the expected sequence and the stream.
            prop_assert!(bytes < HEADERS_BYTES_MAX / 2);
        }
    }

    #[test]
    fn what_is_not_ours_is_nothing() {
        assert_eq!(Meta::parse(&HeaderMap::new()), None);
        for (epoch, offset) in
            [(EPOCH_MAX + 1, 0), (u64::MAX, 0), (0, OFFSET_MAX + 1), (0, u64::MAX)]
        {
            let numbers = Meta { epoch, offset, parts: 1, ..Meta::default() };
            assert_eq!(Meta::parse(&numbers.headers()), None, "nothing could follow");
        }
        for part in ["0/3", "4/3", "x", "1", "/", "-1/2"] {
            let mut headers = Meta { parts: 1, ..Meta::default() }.headers();
            assert!(Meta::parse(&headers).is_some());
            headers.insert(PART, part);
            assert_eq!(Meta::parse(&headers), None, "{part}");
        }
    }
}
