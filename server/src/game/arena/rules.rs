//! Every constant of the arena: chosen per second and in units, used per tick and in sub-units.

use super::ArenaOptions;
use crate::game::{Motion, World};
use fray_proto::model::VELOCITY_LIMIT;

/// A unit is `2^UNIT_BITS` sub-units.
pub(super) const UNIT_BITS: u32 = 8;
/// A whole hull.
pub(super) const HULL_MAX: i32 = 100;
/// How much a shield takes before it breaks.
pub(super) const SHIELD: i32 = 60;
/// How much hull a repair gives back.
pub(super) const REPAIR: i32 = 50;
/// What a shot does to a hull.
pub(super) const SHOT_DAMAGE: i32 = 12;
/// A shot's velocity, relative to the ship that it hits, goes to the ship by this shift.
pub(super) const KNOCK_SHIFT: u32 = 4;
/// Ramming below this closing speed does no harm, units/s.
pub(super) const RAM_SPEED_MIN: i32 = 90;
/// Above it, each so many units/s cost one point of hull.
pub(super) const RAM_SPEED_PER_POINT: i32 = 12;
/// The most that one collision costs.
pub(super) const RAM_DAMAGE_MAX: i32 = 25;
/// Of the closing speed, so many sixteenths come back in a bounce.
pub(super) const BOUNCE_16THS: i64 = 9;

/// Score for a kill.
pub(super) const SCORE_KILL: i32 = 100;
/// Score for a pick-up.
pub(super) const SCORE_PICKUP: i32 = 10;
/// What a death costs; a score never goes below 0.
pub(super) const SCORE_DEATH: i32 = 20;
/// Scores end here, so that no sum overflows.
pub(super) const SCORE_MAX: i32 = 1_000_000_000;

/// The most shots in the air; a bound for a room of [`PLAYERS_MAX`] with everyone firing would be higher, but not playable.
pub(super) const SHOTS_MAX: usize = 4096;
/// The most players that a checkpoint may hold.
pub(super) const PLAYERS_MAX: usize = 4096;
/// The most happenings that are kept; when all are younger than 2 s, new ones are not told.
pub(super) const HAPPENINGS_MAX: usize = 256;
/// Characters of a name that are shown.
pub(super) const NAME_CHARS_MAX: usize = 24;

/// How large a rock is.
pub(super) const SIZES: usize = 3;
/// Radius in units, by size: small, medium, large.
pub(super) const ROCK_RADIUS: [i32; SIZES] = [16, 28, 46];
/// Score by size: the small ones are hard to hit.
pub(super) const ROCK_SCORE: [i32; SIZES] = [20, 10, 5];
/// What a rock weighs in the count of rocks: as many small ones as it may become.
pub(super) const ROCK_WEIGHT: [u32; SIZES] = [1, 2, 4];
/// Slowest and fastest drift in units/s, by size.
pub(super) const ROCK_SPEED: [[i32; 2]; SIZES] = [[40, 90], [25, 60], [12, 35]];

/// The constants of one room.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The torus; its cells are the room's affair.
    pub(super) world: World,
    pub(super) tick_rate_hz: u32,
    pub(super) options: ArenaOptions,
    pub(super) ship: Motion,
    pub(super) ship_radius: i32,
    pub(super) shot_radius: i32,
    pub(super) pickup_radius: i32,
    /// Sub-units per tick, relative to the ship.
    pub(super) shot_speed: i32,
    /// Nothing goes faster, sub-units per tick.
    pub(super) speed_max: i32,
    /// After a bounce two things part at least this fast, so that they never stick together.
    pub(super) part_speed: i32,
    pub(super) rock_speed: [[i32; 2]; SIZES],
    pub(super) rock_radius: [i32; SIZES],

    // All below: ticks.
    pub(super) shot_life: u64,
    pub(super) gun_interval: u64,
    pub(super) gun_interval_rapid: u64,
    pub(super) heat_per_shot: u64,
    pub(super) heat_per_shot_rapid: u64,
    pub(super) heat_max: u64,
    pub(super) rapid: u64,
    pub(super) respawn: u64,
    pub(super) protection: u64,
    pub(super) blame: u64,
    pub(super) round: u64,
    pub(super) pause: u64,
    pub(super) happening_kept: u64,
    pub(super) happening_kept_min: u64,
    pub(super) rock_interval: u64,
    pub(super) pickup_interval: u64,
    pub(super) pickup_life: u64,
}

