//! Who has to be looked at in a connection's task.

use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

const POLLING: u8 = 1;
const TRANSPORT: u8 = 2;
const CALLS: u8 = 4;
/// After so many rounds others have their turn.
const ROUNDS_MAX: usize = 16;

/// Wakes the connection's task, unless it runs just now: then it only notes that there is more to do. Without it each frame that a
/// stream queues would have the runtime poll the whole connection once more. And it notes who was woken: a tick that gives the
/// streams something to write has nothing to be read.
pub(super) struct Wakeup {
    state: Arc<State>,
    transport: Waker,
    calls: Waker,
}

struct State {
    due: AtomicU8,
    task: AtomicWaker,
}

struct Half {
    state: Arc<State>,
    due: u8,
}

impl Wake for Half {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.due.fetch_or(self.due, Ordering::AcqRel) == 0 {
            self.state.task.wake();
        }
    }
}

/// Who was woken.
pub(super) struct Due<'a> {
    /// The transport: what is to be read or written, and by what it is woken again.
    pub(super) transport: Option<Context<'a>>,
    /// The calls.
    pub(super) calls: bool,
}

impl Wakeup {
    /// At first both are due.
    pub(super) fn new() -> Self {
        let due = AtomicU8::new(TRANSPORT | CALLS);
        let state = Arc::new(State { due, task: AtomicWaker::new() });
        let half = |due| Waker::from(Arc::new(Half { state: Arc::clone(&state), due }));
        Self { transport: half(TRANSPORT), calls: half(CALLS), state }
    }

    /// By what calls are woken.
    pub(super) fn of_calls(&self) -> Waker {
        self.calls.clone()
    }

    /// Has the transport looked at in the next round, whoever is woken.
    pub(super) fn look(&self) {
        self.state.due.fetch_or(TRANSPORT, Ordering::AcqRel);
    }

    /// Runs `round`, and again for as long as somebody was woken meanwhile.
    pub(super) fn rounds<T>(
        &self,
        task: &mut Context<'_>,
        mut round: impl FnMut(Due<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.state.task.register(task.waker());
        for _ in 0..ROUNDS_MAX {
            let due = self.state.due.swap(POLLING, Ordering::AcqRel);
            let done = round(Due {
                transport: (due & TRANSPORT != 0).then(|| Context::from_waker(&self.transport)),
                calls: due & CALLS != 0,
            });
            if done.is_ready() {
                return done;
            }
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            if self.state.due.compare_exchange(POLLING, 0, success, failure).is_ok() {
                return Poll::Pending;
            }
        }
        self.state.due.fetch_and(!POLLING, Ordering::AcqRel);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls once; `wakes` says in which rounds the transport wakes the calls. Gives who was due in each round.
    fn poll(
        wakeup: &Wakeup,
        task: &Arc<Count>,
        wakes: impl Fn(usize) -> bool,
    ) -> Vec<(bool, bool)> {
        let outer = Waker::from(Arc::clone(task));
        let mut rounds = Vec::new();
        let poll = wakeup.rounds(&mut Context::from_waker(&outer), |due| {
            if wakes(rounds.len()) {
                wakeup.calls.wake_by_ref();
            }
            rounds.push((due.transport.is_some(), due.calls));
            Poll::<()>::Pending
        });
        assert!(poll.is_pending());
        rounds
    }

    #[test]
    fn what_is_woken_while_it_runs_goes_round_again_and_not_through_the_runtime() {
        let (wakeup, task) = (Wakeup::new(), Arc::new(Count::default()));
        assert_eq!(poll(&wakeup, &task, |_| false), [(true, true)]);
        let rounds = poll(&wakeup, &task, |round| round < 2);
        assert_eq!(rounds, [(false, false), (false, true), (false, true)]);
        assert_eq!(task.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_rests_is_woken_once_and_for_all_that_is_due() {
        let (wakeup, task) = (Wakeup::new(), Arc::new(Count::default()));
        poll(&wakeup, &task, |_| false);
        wakeup.calls.wake_by_ref();
        wakeup.transport.wake_by_ref();
        wakeup.calls.wake_by_ref();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&wakeup, &task, |_| false), [(true, true)]);
        wakeup.transport.wake_by_ref();
        assert_eq!(task.0.load(Ordering::Relaxed), 2);
        assert_eq!(poll(&wakeup, &task, |_| false), [(true, false)]);
    }

    #[test]
    fn what_never_rests_lets_others_have_their_turn_and_forgets_nothing() {
        let (wakeup, task) = (Wakeup::new(), Arc::new(Count::default()));
        assert_eq!(poll(&wakeup, &task, |_| true).len(), ROUNDS_MAX);
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&wakeup, &task, |_| false), [(false, true)]);
    }
}
