//! What is found in a folder, whatever happened to whoever wrote it.

use super::Files;
use super::disk::{Disk, Entry};
use super::index::{
    INCIDENTS, Index, Key, Log, ROOMS, SUFFIX, Segment, TEMPORARY, incident_path, room_dir,
    segment_path,
};
use crate::store::{Header, Name, ReadError, Reader, Record};
use std::collections::VecDeque;
use std::io::{self, Read};

/// More than any header has.
const HEADER_BYTES_MAX: u64 = 32 * 1024;

/// What is in a segment.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) header: Option<Header>,
    /// Set by the first checkpoint: what has none is of no use.
    pub(super) last_tick: Option<u32>,
    /// The length of all whole records. What follows was cut off by a crash, unless it is damage.
    pub(super) whole: u64,
    pub(super) has_end: bool,
    pub(super) damage: Option<ReadError>,
}

/// Reads a segment from its beginning to its end.
pub(super) fn scan(from: impl Read) -> io::Result<Scan> {
    let mut reader = Reader::new(from);
    let mut scan = Scan::default();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                scan.whole = reader.offset();
                match record {
                    Record::Header(header) => scan.header = scan.header.or(Some(*header)),
                    Record::Checkpoint(checkpoint) => scan.last_tick = Some(checkpoint.tick),
                    Record::Tick(tick) => scan.last_tick = Some(tick.tick),
                    Record::End(_) => scan.has_end = true,
                    Record::Sessions(_) | Record::Unknown => {}
                }
            }
            Ok(None) => return Ok(scan),
            Err(ReadError::Io(error)) => return Err(error),
            Err(damage) => {
                scan.damage = Some(damage);
                return Ok(scan);
            }
        }
    }
}

/// Finds all recordings. `may_write`: what is of no use is removed.
pub(super) fn load(disk: &dyn Disk, may_write: bool) -> io::Result<Index> {
    let mut loader = Loader { disk, may_write, index: Index::default() };
    for entry in sorted(disk.list(ROOMS))? {
        let Some(name) = Name::parse(&entry.name) else {
            tracing::warn!(name = entry.name, "not a room, in the folder of rooms");
            continue;
        };
        loader.room(name)?;
    }
    for entry in sorted(disk.list(INCIDENTS))? {
        loader.incident(&entry)?;
    }
    Ok(loader.index)
}

/// A folder that is not there is empty.
fn sorted(entries: io::Result<Vec<Entry>>) -> io::Result<Vec<Entry>> {
    let mut entries = match entries {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Vec::new(),
        entries => entries?,
    };
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// How a segment begins.
enum Begins {
    With(Box<Header>),
    /// With less than a record, or nothing but zeros: a crash leaves that of a file which was just begun.
    CutOff,
    /// With something else.
    Damaged,
}

struct Loader<'a> {
    disk: &'a dyn Disk,
    may_write: bool,
    index: Index,
}

