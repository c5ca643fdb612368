//! Where in a trace a move is: the part of a [W3C trace context](https://www.w3.org/TR/trace-context/) that travels.
//!
//! Absent means "not sampled", so flags need not travel. Nothing here allocates: most moves have none, and those that do are
//! no reason to slow the others down.

use crate::v1;
use std::num::{NonZeroU64, NonZeroU128};

/// A span of a sampled trace, to which others can be children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Which trace.
    pub trace_id: NonZeroU128,
    /// Which of its spans.
    pub span_id: NonZeroU64,
}

impl TraceContext {
    /// `None`: W3C says that zero is no id.
    pub fn new(trace_id: u128, span_id: u64) -> Option<Self> {
        Some(Self { trace_id: NonZeroU128::new(trace_id)?, span_id: NonZeroU64::new(span_id)? })
    }

    /// The value of a `traceparent` header, if it is one, and whether it says "sampled". Versions after 00 may add to its end.
    pub fn from_traceparent(text: &str) -> Option<(Self, bool)> {
        let mut parts = text.split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_formed = is_hex(version, 2)
            && is_hex(trace_id, 32)
            && is_hex(span_id, 16)
            && is_hex(flags, 2)
            && version != "ff"
            && (version != "00" || parts.next().is_none());
        if !is_formed {
            return None;
        }
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        let trace_id = u128::from_str_radix(trace_id, 16).ok()?;
        let context = Self::new(trace_id, u64::from_str_radix(span_id, 16).ok()?)?;
        Some((context, is_sampled))
    }

    /// As the value of a `traceparent` header.
    pub fn to_traceparent(self) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }

    /// The trace's id as people and tools write it: 32 hexadecimal digits.
    pub fn trace_id_hex(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl From<TraceContext> for v1::TraceContext {
    fn from(context: TraceContext) -> Self {
        let id = context.trace_id.get();
        Self {
            trace_id_high: (id >> 64) as u64,
            trace_id_low: id as u64,
            span_id: context.span_id.get(),
        }
    }
}

impl v1::TraceContext {
    /// `None`: an id is zero, so it names nothing.
    pub fn parse(&self) -> Option<TraceContext> {
        let trace_id = u128::from(self.trace_id_high) << 64 | u128::from(self.trace_id_low);
        TraceContext::new(trace_id, self.span_id)
    }
}

/// A sampled move, as the cell in which it took effect tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedMove {
    /// The server's span that sent it.
    pub context: TraceContext,
    /// Whose move, by number in the room.
    pub player: u32,
    /// Its number in the session.
    pub sequence: u32,
}

impl From<TracedMove> for v1::TracedMove {
    fn from(traced: TracedMove) -> Self {
        Self {
            context: Some(traced.context.into()),
            player: traced.player,
            sequence: traced.sequence,
        }
    }
}

impl v1::TracedMove {
    /// `None`: it names no span.
    pub fn parse(&self) -> Option<TracedMove> {
        let context = self.context.as_ref()?.parse()?;
        Some(TracedMove { context, player: self.player, sequence: self.sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_sampled_traceparent_is_read_and_written_as_it_came() {
        let (context, is_sampled) = TraceContext::from_traceparent(SAMPLED).expect("sound");
        let unsampled = TraceContext::from_traceparent(&SAMPLED.replace("-01", "-00"));
        assert_eq!((is_sampled, unsampled), (true, Some((context, false))));
        let context = Some(context);
        assert_eq!(context.map(TraceContext::to_traceparent).as_deref(), Some(SAMPLED));
        let id = context.map(TraceContext::trace_id_hex);
        assert_eq!(id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    }

    #[test]
    fn what_is_no_traceparent_is_nothing() {
        let wrong = [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-4444444444444444-01",
        ];
        for text in wrong {
            assert_eq!(TraceContext::from_traceparent(text), None, "{text}");
        }
        let later = SAMPLED.replacen("00", "01", 1) + "-more";
        assert!(TraceContext::from_traceparent(&later).is_some());
    }

    proptest! {
        #[test]
        fn the_message_and_the_header_say_the_same(trace_id in 1_u128.., span_id in 1_u64..) {
            let context = TraceContext::new(trace_id, span_id);
            let message = context.map(v1::TraceContext::from);
            prop_assert_eq!(message.and_then(|message| message.parse()), context);
            let header = context.map(TraceContext::to_traceparent);
            let read = header.as_deref().and_then(TraceContext::from_traceparent);
            prop_assert_eq!(read, context.map(|context| (context, true)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = TraceContext::from_traceparent(&text);
        }
    }
}
