//! Ships: coming back, moving, firing, being hurt.

use super::play::Play;
use super::rules::{
    HULL_MAX, PLAYERS_MAX, REPAIR, SCORE_DEATH, SCORE_KILL, SCORE_MAX, SHIELD, SHOTS_MAX,
};
use super::space::{along, plus};
use super::state::{Body, Gift, Held, Phase, Player, Ship, Shot, What};
use super::{BUTTON_FIRE, KIND_SHIP};
use crate::game::{Controls, Entity, Profile, Refusal};
use fray_proto::model::{advance, steer};

impl Play {
    /// A player comes in, and its ship with it.
    pub(super) fn add_player(&mut self, number: u32, profile: &Profile) -> u32 {
        let at = match self.state.players.binary_search_by_key(&number, |p| p.number) {
            Ok(index) => return self.state.players[index].ship.body.id,
            Err(at) => at,
        };
        if self.state.players.len() >= PLAYERS_MAX {
            return 0;
        }
        let mut player = Player::new(number, profile);
        player.entry = self.state.new_id();
        player.ship.body.id = self.state.new_id();
        // Dead until it has a place, so that it does not count as its own neighbour.
        player.ship.respawn_at = Some(0);
        self.state.players.insert(at, player);
        self.spawn_ship(at);
        let ship = self.state.players[at].ship.body;
        self.tell(What::Joined(number), ship.position);
        ship.id
    }

    /// A player goes, and its ship with it. Its shots fly on.
    pub(super) fn remove_player(&mut self, number: u32) {
        if let Some(index) = self.state.index_of(number) {
            let gone = self.state.players.remove(index);
            self.tell(What::Left(number), gone.ship.body.position);
        }
    }

    /// Sets what a player holds down; no effect without a stream.
    pub(super) fn set_controls(&mut self, number: u32, controls: &Controls) -> Result<(), Refusal> {
        if controls.target.is_some() {
            return Err(Refusal::InvalidTarget);
        }
        if !controls.payload.is_empty() {
            return Err(Refusal::InvalidPayload);
        }
        let Some(index) = self.state.index_of(number) else {
            return Ok(());
        };
        let player = &mut self.state.players[index];
        if player.connected {
            let axis = |a: i32| a.clamp(-127, 127) as i8;
            let fire = controls.buttons & BUTTON_FIRE != 0;
            player.held = Held {
                axes: [axis(controls.steering.axis_x), axis(controls.steering.axis_y)],
                aim: controls.steering.aim,
                fire,
                fire_pressed: fire || player.held.fire_pressed,
            };
        }
        Ok(())
    }

    /// Brings back ships whose time has come.
    pub(super) fn respawn_ships(&mut self) {
        for index in 0..self.state.players.len() {
            if self.state.players[index].ship.respawn_at.is_some_and(|at| at <= self.state.tick) {
                self.spawn_ship(index);
            }
        }
    }

    /// A whole ship in a quiet place, under its old id.
    fn spawn_ship(&mut self, index: usize) {
        let (position, _) = self.quiet_place();
        let heading = self.state.any_heading();
        let tick = self.state.tick;
        let ship = &mut self.state.players[index].ship;
        *ship = Ship {
            body: Body { id: ship.body.id, position, velocity: [0, 0] },
            heading,
            hull: HULL_MAX,
            protected_until: Some(tick.saturating_add(self.rules.protection)),
            ..Ship::default()
        };
    }

    /// Every living ship moves, by the shared rules and nothing else.
    pub(super) fn move_ships(&mut self) {
        for player in &mut self.state.players {
            let ship = &mut player.ship;
            if !ship.is_alive() {
                continue;
            }
            let mut entity = ship.entity();
            steer(&mut entity, player.held.steering(), self.rules.ship);
            advance(&mut entity, self.rules.ship, self.rules.world);
            ship.body.position = entity.position;
            ship.body.velocity = entity.velocity;
            ship.heading = entity.heading;
            ship.turn = entity.turn;
            ship.thrust = entity.thrust;
        }
    }

    /// Ends what has lasted its time: protection, rapid fire.
    pub(super) fn expire_boons(&mut self) {
        let tick = self.state.tick;
        for player in &mut self.state.players {
            let ship = &mut player.ship;
            for until in [&mut ship.protected_until, &mut ship.rapid_until] {
                if until.is_some_and(|until| until <= tick) {
                    *until = None;
                }
            }
        }
    }

