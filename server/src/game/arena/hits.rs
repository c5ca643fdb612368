//! Who meets whom in a tick, and what comes of it.

use super::play::Play;
use super::rules::{
    BOUNCE_16THS, KNOCK_SHIFT, RAM_DAMAGE_MAX, RAM_SPEED_MIN, RAM_SPEED_PER_POINT, ROCK_SCORE,
    SCORE_PICKUP, SHOT_DAMAGE,
};
use super::space::{Buckets, capped, minus, part_along, plus, scaled, squared, sweep, unit, way};
use super::state::{Size, What};

/// Something that can be hit. A copy, as it was after the motion: blows of this tick do not change its path backwards.
#[derive(Clone, Copy)]
struct Target {
    position: [i32; 2],
    velocity: [i32; 2],
    radius: i32,
    thing: Thing,
}

/// An index into the state's lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thing {
    Ship(usize),
    Rock(usize),
}

/// What a tick's collisions are worked out on; nothing of it outlives the tick, but for its memory.
#[derive(Default)]
pub(super) struct Contacts {
    targets: Vec<Target>,
    buckets: Buckets,
    /// Rocks that broke in this tick, by index.
    broken: Vec<bool>,
}

impl Play {
    /// All collisions of the tick. Rocks that break are replaced by their pieces at the end, so that no piece is hit in
    /// the same tick.
    pub(super) fn collide(&mut self) {
        let mut contacts = std::mem::take(&mut self.contacts);
        self.collect_targets(&mut contacts);
        self.hit_by_shots(&mut contacts);
        self.bounce_ships(&mut contacts);
        self.take_pickups(&contacts);
        self.break_rocks(&contacts.broken);
        self.contacts = contacts;
    }

    fn collect_targets(&self, contacts: &mut Contacts) {
        contacts.targets.clear();
        for (index, player) in self.state.players.iter().enumerate() {
            if player.ship.is_alive() {
                contacts.targets.push(Target {
                    position: player.ship.body.position,
                    velocity: player.ship.body.velocity,
                    radius: self.rules.ship_radius,
                    thing: Thing::Ship(index),
                });
            }
        }
        for (index, rock) in self.state.rocks.iter().enumerate() {
            contacts.targets.push(Target {
                position: rock.body.position,
                velocity: rock.body.velocity,
                radius: self.rules.rock_radius[rock.size.index()],
                thing: Thing::Rock(index),
            });
        }
        contacts.broken.clear();
        contacts.broken.resize(self.state.rocks.len(), false);
        let places = contacts.targets.iter().map(|t| t.position);
        contacts.buckets.fill(self.rules.world, places);
    }

    fn hit_by_shots(&mut self, contacts: &mut Contacts) {
        // The widest target, and how far it can have moved to meet the shot.
        let reach = self.rules.rock_radius[Size::Large.index()]
            + self.rules.shot_radius
            + 2 * self.rules.speed_max;
        let mut shots = std::mem::take(&mut self.state.shots);
        shots.retain(|shot| {
            let mut first: Option<(u32, Target)> = None;
            for index in contacts.buckets.near(shot.body.position, reach) {
                let target = contacts.targets[index];
                let there = match target.thing {
                    Thing::Ship(index) => {
                        let player = &self.state.players[index];
                        player.number != shot.owner && player.ship.is_alive()
                    }
                    Thing::Rock(index) => !contacts.broken[index],
                };
                if !there {
                    continue;
                }
                let end = way(self.rules.world, target.position, shot.body.position);
                let start = minus(end, minus(shot.body.velocity, target.velocity));
                let time = sweep(start, end, target.radius + self.rules.shot_radius);
                if let Some(time) = time
                    && first.is_none_or(|(earliest, _)| time < earliest)
                {
                    first = Some((time, target));
                }
            }
            match first.map(|(_, target)| target.thing) {
                None => return true,
                Some(Thing::Ship(index)) => {
                    let body = &mut self.state.players[index].ship.body;
                    let knock = minus(shot.body.velocity, body.velocity).map(|v| v >> KNOCK_SHIFT);
                    body.velocity = capped(plus(body.velocity, knock), self.rules.ship.speed_max);
                    self.hurt(index, SHOT_DAMAGE, Some(shot.owner));
                }
                Some(Thing::Rock(index)) => {
                    contacts.broken[index] = true;
                    self.award(shot.owner, ROCK_SCORE[self.state.rocks[index].size.index()]);
                }
            }
            false
        });
        self.state.shots = shots;
    }

