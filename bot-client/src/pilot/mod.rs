//! Pilots that fly and fight like people.
//!
//! A pilot sees what a player sees: the replica, nothing else. And it is no faster than a person: what it acts on is
//! 180 to 350 ms old, it changes its controls a few times a second, holds them for a while, aims a little off, and now
//! and then does something silly. The same seed and index make the same person.

mod sight;

pub use sight::{Glimpse, Thing};

use crate::client::Controls;
use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_pcg::Pcg32;
use std::f64::consts::{PI, TAU};
use std::time::{Duration, Instant};

/// How a person is: drawn once.
#[derive(Clone, Copy, Debug)]
struct Temper {
    /// From seeing to doing.
    reaction: Duration,
    /// How far off the aim is, in radians.
    aim_error: f64,
    /// How near a foe must be to be attacked, in units.
    courage: f64,
    /// How often it does something silly, 0 to 1.
    clumsiness: f64,
}

/// A pilot. Show it the world with [`Pilot::see`] whenever something came, and ask it for controls with
/// [`Pilot::decide`] when it is [`Pilot::due`].
#[derive(Debug)]
pub struct Pilot {
    random: Pcg32,
    temper: Temper,
    glimpse: Option<Glimpse>,
    look_at: Instant,
    decide_at: Instant,
    release_at: Option<Instant>,
    course: f64,
    course_until: Instant,
    held: Controls,
}

impl Pilot {
    /// The person of this seed and index, who starts to fly now.
    pub fn new(seed: u64, index: u64, now: Instant) -> Self {
        let mut random = Pcg32::seed_from_u64(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let temper = Temper {
            reaction: Duration::from_millis(random.random_range(180..=350)),
            aim_error: random.random_range(0.02..0.12),
            courage: random.random_range(350.0..900.0),
            clumsiness: random.random_range(0.01..0.06),
        };
        let course = random.random_range(0.0..TAU);
        // Nobody starts at the same moment as everybody else.
        let decide_at = now + temper.reaction + Duration::from_millis(random.random_range(0..400));
        Self {
            random,
            temper,
            glimpse: None,
            look_at: now,
            decide_at,
            release_at: None,
            course,
            course_until: now,
            held: Controls::default(),
        }
    }

    /// Shows the world. The pilot only looks when it will need it: `glimpse` is then called.
    pub fn see(&mut self, now: Instant, glimpse: impl FnOnce() -> Option<Glimpse>) {
        if self.look_at <= now {
            self.glimpse = glimpse();
            // It came later than the eye wanted it; the hand waits all the same.
            self.decide_at = self.decide_at.max(now + self.temper.reaction);
            self.look_at = self.decide_at + Duration::from_secs(3600);
        }
    }

    /// When the pilot will change its mind next.
    pub fn due(&self) -> Instant {
        self.release_at.map_or(self.decide_at, |at| at.min(self.decide_at))
    }

    /// What the pilot holds down from now on, if that is something else than before.
    pub fn decide(&mut self, now: Instant) -> Option<Controls> {
        if now < self.due() {
            return None;
        }
        let mut controls = self.held.clone();
        if self.release_at.is_some_and(|at| at <= now) {
            self.release_at = None;
            controls.buttons &= !Controls::FIRE;
        }
        if self.decide_at <= now {
            controls = self.think(now);
            let hold = Duration::from_millis(self.random.random_range(200..=800));
            let reaction = self.temper.reaction;
            let wait = hold.max(reaction);
            self.decide_at = now + wait;
            self.look_at = now + wait.saturating_sub(reaction);
        }
        if controls == self.held {
            return None;
        }
        self.held.clone_from(&controls);
        Some(controls)
    }

    /// What the pilot holds down.
    pub fn held(&self) -> &Controls {
        &self.held
    }

    /// The hands were off the controls, because the stream was gone: everything has to be pressed again.
    pub fn let_go(&mut self) {
        self.held = Controls::default();
        self.release_at = None;
    }

    fn think(&mut self, now: Instant) -> Controls {
        if self.random.random_bool(self.temper.clumsiness) {
            return self.fumble();
        }
        let Some(glimpse) = self.glimpse.take() else {
            return self.wander(now);
        };
        if let Some(rock) = glimpse.threat {
            return self.evade(&glimpse, rock);
        }
        match (glimpse.foe, glimpse.pickup) {
            (Some(foe), _) if foe.distance() < self.temper.courage => self.attack(now, foe),
            (_, Some(pickup)) => self.fly_to(&glimpse, pickup),
            _ => self.wander(now),
        }
    }

    /// Leads the target, keeps its distance, fires in bursts while it is in range.
    fn attack(&mut self, now: Instant, foe: Thing) -> Controls {
        // What was seen is old: people reckon with it, more or less.
        let reaction = self.temper.reaction.as_secs_f64() * self.random.random_range(0.6..1.2);
        let aim = foe.after(reaction).lead(crate::arena::SHOT_SPEED) + self.error();
        let distance = foe.distance();
        let throttle = if distance > 260.0 {
            127
        } else if distance < 120.0 {
            -127
        } else {
            *[0, 48, 96].get(self.random.random_range(0..3)).unwrap_or(&0)
        };
        let mut controls =
            Controls { axis_y: throttle, aim: Some(heading(aim)), ..Controls::default() };
        // Nobody empties the gun at somebody far away.
        let eagerness = match distance / crate::arena::SHOT_RANGE {
            near if near < 0.6 => 0.7,
            far if far < 0.95 => 0.3,
            _ => 0.0,
        };
        if !foe.protected && self.random.random_bool(eagerness) {
            controls.buttons = Controls::FIRE;
            let burst = Duration::from_millis(self.random.random_range(150..=500));
            self.release_at = Some(now + burst);
        }
        controls
    }

    fn fly_to(&mut self, glimpse: &Glimpse, thing: Thing) -> Controls {
        // Against one's own drift, or one circles it forever.
        let [dx, dy] = thing.offset;
        let [vx, vy] = glimpse.velocity;
        let aim = (dy - 0.6 * vy).atan2(dx - 0.6 * vx) + self.error();
        let throttle = if thing.distance() > 80.0 { 127 } else { 64 };
        Controls { axis_y: throttle, aim: Some(heading(aim)), ..Controls::default() }
    }

    /// Away from the rock's path, to the side on which one is already.
    fn evade(&mut self, glimpse: &Glimpse, rock: Thing) -> Controls {
        let [dx, dy] = rock.offset;
        let [vx, vy] =
            [glimpse.velocity[0] - rock.velocity[0], glimpse.velocity[1] - rock.velocity[1]];
        let side = if vx * dy - vy * dx > 0.0 { -PI / 2.0 } else { PI / 2.0 };
        let aim = dy.atan2(dx) + side + self.error();
        Controls { axis_y: 127, aim: Some(heading(aim)), ..Controls::default() }
    }

    fn wander(&mut self, now: Instant) -> Controls {
        if self.course_until <= now {
            self.course += self.random.random_range(-1.2..1.2);
            self.course_until = now + Duration::from_millis(self.random.random_range(1500..5000));
        }
        // Some people steer with the mouse and some with the keys; most do both.
        if self.random.random_bool(0.3) {
            let axis_x = *[-127, 0, 127].get(self.random.random_range(0..3)).unwrap_or(&0);
            return Controls { axis_x, axis_y: 127, ..Controls::default() };
        }
        let throttle = if self.random.random_bool(0.7) { 127 } else { 0 };
        let aim = heading(self.course + self.error());
        Controls { axis_y: throttle, aim: Some(aim), ..Controls::default() }
    }

    fn fumble(&mut self) -> Controls {
        Controls {
            axis_x: self.random.random_range(-127..=127),
            axis_y: self.random.random_range(-127..=127),
            buttons: u32::from(self.random.random_bool(0.3)),
            ..Controls::default()
        }
    }

    fn error(&mut self) -> f64 {
        // The sum of two is likelier small than large.
        let half = self.temper.aim_error;
        sample(&mut self.random, half) + sample(&mut self.random, half)
    }
}

fn sample(random: &mut impl Rng, half: f64) -> f64 {
    random.random_range(-half..half)
}

/// An angle in radians as a heading on the wire.
fn heading(angle: f64) -> u16 {
    (angle.rem_euclid(TAU) / TAU * 65_536.0) as u32 as u16
}

#[cfg(test)]
mod tests {
    // Goal: pilots are human and repeatable. Method: a pilot flies for a minute of virtual time against a foe that
    // circles it, and its changes of controls are counted and timed.
    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn fly(pilot: &mut Pilot, start: Instant, seconds: u64) -> Vec<(Duration, Controls)> {
        let mut changes = Vec::new();
        for ms in 0..seconds * 1000 {
            let now = start + Duration::from_millis(ms);
            if ms % 50 == 0 {
                pilot.see(now, || {
                    let angle = ms as f64 / 2000.0;
                    let offset = [300.0 * angle.cos(), 300.0 * angle.sin()];
                    let foe = Thing { offset, velocity: [0.0, 0.0], protected: false };
                    Some(Glimpse { foe: Some(foe), ..Glimpse::default() })
                });
            }
            if pilot.due() <= now {
                changes.extend(pilot.decide(now).map(|controls| (now - start, controls)));
            }
        }
        changes
    }

