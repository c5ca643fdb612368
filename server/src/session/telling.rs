//! What those who only look on are told, as server-sent events: for the web, and for other servers that pass it on.
//!
//! Each reader has a task of its own, which takes no look before its last one was read: for who reads slowly, nothing is made or
//! kept but the one piece that is on its way.

use super::onlooking::{EVERY, Event, Reader};
use super::{Error, Sessions};
use crate::telemetry::metrics::labels::Door;
use crate::telemetry::spawn_named;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::Stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;

/// When nothing happens, a comment is sent this often, so that proxies and readers know that the stream lives.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long browsers wait before they come back.
const RETRY: &[u8] = b"retry: 3000\n\n";
const COMMENT: &[u8] = b":\n\n";
/// How long the last event may take.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// All that a reader is told, piece by piece.
pub fn pieces(sessions: &Arc<Sessions>, reader: Reader) -> impl Stream<Item = Bytes> + use<> {
    sessions.metrics.streams.get_or_create(&Door { door: "events" }).inc();
    // One piece on its way, and no more.
    let (out, pieces) = mpsc::channel(1);
    // A shutdown waits for it, as for any other stream.
    spawn_named(&sessions.streams, "onlooker", show(Arc::clone(sessions), reader, out));
    ReceiverStream::new(pieces)
}

/// A reader's life.
async fn show(sessions: Arc<Sessions>, mut reader: Reader, out: mpsc::Sender<Bytes>) {
    let patience = sessions.limits.idle_timeout;
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut piece = BytesMut::from(RETRY);
    let mut said = Instant::now();
    let why = loop {
        let place = tokio::select! {
            biased;
            () = sessions.drained() => break Error::ShuttingDown,
            place = timeout(patience, out.reserve()) => match place {
                Ok(Ok(place)) => place,
                // Gone, or takes no bytes: others want its place.
                _ => return,
            },
        };
        tokio::select! {
            biased;
            () = sessions.drained() => break Error::ShuttingDown,
            () = out.closed() => return,
            _ = looks.tick() => {}
        }
        if let Some(why) = reader.ended() {
            break why;
        }
        let now = Instant::now();
        for event in reader.look(now) {
            sessions.metrics.events.inc();
            put(&mut piece, &event);
        }
        if piece.is_empty() && now.saturating_duration_since(said) >= HEARTBEAT {
            piece.put_slice(COMMENT);
        }
        if !piece.is_empty() {
            said = now;
            place.send(piece.split().freeze());
        }
    };
    put(&mut piece, &Event::end(&why));
    // Whether it hears of it is its own matter by now.
    let _ = timeout(END_TIMEOUT, out.send(piece.freeze())).await;
}

/// As the format has it. JSON has no line breaks.
fn put(piece: &mut BytesMut, event: &Event) {
    piece.put_slice(b"event: ");
    piece.put_slice(event.name.as_bytes());
    piece.put_slice(b"\ndata: ");
    piece.put_slice(&event.json);
    piece.put_slice(b"\n\n");
}
