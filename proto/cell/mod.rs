//! The bytes of a cell: a delta takes it from one tick to the next, a keyframe is all of it.
//!
//! A delta holds only what the motion model misses: entities that left, residuals of those that stayed, and entities
//! that entered. proto/REPLICATION.md has the layout. [`encode_delta`] and [`apply_delta`] stand side by side
//! so that they change together.

mod decode;
mod encode;

pub use decode::{DecodeError, apply_delta, read_keyframe};
pub use encode::{encode_delta, encode_empty_delta, encode_keyframe, put_varint};

use crate::model::{self, Entity, Motions, World};

/// The most entities that a cell may hold; a decoder refuses more.
pub const CELL_ENTITIES_MAX: usize = 1 << 16;

const TURN: u32 = 1;
const THRUST: u32 = 2;
const HEADING: u32 = 4;
const VELOCITY: u32 = 8;
const POSITION: u32 = 16;
const ATTRIBUTE: u32 = 32;
const PAYLOAD: u32 = 64;
/// Bits of a row's mask; the rank gap stands above them.
const MASK_BITS: u32 = 7;

const HAS_LEAVES: u32 = 1;
const HAS_ENTERS: u32 = 2;
const HAS_LAUNCHES: u32 = 4;
/// Bits of a delta's head below the count of changes.
const HEAD_BITS: u32 = 3;

/// What both sides must agree on to read a cell.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The shape of the world.
    pub world: World,
    /// Motion constants by kind.
    pub motions: &'a Motions,
}

/// Moves all entities of a cell by one tick; the global cell's stay where they are.
pub fn advance_cell(entities: &mut [Entity], cell: u32, rules: Rules<'_>) {
    if cell != 0 {
        for entity in entities {
            let motion = rules.motions.of(entity.kind);
            model::advance(entity, motion, rules.world);
        }
    }
}

/// One above the highest id in a cell; above the highest of all ids there is none, and nothing can be launched.
fn id_after(entities: &[Entity]) -> u64 {
    entities.last().map_or(0, |last| u64::from(last.id) + 1)
}
