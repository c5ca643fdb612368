//! A client's copy of the world: applies updates, refuses what does not fit, checks every checksum.
//!
//! It is the reference for other languages; proto/REPLICATION.md is its specification.

use crate::cell::{self, DecodeError, Rules};
use crate::hash::{MoveContent, cell_checksum};
use crate::model::{Entity, Motion, Motions, World};
use crate::update::PLACE_TICKS;
use crate::v1;
use std::collections::BTreeMap;

/// The most ticks that one update may span; a server keeps fewer, and `place` tells 128 apart.
pub const UPDATE_TICKS_MAX: u32 = 127;

/// Why an update was refused. The replica is then empty: ask for a `Resync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The update builds on another tick than the one held.
    #[error("the update builds on tick {base}, but tick {held} is held")]
    BaseMismatch {
        /// What the update builds on.
        base: u32,
        /// What the replica holds; 0 is nothing.
        held: u32,
    },
    /// Bytes that are not what they should be.
    #[error("cell {cell}: {error}")]
    Malformed {
        /// The cell.
        cell: u32,
        /// What is wrong.
        error: DecodeError,
    },
    /// The header contradicts itself or the cells.
    #[error("the update is inconsistent: {0}")]
    Inconsistent(&'static str),
    /// An encoding that this replica does not know.
    #[error("cell {cell} comes in an unknown encoding")]
    UnknownEncoding {
        /// The cell.
        cell: u32,
    },
    /// A cell differs from the server's: a desync.
    #[error("cell {cell} differs from the server's at tick {tick}")]
    CellChecksum {
        /// The cell.
        cell: u32,
        /// When.
        tick: u32,
    },
    /// A cell is held that should not be, or the other way round: a desync.
    #[error("the view differs from the server's at tick {tick}")]
    ViewChecksum {
        /// When.
        tick: u32,
    },
}

impl Error {
    /// Whether the server's and the client's worlds came apart though every byte was well formed.
    pub fn is_desync(&self) -> bool {
        matches!(self, Self::CellChecksum { .. } | Self::ViewChecksum { .. })
    }

    /// The message that asks the server to start again.
    pub fn resync(&self, tick: u32) -> v1::Resync {
        use v1::resync::Reason;
        let (reason, cell) = match *self {
            Self::BaseMismatch { .. } => (Reason::BaseMismatch, None),
            Self::Malformed { cell, .. } | Self::UnknownEncoding { cell } => {
                (Reason::Malformed, Some(cell))
            }
            Self::Inconsistent(_) => (Reason::Malformed, None),
            Self::CellChecksum { cell, .. } => (Reason::ChecksumMismatch, Some(cell)),
            Self::ViewChecksum { .. } => (Reason::ChecksumMismatch, None),
        };
        v1::Resync { reason: reason.into(), tick, cell }
    }
}

#[derive(Clone, Debug, Default)]
struct Cell {
    tick: u32,
    entities: Vec<Entity>,
}

/// The part of the world that a stream shows, at one tick.
#[derive(Clone, Debug)]
pub struct Replica {
    world: World,
    motions: Motions,
    tick: u32,
    cells: BTreeMap<u32, Cell>,
    checksums_checked: u64,
}

impl Replica {
    /// An empty replica, or `None` when the world's numbers are out of range.
    pub fn new(world: World, motions: Motions) -> Option<Self> {
        world.is_valid().then_some(Self {
            world,
            motions,
            tick: 0,
            cells: BTreeMap::new(),
            checksums_checked: 0,
        })
    }

    /// An empty replica for the room that a `Welcome` describes, or `None` when its numbers are out of range.
    pub fn for_welcome(welcome: &v1::Welcome) -> Option<Self> {
        let world = welcome.world.as_ref()?;
        let world = World {
            position_bits: world.position_bits,
            cell_bits: world.cell_bits,
            unit_bits: world.unit_bits,
        };
        let mut motions = Motions::default();
        for motion in &welcome.motions {
            let constants = Motion {
                turn_rate: i32::try_from(motion.turn_rate).ok()?,
                acceleration: i32::try_from(motion.acceleration).ok()?,
                speed_max: i32::try_from(motion.speed_max).ok()?,
                drag_shift: motion.drag_shift,
                launch_speed: i32::try_from(motion.launch_speed).ok()?,
                launch_distance: i32::try_from(motion.launch_distance).ok()?,
            };
            motions.set(motion.kind, constants);
        }
        Self::new(world, motions)
    }

    /// Applies an update. On an error the replica is emptied, and the next update must start from nothing.
    pub fn apply(&mut self, update: &v1::Update) -> Result<(), Error> {
        let result = self.try_apply(update);
        if result.is_err() {
            self.clear();
        }
        result
    }

    /// Drops everything; the next update must start from nothing.
    pub fn clear(&mut self) {
        self.tick = 0;
        self.cells.clear();
    }

