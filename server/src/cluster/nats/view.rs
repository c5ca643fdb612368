//! What this server knows of the directory. Pure: it is told what was read and heard, and when.

use crate::room::RoomId;
use crate::session::directory::{Held, InstanceId, Revision, RoomRecord, ServerRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long what is not in a directory that was found empty may still come back: owners write their records again.
pub const SETTLE: Duration = Duration::from_secs(10);
/// The most records of a kind. More are not looked at.
const ROOMS_MAX: usize = 100_000;
/// See [`ROOMS_MAX`].
const SERVERS_MAX: usize = 10_000;
/// If nothing is heard of this server's own renewals for so long, what was heard of others before counts no more.
const HEARING_GAP_MAX: Duration = Duration::from_millis(2500);
/// For so long what was heard last is what is so now.
const HEARD_FOR: Duration = Duration::from_secs(3);

/// Which life of the directory: another one begins when it was emptied, or set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// When both buckets were made, in nanoseconds since 1970.
    pub(super) created_ns: (i128, i128),
    /// The newest revision in each.
    pub(super) newest: (u64, u64),
}

impl Life {
    /// Whether `later` is the same directory as this one, further on.
    pub(super) fn goes_on_in(&self, later: &Self) -> bool {
        self.created_ns == later.created_ns
            && self.newest.0 <= later.newest.0
            && self.newest.1 <= later.newest.1
    }
}

/// One entry of a bucket, as it was read or heard.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Room(Held<RoomRecord>),
    RoomGone(RoomId, Revision),
    Server(Held<ServerRecord>),
    ServerGone(InstanceId, Revision),
}

impl Entry {
    /// Of rooms and of servers; 0: it is of the other kind.
    fn revisions(&self) -> (u64, u64) {
        match self {
            Self::Room(held) => (held.revision.0, 0),
            Self::RoomGone(_, revision) => (revision.0, 0),
            Self::Server(held) => (0, held.revision.0),
            Self::ServerGone(_, revision) => (0, revision.0),
        }
    }
}

/// Whether nothing is known, or only what another directory said.
fn is_unknown(known: Option<Revision>) -> bool {
    known.is_none_or(|known| known == Revision::LOST)
}

#[derive(Debug, Default)]
pub(super) struct View {
    rooms: BTreeMap<RoomId, Held<RoomRecord>>,
    servers: BTreeMap<InstanceId, (Held<ServerRecord>, Instant)>,
    life: Option<Life>,
    is_read: bool,
    unsettled_until: Option<Instant>,
    hearing: Hearing,
    /// The newest revisions, of rooms and of servers, up to which all was read or heard in order. A record that is no newer and
    /// not known is gone, whoever says otherwise: an answer to a request may come long after it was given.
    heard_up_to: (u64, u64),
    /// What was read so far of a directory that is being read in full.
    reading: Option<Reading>,
}

#[derive(Debug, Default)]
struct Reading {
    rooms: BTreeSet<RoomId>,
    servers: BTreeSet<InstanceId>,
    /// What is newer, and was not read, may have come in by this server's own writes.
    newest: (u64, u64),
}

/// Up to when this server would have heard of a change of another server's record: when the newest of its own renewals was
/// sent that it has heard of, since all that was written before was heard before.
#[derive(Debug, Default)]
struct Hearing {
    until: Option<Instant>,
    /// The newest own renewal that was acknowledged, and when it was sent.
    sent: Option<(Revision, Instant)>,
    /// The newest own renewal that was heard of.
    heard: Option<Revision>,
}

impl View {
    pub(super) fn room(&self, room: &RoomId) -> Option<Held<RoomRecord>> {
        self.rooms.get(room).cloned()
    }

    pub(super) fn rooms(&self) -> Vec<Held<RoomRecord>> {
        self.rooms.values().cloned().collect()
    }

    pub(super) fn server(&self, instance: &InstanceId) -> Option<Held<ServerRecord>> {
        self.servers.get(instance).map(|(held, _)| held.clone())
    }

    pub(super) fn servers(&self) -> Vec<Held<ServerRecord>> {
        self.servers.values().map(|(held, _)| held.clone()).collect()
    }

