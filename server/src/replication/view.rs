//! Which cells a player sees.

use super::frame::GLOBAL_CELL;
use crate::game::{View, World};

/// How far beyond the view a cell must be before it is given up, as a part of a cell's edge: 1/4. Without this hysteresis
/// a player on a border would be sent the same keyframes again and again.
const KEEP_SHIFT: u32 = 2;

/// Replaces `held` (ascending) by the cells to be seen now: all that the view touches, and those already held that it
/// almost touches. The global cell is always among them.
pub fn select(world: World, view: View, held: &mut Vec<u32>, scratch: &mut Vec<u32>) {
    scratch.clear();
    scratch.push(GLOBAL_CELL);
    let keep = (1 << world.cell_bits) >> KEEP_SHIFT;
    let [near_x, near_y] = [0, 1].map(|axis| span(world, view, axis, 0));
    let [far_x, far_y] = [0, 1].map(|axis| span(world, view, axis, keep));
    let columns = world.columns();
    for row in 0..columns {
        if !far_y.holds(row, columns) {
            continue;
        }
        for column in (0..columns).filter(|column| far_x.holds(*column, columns)) {
            let cell = 1 + column + row * columns;
            let is_near = near_x.holds(column, columns) && near_y.holds(row, columns);
            if is_near || held.binary_search(&cell).is_ok() {
                scratch.push(cell);
            }
        }
    }
    std::mem::swap(held, scratch);
}

/// A run of columns or rows on the torus.
#[derive(Clone, Copy)]
struct Span {
    first: u32,
    count: u32,
}

impl Span {
    fn holds(self, index: u32, columns: u32) -> bool {
        (index.wrapping_sub(self.first) & (columns - 1)) < self.count
    }
}

fn span(world: World, view: View, axis: usize, more: i32) -> Span {
    let size = i64::from(world.size());
    let extent = (i64::from(view.extent[axis].max(0)) + i64::from(more)).min(size / 2);
    let center = i64::from(world.wrap(view.center[axis]));
    let first = (center - extent) >> world.cell_bits;
    let last = (center + extent - 1).max(center) >> world.cell_bits;
    Span {
        first: (first & i64::from(world.columns() - 1)) as u32,
        count: (last - first + 1).min(i64::from(world.columns())) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORLD: World = World { position_bits: 12, cell_bits: 9, unit_bits: 0 };

    fn seen(center: [i32; 2], held: &[u32]) -> Vec<u32> {
        let mut held = held.to_vec();
        select(WORLD, View { center, extent: [300, 200] }, &mut held, &mut Vec::new());
        held
    }

    #[test]
    fn a_view_holds_the_global_cell_and_every_cell_that_it_touches() {
        assert_eq!(seen([1280, 1280], &[]), [0, 18, 19, 20]);
    }

    #[test]
    fn a_view_reaches_round_the_edge_of_the_world() {
        assert_eq!(seen([0, 256], &[]), [0, 1, 8]);
        assert_eq!(seen([4095, 256], &[]), [0, 1, 8]);
    }

    #[test]
    fn a_cell_just_out_of_view_is_kept_but_not_added() {
        assert_eq!(seen([1340, 1280], &[0, 18]), [0, 18, 19, 20]);
        assert_eq!(seen([1340, 1280], &[]), [0, 19, 20]);
        assert_eq!(seen([1500, 1280], &[0, 18]), [0, 19, 20]);
    }

    #[test]
    fn a_world_of_one_cell_is_seen_whole() {
        let world = World { position_bits: 9, cell_bits: 9, unit_bits: 0 };
        let mut held = vec![];
        select(world, View { center: [5, 5], extent: [9999, 9999] }, &mut held, &mut Vec::new());
        assert_eq!(held, [0, 1]);
    }
}
