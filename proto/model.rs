//! Entities and how they move: the integers that server and client share.
//!
//! Both sides advance every entity by the same rules, so the server needs to send only what these rules miss. Everything
//! is integer, products stay below 2^53 (JavaScript's numbers), divisions and shifts floor, and sums wrap or saturate
//! explicitly. The page proto/REPLICATION.md says the same in prose for other languages.

use std::sync::Arc;

/// How many small attributes an entity has.
pub const ATTRIBUTES: usize = 8;
/// Velocities stay within ± this, in sub-units per tick, so that their squares stay below 2^53.
pub const VELOCITY_LIMIT: i32 = 1 << 24;
/// The highest level of [`Entity::turn`] and [`Entity::thrust`].
pub const LEVEL_MAX: i8 = 15;
/// The most bytes that an entity's payload may have.
pub const PAYLOAD_BYTES_MAX: usize = 256;

/// One thing in the world, as it is replicated.
///
/// Entities of the global cell have no place: position, velocity and heading are 0 and stay so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entity {
    /// Unique in the room, never given to another entity.
    pub id: u32,
    /// What it is; the game's. Fixed for life.
    pub kind: u32,
    /// In sub-units, each in `0..2^position_bits`.
    pub position: [i32; 2],
    /// In sub-units per tick, each within ± [`VELOCITY_LIMIT`].
    pub velocity: [i32; 2],
    /// Which way it points: 65536 is a full turn, 0 along x, a quarter along y.
    pub heading: u16,
    /// How hard it turns: ± [`LEVEL_MAX`] times the kind's turn rate, per tick.
    pub turn: i8,
    /// How hard it accelerates along its heading: ± [`LEVEL_MAX`] times the kind's acceleration, per tick.
    pub thrust: i8,
    /// Small numbers whose meaning is the game's.
    pub attributes: [i32; ATTRIBUTES],
    /// What a game adds, 1 to [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Option<Arc<[u8]>>,
}

/// The motion constants of one kind of entity. All zero: it moves straight on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Motion {
    /// Heading change per tick and level of turn. 0 to 4096.
    pub turn_rate: i32,
    /// Velocity change per tick and level of thrust, in 1/16 sub-units per tick. 0 to 2^16.
    pub acceleration: i32,
    /// Top speed, sub-units per tick; 0: none. At most [`VELOCITY_LIMIT`].
    pub speed_max: i32,
    /// Each tick velocity loses `|v| >> drag_shift`; 0: no drag. At most 31.
    pub drag_shift: u32,
    /// Entities of this kind are launched by others, this fast along their heading, in sub-units per tick; 0: they are
    /// not. At most 2^20. See [`launched`].
    pub launch_speed: i32,
    /// How far ahead of who launched it such an entity begins, in sub-units. 0 to 2^20.
    pub launch_distance: i32,
}

impl Motion {
    /// The same, with every constant brought into its range: whoever sent it, [`advance`] cannot overflow.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            turn_rate: self.turn_rate.clamp(0, 4096),
            acceleration: self.acceleration.clamp(0, 1 << 16),
            speed_max: self.speed_max.clamp(0, VELOCITY_LIMIT),
            drag_shift: self.drag_shift.min(31),
            launch_speed: self.launch_speed.clamp(0, 1 << 20),
            launch_distance: self.launch_distance.clamp(0, 1 << 20),
        }
    }
}

/// Motion constants by kind; kinds without an entry move straight on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Motions(Vec<Motion>);

impl Motions {
    /// Kinds at or above this have no motion constants.
    pub const KIND_MAX: u32 = 256;

    /// Sets the constants of `kind`; ignored for kinds at or above [`Self::KIND_MAX`].
    pub fn set(&mut self, kind: u32, motion: Motion) {
        if kind < Self::KIND_MAX {
            let index = kind as usize;
            if self.0.len() <= index {
                self.0.resize(index + 1, Motion::default());
            }
            self.0[index] = motion.clamped();
        }
    }

