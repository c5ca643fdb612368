//! What rooms and their records need done to be in accord. Pure: it is given both, and the time.

use super::super::lease::Standing;
use crate::room::RoomId;
use crate::session::directory::{Held, InstanceId, Revision, RoomRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// A record that names this server is written before its room is opened: so long may that take.
pub(super) const OPENING_MAX: Duration = Duration::from_secs(5);
/// A server that is gone for so long has its rooms declared lost, though nobody asked for them.
pub(super) const GONE_MAX: Duration = Duration::from_secs(30);
/// How long players can learn that their room is lost.
pub(super) const LOST_KEPT: Duration = Duration::from_secs(600);
/// The most that is done in one go; the rest comes next time.
pub(super) const STEPS_MAX: usize = 256;

/// A room of this server.
#[derive(Clone, Debug)]
pub(super) struct Here {
    pub(super) room: RoomId,
    pub(super) epoch: u64,
    pub(super) is_frozen: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The record names this server, and there is no such room: it is removed.
    Remove(Held<RoomRecord>),
    /// The same, but the room had to end here: its players are told.
    Lose(Held<RoomRecord>),
    /// The room has no record: it is written again.
    Restore(RoomId),
    /// The room has another owner: it ends here.
    Disown(RoomId),
    /// The room stands still: it goes on, if the directory itself says that it is this server's.
    ThawIfOwned(RoomId),
    /// The room stands still, and nobody can have claimed it: it goes on.
    Thaw(RoomId),
    /// The owner is gone for good, and nobody has asked.
    Claim(Held<RoomRecord>),
    /// The room was lost long ago.
    Forget(Held<RoomRecord>),
}

/// What there is now.
pub(super) struct Scene<'a> {
    pub(super) me: &'a InstanceId,
    pub(super) here: &'a [Here],
    pub(super) records: &'a [Held<RoomRecord>],
    pub(super) standing: Standing,
    /// The directory answers, and has what it does not have no more.
    pub(super) is_sure: bool,
    /// Rooms that the lease has ended.
    pub(super) cut_off: &'a BTreeSet<RoomId>,
    /// For how long a server has certainly been gone.
    pub(super) gone_for: &'a dyn Fn(&InstanceId) -> Duration,
}

/// Remembers what it saw, to know what lasts.
#[derive(Debug, Default)]
pub(super) struct Accord {
    /// Records of this server without a room, since when.
    orphans: BTreeMap<RoomId, (Revision, Instant)>,
    /// Records of lost rooms, since when.
    lost: BTreeMap<RoomId, (Revision, Instant)>,
    /// Rooms that were here last time.
    were_here: BTreeSet<RoomId>,
}

impl Accord {
    pub(super) fn steps(&mut self, scene: &Scene<'_>, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        let records: BTreeMap<_, _> =
            scene.records.iter().map(|held| (&held.record.room, held)).collect();
        let here: BTreeSet<_> = scene.here.iter().map(|here| &here.room).collect();
        for room in scene.here {
            let held = records.get(&room.room).filter(|held| held.revision != Revision::LOST);
            steps.extend(Self::room(scene, room, held.map(|held| held.record.as_ref())));
        }
        let orphans = std::mem::take(&mut self.orphans);
        let lost = std::mem::take(&mut self.lost);
        for held in scene.records {
            if held.revision == Revision::LOST {
                continue;
            }
            let (record, id) = (&held.record, &held.record.room);
            let since = |known: &BTreeMap<RoomId, (Revision, Instant)>| {
                let known = known.get(id).filter(|(revision, _)| *revision == held.revision);
                known.map_or(now, |(_, since)| *since)
            };
            if record.lost.is_some() {
                let since = since(&lost);
                if scene.is_sure && now.saturating_duration_since(since) >= LOST_KEPT {
                    steps.push(Step::Forget(held.clone()));
                }
                self.lost.insert(id.clone(), (held.revision, since));
            } else if record.owner == *scene.me && !here.contains(id) {
                let since = since(&orphans);
                let has_ended = self.were_here.contains(id);
                if scene.cut_off.contains(id) {
                    steps.push(Step::Lose(held.clone()));
                } else if has_ended || now.saturating_duration_since(since) >= OPENING_MAX {
                    steps.push(Step::Remove(held.clone()));
                }
                self.orphans.insert(id.clone(), (held.revision, since));
            } else if record.owner != *scene.me
                && scene.is_sure
                && (scene.gone_for)(&record.owner) >= GONE_MAX
            {
                steps.push(Step::Claim(held.clone()));
            }
        }
        // Of those that have ended, until their records are gone: removing may fail.
        let orphans = &self.orphans;
        self.were_here.retain(|id| orphans.contains_key(id));
        self.were_here.extend(here.into_iter().cloned());
        steps.truncate(STEPS_MAX);
        steps
    }

    fn room(scene: &Scene<'_>, here: &Here, record: Option<&RoomRecord>) -> Option<Step> {
        let id = || here.room.clone();
        match record {
            Some(record)
                if record.owner != *scene.me
                    || record.epoch > here.epoch
                    || record.lost.is_some() =>
            {
                Some(Step::Disown(id()))
            }
            _ if here.is_frozen && scene.standing == Standing::AwayForAll => Some(Step::Thaw(id())),
            _ if here.is_frozen && scene.standing == Standing::Held => {
                Some(Step::ThawIfOwned(id()))
            }
            None => Some(Step::Restore(id())),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "accord_tests.rs"]
mod tests;
