//! What a path leads to.

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use fray_server::store::{End, Header, ReadError, Reader, Record, Tick};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What a recording's file is called.
const EXTENSION: &str = "fray";

/// A recording that can be read as often as is wanted.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    /// For people.
    pub(super) name: String,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// Files: one after the other they are the recording.
    Segments(Vec<PathBuf>),
    /// From a running server.
    Bytes(Bytes),
}

/// What is there.
#[derive(Debug)]
pub(super) enum Found {
    One(Recording),
    Store(Vec<Recording>),
}

/// Looks a path up; of a store, only the recording of this name if there is one.
pub(super) fn find(path: &Path, name: Option<&str>) -> anyhow::Result<Found> {
    let shown = path.display();
    let about = fs::metadata(path).with_context(|| shown.to_string())?;
    if !about.is_dir() {
        if name.is_some() {
            bail!("{shown} is one recording: --recording chooses among those of a store");
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(Found::One(Recording::of_files(name, vec![path.to_owned()])));
    }
    let is_store = ["rooms", "incidents"].iter().any(|folder| path.join(folder).is_dir());
    let mut recordings = if is_store { of_store(path)? } else { Vec::from_iter(of_room(path)?) };
    if recordings.is_empty() {
        bail!("there are no recordings in {shown}");
    }
    if let Some(name) = name {
        let wanted = recordings.into_iter().find(|recording| recording.name == name);
        let wanted = wanted.with_context(|| format!("there is no recording {name} in {shown}"))?;
        return Ok(Found::One(wanted));
    }
    match recordings.pop() {
        Some(room) if !is_store => Ok(Found::One(room)),
        last => {
            recordings.extend(last);
            Ok(Found::Store(recordings))
        }
    }
}

/// Why one alone of a store is wanted.
pub(super) fn which(recordings: &[Recording]) -> anyhow::Error {
    let names: Vec<&str> = recordings.iter().map(|recording| recording.name.as_str()).collect();
    anyhow!("--recording says which one: {}", names.join(", "))
}

fn of_store(store: &Path) -> anyhow::Result<Vec<Recording>> {
    let mut recordings = Vec::new();
    for room in entries(&store.join("rooms"))? {
        if room.is_dir() {
            recordings.extend(of_room(&room)?);
        }
    }
    for incident in entries(&store.join("incidents"))?.into_iter().filter(|path| is_log(path)) {
        let name = incident.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        recordings.push(Recording::of_files(name, vec![incident]));
    }
    Ok(recordings)
}

/// The segments of a room; their names are in order.
fn of_room(room: &Path) -> anyhow::Result<Option<Recording>> {
    let name = room.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let segments: Vec<PathBuf> = entries(room)?.into_iter().filter(|path| is_log(path)).collect();
    Ok((!segments.is_empty()).then(|| Recording::of_files(name, segments)))
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// What a folder holds, in the order of the names; nothing if it is not there.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let found = match fs::read_dir(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    let paths: io::Result<Vec<PathBuf>> = found.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.with_context(|| folder.display().to_string())?;
    paths.sort();
    Ok(paths)
}

impl Recording {
    /// The one that is there, or of this name.
    pub(super) fn find(path: &Path, name: Option<&str>) -> anyhow::Result<Self> {
        match find(path, name)? {
            Found::One(recording) => Ok(recording),
            Found::Store(recordings) => Err(which(&recordings)),
        }
    }

    /// One that is in memory.
    pub(super) fn of_bytes(name: &str, bytes: impl Into<Bytes>) -> Self {
        Self { name: name.to_owned(), source: Source::Bytes(bytes.into()) }
    }

    fn of_files(name: String, segments: Vec<PathBuf>) -> Self {
        Self { name, source: Source::Segments(segments) }
    }

    /// Its bytes, from the beginning.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let segments = match &self.source {
            Source::Segments(segments) => segments.clone(),
            Source::Bytes(bytes) => return Ok(Box::new(io::Cursor::new(bytes.clone()))),
        };
        let mut left = segments.into_iter();
        let now = next_segment(&mut left)?.unwrap_or_else(|| Box::new(io::empty()));
        Ok(Box::new(Segments { left, now }))
    }

    /// How long it is.
    pub(super) fn bytes(&self) -> anyhow::Result<u64> {
        let segments = match &self.source {
            Source::Segments(segments) => segments,
            Source::Bytes(bytes) => return Ok(bytes.len() as u64),
        };
        let mut bytes = 0;
        for path in segments {
            bytes += fs::metadata(path).with_context(|| path.display().to_string())?.len();
        }
        Ok(bytes)
    }

    /// Looks through it without playing it, up to the last record that belongs to this tick.
    pub(super) fn scan(&self, until: u32) -> anyhow::Result<Scan> {
        let mut read_bytes = 0;
        let from = self.open().with_context(|| self.name.clone())?;
        let mut reader = Reader::new(Counted { from, bytes: &mut read_bytes });
        let mut scan = Scan::default();
        loop {
            let record = match reader.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                // Whoever plays it comes to the damage and says so.
                Err(ReadError::Damaged { .. }) => {
                    scan.is_damaged = true;
                    return Ok(scan);
                }
                Err(error) => return Err(error).context(self.name.clone()),
            };
            match record {
                Record::Header(header) => {
                    scan.header.get_or_insert(header);
                }
                Record::Tick(Tick { tick, .. }) if tick > until => {
                    scan.limit = Some(scan.whole_bytes);
                    return Ok(scan);
                }
                Record::Tick(Tick { tick, .. }) | Record::End(End { tick, .. }) => {
                    scan.last_tick = tick;
                }
                Record::Checkpoint(_) | Record::Sessions(_) | Record::Unknown => {}
            }
            scan.whole_bytes = reader.offset();
        }
        scan.tail_bytes = read_bytes.saturating_sub(scan.whole_bytes);
        Ok(scan)
    }
}

