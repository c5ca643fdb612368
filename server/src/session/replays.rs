//! Recordings: found, fetched, verified.

use super::Error;
use crate::game::{GameFactory, Input, MarkKind};
use crate::replay::pool::{Admitted, Stop};
use crate::replay::{Games, Pool, Report, Unanswered, Verdict, Verification};
use crate::store::{Cutter, Name, Reader, Record, Store, Summary};
use crate::telemetry::{Metrics, metrics};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use std::collections::VecDeque;
use std::io::Read;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// The longest recording that is verified.
pub const VERIFY_BYTES_MAX: usize = 16 << 20;
/// The most ticks of one.
pub const VERIFY_TICKS_MAX: u32 = 2_000_000;
/// How many uploads, with what is done about them, there may be at once: with the bytes above, this bounds their memory.
pub const VERIFY_UPLOADS_MAX: usize = 8;
/// How long an upload may bring nothing.
pub const UPLOAD_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take in all.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an upload may be played again.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(30);
/// How many recordings may be fetched at once.
pub const DOWNLOADS_MAX: usize = 32;
/// How many streams may show the past at once: each is a game of its own.
pub const REPLAY_STREAMS_MAX: usize = 64;
/// The most bytes of a file that are given at once.
pub const DOWNLOAD_CHUNK_BYTES: usize = 64 * 1024;
/// The most markers of a time line.
pub const MARKERS_MAX: usize = 10_000;

/// How many records are read, or played, before others have their turn.
const TURN_READ_RECORDS: usize = 20_000;
const TURN_PLAYED_RECORDS: u32 = 200;

/// What was played, and the threads that play it again.
pub struct Replays {
    /// Where recordings are kept.
    pub store: Arc<dyn Store>,
    games: Vec<Arc<dyn GameFactory>>,
    pool: Pool,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A time line.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The recording as it is now.
    pub recording: Summary,
    /// In the order of their ticks.
    pub markers: Vec<Marker>,
}

/// Something that a time line shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// When.
    pub tick: u32,
    /// What.
    pub kind: MarkerKind,
    /// Who; 0: nobody.
    pub player: u32,
    /// To whom; 0: nobody.
    pub other: u32,
    /// For people.
    pub text: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerKind {
    /// A player came.
    Joined,
    /// A player left.
    Left,
    /// One took another out.
    Kill,
    /// A round began.
    Round,
    /// The game's own.
    Other,
}

impl From<MarkKind> for MarkerKind {
    fn from(kind: MarkKind) -> Self {
        match kind {
            MarkKind::Kill => Self::Kill,
            MarkKind::Round => Self::Round,
            MarkKind::Other => Self::Other,
        }
    }
}

