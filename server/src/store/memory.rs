//! Logs in memory, up to a number of bytes; gone with the process.

use super::record::{End, EndReason, Header};
use super::{Chunk, Counts, Error, Incident, Name, Progress, Store, Summary, Writer};
use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The most recordings that are kept, however small.
const RECORDINGS_MAX: usize = 4096;
/// Incidents may take this part of the bytes: 1/4.
const INCIDENTS_SHARE: usize = 4;

/// A store in memory. When it is full, finished recordings go first, the oldest first, and then the oldest part of the longest.
#[derive(Clone)]
pub struct MemoryStore {
    logs: Arc<Mutex<Logs>>,
}

struct Logs {
    bytes_max: usize,
    bytes: usize,
    by_name: HashMap<Name, Log>,
    begun: u64,
    is_closed: bool,
}

struct Log {
    /// Its `first_tick` is the first that is still there. Whoever lists logs shares it: rooms wait for the lock.
    header: Arc<Header>,
    chunks: VecDeque<(u64, Chunk)>,
    /// How many chunks were let go.
    gone: u64,
    bytes: usize,
    /// Orders logs by when they began.
    begun: u64,
    is_running: bool,
    /// Kept for what happened in it: let go last.
    is_incident: bool,
    progress: watch::Sender<Progress>,
}

impl MemoryStore {
    /// An empty store for so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        let logs =
            Logs { bytes_max, bytes: 0, by_name: HashMap::new(), begun: 0, is_closed: false };
        Self { logs: Arc::new(Mutex::new(logs)) }
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        lock(&self.logs)
    }
}

/// A panic while it was held cannot have left it half changed: nothing below calls what could panic in between.
fn lock(logs: &Mutex<Logs>) -> MutexGuard<'_, Logs> {
    logs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for MemoryStore {
    fn writer(&self, header: Header) -> Result<Box<dyn Writer>, Error> {
        let name = Name::parse(&header.room).ok_or_else(|| Error::BadName(header.room.clone()))?;
        let epoch = header.epoch;
        let mut logs = self.logs();
        if logs.is_closed {
            return Err(Error::Full);
        }
        logs.begun += 1;
        let begun = logs.begun;
        let log = logs
            .by_name
            .entry(name.clone())
            .or_insert_with(|| Log::new(header.clone(), begun, false));
        if log.header.epoch > epoch {
            return Err(Error::Fenced(log.header.epoch));
        }
        let first_tick = log.header.first_tick;
        log.header = Arc::new(Header { first_tick, ..header });
        log.is_running = true;
        Ok(Box::new(MemoryWriter { logs: Arc::clone(&self.logs), name, epoch }))
    }

    fn list(&self) -> Result<Vec<Summary>, Error> {
        let logs = self.logs();
        let mut found: Vec<_> =
            logs.by_name.iter().filter(|(_, log)| !log.chunks.is_empty()).collect();
        found.sort_unstable_by_key(|(_, log)| std::cmp::Reverse(log.begun));
        Ok(found.into_iter().map(|(name, log)| log.summary(name)).collect())
    }

    fn find(&self, name: &Name) -> Result<Summary, Error> {
        let logs = self.logs();
        let log = logs.by_name.get(name).filter(|log| !log.chunks.is_empty());
        log.map(|log| log.summary(name)).ok_or(Error::NotFound)
    }

    fn read(&self, name: &Name, tick: u32) -> Result<Box<dyn Read + Send>, Error> {
        let logs = self.logs();
        let log = logs.by_name.get(name).ok_or(Error::NotFound)?;
        let start = log.start(tick);
        if log.chunks.is_empty() {
            return Err(Error::NotFound);
        }
        Ok(Box::new(MemoryReader {
            logs: Arc::clone(&self.logs),
            name: name.clone(),
            next: log.gone + start as u64,
            before: None,
            bytes: Bytes::new(),
        }))
    }

    fn progress(&self, name: &Name) -> Option<watch::Receiver<Progress>> {
        let logs = self.logs();
        logs.by_name.get(name).filter(|log| log.is_running).map(|log| log.progress.subscribe())
    }

    fn counts(&self) -> Counts {
        Counts { bytes: self.logs().bytes as u64, ..Counts::default() }
    }

    fn close(&self) -> Result<(), Error> {
        self.logs().is_closed = true;
        Ok(())
    }
}