    /// Fires the guns that are asked to and may. What was pressed since the last tick is thereby dealt with.
    pub(super) fn fire_guns(&mut self) {
        let cold = self.state.round.phase != Phase::Playing;
        let tick = self.state.tick;
        for index in 0..self.state.players.len() {
            let player = &mut self.state.players[index];
            let asked = player.held.fire || player.held.fire_pressed;
            player.held.fire_pressed = false;
            let ship = &mut player.ship;
            if !asked || cold || !ship.is_alive() || self.state.shots.len() >= SHOTS_MAX {
                continue;
            }
            let (interval, heat) = match ship.rapid_until {
                Some(_) => (self.rules.gun_interval_rapid, self.rules.heat_per_shot_rapid),
                None => (self.rules.gun_interval, self.rules.heat_per_shot),
            };
            let heat_until = ship.heat_until.max(tick).saturating_add(heat);
            if tick < ship.gun_ready_at || heat_until - tick > self.rules.heat_max {
                continue;
            }
            ship.heat_until = heat_until;
            ship.gun_ready_at = tick.saturating_add(interval);
            ship.protected_until = None;
            let owner = player.number;
            let (body, heading) = (ship.body, ship.heading);
            self.spawn_shot(owner, body, heading);
        }
    }

    fn spawn_shot(&mut self, owner: u32, ship: Body, heading: u16) {
        if !self.state.may_spawn() {
            return;
        }
        let world = self.rules.world;
        let muzzle = along(heading, self.rules.ship_radius);
        let body = Body {
            id: self.state.new_id(),
            position: plus(ship.position, muzzle).map(|c| world.wrap(c)),
            velocity: plus(ship.velocity, along(heading, self.rules.shot_speed)),
        };
        let ends_at = self.state.tick.saturating_add(self.rules.shot_life);
        self.state.shots.push(Shot { body, owner, ends_at });
    }

    /// Takes hull from a ship, or shield first. `by` is the number of who did it. No harm in the pause, nor to the
    /// protected and the dead.
    pub(super) fn hurt(&mut self, index: usize, points: i32, by: Option<u32>) {
        let tick = self.state.tick;
        let ship = &mut self.state.players[index].ship;
        let spared = ship.protected_until.is_some() || !ship.is_alive();
        if spared || points <= 0 || self.state.round.phase != Phase::Playing {
            return;
        }
        if let Some(number) = by {
            ship.hurt_by = Some((number, tick));
        }
        let absorbed = points.min(ship.shield);
        ship.shield -= absorbed;
        ship.hull = (ship.hull - (points - absorbed)).max(0);
        if ship.hull == 0 {
            self.kill(index);
        }
    }

    /// A ship is gone for a while. Whoever hurt it last, and lately, has the kill.
    fn kill(&mut self, index: usize) {
        let tick = self.state.tick;
        let victim = &mut self.state.players[index];
        victim.deaths = (victim.deaths + 1).min(SCORE_MAX);
        victim.score = (victim.score - SCORE_DEATH).max(0);
        let ship = &mut victim.ship;
        let hurt_by = ship.hurt_by.filter(|(_, at)| tick.saturating_sub(*at) <= self.rules.blame);
        *ship = Ship {
            body: Body { velocity: [0, 0], ..ship.body },
            heading: ship.heading,
            respawn_at: Some(tick.saturating_add(self.rules.respawn)),
            ..Ship::default()
        };
        let (number, position) = (victim.number, ship.body.position);
        let killer = hurt_by.map(|(killer, _)| killer).filter(|killer| *killer != number);
        if let Some(killer) = killer.and_then(|killer| self.state.index_of(killer)) {
            let killer = &mut self.state.players[killer];
            killer.kills = (killer.kills + 1).min(SCORE_MAX);
        }
        if let Some(killer) = killer {
            self.award(killer, SCORE_KILL);
        }
        self.tell(What::Kill(killer.unwrap_or(number), number), position);
    }

    /// Adds to a player's score, while a round is played.
    pub(super) fn award(&mut self, number: u32, score: i32) {
        if let (Some(index), Phase::Playing) = (self.state.index_of(number), self.state.round.phase)
        {
            let player = &mut self.state.players[index];
            player.score = (player.score + score).min(SCORE_MAX);
        }
    }

    /// A ship gets what it picked up.
    pub(super) fn give(&mut self, index: usize, gift: Gift) {
        let until = self.state.tick.saturating_add(self.rules.rapid);
        let ship = &mut self.state.players[index].ship;
        match gift {
            Gift::Repair => ship.hull = (ship.hull + REPAIR).min(HULL_MAX),
            Gift::Shield => ship.shield = SHIELD,
            Gift::Rapid => ship.rapid_until = Some(until),
        }
    }
}

impl Ship {
    /// The ship as the shared motion model knows it; attributes are the affair of `publish`.
    pub(super) fn entity(&self) -> Entity {
        Entity {
            id: self.body.id,
            kind: KIND_SHIP,
            position: self.body.position,
            velocity: self.body.velocity,
            heading: self.heading,
            turn: self.turn,
            thrust: self.thrust,
            ..Entity::default()
        }
    }
}
