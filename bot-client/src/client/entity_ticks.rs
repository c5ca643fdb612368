//! Applies updates to a replica and counts what they carried: how many entities in view moved, in every tick.
//!
//! Bytes per entity and tick is the measure of a replication scheme, and its denominator must not be flattering: an
//! entity counts for a tick only if its position differs from the tick before, or if it came into view.

use fray_proto::replica::{Error, Replica};
use fray_proto::v1;

/// Entities that moved, summed over ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntityTicks {
    /// Of every kind that has a place in the world.
    pub all: u64,
    /// Those of the kind that is counted apart.
    pub apart: u64,
}

/// Counts entity ticks; keeps its memory from update to update.
#[derive(Debug)]
pub(super) struct EntityTickCounter {
    kind_apart: u32,
    before: Vec<(u32, u32, [i32; 2])>,
}

impl EntityTickCounter {
    /// A counter that counts one kind apart.
    pub(super) fn new(kind_apart: u32) -> Self {
        Self { kind_apart, before: Vec::new() }
    }

    /// Applies an update as [`Replica::apply`] does, tick by tick where it spans several.
    pub(super) fn apply(
        &mut self,
        replica: &mut Replica,
        update: v1::Update,
    ) -> Result<EntityTicks, Error> {
        let mut sum = EntityTicks::default();
        for step in split(update, replica.tick()) {
            let starts_over = step.base_tick == Some(0);
            self.remember(replica, starts_over);
            replica.apply(&step)?;
            let moved = self.moved(replica);
            sum.all += moved.all;
            sum.apart += moved.apart;
        }
        Ok(sum)
    }

    fn remember(&mut self, replica: &Replica, starts_over: bool) {
        self.before.clear();
        if !starts_over {
            for (cell, entities) in replica.cells().filter(|(cell, _)| *cell != 0) {
                self.before.extend(entities.iter().map(|e| (cell, e.id, e.position)));
            }
        }
    }

    /// Both lists are in the order of cells and ids. An entity that is not where it was listed came into view, or crossed
    /// a border: it moved either way.
    fn moved(&self, replica: &Replica) -> EntityTicks {
        let mut moved = EntityTicks::default();
        let mut before = self.before.iter().peekable();
        for (cell, entities) in replica.cells().filter(|(cell, _)| *cell != 0) {
            for entity in entities {
                let place = (cell, entity.id);
                while before.next_if(|(cell, id, _)| (*cell, *id) < place).is_some() {}
                let stayed = before.next_if(|(cell, id, _)| (*cell, *id) == place);
                if stayed.is_none_or(|(_, _, position)| *position != entity.position) {
                    moved.all += 1;
                    moved.apart += u64::from(entity.kind == self.kind_apart);
                }
            }
        }
        moved
    }
}

/// An update that spans several ticks, as one update for each. What cannot be split is left as it is.
fn split(update: v1::Update, held: u32) -> Vec<v1::Update> {
    let base = update.base_tick.unwrap_or(update.tick.wrapping_sub(1));
    let spans = update.tick.saturating_sub(base);
    if base == 0 || base != held || !(2..=127).contains(&spans) {
        return vec![update];
    }
    let tick_of = |cell: &v1::CellUpdate| {
        update.tick.saturating_sub(update.tick.wrapping_sub(cell.place) % 128)
    };
    let in_range = update.cells.iter().all(|cell| tick_of(cell) > base);
    let in_order = update.cells.is_sorted_by_key(tick_of);
    if !in_range || !in_order {
        return vec![update];
    }
    let mut steps: Vec<v1::Update> =
        (base + 1..update.tick).map(|tick| v1::Update { tick, ..v1::Update::default() }).collect();
    let mut last = v1::Update { base_tick: None, ..update.clone() };
    last.cells.clear();
    last.cells_removed.clear();
    steps.push(last);
    steps[0].cells_removed.clone_from(&update.cells_removed);
    for cell in update.cells.iter().cloned() {
        let tick = tick_of(&cell);
        steps[(tick - base - 1) as usize].cells.push(cell);
    }
    steps
}
