//! What becomes of what rooms hand over: bytes in files, in order. It has no thread and no clock of its own.

use super::disk::DiskFile;
use super::index::{INCIDENTS, ROOMS};
use super::index::{Key, Log, Place, Segment, room_dir, segment_path};
use super::queue::Message;
use super::{Files, Options, Sync};
use crate::store::{Chunk, Name, Progress};
use bytes::BytesMut;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Writes all logs of a folder. Only one may be at work on a folder.
pub struct FileWriter {
    pub(super) files: Arc<Files>,
    pub(super) options: Options,
    /// At the moment 0 of `now`, since 1970.
    began: Duration,
    pub(super) logs: HashMap<Name, Writing>,
    synced_at: Duration,
    /// When it was last looked for what is too old, also if nobody writes.
    looked_at: Duration,
}

/// What a [`FileWriter`] found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// It wants to be called again at this time, also if nothing more comes.
    pub due: Option<Duration>,
    /// All is written, and nothing more will come.
    pub is_over: bool,
}

/// A log with a writer.
pub(super) struct Writing {
    serial: u64,
    current: Option<Current>,
    /// The writer has begun a segment: what was there before was looked at.
    pub(super) has_begun: bool,
    /// A file's end is not as it should be: it is to be cut to this length before another follows it.
    pub(super) torn: Option<(Key, u64)>,
}

/// The segment that grows.
struct Current {
    key: Key,
    file: Box<dyn DiskFile>,
    begun: Duration,
    bytes: u64,
    synced_bytes: u64,
    last_tick: u32,
    has_ended: bool,
    /// Folders in which names are not yet safe.
    unsynced_dirs: Vec<String>,
}

/// How often what is too old is let go, also if nobody writes.
const LOOKS_EVERY: Duration = Duration::from_secs(60);

impl FileWriter {
    pub(super) fn new(files: Arc<Files>, options: Options, began: Duration) -> Self {
        let (synced_at, looked_at) = (Duration::ZERO, Duration::ZERO);
        Self { files, options, began, logs: HashMap::new(), synced_at, looked_at }
    }

    /// Does all that waits. `now` is the time since the writer was made.
    pub fn turn(&mut self, now: Duration) -> Turn {
        let (messages, is_closed) = self.files.queue.take();
        for message in messages {
            match message {
                Message::Append(place, chunk) => self.append(&place, &chunk, now),
                Message::Keep(place, incident) => {
                    self.keep(&place, &incident, now);
                }
                Message::Gone(place) => self.gone(&place),
            }
        }
        let is_dirty = |log: &Writing| log.current.as_ref().is_some_and(Current::is_dirty);
        let due = match self.options.sync {
            Sync::None => None,
            Sync::Tick => Some(now),
            Sync::Interval => Some(self.synced_at + self.options.sync_interval),
        };
        let due = due.filter(|_| self.logs.values().any(is_dirty));
        let due = due.filter(|due| {
            let is_now = *due <= now;
            if is_now {
                self.synced_at = now;
                let names: Vec<_> = self.logs.keys().cloned().collect();
                for name in &names {
                    self.sync(name);
                }
            }
            !is_now
        });
        if is_closed {
            let names: Vec<_> = self.logs.keys().cloned().collect();
            for name in &names {
                self.finish(name);
            }
            self.files.index().by_name.values_mut().for_each(Log::end);
        }
        if now.saturating_sub(self.looked_at) >= LOOKS_EVERY {
            self.looked_at = now;
            self.let_go(now);
        }
        let looks = self.looked_at + LOOKS_EVERY;
        Turn { due: Some(due.map_or(looks, |due| due.min(looks))), is_over: is_closed }
    }

    /// What time it is elsewhere.
    pub(super) fn wall(&self, now: Duration) -> Duration {
        self.began + now
    }

