//! What this server's rooms and their records need done to be in accord. Pure: it is given both, and the time.

use super::super::lease::Standing;
use super::turns::in_turn;
use crate::room::RoomId;
use crate::session::directory::{Held, InstanceId, Revision, RoomRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// A record that names this server is written before its room is opened: so long may that take.
pub(super) const OPENING_MAX: Duration = Duration::from_secs(5);
/// How long players can learn that their room is lost.
pub(super) const LOST_KEPT: Duration = Duration::from_secs(600);
/// The most records that are seen to in one go; the others have their turn next time. What rooms that are here must be told
/// is not limited.
pub(super) const STEPS_MAX: usize = 256;

/// A room of this server.
#[derive(Clone, Debug)]
pub(super) struct Here {
    pub(super) room: RoomId,
    pub(super) epoch: u64,
    pub(super) is_frozen: bool,
    /// It stands still to go to another server, or into the store: whoever does that sees to its record.
    pub(super) is_departing: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The record names this server, and there is no such room: it is removed.
    Remove(Held<RoomRecord>),
    /// The same, but the room had to end here: its players are told.
    Lose(Held<RoomRecord>),
    /// The record names this server, which claimed the room or was given it, and there is no such room: it is restored.
    Resume(Held<RoomRecord>),
    /// The room has no record: it is written again.
    Restore(RoomId),
    /// The room has another owner: it ends here.
    Disown(RoomId),
    /// The room stands still: it goes on, if the directory itself says that it is this server's.
    ThawIfOwned(RoomId),
    /// The room stands still, and nobody can have claimed it: it goes on.
    Thaw(RoomId),
    /// The room was lost long ago.
    Forget(Held<RoomRecord>),
}

impl Step {
    fn room(&self) -> &RoomId {
        match self {
            Self::Remove(held) | Self::Lose(held) | Self::Resume(held) | Self::Forget(held) => {
                &held.record.room
            }
            Self::Restore(room)
            | Self::Disown(room)
            | Self::ThawIfOwned(room)
            | Self::Thaw(room) => room,
        }
    }

    /// Whether players of a room that is here wait for it, or must not play on.
    fn is_urgent(&self) -> bool {
        matches!(self, Self::Disown(_) | Self::ThawIfOwned(_) | Self::Thaw(_))
    }
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
    /// Rooms that are being claimed: they are here soon, or not at all.
    pub(super) claiming: &'a BTreeSet<RoomId>,
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
    /// The last room whose record was seen to, if not all were.
    seen_to: Option<RoomId>,
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
            } else if record.owner == *scene.me
                && !here.contains(id)
                && !record.parked
                && !scene.claiming.contains(id)
            {
                let since = since(&orphans);
                let has_ended = self.were_here.contains(id);
                if scene.cut_off.contains(id) {
                    steps.push(Step::Lose(held.clone()));
                } else if has_ended {
                    steps.push(Step::Remove(held.clone()));
                } else if now.saturating_duration_since(since) >= OPENING_MAX {
                    // The first owner of a room writes the record before there is anything else of it.
                    let has_a_past = record.epoch > 1;
                    let step = if has_a_past { Step::Resume } else { Step::Remove };
                    steps.push(step(held.clone()));
                }
                self.orphans.insert(id.clone(), (held.revision, since));
            }
        }
        // Of those that have ended, until their records are gone: removing may fail.
        let orphans = &self.orphans;
        self.were_here.retain(|id| orphans.contains_key(id));
        self.were_here.extend(here.into_iter().cloned());
        let (mut steps, others): (Vec<_>, Vec<_>) = steps.into_iter().partition(Step::is_urgent);
        steps.extend(in_turn(others, Step::room, &mut self.seen_to, STEPS_MAX));
        steps
    }

    fn room(scene: &Scene<'_>, here: &Here, record: Option<&RoomRecord>) -> Option<Step> {
        let id = || here.room.clone();
        match record {
            // Whoever gives it away finds out whose it is.
            Some(record) if here.is_departing && record.owner != *scene.me => None,
            Some(record)
                if record.owner != *scene.me
                    || record.epoch > here.epoch
                    || record.lost.is_some()
                    || (record.parked && record.epoch == here.epoch && !here.is_departing) =>
            {
                Some(Step::Disown(id()))
            }
            _ if here.is_frozen && scene.standing == Standing::AwayForAll => Some(Step::Thaw(id())),
            _ if here.is_frozen && scene.standing == Standing::Held => {
                Some(Step::ThawIfOwned(id()))
            }
            None if here.is_departing => None,
            None => Some(Step::Restore(id())),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "accord_tests.rs"]
mod tests;