    fn bounce_ships(&mut self, contacts: &mut Contacts) {
        let reach = self.rules.rock_radius[Size::Large.index()] + self.rules.ship_radius;
        for index in 0..contacts.targets.len() {
            let one = contacts.targets[index];
            let Thing::Ship(ship) = one.thing else {
                // Ships come first, and rocks pass through each other.
                break;
            };
            for other in contacts.buckets.near(one.position, reach) {
                let two = contacts.targets[other];
                // Each pair of ships once; a ship is not its own neighbour.
                if other <= index {
                    continue;
                }
                let apart = way(self.rules.world, two.position, one.position);
                let touching = i64::from(one.radius + two.radius).pow(2);
                if squared(apart) <= touching {
                    self.bounce(ship, two, unit(apart), &mut contacts.broken);
                }
            }
        }
    }

    /// A ship and something else touch; `normal` points from the other to the ship.
    fn bounce(&mut self, ship: usize, other: Target, normal: [i32; 2], broken: &mut [bool]) {
        let there = match other.thing {
            Thing::Ship(index) => self.state.players[index].ship.is_alive(),
            Thing::Rock(index) => !broken[index],
        };
        if !there || !self.state.players[ship].ship.is_alive() {
            return;
        }
        let velocity = self.state.players[ship].ship.body.velocity;
        let other_velocity = match other.thing {
            Thing::Ship(index) => self.state.players[index].ship.body.velocity,
            Thing::Rock(_) => other.velocity,
        };
        let closing = -part_along(minus(velocity, other_velocity), normal);
        if closing <= 0 && squared(minus(velocity, other_velocity)) != 0 {
            // They part already.
            return;
        }
        let parting = (closing * BOUNCE_16THS / 16).max(i64::from(self.rules.part_speed));
        let change = scaled(normal, closing + parting);
        let fast = self.rules.units_per_s(closing);
        let points = (fast - i64::from(RAM_SPEED_MIN)) / i64::from(RAM_SPEED_PER_POINT);
        let mut points = points.clamp(0, i64::from(RAM_DAMAGE_MAX)) as i32;
        match other.thing {
            Thing::Rock(index) => {
                self.push(ship, change);
                self.hurt(ship, points, None);
                broken[index] |= points > 0 && self.state.rocks[index].size == Size::Small;
            }
            Thing::Ship(index) => {
                // Protection is no weapon: who cannot be rammed does not ram.
                if [ship, index]
                    .iter()
                    .any(|i| self.state.players[*i].ship.protected_until.is_some())
                {
                    points = 0;
                }
                let half = change.map(|c| c / 2);
                self.push(ship, half);
                self.push(index, half.map(|c| -c));
                let (one, two) =
                    (self.state.players[ship].number, self.state.players[index].number);
                self.hurt(ship, points, Some(two));
                self.hurt(index, points, Some(one));
            }
        }
    }

    fn push(&mut self, ship: usize, change: [i32; 2]) {
        let body = &mut self.state.players[ship].ship.body;
        body.velocity = capped(plus(body.velocity, change), self.rules.ship.speed_max);
    }

    fn take_pickups(&mut self, contacts: &Contacts) {
        let reach = self.rules.ship_radius + self.rules.pickup_radius;
        let mut pickups = std::mem::take(&mut self.state.pickups);
        pickups.retain(|pickup| {
            for index in contacts.buckets.near(pickup.position, reach) {
                let target = contacts.targets[index];
                let distance = squared(way(self.rules.world, pickup.position, target.position));
                if let Thing::Ship(ship) = target.thing
                    && distance <= i64::from(reach).pow(2)
                    && self.state.players[ship].ship.is_alive()
                {
                    let number = self.state.players[ship].number;
                    self.give(ship, pickup.gift);
                    self.award(number, SCORE_PICKUP);
                    self.tell(What::Pickup(number, pickup.gift), pickup.position);
                    return false;
                }
            }
            true
        });
        self.state.pickups = pickups;
    }

    fn break_rocks(&mut self, broken: &[bool]) {
        for (index, _) in broken.iter().enumerate().filter(|(_, broken)| **broken) {
            let rock = self.state.rocks[index].clone();
            self.split_rock(&rock);
        }
        let mut index = 0;
        self.state.rocks.retain(|_| {
            index += 1;
            broken.get(index - 1) != Some(&true)
        });
    }
}
