//! A transport whose peer has to take bytes, and may not send too many.

use crate::intake::{Intake, TOO_MUCH};
use crate::telemetry::metrics::connections::Ended;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// HTTP/1.1 has no pings: a peer that takes nothing for so long is gone, or might as well be.
pub(super) const STALLED_FOR_MAX: Duration = Duration::from_secs(20);

/// Fails when the peer takes nothing for [`STALLED_FOR_MAX`] while there is something to be written, and when it sends more than it may.
pub(super) struct Patient<T> {
    io: T,
    /// `None`: nothing waits to be written.
    deadline: Option<Pin<Box<Sleep>>>,
    /// `None`: it may send what it likes.
    intake: Option<Intake>,
    why: Arc<OnceLock<Ended>>,
}

impl<T> Patient<T> {
    /// And where to see that it failed, and why.
    pub(super) fn new(io: T, intake: Option<Intake>) -> (Self, Arc<OnceLock<Ended>>) {
        let why = Arc::new(OnceLock::new());
        (Self { io, deadline: None, intake, why: Arc::clone(&why) }, why)
    }

    fn within_time<R>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.deadline = None;
            return polled;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(STALLED_FOR_MAX)));
        ready!(deadline.as_mut().poll(context));
        deadline.as_mut().reset(Instant::now() + STALLED_FOR_MAX);
        let _ = self.why.set(Ended::Stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let read_bytes = buffer.filled().len() - before;
        if self.intake.as_mut().is_some_and(|intake| intake.is_too_much_with(read_bytes)) {
            let _ = self.why.set(Ended::Flood);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, TOO_MUCH)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, bytes);
        self.within_time(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(context, pieces);
        self.within_time(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(context);
        self.within_time(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(context);
        self.within_time(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_little_is_not() {
        let (mut peer, own) = duplex(10);
        let (mut own, why) = Patient::new(own, None);
        let writes = async { own.write_all(&[0; 100]).await };
        let reads = async {
            for _ in 0..9 {
                tokio::time::sleep(STALLED_FOR_MAX.mul_f64(0.9)).await;
                peer.read_exact(&mut [0; 10]).await.expect("bytes");
            }
        };
        let (written, ()) = tokio::join!(writes, reads);
        assert!(written.is_ok() && why.get().is_none());
        let error = own.write_all(&[0; 1]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(why.get(), Some(&Ended::Stalled));
    }
}
