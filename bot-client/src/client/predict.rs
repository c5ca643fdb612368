//! Prediction of the player's own entity: what it will be once the server has the moves that are on their way.
//!
//! Moves take half a round trip to the server, and their effect half a one back. A client that waited for it would feel
//! like steering through mud, so it applies its moves at once, to a copy of its entity that runs ahead of the newest
//! update by a round trip. When an update brings the authoritative state of a tick that was predicted, the two are
//! compared: a difference is a [`Correction`], and everything after it is predicted anew.
//!
//! A move carries no tick: it counts from the next tick after it arrives. Acknowledgements say which tick that was and how
//! much earlier the move had arrived, so the length of the way is known exactly and the tick can be foretold.

use super::schedule::TickLine;
use fray_proto::model::{Entity, Motion, Steering, World, advance, steer};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far the prediction may run ahead. Past it the player sees its entity wait.
const AHEAD_MAX: u32 = 64;

/// How many measurements the estimate of the way's length is made from.
const ROUND_TRIPS_KEPT: usize = 15;

/// A difference between what was predicted and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correction {
    /// The tick.
    pub tick: u32,
    /// How far apart the positions were, in units (pixels at normal zoom).
    pub units: f64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Prediction {
    world: World,
    motion: Motion,
    /// Controls in force at the newest update.
    steering: Steering,
    /// Moves that are under way, and the tick from which each is expected to count.
    pending: VecDeque<Pending>,
    /// Predicted states, one per tick, the first one for `first`.
    states: VecDeque<Entity>,
    first: u32,
    /// Until which tick to predict.
    present: u32,
    round_trips: VecDeque<Duration>,
    round_trip: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    sequence: u32,
    steering: Steering,
    tick: u32,
}

impl Prediction {
    pub(super) fn new(world: World) -> Self {
        Self {
            world,
            motion: Motion::default(),
            steering: Steering::default(),
            pending: VecDeque::new(),
            states: VecDeque::new(),
            first: 0,
            present: 0,
            round_trips: VecDeque::new(),
            round_trip: None,
        }
    }

    pub(super) fn world(&self) -> World {
        self.world
    }

    /// Another stream begins, and the moves to be resent are `unacknowledged`. The server let go of the controls; or it holds
    /// those of the move `held`, or of an older one.
    pub(super) fn restart(
        &mut self,
        held: Option<u32>,
        unacknowledged: impl Iterator<Item = (u32, Steering)>,
    ) {
        match held {
            None => self.steering = Steering::default(),
            Some(applied) => self.apply(applied),
        }
        self.states.clear();
        self.present = 0;
        let pending =
            unacknowledged.map(|(sequence, steering)| Pending { sequence, steering, tick: 0 });
        self.pending = pending.collect();
    }

    /// Learns the length of the way from a move that was written at `sent` and, by the update of `tick`, applied after
    /// it had waited for `margin`.
    pub(super) fn measure(&mut self, line: &TickLine, tick: u32, sent: Instant, margin: Duration) {
        let sample = line.due(tick).saturating_duration_since(sent).saturating_sub(margin);
        if self.round_trips.len() == ROUND_TRIPS_KEPT {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(sample);
        // The median: a stall on the way makes a few samples much too long, and should not move the estimate at all.
        let mut sorted: Vec<_> = self.round_trips.iter().copied().collect();
        sorted.sort_unstable();
        self.round_trip = sorted.get(sorted.len() / 2).copied();
    }

    /// How long a move takes to the server and its effect back, without the wait for the tick.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The player moves.
    pub(super) fn moved(&mut self, sequence: u32, steering: Steering) {
        self.pending.push_back(Pending { sequence, steering, tick: self.present.wrapping_add(1) });
    }

    /// Runs up to what is the present for moves that are sent now.
    pub(super) fn advance_to(&mut self, line: &TickLine, now: Instant) {
        let ahead = self.round_trip.unwrap_or_default();
        let present = line.tick_at(now + ahead);
        // It never runs backwards: what was shown stays shown.
        self.present = self.present.max(present);
        self.extend();
    }

    /// The authoritative state of a tick, in which all moves up to `applied` are contained.
    pub(super) fn reconcile(
        &mut self,
        tick: u32,
        entity: Option<&Entity>,
        motion: Motion,
        applied: u32,
    ) -> Option<Correction> {
        self.motion = motion;
        self.apply(applied);
        for late in &mut self.pending {
            late.tick = late.tick.max(tick.wrapping_add(1));
        }
        self.present = self.present.clamp(tick, tick.saturating_add(AHEAD_MAX));
        let predicted = tick.checked_sub(self.first).and_then(|i| self.states.get(i as usize));
        let correction = match (predicted, entity) {
            (Some(predicted), Some(actual)) => self.difference(tick, predicted, actual),
            _ => None,
        };
        self.states.clear();
        self.first = tick;
        self.states.extend(entity.cloned());
        self.extend();
        correction
    }

    /// The server has all moves up to this one.
    fn apply(&mut self, applied: u32) {
        while let Some(done) = self.pending.front()
            && done.sequence <= applied
        {
            self.steering = done.steering;
            self.pending.pop_front();
        }
    }

    fn difference(&self, tick: u32, predicted: &Entity, actual: &Entity) -> Option<Correction> {
        let motion = |entity: &Entity| (entity.position, entity.velocity, entity.heading);
        if motion(predicted) == motion(actual) {
            return None;
        }
        let [x, y] = [0, 1].map(|axis| {
            f64::from(self.world.difference(actual.position[axis], predicted.position[axis]))
        });
        let unit = f64::from(1 << self.world.unit_bits.min(30));
        Some(Correction { tick, units: x.hypot(y) / unit })
    }

    /// The entity as the player should see it now, a round trip ahead of the newest update.
    pub(super) fn entity(&self) -> Option<&Entity> {
        self.states.back()
    }

    fn extend(&mut self) {
        let limit = self.first.saturating_add(AHEAD_MAX).min(self.present);
        while let Some(newest) = self.states.back() {
            let tick = self.first + self.states.len() as u32;
            if tick > limit {
                break;
            }
            let mut next = newest.clone();
            let arrived = self.pending.iter().take_while(|pending| pending.tick <= tick).last();
            steer(&mut next, arrived.map_or(self.steering, |p| p.steering), self.motion);
            advance(&mut next, self.motion, self.world);
            self.states.push_back(next);
        }
    }
}

#[cfg(test)]
mod tests {
    // Goal: a foretold move makes no correction, a surprise makes one of its own size. Method: the test plays a server
    // that steers one ship, on a way of a given length, in virtual time.
    use super::super::schedule::Schedule;
    use super::*;

