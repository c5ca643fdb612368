//! The order of a tick, and what the room may ask.

use super::hits::Contacts;
use super::rules::Rules;
use super::state::{Held, Phase, Round, State, What};
use super::{ArenaOptions, KIND_SHIP, KIND_SHOT, checkpoint};
use crate::game::{
    Controls, Game, Mark, MarkKind, Motion, Motions, Profile, Published, Refusal, Setup, View,
    WorldLimits,
};
use rand_pcg::Pcg32;
use std::collections::VecDeque;

/// What is seen of the world, half of it, in units.
const VIEW_EXTENT: [i32; 2] = [1100, 750];
/// The generator's stream; any number does.
const RNG_STREAM: u64 = 0x6672_6179;

/// One arena.
pub(super) struct Play {
    pub(super) rules: Rules,
    pub(super) state: State,
    /// Not part of the state: memory that is used again.
    pub(super) contacts: Contacts,
}

impl Play {
    /// A new one at tick 0.
    pub(super) fn new(options: ArenaOptions, setup: &Setup) -> Self {
        let rules = Rules::new(options, setup.tick_rate_hz);
        let round = Round { id: 1, number: 1, phase: Phase::Playing, ends_at: rules.round };
        let mut play = Self::resume(State {
            options,
            tick_rate_hz: rules.tick_rate_hz,
            tick: 0,
            next_id: round.id + 1,
            rng: Pcg32::new(setup.seed, RNG_STREAM),
            round,
            players: Vec::new(),
            shots: Vec::new(),
            rocks: Vec::new(),
            pickups: Vec::new(),
            happenings: VecDeque::new(),
            next_rock_at: rules.rock_interval,
            next_pickup_at: rules.pickup_interval,
        });
        play.furnish();
        play.tell(What::RoundBegan(1), [play.rules.world.size() / 2; 2]);
        play
    }

    /// One that goes on from a state.
    pub(super) fn resume(state: State) -> Self {
        Self {
            rules: Rules::new(state.options, state.tick_rate_hz),
            state,
            contacts: Contacts::default(),
        }
    }

    /// What flies straight: its whole motion is this sum.
    fn drift(&mut self) {
        let (world, tick) = (self.rules.world, self.state.tick);
        self.state.shots.retain(|shot| shot.ends_at > tick);
        let shots = self.state.shots.iter_mut().map(|s| &mut s.body);
        let rocks = self.state.rocks.iter_mut().map(|r| &mut r.body);
        for body in shots.chain(rocks) {
            for (c, v) in body.position.iter_mut().zip(body.velocity) {
                *c = world.wrap(c.wrapping_add(v));
            }
        }
    }
}

impl Game for Play {
    fn world(&self) -> WorldLimits {
        WorldLimits {
            position_bits: self.rules.world.position_bits,
            unit_bits: self.rules.world.unit_bits,
            speed_max: self.rules.speed_max,
        }
    }

    fn motions(&self) -> Motions {
        let mut motions = Motions::default();
        motions.set(KIND_SHIP, self.rules.ship);
        // So that clients know a shot from its ship, and a launch costs a few bytes.
        let shot = Motion {
            launch_speed: self.rules.shot_speed,
            launch_distance: self.rules.ship_radius,
            ..Motion::default()
        };
        motions.set(KIND_SHOT, shot);
        motions
    }

    fn join(&mut self, player: u32, profile: &Profile) -> u32 {
        self.add_player(player, profile)
    }

    fn leave(&mut self, player: u32) {
        self.remove_player(player);
    }

    fn set_connected(&mut self, player: u32, connected: bool) {
        if let Some(index) = self.state.index_of(player) {
            let player = &mut self.state.players[index];
            player.connected = connected;
            if !connected {
                player.held = Held::default();
            }
        }
    }

    fn apply(&mut self, player: u32, controls: &Controls) -> Result<(), Refusal> {
        self.set_controls(player, controls)
    }

    fn step(&mut self) {
        self.state.tick = self.state.tick.saturating_add(1);
        self.turn_round();
        self.respawn_ships();
        self.expire_boons();
        self.move_ships();
        self.drift();
        self.collide();
        // What is born from here on does not move in this tick: clients see it first where it was born.
        self.fire_guns();
        self.tend_field();
        self.expire_happenings();
    }

    fn publish(&self, out: &mut Published) {
        self.publish_all(out);
    }

    fn view(&self, player: Option<u32>) -> View {
        let size = self.rules.world.size();
        let own = player.and_then(|number| self.state.index_of(number));
        let watched = own.map(|index| &self.state.players[index]).or_else(|| self.leader());
        View {
            center: watched.map_or([size / 2; 2], |p| p.ship.body.position),
            extent: VIEW_EXTENT.map(|units| (units << self.rules.world.unit_bits).min(size / 2)),
        }
    }

    fn private(&self, player: u32, out: &mut Vec<i32>) {
        out.clear();
        if let Some(index) = self.state.index_of(player) {
            let ship = &self.state.players[index].ship;
            out.push(ship.heat_until as i32);
            out.push(ship.respawn_at.unwrap_or(0) as i32);
            out.push(ship.gun_ready_at as i32);
        }
    }

    fn marks(&self, out: &mut Vec<Mark>) {
        let state = &self.state;
        for happening in state.happenings.iter().rev().take_while(|h| h.tick == state.tick) {
            let (kind, player, other, text) = match happening.what {
                What::Kill(killer, victim) => (MarkKind::Kill, killer, victim, String::new()),
                What::RoundBegan(number) => (MarkKind::Round, 0, 0, format!("round {number}")),
                _ => continue,
            };
            out.push(Mark { kind, player, other, text });
        }
    }

    fn checkpoint(&self) -> Vec<u8> {
        checkpoint::encode(&self.state)
    }
}
