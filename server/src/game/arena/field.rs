//! What lies and drifts about: rocks, pick-ups, and where there is room.

use super::play::Play;
use super::rules::{ROCK_WEIGHT, units};
use super::space::{along, plus, squared, way};
use super::state::{Body, Gift, Pickup, Rock, Size};

/// Places that are tried for a quiet one.
const TRIES: u32 = 12;
/// Farther from all ships is not quieter: the first such place is taken.
const QUIET: i32 = units(700);
/// A rock does not come up nearer to a ship than this.
const ROCK_DISTANCE_MIN: i32 = units(420);
/// Nothing comes up so near to a rock.
const CLEAR_OF_ROCKS: i32 = units(110);

impl Play {
    fn any_place(&mut self) -> [i32; 2] {
        let size = self.rules.world.size() as u32;
        [self.state.below(size) as i32, self.state.below(size) as i32]
    }

    /// Whether no rock is near a place.
    fn is_clear(&self, place: [i32; 2]) -> bool {
        let near = i64::from(CLEAR_OF_ROCKS).pow(2);
        let mut rocks = self.state.rocks.iter();
        rocks.all(|rock| squared(way(self.rules.world, place, rock.body.position)) > near)
    }

    /// The square of the distance to the nearest ship, at most that of [`QUIET`].
    fn ship_distance(&self, place: [i32; 2]) -> i64 {
        let ships = self.state.players.iter().map(|p| &p.ship).filter(|s| s.is_alive());
        let distances = ships.map(|ship| squared(way(self.rules.world, place, ship.body.position)));
        distances.min().unwrap_or(i64::MAX).min(i64::from(QUIET).pow(2))
    }

    /// The best of some places: clear of rocks and far from ships, and the square of its distance to the nearest one.
    pub(super) fn quiet_place(&mut self) -> ([i32; 2], i64) {
        let mut best = ([0, 0], (false, -1));
        for _ in 0..TRIES {
            let place = self.any_place();
            let value = (self.is_clear(place), self.ship_distance(place));
            if value > best.1 {
                best = (place, value);
            }
            if best.1 == (true, i64::from(QUIET).pow(2)) {
                break;
            }
        }
        (best.0, best.1.1)
    }

    /// The rocks and pick-ups that a new room begins with.
    pub(super) fn furnish(&mut self) {
        for _ in 0..self.rules.options.rocks {
            let place = self.any_place();
            self.spawn_rock(place, Size::Large);
        }
        for _ in 0..self.rules.options.pickups / 2 {
            self.spawn_pickup();
        }
    }

    fn spawn_rock(&mut self, position: [i32; 2], size: Size) {
        if !self.state.may_spawn() {
            return;
        }
        let [slow, fast] = self.rules.rock_speed[size.index()];
        let speed = slow + self.state.below((fast - slow).max(0) as u32 + 1) as i32;
        let heading = self.state.any_heading();
        let body = Body { id: self.state.new_id(), position, velocity: along(heading, speed) };
        let shape = self.state.any_heading();
        self.state.rocks.push(Rock { body, size, shape });
    }

    /// What a rock breaks into: two of the next size that part from where it was, on opposite sides.
    pub(super) fn split_rock(&mut self, rock: &Rock) {
        let Some(size) = rock.size.below() else {
            return;
        };
        let side = self.state.any_heading();
        for heading in [side, side.wrapping_add(1 << 15)] {
            let apart = along(heading, self.rules.rock_radius[size.index()]);
            let world = self.rules.world;
            let place = plus(rock.body.position, apart).map(|c| world.wrap(c));
            self.spawn_rock(place, size);
            if let Some(piece) = self.state.rocks.last_mut() {
                // It drifts on with half of what the whole one had.
                piece.body.velocity = plus(piece.body.velocity, rock.body.velocity.map(|v| v / 2));
            }
        }
    }

    /// Makes up for broken rocks, away from ships; and lays out pick-ups, and takes old ones away.
    pub(super) fn tend_field(&mut self) {
        let tick = self.state.tick;
        if tick >= self.state.next_rock_at {
            self.state.next_rock_at = tick.saturating_add(self.rules.rock_interval);
            let weight: u32 = self.state.rocks.iter().map(|r| ROCK_WEIGHT[r.size.index()]).sum();
            let large = ROCK_WEIGHT[Size::Large.index()];
            if weight + large <= self.rules.options.rocks * large {
                let (place, distance) = self.quiet_place();
                if distance >= i64::from(ROCK_DISTANCE_MIN).pow(2) {
                    self.spawn_rock(place, Size::Large);
                }
            }
        }
        self.state.pickups.retain(|p| p.ends_at > tick);
        if tick >= self.state.next_pickup_at {
            self.state.next_pickup_at = tick.saturating_add(self.rules.pickup_interval);
            self.spawn_pickup();
        }
    }

    fn spawn_pickup(&mut self) {
        if self.state.pickups.len() >= self.rules.options.pickups as usize
            || !self.state.may_spawn()
        {
            return;
        }
        let position = self.any_place();
        let gift = match self.state.below(3) {
            0 => Gift::Repair,
            1 => Gift::Shield,
            _ => Gift::Rapid,
        };
        let id = self.state.new_id();
        let ends_at = self.state.tick.saturating_add(self.rules.pickup_life);
        self.state.pickups.push(Pickup { id, position, gift, ends_at });
    }
}