    fn append(&mut self, place: &Place, chunk: &Chunk, now: Duration) {
        self.take_over(place);
        let Some(log) = self.logs.get_mut(&place.name).filter(|log| log.serial == place.serial)
        else {
            // Another writer has written already.
            return self.lost(place, chunk);
        };
        let goes_on = log
            .current
            .as_ref()
            .is_some_and(|current| !current.has_ended && chunk.first_tick == current.last_tick + 1);
        let is_full = log.current.as_ref().is_some_and(|current| {
            current.bytes >= self.options.segment_bytes
                || now.saturating_sub(current.begun) >= self.options.segment_age
        });
        if goes_on && !(chunk.has_checkpoint && is_full) {
            return self.write(place, chunk, now);
        }
        self.close_segment(&place.name);
        if !chunk.has_checkpoint {
            return self.lost(place, chunk);
        }
        match self.begin(place, chunk, now) {
            Ok(()) => self.let_go(now),
            Err(error) => {
                self.failed(&place.name, "a segment cannot be begun", &error);
                self.lost(place, chunk);
            }
        }
    }

    /// The newest writer of a log is the one that writes.
    fn take_over(&mut self, place: &Place) {
        let is_new = self.logs.get(&place.name).is_none_or(|log| log.serial < place.serial);
        if !is_new {
            return;
        }
        self.close_segment(&place.name);
        let torn = self.logs.get(&place.name).and_then(|log| log.torn);
        let log = Writing { serial: place.serial, current: None, has_begun: false, torn };
        self.logs.insert(place.name.clone(), log);
    }

    fn write(&mut self, place: &Place, chunk: &Chunk, now: Duration) {
        let Some(log) = self.logs.get_mut(&place.name) else { return };
        let Some(current) = &mut log.current else { return };
        if let Err(error) = current.file.append(&chunk.records) {
            log.torn = Some((current.key, current.bytes));
            log.current = None;
            self.failed(&place.name, "a segment cannot be written", &error);
            // At once if it can be done, so that nobody has to wait for the next checkpoint to see a whole recording.
            let _ = self.mend(&place.name);
            return self.lost(place, chunk);
        }
        current.bytes += chunk.records.len() as u64;
        current.last_tick = chunk.last_tick;
        current.has_ended = chunk.has_end;
        let (key, bytes) = (current.key, current.bytes);
        let mut index = self.files.index();
        index.resize(&place.name, key, bytes);
        if let Some(log) = index.by_name.get_mut(&place.name) {
            log.wrote(key, chunk, self.began + now);
        }
    }

    /// A segment that begins with this chunk.
    fn begin(&mut self, place: &Place, chunk: &Chunk, now: Duration) -> io::Result<()> {
        let name = &place.name;
        self.mend(name)?;
        let key = Key { epoch: place.header.epoch, first_tick: chunk.first_tick };
        self.look_back(name, key)?;

        let dir = room_dir(name);
        // The folder may be there from an earlier try that failed, and its name not safe yet.
        let unsynced_dirs = vec![dir.clone(), ROOMS.to_owned()];
        self.files.disk.make_dir(&dir)?;
        let mut bytes = BytesMut::new();
        let mut header = place.header.clone();
        header.first_tick = chunk.first_tick;
        header.put(&mut bytes);
        bytes.extend_from_slice(&chunk.records);
        let path = segment_path(name, key);
        let mut file = self.files.disk.create(&path)?;
        if let Err(error) = file.append(&bytes) {
            if self.files.disk.remove(&path).is_err()
                && let Some(log) = self.logs.get_mut(name)
            {
                log.torn = Some((key, 0));
            }
            return Err(error);
        }
        let bytes = bytes.len() as u64;
        if let Some(log) = self.logs.get_mut(name) {
            log.has_begun = true;
            log.current = Some(Current {
                key,
                file,
                begun: now,
                bytes,
                synced_bytes: 0,
                last_tick: chunk.last_tick,
                has_ended: chunk.has_end,
                unsynced_dirs,
            });
        }
        let modified = self.wall(now);
        let mut index = self.files.index();
        if let Some(log) = index.by_name.get_mut(name) {
            log.header = header;
            log.segments.push_back(Segment { key, bytes, is_scanned: true, modified });
            log.wrote(key, chunk, modified);
            index.bytes += bytes;
        }
        place.owner.needs_checkpoint.store(false, Relaxed);
        Ok(())
    }

