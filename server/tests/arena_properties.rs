//! Whatever players do, the arena neither panics nor shows anything impossible, at any tick rate; and a checkpoint taken
//! anywhere goes on as if nothing had been.

use fray_proto::model::VELOCITY_LIMIT;
use fray_server::game::arena::{Arena, ArenaOptions, KIND_SHIP};
use fray_server::game::{Controls, Entity, Game, GameFactory, Profile, Published, Setup, Steering};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Input {
    Join(u32, String, u16),
    Leave(u32),
    Connected(u32, bool),
    Controls(u32, Controls),
    Steps(u8),
    MoveRoom,
}

fn any_controls() -> impl Strategy<Value = Controls> {
    let axis = || prop_oneof![-127..=127_i32, Just(i32::MIN), Just(i32::MAX)];
    let aim = proptest::option::of(any::<u16>());
    let target = proptest::option::weighted(0.1, any::<u32>());
    (axis(), axis(), aim, any::<u32>(), target).prop_map(
        |(axis_x, axis_y, aim, buttons, target)| Controls {
            steering: Steering { axis_x, axis_y, aim },
            buttons,
            target,
            ..Controls::default()
        },
    )
}

fn any_input() -> impl Strategy<Value = Input> {
    let number = || prop_oneof![8 => 0..6_u32, 1 => any::<u32>()];
    prop_oneof![
        3 => (number(), any::<String>(), any::<u16>()).prop_map(|(n, name, hue)| Input::Join(n, name, hue)),
        1 => number().prop_map(Input::Leave),
        1 => (number(), any::<bool>()).prop_map(|(n, on)| Input::Connected(n, on)),
        8 => (number(), any_controls()).prop_map(|(n, c)| Input::Controls(n, c)),
        6 => (0..60_u8).prop_map(Input::Steps),
        1 => Just(Input::MoveRoom),
    ]
}

fn check(game: &dyn Game, out: &mut Published, owners: &mut BTreeMap<u32, u32>) {
    let limits = game.world();
    game.publish(out);
    for list in [&out.local, &out.global] {
        assert!(list.is_sorted_by(|a, b| a.id < b.id), "ids ascend");
    }
    let ids: BTreeSet<u32> = out.local.iter().chain(&out.global).map(|e| e.id).collect();
    assert_eq!(ids.len(), out.local.len() + out.global.len(), "and are unique");
    assert!(!ids.contains(&0));
    for entity in &out.local {
        check_entity(entity, limits.position_bits, limits.speed_max);
        if entity.kind == KIND_SHIP {
            let owner = owners.entry(entity.id).or_insert(entity.attributes[0] as u32);
            assert_eq!(*owner, entity.attributes[0] as u32, "an id is one player's for ever");
        }
    }
    for entity in &out.global {
        assert!(entity.payload.as_ref().is_none_or(|p| p.len() <= 96));
        assert_eq!((entity.position, entity.velocity), ([0, 0], [0, 0]));
    }
}

fn check_entity(entity: &Entity, position_bits: u32, speed_max: i32) {
    assert!(entity.position.iter().all(|c| (0..1 << position_bits).contains(c)), "{entity:?}");
    assert!(speed_max <= VELOCITY_LIMIT);
    let [x, y] = entity.velocity.map(i64::from);
    assert!(x * x + y * y <= i64::from(speed_max).pow(2), "{entity:?}");
    if entity.kind == KIND_SHIP {
        assert!(
            (1..=100).contains(&entity.attributes[1]),
            "a ship that is there has a hull: {entity:?}"
        );
        assert!((0..8).contains(&entity.attributes[2]));
    } else {
        assert_eq!((entity.turn, entity.thrust), (0, 0));
    }
}

fn perform(game: &mut Box<dyn Game>, input: &Input) -> u8 {
    match input {
        Input::Join(number, name, hue) => {
            let profile = Profile { name: name.clone(), hue: *hue };
            game.join(*number, &profile);
        }
        Input::Leave(number) => game.leave(*number),
        Input::Connected(number, connected) => game.set_connected(*number, *connected),
        Input::Controls(number, controls) => {
            let refused = game.apply(*number, controls).is_err();
            assert_eq!(refused, controls.target.is_some());
        }
        Input::Steps(steps) => return *steps,
        Input::MoveRoom => {
            let moved = Arena::default().restore(&game.checkpoint()).expect("its own checkpoint");
            assert_eq!(moved.state_hash(), game.state_hash());
            *game = moved;
        }
    }
    0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_inputs_break_the_arena(
        seed: u64,
        tick_rate_hz in prop_oneof![Just(1_u32), Just(20), Just(128), any::<u32>()],
        // The smallest world: everybody meets everybody.
        position_bits in prop_oneof![Just(18_u32), Just(20), any::<u32>()],
        inputs in proptest::collection::vec(any_input(), 0..80),
    ) {
        let options = ArenaOptions { position_bits, rocks: 12, pickups: 8, round_s: 5, pause_s: 1 };
        let setup = Setup { seed, tick_rate_hz, capacity: 8 };
        let mut game = Arena { options }.create(&setup);
        let mut out = Published::default();
        let mut owners = BTreeMap::new();
        for input in &inputs {
            for _ in 0..perform(&mut game, input) {
                game.step();
                check(game.as_ref(), &mut out, &mut owners);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let with_version = [&[1], &bytes[..]].concat();
        for bytes in [bytes, with_version] {
            if let Ok(mut game) = Arena::default().restore(&bytes) {
                game.step();
            }
        }
    }
}