impl Replays {
    /// Recordings of these games, played again by these threads.
    pub fn new(
        store: Arc<dyn Store>,
        games: Vec<Arc<dyn GameFactory>>,
        pool: Pool,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            games,
            pool,
            uploads: Arc::new(Semaphore::new(VERIFY_UPLOADS_MAX)),
            downloads: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
            streams: Arc::new(Semaphore::new(REPLAY_STREAMS_MAX)),
            metrics,
        }
    }

    /// The games that can be played again.
    pub(super) fn games(&self) -> &[Arc<dyn GameFactory>] {
        &self.games
    }

    /// Whoever wants something done on the threads.
    pub(super) fn admit(&self) -> Result<Admitted, Error> {
        Ok(self.pool.admit()?)
    }

    /// A place among the streams that show the past.
    pub(super) fn stream(&self) -> Result<OwnedSemaphorePermit, Error> {
        one_more(&self.streams)
    }

    /// Ends all that is being done.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// The recordings that are for everybody, newest first, in an order that does not depend on what else there is.
    pub async fn list(&self) -> Result<Vec<Summary>, Error> {
        let store = Arc::clone(&self.store);
        let found = self.admit()?.run(move |_| store.list()).await?;
        let mut found = found.map_err(Error::of_store)?;
        found.retain(|recording| recording.header.code.is_empty());
        found.sort_unstable_by(|a, b| place(b).cmp(&place(a)));
        Ok(found)
    }

    /// One recording, if whoever asks may know of it: of a private room's only who has the room's code.
    pub(super) async fn find(
        &self,
        admitted: &mut Admitted,
        name: Name,
        code: &str,
    ) -> Result<Summary, Error> {
        let store = Arc::clone(&self.store);
        let found = admitted.run(move |_| store.find(&name)).await?.map_err(Error::of_store)?;
        let own = &found.header.code;
        if own.is_empty() || own.eq_ignore_ascii_case(code) {
            Ok(found)
        } else {
            Err(Error::RecordingNotFound)
        }
    }

    /// What happened in a recording after a tick.
    pub async fn timeline(
        &self,
        name: Name,
        code: &str,
        after_tick: u32,
    ) -> Result<Timeline, Error> {
        let mut admitted = self.admit()?;
        let recording = self.find(&mut admitted, name.clone(), code).await?;
        let store = Arc::clone(&self.store);
        let from = admitted.run(move |_| store.read(&name, after_tick)).await?;
        let mut scan = Scan {
            reader: Reader::new(from.map_err(Error::of_store)?),
            after_tick,
            markers: Vec::new(),
        };
        let markers = admitted.in_turns(move |stop| scan.turn(stop)).await??;
        Ok(Timeline { recording, markers })
    }

    /// A recording as a file. The next chunk is read when the last was taken.
    pub fn download(
        self: &Arc<Self>,
        name: Name,
        code: String,
        from_tick: u32,
        to_tick: u32,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let replays = Arc::clone(self);
        async_stream::try_stream! {
            let _one = one_more(&replays.downloads)?;
            let mut admitted = replays.admit()?;
            replays.find(&mut admitted, name.clone(), &code).await?;
            let store = Arc::clone(&replays.store);
            let from = admitted.run(move |_| store.read(&name, from_tick)).await?;
            let reader = Reader::new(from.map_err(Error::of_store)?);
            let mut cutter = Cutter::new(reader, from_tick, to_tick, "");
            loop {
                let read = move |_: &Stop| {
                    let piece = cutter.next_piece();
                    (cutter, piece)
                };
                let piece;
                (cutter, piece) = admitted.run(read).await?;
                let Some(piece) = piece.map_err(Error::of_store)? else { break };
                let mut piece = piece.freeze();
                while !piece.is_empty() {
                    yield piece.split_to(piece.len().min(DOWNLOAD_CHUNK_BYTES));
                }
            }
        }
    }

    /// Takes an upload to its end, and plays it again.
    pub async fn verify(
        &self,
        upload: impl Stream<Item = Result<Bytes, Error>>,
    ) -> Result<Report, Error> {
        let _one = one_more(&self.uploads)?;
        let upload = receive(upload).await?;
        let mut admitted = self.admit()?;
        let mut verification = Verification::new(Games(&self.games), upload, VERIFY_TICKS_MAX);
        let replayed_ticks = self.metrics.replayed_ticks.clone();
        let turns = admitted.in_turns(move |stop| {
            let before = verification.ticks();
            let answer = verification.advance(TURN_PLAYED_RECORDS, || stop.is_set());
            replayed_ticks.inc_by(u64::from(verification.ticks() - before));
            answer
        });
        let answer =
            timeout(VERIFY_TIMEOUT, turns).await.map_err(|_| Error::DeadlineExceeded)??;
        let report = answer.map_err(|unanswered| match unanswered {
            Unanswered::Unsupported { .. } | Unanswered::Newer(_) => {
                Error::SimVersionUnsupported(unanswered.to_string())
            }
            Unanswered::TooLong(ticks) => Error::RecordingTooLarge(format!("{ticks} ticks")),
            Unanswered::Stopped => Error::ShuttingDown,
            Unanswered::Io(error) => Error::Broken(error.to_string()),
        })?;
        let verdict = verdict_label(&report.verdict);
        self.metrics.verifications.get_or_create(&metrics::labels::Verdict { verdict }).inc();
        Ok(report)
    }
}

/// Orders recordings: by when their rooms opened, and then somehow.
pub fn place(recording: &Summary) -> (u64, &Name) {
    (recording.header.started_at_ms, &recording.name)
}