impl Logs {
    /// Makes room for what was added: what is finished goes first, incidents last, unless they take more than their share.
    fn let_go(&mut self) {
        while self.bytes > self.bytes_max || self.by_name.len() > RECORDINGS_MAX {
            let incidents = self.by_name.values().filter(|log| log.is_incident);
            let incident_bytes: usize = incidents.map(|log| log.bytes).sum();
            let too_many = incident_bytes > self.bytes_max / INCIDENTS_SHARE;
            let has_freed = self.let_go_of_a_finished(false)
                || (too_many && self.let_go_of_a_finished(true))
                || self.let_go_of_the_longest()
                || self.let_go_of_a_finished(true);
            if !has_freed {
                // Running logs of one segment: they are bounded by the time between checkpoints.
                return;
            }
        }
    }

    /// The oldest one.
    fn let_go_of_a_finished(&mut self, is_incident: bool) -> bool {
        let is_wanted = |log: &Log| !log.is_running && log.is_incident == is_incident;
        let finished = self.by_name.iter().filter(|(_, log)| is_wanted(log));
        let oldest = finished.min_by_key(|(_, log)| log.begun).map(|(name, _)| name.clone());
        let Some(log) = oldest.and_then(|name| self.by_name.remove(&name)) else { return false };
        self.bytes -= log.bytes;
        true
    }

    fn let_go_of_the_longest(&mut self) -> bool {
        let running = self.by_name.values_mut().filter(|log| log.is_running);
        let Some(longest) = running.max_by_key(|log| log.bytes) else { return false };
        let freed = longest.let_go_of_the_oldest();
        self.bytes -= freed;
        freed > 0
    }
}

