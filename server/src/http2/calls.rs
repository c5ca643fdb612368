//! The calls of a connection, and which of them want to be looked at.

use crate::turn::Turn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// How many share a word that says who is due.
const CHUNK_CALLS: usize = u64::BITS as usize;

/// Calls that are polled once they are woken, in the order in which they lie in memory: a tick wakes a hundred of them at once.
///
/// `FuturesUnordered` does the same with a list through all of them: to wake one is to write into it, and into its neighbour, while
/// none of that is in a cache. Here it is one bit, in a word that they share; and another one says whether it is the request that
/// has more to be read.
pub(super) struct Calls<F> {
    chunks: Vec<Chunk<F>>,
    count: usize,
    connection: Waker,
}

struct Chunk<F> {
    due: Arc<Due>,
    slots: Vec<Slot<F>>,
    /// Places of which none is behind the last slot.
    vacant: u64,
}

struct Slot<F> {
    call: Option<F>,
    waker: Waker,
    request_waker: Waker,
}

/// One of them.
pub(super) trait Polled {
    /// How it ends.
    type Output;

    /// Ready once it is over.
    fn poll(&mut self, turn: &mut Turn<'_>) -> Poll<Self::Output>;
}

struct Due {
    bits: AtomicU64,
    /// Of whose requests there is more. Set before the bits above, and taken away with them.
    requests: AtomicU64,
    /// Wakes who polls them all.
    connection: Waker,
}

/// What wakes one of them.
struct Bell {
    due: Arc<Due>,
    bit: u64,
    is_request: bool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_request {
            self.due.requests.fetch_or(self.bit, Ordering::AcqRel);
        }
        // Who set the first bit since they were polled has woken the connection.
        if self.due.bits.fetch_or(self.bit, Ordering::AcqRel) == 0 {
            self.due.connection.wake_by_ref();
        }
    }
}

impl<F> Chunk<F> {
    fn has_room(&self) -> bool {
        self.vacant != 0 || self.slots.len() < CHUNK_CALLS
    }

    fn push(&mut self, call: F) {
        let place = match self.vacant {
            0 => self.slots.len(),
            vacant => vacant.trailing_zeros() as usize,
        };
        let bit = 1 << place;
        if self.vacant == 0 {
            let [waker, request_waker] = [false, true].map(|is_request| {
                Waker::from(Arc::new(Bell { due: Arc::clone(&self.due), bit, is_request }))
            });
            self.slots.push(Slot { call: Some(call), waker, request_waker });
        } else {
            // Whoever still has its waker has this one looked at in vain.
            self.slots[place].call = Some(call);
            self.vacant &= !bit;
        }
        self.due.requests.fetch_or(bit, Ordering::AcqRel);
        self.due.bits.fetch_or(bit, Ordering::AcqRel);
    }
}

