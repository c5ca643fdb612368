//! Threads of their own for what plays recordings: rooms and streams never wait for them.
//!
//! Whoever wants work done is admitted first; an [`Admitted`] has one job at a time, so what waits is bounded by how many are
//! admitted. Long work is done in turns, so that a few long jobs do not keep the short ones waiting.

use crate::telemetry::panic_message;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::TaskTracker;

/// How many may have work done at once, and so how many jobs may wait.
pub const ADMITTED_MAX: usize = 256;
/// Added to the niceness of these threads: rooms come first.
const NICENESS: i32 = 10;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// As much work as is taken is there already.
    #[error("too much work waits already")]
    Overloaded,
    /// The pool has ended.
    #[error("the server is shutting down")]
    Closed,
    /// The job broke.
    #[error("the job panicked: {0}")]
    Panicked(String),
}

/// The threads. They end when this is dropped, or closed.
pub struct Pool {
    shared: Arc<Shared>,
    admissions: Arc<Semaphore>,
    /// Each thread holds a token of it.
    threads: TaskTracker,
}

impl Pool {
    /// Starts the threads; `waiting` shows how many jobs wait. With no threads at all, each job is done at once by whoever wants
    /// it: for tests whose time is virtual and must not run on while another thread works.
    pub fn new(threads: usize, waiting: Gauge) -> io::Result<Self> {
        let shared = Shared { is_inline: threads == 0, waiting, ..Shared::default() };
        let pool = Self {
            shared: Arc::new(shared),
            admissions: Arc::new(Semaphore::new(ADMITTED_MAX)),
            threads: TaskTracker::new(),
        };
        for index in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let token = pool.threads.token();
            let thread = std::thread::Builder::new().name(format!("replay-{index}"));
            thread.spawn(move || {
                let _token = token;
                // On Linux this is of the calling thread alone. Where it cannot be, the work is done all the same.
                if let Err(error) = rustix::process::nice(NICENESS) {
                    tracing::debug!(%error, "replays run at the same priority as rooms");
                }
                shared.work();
            })?;
        }
        Ok(pool)
    }

    /// Half of the machine, at least one thread.
    pub fn threads_by_default() -> usize {
        std::thread::available_parallelism().map_or(1, |count| count.get() / 2).max(1)
    }

    /// Takes somebody who wants work done, or says at once that too many do.
    pub fn admit(&self) -> Result<Admitted, Error> {
        if self.shared.is_closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        let permit = Arc::clone(&self.admissions).try_acquire_owned();
        let permit = permit.map_err(|_| Error::Overloaded)?;
        Ok(Admitted { shared: Arc::clone(&self.shared), permit: Arc::new(permit) })
    }

    /// Ends all work: what waits is not begun, what is being done is told to stop.
    pub async fn close(&self) {
        self.shared.close();
        self.threads.close();
        self.threads.wait().await;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

/// Who may have work done, one job at a time.
pub struct Admitted {
    shared: Arc<Shared>,
    /// A job that nobody waits for any more still counts, until it is gone.
    permit: Arc<OwnedSemaphorePermit>,
}

impl Admitted {
    /// Has one job done. Whoever drops this future tells the job to stop.
    pub async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let stop = Stop { is_unwanted: Arc::default(), shared: Arc::clone(&self.shared) };
        let _stops = StopsWhenDropped(Arc::clone(&stop.is_unwanted));
        let permit = Arc::clone(&self.permit);
        let job: Job = Box::new(move || {
            let _permit = permit;
            if stop.is_set() {
                return;
            }
            // What the job owned is dropped with it: nobody can see a state that the panic left half done.
            let done = catch_unwind(AssertUnwindSafe(|| work(&stop)));
            let done = done.map_err(|panic| {
                let message = panic_message(panic.as_ref());
                tracing::error!(message, "a replay's job panicked");
                Error::Panicked(message)
            });
            // Whoever asked may be gone.
            let _ = answer.send(done);
        });
        self.shared.push(job);
        answered.await.unwrap_or(Err(Error::Closed))
    }

    /// Has work done in turns, until one gives a result. Others get theirs in between.
    pub async fn in_turns<T: Send + 'static>(
        &mut self,
        mut turn: impl FnMut(&Stop) -> Option<T> + Send + 'static,
    ) -> Result<T, Error> {
        loop {
            let job = move |stop: &Stop| {
                let done = turn(stop);
                (turn, done)
            };
            let done;
            (turn, done) = self.run(job).await?;
            if let Some(done) = done {
                return Ok(done);
            }
        }
    }
}

