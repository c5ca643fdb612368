//! The game by itself: its rules, and what Fray asks of every game. The inputs come from a little generator of the test's
//! own, so that nothing here depends on a library's choices.

use fray_proto::model::{World, advance};
use fray_server::game::{
    Controls, Entity, Game, GameFactory, Profile, Published, Refusal, Setup, Steering,
};
use fray_tiles::Tiles;
use std::collections::BTreeMap;

const PLAYERS: u32 = 8;

fn create(tick_rate_hz: u32, seed: u64) -> Box<dyn Game> {
    Tiles.create(&Setup { seed, tick_rate_hz, capacity: PLAYERS })
}

fn join(game: &mut dyn Game, player: u32) -> u32 {
    game.join(player, &Profile { name: format!("rider {player}"), hue: player as u16 })
}

fn steer(axis_x: i32, axis_y: i32) -> Controls {
    Controls { steering: Steering { axis_x, axis_y, aim: None }, ..Controls::default() }
}

fn aim(aim: u16) -> Controls {
    Controls { steering: Steering { aim: Some(aim), ..Steering::default() }, ..Controls::default() }
}

fn published(game: &dyn Game) -> Published {
    let mut out = Published::default();
    game.publish(&mut out);
    out
}

fn rider(game: &dyn Game, id: u32) -> Entity {
    published(game).local.into_iter().find(|e| e.id == id).expect("the rider is there")
}

/// Scores by player number.
fn scores(game: &dyn Game) -> BTreeMap<i32, i32> {
    let entries = published(game).global.into_iter().filter(|e| e.kind == 16);
    entries.map(|e| (e.attributes[0], e.attributes[2])).collect()
}

