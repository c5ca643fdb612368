//! A relayed stream's requests, read whether or not its answers can be written.
//!
//! A relay waits for both in one place, and is polled only while its peer takes bytes. Whoever reads requests between two answers reads
//! none, then, while the peer does not read; and what a peer goes on sending piles up in the connection. HTTP/2 bounds its bytes per
//! stream, but small frames cost more than their bytes, and h2 ends a *connection* on which too many wait
//! (`ENHANCE_YOUR_CALM`, `too_many_data_frames`): with it the streams of a hundred other players, if it is an edge's.

use super::Error;
use super::message::INCOMING_BYTES_MAX;
use crate::telemetry::spawn_named;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::TaskTracker;

/// What may wait while the stream's own task cannot write. A client that keeps the rules has 64 moves under way and four
/// acknowledgements a second: it gets there in 48 s, and is given up before.
const WAITING_MAX: usize = 256;

/// And of so many bytes: twice the largest message.
const WAITING_BYTES_MAX: usize = 2 * INCOMING_BYTES_MAX;

/// A request, and its place among those that wait.
type Waiting = (Result<Bytes, Error>, Option<OwnedSemaphorePermit>);

/// The same requests, read by a task of their own. Beyond [`WAITING_MAX`] and [`WAITING_BYTES_MAX`] that nobody took, they end
/// with an error.
pub(super) fn read_always(
    requests: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    readers: &TaskTracker,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    // One place more, for the word that there were too many.
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX + 1);
    spawn_named(readers, "requests", read(requests, sender));
    // The place is free once the request is taken.
    stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|taken| taken.map(|(request, _place)| request))
    })
}

async fn read(
    requests: impl Stream<Item = Result<Bytes, Error>> + Send,
    sender: mpsc::Sender<Waiting>,
) {
    let Ok(last) = sender.clone().reserve_owned().await else { return };
    let mut last = Some(last);
    let places = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
    let mut requests = pin!(requests);
    loop {
        let request = tokio::select! {
            biased;
            () = sender.closed() => return,
            request = requests.next() => request,
        };
        let Some(request) = request else { return };
        if last.is_none() {
            // Nobody will look at it. But h2 takes the cost of a frame that comes for a reader who is gone for good.
            continue;
        }
        let bytes = request.as_ref().map_or(0, Bytes::len);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let has_room = match Arc::clone(&places).try_acquire_many_owned(bytes) {
            Err(_) => false,
            Ok(place) => match sender.try_send((request, Some(place))) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => false,
                Err(TrySendError::Closed(_)) => return,
            },
        };
        if !has_room && let Some(last) = last.take() {
            last.send((Err(Error::MoveFlood), None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const REQUEST: Result<Bytes, Error> = Ok(Bytes::from_static(b"m"));

    #[tokio::test]
    async fn what_nobody_takes_is_bounded_and_then_an_error() {
        let readers = TaskTracker::new();
        let many = stream::repeat_with(|| REQUEST).take(10 * WAITING_MAX);
        let mut taken = pin!(read_always(many, &readers));
        readers.close();
        // All of them are read, all the same.
        readers.wait().await;
        for _ in 0..WAITING_MAX {
            assert!(matches!(taken.next().await, Some(Ok(_))));
        }
        assert!(matches!(taken.next().await, Some(Err(Error::MoveFlood))));
        assert!(taken.next().await.is_none());
    }

    #[tokio::test]
    async fn large_requests_that_nobody_takes_are_bounded_in_bytes() {
        let readers = TaskTracker::new();
        let large = Bytes::from(vec![0; INCOMING_BYTES_MAX]);
        let many = stream::repeat_with(move || Ok(large.clone())).take(100);
        let mut taken = pin!(read_always(many, &readers));
        readers.close();
        readers.wait().await;
        for _ in 0..2 {
            assert!(matches!(taken.next().await, Some(Ok(_))));
        }
        assert!(matches!(taken.next().await, Some(Err(Error::MoveFlood))));
        assert!(taken.next().await.is_none());
    }

    #[tokio::test]
    async fn the_end_of_the_requests_is_the_end_and_who_takes_no_more_ends_the_task() {
        let readers = TaskTracker::new();
        let mut taken = pin!(read_always(stream::iter([REQUEST]), &readers));
        assert!(matches!(taken.next().await, Some(Ok(_))));
        assert!(taken.next().await.is_none());
        let quiet = read_always(stream::pending(), &readers);
        readers.close();
        assert!(readers.wait().now_or_never().is_none());
        drop(quiet);
        readers.wait().await;
    }
}
