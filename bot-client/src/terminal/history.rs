//! Where things are: the last few states of the room, and what lies between them.
//!
//! Others are drawn a little in the past, between two states that are known; the picture is as smooth as the terminal
//! and not as the ticks. When nothing comes any more they go on for a few ticks and then stand still.

use crate::client::schedule::{Schedule, TickLine};
use fray_proto::model::{ATTRIBUTES, Entity, World};
use std::collections::VecDeque;
use std::time::Instant;

/// How many states are kept.
const KEPT_MAX: usize = 8;
/// Beyond the newest state things go on for so many ticks.
const AHEAD_TICKS_MAX: f64 = 10.0;

/// Something at a moment, in units.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pose {
    pub(super) id: u32,
    pub(super) kind: u32,
    pub(super) position: [f64; 2],
    /// Per tick.
    pub(super) velocity: [f64; 2],
    /// In radians.
    pub(super) heading: f64,
    pub(super) thrust: i8,
    pub(super) attributes: [i32; ATTRIBUTES],
}

impl Pose {
    /// An entity `ticks` after the state at hand, on its present way.
    pub(super) fn of(entity: &Entity, ticks: f64, world: World) -> Self {
        let unit = f64::from(1_u32 << world.unit_bits.min(30));
        let velocity = entity.velocity.map(|v| f64::from(v) / unit);
        let position =
            [0, 1].map(|axis| f64::from(entity.position[axis]) / unit + velocity[axis] * ticks);
        Self {
            id: entity.id,
            kind: entity.kind,
            position,
            velocity,
            heading: f64::from(entity.heading) * std::f64::consts::TAU / 65536.0,
            thrust: entity.thrust,
            attributes: entity.attributes,
        }
    }

    /// Part of the way from one state to a later one.
    fn between(from: &Entity, to: &Entity, part: f64, world: World) -> Self {
        let mut pose = Self::of(from, 0.0, world);
        let later = Self::of(to, 0.0, world);
        let unit = f64::from(1_u32 << world.unit_bits.min(30));
        let way = [0, 1].map(|axis| world.difference(to.position[axis], from.position[axis]));
        // Nothing flies so far between two states: it was put there.
        if way.iter().any(|way| way.abs() > world.size() / 8) {
            return later;
        }
        let turn = f64::from(to.heading.wrapping_sub(from.heading) as i16);
        pose.position = [0, 1].map(|axis| pose.position[axis] + f64::from(way[axis]) / unit * part);
        pose.heading += turn * part * std::f64::consts::TAU / 65536.0;
        Self { position: pose.position, heading: pose.heading, ..later }
    }
}

/// The room at a tick.
#[derive(Debug)]
struct State {
    tick: u32,
    /// By id.
    entities: Vec<Entity>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct History {
    world: World,
    rate_hz: u32,
    line: Option<TickLine>,
    states: VecDeque<State>,
}

impl History {
    pub(super) fn new(world: World, rate_hz: u32) -> Self {
        Self { world, rate_hz: rate_hz.max(1), line: None, states: VecDeque::new() }
    }

    pub(super) fn world(&self) -> World {
        self.world
    }

    /// The next state comes from another stream, maybe of another server with another clock.
    pub(super) fn restart(&mut self) {
        self.line = None;
    }

    /// The room is at another tick.
    pub(super) fn push(&mut self, tick: u32, entities: impl Iterator<Item = Entity>, now: Instant) {
        let mut entities: Vec<Entity> = entities.collect();
        entities.sort_by_key(|entity| entity.id);
        let is_next = self.newest_tick().is_some_and(|newest| newest < tick);
        if self.line.is_none() || !is_next {
            self.states.clear();
            self.line = None;
        }
        let first = || TickLine::new(Schedule::new(self.rate_hz, tick, now));
        self.line.get_or_insert_with(first).observe(tick, now);
        self.states.push_back(State { tick, entities });
        if self.states.len() > KEPT_MAX {
            self.states.pop_front();
        }
    }

    pub(super) fn newest_tick(&self) -> Option<u32> {
        self.states.back().map(|state| state.tick)
    }

    /// An entity at the newest tick.
    pub(super) fn newest(&self, id: u32) -> Option<&Entity> {
        find(&self.states.back()?.entities, id)
    }