/// What a look through a recording finds.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    pub(super) header: Option<Box<Header>>,
    pub(super) last_tick: u32,
    /// How much of it are whole records that were looked at.
    whole_bytes: u64,
    /// Where the tick that was asked for ends, if there is more after it.
    pub(super) limit: Option<u64>,
    /// What follows the last whole record: one that was cut off.
    pub(super) tail_bytes: u64,
    /// It was looked through only as far as it is whole.
    pub(super) is_damaged: bool,
}

impl Scan {
    /// The first tick that can be played.
    pub(super) fn first_tick(&self) -> u32 {
        self.header.as_ref().map_or(1, |header| header.first_tick)
    }

    /// Ticks per second.
    pub(super) fn tick_rate_hz(&self) -> u32 {
        self.header.as_ref().map_or(1, |header| header.tick_rate_hz)
    }
}

/// Counts what was read.
struct Counted<'a, R> {
    from: R,
    bytes: &'a mut u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let got = self.from.read(out)?;
        *self.bytes += got as u64;
        Ok(got)
    }
}

/// Files one after the other, opened when it is their turn: there may be many.
struct Segments {
    left: std::vec::IntoIter<PathBuf>,
    now: Box<dyn Read + Send>,
}

impl Read for Segments {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.now.read(out)?;
            if got > 0 || out.is_empty() {
                return Ok(got);
            }
            let Some(next) = next_segment(&mut self.left)? else { return Ok(0) };
            self.now = next;
        }
    }
}

/// The next file; if others follow it, without a record at its end that was cut off when its writer died.
fn next_segment(
    left: &mut std::vec::IntoIter<PathBuf>,
) -> io::Result<Option<Box<dyn Read + Send>>> {
    let Some(path) = left.next() else { return Ok(None) };
    let open = || {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        File::open(&path).map_err(named)
    };
    let file = open()?;
    if left.as_slice().is_empty() {
        return Ok(Some(Box::new(file)));
    }
    let mut reader = Reader::new(file);
    let is_whole = loop {
        match reader.next_record() {
            Ok(Some(_)) => {}
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    // Damage stays in, for those who look for it.
    let length = if is_whole { reader.offset() } else { u64::MAX };
    Ok(Some(Box::new(open()?.take(length))))
}