    /// The constants of `kind`.
    pub fn of(&self, kind: u32) -> Motion {
        self.0.get(kind as usize).copied().unwrap_or_default()
    }

    /// All kinds with constants.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Motion)> + '_ {
        let kinds = self.0.iter().enumerate();
        kinds.filter(|(_, m)| **m != Motion::default()).map(|(kind, motion)| (kind as u32, *motion))
    }
}

/// The shape of the world: a torus, and the grid of cells on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    /// The torus has edges of `2^position_bits` sub-units; 8 to 30.
    pub position_bits: u32,
    /// A cell has edges of `2^cell_bits` sub-units; at most `position_bits`.
    pub cell_bits: u32,
    /// A unit for display is `2^unit_bits` sub-units.
    pub unit_bits: u32,
}

impl World {
    /// Whether the numbers are in their ranges, and the grid has at most 2^20 cells.
    pub fn is_valid(self) -> bool {
        (8..=30).contains(&self.position_bits)
            && self.cell_bits <= self.position_bits
            && self.position_bits - self.cell_bits <= 10
            && self.unit_bits <= self.position_bits
    }

    /// The world's edge in sub-units.
    pub fn size(self) -> i32 {
        1 << self.position_bits
    }

    /// Cells along an edge.
    pub fn columns(self) -> u32 {
        1 << (self.position_bits - self.cell_bits)
    }

    /// All cells, the global one included.
    pub fn cells(self) -> usize {
        1 + (self.columns() as usize).pow(2)
    }

    /// The cell that covers a position; never the global cell.
    pub fn cell_of(self, position: [i32; 2]) -> u32 {
        let [x, y] = position.map(|p| (self.wrap(p) >> self.cell_bits) as u32);
        1 + x + y * self.columns()
    }

    /// The corner of a cell with the least coordinates; the global cell has [0, 0].
    pub fn origin_of(self, cell: u32) -> [i32; 2] {
        let index = cell.saturating_sub(1);
        [index % self.columns(), index / self.columns()].map(|i| (i << self.cell_bits) as i32)
    }

    /// Brings a coordinate onto the torus.
    pub fn wrap(self, coordinate: i32) -> i32 {
        coordinate & (self.size() - 1)
    }

    /// The shortest way from `from` to `to` on the torus, in `-size/2..size/2`.
    pub fn difference(self, to: i32, from: i32) -> i32 {
        let half = self.size() / 2;
        self.wrap(to.wrapping_sub(from).wrapping_add(half)) - half
    }
}

/// Moves an entity by one tick: heading, then velocity, then position.
pub fn advance(entity: &mut Entity, motion: Motion, world: World) {
    entity.heading = advanced_heading(entity, motion);
    entity.velocity = advanced_velocity(entity, motion);
    entity.position = advanced_position(entity, world);
}

/// The heading after one tick of turning.
pub fn advanced_heading(entity: &Entity, motion: Motion) -> u16 {
    let turned = i32::from(entity.turn) * motion.turn_rate;
    entity.heading.wrapping_add(turned as u16)
}

/// The velocity after one tick of thrust along the (already advanced) heading, drag, and the limit of speed.
pub fn advanced_velocity(entity: &Entity, motion: Motion) -> [i32; 2] {
    let mut velocity = entity.velocity.map(i64::from);
    if entity.thrust != 0 && motion.acceleration != 0 {
        let push = i64::from(entity.thrust) * i64::from(motion.acceleration);
        let [x, y] = direction(entity.heading);
        velocity[0] += (i64::from(x) * push) >> (DIRECTION_BITS + 4);
        velocity[1] += (i64::from(y) * push) >> (DIRECTION_BITS + 4);
    }
    if motion.drag_shift != 0 {
        velocity = velocity.map(|v| v - v.signum() * (v.abs() >> motion.drag_shift));
    }
    let limit = i64::from(VELOCITY_LIMIT);
    velocity = velocity.map(|v| v.clamp(-limit, limit));
    let max = i64::from(motion.speed_max);
    let squared = velocity[0] * velocity[0] + velocity[1] * velocity[1];
    if max != 0 && squared > max * max {
        let speed = squared.isqrt();
        velocity = velocity.map(|v| (v * max).div_euclid(speed));
    }
    velocity.map(|v| v as i32)
}

