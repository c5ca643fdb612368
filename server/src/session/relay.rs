//! A stream whose room is on another server: its messages go there and back as they are.
//!
//! Production does without: tickets lead the edge to the room's own server. A plain port, a Service without the edge, or a
//! port-forward reaches any server, and this makes all of them good ones. One hop, never two.

use super::directory::{Carried, Method, ServerRecord};
use super::message::Incoming;
use super::play::{Counted, Entry, Parse, note};
use super::{Error, Sessions};
use crate::telemetry::metrics::labels::Door;
use async_stream::stream;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many of a client's messages may wait to be written to the other server. More are not read: the client's own window
/// fills, and nobody else's.
const MESSAGES_WAITING_MAX: usize = 32;

/// Carries a stream on. `first` is what was read of it already.
pub fn relay(
    sessions: Arc<Sessions>,
    server: Arc<ServerRecord>,
    method: Method,
    entry: Entry,
    first: Bytes,
    incoming: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    stream! {
        sessions.metrics.relayed.get_or_create(&Door { door: entry.door }).inc();
        let _counted = Counted::new(&sessions.metrics.relays);
        let (messages, receiver) = mpsc::channel(MESSAGES_WAITING_MAX);
        // The channel is empty: there is room for two.
        let _ = messages.try_send(Written::Message(first));
        // A page says nothing more, and the other server answers only when it knows that.
        let mut is_open = !matches!(method, Method::Events);
        if !is_open {
            let _ = messages.try_send(Written::End);
        }
        let parse = entry.parse;
        let call = Carried { method, ticket: entry.ticket, trace: entry.trace };
        let outgoing = sessions.fleet.peers.carry(&server, call, written(receiver).boxed()).await;
        let mut outgoing = match outgoing {
            Ok(outgoing) => outgoing,
            Err(error) => {
                yield Err(note(&sessions, error));
                return;
            }
        };
        let mut incoming = pin!(incoming);
        loop {
            // A message is read only when there is room for it; until then, what comes back is still passed on.
            let read = async {
                let place = messages.reserve().await.ok()?;
                Some((place, incoming.next().await))
            };
            tokio::select! {
                () = sessions.drained() => {
                    yield Err(note(&sessions, Error::ShuttingDown));
                    return;
                }
                read = read, if is_open => match read {
                    Some((place, Some(Ok(message)))) => {
                        // After a leave nothing counts any more, not even how the client's half ends.
                        is_open = !is_leave(method, parse, &message);
                        place.send(Written::Message(message));
                    }
                    // The client's half is over, in order.
                    Some((place, None)) => {
                        place.send(Written::End);
                        is_open = false;
                    }
                    // It broke: so does the other server's.
                    Some((_, Some(Err(error)))) => {
                        yield Err(note(&sessions, error));
                        return;
                    }
                    // The other server reads no more; it says why.
                    None => is_open = false,
                },
                message = outgoing.next() => match message {
                    Some(Ok(message)) => yield Ok(message),
                    Some(Err(error)) => {
                        yield Err(note(&sessions, error));
                        return;
                    }
                    None => return,
                },
            }
        }
    }
}

enum Written {
    Message(Bytes),
    /// In order: without it, the stream broke, and must not look like one that ended.
    End,
}

fn written(
    mut receiver: mpsc::Receiver<Written>,
) -> impl Stream<Item = Option<Bytes>> + Send + 'static {
    stream! {
        loop {
            match receiver.recv().await {
                Some(Written::Message(message)) => yield Some(message),
                Some(Written::End) => return,
                None => {
                    yield None;
                    return;
                }
            }
        }
    }
}

/// Whether a player goes. A message that says so is a few bytes long, so no other is looked into.
fn is_leave(method: Method, parse: Parse, message: &Bytes) -> bool {
    const LEAVE_BYTES_MAX: usize = 16;
    let may_be = method == Method::Play && message.len() <= LEAVE_BYTES_MAX;
    may_be && parse(message.clone()) == Ok(Incoming::Leave)
}
