//! The input log and its checkpoints: what rooms play, kept, so that it can be played again.
//!
//! - [`record`]: what a log is made of, and its bytes; [`inputs`]: those of a tick. [`reader`]: records from bytes, in order.
//!   [`sessions`]: who has a place in the room.
//! - [`memory`]: a store that is gone with the process; [`mod@file`]: one that is not; [`jetstream`]: one that is outside of it,
//!   for many servers.
//!
//! A room writes whole [`Chunk`]s of records as the [`Writer`] of its epoch, and never waits for the store. Everything else
//! reads: recordings and verification, spectators of the past, and, on a cluster, whoever takes the room over.
//!
//! Architecture Invariant: nothing here knows of rooms, streams or clocks. A store takes bytes in order, and gives them back in order.

pub mod bytes;
pub mod file;
pub mod inputs;
pub mod jetstream;
pub mod memory;
pub mod reader;
pub mod record;
pub mod sessions;

pub use copy::Cutter;
pub use file::FileStore;
pub use inputs::InputRef;
pub use jetstream::JetStreamStore;
pub use memory::MemoryStore;
pub use reader::{ReadError, Reader};
pub use record::{Checkpoint, EPOCH_MAX, End, EndReason, Header, Record, Tick, TickDraft};
pub use sessions::{SessionRef, Sessions, last_sessions};

use ::bytes::{Bytes, BytesMut};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;

/// What a recording is called: a running or finished room's id, or an incident's own name. Lower-case letters, digits, dashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    const BYTES_MAX: usize = 64;

    /// Takes a name from outside; `None` if it cannot be one. A name is always safe as a file's name.
    pub fn parse(name: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = !name.is_empty() && name.len() <= Self::BYTES_MAX && !name.starts_with('-');
        (fits && name.chars().all(is_plain)).then(|| Self(name.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a store does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such recording, or not any more.
    #[error("there is no such recording")]
    NotFound,
    /// A later owner of the room has written: this one is not the owner any more.
    #[error("epoch {0} has written already")]
    Fenced(u64),
    /// More waits to be written than may.
    #[error("the store does not keep up")]
    Full,
    /// A name that cannot be one.
    #[error("not a name: {0:?}")]
    BadName(String),
    /// The store's own recording cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk, or what is behind it, says no.
    #[error("the store cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Whole records, as a room hands them over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The records.
    pub records: Bytes,
    /// The records begin with a checkpoint, of the tick before `first_tick`: a segment may begin here.
    pub has_checkpoint: bool,
    /// The first tick in it; if there is none, the tick that comes next.
    pub first_tick: u32,
    /// The last tick in it; if there is none, the tick before `first_tick`.
    pub last_tick: u32,
    /// The last record is the log's end.
    pub has_end: bool,
}

/// Something worth keeping, whatever happens to the room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Of the recording that is kept.
    pub name: Name,
    /// What happened, for people.
    pub what: String,
    /// Kept from the newest checkpoint that is not after this tick.
    pub from_tick: u32,
}

/// One room's place in the log.
pub trait Writer: Send {
    /// Hands records over; never waits. What is refused is not kept: then the next chunk that is taken must begin with a
    /// checkpoint. [`Error::Fenced`]: another owner writes now.
    fn append(&mut self, chunk: Chunk) -> Result<(), Error>;

    /// Keeps what was handed over last as a recording of its own; never waits.
    fn keep(&mut self, incident: Incident) -> Result<(), Error>;
}

/// How far a log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last tick that can be read.
    pub last_tick: u32,
    /// The last tick that is safe against what the store is safe against: for files, loss of power.
    pub durable_tick: u32,
    /// Nothing more will come.
    pub has_ended: bool,
}

/// What is known of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What to call it.
    pub name: Name,
    /// Its newest header; `first_tick` is the oldest tick that is still there.
    pub header: Arc<Header>,
    /// The last tick.
    pub last_tick: u32,
    /// Whether a room still writes it.
    pub is_running: bool,
    /// Its length, about.
    pub size_bytes: u64,
}

/// The end of a log, as whoever has the last word of it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The last tick that was written.
    pub last_tick: u32,
    /// When that was: by the clock of what keeps it, JetStream's or the file system's. `None`: not known.
    pub written_at: Option<SystemTime>,
}

/// What went wrong in a store so far, and how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that the disk refused.
    pub disk_errors: u64,
    /// Chunks that were taken, and are not in a file.
    pub chunks_lost: u64,
    /// Files that were made safe.
    pub syncs: u64,
    /// The length of all recordings.
    pub bytes: u64,
}

/// Keeps logs. Every call but those of [`Writer`] may take its time: not for async threads.
pub trait Store: Send + Sync + 'static {
    /// Becomes the writer of a room, in the epoch that the header names. Refused if a later one has written; an earlier
    /// writer is refused from now on. The first chunk must begin with a checkpoint.
    fn writer(&self, header: Header) -> Result<Box<dyn Writer>, Error>;

    /// All recordings, those that began last first.
    fn list(&self) -> Result<Vec<Summary>, Error>;

    /// One of them.
    fn find(&self, name: &Name) -> Result<Summary, Error>;

    /// The bytes of a recording, for a [`Reader`]: from the segment on that holds the newest checkpoint before `tick`, or the
    /// oldest there is. Reading goes on with what is appended later: 0 bytes only mean that there are no more yet.
    fn read(&self, name: &Name, tick: u32) -> Result<Box<dyn io::Read + Send>, Error>;

    /// The end of a log. A reader may be behind it for a moment, where a store is kept on several servers.
    fn tail(&self, name: &Name) -> Result<Tail, Error> {
        let last_tick = self.find(name)?.last_tick;
        Ok(Tail { last_tick, written_at: None })
    }

    /// Tells how far a log has come, while a room writes it.
    fn progress(&self, name: &Name) -> Option<watch::Receiver<Progress>>;

    /// What went wrong so far, and how it stands; for metrics.
    fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Writes all that waits, and makes it safe. Nothing is taken afterwards.
    fn close(&self) -> Result<(), Error>;
}

/// Copies records of a recording, from the newest checkpoint not after `from_tick` to `to_tick`, as a recording of its own,
/// with an end. Without an `incident` it is a file that leaves the server, so a private room's code is left out; with one it
/// stays in the store. Gives its bytes to `out` piece by piece; `false` from there ends it early.
pub fn cut(
    reader: &mut Reader<impl io::Read>,
    from_tick: u32,
    to_tick: u32,
    incident: &str,
    mut out: impl FnMut(&mut BytesMut) -> bool,
) -> Result<(), Error> {
    copy::cut(reader, from_tick, to_tick, incident, &mut out)
}

mod copy;
