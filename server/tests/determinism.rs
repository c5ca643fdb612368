//! The same seed and inputs give the same states: on every machine, in debug and in release, and across a checkpoint.
//!
//! The inputs come from a little generator of the test's own, so that nothing here depends on a library's choices.

use fray_server::game::arena::{Arena, ArenaOptions, KIND_PLAYER};
use fray_server::game::{Controls, Game, GameFactory, Profile, Published, Setup, Steering};

/// What a run of [`TICKS`] at 20 Hz ends with. It may change only together with `sim_version`.
const GOLDEN: u64 = 0xe2a3_9d0b_3305_e255;
const TICKS: u32 = 2620;
const PLAYERS: u32 = 16;
const SEED: u64 = 0x5eed;

/// A small world and short rounds, so that the run meets every rule: rams, kills, splits, pick-ups, ends of rounds.
fn create(tick_rate_hz: u32, seed: u64) -> Box<dyn Game> {
    let options = ArenaOptions {
        position_bits: 18,
        rocks: 12,
        pickups: 8,
        round_s: 20,
        ..ArenaOptions::default()
    };
    Arena { options }.create(&Setup { seed, tick_rate_hz, capacity: PLAYERS })
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

/// One tick with its joins, leaves, drops and moves, all made from its number.
fn play(game: &mut dyn Game, tick: u32) {
    for player in 1..=PLAYERS {
        let noise = noise(tick, player);
        // Who is there already stays as he is.
        if (tick + player * 7).is_multiple_of(200) {
            let name = format!("pilot {player}");
            let hue = (player * 20) as u16;
            game.join(player, &Profile { name, hue });
        }
        match noise % 1009 {
            0 => game.leave(player),
            1 => game.set_connected(player, false),
            2..=6 => game.set_connected(player, true),
            7..=200 => {
                let byte = |shift: u32| i32::from((noise >> shift) as u8 as i8).max(-127);
                let controls = Controls {
                    steering: Steering {
                        axis_x: byte(8),
                        axis_y: byte(16).abs(),
                        aim: (noise & 1 << 24 != 0).then_some((noise >> 32) as u16),
                    },
                    buttons: u32::from(noise & 6 << 24 != 0),
                    ..Controls::default()
                };
                game.apply(player, &controls).expect("an acceptable move");
            }
            _ => {}
        }
    }
    game.step();
}

fn play_to(game: &mut dyn Game, from: u32, to: u32) {
    for tick in from..to {
        play(game, tick);
    }
}

#[test]
fn the_end_of_a_run_is_the_committed_one() {
    let mut game = create(20, SEED);
    play_to(game.as_mut(), 0, TICKS);
    let mut out = Published::default();
    game.publish(&mut out);
    let kills: i32 =
        out.global.iter().filter(|e| e.kind == KIND_PLAYER).map(|e| e.attributes[3]).sum();
    assert!(kills >= 3, "a run in which little happens would prove little: {kills} kills");
    let hash = game.state_hash();
    assert_eq!(
        hash, GOLDEN,
        "the state is {hash:#018x}: if the rules changed on purpose, raise sim_version and commit this"
    );
}

#[test]
fn two_runs_agree_at_every_tick_and_another_seed_does_not() {
    let (mut one, mut two) = (create(20, SEED), create(20, SEED));
    for tick in 0..300 {
        play(one.as_mut(), tick);
        play(two.as_mut(), tick);
        assert_eq!(one.state_hash(), two.state_hash(), "tick {tick}");
    }
    let mut other = create(20, 1);
    play_to(other.as_mut(), 0, 300);
    assert_ne!(one.state_hash(), other.state_hash());
}

#[test]
fn a_restored_game_goes_on_with_the_same_states() {
    let mut game = create(20, SEED);
    play_to(game.as_mut(), 0, 600);
    for start in [600, 733] {
        let mut restored = Arena::default().restore(&game.checkpoint()).expect("a checkpoint");
        for tick in start..start + 133 {
            play(game.as_mut(), tick);
            play(restored.as_mut(), tick);
            assert_eq!(game.state_hash(), restored.state_hash(), "tick {tick}");
        }
    }
}

#[test]
fn every_tick_rate_plays_and_is_deterministic() {
    for rate in [1, 20, 60, 128] {
        let (mut one, mut two) = (create(rate, SEED), create(rate, SEED));
        play_to(one.as_mut(), 0, 500);
        play_to(two.as_mut(), 0, 500);
        assert_eq!(one.state_hash(), two.state_hash(), "at {rate} Hz");
    }
}
