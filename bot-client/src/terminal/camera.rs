//! The camera, and the own ship under it: what the server corrects glides and never jumps.

use super::history::Pose;
use super::lens::Lens;
use fray_proto::model::World;
use std::time::Instant;

/// Corrections glide for so long.
const GLIDE_S: f64 = 0.1;
/// Larger ones do not: the ship was put there, and to fly over would be a lie.
const GLIDE_UNITS_MAX: f64 = 200.0;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Camera {
    /// Where it is.
    pub(super) centre: [f64; 2],
    /// The player whose ship it is on.
    pub(super) watched: i32,
    /// The prediction was wrong since the last picture.
    pub(super) was_corrected: bool,
    own: Option<(Pose, Instant)>,
    is_predicted: bool,
    /// What is still to be glided away, since when.
    glide: Option<([f64; 2], Instant)>,
}

impl Camera {
    /// The own ship as it is to be drawn, from where it is known to be.
    pub(super) fn settle(
        &mut self,
        own: Option<Pose>,
        is_predicted: bool,
        world: World,
        rate_hz: u32,
        now: Instant,
    ) -> Option<Pose> {
        let Some(mut own) = own else {
            self.own = None;
            self.glide = None;
            return None;
        };
        let jumps = std::mem::take(&mut self.was_corrected) || self.is_predicted != is_predicted;
        self.is_predicted = is_predicted;
        if let (Some((before, at)), true) = (&self.own, jumps) {
            let ticks = now.saturating_duration_since(*at).as_secs_f64() * f64::from(rate_hz);
            let expected = [0, 1].map(|i| before.position[i] + before.velocity[i] * ticks);
            let off = Lens::new(world, own.position, [1, 1]).see(expected);
            self.glide = (off[0].hypot(off[1]) < GLIDE_UNITS_MAX).then_some((off, now));
        }
        if let Some((off, since)) = self.glide {
            let share = 1.0 - now.saturating_duration_since(since).as_secs_f64() / GLIDE_S;
            if share > 0.0 {
                own.position = [0, 1].map(|i| own.position[i] + off[i] * share);
            } else {
                self.glide = None;
            }
        }
        self.own = Some((own.clone(), now));
        Some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const WORLD: World = World { position_bits: 20, cell_bits: 20, unit_bits: 8 };

    fn at(x: f64) -> Pose {
        Pose { position: [x, 0.0], ..Pose::default() }
    }

    /// Where a ship is drawn that was at `from` and is corrected to `to`, at these times after it.
    fn drawn(from: f64, to: f64, after_ms: [u64; 3]) -> [f64; 3] {
        let start = tokio::time::Instant::now().into_std();
        let mut camera = Camera::default();
        camera.settle(Some(at(from)), true, WORLD, 20, start);
        camera.was_corrected = true;
        after_ms.map(|ms| {
            let now = start + Duration::from_millis(ms);
            let own = camera.settle(Some(at(to)), true, WORLD, 20, now);
            own.expect("it is alive").position[0]
        })
    }

    #[test]
    fn a_correction_glides_within_100_ms() {
        let [first, middle, last] = drawn(100.0, 120.0, [0, 50, 100]);
        assert!((first - 100.0).abs() < 1e-6);
        assert!((middle - 110.0).abs() < 1e-6);
        assert!((last - 120.0).abs() < 1e-6);
    }

    #[test]
    fn a_ship_that_was_put_elsewhere_is_there_at_once() {
        assert!((drawn(100.0, 900.0, [0, 1, 2])[0] - 900.0).abs() < 1e-6);
    }
}