impl Loader<'_> {
    fn room(&mut self, name: Name) -> io::Result<()> {
        let mut segments = VecDeque::new();
        let mut newest = None;
        let mut begun_ms = None;
        let mut entries = sorted(self.disk.list(&room_dir(&name)))?.into_iter().peekable();
        while let Some(entry) = entries.next() {
            let is_last = entries.peek().is_none();
            let Some(key) = Key::parse(&entry.name) else {
                tracing::warn!(room = %name, name = entry.name, "not a part of a recording");
                continue;
            };
            let path = segment_path(&name, key);
            let (mut bytes, modified) = (entry.bytes, entry.modified);
            let mut is_scanned = false;
            match self.header(&path)? {
                Begins::With(header) => {
                    let is_at_its_place = header.room == name.as_str()
                        && header.epoch == key.epoch
                        && header.first_tick == key.first_tick;
                    if is_at_its_place {
                        begun_ms.get_or_insert(header.started_at_ms);
                        newest = Some(*header);
                    } else {
                        // Readers come upon it, and say so.
                        tracing::error!(path, "a part of a recording, where another should be");
                        is_scanned = true;
                    }
                }
                Begins::CutOff if is_last && bytes < HEADER_BYTES_MAX => {
                    self.remove(&path);
                    continue;
                }
                // Not just begun, for others follow: what was in it is lost, and readers find ticks missing.
                Begins::CutOff => {
                    tracing::error!(path, "a part of a recording is gone");
                    (bytes, is_scanned) = (0, true);
                }
                Begins::Damaged => is_scanned = true,
            }
            segments.push_back(Segment { key, bytes, is_scanned, modified });
        }
        // Only a crash leaves a part without a tick, and only at the end does it need to be known now.
        let mut last_tick = None;
        while let Some(last) = segments.back_mut() {
            let path = segment_path(&name, last.key);
            let found = scan(self.disk.read(&path)?)?;
            settle(last, &found, &path);
            last_tick = found.last_tick;
            if last_tick.is_some() || found.damage.is_some() {
                break;
            }
            segments.pop_back();
            self.remove(&path);
        }
        let (Some(newest), Some(last)) = (newest, segments.back()) else { return Ok(()) };
        let epoch = newest.epoch;
        let last_tick = last_tick.unwrap_or(last.key.first_tick - 1);
        let begun = (begun_ms.unwrap_or_default(), self.index.next_serial());
        let mut log = Log::new(newest, false, begun);
        log.owner.epoch.store(epoch, std::sync::atomic::Ordering::Relaxed);
        log.segments = segments;
        log.last_tick = last_tick;
        self.index.insert(name, log);
        Ok(())
    }

    fn incident(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.name.ends_with(TEMPORARY) {
            self.remove(&format!("{INCIDENTS}/{}", entry.name));
            return Ok(());
        }
        let name = entry.name.strip_suffix(SUFFIX).and_then(Name::parse);
        let Some(name) = name.filter(|name| !self.index.by_name.contains_key(name)) else {
            tracing::warn!(name = entry.name, "not an incident, in the folder of incidents");
            return Ok(());
        };
        let path = incident_path(&name);
        let found = scan(self.disk.read(&path)?)?;
        let (Some(header), Some(last_tick)) = (found.header.clone(), found.last_tick) else {
            tracing::error!(path, "an incident that cannot be read");
            return Ok(());
        };
        let key = Key { epoch: header.epoch, first_tick: header.first_tick };
        let (bytes, modified) = (entry.bytes, entry.modified);
        let mut segment = Segment { key, bytes, is_scanned: false, modified };
        settle(&mut segment, &found, &path);
        let begun = (modified.as_millis() as u64, self.index.next_serial());
        let mut log = Log::new(header, true, begun);
        log.segments.push_back(segment);
        log.last_tick = last_tick;
        self.index.insert(name, log);
        Ok(())
    }

    fn header(&self, path: &str) -> io::Result<Begins> {
        let from = self.disk.read(path)?.take(HEADER_BYTES_MAX);
        match Reader::new(from).next_record() {
            Ok(Some(Record::Header(header))) => Ok(Begins::With(header)),
            Ok(None) => Ok(Begins::CutOff),
            Ok(Some(_)) => {
                tracing::error!(path, "a recording that does not begin with a header");
                Ok(Begins::Damaged)
            }
            Err(ReadError::Io(error)) => Err(error),
            Err(error) => {
                tracing::error!(path, %error, "a recording that cannot be read");
                Ok(Begins::Damaged)
            }
        }
    }

    fn remove(&self, path: &str) {
        if !self.may_write {
            return;
        }
        match self.disk.remove(path) {
            Ok(()) => tracing::warn!(path, "removed what was only just begun when it was cut off"),
            Err(error) => tracing::error!(path, %error, "cannot be removed"),
        }
    }
}

/// Notes what was found in a segment. What was cut off is not shown to readers; damage is, so that they say so.
fn settle(segment: &mut Segment, found: &Scan, path: &str) {
    segment.is_scanned = true;
    if let Some(damage) = &found.damage {
        tracing::error!(path, error = %damage, "a recording is damaged");
    } else if found.last_tick.is_none() {
        segment.bytes = 0;
    } else {
        segment.bytes = found.whole;
    }
}

impl Files {
    /// Looks at a segment that was there before this process, if nobody did so yet.
    pub(super) fn look_at(&self, name: &Name, key: Key) -> io::Result<()> {
        let path = {
            let mut index = self.index();
            let log = index.by_name.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
            match log.segment(key) {
                None => return Err(io::ErrorKind::NotFound.into()),
                Some(segment) if segment.is_scanned => return Ok(()),
                Some(_) => log.path(name, key),
            }
        };
        let found = scan(self.disk.read(&path)?)?;
        let mut index = self.index();
        let segment = index.by_name.get_mut(name).and_then(|log| log.segment(key)).cloned();
        let Some(mut segment) = segment.filter(|segment| !segment.is_scanned) else {
            return Ok(());
        };
        settle(&mut segment, &found, &path);
        index.resize(name, key, segment.bytes);
        if let Some(segment) = index.by_name.get_mut(name).and_then(|log| log.segment(key)) {
            segment.is_scanned = true;
        }
        Ok(())
    }
}
