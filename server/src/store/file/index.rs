//! What there is, in memory: asking for a list opens no file.

use super::{INCIDENTS_MAX, INCIDENTS_SHARE, RECORDINGS_MAX};
use crate::store::{Header, Name, Progress, Summary};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;
use tokio::sync::watch;

/// Where rooms' logs are.
pub(super) const ROOMS: &str = "rooms";
/// Where incidents are.
pub(super) const INCIDENTS: &str = "incidents";
/// What every recording's name ends with.
pub(super) const SUFFIX: &str = ".fray";
/// What a file's name ends with that is not yet whole.
pub(super) const TEMPORARY: &str = ".part";

/// Orders a log's segments: by owner, then by the first tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) epoch: u64,
    pub(super) first_tick: u32,
}

impl Key {
    pub(super) fn file_name(self) -> String {
        // As many digits as the largest numbers have, so that names sort as numbers do.
        format!("{:020}-{:010}{SUFFIX}", self.epoch, self.first_tick)
    }

    pub(super) fn parse(file_name: &str) -> Option<Self> {
        let (epoch, first_tick) = file_name.strip_suffix(SUFFIX)?.split_once('-')?;
        let key = Self { epoch: epoch.parse().ok()?, first_tick: first_tick.parse().ok()? };
        (key.file_name() == file_name).then_some(key)
    }
}

/// A writer's place in a log.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: Name,
    pub(super) header: Header,
    /// Counts the writers of this process: the last one of a log is its owner.
    pub(super) serial: u64,
    pub(super) owner: Arc<Owner>,
}

/// Who owns a log; looked at on every append, without a lock.
#[derive(Debug, Default)]
pub(super) struct Owner {
    pub(super) serial: AtomicU64,
    pub(super) epoch: AtomicU64,
    /// The files have a gap: only what begins with a checkpoint can be written next.
    pub(super) needs_checkpoint: AtomicBool,
}

/// All recordings.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) by_name: HashMap<Name, Log>,
    pub(super) bytes: u64,
    /// Counts logs and writers.
    pub(super) serial: u64,
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) is_incident: bool,
    /// The newest.
    pub(super) header: Header,
    pub(super) segments: VecDeque<Segment>,
    /// The last that was let go, and how long it was.
    pub(super) gone: Option<(Key, u64)>,
    pub(super) last_tick: u32,
    /// Orders logs: when it began, in ms since 1970, and what came first in the same ms.
    pub(super) begun: (u64, u64),
    pub(super) is_running: bool,
    pub(super) owner: Arc<Owner>,
    pub(super) progress: watch::Sender<Progress>,
}

#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) key: Key,
    /// How much of it is whole records, once that is known; before, its length.
    pub(super) bytes: u64,
    pub(super) is_scanned: bool,
    pub(super) modified: Duration,
}

/// What is to be removed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) path: String,
    /// Its folder, if nothing else is in it.
    pub(super) dir: Option<String>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub(super) bytes: u64,
    pub(super) age: Duration,
}

impl Log {
    pub(super) fn new(header: Header, is_incident: bool, begun: (u64, u64)) -> Self {
        Self {
            is_incident,
            header,
            segments: VecDeque::new(),
            gone: None,
            last_tick: 0,
            begun,
            is_running: false,
            owner: Arc::default(),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    pub(super) fn segment(&mut self, key: Key) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.key == key)
    }

    pub(super) fn summary(&self, name: &Name) -> Option<Summary> {
        let first_tick = self.segments.front()?.key.first_tick;
        Some(Summary {
            name: name.clone(),
            header: std::sync::Arc::new(Header { first_tick, ..self.header.clone() }),
            last_tick: self.last_tick,
            is_running: self.is_running,
            size_bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
        })
    }

    fn dir(&self, name: &Name) -> Option<String> {
        (!self.is_incident).then(|| room_dir(name))
    }

    pub(super) fn path(&self, name: &Name, key: Key) -> String {
        if self.is_incident { incident_path(name) } else { segment_path(name, key) }
    }
}

impl Index {
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn insert(&mut self, name: Name, log: Log) {
        self.bytes += log.segments.iter().map(|segment| segment.bytes).sum::<u64>();
        if let Some(old) = self.by_name.insert(name, log) {
            self.bytes -= old.segments.iter().map(|segment| segment.bytes).sum::<u64>();
        }
    }

