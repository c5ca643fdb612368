//! The arena: ships with inertia in a world larger than the screen, shots, drifting rocks, pick-ups, rounds.
//!
//! # What it shows on the wire
//!
//! | kind | entity | attributes |
//! | --- | --- | --- |
//! | 1 | ship | 0 player number, 1 hull 0..=100, 2 flags: bit 0 protected after spawning, bit 1 shield, bit 2 rapid fire |
//! | 2 | shot | 0 player number of the shooter |
//! | 3 | rock | 0 radius in units, 1 shape seed |
//! | 4 | pick-up | 0 type: 1 repair, 2 shield, 3 rapid fire |
//! | 16 (global) | player | 0 player number, 1 its ship's id, 2 score, 3 kills, 4 deaths, 5 hue, 6 flags: bit 0 connected, bit 1 alive; payload: the name |
//! | 17 (global) | round | 0 number, 1 phase: 1 playing, 2 pause, 2 tick at which the phase ends, 3 the winner's player number in the pause, 0 for nobody |
//! | 18 (global) | happening | 0 type: 1 kill, 2 pick-up, 3 joined, 4 left, 5 round began, 6 round ended; 1 player, 2 the other player or the pick-up's type, 3 tick, 4 x, 5 y (sub-units) |
//!
//! Of a kill, 1 is the killer and 2 the victim; a pilot that nobody else killed is both. Of a round's beginning and end,
//! 1 is the winner (0: nobody) and 2 the round's number.
//!
//! Private values: 0 the tick until which the gun's heat lasts (each shot adds to it; it does not fire when it would go too
//! far above the present tick), 1 the tick of the respawn, 0 while alive, 2 the tick from which the gun may fire again.
//! Buttons: bit 0 fire.
//!
//! # How it is played
//!
//! Ships steer by [`fray_proto::model::steer`] and nothing else, so clients predict them; blows change the velocity after
//! the motion. Rocks and shots fly straight, so they cost nothing on the wire between their coming and going. Numbers that
//! count (shield strength, heat, timers) are never attributes, because an attribute costs bytes to everybody who sees it.
//!
//! # Where things are
//!
//! `rules` has every constant, per tick; `state` what a checkpoint holds; `play` the order of a tick and the trait;
//! `ship`, `field` (rocks, pick-ups), `rounds` the rules; `hits` who meets whom, on `space` (geometry, buckets).

mod checkpoint;
mod field;
mod hits;
mod play;
mod publish;
mod rounds;
mod rules;
mod ship;
mod space;
mod state;
#[cfg(test)]
mod tests;

use super::{Game, GameFactory, RestoreError, Setup};
use serde::{Deserialize, Serialize};

/// Kind of a ship.
pub const KIND_SHIP: u32 = 1;
/// Kind of a shot.
pub const KIND_SHOT: u32 = 2;
/// Kind of a rock.
pub const KIND_ROCK: u32 = 3;
/// Kind of a pick-up.
pub const KIND_PICKUP: u32 = 4;
/// Kind of a player's entry in the global cell.
pub const KIND_PLAYER: u32 = 16;
/// Kind of the round's entry in the global cell.
pub const KIND_ROUND: u32 = 17;
/// Kind of a happening in the global cell.
pub const KIND_HAPPENING: u32 = 18;

/// The bit of [`super::Controls::buttons`] that fires.
pub const BUTTON_FIRE: u32 = 1;

/// Makes arenas.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arena {
    /// How its rooms are set up.
    pub options: ArenaOptions,
}

/// What can be chosen about an arena. Numbers out of range are brought into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArenaOptions {
    /// The world's edges are `2^position_bits` sub-units, of which 256 make a unit; 18 to 24.
    pub position_bits: u32,
    /// How many large rocks there are, or what they broke into; 0 to 200.
    pub rocks: u32,
    /// The most pick-ups that lie about; 0 to 64.
    pub pickups: u32,
    /// How long a round is played, in seconds; 5 to 3600.
    pub round_s: u32,
    /// How long the pause after a round is, in seconds; 1 to 60.
    pub pause_s: u32,
}

impl Default for ArenaOptions {
    fn default() -> Self {
        Self { position_bits: 20, rocks: 48, pickups: 14, round_s: 180, pause_s: 8 }
    }
}

impl ArenaOptions {
    fn clamped(self) -> Self {
        Self {
            position_bits: self.position_bits.clamp(18, 24),
            rocks: self.rocks.min(200),
            pickups: self.pickups.min(64),
            round_s: self.round_s.clamp(5, 3600),
            pause_s: self.pause_s.clamp(1, 60),
        }
    }
}

impl GameFactory for Arena {
    fn name(&self) -> &'static str {
        "arena"
    }

    fn sim_version(&self) -> u32 {
        1
    }

    fn configuration(&self) -> String {
        let o = self.options.clamped();
        format!(
            "position_bits={} rocks={} pickups={} round_s={} pause_s={}",
            o.position_bits, o.rocks, o.pickups, o.round_s, o.pause_s
        )
    }

    fn create(&self, setup: &Setup) -> Box<dyn Game> {
        Box::new(play::Play::new(self.options.clamped(), setup))
    }

    /// A checkpoint carries the options that it was made with: those of this factory do not matter to it.
    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        let state = checkpoint::decode(checkpoint)?;
        Ok(Box::new(play::Play::resume(state)))
    }
}
