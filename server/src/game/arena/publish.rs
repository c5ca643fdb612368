//! From the state to what is replicated; the table is in the module's page.

use super::play::Play;
use super::state::{Body, Gift, Happening, Phase, Player, Round, What};
use super::{KIND_HAPPENING, KIND_PICKUP, KIND_PLAYER, KIND_ROCK, KIND_ROUND, KIND_SHOT};
use crate::game::{Entity, Published};
use fray_proto::model::ATTRIBUTES;
use std::sync::Arc;

impl Play {
    /// Everything that anybody may see.
    pub(super) fn publish_all(&self, out: &mut Published) {
        out.local.clear();
        out.global.clear();
        let state = &self.state;
        out.local.extend(state.players.iter().filter_map(ship));
        out.local.extend(state.shots.iter().map(|shot| {
            let attributes = first([shot.owner as i32]);
            straight(KIND_SHOT, shot.body, attributes)
        }));
        out.local.extend(state.rocks.iter().map(|rock| {
            let radius = self.rules.rock_radius[rock.size.index()] >> self.rules.world.unit_bits;
            straight(KIND_ROCK, rock.body, first([radius, i32::from(rock.shape)]))
        }));
        out.local.extend(state.pickups.iter().map(|pickup| {
            let body = Body { id: pickup.id, position: pickup.position, velocity: [0, 0] };
            straight(KIND_PICKUP, body, first([gift(pickup.gift)]))
        }));
        // Runs in ascending order: merging them is all that this sort does.
        out.local.sort_by_key(|e| e.id);

        out.global.push(round(&state.round));
        out.global.extend(state.players.iter().map(player));
        out.global.extend(state.happenings.iter().map(happening));
        out.global.sort_by_key(|e| e.id);
    }
}

/// The attributes that begin with these.
fn first<const N: usize>(values: [i32; N]) -> [i32; ATTRIBUTES] {
    let mut attributes = [0; ATTRIBUTES];
    attributes[..N].copy_from_slice(&values);
    attributes
}

fn straight(kind: u32, body: Body, attributes: [i32; ATTRIBUTES]) -> Entity {
    Entity {
        id: body.id,
        kind,
        position: body.position,
        velocity: body.velocity,
        attributes,
        ..Entity::default()
    }
}

fn ship(player: &Player) -> Option<Entity> {
    let ship = &player.ship;
    let bits = [ship.protected_until.is_some(), ship.shield > 0, ship.rapid_until.is_some()];
    ship.is_alive().then(|| Entity {
        attributes: first([player.number as i32, ship.hull, flags(bits)]),
        ..ship.entity()
    })
}

fn flags<const N: usize>(bits: [bool; N]) -> i32 {
    let bits = bits.into_iter().enumerate();
    bits.fold(0, |flags, (bit, on)| flags | i32::from(on) << bit)
}

fn gift(gift: Gift) -> i32 {
    match gift {
        Gift::Repair => 1,
        Gift::Shield => 2,
        Gift::Rapid => 3,
    }
}

fn player(player: &Player) -> Entity {
    Entity {
        id: player.entry,
        kind: KIND_PLAYER,
        attributes: first([
            player.number as i32,
            player.ship.body.id as i32,
            player.score,
            player.kills,
            player.deaths,
            i32::from(player.hue),
            flags([player.connected, player.ship.is_alive()]),
        ]),
        payload: (!player.name.is_empty()).then(|| Arc::clone(&player.name)),
        ..Entity::default()
    }
}

fn round(round: &Round) -> Entity {
    let (phase, winner) = match round.phase {
        Phase::Playing => (1, None),
        Phase::Pause { winner } => (2, winner),
    };
    Entity {
        id: round.id,
        kind: KIND_ROUND,
        attributes: first([
            round.number as i32,
            phase,
            round.ends_at as i32,
            winner.unwrap_or(0) as i32,
        ]),
        ..Entity::default()
    }
}

fn happening(happening: &Happening) -> Entity {
    let (what, one, two) = match happening.what {
        What::Kill(killer, victim) => (1, killer, victim as i32),
        What::Pickup(number, got) => (2, number, gift(got)),
        What::Joined(number) => (3, number, 0),
        What::Left(number) => (4, number, 0),
        What::RoundBegan(round) => (5, 0, round as i32),
        What::RoundEnded(winner, round) => (6, winner.unwrap_or(0), round as i32),
    };
    let [x, y] = happening.position;
    Entity {
        id: happening.id,
        kind: KIND_HAPPENING,
        attributes: first([what, one as i32, two, happening.tick as i32, x, y]),
        ..Entity::default()
    }
}
