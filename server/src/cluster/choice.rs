//! Which server is to have a room. Pure.

use super::fate::RENEWALS_MISSED;
use crate::session::directory::ServerRecord;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Loads that differ by less than this share of the larger one are as good as the same: then the zone decides.
const ALIKE_PERCENT: u64 = 25;
/// … or by less than so many players.
const ALIKE_PLAYERS: u64 = 16;

/// A server that may be asked.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// What it says of itself.
    pub record: &'a Arc<ServerRecord>,
    /// For how long that has not been renewed.
    pub silent_for: Duration,
    /// Players that it was sent lately, and may not count yet.
    pub sent: u64,
    /// It does not take this room.
    pub has_refused: bool,
}

/// What the room needs, and whence it comes.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The game.
    pub game: &'a str,
    /// The version of its rules.
    pub sim_version: u32,
    /// The release of the server that it leaves.
    pub release: &'a str,
    /// The zone of that server; empty: not known.
    pub zone: &'a str,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// No other server is there, or all of them go away, too.
    Alone,
    /// Others are there, and none can play this version of the rules.
    NoSuchRules,
    /// Others can, and have no place, or do not answer.
    NoPlace,
}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "there is no other server that stays",
            Self::NoSuchRules => "no other server plays this version of the rules",
            Self::NoPlace => "no other server has a place for it just now",
        })
    }
}

/// The least loaded of the room's own release, else of any; among those that are about as loaded, one in the same zone.
pub fn best<'a>(
    candidates: impl Iterator<Item = Candidate<'a>>,
    wanted: &Wanted<'_>,
) -> Result<&'a Arc<ServerRecord>, Nobody> {
    let stay: Vec<_> = candidates
        .filter(|candidate| !candidate.record.is_draining && !candidate.record.peer.is_empty())
        .collect();
    if stay.is_empty() {
        return Err(Nobody::Alone);
    }
    let can = stay.iter().filter(|one| one.record.plays(wanted.game, wanted.sim_version));
    let can: Vec<_> = can.collect();
    if can.is_empty() {
        return Err(Nobody::NoSuchRules);
    }
    let load = |candidate: &Candidate<'_>| candidate.record.players_total() + candidate.sent;
    let mut fit: Vec<_> = can.into_iter().filter(|one| one.takes_one_more()).collect();
    if fit.iter().any(|one| one.record.release == wanted.release) {
        fit.retain(|one| one.record.release == wanted.release);
    }
    let least = fit.iter().map(|one| load(one)).min().ok_or(Nobody::NoPlace)?;
    let alike = least + (least * ALIKE_PERCENT / 100).max(ALIKE_PLAYERS);
    let near = |one: &Candidate<'_>| !wanted.zone.is_empty() && one.record.zone == wanted.zone;
    let best = fit.into_iter().filter(|one| load(one) <= alike);
    // The instance makes the choice the same whatever the order is.
    let best = best.min_by_key(|one| (!near(one), load(one), one.record.instance.clone()));
    best.map(|one| one.record).ok_or(Nobody::NoPlace)
}

impl Candidate<'_> {
    fn takes_one_more(&self) -> bool {
        let has_place = (self.record.players.len() as u64) < u64::from(self.record.rooms_max);
        has_place && !self.has_refused && self.silent_for < RENEWALS_MISSED
    }
}
