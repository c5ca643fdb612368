//! The same rules as [`crate::ships`], as somebody would write them first: floats, and all of it in one message.

use crate::TICK_RATE_HZ;
use crate::clock;
use crate::naive::{NaiveMove, Ship, State};

const WORLD: f32 = 1024.0;
const SPEED: f32 = 100.0;
const TURN_PER_S: f32 = 2.0;
const ACCELERATION: f32 = 100.0;

/// A room's ships.
pub struct Flight {
    state: State,
    ways: Vec<(f32, f32)>,
}

impl Flight {
    /// So many, each somewhere.
    pub fn new(ships: usize) -> Self {
        let ship = |id: u32| {
            let noise = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Ship {
                id,
                x: (noise >> 40) as f32 % WORLD,
                y: (noise >> 20 & 0xff_ffff) as f32 % WORLD,
                heading: 1.0,
                velocity_x: 1.0,
                velocity_y: 1.0,
            }
        };
        let state = State { ships: (1..=ships as u32).map(ship).collect(), ..State::default() };
        Self { state, ways: vec![(0.0, 0.0); ships] }
    }

    /// A player's controls from now on.
    pub fn steer(&mut self, ship: usize, made: &NaiveMove) {
        if let Some(way) = self.ways.get_mut(ship) {
            *way = (made.axis_x.signum() as f32, made.axis_y.signum() as f32);
        }
    }

    /// One tick.
    pub fn step(&mut self) -> State {
        let second = 1.0 / TICK_RATE_HZ as f32;
        self.state.made_us = clock::now_us();
        self.state.tick += 1;
        for (ship, (turn, thrust)) in self.state.ships.iter_mut().zip(&self.ways) {
            ship.heading += turn * TURN_PER_S * second;
            ship.velocity_x += thrust * ship.heading.cos() * ACCELERATION * second;
            ship.velocity_y += thrust * ship.heading.sin() * ACCELERATION * second;
            let speed = ship.velocity_x.hypot(ship.velocity_y).max(SPEED) / SPEED;
            (ship.velocity_x, ship.velocity_y) = (ship.velocity_x / speed, ship.velocity_y / speed);
            ship.x = (ship.x + ship.velocity_x * second).rem_euclid(WORLD);
            ship.y = (ship.y + ship.velocity_y * second).rem_euclid(WORLD);
        }
        self.state.clone()
    }
}
