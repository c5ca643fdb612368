//! gRPC's frames, for the streams of Play: messages are taken out of what came without being copied, and what leaves is framed already.
//!
//! tonic's codec keeps two buffers of 8 KiB per stream, and copies each message twice.

use crate::session::Error;
use bytes::{Buf as _, Bytes};
use futures_util::Stream;
use hyper::body::Body;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Code;

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The messages in a request's body, of at most `bytes_max` bytes each.
pub(super) struct Messages<B> {
    body: B,
    /// What came and was not taken yet.
    chunk: Bytes,
    /// The beginning of a message whose rest has not come: copied, so that it does not keep the connection's buffer.
    begun: Vec<u8>,
    bytes_max: usize,
    is_over: bool,
}

impl<B> Messages<B> {
    pub(super) fn new(body: B, bytes_max: usize) -> Self {
        Self { body, chunk: Bytes::new(), begun: Vec::new(), bytes_max, is_over: false }
    }

    /// The next message that is there as a whole.
    fn take(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.begun.is_empty() {
            return self.complete();
        }
        let Some(length) = self.length(&self.chunk)? else { return Ok(None) };
        let whole = PREFIX_BYTES + length;
        if self.chunk.len() < whole {
            return Ok(None);
        }
        let mut message = self.chunk.split_to(whole);
        message.advance(PREFIX_BYTES);
        Ok(Some(message))
    }

    /// Goes on with a message that has begun.
    fn complete(&mut self) -> Result<Option<Bytes>, Error> {
        let missing = PREFIX_BYTES.saturating_sub(self.begun.len());
        self.move_over(missing);
        let Some(length) = self.length(&self.begun)? else { return Ok(None) };
        let whole = PREFIX_BYTES + length;
        self.move_over(whole - self.begun.len());
        if self.begun.len() < whole {
            return Ok(None);
        }
        let mut message = Bytes::from(std::mem::take(&mut self.begun));
        message.advance(PREFIX_BYTES);
        Ok(Some(message))
    }

    fn move_over(&mut self, bytes: usize) {
        let taken = self.chunk.split_to(bytes.min(self.chunk.len()));
        self.begun.extend_from_slice(&taken);
    }

    /// The length of the message that begins here; `None`: too little is there.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            let problem = "messages are not compressed here".to_owned();
            return Err(Error::Transport(Code::Unimplemented as i32, problem));
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > self.bytes_max { Err(Error::TooLarge) } else { Ok(Some(length)) }
    }
}

impl<B> Stream for Messages<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    type Item = Result<Bytes, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        let this = &mut *self;
        while !this.is_over {
            match this.take() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(error) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            // Less than a message is left: its rest comes in another frame.
            if !this.chunk.is_empty() {
                this.move_over(this.chunk.len());
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => this.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(Error::Broken(error.to_string()))));
                }
                None => {
                    this.is_over = true;
                    if !this.begun.is_empty() {
                        let problem = "the last message is cut off".to_owned();
                        let error = Error::Transport(Code::InvalidArgument as i32, problem);
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use proptest::prelude::*;

    const BYTES_MAX: usize = 300;

    /// What is made of a body that comes in these pieces.
    fn taken(pieces: Vec<Bytes>) -> Vec<Result<Bytes, Error>> {
        let pieces = pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
        let messages = Messages::new(StreamBody::new(stream::iter(pieces)), BYTES_MAX);
        messages.collect::<Vec<_>>().now_or_never().expect("all of it is there")
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend(message);
        bytes
    }

    proptest! {
        #[test]
        fn messages_are_what_was_framed_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..BYTES_MAX), 0..8),
            sizes in prop::collection::vec(0_usize..400, 1..20),
        ) {
            let mut bytes = Bytes::from(messages.iter().flat_map(|m| framed(m)).collect::<Vec<_>>());
            let mut pieces = Vec::new();
            for size in sizes {
                pieces.push(bytes.split_to(size.min(bytes.len())));
            }
            pieces.push(bytes);
            let expected: Vec<_> = messages.into_iter().map(|m| Ok(Bytes::from(m))).collect();
            prop_assert_eq!(taken(pieces), expected);
        }

        #[test]
        fn whatever_comes_is_an_error_at_worst_and_never_more_than_came(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        ) {
            let came: usize = pieces.iter().map(Vec::len).sum();
            let messages = taken(pieces.into_iter().map(Bytes::from).collect());
            let bytes: usize = messages.iter().flatten().map(Bytes::len).sum();
            prop_assert!(bytes <= came);
        }
    }

    #[test]
    fn a_message_that_is_too_long_ends_it_before_it_has_come() {
        let mut long = framed(&[7; BYTES_MAX + 1]);
        long.truncate(PREFIX_BYTES);
        assert_eq!(taken(vec![long.into()]), [Err(Error::TooLarge)]);
        assert_eq!(taken(vec![framed(&[7; BYTES_MAX]).into()]), [Ok(vec![7; BYTES_MAX].into())]);
    }

    #[test]
    fn a_compressed_message_and_one_that_is_cut_off_end_it() {
        let is_unimplemented =
            |result: &Result<Bytes, Error>| matches!(result, Err(Error::Transport(12, _)));
        assert!(taken(vec![Bytes::from_static(&[1, 0, 0, 0, 0])]).iter().all(is_unimplemented));
        let cut = taken(vec![Bytes::from_static(&[0, 0, 0, 0, 9, 1])]);
        assert!(matches!(&cut[..], [Err(Error::Transport(3, _))]));
    }
}
