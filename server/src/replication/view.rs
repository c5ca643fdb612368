//! Which cells a player sees.

use super::frame::GLOBAL_CELL;
use crate::game::{View, World};

/// How far beyond the view a cell must be before it is given up, as a part of a cell's edge: 1/4. Without this hysteresis
/// a player on a border would be sent the same keyframes again and again.
const KEEP_SHIFT: u32 = 2;

/// Where a view lies on the grid: all that it touches, and all that it almost touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    near: [Span; 2],
    far: [Span; 2],
}

impl Spans {
    /// Of this view.
    pub fn of(world: World, view: View) -> Self {
        let keep = (1 << world.cell_bits) >> KEEP_SHIFT;
        Self {
            near: [0, 1].map(|axis| span(world, view, axis, 0)),
            far: [0, 1].map(|axis| span(world, view, axis, keep)),
        }
    }
}

/// Makes `seen` (ascending) the cells to be seen now: all that the view touches, and those already held that it almost touches.
/// The global cell is always among them. What is seen from the same spans again is the same.
pub fn select(world: World, spans: Spans, held: &[u32], seen: &mut Vec<u32>) {
    seen.clear();
    seen.push(GLOBAL_CELL);
    let Spans { near: [near_x, near_y], far: [far_x, far_y] } = spans;
    let columns = world.columns();
    for row in 0..columns {
        if !far_y.holds(row, columns) {
            continue;
        }
        for column in (0..columns).filter(|column| far_x.holds(*column, columns)) {
            let cell = 1 + column + row * columns;
            let is_near = near_x.holds(column, columns) && near_y.holds(row, columns);
            if is_near || held.binary_search(&cell).is_ok() {
                seen.push(cell);
            }
        }
    }
}

/// A run of columns or rows on the torus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let spans = Spans::of(WORLD, View { center, extent: [300, 200] });
        let (mut once, mut again) = (Vec::new(), Vec::new());
        select(WORLD, spans, held, &mut once);
        select(WORLD, spans, &once, &mut again);
        assert_eq!(once, again, "the same from where it looked before");
        once
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
        let mut seen = Vec::new();
        let spans = Spans::of(world, View { center: [5, 5], extent: [9999, 9999] });
        select(world, spans, &[], &mut seen);
        assert_eq!(seen, [0, 1]);
    }
}
