//! Where the camera is, and how much of the world it sees.

use fray_proto::model::World;

/// A dot of braille shows so many units, if the world is large enough.
const UNITS_PER_DOT: f64 = 6.0;
/// Worlds up to this edge are shown as a whole, as a board.
const BOARD_EDGE_MAX: f64 = 64.0;
/// Where the camera is, and how much it sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lens {
    pub(super) centre: [f64; 2],
    /// The world's.
    pub(super) edge: f64,
    pub(super) half: [f64; 2],
    /// A dot of braille, in units.
    pub(super) dot: f64,
    pub(super) is_board: bool,
}

impl Lens {
    /// A camera at `centre` over a picture of so many dots.
    pub(super) fn new(world: World, centre: [f64; 2], dots: [u16; 2]) -> Self {
        let edge = f64::from(world.size()) / f64::from(1_u32 << world.unit_bits.min(30));
        let dots = dots.map(|dots| f64::from(dots.max(1)));
        let is_board = edge <= BOARD_EDGE_MAX;
        let (centre, dot) = if is_board {
            let dot = (edge / (dots[0] - 4.0).max(1.0)).max(edge / (dots[1] - 4.0).max(1.0));
            ([edge / 2.0; 2], dot)
        } else {
            let whole = (edge / dots[0]).min(edge / dots[1]);
            (centre, UNITS_PER_DOT.min(whole))
        };
        Self { centre, edge, half: dots.map(|dots| dots * dot / 2.0), dot, is_board }
    }

    /// Where something is seen; the world is a torus.
    pub(super) fn see(&self, position: [f64; 2]) -> [f64; 2] {
        let half = self.edge / 2.0;
        [0, 1].map(|axis| (position[axis] - self.centre[axis] + half).rem_euclid(self.edge) - half)
    }

    /// Whether something of this radius is seen there.
    pub(super) fn holds(&self, [x, y]: [f64; 2], radius: f64) -> bool {
        x.abs() <= self.half[0] + radius && y.abs() <= self.half[1] + radius
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn world(position_bits: u32) -> World {
        World { position_bits, cell_bits: position_bits, unit_bits: 8 }
    }

    #[test]
    fn the_other_side_of_the_edge_is_near() {
        let lens = Lens::new(world(20), [10.0, 4090.0], [100, 80]);
        assert_eq!(lens.see([4090.0, 10.0]).map(|p| p as i32), [-16, 16]);
    }

    #[test]
    fn nothing_is_seen_twice_however_large_the_terminal() {
        let lens = Lens::new(world(18), [0.0; 2], [600, 400]);
        assert!(lens.half[0] <= 512.0 && lens.half[1] <= 512.0, "{lens:?}");
    }

    #[test]
    fn a_small_world_is_seen_as_a_whole() {
        for dots in [[106, 96], [400, 60]] {
            let lens = Lens::new(world(13), [3.0, 3.0], dots);
            assert!(lens.is_board && lens.half.iter().all(|half| *half >= 16.0));
            assert_eq!(lens.centre.map(|p| p as i32), [16, 16]);
        }
    }
}
