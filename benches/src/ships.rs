//! The work as rules: ships that change turn and thrust all the time. Both servers' rules are these, and the naive one's floats.

use crate::clock;
use fray_server::game::{
    Controls, Entity, Game, GameFactory, Motion, Motions, Profile, Published, Refusal,
    RestoreError, Setup, View, WorldLimits,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// 1,024 units, of 32 sub-units each.
const POSITION_BITS: u32 = 15;
const UNIT_BITS: u32 = 5;
/// 100 units a second, at 20 ticks.
const SPEED: i32 = 100 * 32 / 20;
/// 2 rad/s: 65536 ÷ 2π × 2 ÷ 20 per tick.
const TURN: i32 = 1043;
/// At level 1, in 1/16 sub-units per tick.
const ACCELERATION: i32 = 160;
/// Health changes after so many ticks.
const HEALTH_TICKS: u32 = 60;
const SHIP: u32 = 1;
/// Who has this name is told when each tick was made: players who keep a full replica.
pub const TOLD: &str = "told";

/// Makes rooms of ships.
pub struct Ships;

#[derive(Default, Serialize, Deserialize)]
struct Rules {
    tick: u32,
    ships: BTreeMap<u32, Ship>,
    #[serde(skip)]
    made_us: u32,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Ship {
    position: [i32; 2],
    velocity: [i32; 2],
    heading: u16,
    turn: i8,
    thrust: i8,
    health: i32,
    is_told: bool,
}

impl GameFactory for Ships {
    fn name(&self) -> &'static str {
        "ships"
    }

    fn sim_version(&self) -> u32 {
        1
    }

    fn create(&self, _: &Setup) -> Box<dyn Game> {
        Box::new(Rules::default())
    }

    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        let rules = postcard::from_bytes::<Rules>(checkpoint);
        Ok(Box::new(rules.map_err(|error| RestoreError(error.to_string()))?))
    }
}

fn motion() -> Motion {
    Motion { turn_rate: TURN, acceleration: ACCELERATION, speed_max: SPEED, ..Motion::default() }
}

fn world() -> fray_server::game::World {
    fray_server::game::World { position_bits: POSITION_BITS, cell_bits: 0, unit_bits: UNIT_BITS }
}

impl Ship {
    fn entity(&self, player: u32) -> Entity {
        let Self { position, velocity, heading, turn, thrust, health, is_told: _ } = *self;
        let attributes = [player as i32, health, 0, 0, 0, 0, 0, 0];
        Entity {
            id: player,
            kind: SHIP,
            position,
            velocity,
            heading,
            turn,
            thrust,
            attributes,
            payload: None,
        }
    }
}

impl Game for Rules {
    fn world(&self) -> WorldLimits {
        WorldLimits { position_bits: POSITION_BITS, unit_bits: UNIT_BITS, speed_max: SPEED }
    }

    fn motions(&self) -> Motions {
        let mut motions = Motions::default();
        motions.set(SHIP, motion());
        motions
    }

    fn view_extent_min(&self) -> i32 {
        1 << (POSITION_BITS - 1)
    }

    fn join(&mut self, player: u32, profile: &Profile) -> u32 {
        let noise = u64::from(player).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let position = [noise >> 40, noise >> 20].map(|n| n as i32 & ((1 << POSITION_BITS) - 1));
        let heading = (noise >> 8) as u16;
        let health = 100;
        let is_told = profile.name == TOLD;
        self.ships.insert(player, Ship { position, heading, health, is_told, ..Ship::default() });
        player
    }

    fn leave(&mut self, player: u32) {
        self.ships.remove(&player);
    }

    fn set_connected(&mut self, _: u32, _: bool) {}

    fn apply(&mut self, player: u32, controls: &Controls) -> Result<(), Refusal> {
        let ship = self.ships.get_mut(&player).ok_or(Refusal::NotAllowed)?;
        ship.turn = controls.steering.axis_x.signum() as i8;
        ship.thrust = controls.steering.axis_y.signum() as i8;
        Ok(())
    }

    fn step(&mut self) {
        self.made_us = clock::now_us();
        self.tick += 1;
        for (&player, ship) in &mut self.ships {
            let mut entity = ship.entity(player);
            fray_proto::model::advance(&mut entity, motion(), world());
            let Entity { position, velocity, heading, .. } = entity;
            (ship.position, ship.velocity, ship.heading) = (position, velocity, heading);
            if (self.tick + player).is_multiple_of(HEALTH_TICKS) {
                ship.health = if ship.health <= 10 { 100 } else { ship.health - 10 };
            }
        }
    }

    fn publish(&self, out: &mut Published) {
        out.local.extend(self.ships.iter().map(|(&player, ship)| ship.entity(player)));
    }

    fn view(&self, _: Option<u32>) -> View {
        let half = 1 << (POSITION_BITS - 1);
        View { center: [half; 2], extent: [half; 2] }
    }

    fn private(&self, player: u32, out: &mut Vec<i32>) {
        if self.ships.get(&player).is_some_and(|ship| ship.is_told) {
            out.push(self.made_us as i32);
        }
    }

    fn checkpoint(&self) -> Vec<u8> {
        // A Vec grows, and all of this can be serialized.
        postcard::to_allocvec(self).unwrap_or_default()
    }
}
