//! Coming and going, controls, rounds, news, checkpoints.

use super::*;
use crate::game::Refusal;
use fray_proto::model::{advance, steer};
use std::sync::Arc;

#[test]
fn a_ship_moves_exactly_by_the_shared_model() {
    let mut play = empty();
    pilot(&mut play, 1, [4090, 5]);
    let (motion, world) = (play.motions().of(KIND_SHIP), play.rules.world);
    let mut predicted = ship_of(&play, 1).expect("alive");
    for tick in 0..300_i32 {
        let aim = (tick % 50 > 25).then_some((tick * 777) as u16);
        let controls = steering((tick * 31) % 128, 127 - tick, aim);
        apply(&mut play, 1, &controls);
        play.step();
        steer(&mut predicted, controls.steering, motion);
        advance(&mut predicted, motion, world);
        assert_eq!(ship_of(&play, 1).expect("alive"), predicted);
    }
}

#[test]
fn every_tick_rate_gives_about_the_same_ship() {
    for rate in [5, 20, 30, 60, 128] {
        let rules = super::super::rules::Rules::new(ArenaOptions::default(), rate);
        let mut ship = Entity::default();
        let mut length = 0;
        for _ in 0..rate {
            let full = Steering { axis_x: 0, axis_y: 127, aim: None };
            steer(&mut ship, full, rules.ship);
            advance(&mut ship, rules.ship, rules.world);
            length = (ship.velocity[0] * rate as i32) >> 8;
        }
        assert!((210..=275).contains(&length), "{length} units/s after a second at {rate} Hz");
    }
}

#[test]
fn joining_twice_gives_the_same_ship_and_strangers_are_ignored() {
    let mut play = empty();
    let id = play.join(5, &profile("five"));
    assert_eq!(play.join(5, &profile("again")), id);
    assert_eq!(of_kind(&play, KIND_PLAYER).len(), 1);
    let before = play.state_hash();
    play.leave(9);
    play.set_connected(9, false);
    apply(&mut play, 9, &buttons(1));
    play.private(9, &mut Vec::new());
    play.view(Some(9));
    assert_eq!(play.state_hash(), before);
}

#[test]
fn a_player_who_leaves_is_gone_and_told_of() {
    let mut play = empty();
    play.join(1, &profile("one"));
    play.join(2, &profile("two"));
    play.leave(1);
    play.step();
    assert!(ship_of(&play, 1).is_none());
    assert_eq!(of_kind(&play, KIND_PLAYER).len(), 1);
    assert_eq!((news(&play, 3), news(&play, 4)), (vec![[1, 0], [2, 0]], vec![[1, 0]]));
}

#[test]
fn the_name_and_the_hue_are_shown_within_their_limits() {
    let mut play = empty();
    let name = "ä".repeat(30);
    play.join(1, &Profile { name, hue: 999 });
    let line = of_kind(&play, KIND_PLAYER).remove(0);
    assert_eq!(line.payload.as_deref(), Some("ä".repeat(24).as_bytes()));
    assert_eq!(line.attributes[5], 999 % 360);
}

#[test]
fn targets_and_payloads_are_refused_and_change_nothing() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    let before = play.state_hash();
    let target = Controls { target: Some(1), ..buttons(1) };
    let payload = Controls { payload: Arc::from([1_u8]), ..buttons(1) };
    assert_eq!(play.apply(1, &target), Err(Refusal::InvalidTarget));
    assert_eq!(play.apply(1, &payload), Err(Refusal::InvalidPayload));
    assert_eq!(play.state_hash(), before);
}

#[test]
fn a_dropped_player_has_neutral_controls() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    let mut controls = steering(127, 127, None);
    controls.buttons = BUTTON_FIRE;
    apply(&mut play, 1, &controls);
    play.set_connected(1, false);
    apply(&mut play, 1, &controls);
    steps(&mut play, 5);
    let ship = ship_of(&play, 1).expect("the ship stays");
    assert_eq!((ship.turn, ship.thrust, ship.velocity), (0, 0, [0, 0]));
    assert!(of_kind(&play, KIND_SHOT).is_empty());
    assert_eq!(of_kind(&play, KIND_PLAYER)[0].attributes[6], 0b10);
    play.set_connected(1, true);
    play.step();
    assert_eq!(ship_of(&play, 1).expect("the ship stays").thrust, 0, "the old controls are gone");
    apply(&mut play, 1, &controls);
    play.step();
    assert_eq!(ship_of(&play, 1).expect("the ship stays").thrust, 15);
}

#[test]
fn a_round_ends_with_a_winner_and_the_next_begins_from_zero() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    pilot(&mut play, 2, [1300, 1000]);
    play.award(2, 70);
    let round = |play: &Play| of_kind(play, KIND_ROUND)[0].attributes;
    assert_eq!(round(&play)[..4], [1, 1, 180 * RATE as i32, 0]);
    steps(&mut play, 180 * RATE - 1);
    assert_eq!(round(&play)[1], 1);
    apply(&mut play, 1, &buttons(BUTTON_FIRE));
    play.step();
    assert_eq!(round(&play)[..4], [1, 2, 188 * RATE as i32, 2]);
    assert_eq!(news(&play, 6), [[2, 1]]);
    play.hurt(0, 500, None);
    play.award(1, 500);
    steps(&mut play, 8 * RATE - 1);
    assert!(of_kind(&play, KIND_SHOT).is_empty(), "guns are silent in the pause");
    assert_eq!((line_of(&play, 1), line_of(&play, 2)), ([0, 0, 0], [70, 0, 0]));
    play.step();
    assert_eq!(round(&play)[..4], [2, 1, 368 * RATE as i32, 0]);
    assert_eq!(line_of(&play, 2), [0, 0, 0]);
    assert_eq!(news(&play, 5).last(), Some(&[0, 2]));
}

