//! What recordings there are: told by the first and the last message of each.

use super::find;
use super::lane::now_ms;
use super::message::Stored;
use super::stream::{State, Stream};
use crate::store::{Error, Header, Name, Summary};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A log without an end, of another process, that was written so lately still runs.
const RUNNING_MS: u64 = 30_000;
/// The most recordings whose beginnings are remembered, and writers that have finished.
const REMEMBERED_MAX: usize = 16_384;

/// A recording.
pub(super) struct Found {
    pub(super) summary: Summary,
    pub(super) is_incident: bool,
    /// Orders recordings: when they began, in ms since 1970.
    begun_ms: u64,
}

pub(super) struct Recordings {
    stream: Arc<Stream>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Of this stream; sequences of another mean nothing.
    created: i128,
    by_subject: HashMap<String, Beginning>,
    /// Writers of this process that are gone, with or without an end.
    finished: HashSet<u64>,
}

/// What does not change while the recording's first segment stays.
#[derive(Clone)]
struct Beginning {
    sequence: u64,
    first_tick: u32,
    offset: u64,
    /// The newest header.
    header: Arc<Header>,
}

impl Recordings {
    pub(super) fn new(stream: Arc<Stream>) -> Self {
        Self { stream, known: Mutex::default() }
    }

    /// A log that this process does not write any more.
    pub(super) fn finished(&self, writer: u64) {
        let finished = &mut self.known().finished;
        if finished.len() >= REMEMBERED_MAX {
            // By then most of them were written long ago.
            finished.clear();
        }
        finished.insert(writer);
    }

    /// All, those that began last first.
    pub(super) async fn list(&self) -> Result<Vec<Found>, Error> {
        let Some(state) = self.stream.state().await? else { return Ok(Vec::new()) };
        let subjects = self.stream.subjects().await?;
        let mut found = Vec::with_capacity(subjects.len());
        for last in self.stream.last_of_each(&subjects).await? {
            found.extend(self.found(&last, state).await?);
        }
        self.known().by_subject.retain(|subject, _| subjects.contains(subject));
        found.sort_unstable_by(|a, b| {
            let order = b.begun_ms.cmp(&a.begun_ms);
            order.then_with(|| a.summary.name.cmp(&b.summary.name))
        });
        Ok(found)
    }

    pub(super) async fn find(&self, name: &Name) -> Result<Option<Found>, Error> {
        let Some(state) = self.stream.state().await? else { return Ok(None) };
        let last = self.stream.last_of_each(&self.subjects(name)).await?;
        // A log goes before an incident.
        for last in last.iter().filter(|last| self.is_log(last)).chain(last.iter()) {
            if let Some(found) = self.found(last, state).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Where to read from.
    pub(super) async fn begin(&self, name: &Name, tick: u32) -> io::Result<Option<Stored>> {
        for subject in self.subjects(name) {
            if let Some(begin) = find::begin(&self.stream, &subject, tick).await? {
                return Ok(Some(begin));
            }
        }
        Ok(None)
    }

    fn subjects(&self, name: &Name) -> [String; 2] {
        let name = name.as_str();
        [self.stream.log_subject(name), self.stream.incident_subject(name)]
    }

    fn is_log(&self, message: &Stored) -> bool {
        self.stream.name_of(&message.subject).is_some_and(|(is_incident, _)| !is_incident)
    }

    /// What the last message of a subject tells; nothing if no segment is left, or of what is not ours.
    async fn found(&self, last: &Stored, state: State) -> io::Result<Option<Found>> {
        let Some((is_incident, name)) = self.stream.name_of(&last.subject) else { return Ok(None) };
        let (Some(name), Some(meta)) = (Name::parse(name), last.meta) else { return Ok(None) };
        let Some(beginning) = self.beginning(last, state).await? else { return Ok(None) };
        let Beginning { first_tick, offset, header, .. } = beginning;
        let age_ms = now_ms().saturating_sub(meta.written_at_ms);
        let is_finished = self.known().finished.contains(&meta.writer);
        let is_running = !is_incident && !meta.has_end && !is_finished && age_ms < RUNNING_MS;
        let begun_ms = if is_incident { meta.written_at_ms } else { header.started_at_ms };
        let summary = Summary {
            name,
            header: Arc::new(Header { first_tick, ..(*header).clone() }),
            last_tick: meta.last_tick,
            is_running,
            size_bytes: (meta.offset + last.payload.len() as u64).saturating_sub(offset),
        };
        Ok(Some(Found { summary, is_incident, begun_ms }))
    }

    async fn beginning(&self, last: &Stored, state: State) -> io::Result<Option<Beginning>> {
        let epoch = last.meta.unwrap_or_default().epoch;
        if let Some(known) = self.known().beginning(&last.subject, state)
            && known.header.epoch == epoch
        {
            return Ok(Some(known));
        }
        let Some(begin) = find::oldest(&self.stream, &last.subject).await? else {
            return Ok(None);
        };
        let newest = match begin.meta {
            Some(first) if first.epoch == epoch => Some(begin.clone()),
            _ => find::segment(&self.stream, last).await?,
        };
        let header = newest.as_ref().and_then(find::header);
        let (Some(header), Some(meta)) = (header, begin.meta) else { return Ok(None) };
        let (first_tick, offset, sequence) = (meta.first_tick, meta.offset, begin.sequence);
        let beginning = Beginning { sequence, first_tick, offset, header: Arc::new(header) };
        let mut known = self.known();
        if known.by_subject.len() >= REMEMBERED_MAX {
            known.by_subject.clear();
        }
        known.by_subject.insert(last.subject.clone(), beginning.clone());
        Ok(Some(beginning))
    }

    /// Never held while something is asked.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn beginning(&mut self, subject: &str, state: State) -> Option<Beginning> {
        if self.created != state.created {
            self.by_subject.clear();
            self.created = state.created;
        }
        let known = self.by_subject.get(subject)?;
        (known.sequence >= state.first_sequence).then(|| known.clone())
    }
}
