//! Logs in files: what rooms play outlives the process.
//!
//! ```text
//! DIR/lock                                   held by the server that writes here
//! DIR/rooms/<room>/<epoch>-<first tick>.fray one segment; the numbers are padded, so that names sort as they do
//! DIR/incidents/<name>.fray                  a part of a log that is kept for itself
//! ```
//!
//! Every segment is a recording by itself: a header, a checkpoint, and what follows it. A room's segments one after the other
//! are one, too: `cat DIR/rooms/<room>/*.fray`. Headers hold the codes of private rooms, so only the owner may read the files;
//! what leaves the server is cut, and cutting leaves the code out.
//!
//! One thread owns all files. Rooms put chunks into one bounded queue and never wait: what does not fit is refused, and then
//! the room goes on with a checkpoint. A file that cannot be written is left alone, cut to its whole records, and the room's next
//! checkpoint begins another; other rooms notice nothing.
//!
//! # What each policy can lose
//!
//! A killed process (also by SIGKILL or a panic that aborts) loses, with every policy, what was still in the queue: what
//! [`Progress::last_tick`](crate::store::Progress) had not come to. What was written is the kernel's and stays. The last record may be cut off.
//!
//! A machine that stops, or loses power, loses more:
//!
//! - [`Sync::None`]: all that the operating system had not yet written, commonly the last 30 s, and there is no bound. The store
//!   never asks. `durable_tick` stays 0. Any segment of a room that was running may have lost its end or its whole self; then the
//!   recording has a gap, in a way that readers pass over (see [`Store::read`]).
//! - [`Sync::Interval`]: what was written in the last interval (a second), and what was in the queue, and what came during the sync
//!   itself, if the disk is slow. All up to [`Progress::durable_tick`](crate::store::Progress) is there. A segment is made safe before the next one
//!   is begun, so a running room can only have lost the end of its last segment, and never a part in the middle.
//! - [`Sync::Tick`]: what was in the queue, and what was being synced. Whenever the queue was emptied, all that was in it is made safe
//!   before the next is taken out. All up to `durable_tick` is there, which follows `last_tick` by one sync.
//!
//! With the last two, names are made safe together with the bytes (the folder is synced, too), and an incident is whole
//! or not there. What a disk itself loses after it said that it
//! had it is not in our hands. When it says that it could not (a failed sync), then the bytes since the last good one are
//! given up, counted as lost, and the log goes on in another file from the next checkpoint.
//!
//! What a crash leaves is taken as it is: a record that was cut off ends the recording, which then reads as one that is incomplete. A
//! file whose header was cut off is removed. If a later owner continues the room, the cut-off record is removed first. Damage before the
//! end is never touched, and logged.

mod chain;
mod disk;
mod handle;
mod incident;
mod index;
mod load;
mod mend;
mod queue;
mod writer;

pub use disk::{Disk, DiskFile, Entry, RealDisk};
pub use queue::{QUEUE_BYTES_MAX, QUEUE_CHUNKS_MAX};
pub use writer::{FileWriter, Turn};

use super::{Counts, Error, Header, Name, Progress, Store, Summary, Tail, Writer};
use chain::Chain;
use handle::Handle;
use index::{Index, Log, Place};
use queue::Queue;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::Instant;

/// The most incidents that are kept.
pub const INCIDENTS_MAX: usize = 256;
/// Incidents are let go last, unless they take more than one part in so many of all bytes.
pub const INCIDENTS_SHARE: u64 = 4;
/// The most recordings that are kept, however small.
pub const RECORDINGS_MAX: usize = 16_384;

/// When what was written is made safe against loss of power. What each can lose is told [above](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Whenever the operating system does so.
    None,
    /// Every [`Options::sync_interval`].
    #[default]
    Interval,
    /// Whenever the queue was emptied.
    Tick,
}

/// How files are written, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// When what was written is made safe.
    pub sync: Sync,
    /// How often, for [`Sync::Interval`].
    pub sync_interval: Duration,
    /// The most bytes of all recordings together.
    pub retention_bytes: u64,
    /// How long a segment is kept after it was last written.
    pub retention_age: Duration,
    /// A segment that is so long is followed by another at the next checkpoint.
    pub segment_bytes: u64,
    /// So is one that was begun so long ago.
    pub segment_age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync: Sync::default(),
            sync_interval: Duration::from_secs(1),
            retention_bytes: 1 << 30,
            retention_age: Duration::from_secs(7 * 24 * 3600),
            segment_bytes: 1 << 20,
            segment_age: Duration::from_secs(60),
        }
    }
}

/// A store in files. [`Store::close`] it: what still waits when all of its handles are dropped is written, but nobody knows when.
#[derive(Clone)]
pub struct FileStore {
    own: Arc<Own>,
}

struct Own {
    files: Arc<Files>,
    thread: Mutex<Option<JoinHandle<()>>>,
    may_write: bool,
}

/// What the thread, the rooms' writers and the readers share.
struct Files {
    disk: Arc<dyn Disk>,
    index: Mutex<Index>,
    queue: Queue,
    counts: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    disk_errors: AtomicU64,
    chunks_lost: AtomicU64,
    syncs: AtomicU64,
}