    /// Makes a log's file safe, and then says so.
    pub(super) fn sync(&mut self, name: &Name) {
        let Some(log) = self.logs.get_mut(name) else { return };
        let Some(current) = log.current.as_mut().filter(|current| current.is_dirty()) else {
            return;
        };
        self.files.counts.syncs.fetch_add(1, Relaxed);
        if let Err(error) = current.sync(&self.files) {
            // What was not safe before may not be there any more, whatever a later call says: the log goes on elsewhere.
            log.torn = Some((current.key, current.synced_bytes));
            log.current = None;
            self.failed(name, "a segment cannot be made safe", &error);
            let index = self.files.index();
            if let Some(log) = index.by_name.get(name) {
                log.owner.needs_checkpoint.store(true, Relaxed);
            }
            return;
        }
        let last_tick = current.last_tick;
        let index = self.files.index();
        if let Some(log) = index.by_name.get(name) {
            log.progress.send_modify(|progress| progress.durable_tick = last_tick);
        }
    }

    /// No more comes to a segment: it is made safe before another follows it.
    fn close_segment(&mut self, name: &Name) {
        if self.options.sync != Sync::None {
            self.sync(name);
        }
        if let Some(log) = self.logs.get_mut(name) {
            log.current = None;
        }
    }

    /// A writer is gone.
    fn gone(&mut self, place: &Place) {
        if self.logs.get(&place.name).is_some_and(|log| log.serial == place.serial) {
            self.finish(&place.name);
        } else if place.owner.serial.load(Relaxed) == place.serial {
            self.has_ended(&place.name);
        }
    }

    /// A log ends here, for now.
    fn finish(&mut self, name: &Name) {
        self.close_segment(name);
        let _ = self.mend(name);
        let Some(log) = self.logs.remove(name) else { return };
        let is_owner = {
            let index = self.files.index();
            let owner = index.by_name.get(name).map(|log| log.owner.serial.load(Relaxed));
            owner == Some(log.serial)
        };
        if is_owner {
            self.has_ended(name);
        }
    }

    fn has_ended(&self, name: &Name) {
        let mut index = self.files.index();
        if let Some(log) = index.by_name.get_mut(name) {
            log.end();
        }
    }

    pub(super) fn failed(&self, name: &Name, what: &'static str, error: &io::Error) {
        self.files.counts.disk_errors.fetch_add(1, Relaxed);
        tracing::error!(recording = %name, %error, "{what}");
    }

    fn lost(&self, place: &Place, chunk: &Chunk) {
        self.files.counts.chunks_lost.fetch_add(1, Relaxed);
        if place.owner.serial.load(Relaxed) == place.serial {
            place.owner.needs_checkpoint.store(true, Relaxed);
        }
        tracing::debug!(tick = chunk.first_tick, "a part of a recording is lost");
    }

    /// The folders that the store is made of.
    pub(super) fn prepare(&self) -> io::Result<()> {
        for dir in [ROOMS, INCIDENTS] {
            self.files.disk.make_dir(dir)?;
        }
        if self.options.sync == Sync::None { Ok(()) } else { self.files.disk.sync_dir("") }
    }
}

impl Current {
    fn is_dirty(&self) -> bool {
        self.synced_bytes < self.bytes || !self.unsynced_dirs.is_empty()
    }

    fn sync(&mut self, files: &Files) -> io::Result<()> {
        self.file.sync()?;
        for dir in &self.unsynced_dirs {
            files.disk.sync_dir(dir)?;
        }
        self.unsynced_dirs.clear();
        self.synced_bytes = self.bytes;
        Ok(())
    }
}

impl Log {
    /// Nobody writes it any more.
    fn end(&mut self) {
        if std::mem::take(&mut self.is_running) {
            self.progress.send_modify(|progress| progress.has_ended = true);
        }
    }

    /// A chunk was written. Who waits for it may read it from now on.
    fn wrote(&mut self, key: Key, chunk: &Chunk, at: Duration) {
        self.last_tick = chunk.last_tick;
        if let Some(segment) = self.segment(key) {
            segment.modified = at;
        }
        self.progress.send_modify(|progress| {
            *progress = Progress {
                last_tick: chunk.last_tick,
                durable_tick: progress.durable_tick,
                has_ended: chunk.has_end,
            };
        });
    }
}