    /// The tick that is shown, with its fraction: so far in the past that the state after it is known as a rule.
    pub(super) fn shown_tick(&self, now: Instant) -> Option<f64> {
        let line = self.line.as_ref()?;
        let pairs = self.states.iter().zip(self.states.iter().skip(1));
        let span = pairs.map(|(a, b)| b.tick - a.tick).max().unwrap_or(1);
        let shown = fractional_tick(line, self.rate_hz, now) - f64::from(span) - 0.5;
        let newest = f64::from(self.newest_tick()?);
        let oldest = f64::from(self.states.front()?.tick);
        Some(shown.clamp(oldest, newest + AHEAD_TICKS_MAX))
    }

    /// Everything as it is shown now.
    pub(super) fn poses(&self, now: Instant) -> Vec<Pose> {
        let Some(tick) = self.shown_tick(now) else {
            return Vec::new();
        };
        let after = self.states.iter().position(|state| f64::from(state.tick) > tick);
        let before = after.unwrap_or(self.states.len()).saturating_sub(1);
        let (before, after) = (&self.states[before], after.map(|i| &self.states[i]));
        let since = tick - f64::from(before.tick);
        let pose = |entity: &Entity| {
            let next =
                after.and_then(|after| Some((after.tick, find(&after.entities, entity.id)?)));
            match next {
                Some((tick, next)) if tick > before.tick => {
                    let part = since / f64::from(tick - before.tick);
                    Pose::between(entity, next, part, self.world)
                }
                _ => Pose::of(entity, since, self.world),
            }
        };
        before.entities.iter().map(pose).collect()
    }
}

fn find(entities: &[Entity], id: u32) -> Option<&Entity> {
    let index = entities.binary_search_by_key(&id, |entity| entity.id);
    index.ok().map(|index| &entities[index])
}

/// The tick that is due, with its fraction.
pub(super) fn fractional_tick(line: &TickLine, rate_hz: u32, at: Instant) -> f64 {
    let tick = line.tick_at(at);
    let since = at.saturating_duration_since(line.due(tick));
    f64::from(tick) + (since.as_secs_f64() * f64::from(rate_hz)).min(1.0)
}

#[cfg(test)]
mod tests {
    // Goal: smooth motion, and none where there is none. Method: one entity that the test moves, in virtual time.
    use super::*;
    use std::time::Duration;

    const WORLD: World = World { position_bits: 20, cell_bits: 20, unit_bits: 8 };
    const PERIOD: Duration = Duration::from_millis(50);

    fn at(x: i32) -> Entity {
        Entity {
            id: 7,
            position: [WORLD.wrap(x << 8), 0],
            velocity: [10 << 8, 0],
            ..Entity::default()
        }
    }

    /// Ten units per tick, from just before the world's edge.
    fn flown(ticks: u32) -> (History, Instant) {
        let start = tokio::time::Instant::now().into_std();
        let mut history = History::new(WORLD, 20);
        for tick in 0..ticks {
            let entity = at(4086 + 10 * tick as i32);
            history.push(100 + tick, std::iter::once(entity), start + PERIOD * tick);
        }
        (history, start + PERIOD * (ticks - 1))
    }

    #[test]
    fn motion_is_smooth_between_ticks_and_across_the_edge() {
        let (history, now) = flown(3);
        let shown: Vec<f64> =
            (0..4).map(|i| history.poses(now + PERIOD / 4 * i)[0].position[0]).collect();
        let steps: Vec<f64> = shown.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let is_even = steps.iter().all(|step| (step.rem_euclid(4096.0) - 2.5).abs() < 0.1);
        assert!(is_even, "{shown:?}");
    }

    #[test]
    fn when_nothing_comes_things_go_on_for_a_while_and_stop() {
        let (history, now) = flown(3);
        let [soon, later, much_later] =
            [4, 60, 600].map(|ticks| history.poses(now + PERIOD * ticks)[0].position[0]);
        assert!(soon < later);
        assert!((later - much_later).abs() < 1e-9);
    }

    #[test]
    fn another_stream_begins_a_new_history() {
        let (mut history, now) = flown(3);
        history.restart();
        assert_eq!(history.newest_tick(), Some(102), "the picture stays");
        history.push(5, std::iter::once(at(0)), now);
        assert_eq!(history.newest_tick(), Some(5));
        assert!(history.poses(now)[0].position[0].abs() < 1e-9);
    }
}