    fn try_apply(&mut self, update: &v1::Update) -> Result<(), Error> {
        let base = update.base_tick.unwrap_or(update.tick.wrapping_sub(1));
        if base == 0 {
            self.clear();
        } else if base != self.tick {
            return Err(Error::BaseMismatch { base, held: self.tick });
        }
        let from = if base == 0 { update.tick.wrapping_sub(1) } else { base };
        if update.tick <= from || update.tick - from > UPDATE_TICKS_MAX {
            return Err(Error::Inconsistent("it spans no tick, or too many"));
        }
        for cell in &update.cells_removed {
            self.cells
                .remove(cell)
                .ok_or(Error::Inconsistent("a cell is removed that is not held"))?;
        }
        let mut added = Vec::new();
        for message in &update.cells {
            if self.apply_cell(message, from, update.tick)? {
                added.push(message.place / PLACE_TICKS);
            }
        }
        let mut announced = update.cells_added.clone();
        added.sort_unstable();
        announced.sort_unstable();
        if added != announced {
            let problem = "the cells added are not the ones announced";
            return Err(Error::Inconsistent(problem));
        }
        let rules = Rules { world: self.world, motions: &self.motions };
        for (index, cell) in &mut self.cells {
            advance_to(cell, *index, update.tick, rules);
        }
        self.tick = update.tick;
        if let Some(expected) = update.view_checksum {
            let sum = self.view_checksum();
            self.checksums_checked += 1;
            if sum != expected {
                return Err(Error::ViewChecksum { tick: update.tick });
            }
        }
        Ok(())
    }

    /// Returns whether the cell is new.
    fn apply_cell(&mut self, message: &v1::CellUpdate, from: u32, to: u32) -> Result<bool, Error> {
        use v1::cell_update::Encoding;
        let index = message.place / PLACE_TICKS;
        if index as usize >= self.world.cells() {
            return Err(Error::Inconsistent("a cell outside the world"));
        }
        let malformed = |error| Error::Malformed { cell: index, error };
        let rules = Rules { world: self.world, motions: &self.motions };
        let back = to.wrapping_sub(message.place) % PLACE_TICKS;
        let tick = to.wrapping_sub(back);
        let mut is_new = false;
        let cell = match &message.encoding {
            None => return Err(Error::UnknownEncoding { cell: index }),
            Some(Encoding::Keyframe(bytes)) => {
                if tick != to {
                    return Err(Error::Inconsistent("a keyframe of another tick"));
                }
                let entities = cell::read_keyframe(bytes, index, self.world).map_err(malformed)?;
                is_new = self.cells.insert(index, Cell { tick, entities }).is_none();
                self.cells.get_mut(&index).ok_or(Error::Inconsistent("just inserted"))?
            }
            Some(Encoding::Delta(bytes)) => {
                let cell = self
                    .cells
                    .get_mut(&index)
                    .ok_or(Error::Inconsistent("a delta of a cell that is not held"))?;
                if back >= to - from || tick <= cell.tick {
                    return Err(Error::Inconsistent("a delta out of order"));
                }
                advance_to(cell, index, tick - 1, rules);
                cell::apply_delta(&mut cell.entities, bytes, index, rules).map_err(malformed)?;
                cell.tick = tick;
                cell
            }
        };
        if let Some(expected) = message.checksum {
            self.checksums_checked += 1;
            if cell_checksum(index, &cell.entities) != expected {
                return Err(Error::CellChecksum { cell: index, tick });
            }
        }
        Ok(is_new)
    }

    /// The wrapping sum of the checksums of all cells held.
    pub fn view_checksum(&self) -> u32 {
        self.cells
            .iter()
            .fold(0, |sum, (index, cell)| sum.wrapping_add(cell_checksum(*index, &cell.entities)))
    }

    /// The tick held; 0 is nothing.
    pub fn tick(&self) -> u32 {
        self.tick
    }

    /// The shape of the world.
    pub fn world(&self) -> World {
        self.world
    }

    /// The motion constants.
    pub fn motions(&self) -> &Motions {
        &self.motions
    }

    /// How many checksums were compared so far.
    pub fn checksums_checked(&self) -> u64 {
        self.checksums_checked
    }

    /// The cells held and their entities, in order.
    pub fn cells(&self) -> impl Iterator<Item = (u32, &[Entity])> {
        self.cells.iter().map(|(index, cell)| (*index, cell.entities.as_slice()))
    }

    /// The entities that have a place in the world.
    pub fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.cells().filter(|(index, _)| *index != 0).flat_map(|(_, entities)| entities)
    }

    /// The entities of the global cell.
    pub fn globals(&self) -> &[Entity] {
        self.cells.get(&0).map_or(&[], |cell| &cell.entities)
    }

    /// The entity of this id, if it is in view.
    pub fn entity(&self, id: u32) -> Option<&Entity> {
        self.cells.values().find_map(|cell| {
            let index = cell.entities.binary_search_by_key(&id, |entity| entity.id);
            index.ok().map(|index| &cell.entities[index])
        })
    }
}

/// What the applied hash covers of a move that a client sent.
impl<'a> From<&'a v1::Move> for MoveContent<'a> {
    fn from(message: &'a v1::Move) -> Self {
        Self {
            sequence: message.sequence,
            axis_x: message.axis_x,
            axis_y: message.axis_y,
            aim: message.aim,
            buttons: message.buttons,
            target: message.target,
            payload: &message.payload,
        }
    }
}

fn advance_to(cell: &mut Cell, index: u32, tick: u32, rules: Rules<'_>) {
    if index == 0 {
        cell.tick = cell.tick.max(tick);
    }
    while cell.tick < tick {
        cell::advance_cell(&mut cell.entities, index, rules);
        cell.tick += 1;
    }
}
