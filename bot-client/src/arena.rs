//! What the arena's entities mean: the kinds and attributes that the built-in game shows on the wire.

use fray_proto::model::Entity;
use fray_proto::replica::Replica;

/// A player's ship. Attributes: 0 the player's number, 1 hull, 2 flags (bit 0: protected).
pub const SHIP: u32 = 1;
/// A shot.
pub const SHOT: u32 = 2;
/// A drifting rock. Attributes: 0 radius in units, 1 shape.
pub const ROCK: u32 = 3;
/// Something to pick up.
pub const PICKUP: u32 = 4;
/// A player's entry in the global cell.
pub const PLAYER: u32 = 16;
/// The round, in the global cell.
pub const ROUND: u32 = 17;

/// How fast a shot leaves its ship, in units per second.
pub const SHOT_SPEED: f64 = 520.0;
/// How far a shot flies, in units.
pub const SHOT_RANGE: f64 = 520.0;

/// A player's entry in the global cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayerEntry {
    /// The entry's own entity.
    pub id: u32,
    /// The player's number.
    pub player: i32,
    /// Its ship.
    pub ship: i32,
    /// Points in this round.
    pub score: i32,
    /// Deaths in this round; each costs up to [`PlayerEntry::DEATH_COST`] points.
    pub deaths: i32,
    /// The round that the points are of.
    pub round: i32,
}

impl PlayerEntry {
    /// What a death costs at most.
    pub const DEATH_COST: i32 = 20;

    /// The entry of a player, while it is in the room.
    pub fn of(replica: &Replica, player: u32) -> Option<Self> {
        let globals = replica.globals();
        let is_entry = |e: &&Entity| e.kind == PLAYER && e.attributes[0] == player as i32;
        let entry = globals.iter().find(is_entry)?;
        let round = globals.iter().find(|e| e.kind == ROUND)?;
        Some(Self {
            id: entry.id,
            player: entry.attributes[0],
            ship: entry.attributes[1],
            score: entry.attributes[2],
            deaths: entry.attributes[4],
            round: round.attributes[0],
        })
    }

    /// Whether `later` can be the same player's entry: the same entities, and no points lost but by dying.
    pub fn may_become(&self, later: &Self) -> bool {
        let same = (self.id, self.player, self.ship) == (later.id, later.player, later.ship);
        let new_round = later.round != self.round;
        let worth = |entry: &Self| {
            i64::from(entry.score) + i64::from(entry.deaths) * i64::from(Self::DEATH_COST)
        };
        same && (new_round || worth(later) >= worth(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_only_lost_by_dying_and_by_new_rounds() {
        let entry = PlayerEntry { id: 1, player: 1, ship: 2, score: 50, deaths: 0, round: 1 };
        assert!(entry.may_become(&PlayerEntry { score: 60, ..entry }));
        assert!(!entry.may_become(&PlayerEntry { score: 49, ..entry }));
        assert!(entry.may_become(&PlayerEntry { score: 30, deaths: 1, ..entry }));
        assert!(entry.may_become(&PlayerEntry { score: 0, round: 2, ..entry }));
        assert!(!entry.may_become(&PlayerEntry { ship: 3, ..entry }));
    }
}
