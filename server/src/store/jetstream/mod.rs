//! Logs in NATS JetStream: what rooms play outlives their server, and every server can read it.
//!
//! ```text
//! PREFIX                      one stream, in files, limited in bytes and age: the oldest messages go first
//! PREFIX.log.<room>           the subject of a room's log
//! PREFIX.incident.<name>      a part of a log that is kept for itself
//! ```
//!
//! A message holds whole records of one or more chunks, and says in its headers whose they are and which ticks: its writer, epoch,
//! ticks, whether it begins with a checkpoint, whether the log ends, part i of n where a chunk is larger than a message. One that
//! begins with a checkpoint begins with a header, too: it is a segment, as in files, and the payloads one after the other are a
//! recording. A log has an order of its own (`Fray-Offset`), so whoever reads notices where something is missing.
//!
//! - **Writing never waits.** Rooms put chunks into a bounded queue; a task for each log empties it, with one message in flight.
//!   What comes meanwhile goes into the next message. `durable_tick` is what JetStream has acknowledged.
//! - **The fence** is the number of the subject's last message: a message is taken only if it follows the one that its writer knows.
//!   Whoever finds another's message there, of a later epoch, is the owner no more. An owner is fenced by its successor's first message.
//! - **An unknown outcome** (no answer, the connection broke) is looked up in the last message of the subject, and then the same message
//!   is sent again or not. Nothing is assumed, and nothing is there twice.
//! - **NATS away**: what waits is kept, up to the queue's bounds. Then chunks are refused, and the log goes on from the room's next
//!   checkpoint once there is room again. **A stream that was wiped** is made anew, and logs go on from their next checkpoints.
//! - **What the limits let go** goes from the front, of all recordings by age: a recording then begins later. Incidents go as logs do.
//!
//! # What it can lose
//!
//! What JetStream acknowledged survives our process and the server's. By default NATS syncs its files every two minutes, so with one
//! replica a loss of power can take more back than files with `--store-sync interval` would; replicas on other machines are the remedy.
//!
//! # Threads
//!
//! [`Store`]'s calls ask over the network: they wait for an answer, on the thread that calls, and are answered by the runtime that the
//! store was opened with. So they are for threads of their own, never for that runtime's workers: a runtime all of whose workers wait for
//! it stands still. [`Store::writer`] and [`Writer`]'s calls never wait on a thread within a runtime: there, what this process does not
//! know is found out by the log's task, and a later owner's epoch shows at the next `append`.

mod cursor;
mod find;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lane;
mod log;
mod message;
mod queue;
mod recordings;
mod stream;

pub use log::{INCIDENT_BYTES_MAX, LINGER};
pub use queue::{COALESCED_BYTES_MAX, QUEUE_BYTES_MAX, ROOM_CHUNKS_MAX};

use super::{Counts, Error, Header, Name, Progress, Store, Summary, Tail, Writer};
use async_nats::Client;
use cursor::Cursor;
use futures_util::FutureExt as _;
use log::{Log, LogWriter};
use queue::Queue;
use recordings::Recordings;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stream::Stream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Duration, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often the stream's size is asked for, for metrics.
const SIZE_EVERY: Duration = Duration::from_secs(10);

/// How the stream is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The stream's name, and what its subjects begin with: letters, digits, `_` and `-`.
    pub prefix: String,
    /// The most bytes of the stream, with what JetStream adds to messages.
    pub retention_bytes: u64,
    /// How long messages are kept.
    pub retention_age: Duration,
    /// On how many servers of a NATS cluster: 1, 3 or 5.
    pub replicas: usize,
    /// The most bytes of a message, if NATS allows as many.
    pub message_bytes_max: usize,
    /// After this time without an answer, an outcome is unknown.
    pub answer_timeout: Duration,
    /// How long [`Store::close`] waits for what is still to be written.
    pub close_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "fray_log".into(),
            retention_bytes: 1 << 30,
            retention_age: Duration::from_secs(7 * 24 * 3600),
            replicas: 1,
            message_bytes_max: 1 << 20,
            answer_timeout: Duration::from_secs(2),
            close_timeout: Duration::from_secs(10),
        }
    }
}

/// A store in JetStream. [`Store::close`] it, or what still waits is lost when the process ends.
#[derive(Clone)]
pub struct JetStreamStore {
    own: Arc<Own>,
}

struct Own {
    shared: Arc<Shared>,
    runtime: Handle,
    tasks: TaskTracker,
    /// Those that have nothing to write.
    idle_tasks: TaskTracker,
}