impl<F: Polled> Calls<F> {
    /// None yet; `connection` wakes who polls them.
    pub(super) fn new(connection: Waker) -> Self {
        Self { chunks: Vec::new(), count: 0, connection }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One more, to be polled next time: it wakes nobody.
    pub(super) fn push(&mut self, call: F) {
        self.count += 1;
        let free = self.chunks.iter_mut().find(|chunk| chunk.has_room());
        if let Some(chunk) = free {
            chunk.push(call);
            return;
        }
        let due = Due {
            bits: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            connection: self.connection.clone(),
        };
        let mut chunk = Chunk { due: Arc::new(due), slots: Vec::new(), vacant: 0 };
        chunk.push(call);
        self.chunks.push(chunk);
    }

    /// Polls each that was woken, once, and says how those ended that are over, but for those that panicked.
    pub(super) fn poll(&mut self, mut ended: impl FnMut(F::Output)) {
        for chunk in &mut self.chunks {
            let due = chunk.due.bits.swap(0, Ordering::AcqRel);
            let requests = chunk.due.requests.fetch_and(!due, Ordering::AcqRel);
            for place in (0..chunk.slots.len()).filter(|place| due >> place & 1 == 1) {
                let Slot { call, waker, request_waker } = &mut chunk.slots[place];
                let Some(polled) = call else { continue };
                let mut turn = Turn {
                    context: Context::from_waker(waker),
                    request: Context::from_waker(request_waker),
                    has_request: requests >> place & 1 == 1,
                };
                let polled = catch_unwind(AssertUnwindSafe(|| polled.poll(&mut turn)));
                let is_over = match polled {
                    Ok(Poll::Pending) => false,
                    Ok(Poll::Ready(end)) => {
                        ended(end);
                        true
                    }
                    Err(_) => {
                        tracing::error!(task = "stream", "a task panicked");
                        true
                    }
                };
                if is_over {
                    *call = None;
                    chunk.vacant |= 1 << place;
                    self.count -= 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What has happened to some calls.
    #[derive(Default)]
    struct Seen {
        polled: Vec<usize>,
        reading: BTreeSet<usize>,
        wakers: Vec<Option<[Waker; 2]>>,
        over: BTreeSet<usize>,
    }

    struct Call(usize, Rc<RefCell<Seen>>);

    impl Polled for Call {
        type Output = ();

        fn poll(&mut self, turn: &mut Turn<'_>) -> Poll<()> {
            let mut seen = self.1.borrow_mut();
            seen.polled.push(self.0);
            if turn.has_request {
                seen.reading.insert(self.0);
            }
            seen.wakers[self.0] = Some([&turn.context, &turn.request].map(|c| c.waker().clone()));
            assert!(!seen.over.contains(&usize::MAX), "it is to panic");
            if seen.over.contains(&self.0) { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    struct Scene {
        calls: Calls<Call>,
        seen: Rc<RefCell<Seen>>,
        connection: Arc<Count>,
    }

    impl Scene {
        fn with(count: usize) -> Self {
            let connection = Arc::new(Count::default());
            let calls = Calls::new(Waker::from(Arc::clone(&connection)));
            let mut scene = Self { calls, seen: Rc::default(), connection };
            (0..count).for_each(|_| scene.push());
            scene
        }

        fn push(&mut self) {
            let number = self.seen.borrow().wakers.len();
            self.seen.borrow_mut().wakers.push(None);
            self.calls.push(Call(number, Rc::clone(&self.seen)));
        }

        fn wake(&self, number: usize) {
            let wakers = self.seen.borrow().wakers[number].clone();
            let [waker, _] = wakers.expect("it was polled");
            waker.wake();
        }

        /// Its request has more.
        fn bring(&self, number: usize) {
            let wakers = self.seen.borrow().wakers[number].clone();
            let [_, waker] = wakers.expect("it was polled");
            waker.wake();
        }

        /// Who was polled.
        fn poll(&mut self) -> Vec<usize> {
            self.calls.poll(|()| {});
            std::mem::take(&mut self.seen.borrow_mut().polled)
        }

        /// Who was told that its request has more.
        fn reading(&self) -> Vec<usize> {
            std::mem::take(&mut self.seen.borrow_mut().reading).into_iter().collect()
        }

        fn wakes(&self) -> usize {
            self.connection.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn each_that_was_woken_is_polled_once_and_the_connection_woken_once_for_all_that_lie_together()
    {
        let mut scene = Scene::with(100);
        assert_eq!(scene.poll(), (0..100).collect::<Vec<_>>());
        assert!(scene.poll().is_empty());
        assert_eq!(scene.wakes(), 0);
        for number in [70, 5, 3, 5] {
            scene.wake(number);
        }
        assert_eq!(scene.wakes(), 2);
        assert_eq!(scene.poll(), [3, 5, 70]);
        assert!(scene.poll().is_empty());
    }

    #[test]
    fn each_is_told_whether_its_request_has_more() {
        let mut scene = Scene::with(3);
        scene.poll();
        assert_eq!(scene.reading(), [0, 1, 2], "nobody has looked yet");
        scene.wake(0);
        scene.bring(1);
        scene.wake(1);
        scene.bring(2);
        assert_eq!(scene.poll(), [0, 1, 2]);
        assert_eq!(scene.reading(), [1, 2]);
        scene.wake(1);
        assert_eq!(scene.poll(), [1]);
        assert!(scene.reading().is_empty());
    }

    #[test]
    fn who_comes_takes_the_place_of_who_has_gone() {
        let mut scene = Scene::with(130);
        scene.poll();
        scene.seen.borrow_mut().over = (0..129).collect();
        (0..129).for_each(|number| scene.wake(number));
        scene.poll();
        assert_eq!(scene.calls.count, 1);
        (0..129).for_each(|_| scene.push());
        assert_eq!(scene.calls.chunks.len(), 3);
        assert_eq!(scene.poll(), (130..259).collect::<Vec<_>>());
        // It may have been left somewhere.
        scene.wake(7);
        assert_eq!(scene.poll(), [137]);
    }

    #[test]
    fn one_that_panics_ends_alone() {
        let mut scene = Scene::with(2);
        scene.poll();
        scene.seen.borrow_mut().over = [usize::MAX].into();
        scene.wake(0);
        scene.calls.poll(|()| {});
        scene.seen.borrow_mut().over.clear();
        assert_eq!(scene.calls.count, 1);
        scene.wake(1);
        scene.seen.borrow_mut().polled.clear();
        assert_eq!(scene.poll(), [1]);
    }
}