    /// For how long a server's record has not changed. It only grows while changes would be heard of; if that was too long ago,
    /// nothing is known.
    pub(super) fn silence(&self, instance: &InstanceId, now: Instant) -> Option<Duration> {
        let (_, since) = self.servers.get(instance)?;
        let until = self.hearing.until.unwrap_or(*since);
        let is_deaf = now.saturating_duration_since(until) > HEARD_FOR;
        Some(if is_deaf { Duration::ZERO } else { until.saturating_duration_since(*since) })
    }

    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.is_read && self.unsettled_until.is_none_or(|until| now >= until)
    }

    /// Which directory was read last, and how far.
    pub(super) fn life(&self) -> Option<Life> {
        self.life
    }

    /// A full reading begins. If it is not the directory that was read before, what was known is remembered for a while as
    /// what its owners will write again.
    pub(super) fn begin(&mut self, life: Life, is_another: bool, now: Instant) {
        self.reading = Some(Reading { newest: life.newest, ..Reading::default() });
        if is_another || self.life.is_none() {
            self.life = Some(life);
        }
        self.note_newest(Revision(life.newest.0), Revision(life.newest.1));
        if is_another {
            self.unsettled_until = Some(now + SETTLE);
            for held in self.rooms.values_mut() {
                held.revision = Revision::LOST;
            }
            for (held, _) in self.servers.values_mut() {
                held.revision = Revision::LOST;
            }
            self.hearing = Hearing::default();
            self.heard_up_to = (0, 0);
        }
    }

    /// All that was there has been read: what was not read is gone.
    pub(super) fn end(&mut self, now: Instant) {
        let Some(read) = self.reading.take() else { return };
        let is_wiped = !self.is_settled(now) && self.is_read;
        let keep = |was_read: bool, revision: Revision, newest: u64| {
            was_read || revision.0 > newest || (is_wiped && revision == Revision::LOST)
        };
        self.rooms.retain(|id, held| keep(read.rooms.contains(id), held.revision, read.newest.0));
        self.servers
            .retain(|id, (held, _)| keep(read.servers.contains(id), held.revision, read.newest.1));
        self.note_heard(read.newest);
        self.is_read = true;
        self.deaf(now);
    }

    /// What is remembered of before the directory was found empty is forgotten when its time is over. Whether that changed
    /// anything.
    pub(super) fn forget(&mut self, now: Instant) -> bool {
        if self.unsettled_until.is_none_or(|until| now < until) {
            return false;
        }
        self.unsettled_until = None;
        let before = self.rooms.len() + self.servers.len();
        self.rooms.retain(|_, held| held.revision != Revision::LOST);
        self.servers.retain(|_, (held, _)| held.revision != Revision::LOST);
        before != self.rooms.len() + self.servers.len()
    }

    /// Takes what is read in full, or heard of, in the order in which it was written. Whether that is new.
    pub(super) fn hear(&mut self, entry: Entry, now: Instant) -> bool {
        let revisions = entry.revisions();
        match &mut self.reading {
            Some(reading) => {
                match &entry {
                    Entry::Room(held) => drop(reading.rooms.insert(held.record.room.clone())),
                    Entry::Server(held) => {
                        reading.servers.insert(held.record.instance.clone());
                    }
                    Entry::RoomGone(..) | Entry::ServerGone(..) => {}
                }
                reading.newest.0 = reading.newest.0.max(revisions.0);
                reading.newest.1 = reading.newest.1.max(revisions.1);
            }
            None => self.note_heard(revisions),
        }
        self.put(entry, now)
    }

    /// Takes what this server read by itself, or wrote: an answer, whenever it comes. Whether that is new.
    pub(super) fn take(&mut self, entry: Entry, now: Instant) -> bool {
        let is_over = match &entry {
            Entry::Room(held) => {
                let known = self.rooms.get(&held.record.room).map(|known| known.revision);
                is_unknown(known) && held.revision.0 <= self.heard_up_to.0
            }
            Entry::Server(held) => {
                let known = self.servers.get(&held.record.instance);
                is_unknown(known.map(|(known, _)| known.revision))
                    && held.revision.0 <= self.heard_up_to.1
            }
            Entry::RoomGone(..) | Entry::ServerGone(..) => false,
        };
        !is_over && self.put(entry, now)
    }

    fn put(&mut self, entry: Entry, now: Instant) -> bool {
        match entry {
            Entry::Room(held) => {
                let id = held.record.room.clone();
                self.note_newest(held.revision, Revision(0));
                let known = self.rooms.get(&id).map(|known| known.revision);
                let is_new = known.is_none_or(|known| known < held.revision);
                let fits = known.is_some() || self.rooms.len() < ROOMS_MAX;
                if is_new && fits {
                    self.rooms.insert(id, held);
                }
                is_new && fits
            }
            Entry::RoomGone(id, revision) => {
                self.note_newest(revision, Revision(0));
                let is_old = self.rooms.get(&id).is_some_and(|held| held.revision < revision);
                is_old && self.rooms.remove(&id).is_some()
            }
            Entry::Server(held) => {
                let id = held.record.instance.clone();
                self.note_newest(Revision(0), held.revision);
                let known = self.servers.get(&id).map(|(known, _)| known.revision);
                let is_new = known.is_none_or(|known| known < held.revision);
                let fits = known.is_some() || self.servers.len() < SERVERS_MAX;
                if is_new && fits {
                    self.servers.insert(id, (held, now));
                }
                is_new && fits
            }
            Entry::ServerGone(id, revision) => {
                self.note_newest(Revision(0), revision);
                let is_old =
                    self.servers.get(&id).is_some_and(|(held, _)| held.revision < revision);
                is_old && self.servers.remove(&id).is_some()
            }
        }
    }

    /// Forgets a room that this server has removed itself.
    pub(super) fn removed(&mut self, room: &RoomId, old: Revision) {
        if self.rooms.get(room).is_some_and(|held| held.revision <= old) {
            self.rooms.remove(room);
        }
    }

    /// The same, of another server's record.
    pub(super) fn dismissed(&mut self, server: &InstanceId, old: Revision) {
        if self.servers.get(server).is_some_and(|(held, _)| held.revision <= old) {
            self.servers.remove(server);
        }
    }

    fn note_heard(&mut self, (rooms, servers): (u64, u64)) {
        let heard = &mut self.heard_up_to;
        *heard = (heard.0.max(rooms), heard.1.max(servers));
    }

    /// The newest revisions that were seen: a directory that has less was set back.
    fn note_newest(&mut self, room: Revision, server: Revision) {
        if let Some(life) = &mut self.life {
            life.newest.0 = life.newest.0.max(room.0);
            life.newest.1 = life.newest.1.max(server.0);
        }
    }

    /// This server's own renewal was acknowledged.
    pub(super) fn renewed(&mut self, revision: Revision, sent: Instant, now: Instant) {
        self.note_newest(Revision(0), revision);
        if self.hearing.sent.is_none_or(|(newest, _)| newest < revision) {
            self.hearing.sent = Some((revision, sent));
        }
        self.count_silence(now);
    }

    /// This server's own renewal was heard of.
    pub(super) fn heard(&mut self, revision: Revision, now: Instant) {
        self.hearing.heard = self.hearing.heard.max(Some(revision));
        self.count_silence(now);
    }

    fn count_silence(&mut self, now: Instant) {
        let Hearing { until, sent: Some((sent, at)), heard: Some(heard) } = self.hearing else {
            return;
        };
        if heard < sent || until.is_some_and(|until| at <= until) {
            return;
        }
        if until.is_some_and(|until| at.saturating_duration_since(until) > HEARING_GAP_MAX) {
            self.deaf(now);
        }
        self.hearing.until = Some(at);
    }

    /// Nothing was heard for a while: all count as heard of just now.
    fn deaf(&mut self, now: Instant) {
        for (_, since) in self.servers.values_mut() {
            *since = now;
        }
        self.hearing = Hearing::default();
    }
}

/// One record and its revision.
pub(super) fn held<T>(record: T, revision: u64) -> Held<T> {
    Held { record: Arc::new(record), revision: Revision(revision) }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
