//! Who is woken at each tick.
//!
//! A `watch` channel tells its receivers once, and has each of them wait anew: with a place in a list, and a box for the future that
//! waits. Whoever follows a room for minutes leaves word once.

use slab::Slab;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

/// The tasks that follow a room.
#[derive(Debug, Default)]
pub(super) struct Followers(Mutex<Slab<Waker>>);

impl Followers {
    /// Wakes all of them.
    pub(super) fn wake(&self) {
        let followers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followers.iter().for_each(|(_, waker)| waker.wake_by_ref());
    }
}

/// One that follows, for as long as this lives.
#[derive(Debug)]
pub struct Follower {
    followers: Arc<Followers>,
    /// Where it stands among them, and by what it is woken.
    place: Option<(usize, Waker)>,
}

impl Follower {
    pub(super) fn new(followers: Arc<Followers>) -> Self {
        Self { followers, place: None }
    }

    /// From now on this task is woken whenever there is a new frame, the room stands still or goes on, is about to move, or has ended.
    /// To be said before one looks at what there is.
    pub fn stay(&mut self, context: &Context<'_>) {
        let waker = context.waker();
        if self.place.as_ref().is_some_and(|(_, left)| left.will_wake(waker)) {
            return;
        }
        let mut followers = self.followers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match &self.place {
            Some((place, _)) => {
                followers[*place].clone_from(waker);
                *place
            }
            None => followers.insert(waker.clone()),
        };
        self.place = Some((place, waker.clone()));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some((place, _)) = self.place {
            let mut followers = self.followers.0.lock().unwrap_or_else(PoisonError::into_inner);
            let left = followers.try_remove(place);
            // Whose task ends with it may have others here.
            drop(followers);
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_follows_is_woken_each_time_until_it_has_gone() {
        let followers = Arc::new(Followers::default());
        let counts: [Arc<Count>; 3] = Default::default();
        let wakers = counts.clone().map(Waker::from);
        let mut following: Vec<_> = (0..2).map(|_| Follower::new(Arc::clone(&followers))).collect();
        let woken = || counts.each_ref().map(|count| count.0.load(Ordering::Relaxed));
        for round in 1..=3 {
            for (follower, waker) in following.iter_mut().zip(&wakers) {
                follower.stay(&Context::from_waker(waker));
            }
            followers.wake();
            assert_eq!(woken(), [round, round, 0]);
        }
        // Another task has it now.
        following[0].stay(&Context::from_waker(&wakers[2]));
        followers.wake();
        assert_eq!(woken(), [3, 4, 1]);
        following.truncate(1);
        followers.wake();
        assert_eq!(woken(), [3, 4, 2]);
        drop(following);
        followers.wake();
        assert_eq!(woken(), [3, 4, 2]);
        assert!(followers.0.lock().expect("no panic").is_empty());
    }
}