    #[test]
    fn the_same_seed_flies_the_same_way() {
        let start = start();
        let mut flights = [7, 7, 8].map(|seed| fly(&mut Pilot::new(seed, 3, start), start, 20));
        assert!(flights[0] == flights[1] && flights[0] != flights[2]);
        flights[0].truncate(5);
        assert_eq!(flights[0].len(), 5);
    }

    #[test]
    fn hands_are_no_faster_than_human() {
        let start = start();
        for index in 0..20 {
            let changes = fly(&mut Pilot::new(1, index, start), start, 60);
            let per_second = changes.len() as f64 / 60.0;
            assert!((1.0..6.0).contains(&per_second), "pilot {index}: {per_second} changes/s");
        }
    }

    #[test]
    fn nothing_is_answered_before_a_human_could() {
        let start = start();
        for index in 0..20 {
            let mut pilot = Pilot::new(1, index, start);
            let reaction = pilot.temper.reaction;
            assert!((180..=350).contains(&reaction.as_millis()));
            let mut seen_at = None;
            for ms in 0..10_000 {
                let now = start + Duration::from_millis(ms);
                pilot.see(now, || {
                    seen_at = Some(now);
                    Some(Glimpse::default())
                });
                if pilot.decide_at <= now {
                    let glimpse_at = seen_at.take().expect("it looked first");
                    assert!(now - glimpse_at >= reaction);
                    pilot.decide(now);
                }
            }
        }
    }

    #[test]
    fn a_foe_in_range_is_aimed_at_and_fired_upon() {
        let start = start();
        let mut pilot = Pilot::new(2, 1, start);
        let changes = fly(&mut pilot, start, 30);
        let shots = changes.iter().filter(|(_, c)| c.buttons & Controls::FIRE != 0).count();
        assert!(shots > 5, "{shots} bursts");
        assert!(changes.iter().any(|(_, c)| c.aim.is_some()));
    }
}