/// Says to a job that it should stop: nobody waits for its result any more, or the server goes away.
#[derive(Clone)]
pub struct Stop {
    is_unwanted: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Stop {
    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.is_unwanted.load(Ordering::Relaxed) || self.shared.is_closed.load(Ordering::Relaxed)
    }
}

struct StopsWhenDropped(Arc<AtomicBool>);

impl Drop for StopsWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    /// Not more than [`ADMITTED_MAX`]: each job holds a permit.
    jobs: Mutex<VecDeque<Job>>,
    wake: Condvar,
    is_closed: AtomicBool,
    is_inline: bool,
    waiting: Gauge,
}

impl Shared {
    fn push(&self, job: Job) {
        if self.is_inline {
            return job();
        }
        let mut jobs = self.jobs();
        // Looked at under the lock: nothing comes in after the end.
        if !self.is_closed.load(Ordering::Acquire) {
            jobs.push_back(job);
            self.waiting.inc();
            self.wake.notify_one();
        }
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        loop {
            if self.is_closed.load(Ordering::Acquire) {
                return None;
            }
            if let Some(job) = jobs.pop_front() {
                self.waiting.dec();
                return Some(job);
            }
            jobs = self.wake.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let mut jobs = self.jobs();
        self.is_closed.store(true, Ordering::Release);
        let unbegun = std::mem::take(&mut *jobs);
        self.waiting.dec_by(unbegun.len() as i64);
        drop(jobs);
        self.wake.notify_all();
    }

    /// No job runs while this is held, so no panic can have left it half changed.
    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::new(threads, Gauge::default()).expect("threads")
    }

    #[tokio::test]
    async fn work_is_done_on_a_thread_of_its_own() {
        let pool = pool(1);
        let mut one = pool.admit().expect("room");
        let name = one.run(|_| std::thread::current().name().map(str::to_owned)).await;
        assert_eq!(name, Ok(Some("replay-0".to_owned())));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_threads_alone_are_nicer() {
        let niceness = || rustix::process::getpriority_process(None).expect("known");
        let before = niceness();
        let pool = pool(1);
        let theirs = pool.admit().expect("room").run(move |_| niceness()).await;
        assert_eq!(theirs, Ok((before + NICENESS).min(19)));
        assert_eq!(niceness(), before);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_thread_goes_on() {
        let pool = pool(1);
        let mut one = pool.admit().expect("room");
        let broken = one.run(|_| assert_eq!(1, 2, "on purpose")).await;
        assert!(matches!(broken, Err(Error::Panicked(text)) if text.contains("on purpose")));
        assert_eq!(one.run(|_| 5).await, Ok(5));
    }

    #[tokio::test]
    async fn no_more_are_admitted_than_the_limit() {
        let pool = pool(0);
        let mut all: Vec<_> = (0..ADMITTED_MAX).map(|_| pool.admit().expect("room")).collect();
        assert_eq!(pool.admit().err(), Some(Error::Overloaded));
        all.pop();
        assert!(pool.admit().is_ok());
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_is_told_to_stop() {
        let pool = pool(1);
        let mut one = pool.admit().expect("room");
        let (begun, has_begun) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        let job = one.run(move |stop| {
            begun.send(()).expect("somebody listens");
            while !stop.is_set() {
                std::thread::yield_now();
            }
            ended.send(()).expect("somebody listens");
        });
        let dropped = tokio::select! {
            _ = job => false,
            _ = has_begun => true,
        };
        assert!(dropped);
        has_ended.await.expect("the job ended");
    }

    #[tokio::test]
    async fn long_work_is_done_in_turns() {
        let pool = pool(1);
        let (mut long, mut short) = (pool.admit().expect("room"), pool.admit().expect("room"));
        let turns = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&turns);
        // It ends only when the other was served in between.
        let long = long.in_turns(move |_| (!goes_on.load(Ordering::Relaxed)).then_some(1));
        let short = short.run(move |_| turns.store(false, Ordering::Relaxed));
        assert_eq!(tokio::join!(long, short), (Ok(1), Ok(())));
    }

    #[tokio::test]
    async fn closing_ends_what_waits_and_what_runs() {
        let pool = pool(1);
        let (mut one, mut two) = (pool.admit().expect("room"), pool.admit().expect("room"));
        let (begun, has_begun) = oneshot::channel();
        let endless = one.run(move |stop| {
            begun.send(()).expect("somebody listens");
            while !stop.is_set() {
                std::thread::yield_now();
            }
        });
        let waits = two.run(|_| ());
        let closes = async {
            has_begun.await.expect("it begins");
            pool.close().await;
        };
        let (one, two, ()) = tokio::join!(endless, waits, closes);
        assert_eq!((one, two), (Ok(()), Err(Error::Closed)));
        assert_eq!(pool.admit().err(), Some(Error::Closed));
    }
}