fn one_more(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
    Arc::clone(of).try_acquire_owned().map_err(|_| Error::Overloaded)
}

fn verdict_label(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Same { .. } => "same",
        Verdict::Differs { .. } => "differs",
        Verdict::Damaged { .. } => "damaged",
        Verdict::Panicked { .. } => "panicked",
    }
}

/// A look at every record of a log.
struct Scan<R> {
    reader: Reader<R>,
    after_tick: u32,
    markers: Vec<Marker>,
}

impl<R: Read> Scan<R> {
    fn turn(&mut self, stop: &Stop) -> Option<Result<Vec<Marker>, Error>> {
        for _ in 0..TURN_READ_RECORDS {
            if stop.is_set() {
                return Some(Err(Error::ShuttingDown));
            }
            let tick = match self.reader.next_record() {
                Ok(Some(Record::Tick(tick))) => tick,
                Ok(Some(_)) => continue,
                Ok(None) => return Some(Ok(std::mem::take(&mut self.markers))),
                Err(error) => return Some(Err(Error::of_read(error, self.reader.offset()))),
            };
            if tick.tick <= self.after_tick {
                continue;
            }
            let before = self.markers.len();
            let room = MARKERS_MAX - before;
            let happened = tick.inputs().filter_map(|input| of_input(tick.tick, input));
            let marked = tick.marks().map(|mark| Marker {
                tick: tick.tick,
                kind: mark.kind.into(),
                player: mark.player,
                other: mark.other,
                text: mark.text,
            });
            self.markers.extend(happened.chain(marked).take(room + 1));
            if self.markers.len() > MARKERS_MAX {
                // Ticks are given whole, so that nothing is missed by who asks for what came after the last.
                self.markers.truncate(if before == 0 { MARKERS_MAX } else { before });
                return Some(Ok(std::mem::take(&mut self.markers)));
            }
        }
        None
    }
}

fn of_input(tick: u32, input: Input) -> Option<Marker> {
    let (kind, player, text) = match input {
        Input::Join { player, profile } => (MarkerKind::Joined, player, profile.name),
        Input::Leave { player } => (MarkerKind::Left, player, String::new()),
        Input::Connected { .. } | Input::Controls { .. } => return None,
    };
    Some(Marker { tick, kind, player, other: 0, text })
}

/// All bytes of an upload, in order.
async fn receive(upload: impl Stream<Item = Result<Bytes, Error>>) -> Result<Upload, Error> {
    let mut upload = pin!(upload);
    let ends_at = Instant::now() + UPLOAD_TIMEOUT;
    let mut quiet_at = Instant::now() + UPLOAD_IDLE_TIMEOUT;
    let (mut pieces, mut last) = (VecDeque::new(), BytesMut::new());
    let mut length = 0;
    loop {
        let next = timeout_at(quiet_at.min(ends_at), upload.next()).await;
        let next = next.map_err(|_| {
            let is_quiet = quiet_at < ends_at;
            Error::UploadTimeout(if is_quiet { "nothing came for 10 s" } else { "60 s are over" })
        })?;
        let Some(data) = next.transpose()? else { break };
        if data.is_empty() {
            continue;
        }
        quiet_at = Instant::now() + UPLOAD_IDLE_TIMEOUT;
        length += data.len();
        if length > VERIFY_BYTES_MAX {
            return Err(Error::RecordingTooLarge(format!("{VERIFY_BYTES_MAX} bytes")));
        }
        // Copied together: a small message must not keep a large buffer alive.
        last.extend_from_slice(&data);
        if last.len() >= DOWNLOAD_CHUNK_BYTES {
            pieces.push_back(last.split().freeze());
        }
    }
    pieces.push_back(last.freeze());
    Ok(Upload(pieces))
}

/// What was uploaded; let go as it is read.
struct Upload(VecDeque<Bytes>);

impl Read for Upload {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while let Some(piece) = self.0.front_mut() {
            if piece.is_empty() {
                self.0.pop_front();
                continue;
            }
            let count = out.len().min(piece.len());
            piece.copy_to_slice(&mut out[..count]);
            return Ok(count);
        }
        Ok(0)
    }
}