    const WORLD: World = World { position_bits: 20, cell_bits: 14, unit_bits: 8 };
    const MOTION: Motion = Motion {
        turn_rate: 40,
        acceleration: 300,
        speed_max: 3000,
        drag_shift: 6,
        launch_speed: 0,
        launch_distance: 0,
    };
    const PERIOD: Duration = Duration::from_millis(50);

    struct Way {
        up: Duration,
        down: Duration,
    }

    /// Plays `ticks` ticks in which the player changes its controls every seventh, and returns the corrections.
    fn play(way: &Way, ticks: u32, mut shove: impl FnMut(u32, &mut Entity)) -> Vec<Correction> {
        let start = tokio::time::Instant::now().into_std();
        let stepped_at = |tick: u32| start + PERIOD * tick;
        let mut ship = Entity { id: 1, kind: 1, ..Entity::default() };
        let mut prediction = Prediction::new(WORLD);
        let mut line = TickLine::new(Schedule::new(20, 0, start + way.down));
        let mut sent: Vec<(Instant, Steering)> = Vec::new();
        let (mut applied, mut steering) = (0, Steering::default());
        let mut updates = VecDeque::new();
        let mut corrections = Vec::new();
        for millisecond in 0..u64::from(ticks) * 50 {
            let now = start + Duration::from_millis(millisecond);
            if millisecond > 0 && millisecond % 50 == 0 {
                let tick = (millisecond / 50) as u32;
                let mut ack = None;
                while let Some((at, new)) = sent.get(applied as usize)
                    && *at + way.up <= stepped_at(tick)
                {
                    applied += 1;
                    steering = *new;
                    ack = Some(stepped_at(tick) - (*at + way.up));
                }
                steer(&mut ship, steering, MOTION);
                advance(&mut ship, MOTION, WORLD);
                shove(tick, &mut ship);
                updates.push_back((stepped_at(tick) + way.down, tick, ship.clone(), applied, ack));
            }
            while updates.front().is_some_and(|(at, ..)| *at <= now) {
                let (at, tick, ship, applied, ack) = updates.pop_front().expect("just seen");
                line.observe(tick, at);
                if let Some(margin) = ack {
                    prediction.measure(&line, tick, sent[applied as usize - 1].0, margin);
                }
                corrections.extend(prediction.reconcile(tick, Some(&ship), MOTION, applied));
                prediction.advance_to(&line, now);
            }
            if millisecond % 350 == 13 {
                prediction.advance_to(&line, now);
                let turn = (millisecond % 200) as i32 - 100;
                let steering = Steering { axis_x: turn, axis_y: 127, aim: None };
                sent.push((now, steering));
                prediction.moved(sent.len() as u32, steering);
            }
        }
        corrections
    }

    #[test]
    fn on_an_even_way_every_move_is_foretold() {
        for way_ms in [0, 30, 80, 200] {
            let half = Duration::from_millis(way_ms);
            let corrections = play(&Way { up: half, down: half }, 200, |_, _| {});
            // The very first move is sent before the length of the way is known.
            let after_first = corrections.iter().filter(|c| c.tick > 20).count();
            assert_eq!(after_first, 0, "{way_ms} ms: {corrections:?}");
        }
    }

    #[test]
    fn a_shove_is_one_correction_of_its_size() {
        let way = Way { up: Duration::from_millis(80), down: Duration::from_millis(80) };
        let corrections = play(&way, 200, |tick, ship| {
            if tick == 100 {
                ship.position[0] = WORLD.wrap(ship.position[0] + (5 << WORLD.unit_bits));
            }
        });
        let surprises: Vec<_> = corrections.into_iter().filter(|c| c.tick > 20).collect();
        assert_eq!(surprises, [Correction { tick: 100, units: 5.0 }]);
    }
}
