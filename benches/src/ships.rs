//! The work as rules: ships that change turn and thrust all the time. Both servers' rules are these, and the naive one's floats.

use crate::clock;
use crate::punctual::{self, Schedule};
use fray_server::game::{
    Controls, Entity, Game, GameFactory, Motion, Motions, Profile, Published, Refusal,
    RestoreError, Setup, View, WorldLimits,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// Ships that are nobody's have numbers from here on.
const DRONES_FROM: u32 = 1 << 20;

/// Makes rooms of ships.
pub struct Ships(pub Scene);

/// What a room is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Scene {
    /// The world's edge is two to this of sub-units; a unit is 32 of them, and a ship moves 160 in a tick
    #[arg(long, default_value_t = 15)]
    pub position_bits: u32,
    /// How far a player sees, in sub-units to each side [default: all of the world]
    #[arg(long)]
    pub view_extent: Option<i32>,
    /// Ships that are nobody's, and change turn and thrust as often as those of players
    #[arg(long, default_value_t = 0)]
    pub drones: u32,
}

impl Default for Scene {
    /// 1,024 units, and players see all of them.
    fn default() -> Self {
        Self { position_bits: 15, view_extent: None, drones: 0 }
    }
}

impl Scene {
    fn view_extent(self) -> i32 {
        self.view_extent.unwrap_or(1 << (self.position_bits - 1))
    }

    fn world(self) -> fray_server::game::World {
        let position_bits = self.position_bits;
        fray_server::game::World { position_bits, cell_bits: 0, unit_bits: UNIT_BITS }
    }
}

/// Ticks of all rooms of this process, and moves that they applied.
pub static TICKS: AtomicU64 = AtomicU64::new(0);
/// See above.
pub static MOVES: AtomicU64 = AtomicU64::new(0);

#[derive(Serialize, Deserialize)]
struct Rules {
    scene: Scene,
    tick: u32,
    ships: BTreeMap<u32, Ship>,
    #[serde(skip)]
    made_us: u32,
    #[serde(skip)]
    schedule: Schedule,
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

    fn create(&self, setup: &Setup) -> Box<dyn Game> {
        let scene = self.0;
        let drones = DRONES_FROM..DRONES_FROM + scene.drones;
        let ships = drones.map(|id| (id, Ship::somewhere(id, scene, false))).collect();
        let schedule = Schedule::every(1_000_000 / setup.tick_rate_hz);
        Box::new(Rules { scene, tick: 0, ships, made_us: 0, schedule })
    }

    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        let rules = postcard::from_bytes::<Rules>(checkpoint);
        Ok(Box::new(rules.map_err(|error| RestoreError(error.to_string()))?))
    }
}

fn motion() -> Motion {
    Motion { turn_rate: TURN, acceleration: ACCELERATION, speed_max: SPEED, ..Motion::default() }
}

impl Ship {
    fn somewhere(id: u32, scene: Scene, is_told: bool) -> Self {
        let noise = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let position =
            [noise >> 40, noise >> 16].map(|n| n as i32 & ((1 << scene.position_bits) - 1));
        let heading = (noise >> 8) as u16;
        Self { position, heading, health: 100, is_told, ..Self::default() }
    }

    /// Another way about every half second: what the players of the benchmark do.
    fn drift(&mut self, id: u32, tick: u32) {
        let noise = (u64::from(id) << 32 | u64::from(tick)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise = (noise ^ noise >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        if noise.is_multiple_of(10) {
            self.turn = (noise / 10 % 3) as i8 - 1;
        }
        if (noise / 30).is_multiple_of(10) {
            self.thrust = (noise / 300 % 2) as i8;
        }
    }

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
        let position_bits = self.scene.position_bits;
        WorldLimits { position_bits, unit_bits: UNIT_BITS, speed_max: SPEED }
    }

    fn motions(&self) -> Motions {
        let mut motions = Motions::default();
        motions.set(SHIP, motion());
        motions
    }

    fn view_extent_min(&self) -> i32 {
        self.scene.view_extent()
    }

    fn join(&mut self, player: u32, profile: &Profile) -> u32 {
        let is_told = profile.name == TOLD;
        self.ships.insert(player, Ship::somewhere(player, self.scene, is_told));
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
        MOVES.fetch_add(1, Relaxed);
        Ok(())
    }

    fn step(&mut self) {
        self.made_us = clock::now_us();
        punctual::note(punctual::Whose::Rooms, self.schedule.began(self.made_us));
        TICKS.fetch_add(1, Relaxed);
        self.tick += 1;
        let world = self.scene.world();
        for (&player, ship) in &mut self.ships {
            if player >= DRONES_FROM {
                ship.drift(player, self.tick);
            }
            let mut entity = ship.entity(player);
            fray_proto::model::advance(&mut entity, motion(), world);
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

    fn view(&self, player: Option<u32>) -> View {
        let extent = [self.scene.view_extent(); 2];
        let own = player.filter(|_| self.scene.view_extent.is_some());
        let ship = own.and_then(|player| self.ships.get(&player));
        let middle = 1 << (self.scene.position_bits - 1);
        View { center: ship.map_or([middle; 2], |ship| ship.position), extent }
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
