//! How long other servers have been gone, as far as this one can know. Pure but for the looks it is given.
//!
//! That a record has not changed for a while proves something only to somebody who would have seen a change: so nothing
//! counts from before the directory was last away or unsettled here. And it proves that its server is gone only if that server
//! cannot play on without the directory ([`super::lease`]): if at least half of those whom it would ask, as its own record says
//! ([`super::electorate`]), are steady, which means that they have missed no renewal lately, nor the answer to one. The silent
//! server itself is not, nor is one that has no record, or whose record came a moment ago.
//!
//! A server without a record that owns rooms has withdrawn it, or was forgotten: records do not run out. That it is not there
//! for a while is proof by itself.

use super::electorate;
use super::lease::CLAIM_AFTER;
use crate::session::directory::{Directory, Held, InstanceId, Revision, ServerRecord};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A server whose record does not change for so long has missed a renewal, and counts as unsteady for [`CLAIM_AFTER`]. A
/// server that is asked says that it does not reach the directory after 3 s; this is less, so it has shown here before.
pub const UNSTEADY_AFTER: Duration = Duration::from_secs(2);
/// A server that renews, but whose renewals were not answered for so long, has missed one, too: then it says that it does not
/// reach the directory, and what it writes may still come through, late or over a connection that is broken one way. More than
/// the pause between two renewals, less than two of them with a timeout.
pub const UNANSWERED_AFTER: Duration = Duration::from_millis(1500);
/// How many servers are looked after; beyond that the oldest are as good as unknown.
const SERVERS_MAX: usize = 10_000;

/// Looks at the directory, a few times between two renewals.
#[derive(Debug)]
pub struct Witness {
    /// What was before does not count.
    blind: Instant,
    servers: BTreeMap<InstanceId, Seen>,
}

#[derive(Debug)]
struct Seen {
    /// `None`: it has no record, but owns rooms.
    revision: Option<Revision>,
    /// When the revision was first seen.
    since: Instant,
    /// When it was last seen to be late.
    unsteady: Option<Instant>,
}

impl Witness {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Self {
        Self { blind: now, servers: BTreeMap::new() }
    }

    /// Takes note of which servers have renewed their records.
    pub fn look(&mut self, directory: &dyn Directory, now: Instant) {
        if !directory.is_reachable() || !directory.is_settled() {
            self.blind = now;
        }
        let mut seen = std::mem::take(&mut self.servers);
        let mut note = |instance: &InstanceId, held: Option<&Held<ServerRecord>>| {
            let revision = held.map(|held| held.revision);
            let is_unanswered = held.is_some_and(|held| {
                Duration::from_millis(held.record.renewal_age_ms) >= UNANSWERED_AFTER
            });
            // Nobody knows whether it has missed renewals before.
            let fresh = || Seen { revision, since: now, unsteady: Some(now) };
            let mut was = seen.remove(instance).unwrap_or_else(fresh);
            let is_late = now.saturating_duration_since(was.since) >= UNSTEADY_AFTER;
            if is_late || is_unanswered {
                was.unsteady = Some(now);
            }
            if was.revision != revision {
                if was.revision.is_none() {
                    was.unsteady = Some(now);
                }
                (was.revision, was.since) = (revision, now);
            }
            self.servers.insert(instance.clone(), was);
        };
        for held in directory.servers().into_iter().take(SERVERS_MAX) {
            note(&held.record.instance, Some(&held));
        }
        let rooms = directory.rooms();
        let mut owners: Vec<_> = rooms.iter().map(|held| &held.record.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        for owner in owners.into_iter().take(SERVERS_MAX) {
            if directory.server(owner).is_none() {
                note(owner, None);
            }
        }
    }

    /// For how long this server has certainly not reached the directory, nor played on without it. Zero while that cannot be
    /// known.
    pub fn gone_for(
        &self,
        instance: &InstanceId,
        directory: &dyn Directory,
        now: Instant,
    ) -> Duration {
        if !directory.is_reachable() || !directory.is_settled() {
            return Duration::ZERO;
        }
        if let Some(held) = directory.server(instance) {
            let is_steady = |member: &InstanceId| self.is_steady(member, now);
            if !electorate::half_are(&held.record.electorate, is_steady) {
                return Duration::ZERO;
            }
        }
        self.silent_for(instance, directory, now)
    }

    /// How long this server's record has not changed, or not been there, while this one would have noticed: for what is
    /// proved by something else.
    pub fn silent_for(
        &self,
        instance: &InstanceId,
        directory: &dyn Directory,
        now: Instant,
    ) -> Duration {
        let Some(seen) = self.servers.get(instance) else { return Duration::ZERO };
        let watched = now.saturating_duration_since(self.blind.max(seen.since));
        // The directory knows better since when it could have seen a change.
        match directory.silence(instance) {
            Some(silence) => silence.min(watched),
            None if seen.revision.is_none() => watched,
            None => Duration::ZERO,
        }
    }

    /// Whether a server has a record and has missed no renewal lately: it cannot have said that it does not reach the directory.
    fn is_steady(&self, instance: &InstanceId, now: Instant) -> bool {
        let Some(seen) = self.servers.get(instance) else { return false };
        let is_late = now.saturating_duration_since(seen.since) >= UNSTEADY_AFTER;
        let was_late =
            seen.unsteady.is_some_and(|late| now.saturating_duration_since(late) < CLAIM_AFTER);
        seen.revision.is_some() && !is_late && !was_late
    }
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
