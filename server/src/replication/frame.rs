//! One tick of a room, as all its streams share it.

use super::traced::TracedCell;
use crate::game::{Entity, Game, Motions, Refusal, View, World, WorldLimits};
use bytes::Bytes;
use fray_proto::cell::{Rules, encode_keyframe};
use fray_proto::hash::cell_checksum;
use fray_proto::update::{Encoding, MoveAck, frame_cell};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// The most private values that a game may give per player.
pub const PRIVATE_VALUES_MAX: usize = 8;
/// The cell that everybody sees.
pub const GLOBAL_CELL: u32 = 0;

/// How a game's world is cut into cells; constant for a room.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The world, with the size of its cells.
    pub world: World,
    /// Motion constants by kind.
    pub motions: Motions,
}

impl Grid {
    /// A cell's edge is the least power of two that is at least 20 ticks of top speed and 1/8 of the world: small enough
    /// that a view is a part of the world, large enough that few entities cross from one into another.
    pub fn new(limits: WorldLimits, motions: Motions) -> Self {
        Self::with_views(limits, motions, 0)
    }

    /// As this game asks for it.
    pub fn of(game: &dyn Game) -> Self {
        Self::with_views(game.world(), game.motions(), game.view_extent_min())
    }

    /// The same, and an edge is no shorter than half of the power of two above the smallest view's extent. A world that everybody
    /// sees is one cell.
    fn with_views(limits: WorldLimits, motions: Motions, view_extent_min: i32) -> Self {
        const CELL_TICKS_MIN: i64 = 20;
        let bits = limits.position_bits.clamp(8, 30);
        let edge = i64::from(limits.speed_max.max(0)) * CELL_TICKS_MIN;
        let cell_bits = (0..bits).find(|b| 1_i64 << b >= edge).unwrap_or(bits);
        let view = i64::from(view_extent_min.max(1));
        let view_bits = if view * 2 >= 1 << bits { bits } else { view.ilog2() };
        let world = World {
            position_bits: bits,
            cell_bits: cell_bits.max(bits.saturating_sub(3)).max(view_bits),
            unit_bits: limits.unit_bits.min(bits),
        };
        Self { world, motions }
    }

    pub(super) fn rules(&self) -> Rules<'_> {
        Rules { world: self.world, motions: &self.motions }
    }
}

/// The state of a room at one tick. Immutable: what is made on first need is made from this state, never from a later one.
#[derive(Debug)]
pub struct TickFrame {
    /// The tick; the first is 1.
    pub tick: u32,
    /// Once in as many ticks, whichever ticks it gets, a stream's update carries the checksum of the view.
    pub(super) check_ticks: u32,
    /// By number; [`GLOBAL_CELL`] first.
    pub(super) cells: Vec<CellFrame>,
    /// The deltas of the newest ticks, this one's last.
    pub(super) history: VecDeque<Arc<TickDeltas>>,
    /// In ascending order of player numbers.
    pub players: Vec<PlayerFrame>,
    /// Where spectators look who follow nobody.
    pub spectator_view: View,
    /// Sampled moves that took effect in this tick; nearly always none.
    pub traced: Vec<TracedCell>,
    pub(super) grid: Arc<Grid>,
}

/// One cell at one tick.
#[derive(Debug, Default)]
pub(super) struct CellFrame {
    pub(super) entities: Vec<Entity>,
    keyframe: OnceLock<Bytes>,
    checksum: OnceLock<u32>,
}

/// The cells that did something unpredicted in one tick, each as an element of `Update.cells`, in ascending order.
#[derive(Debug)]
pub(super) struct TickDeltas {
    pub(super) cells: Vec<(u32, Bytes)>,
}

impl CellFrame {
    pub(super) fn new(entities: Vec<Entity>) -> Self {
        Self { entities, ..Self::default() }
    }

    pub(super) fn checksum(&self, cell: u32) -> u32 {
        *self.checksum.get_or_init(|| cell_checksum(cell, &self.entities))
    }
}

