//! The arena is alive: naive pilots fight in it for a while, through the public interface only, and what a visitor would
//! see happens. The same run measures what the wire will have to say.

use fray_proto::model::{advance, direction};
use fray_server::game::arena::{
    Arena, ArenaOptions, BUTTON_FIRE, KIND_HAPPENING, KIND_PICKUP, KIND_PLAYER, KIND_ROCK,
    KIND_SHIP, KIND_SHOT,
};
use fray_server::game::{
    Controls, Entity, Game, GameFactory, Profile, Published, Setup, Steering, World,
};
use std::collections::BTreeMap;

const RATE: u32 = 20;

/// The heading that points along a way; as good as a player's thumb.
fn heading_to([x, y]: [i64; 2]) -> u16 {
    let headings = (0..256_u32).map(|i| (i << 8) as u16);
    let best = headings.max_by_key(|h| {
        let [dx, dy] = direction(*h).map(i64::from);
        dx * x + dy * y
    });
    best.unwrap_or_default()
}

/// Flies at the nearest ship that is not its own without leading it, with a hand that is not steady, and fires when it is
/// in range and in front; picks things up when nobody is near. It sees only what is published, and ignores rocks.
fn pilot(own: &Entity, local: &[Entity], world: World, tick: u32) -> Controls {
    let way =
        |e: &Entity| [0, 1].map(|i| i64::from(world.difference(e.position[i], own.position[i])));
    let length = |[x, y]: [i64; 2]| (x * x + y * y).isqrt();
    let nearest = |kind| {
        let others = local.iter().filter(|e| e.kind == kind && e.id != own.id);
        others.map(|e| (length(way(e)) >> 8, e)).min_by_key(|(d, e)| (*d, e.id))
    };
    let prey = nearest(KIND_SHIP).filter(|(d, _)| *d < 900);
    let (distance, target) = match (prey, nearest(KIND_PICKUP)) {
        (Some(prey), Some(pickup)) if pickup.0 * 3 > prey.0 => prey,
        (_, Some(pickup)) => pickup,
        (Some(prey), None) => prey,
        (None, None) => return Controls::default(),
    };
    // Up to 14 degrees off, another way every second.
    let shake = ((tick / RATE).wrapping_mul(0x9e37_79b9) >> 16) as i32 % 5200 - 2600;
    let aim = heading_to(way(target)).wrapping_add(shake as u16);
    let off = aim.wrapping_sub(own.heading) as i16;
    let ship = target.kind == KIND_SHIP;
    let fire = ship && distance < 380 && off.unsigned_abs() < 1500;
    let speed = if ship && distance < 150 { 40 } else { 100 };
    let steering = Steering { axis_x: 0, axis_y: speed, aim: Some(aim) };
    Controls { steering, buttons: if fire { BUTTON_FIRE } else { 0 }, ..Controls::default() }
}

/// What a run was like.
#[derive(Debug, Default)]
struct Figures {
    kills: usize,
    pickups: usize,
    own_doing: usize,
    rounds_ended: usize,
    ship_ticks: usize,
    ship_motion_misses: usize,
    ship_attribute_changes: usize,
    straight_ticks: usize,
    straight_misses: usize,
    global_changes: usize,
    locals: usize,
    ticks: usize,
}

fn run(options: ArenaOptions, players: u32, ticks: u32) -> Figures {
    let setup = Setup { seed: 42, tick_rate_hz: RATE, capacity: players };
    let mut game = Arena { options }.create(&setup);
    let limits = game.world();
    let world = World {
        position_bits: limits.position_bits,
        cell_bits: limits.position_bits,
        unit_bits: limits.unit_bits,
    };
    let motions = game.motions();
    let ids: BTreeMap<u32, u32> =
        (1..=players).map(|number| (game.join(number, &Profile::default()), number)).collect();
    let mut figures = Figures::default();
    let mut before = Published::default();
    let mut now = Published::default();
    game.publish(&mut now);
    for tick in 0..ticks {
        for own in now.local.iter().filter(|e| e.kind == KIND_SHIP) {
            // As fast as hands are: four decisions a second.
            if (tick + own.id) % 5 == 0 {
                let controls = pilot(own, &now.local, world, tick + own.id);
                game.apply(ids[&own.id], &controls).expect("an acceptable move");
            }
        }
        game.step();
        std::mem::swap(&mut before, &mut now);
        game.publish(&mut now);
        count(&mut figures, &before, &now, |e| {
            advance(e, motions.of(e.kind), world);
        });
    }
    figures
}