impl Log {
    fn new(header: Header, begun: u64, is_incident: bool) -> Self {
        Self {
            header: Arc::new(header),
            chunks: VecDeque::new(),
            gone: 0,
            bytes: 0,
            begun,
            is_running: false,
            is_incident,
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// The chunk that begins with the newest checkpoint before this tick, or the oldest.
    fn start(&self, tick: u32) -> usize {
        let begins = |chunk: &Chunk| chunk.has_checkpoint && chunk.first_tick <= tick.max(1);
        self.chunks.iter().rposition(|(_, chunk)| begins(chunk)).unwrap_or(0)
    }

    /// What was copied out of a longer log says so at its end.
    fn end(&mut self) {
        let Some((epoch, last)) = self.chunks.back() else { return };
        if last.has_end {
            return;
        }
        let (epoch, last_tick) = (*epoch, last.last_tick);
        let mut records = BytesMut::new();
        End { tick: last_tick, reason: EndReason::Cut }.put(&mut records);
        let first_tick = last_tick.saturating_add(1);
        let records = records.freeze();
        self.push(
            epoch,
            Chunk { records, has_checkpoint: false, first_tick, last_tick, has_end: true },
        );
    }

    fn push(&mut self, epoch: u64, chunk: Chunk) {
        self.bytes += chunk.records.len();
        let durable_tick = self.progress.borrow().durable_tick;
        let (last_tick, has_ended) = (chunk.last_tick, chunk.has_end);
        self.chunks.push_back((epoch, chunk));
        self.progress.send_replace(Progress { last_tick, durable_tick, has_ended });
    }

    /// Everything before the second chunk that begins with a checkpoint; says how many bytes that was.
    fn let_go_of_the_oldest(&mut self) -> usize {
        let mut begins =
            self.chunks.iter().enumerate().filter(|(_, (_, chunk))| chunk.has_checkpoint);
        let Some((second, (_, chunk))) = begins.nth(1) else { return 0 };
        Arc::make_mut(&mut self.header).first_tick = chunk.first_tick;
        self.gone += second as u64;
        let freed = self.chunks.drain(..second).map(|(_, chunk)| chunk.records.len()).sum();
        self.bytes -= freed;
        freed
    }

    fn summary(&self, name: &Name) -> Summary {
        Summary {
            name: name.clone(),
            header: Arc::clone(&self.header),
            last_tick: self.progress.borrow().last_tick,
            is_running: self.is_running,
            size_bytes: self.bytes as u64,
        }
    }
}

struct MemoryWriter {
    logs: Arc<Mutex<Logs>>,
    name: Name,
    epoch: u64,
}

impl Writer for MemoryWriter {
    fn append(&mut self, chunk: Chunk) -> Result<(), Error> {
        let mut logs = lock(&self.logs);
        if logs.is_closed {
            return Err(Error::Full);
        }
        let log = logs.by_name.get_mut(&self.name).ok_or(Error::NotFound)?;
        if log.header.epoch > self.epoch {
            return Err(Error::Fenced(log.header.epoch));
        }
        let added = chunk.records.len();
        log.push(self.epoch, chunk);
        logs.bytes += added;
        logs.let_go();
        Ok(())
    }

    /// Shares the memory of the log's chunks: nothing is copied while the room waits.
    fn keep(&mut self, incident: Incident) -> Result<(), Error> {
        let mut logs = lock(&self.logs);
        if logs.is_closed {
            return Err(Error::Full);
        }
        logs.begun += 1;
        let begun = logs.begun;
        let log = logs.by_name.get(&self.name).ok_or(Error::NotFound)?;
        let start = log.start(incident.from_tick);
        let (_, first) = log.chunks.get(start).ok_or(Error::NotFound)?;
        let first_tick = first.first_tick;
        let header = Header { first_tick, incident: incident.what, ..(*log.header).clone() };
        let mut kept = Log::new(header, begun, true);
        for (epoch, chunk) in log.chunks.range(start..) {
            kept.push(*epoch, chunk.clone());
        }
        kept.end();
        logs.bytes += kept.bytes;
        if let Some(old) = logs.by_name.insert(incident.name, kept) {
            logs.bytes -= old.bytes;
        }
        logs.let_go();
        Ok(())
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        let mut logs = lock(&self.logs);
        let own = logs.by_name.get_mut(&self.name).filter(|log| log.header.epoch == self.epoch);
        if let Some(log) = own {
            log.is_running = false;
            log.progress.send_modify(|progress| progress.has_ended = true);
        }
    }
}

/// Reads a log as it is at each moment.
struct MemoryReader {
    logs: Arc<Mutex<Logs>>,
    name: Name,
    /// Counted from the log's first chunk, let go or not.
    next: u64,
    /// Of the chunk before: its epoch, and the tick that should follow.
    before: Option<(u64, u32)>,
    bytes: Bytes,
}

impl Read for MemoryReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            let logs = lock(&self.logs);
            let log = logs.by_name.get(&self.name).ok_or(io::ErrorKind::NotFound)?;
            let index = self.next.checked_sub(log.gone).ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, "this part was let go meanwhile")
            })?;
            let Some((epoch, chunk)) = log.chunks.get(index as usize) else { return Ok(0) };
            self.next += 1;
            self.bytes = chunk.records.clone();
            // A header of its own for each owner, and after ticks that are missing.
            let before = self.before.replace((*epoch, chunk.last_tick.saturating_add(1)));
            if before != Some((*epoch, chunk.first_tick)) {
                let mut whole = BytesMut::new();
                let first_tick = chunk.first_tick;
                Header { first_tick, epoch: *epoch, ..(*log.header).clone() }.put(&mut whole);
                whole.extend_from_slice(&chunk.records);
                self.bytes = whole.freeze();
            }
        }
        let count = out.len().min(self.bytes.len());
        self.bytes.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}