#[test]
fn a_round_that_nobody_scored_in_has_no_winner() {
    let mut play = empty();
    play.join(1, &profile("idle"));
    steps(&mut play, 180 * RATE);
    assert_eq!(news(&play, 6), [[0, 1]]);
}

#[test]
fn news_are_kept_for_two_seconds_and_then_end() {
    let mut play = empty();
    steps(&mut play, 100);
    play.join(1, &profile("one"));
    for _ in 0..2 * RATE {
        play.step();
        assert_eq!(news(&play, 3), [[1, 0]]);
    }
    steps(&mut play, 2 * RATE);
    assert!(news(&play, 3).is_empty());
}

#[test]
fn a_flood_of_news_is_bounded_and_loses_none_that_was_told() {
    let mut play = empty();
    let mut seen: Vec<(u32, u64)> = Vec::new();
    for tick in 0..100_u64 {
        for number in 0..10 {
            play.join(number, &profile("x"));
            play.leave(number);
        }
        play.step();
        let now: Vec<u32> = of_kind(&play, KIND_HAPPENING).iter().map(|e| e.id).collect();
        assert!(now.len() <= 256);
        for (id, since) in &seen {
            assert!(now.contains(id) || tick - since >= u64::from(2 * RATE), "gone too early");
        }
        seen.extend(
            now.iter()
                .filter(|id| seen.iter().all(|(old, _)| old != *id))
                .map(|id| (*id, tick))
                .collect::<Vec<_>>(),
        );
    }
}

#[test]
fn broken_rocks_are_made_up_for_away_from_ships() {
    let options = ArenaOptions { rocks: 6, pickups: 0, ..ArenaOptions::default() };
    let setup = Setup { seed: 3, tick_rate_hz: RATE, capacity: 8 };
    let mut play = Play::new(options, &setup);
    pilot(&mut play, 1, [2000, 2000]);
    play.state.rocks.clear();
    let mut known = 0;
    for _ in 0..10 * RATE {
        play.step();
        let rocks = of_kind(&play, KIND_ROCK);
        if rocks.len() > known {
            known = rocks.len();
            let newest = rocks.last().expect("there is one");
            let ship = ship_of(&play, 1).expect("alive").position;
            let distance =
                [0, 1].map(|i| play.rules.world.difference(newest.position[i], ship[i]).abs() >> 8);
            assert!(distance[0].max(distance[1]) > 290, "{distance:?}");
        }
    }
    assert_eq!(known, 6);
}

#[test]
fn pickups_appear_now_and_then_up_to_their_number() {
    let options = ArenaOptions { rocks: 0, pickups: 3, ..ArenaOptions::default() };
    let setup = Setup { seed: 3, tick_rate_hz: RATE, capacity: 8 };
    let mut play = Play::new(options, &setup);
    play.state.pickups.clear();
    steps(&mut play, 3 * RATE);
    assert_eq!(of_kind(&play, KIND_PICKUP).len(), 1);
    steps(&mut play, 20 * RATE);
    assert_eq!(of_kind(&play, KIND_PICKUP).len(), 3);
}

#[test]
fn spectators_see_the_leader_or_the_middle() {
    let mut play = empty();
    assert_eq!(play.view(None).center, [units(2048); 2]);
    pilot(&mut play, 1, [100, 100]);
    pilot(&mut play, 2, [900, 300]);
    play.award(2, 5);
    assert_eq!(play.view(None).center, [units(900), units(300)]);
    assert_eq!(play.view(Some(1)).center, [units(100), units(100)]);
    assert_eq!(play.view(Some(1)).extent, [units(1100), units(750)]);
}

#[test]
fn damaged_checkpoints_are_errors_and_never_panic() {
    let mut play =
        Play::new(ArenaOptions::default(), &Setup { seed: 1, tick_rate_hz: RATE, capacity: 8 });
    for number in 1..6 {
        play.join(number, &profile("p"));
        apply(&mut play, number, &buttons(1));
    }
    steps(&mut play, 30);
    let good = play.checkpoint();
    let restore = |bytes: &[u8]| Arena::default().restore(bytes);
    assert_eq!(restore(&good).expect("a good one").checkpoint(), good);
    for length in 0..good.len() {
        assert!(restore(&good[..length]).is_err(), "cut at {length}");
    }
    assert!(restore(&[&good[..], &[0]].concat()).is_err());
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            if let Ok(mut game) = restore(&bad) {
                for _ in 0..3 {
                    game.step();
                }
                game.publish(&mut Published::default());
            }
        }
    }
}