/// Compares a tick with what a client would have predicted from the one before.
fn count(
    figures: &mut Figures,
    before: &Published,
    now: &Published,
    predict: impl Fn(&mut Entity),
) {
    figures.ticks += 1;
    figures.locals += now.local.len();
    let old: BTreeMap<u32, &Entity> =
        before.local.iter().chain(&before.global).map(|e| (e.id, e)).collect();
    for entity in &now.local {
        let Some(old) = old.get(&entity.id) else {
            continue;
        };
        let mut predicted = (*old).clone();
        if entity.kind == KIND_SHIP {
            predicted.turn = entity.turn;
            predicted.thrust = entity.thrust;
            let steered = (predicted.turn, predicted.thrust) != (old.turn, old.thrust);
            predict(&mut predicted);
            let missed =
                predicted.velocity != entity.velocity || predicted.heading != entity.heading;
            figures.ship_ticks += 1;
            figures.ship_motion_misses += usize::from(steered || missed);
            figures.ship_attribute_changes += usize::from(old.attributes != entity.attributes);
        } else {
            predict(&mut predicted);
            figures.straight_ticks += 1;
            figures.straight_misses += usize::from(predicted != *entity);
        }
    }
    for entity in &now.global {
        let was = old.get(&entity.id);
        if entity.kind == KIND_HAPPENING && was.is_none() {
            match entity.attributes[0] {
                1 if entity.attributes[1] == entity.attributes[2] => figures.own_doing += 1,
                1 => figures.kills += 1,
                2 => figures.pickups += 1,
                6 => figures.rounds_ended += 1,
                _ => {}
            }
        }
        if entity.kind == KIND_PLAYER {
            figures.global_changes += usize::from(was.is_none_or(|was| *was != entity));
        }
    }
}

#[test]
fn naive_pilots_have_a_lively_fight() {
    let options = ArenaOptions { round_s: 30, ..ArenaOptions::default() };
    let figures = run(options, 24, 2000);
    let minutes = 2000 / RATE as usize / 60;
    println!("{figures:?}");
    println!("kills per minute: {}", figures.kills * 60 * RATE as usize / figures.ticks);
    println!(
        "ship-ticks with a change of motion: {} %",
        100 * figures.ship_motion_misses / figures.ship_ticks
    );
    println!("entities: {}", figures.locals / figures.ticks);
    assert!((8 * minutes..=50 * minutes).contains(&figures.kills), "{figures:?}");
    assert!(figures.pickups >= 5, "{figures:?}");
    assert_eq!(figures.rounds_ended, 2, "30 s and 8 s of pause, in 100 s");
    assert_eq!(figures.straight_misses, 0, "what flies straight is never worth a byte");
    assert!(figures.ship_attribute_changes * 20 < figures.ship_ticks, "{figures:?}");
}

#[test]
fn a_crowded_room_keeps_its_order() {
    let options = ArenaOptions { rocks: 80, ..ArenaOptions::default() };
    let figures = run(options, 300, 150);
    assert!(figures.kills > 10, "{figures:?}");
    assert_eq!(figures.straight_misses, 0);
}

#[test]
fn an_idle_room_is_silent() {
    let setup = Setup { seed: 1, tick_rate_hz: RATE, capacity: 8 };
    let mut game = Arena::default().create(&setup);
    let kinds = |game: &dyn Game| {
        let mut out = Published::default();
        game.publish(&mut out);
        out.local.iter().map(|e| e.kind).collect::<Vec<_>>()
    };
    for _ in 0..500 {
        game.step();
    }
    let kinds = kinds(game.as_ref());
    assert!(kinds.contains(&KIND_ROCK) && kinds.contains(&KIND_PICKUP));
    assert!(!kinds.contains(&KIND_SHIP) && !kinds.contains(&KIND_SHOT));
}
