//! Tiles: ride from square to square, paint each one, take those of others. A square is a point.
//!
//! - Kind 1 is a rider. Attributes: 0 player number.
//! - Kind 16 (global) is a player, as in the arena: 0 player number, 1 rider's id, 2 score, 5 hue,
//!   6 flags: bit 0 connected, bit 1 alive; payload: the name.
//! - Kind 32 is a square. Attributes: 0 number of the player who painted it, 0 for nobody.

use fray_server::game::{
    Controls, Entity, Game, GameFactory, Motions, Profile, Published, Refusal, RestoreError, Setup,
    View, WorldLimits,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const SQUARE: i32 = 256; // A square's edge in sub-units, of which 8 are a pixel.
const COLUMNS: i32 = 32; // Squares along each edge of the board, which is a torus.
const BOARD: i32 = COLUMNS * SQUARE;
const DIRECTIONS: [[i32; 2]; 4] = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // i ^ 2 is opposite to i.

/// Makes boards.
pub struct Tiles;

#[derive(Serialize, Deserialize)]
struct Board {
    seed: u64,
    speed: i32,
    owners: Vec<u32>,             // Of each square, row by row; 0: nobody.
    riders: BTreeMap<u32, Rider>, // By player number.
}

#[derive(Default, Serialize, Deserialize)]
struct Rider {
    name: String,
    hue: i32,
    connected: bool,
    position: [i32; 2],
    velocity: [i32; 2],
    facing: usize,
    wanted: usize, // Where to turn on the next square.
}

impl GameFactory for Tiles {
    fn name(&self) -> &'static str {
        "tiles"
    }
    fn sim_version(&self) -> u32 {
        1
    }
    fn create(&self, setup: &Setup) -> Box<dyn Game> {
        let speed = SQUARE >> (setup.tick_rate_hz / 5).max(1).ilog2(); // About 5 squares a second.
        let owners = vec![0; (COLUMNS * COLUMNS) as usize];
        Box::new(Board { seed: setup.seed, speed, owners, riders: BTreeMap::new() })
    }
    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        let board = postcard::from_bytes::<Board>(checkpoint);
        Ok(Box::new(board.map_err(|error| RestoreError(error.to_string()))?))
    }
}

/// Squares have the first ids. Then each player has two: its rider's, and its entry's.
fn ids(player: u32) -> [u32; 2] {
    [1, 2].map(|i| (COLUMNS * COLUMNS) as u32 + 2 * player + i)
}

impl Game for Board {
    fn world(&self) -> WorldLimits {
        WorldLimits { position_bits: BOARD.ilog2(), unit_bits: 3, speed_max: self.speed }
    }
    fn motions(&self) -> Motions {
        Motions::default() // Everything moves straight on until it is told otherwise.
    }
    fn join(&mut self, player: u32, profile: &Profile) -> u32 {
        let noise = (self.seed ^ u64::from(player)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let position = [noise >> 40, noise >> 52].map(|n| (n as i32 % COLUMNS) * SQUARE);
        let (name, hue) = (profile.name.clone(), profile.hue.into());
        self.riders
            .insert(player, Rider { name, hue, connected: true, position, ..Rider::default() });
        ids(player)[0]
    }
    fn leave(&mut self, player: u32) {
        self.riders.remove(&player);
        self.owners.iter_mut().filter(|owner| **owner == player).for_each(|owner| *owner = 0);
    }
    fn set_connected(&mut self, player: u32, connected: bool) {
        self.riders.entry(player).and_modify(|rider| rider.connected = connected);
    }
    fn apply(&mut self, player: u32, controls: &Controls) -> Result<(), Refusal> {
        let rider = self.riders.get_mut(&player).ok_or(Refusal::NotAllowed)?;
        let axes = [controls.steering.axis_x, controls.steering.axis_y].map(i32::signum);
        let wanted = match controls.steering.aim {
            Some(aim) => Some(usize::from(aim.wrapping_add(1 << 13) >> 14)), // The nearest one.
            None if axes == [0, 0] => Some(rider.wanted),
            None => DIRECTIONS.iter().position(|direction| *direction == axes),
        };
        // Nobody rides across the squares, or turns back on one.
        rider.wanted = wanted.filter(|to| *to != rider.facing ^ 2).ok_or(Refusal::NotAllowed)?;
        Ok(())
    }
    fn step(&mut self) {
        for (&player, rider) in &mut self.riders {
            let [column, row] = rider.position.map(|c| c / SQUARE);
            if rider.position == [column * SQUARE, row * SQUARE] {
                self.owners[(column + row * COLUMNS) as usize] = player;
                rider.facing = rider.wanted;
                let speed = if rider.connected { self.speed } else { 0 }; // Else it waits.
                rider.velocity = DIRECTIONS[rider.facing].map(|direction| direction * speed);
            }
            rider.position = [0, 1].map(|i| (rider.position[i] + rider.velocity[i]) & (BOARD - 1));
        }
    }
    fn publish(&self, out: &mut Published) {
        for (id, &owner) in (1..).zip(&self.owners) {
            let position = [(id - 1) % COLUMNS, (id - 1) / COLUMNS].map(|c| c * SQUARE);
            let (id, kind, attributes) = (id as u32, 32, [owner as i32, 0, 0, 0, 0, 0, 0, 0]);
            out.local.push(Entity { id, kind, position, attributes, ..Entity::default() });
        }
        for (&player, rider) in &self.riders {
            let Rider { hue, connected, position, velocity, .. } = *rider;
            let ([id, entry], kind, heading) = (ids(player), 1, (rider.facing << 14) as u16);
            let (attributes, rest) = ([player as i32, 0, 0, 0, 0, 0, 0, 0], Entity::default());
            out.local.push(Entity { id, kind, position, velocity, heading, attributes, ..rest });
            let score = self.owners.iter().filter(|owner| **owner == player).count() as i32;
            let attributes = [player as i32, id as i32, score, 0, 0, hue, 2 | connected as i32, 0];
            let (id, kind, payload) = (entry, 16, Some(rider.name.as_bytes().into()));
            out.global.push(Entity { id, kind, attributes, payload, ..Entity::default() });
        }
    }
    fn view(&self, player: Option<u32>) -> View {
        let rider = player.or(self.riders.keys().next().copied()).and_then(|p| self.riders.get(&p));
        View { center: rider.map_or([0, 0], |rider| rider.position), extent: [BOARD / 4; 2] }
    }
    fn private(&self, player: u32, out: &mut Vec<i32>) {
        out.extend(self.riders.get(&player).map(|rider| rider.wanted as i32));
    }
    fn checkpoint(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a Vec grows, and all of the state can be serialized")
    }
}