/// A number that depends on a tick and a player alone (Marsaglia's xorshift, from a mixed start).
fn noise(tick: u32, player: u32) -> u64 {
    let mut x = (u64::from(tick) << 32 | u64::from(player)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..4 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}

/// One tick with its joins, leaves, drops and moves, all made from its number. Returns how many moves were refused.
/// Players' numbers are never used twice: each comes once, and some of them go.
fn play(game: &mut dyn Game, tick: u32) -> u32 {
    let mut refused = 0;
    for player in 1..=PLAYERS {
        if tick == player * 7 {
            join(game, player);
        }
        let noise = noise(tick, player);
        match noise % 101 {
            0 if player % 4 == 0 && tick > 200 => game.leave(player),
            1 => game.set_connected(player, false),
            2..=9 => game.set_connected(player, true),
            10..=40 => {
                let axis = |shift: u32| [-127, 0, 127][(noise >> shift) as usize % 3];
                let controls = match noise >> 60 {
                    0..8 => aim((noise >> 32) as u16),
                    _ => steer(axis(8), axis(16)),
                };
                refused += u32::from(game.apply(player, &controls).is_err());
            }
            _ => {}
        }
    }
    game.step();
    refused
}

#[test]
fn the_whole_game_fits_into_150_lines() {
    let lines = [include_str!("../src/lib.rs"), include_str!("../src/main.rs")]
        .map(|source| source.lines().count());
    assert!(lines.iter().sum::<usize>() <= 150, "comments and blank lines included: {lines:?}");
}

#[test]
fn a_rider_paints_the_squares_that_it_meets_and_scores_them() {
    let mut game = create(20, 1);
    let id = join(game.as_mut(), 1);
    // Four ticks from square to square: the first one is painted at once, then one in every four.
    for _ in 0..41 {
        game.step();
    }
    assert_eq!(scores(game.as_ref()), BTreeMap::from([(1, 11)]));
    let squares = published(game.as_ref()).local;
    let painted = squares.iter().filter(|e| e.kind == 32 && e.attributes[0] == 1);
    let rows: Vec<i32> = painted.map(|e| e.position[1]).collect();
    assert_eq!(rows, [rider(game.as_ref(), id).position[1]; 11], "it rode straight on");
}

#[test]
fn a_square_belongs_to_whoever_rode_over_it_last_and_to_nobody_once_that_one_left() {
    let mut game = create(20, 1);
    for player in 1..=PLAYERS {
        join(game.as_mut(), player);
    }
    let mut stolen = false;
    let mut before = published(game.as_ref()).local;
    for tick in 0..2000 {
        play(game.as_mut(), tick % 200 + 100);
        let now = published(game.as_ref()).local;
        let squares = |of: &[Entity]| -> Vec<i32> {
            of.iter().filter(|e| e.kind == 32).map(|e| e.attributes[0]).collect()
        };
        stolen |= squares(&before)
            .iter()
            .zip(squares(&now))
            .any(|(was, is)| *was != 0 && is != 0 && *was != is);
        before = now;
    }
    assert!(stolen);
    let total = |game: &dyn Game| scores(game).values().sum::<i32>();
    let (all, of_one) = (total(game.as_ref()), scores(game.as_ref())[&1]);
    assert!(of_one > 0);
    game.leave(1);
    assert_eq!(total(game.as_ref()), all - of_one);
    assert!(published(game.as_ref()).local.iter().all(|e| e.attributes[0] != 1));
}

#[test]
fn diagonals_and_reversals_are_refused_and_change_nothing() {
    let mut game = create(20, 1);
    join(game.as_mut(), 1);
    game.step();
    for refused in [steer(127, 127), steer(-1, 90), steer(-127, 0), aim(1 << 15), aim(30_000)] {
        let before = game.checkpoint();
        assert_eq!(game.apply(1, &refused), Err(Refusal::NotAllowed), "{refused:?}");
        assert_eq!(game.checkpoint(), before);
    }
    assert_eq!(game.apply(7, &steer(0, 127)), Err(Refusal::NotAllowed), "a stranger");
    for allowed in [steer(0, 127), steer(0, 0), steer(127, 0), aim(60_000), aim(45_000)] {
        assert_eq!(game.apply(1, &allowed), Ok(()), "{allowed:?}");
    }
    // The last one holds: up the board.
    let mut private = Vec::new();
    game.private(1, &mut private);
    assert_eq!(private, [2 + 1]);
}

#[test]
fn a_turn_waits_for_the_next_square() {
    let mut game = create(20, 1);
    let id = join(game.as_mut(), 1);
    game.step();
    game.apply(1, &steer(0, 127)).expect("a turn");
    let mut headings = Vec::new();
    for _ in 0..5 {
        headings.push(rider(game.as_ref(), id).heading);
        game.step();
    }
    assert_eq!(headings, [0, 0, 0, 0, 1 << 14]);
}

#[test]
fn a_rider_whose_stream_is_away_waits_on_a_square() {
    let mut game = create(20, 1);
    let id = join(game.as_mut(), 1);
    game.step();
    game.set_connected(1, false);
    for _ in 0..10 {
        game.step();
    }
    let waiting = rider(game.as_ref(), id);
    assert_eq!(waiting.position.map(|c| c % 256), [0, 0]);
    game.step();
    assert_eq!(rider(game.as_ref(), id), waiting);
    game.set_connected(1, true);
    game.step();
    assert_ne!(rider(game.as_ref(), id).position, waiting.position);
}

#[test]
fn what_is_published_is_in_order_and_a_player_keeps_its_entity() {
    let mut game = create(20, 7);
    // Seats are numbered when they are reserved, so players need not come in the order of their numbers.
    let ids = [3, 1, 2].map(|player| (player, join(game.as_mut(), player)));
    for tick in 200..400 {
        play(game.as_mut(), tick);
        let out = published(game.as_ref());
        assert!(out.local.is_sorted_by(|a, b| a.id < b.id));
        assert!(out.global.is_sorted_by(|a, b| a.id < b.id));
        let mut all: Vec<u32> = out.local.iter().chain(&out.global).map(|e| e.id).collect();
        all.sort_unstable();
        assert!(all.is_sorted_by(|a, b| a < b), "an id is one entity's");
        for (player, id) in ids {
            let own = rider(game.as_ref(), id);
            assert_eq!((own.kind, own.attributes[0]), (1, player as i32));
        }
    }
}

#[test]
fn between_turns_riders_move_as_clients_predict_so_they_cost_nothing() {
    let mut game = create(20, 7);
    let limits = game.world();
    let world =
        World { position_bits: limits.position_bits, cell_bits: 10, unit_bits: limits.unit_bits };
    let id = join(game.as_mut(), 1);
    game.step();
    for _ in 0..200 {
        let mut predicted = rider(game.as_ref(), id);
        let motion = game.motions().of(predicted.kind);
        advance(&mut predicted, motion, world);
        game.step();
        assert_eq!(rider(game.as_ref(), id), predicted);
    }
}

#[test]
fn two_runs_agree_at_every_tick_and_another_seed_does_not() {
    for rate in [1, 20, 60, 128] {
        let (mut one, mut two, mut other) = (create(rate, 7), create(rate, 7), create(rate, 8));
        let mut refused = 0;
        for tick in 0..500 {
            refused += play(one.as_mut(), tick);
            play(two.as_mut(), tick);
            play(other.as_mut(), tick);
            assert_eq!(one.state_hash(), two.state_hash(), "tick {tick} at {rate} Hz");
        }
        assert_ne!(one.state_hash(), other.state_hash());
        let painted = scores(one.as_ref()).values().sum::<i32>();
        assert!(refused > 20 && painted > 20, "{refused} refused, {painted} painted at {rate} Hz");
    }
}

#[test]
fn a_restored_game_goes_on_with_the_same_states() {
    let mut game = create(20, 7);
    for tick in 0..300 {
        play(game.as_mut(), tick);
    }
    let mut restored = Tiles.restore(&game.checkpoint()).expect("a checkpoint");
    for tick in 300..600 {
        play(game.as_mut(), tick);
        play(restored.as_mut(), tick);
        assert_eq!(game.state_hash(), restored.state_hash(), "tick {tick}");
        assert_eq!(published(game.as_ref()).local, published(restored.as_ref()).local);
    }
}

#[test]
fn a_checkpoint_that_was_cut_off_is_refused() {
    let mut game = create(20, 7);
    for tick in 0..100 {
        play(game.as_mut(), tick);
    }
    let checkpoint = game.checkpoint();
    for length in 0..checkpoint.len() {
        assert!(Tiles.restore(&checkpoint[..length]).is_err(), "{length} bytes");
    }
}