/// What logs' tasks, writers and readers share.
struct Shared {
    stream: Arc<Stream>,
    recordings: Recordings,
    logs: Mutex<HashMap<Name, Arc<Log>>>,
    waiting_bytes: Arc<AtomicUsize>,
    is_closed: AtomicBool,
    /// Nothing is tried any more.
    stop: CancellationToken,
    errors: Arc<AtomicU64>,
    lost: AtomicU64,
    acknowledged: AtomicU64,
    bytes: AtomicU64,
}

impl JetStreamStore {
    /// Opens a store. It asks nothing yet: NATS may still be away. All that it does is done by this runtime, which must outlive it.
    pub fn open(client: Client, options: Options, runtime: Handle) -> Result<Self, Error> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if options.prefix.is_empty() || !options.prefix.chars().all(is_plain) {
            return Err(Error::BadName(options.prefix));
        }
        let stream = {
            let _within = runtime.enter();
            Arc::new(Stream::new(client, options.clone()))
        };
        let shared = Arc::new(Shared {
            recordings: Recordings::new(Arc::clone(&stream)),
            stream,
            logs: Mutex::new(HashMap::new()),
            waiting_bytes: Arc::default(),
            is_closed: AtomicBool::new(false),
            stop: CancellationToken::new(),
            errors: Arc::default(),
            lost: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let idle_tasks = TaskTracker::new();
        idle_tasks.spawn_on(look_at_size(Arc::clone(&shared)), &runtime);
        let tasks = TaskTracker::new();
        Ok(Self { own: Arc::new(Own { shared, runtime, tasks, idle_tasks }) })
    }

    /// Asks, and waits for the answer on this thread.
    fn wait<T: Send + 'static>(
        &self,
        asking: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        wait(&self.own.runtime, asking)
    }
}

/// Waits on this thread for what a runtime does. Everything that is asked has an end: an answer, or the time for one.
fn wait<T: Send + 'static>(
    runtime: &Handle,
    asking: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let (out, answer) = std::sync::mpsc::sync_channel(1);
    drop(runtime.spawn(async move {
        let answer = asking.await;
        // Whoever asked waits for it.
        let _ = out.send(answer);
    }));
    answer.recv().map_err(|_| io::Error::other("the runtime of the store is gone, or it panicked"))
}

/// Makes the stream, and keeps its size at hand: whoever asks for counts does not wait.
async fn look_at_size(shared: Arc<Shared>) {
    let look = async {
        loop {
            // Whoever wants to write tries again, and says what is wrong.
            let _ = shared.stream.ensure().await;
            if let Ok(Some(state)) = shared.stream.state().await {
                shared.bytes.store(state.bytes, Relaxed);
            }
            sleep(SIZE_EVERY).await;
        }
    };
    shared.stop.run_until_cancelled(look).await;
}