/// What a tick holds for one player alone.
#[derive(Clone, Debug)]
pub struct PlayerFrame {
    /// The player's number in the room.
    pub player: u32,
    /// Which of the player's streams may go on: the newest.
    pub generation: u32,
    /// The player has left; this is the last state for its stream.
    pub left: bool,
    /// Which moves are in the state.
    pub ack: MoveAck,
    /// Moves that were refused lately: tick, sequence, reason. Oldest first.
    pub refusals: Vec<(u32, u32, Refusal)>,
    /// Private values, and how many of them there are.
    pub private: ([i32; PRIVATE_VALUES_MAX], usize),
    /// Where the player looks.
    pub view: View,
}

impl TickFrame {
    /// What is there for one player.
    pub fn player(&self, player: u32) -> Option<&PlayerFrame> {
        let index = self.players.binary_search_by_key(&player, |frame| frame.player);
        index.ok().map(|index| &self.players[index])
    }

    /// Bytes that this tick's deltas took.
    pub fn delta_bytes(&self) -> u64 {
        let cells = self.history.back().into_iter().flat_map(|tick| &tick.cells);
        cells.map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// The cell as an element of `Update.cells`; encoded on first need, then shared. Whoever encodes it is told how long it is.
    pub(super) fn keyframe(&self, cell: u32, encoded_bytes: &mut u64) -> &Bytes {
        let frame = &self.cells[cell as usize];
        frame.keyframe.get_or_init(|| {
            let mut body = Vec::with_capacity(8 + frame.entities.len() * 16);
            encode_keyframe(&frame.entities, cell, self.grid.world, &mut body);
            let framed = frame_cell(cell, self.tick, Encoding::Keyframe, &body, None, []);
            *encoded_bytes += framed.len() as u64;
            framed
        })
    }

    /// The wrapping sum of these cells' checksums.
    pub(super) fn view_checksum(&self, cells: &[u32]) -> u32 {
        let checksums = cells.iter().map(|cell| self.cells[*cell as usize].checksum(*cell));
        checksums.fold(0, u32::wrapping_add)
    }

    /// The entities of a cell, as they are after this tick.
    pub fn entities(&self, cell: u32) -> &[Entity] {
        self.cells.get(cell as usize).map_or(&[], |frame| &frame.entities)
    }

    /// All that this room's streams share about the world.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::Published;
    use crate::replication::{Encoder, Splicer};

    #[test]
    fn what_describes_a_cell_is_encoded_once_and_shared() {
        let limits = WorldLimits { position_bits: 12, unit_bits: 4, speed_max: 10 };
        let mut encoder = Encoder::new(Grid::new(limits, Motions::default()), 20);
        let view = View { center: [0, 0], extent: [100, 100] };
        let mut shown = Published::default();
        shown.local.push(Entity { id: 1, ..Entity::default() });
        encoder.encode(1, &shown, Vec::new(), view, Vec::new());
        shown.local[0].attributes[0] = 5;
        let frame = encoder.encode(2, &shown, Vec::new(), view, Vec::new());

        let mut encoded_bytes = 0;
        let keyframe = frame.keyframe(1, &mut encoded_bytes).as_ptr();
        assert_eq!(encoded_bytes, frame.keyframe(1, &mut 0).len() as u64);
        let mut global_bytes = 0;
        frame.keyframe(0, &mut global_bytes);
        for _ in 0..3 {
            let mut splicer = Splicer::default();
            assert!(splicer.update(&frame, None, view).is_some());
            assert_eq!(
                frame.keyframe(1, &mut encoded_bytes).as_ptr(),
                keyframe,
                "not encoded again"
            );
            let counts = splicer.take_counts();
            assert!(counts.spliced_bytes >= encoded_bytes + global_bytes, "what was shared counts");
        }
        assert_eq!(encoded_bytes, frame.keyframe(1, &mut 0).len() as u64, "counted once");
        let delta = |splicer: &mut Splicer| splicer.update(&frame, None, view);
        let (mut one, mut other) = (Splicer::default(), Splicer::default());
        assert_eq!(delta(&mut one), delta(&mut other));
    }
}
