//! A room's log: the room's end of its queue, and the task that brings what is in it to JetStream.

use super::cursor::Cursor;
use super::lane::{Batch, Lane, Put};
use super::queue::{Next, Queue};
use super::{Shared, find};
use crate::store::{Chunk, Error, Header, Incident, Name, Progress, Reader, Record, Writer, cut};
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

/// What a room left when it ended is given up after this time.
pub const LINGER: Duration = Duration::from_secs(300);
/// What is read to keep an incident is no longer.
pub const INCIDENT_BYTES_MAX: usize = 64 << 20;
/// A chunk with a checkpoint whose beginning was lost while it was written is written again so often.
const TRIES: usize = 3;

/// A log that a room of this process writes.
pub(super) struct Log {
    pub(super) name: Name,
    pub(super) header: Header,
    /// Made up: marks its messages.
    pub(super) writer: u64,
    pub(super) queue: Queue,
    pub(super) progress: watch::Sender<Progress>,
    /// Nothing more is written.
    pub(super) finished: CancellationToken,
    /// How many chunks are being written just now.
    in_flight: AtomicU64,
}

impl Log {
    pub(super) fn new(name: Name, header: Header, queue: Queue) -> Self {
        Self {
            name,
            header,
            writer: rand::random(),
            queue,
            progress: watch::Sender::new(Progress::default()),
            finished: CancellationToken::new(),
            in_flight: AtomicU64::new(0),
        }
    }
}

/// The room's end.
pub(super) struct LogWriter(pub(super) Arc<Log>);

impl Writer for LogWriter {
    fn append(&mut self, chunk: Chunk) -> Result<(), Error> {
        self.0.queue.append(chunk)
    }

    fn keep(&mut self, incident: Incident) -> Result<(), Error> {
        self.0.queue.keep(incident)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.0.queue.end();
    }
}

/// The task of a log. `before` is an earlier writer of this process, which goes first.
pub(super) async fn write(shared: Arc<Shared>, log: Arc<Log>, before: Option<Arc<Log>>) {
    let _finished = Finished { shared: Arc::clone(&shared), log: Arc::clone(&log) };
    let given_up = async {
        log.queue.ended().await;
        sleep(LINGER).await;
    };
    let task = Task { shared: &shared, log: &log };
    let is_done = tokio::select! {
        () = task.run(before) => true,
        () = given_up => false,
        () = shared.stop.cancelled() => false,
    };
    if !is_done {
        let lost = log.queue.clear() + log.in_flight.load(Relaxed);
        if lost > 0 {
            shared.lost(lost);
            tracing::error!(room = %log.name, lost, "the end of a room's recording is given up");
        }
    }
}

/// Whatever ends the task, the log has ended.
struct Finished {
    shared: Arc<Shared>,
    log: Arc<Log>,
}

impl Drop for Finished {
    fn drop(&mut self) {
        self.log.queue.end();
        self.shared.finished(&self.log);
        self.log.progress.send_modify(|progress| progress.has_ended = true);
        self.log.finished.cancel();
    }
}

struct Task<'a> {
    shared: &'a Arc<Shared>,
    log: &'a Log,
}