/// The smallest number of ticks that lasts at least so many milliseconds.
fn ticks(rate: u32, ms: u64) -> u64 {
    (ms * u64::from(rate)).div_ceil(1000).max(1)
}

/// Units per second as sub-units per tick.
fn speed(rate: u32, units_per_s: i32) -> i32 {
    (units_per_s << UNIT_BITS) / rate as i32
}

/// Units as sub-units.
pub(super) const fn units(n: i32) -> i32 {
    n << UNIT_BITS
}

impl Rules {
    /// The constants for options (in their ranges) at a tick rate.
    pub(super) fn new(options: ArenaOptions, tick_rate_hz: u32) -> Self {
        let rate = tick_rate_hz.clamp(1, 128);
        let ms = |ms| ticks(rate, ms);
        let ship = ship_motion(rate);
        let shot_speed = speed(rate, 520);
        // One percent more, because unit vectors are off by up to 0.17 %.
        let speed_max = ship.speed_max + shot_speed;
        Self {
            world: World {
                position_bits: options.position_bits,
                cell_bits: options.position_bits,
                unit_bits: UNIT_BITS,
            },
            tick_rate_hz: rate,
            options,
            ship,
            ship_radius: units(14),
            shot_radius: units(3),
            pickup_radius: units(16),
            shot_speed,
            speed_max: (speed_max + speed_max / 100 + 4).min(VELOCITY_LIMIT),
            part_speed: speed(rate, 50),
            rock_speed: ROCK_SPEED.map(|range| range.map(|s| speed(rate, s))),
            rock_radius: ROCK_RADIUS.map(units),
            shot_life: ms(1100),
            gun_interval: ms(200),
            gun_interval_rapid: ms(100),
            heat_per_shot: ms(400),
            heat_per_shot_rapid: ms(200),
            heat_max: ms(2400),
            rapid: ms(8000),
            respawn: ms(2000),
            protection: ms(2000),
            blame: ms(5000),
            round: ms(u64::from(options.round_s) * 1000),
            pause: ms(u64::from(options.pause_s) * 1000),
            happening_kept: ms(3000),
            // One tick more than 2 s: a happening of tick t is still there at t + 2 s.
            happening_kept_min: ms(2000) + 1,
            rock_interval: ms(1000),
            pickup_interval: ms(3000),
            pickup_life: ms(45_000),
        }
    }

    /// A speed in sub-units per tick as units per second.
    pub(super) fn units_per_s(&self, speed: i64) -> i64 {
        (speed * i64::from(self.tick_rate_hz)) >> UNIT_BITS
    }
}

/// 260 units/s², 340 units/s, 3.6 rad/s, at level 15; a drag that takes about a sixth of the speed each second.
fn ship_motion(rate: u32) -> Motion {
    let rate = rate as i32;
    // 3.6 rad are 37549 of 65536 parts of a turn.
    let turn_rate = (37_549 + 15 * rate / 2) / (15 * rate);
    let per_level = 15 * rate * rate;
    // Rounded up, because the model rounds down: at 128 Hz a tick's push is only four sub-units per tick.
    let acceleration = ((260 << (UNIT_BITS + 4)) + per_level - 1) / per_level;
    // The power of two next below 6.4 times the rate: 7 at 20 Hz.
    let drag_shift = (rate as u32 * 64 / 10).ilog2();
    Motion {
        turn_rate,
        acceleration,
        speed_max: speed(rate as u32, 340),
        drag_shift,
        ..Motion::default()
    }
    .clamped()
}