    /// A segment is so long now.
    pub(super) fn resize(&mut self, name: &Name, key: Key, bytes: u64) {
        let segment = self.by_name.get_mut(name).and_then(|log| log.segment(key));
        if let Some(segment) = segment {
            self.bytes = self.bytes - segment.bytes + bytes;
            segment.bytes = bytes;
        }
    }

    /// What is too old or too much: finished recordings first, the oldest first, then the oldest segments of rooms that still
    /// write, and never the newest segment of such a room. Incidents go last, unless they take more than their share.
    pub(super) fn let_go(&mut self, keep: Retention, now: Duration) -> Vec<Removal> {
        let mut removals = Vec::new();
        let incidents = self.finished(true);
        let share = keep.bytes / INCIDENTS_SHARE;
        let mut bytes: u64 = incidents.iter().filter_map(|name| self.bytes_of(name)).sum();
        let mut count = incidents.len();
        for name in &incidents {
            if count > INCIDENTS_MAX || bytes > share {
                count -= 1;
                bytes -= self.bytes_of(name).unwrap_or_default();
                while self.let_go_of_the_first(name, &mut removals) {}
            }
        }
        let too_many = self.by_name.len().saturating_sub(RECORDINGS_MAX);
        if too_many > 0 {
            for name in self.finished(false).iter().take(too_many) {
                while self.let_go_of_the_first(name, &mut removals) {}
                self.by_name.remove(name);
            }
        }
        let is_old = |log: &Log| {
            log.segments
                .front()
                .is_some_and(|segment| segment.modified.saturating_add(keep.age) < now)
        };
        let old = self.by_name.iter().filter(|(_, log)| is_old(log)).map(|(name, _)| name.clone());
        for name in old.collect::<Vec<_>>() {
            while self.by_name.get(&name).is_some_and(is_old)
                && self.let_go_of_the_first(&name, &mut removals)
            {}
        }
        if self.bytes <= keep.bytes {
            return removals;
        }
        for name in &self.finished(false) {
            while self.bytes > keep.bytes && self.let_go_of_the_first(name, &mut removals) {}
        }
        while self.bytes > keep.bytes {
            let running = self.by_name.iter().filter(|(_, log)| log.segments.len() > 1);
            let oldest = running.min_by_key(|(_, log)| log.segments[0].modified);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { break };
            self.let_go_of_the_first(&name, &mut removals);
        }
        for name in &incidents {
            while self.bytes > keep.bytes && self.let_go_of_the_first(name, &mut removals) {}
        }
        removals
    }

    /// The oldest first.
    fn finished(&self, are_incidents: bool) -> Vec<Name> {
        let is_wanted = |log: &Log| !log.is_running && log.is_incident == are_incidents;
        let mut found: Vec<_> = self.by_name.iter().filter(|(_, log)| is_wanted(log)).collect();
        found.sort_unstable_by_key(|(_, log)| log.begun);
        found.into_iter().map(|(name, _)| name.clone()).collect()
    }

    fn bytes_of(&self, name: &Name) -> Option<u64> {
        let log = self.by_name.get(name)?;
        Some(log.segments.iter().map(|segment| segment.bytes).sum())
    }

    fn let_go_of_the_first(&mut self, name: &Name, removals: &mut Vec<Removal>) -> bool {
        let Some(log) = self.by_name.get_mut(name) else { return false };
        if log.is_running && log.segments.len() <= 1 {
            return false;
        }
        let Some(segment) = log.segments.pop_front() else { return false };
        log.gone = Some((segment.key, segment.bytes));
        self.bytes -= segment.bytes;
        let path = log.path(name, segment.key);
        let is_last = log.segments.is_empty();
        removals.push(Removal { path, dir: log.dir(name).filter(|_| is_last) });
        if is_last {
            self.by_name.remove(name);
        }
        true
    }
}

pub(super) fn room_dir(name: &Name) -> String {
    format!("{ROOMS}/{name}")
}

pub(super) fn segment_path(name: &Name, key: Key) -> String {
    format!("{ROOMS}/{name}/{}", key.file_name())
}

pub(super) fn incident_path(name: &Name) -> String {
    format!("{INCIDENTS}/{name}{SUFFIX}")
}