impl Store for JetStreamStore {
    fn writer(&self, header: Header) -> Result<Box<dyn Writer>, Error> {
        let name = Name::parse(&header.room).ok_or_else(|| Error::BadName(header.room.clone()))?;
        let shared = &self.own.shared;
        if shared.is_closed.load(Relaxed) {
            return Err(Error::Full);
        }
        if Handle::try_current().is_err() {
            self.refuse_earlier(&name, header.epoch)?;
        }
        let mut logs = shared.logs();
        let before = logs.get(&name).cloned();
        if let Some(before) = &before {
            if before.header.epoch > header.epoch {
                return Err(Error::Fenced(before.header.epoch));
            }
            before.queue.supersede(header.epoch);
        }
        let epoch = header.epoch;
        let queue = Queue::new(Arc::clone(&shared.waiting_bytes));
        let log = Arc::new(Log::new(name.clone(), header, queue));
        logs.insert(name, Arc::clone(&log));
        drop(logs);
        let task = log::write(Arc::clone(shared), Arc::clone(&log), before);
        self.own.tasks.spawn_on(
            async move {
                // What it owned is dropped with it: the log has ended.
                if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                    tracing::error!(epoch, "the task that writes a room's log panicked");
                }
            },
            &self.own.runtime,
        );
        Ok(Box::new(LogWriter(log)))
    }

    fn list(&self) -> Result<Vec<Summary>, Error> {
        let shared = Arc::clone(&self.own.shared);
        let found = self.wait(async move { shared.recordings.list().await })??;
        Ok(found.into_iter().map(|found| self.summary(found)).collect())
    }

    fn find(&self, name: &Name) -> Result<Summary, Error> {
        let (shared, name) = (Arc::clone(&self.own.shared), name.clone());
        let found = self.wait(async move { shared.recordings.find(&name).await })??;
        found.map(|found| self.summary(found)).ok_or(Error::NotFound)
    }

    fn read(&self, name: &Name, tick: u32) -> Result<Box<dyn Read + Send>, Error> {
        let (shared, name) = (Arc::clone(&self.own.shared), name.clone());
        let begin = self.wait(async move { shared.recordings.begin(&name, tick).await })??;
        let begin = begin.ok_or(Error::NotFound)?;
        let cursor = Cursor::new(Arc::clone(&self.own.shared.stream), &begin);
        let (runtime, ready) = (self.own.runtime.clone(), VecDeque::new());
        Ok(Box::new(LogReader { runtime, cursor: Some(cursor), ready }))
    }

    /// Asks the stream's leader: another of its servers may not have it yet.
    fn tail(&self, name: &Name) -> Result<Tail, Error> {
        let stream = Arc::clone(&self.own.shared.stream);
        let subject = stream.log_subject(name.as_str());
        let end = self.wait(async move { stream.end(&subject).await })??;
        end.ok_or(Error::NotFound)
    }

    fn progress(&self, name: &Name) -> Option<watch::Receiver<Progress>> {
        self.own.shared.logs().get(name).map(|log| log.progress.subscribe())
    }

    /// Its "disk errors" are questions that JetStream refused or did not answer, its "syncs" messages that it has.
    fn counts(&self) -> Counts {
        let shared = &self.own.shared;
        Counts {
            disk_errors: shared.errors.load(Relaxed),
            chunks_lost: shared.lost.load(Relaxed),
            syncs: shared.acknowledged.load(Relaxed),
            bytes: shared.bytes.load(Relaxed),
        }
    }

    /// Takes as long as JetStream does, up to [`Options::close_timeout`].
    fn close(&self) -> Result<(), Error> {
        let Own { shared, tasks, idle_tasks, .. } = &*self.own;
        shared.is_closed.store(true, Relaxed);
        shared.logs().values().for_each(|log| log.queue.end());
        tasks.close();
        idle_tasks.close();
        let (tasks, idle_tasks) = (tasks.clone(), idle_tasks.clone());
        let stop = shared.stop.clone();
        let limit = shared.stream.options().close_timeout;
        let is_written = self.wait(async move {
            let written = timeout(limit, tasks.wait()).await;
            stop.cancel();
            tasks.wait().await;
            idle_tasks.wait().await;
            written.is_ok()
        })?;
        if is_written {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::TimedOut, "JetStream did not take all in time")
                .into())
        }
    }
}

impl JetStreamStore {
    /// Asks whether a later owner has written. Where nobody answers, the log's task will find out.
    fn refuse_earlier(&self, name: &Name, epoch: u64) -> Result<(), Error> {
        let shared = Arc::clone(&self.own.shared);
        let subject = shared.stream.log_subject(name.as_str());
        let last = self.wait(async move { shared.stream.last(&subject).await })?;
        let last = last.ok().flatten().and_then(|last| last.meta);
        match last {
            Some(last) if last.epoch > epoch => Err(Error::Fenced(last.epoch)),
            _ => Ok(()),
        }
    }

    fn summary(&self, found: recordings::Found) -> Summary {
        let shared = &self.own.shared;
        let is_own = !found.is_incident && shared.logs().contains_key(&found.summary.name);
        let is_running = is_own || found.summary.is_running;
        Summary { is_running, ..found.summary }
    }
}

impl Shared {
    /// Never held while something is asked.
    fn logs(&self) -> MutexGuard<'_, HashMap<Name, Arc<Log>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self, log: &Arc<Log>) {
        self.recordings.finished(log.writer);
        let mut logs = self.logs();
        if logs.get(&log.name).is_some_and(|current| Arc::ptr_eq(current, log)) {
            logs.remove(&log.name);
        }
    }

    fn lost(&self, chunks: u64) {
        self.lost.fetch_add(chunks, Relaxed);
    }

    fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    fn acknowledged(&self) {
        self.acknowledged.fetch_add(1, Relaxed);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Reads a log as it is at each moment.
struct LogReader {
    runtime: Handle,
    /// `None`: reading failed.
    cursor: Option<Cursor>,
    ready: VecDeque<bytes::Bytes>,
}

impl Read for LogReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            let mut cursor = self.cursor.take().ok_or(io::ErrorKind::NotConnected)?;
            let (cursor, more) = wait(&self.runtime, async move {
                let more = cursor.more().await;
                (cursor, more)
            })?;
            self.cursor = Some(cursor);
            self.ready.extend(more?);
        }
        let Some(first) = self.ready.front_mut() else { return Ok(0) };
        let count = out.len().min(first.len());
        bytes::Buf::copy_to_slice(first, &mut out[..count]);
        if first.is_empty() {
            self.ready.pop_front();
        }
        Ok(count)
    }
}