impl FileStore {
    /// Opens a folder, or makes it, and starts the thread that writes there. One server per folder.
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        let disk = RealDisk::create(dir)?;
        let Some(lock) = disk.lock()? else {
            let problem = format!("another server writes to {}", dir.display());
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, problem).into());
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (store, writer) = Self::with_disk(Arc::new(disk), options, now)?;
        let run = move || run(writer, lock);
        let thread = thread::Builder::new().name("store-files".into()).spawn(run)?;
        *store.own.thread() = Some(thread);
        Ok(store)
    }

    /// Opens a folder as it is now, only to read; also while a server writes there.
    pub fn open_read_only(dir: &Path) -> Result<Self, Error> {
        let files = Files::load(Arc::new(RealDisk::open(dir)?), false)?;
        files.queue.close();
        Ok(Self { own: Arc::new(Own { files, thread: Mutex::new(None), may_write: false }) })
    }

    /// The store and what writes its files, for whoever calls [`FileWriter::turn`] himself. `now` is the time since 1970.
    pub fn with_disk(
        disk: Arc<dyn Disk>,
        options: Options,
        now: Duration,
    ) -> Result<(Self, FileWriter), Error> {
        let files = Files::load(disk, true)?;
        let writer = FileWriter::new(Arc::clone(&files), options, now);
        writer.prepare()?;
        writer.let_go(Duration::ZERO);
        let own = Own { files, thread: Mutex::new(None), may_write: true };
        Ok((Self { own: Arc::new(own) }, writer))
    }
}

/// The thread. It holds the folder's lock until all is written.
fn run(mut writer: FileWriter, lock: File) {
    let start = Instant::now();
    loop {
        let Turn { due, is_over } = writer.turn(start.elapsed());
        if is_over {
            break;
        }
        writer.files.queue.wait(due.map(|due| due.saturating_sub(start.elapsed())));
    }
    drop(lock);
}

impl Store for FileStore {
    fn counts(&self) -> Counts {
        let Files { counts, .. } = &*self.own.files;
        Counts {
            disk_errors: counts.disk_errors.load(Relaxed),
            chunks_lost: counts.chunks_lost.load(Relaxed),
            syncs: counts.syncs.load(Relaxed),
            bytes: self.own.files.index().bytes,
        }
    }

    fn writer(&self, header: Header) -> Result<Box<dyn Writer>, Error> {
        let name = Name::parse(&header.room).ok_or_else(|| Error::BadName(header.room.clone()))?;
        if !self.own.may_write {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem).into());
        }
        let files = &self.own.files;
        if files.queue.is_closed() {
            return Err(Error::Full);
        }
        let mut index = files.index();
        let serial = index.next_serial();
        let log = index.by_name.entry(name.clone());
        let begun = (header.started_at_ms, serial);
        let log = log.or_insert_with(|| Log::new(header.clone(), false, begun));
        if log.is_incident {
            return Err(Error::BadName(header.room));
        }
        let owner = Arc::clone(&log.owner);
        let last_epoch = owner.epoch.load(Relaxed);
        if last_epoch > header.epoch {
            return Err(Error::Fenced(last_epoch));
        }
        owner.epoch.store(header.epoch, Relaxed);
        owner.serial.store(serial, Relaxed);
        log.is_running = true;
        log.progress.send_modify(|progress| progress.has_ended = false);
        drop(index);
        let place = Arc::new(Place { name, header, serial, owner });
        Ok(Box::new(Handle::new(Arc::clone(files), place)))
    }

    fn list(&self) -> Result<Vec<Summary>, Error> {
        let index = self.own.files.index();
        let mut found: Vec<_> = index.by_name.iter().collect();
        found.sort_unstable_by_key(|(_, log)| std::cmp::Reverse(log.begun));
        Ok(found.into_iter().filter_map(|(name, log)| log.summary(name)).collect())
    }

    fn find(&self, name: &Name) -> Result<Summary, Error> {
        let index = self.own.files.index();
        index.by_name.get(name).and_then(|log| log.summary(name)).ok_or(Error::NotFound)
    }

    fn tail(&self, name: &Name) -> Result<Tail, Error> {
        let index = self.own.files.index();
        let log = index.by_name.get(name).ok_or(Error::NotFound)?;
        let written_at = log.segments.back().map(|segment| UNIX_EPOCH + segment.modified);
        Ok(Tail { last_tick: log.last_tick, written_at })
    }

    /// Where a crash cut off a segment that others follow, the part is passed over that cannot be read; ticks are missing there.
    fn read(&self, name: &Name, tick: u32) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(Chain::begin(Arc::clone(&self.own.files), name.clone(), tick)?))
    }

    fn progress(&self, name: &Name) -> Option<watch::Receiver<Progress>> {
        let index = self.own.files.index();
        index.by_name.get(name).filter(|log| log.is_running).map(|log| log.progress.subscribe())
    }

    /// Takes as long as the disk does.
    fn close(&self) -> Result<(), Error> {
        self.own.files.queue.close();
        let thread = self.own.thread().take();
        match thread.map(JoinHandle::join) {
            Some(Err(_)) => {
                Err(io::Error::other("the thread that writes the files panicked").into())
            }
            Some(Ok(())) | None => Ok(()),
        }
    }
}

impl Own {
    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.files.queue.close();
    }
}

impl Files {
    fn load(disk: Arc<dyn Disk>, may_write: bool) -> Result<Arc<Self>, Error> {
        let index = Mutex::new(load::load(disk.as_ref(), may_write)?);
        Ok(Arc::new(Self { disk, index, queue: Queue::default(), counts: Counters::default() }))
    }

    /// Never held while the disk is asked. Nothing panics in between that could leave it half changed.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
