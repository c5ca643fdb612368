//! The transport as h2 sees it: writes that are not scattered, and reads that come to an end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that says it cannot gather. h2 then copies what is shorter than 1 KiB into its buffer of 16 KiB, frame after frame, and
/// writes that at once. To one that can, it writes each frame of more than 256 bytes by itself: a system call for each player's update
/// instead of one for all of a connection.
///
/// And h2 reads for as long as there is something, and keeps what it read of streams that nobody took yet, those that were given up
/// again included. So a ration is read, then what came of it is looked at.
pub(super) struct Whole<T> {
    io: T,
    ration: Ration,
}

impl<T> Whole<T> {
    pub(super) fn new(io: T, ration: Ration) -> Self {
        Self { io, ration }
    }
}

/// How much is read at once, but for what h2's buffer holds beyond.
const RATION_BYTES: usize = 16 * 1024;

/// What may still be read before it is renewed.
#[derive(Clone)]
pub(super) struct Ration(Arc<AtomicUsize>);

impl Ration {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(RATION_BYTES)))
    }

    /// And says how much of the last one was read.
    pub(super) fn renew(&self) -> usize {
        // Only the connection's task has it.
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(RATION_BYTES, Ordering::Relaxed);
        RATION_BYTES - left
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Whole<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.ration.0.load(Ordering::Relaxed);
        if left == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        self.ration.0.store(left.saturating_sub(read), Ordering::Relaxed);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Whole<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
