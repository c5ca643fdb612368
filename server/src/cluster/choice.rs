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

impl Nobody {
    /// What is said of it, to players too.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Alone => "there is no other server that stays",
            Self::NoSuchRules => "no other server plays this version of the rules",
            Self::NoPlace => "no other server has a place for the room just now",
        }
    }
}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
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

#[cfg(test)]
mod tests {
    use super::super::records;
    use super::*;
    use crate::room::RoomId;
    use crate::session::directory::InstanceId;

    fn server(change: impl FnOnce(&mut ServerRecord)) -> Arc<ServerRecord> {
        let mut record = records::server(InstanceId::random());
        record.peer = "10.0.0.1:7779".into();
        record.rooms_max = 10;
        change(&mut record);
        Arc::new(record)
    }

    fn with_players(players: u32) -> impl Fn(&mut ServerRecord) {
        move |record| {
            record.players.insert(RoomId::random(), players);
        }
    }

    fn candidate(record: &Arc<ServerRecord>) -> Candidate<'_> {
        Candidate { record, silent_for: Duration::ZERO, sent: 0, has_refused: false }
    }

    fn wanted(record: &ServerRecord) -> Wanted<'_> {
        let ServerRecord { game, sim_version, release, .. } = record;
        Wanted { game, sim_version: *sim_version, release, zone: "a" }
    }

    #[test]
    fn the_least_loaded_is_chosen_and_what_was_sent_lately_counts() {
        let (full, empty) = (server(with_players(300)), server(with_players(10)));
        let from = server(|_| {});
        let both = [candidate(&full), candidate(&empty)];
        assert_eq!(best(both.into_iter(), &wanted(&from)), Ok(&empty));
        let rushed = Candidate { sent: 400, ..candidate(&empty) };
        assert_eq!(best([candidate(&full), rushed].into_iter(), &wanted(&from)), Ok(&full));
    }

    #[test]
    fn among_those_about_as_loaded_the_zone_decides_and_the_release_before_it() {
        let near = server(|record| {
            with_players(110)(record);
            record.zone = "a".into();
        });
        let far = server(|record| {
            with_players(100)(record);
            record.zone = "b".into();
        });
        let from = server(|_| {});
        let both = [candidate(&far), candidate(&near)];
        assert_eq!(best(both.into_iter(), &wanted(&from)), Ok(&near));
        let other = server(|record| {
            record.zone = "a".into();
            record.release = "canary".into();
        });
        let both = [candidate(&far), candidate(&other)];
        assert_eq!(best(both.into_iter(), &wanted(&from)), Ok(&far), "its own release");
        assert_eq!(best([candidate(&other)].into_iter(), &wanted(&from)), Ok(&other), "or any");
    }

    fn chosen<'a>(
        candidate: Option<Candidate<'a>>,
        from: &ServerRecord,
    ) -> Result<&'a Arc<ServerRecord>, Nobody> {
        best(candidate.into_iter(), &wanted(from))
    }

    #[test]
    fn it_is_said_why_nobody_takes_a_room() {
        let from = server(|_| {});
        assert_eq!(chosen(None, &from), Err(Nobody::Alone));
        let drains = server(|record| record.is_draining = true);
        assert_eq!(chosen(Some(candidate(&drains)), &from), Err(Nobody::Alone));
        let newer = server(|record| record.sim_version += 1);
        assert_eq!(chosen(Some(candidate(&newer)), &from), Err(Nobody::NoSuchRules));
        let both = server(|record| {
            record.sim_versions = vec![record.sim_version, record.sim_version + 1];
            record.sim_version += 1;
        });
        assert_eq!(
            chosen(Some(candidate(&both)), &from),
            Ok(&both),
            "it plays the older rules, too"
        );
        let full = server(|record| {
            record.rooms_max = 1;
            with_players(1)(record);
        });
        let well = server(|_| {});
        let silent = Candidate { silent_for: RENEWALS_MISSED, ..candidate(&well) };
        let refuses = Candidate { has_refused: true, ..candidate(&well) };
        for none in [candidate(&full), silent, refuses] {
            assert_eq!(chosen(Some(none), &from), Err(Nobody::NoPlace));
        }
    }
}
