//! For fuzz targets only: the frames of a player's stream, without a connection.

use super::framing::Messages;
use crate::session::Error;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::convert::Infallible;

/// The messages of a body that comes in these pieces, each given to `take`; how it ended.
pub fn messages(
    pieces: impl Iterator<Item = Bytes> + Unpin,
    bytes_max: usize,
    mut take: impl FnMut(Bytes),
) -> Result<(), Error> {
    let pieces = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let mut messages = Messages::new(StreamBody::new(stream::iter(pieces)), bytes_max);
    let all = async {
        while let Some(message) = messages.next().await {
            take(message?);
        }
        Ok(())
    };
    all.now_or_never().expect("all of it is there")
}
