//! Once a tick: from what the game publishes to a frame.

use super::frame::{CellFrame, GLOBAL_CELL, Grid, PlayerFrame, TickDeltas, TickFrame};
use super::traced::TracedCell;
use crate::game::{Entity, Published, View, World};
use bytes::Bytes;
use fray_proto::cell::{CELL_ENTITIES_MAX, encode_delta, encode_empty_delta};
use fray_proto::model::{LEVEL_MAX, PAYLOAD_BYTES_MAX, VELOCITY_LIMIT};
use fray_proto::update::{Encoding, frame_cell};
use std::collections::VecDeque;
use std::sync::Arc;

/// The most ticks whose deltas are kept; `place` on the wire tells 128 apart.
const HISTORY_TICKS_MAX: u32 = 64;
/// How long deltas are kept.
const HISTORY_S: u32 = 2;

/// Encodes a room's ticks, each cell at most once. A copy goes on from the same tick; what was encoded is shared.
#[derive(Clone, Debug)]
pub struct Encoder {
    grid: Arc<Grid>,
    tick_rate_hz: u32,
    history_ticks: usize,
    last: Option<Arc<TickFrame>>,
    scratch: Vec<u8>,
}

impl Encoder {
    /// An encoder that has seen no tick yet.
    pub fn new(grid: Grid, tick_rate_hz: u32) -> Self {
        Self {
            grid: Arc::new(grid),
            tick_rate_hz: tick_rate_hz.max(1),
            history_ticks: (tick_rate_hz * HISTORY_S).clamp(4, HISTORY_TICKS_MAX) as usize,
            last: None,
            scratch: Vec::new(),
        }
    }

    /// The room's grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The frame of a tick, one after the tick before.
    pub fn encode(
        &mut self,
        tick: u32,
        published: &Published,
        players: Vec<PlayerFrame>,
        spectator_view: View,
        traced: Vec<TracedCell>,
    ) -> Arc<TickFrame> {
        let cells = self.sort_into_cells(published);
        let deltas = self.encode_deltas(tick, &cells, &traced);
        let mut history = self.last.take().map_or_else(VecDeque::new, |last| last.history.clone());
        if history.len() >= self.history_ticks {
            history.pop_front();
        }
        history.push_back(Arc::new(TickDeltas { cells: deltas }));
        let frame = Arc::new(TickFrame {
            tick,
            check_ticks: self.tick_rate_hz,
            cells,
            history,
            players,
            spectator_view,
            traced,
            grid: Arc::clone(&self.grid),
        });
        self.last = Some(Arc::clone(&frame));
        frame
    }

    fn sort_into_cells(&self, published: &Published) -> Vec<CellFrame> {
        let world = self.grid.world;
        let mut cells: Vec<Vec<Entity>> = Vec::new();
        cells.resize_with(world.cells(), Vec::new);
        cells[GLOBAL_CELL as usize]
            .extend(published.global.iter().map(|entity| within_limits(entity, world)));
        for entity in &published.local {
            let cell = &mut cells[world.cell_of(entity.position) as usize];
            if cell.len() < CELL_ENTITIES_MAX {
                cell.push(within_limits(entity, world));
            }
        }
        cells.into_iter().map(CellFrame::new).collect()
    }

    fn encode_deltas(
        &mut self,
        tick: u32,
        cells: &[CellFrame],
        traced: &[TracedCell],
    ) -> Vec<(u32, Bytes)> {
        let mut deltas = Vec::new();
        let Some(last) = &self.last else {
            return deltas;
        };
        for (index, cell) in cells.iter().enumerate() {
            let number = index as u32;
            self.scratch.clear();
            let before = &last.cells[index].entities;
            let mut says_something =
                encode_delta(before, &cell.entities, number, self.grid.rules(), &mut self.scratch);
            // Staggered, so that no tick pays for all cells; the period is a second.
            let is_checked = tick.wrapping_add(number).is_multiple_of(self.tick_rate_hz);
            let moves = || traced.iter().filter(|traced| traced.cell == number);
            if (is_checked || moves().next().is_some()) && !says_something {
                encode_empty_delta(&mut self.scratch);
                says_something = true;
            }
            if says_something {
                let checksum = is_checked.then(|| cell.checksum(number));
                let moves = moves().map(|traced| traced.moved);
                let framed =
                    frame_cell(number, tick, Encoding::Delta, &self.scratch, checksum, moves);
                deltas.push((number, framed));
            }
        }
        deltas
    }
}

/// A copy that the wire can carry, whatever the game made: clients refuse what is out of range, so it is cut here, before
/// the checksum is taken, and all of them see the same.
fn within_limits(entity: &Entity, world: World) -> Entity {
    let limit = VELOCITY_LIMIT;
    let mut entity = entity.clone();
    entity.position = entity.position.map(|coordinate| world.wrap(coordinate));
    entity.velocity = entity.velocity.map(|v| v.clamp(-limit, limit));
    entity.turn = entity.turn.clamp(-LEVEL_MAX, LEVEL_MAX);
    entity.thrust = entity.thrust.clamp(-LEVEL_MAX, LEVEL_MAX);
    entity.payload = match entity.payload.take() {
        Some(long) if long.len() > PAYLOAD_BYTES_MAX => Some(long[..PAYLOAD_BYTES_MAX].into()),
        other => other.filter(|payload| !payload.is_empty()),
    };
    entity
}
