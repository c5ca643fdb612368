//! Waiting for what hardly ever happens, at no cost each time that something else does.

use futures_util::Stream;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A future, or a stream, that is looked at only after it asked for it. A task that waits for several things is woken without a word which of them
/// it was, so it looks at all; and a look at a `watch`, a `Notify` or a cancellation takes a lock, which others share.
#[derive(Debug)]
pub struct Seldom<F: ?Sized> {
    /// `None`: it was not looked at yet.
    asked: Option<(Arc<Asked>, Waker)>,
    future: Pin<Box<F>>,
}

#[derive(Debug)]
struct Asked {
    is_due: AtomicBool,
    task: Waker,
}

impl Wake for Asked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_due.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<F: ?Sized> Seldom<F> {
    /// It is looked at for the first time when this is.
    pub fn new(future: Pin<Box<F>>) -> Self {
        Self { asked: None, future }
    }

    /// Changes it; it is looked at once more then.
    pub fn renew(&mut self, change: impl FnOnce(Pin<&mut F>)) {
        change(self.future.as_mut());
        self.asked = None;
    }

    /// Looks at it, if it asked for that.
    fn look<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut F>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Another task has it now: who knows only the last one would wake that.
        let asked = self.asked.take_if(|(asked, _)| !asked.task.will_wake(context.waker()));
        drop(asked);
        let (asked, own) = self.asked.get_or_insert_with(|| {
            let task = context.waker().clone();
            let asked = Arc::new(Asked { is_due: AtomicBool::new(true), task });
            (Arc::clone(&asked), Waker::from(asked))
        });
        if !asked.is_due.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        asked.is_due.store(false, Ordering::Release);
        let polled = poll(self.future.as_mut(), &mut Context::from_waker(own));
        if polled.is_ready() {
            // There may be more.
            asked.is_due.store(true, Ordering::Release);
        }
        polled
    }
}

impl<F: Future + ?Sized> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.look(context, F::poll)
    }
}

impl<S: Stream + ?Sized> Stream for Seldom<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.look(context, S::poll_next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt as _, StreamExt as _};
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::Notify;

    #[tokio::test]
    async fn it_may_ask_again_and_again() {
        let (sender, receiver) = tokio::sync::watch::channel(0);
        let changes = tokio_stream::wrappers::WatchStream::from_changes(receiver);
        let mut seldom = Seldom::new(Box::pin(changes));
        for change in 1..10 {
            assert!(seldom.next().now_or_never().is_none());
            let hears = async { (seldom.next().await, seldom) };
            let (heard, _) = tokio::join!(hears, async { sender.send_replace(change) });
            assert_eq!(heard.0, Some(change));
            seldom = heard.1;
        }
        drop(sender);
        assert_eq!(seldom.next().await, None);
    }

    #[tokio::test]
    async fn it_is_looked_at_only_when_it_asked() {
        let (word, looks) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (heard, looked) = (Arc::clone(&word), Arc::clone(&looks));
        let mut waiting = Box::pin(async move { heard.notified().await });
        let waiting = poll_fn(move |context| {
            looked.fetch_add(1, Ordering::Relaxed);
            waiting.poll_unpin(context)
        });
        let mut seldom = Seldom::new(Box::pin(waiting));
        for _ in 0..3 {
            assert!((&mut seldom).now_or_never().is_none());
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        // Another task waits for it by now.
        let mut waits = tokio::task::JoinSet::new();
        waits.spawn(seldom);
        tokio::task::yield_now().await;
        assert_eq!(looks.load(Ordering::Relaxed), 2);
        word.notify_one();
        waits.join_next().await.expect("a task").expect("it does not panic");
        assert_eq!(looks.load(Ordering::Relaxed), 3);
    }
}