/// The position after one tick at the (already advanced) velocity.
pub fn advanced_position(entity: &Entity, world: World) -> [i32; 2] {
    let [x, y] = entity.position;
    let [vx, vy] = entity.velocity;
    [world.wrap(x.wrapping_add(vx)), world.wrap(y.wrapping_add(vy))]
}

/// An entity of a kind that is launched, as it is in the tick in which `parent` launched it (both have been moved already):
/// ahead of its parent, faster by the kind's launch speed, with the parent's first attribute (whose it is) and no others.
pub fn launched(parent: &Entity, id: u32, kind: u32, motion: Motion, world: World) -> Entity {
    let ahead = direction(parent.heading).map(i64::from);
    let along = |length: i32| ahead.map(|d| ((d * i64::from(length)) >> DIRECTION_BITS) as i32);
    let (muzzle, push) = (along(motion.launch_distance), along(motion.launch_speed));
    let limit = VELOCITY_LIMIT;
    let mut attributes = [0; ATTRIBUTES];
    attributes[0] = parent.attributes[0];
    Entity {
        id,
        kind,
        position: [0, 1].map(|i| world.wrap(parent.position[i].wrapping_add(muzzle[i]))),
        velocity: [0, 1].map(|i| (parent.velocity[i] + push[i]).clamp(-limit, limit)),
        attributes,
        ..Entity::default()
    }
}

/// Directions are unit vectors times 2^14.
pub const DIRECTION_BITS: u32 = 14;

/// The unit vector of a heading, times 2^14.
///
/// Bhāskara's rational approximation of the sine (7th century, off by at most 0.0017), in integers: the same in every
/// language, without a table.
pub fn direction(heading: u16) -> [i32; 2] {
    [sine(heading.wrapping_add(1 << 14)), sine(heading)]
}

fn sine(angle: u16) -> i32 {
    let half_turn = 1_i64 << 15;
    let within = i64::from(angle) & (half_turn - 1);
    let bow = within * (half_turn - within);
    let value = ((bow << (4 + DIRECTION_BITS)) / (5 * half_turn * half_turn - 4 * bow)) as i32;
    if angle < 1 << 15 { value } else { -value }
}

/// What a player holds down, as far as it steers an entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// -127 (left) to 127 (right).
    pub axis_x: i32,
    /// -127 (back) to 127 (forward).
    pub axis_y: i32,
    /// The heading to turn to; overrides `axis_x`.
    pub aim: Option<u16>,
}

/// Sets an entity's turn and thrust for the tick to come, as a pilot with these controls would; call it before
/// [`advance`], every tick. A game that steers its ships by this rule can be predicted by every client.
///
/// With an aim the entity turns towards it as fast as it can, and snaps to it when less than one tick is missing.
/// Backward thrust has half the force.
pub fn steer(entity: &mut Entity, steering: Steering, motion: Motion) {
    let level = |axis: i32| (axis.clamp(-127, 127) / 8) as i8;
    let forward = level(steering.axis_y);
    entity.thrust = if forward < 0 { forward / 2 } else { forward };
    entity.turn = match steering.aim {
        None => level(steering.axis_x),
        Some(aim) => {
            let missing = i32::from(aim.wrapping_sub(entity.heading) as i16);
            if missing.abs() <= i32::from(LEVEL_MAX) * motion.turn_rate {
                entity.heading = aim;
                0
            } else if missing > 0 {
                LEVEL_MAX
            } else {
                -LEVEL_MAX
            }
        }
    };
}
