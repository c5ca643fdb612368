//! What a pilot sees in one look: distances and speeds relative to its own ship, in units and units per second.

use crate::arena;
use fray_proto::model::{Entity, World};
use fray_proto::replica::Replica;

/// Pick-ups farther away than this are not worth the way, in units.
const PICKUP_DISTANCE_MAX: f64 = 500.0;
/// Rocks that will be met later than this are no worry yet, in seconds.
const THREAT_SECONDS: f64 = 1.4;
/// A ship's radius with some respect, in units.
const BERTH: f64 = 30.0;

/// Something seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thing {
    /// Where, from the own ship.
    pub offset: [f64; 2],
    /// How fast, over ground.
    pub velocity: [f64; 2],
    /// Shots do nothing to it just now.
    pub protected: bool,
}

impl Thing {
    /// How far away.
    pub fn distance(&self) -> f64 {
        self.offset[0].hypot(self.offset[1])
    }

    /// Where it will be if it goes on like this.
    #[must_use]
    pub fn after(self, seconds: f64) -> Self {
        let [x, y] = self.offset;
        let [vx, vy] = self.velocity;
        Self { offset: [x + vx * seconds, y + vy * seconds], ..self }
    }

    /// The direction in which a shot of this speed meets it, in radians; velocities are relative to the shooter's.
    pub fn lead(&self, shot_speed: f64) -> f64 {
        // Two rounds of "where will it be when the shot is there" are near enough for a human.
        let mut aim = *self;
        for _ in 0..2 {
            aim = self.after(aim.distance() / shot_speed);
        }
        aim.offset[1].atan2(aim.offset[0])
    }
}

/// One look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Glimpse {
    /// The own ship's velocity.
    pub velocity: [f64; 2],
    /// The nearest other ship; its velocity is relative to the own one's.
    pub foe: Option<Thing>,
    /// The nearest pick-up.
    pub pickup: Option<Thing>,
    /// The rock that will be hit first.
    pub threat: Option<Thing>,
}

impl Glimpse {
    /// A look around from the own ship.
    pub fn of(replica: &Replica, own: &Entity, tick_rate_hz: u32) -> Self {
        let eye = Eye { world: replica.world(), own, tick_rate_hz: f64::from(tick_rate_hz) };
        let velocity = eye.speed(own.velocity);
        let mut glimpse = Self { velocity, ..Self::default() };
        let mut threat_in = THREAT_SECONDS;
        for entity in replica.entities().filter(|entity| entity.id != own.id) {
            match entity.kind {
                arena::SHIP => nearer(&mut glimpse.foe, eye.relative(entity), f64::INFINITY),
                arena::PICKUP => nearer(&mut glimpse.pickup, eye.see(entity), PICKUP_DISTANCE_MAX),
                arena::ROCK => {
                    let radius = f64::from(entity.attributes[0]);
                    if let Some(seconds) = meets_in(&eye.relative(entity), radius + BERTH)
                        && seconds < threat_in
                    {
                        threat_in = seconds;
                        glimpse.threat = Some(eye.see(entity));
                    }
                }
                _ => {}
            }
        }
        glimpse
    }
}

struct Eye<'a> {
    world: World,
    own: &'a Entity,
    tick_rate_hz: f64,
}

impl Eye<'_> {
    fn unit(&self) -> f64 {
        f64::from(1_u32 << self.world.unit_bits.min(30))
    }

    fn speed(&self, velocity: [i32; 2]) -> [f64; 2] {
        velocity.map(|v| f64::from(v) * self.tick_rate_hz / self.unit())
    }

    fn see(&self, entity: &Entity) -> Thing {
        let offset = [0, 1].map(|axis| {
            let difference = self.world.difference(entity.position[axis], self.own.position[axis]);
            f64::from(difference) / self.unit()
        });
        let protected = entity.kind == arena::SHIP && entity.attributes[2] & 1 != 0;
        Thing { offset, velocity: self.speed(entity.velocity), protected }
    }

    fn relative(&self, entity: &Entity) -> Thing {
        let thing = self.see(entity);
        let own = self.speed(self.own.velocity);
        let velocity = [thing.velocity[0] - own[0], thing.velocity[1] - own[1]];
        Thing { velocity, ..thing }
    }
}

fn nearer(best: &mut Option<Thing>, seen: Thing, distance_max: f64) {
    let distance = seen.distance();
    let limit = best.map_or(distance_max, |best| best.distance());
    if distance < limit {
        *best = Some(seen);
    }
}

/// In how many seconds something comes nearer than `berth`, if it does.
fn meets_in(thing: &Thing, berth: f64) -> Option<f64> {
    let [x, y] = thing.offset;
    let [vx, vy] = thing.velocity;
    let speed_squared = vx * vx + vy * vy;
    if speed_squared < 1.0 {
        return None;
    }
    let seconds = -(x * vx + y * vy) / speed_squared;
    let closest = thing.after(seconds).distance();
    (seconds > 0.0 && closest < berth).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shot_is_led() {
        let crossing = Thing { offset: [300.0, 0.0], velocity: [0.0, 100.0], ..Thing::default() };
        let aim = crossing.lead(500.0);
        assert!((0.15..0.25).contains(&aim), "{aim}");
    }

    #[test]
    fn only_rocks_on_the_way_are_a_threat() {
        let ahead = Thing { offset: [100.0, 0.0], velocity: [-100.0, 0.0], ..Thing::default() };
        assert!(meets_in(&ahead, 30.0).is_some_and(|s| (s - 1.0).abs() < 1e-9));
        let past = Thing { offset: [100.0, 80.0], ..ahead };
        assert_eq!(meets_in(&past, 30.0), None);
        let leaving = Thing { velocity: [100.0, 0.0], ..ahead };
        assert_eq!(meets_in(&leaving, 30.0), None);
    }
}