impl Task<'_> {
    async fn run(&self, before: Option<Arc<Log>>) {
        if let Some(before) = before {
            before.finished.cancelled().await;
        }
        let Log { name, header, writer, queue, .. } = self.log;
        let subject = self.shared.stream.log_subject(name.as_str());
        let mut lane = self.lane(subject, *writer);
        if let Err(epoch) = lane.begin().await {
            return self.fenced(epoch);
        }
        loop {
            match queue.next().await {
                Next::Over => return,
                Next::Keep(incident) => {
                    if let Err(error) = self.keep(&lane, &incident).await {
                        self.shared.failed();
                        let recording = incident.name;
                        tracing::error!(room = %name, %recording, %error, "an incident cannot be kept");
                    }
                }
                Next::Append(batch, taken) => {
                    self.log.in_flight.store(taken.chunks, Relaxed);
                    let put = put(&mut lane, with_header(batch, header), &self.log.progress).await;
                    self.log.in_flight.store(0, Relaxed);
                    match put {
                        Put::Done => self.shared.acknowledged(),
                        Put::Gap => {
                            let lost = taken.chunks + queue.skip_to_checkpoint();
                            self.shared.lost(lost);
                            tracing::error!(room = %name, lost, "a part of the room's recording is gone from the stream");
                        }
                        Put::Fenced(epoch) => {
                            self.shared.lost(taken.chunks);
                            return self.fenced(epoch);
                        }
                    }
                }
            }
        }
    }

    fn lane(&self, subject: String, writer: u64) -> Lane {
        let stream = Arc::clone(&self.shared.stream);
        Lane::new(stream, subject, (self.log.header.epoch, writer), Arc::clone(&self.shared.errors))
    }

    fn fenced(&self, epoch: u64) {
        self.shared.lost(self.log.queue.fence(epoch));
        let own = self.log.header.epoch;
        tracing::warn!(room = %self.log.name, epoch, own, "another server writes the room's log");
    }

    /// Copies the end of the log, as JetStream has it now, into a subject of its own.
    async fn keep(&self, log: &Lane, incident: &Incident) -> Result<(), Error> {
        let stream = &self.shared.stream;
        let Incident { name, what, from_tick } = incident;
        let begin = find::begin(stream, log.subject(), *from_tick).await?.ok_or(Error::NotFound)?;
        let last = log.last_sequence().unwrap_or(u64::MAX);
        let mut cursor = Cursor::new(Arc::clone(stream), &begin);
        let (mut records, mut bytes) = (Vec::new(), 0);
        while cursor.next_sequence() <= last {
            let more = cursor.more().await?;
            if more.is_empty() {
                break;
            }
            bytes += more.iter().map(Bytes::len).sum::<usize>();
            if bytes > INCIDENT_BYTES_MAX {
                return Err(io::Error::other("an incident is longer than it can be").into());
            }
            records.extend(more);
        }
        let to_tick = self.log.progress.borrow().last_tick;
        let (from_tick, what) = (*from_tick, what.clone());
        // Checkpoints are unpacked and packed again.
        let copy = move || copy(&records, from_tick, to_tick, &what);
        let batch = tokio::task::spawn_blocking(copy).await.map_err(io::Error::other)??;

        let mut lane = self.lane(stream.incident_subject(name.as_str()), rand::random());
        let is_new = lane.begin().await.is_ok() && lane.is_empty();
        if !is_new {
            return Err(Error::BadName(name.to_string()));
        }
        match again(&mut lane, &batch).await {
            Put::Done => Ok(()),
            Put::Gap | Put::Fenced(_) => Err(io::Error::other("JetStream lost it").into()),
        }
    }
}

/// Writes a part of the log, and tells how far it has come.
async fn put(lane: &mut Lane, batch: Batch, progress: &watch::Sender<Progress>) -> Put {
    let put = again(lane, &batch).await;
    if put == Put::Done {
        let (last_tick, has_ended) = (batch.last_tick, batch.has_end);
        // What is acknowledged can be read, and is as safe as JetStream is.
        progress.send_replace(Progress { last_tick, durable_tick: last_tick, has_ended });
    }
    put
}

/// What begins with a checkpoint follows everything, also its own lost beginning.
async fn again(lane: &mut Lane, batch: &Batch) -> Put {
    let mut tries = 1;
    loop {
        let put = lane.put(batch).await;
        if put != Put::Gap || !batch.has_checkpoint || tries == TRIES {
            return put;
        }
        tries += 1;
    }
}

/// A message that begins with a checkpoint begins with a header.
fn with_header(mut batch: Batch, header: &Header) -> Batch {
    if batch.has_checkpoint {
        let mut records = BytesMut::with_capacity(batch.records.len() + 512);
        Header { first_tick: batch.first_tick, ..header.clone() }.put(&mut records);
        records.extend_from_slice(&batch.records);
        batch.records = records.freeze();
    }
    batch
}

/// A part of a log, as a recording of its own.
fn copy(records: &[Bytes], from_tick: u32, to_tick: u32, what: &str) -> Result<Batch, Error> {
    let mut whole = BytesMut::with_capacity(records.iter().map(Bytes::len).sum());
    for some in records {
        whole.extend_from_slice(some);
    }
    let mut reader = Reader::new(whole.as_ref());
    let mut copied = BytesMut::new();
    cut(&mut reader, from_tick, to_tick, what, |piece| {
        copied.unsplit(piece.split());
        true
    })?;
    let first = Reader::new(copied.as_ref()).next_record()?;
    let Some(Record::Header(header)) = first else { return Err(Error::NotFound) };
    Ok(Batch {
        records: copied.freeze(),
        has_checkpoint: true,
        first_tick: header.first_tick,
        last_tick: to_tick,
        has_end: true,
    })
}
