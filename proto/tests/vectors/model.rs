//! Motion, steering and hashes.

use crate::json::{self, Value, list, number};
use fray_proto::hash::{Hasher, MoveContent, applied_hash, cell_checksum};
use fray_proto::model::{
    Entity, Motion, Steering, VELOCITY_LIMIT, World, advance, direction, steer,
};
use serde_json::json;

const WORLD: World = World { position_bits: 16, cell_bits: 14, unit_bits: 4 };
const WIDE: World = World { position_bits: 30, cell_bits: 26, unit_bits: 8 };
const NONE: Motion = Motion {
    turn_rate: 0,
    acceleration: 0,
    speed_max: 0,
    drag_shift: 0,
    launch_speed: 0,
    launch_distance: 0,
};
const SHIP: Motion =
    Motion { turn_rate: 60, acceleration: 900, speed_max: 700, drag_shift: 6, ..NONE };
const EXTREME: Motion = Motion {
    turn_rate: 4096,
    acceleration: 1 << 16,
    speed_max: VELOCITY_LIMIT,
    drag_shift: 1,
    ..NONE
};

pub(crate) fn motion_vectors() -> Value {
    let edges = [0, 1, 8192, 16383, 16384, 16385, 32767, 32768, 32769, 49151, 49152, 49153, 65535];
    let headings = edges.into_iter().chain((0..64).map(|step| step * 1024 + 17));
    let directions = headings.map(|heading: u16| json!([heading, direction(heading)]));
    json!({
        "direction": directions.collect::<Value>(),
        "motion": motion_cases(),
        "steering": steering_cases(),
    })
}

fn motion_cases() -> Value {
    let at =
        |position, velocity| Entity { id: 1, kind: 1, position, velocity, ..Entity::default() };
    let ship =
        |heading, turn, thrust| Entity { heading, turn, thrust, ..at([30000, 40000], [120, -70]) };
    let max = VELOCITY_LIMIT;
    let no_drag = Motion { drag_shift: 0, ..SHIP };
    let no_limit = Motion { speed_max: 0, drag_shift: 0, ..EXTREME };
    let drag = |drag_shift| Motion { drag_shift, ..NONE };
    let cases = [
        ("rests", WORLD, SHIP, at([5, 6], [0, 0]), 1),
        ("moves straight on without constants", WORLD, NONE, at([100, 200], [7, -9]), 1),
        ("wraps over the high edge", WORLD, NONE, at([65530, 65535], [10, 1]), 1),
        ("wraps below zero", WORLD, NONE, at([3, 0], [-4, -65535]), 1),
        ("goes once around and more", WORLD, NONE, at([1, 2], [65536 * 3 + 5, -65536 * 2 - 1]), 1),
        (
            "wraps at the largest world and speed",
            WIDE,
            NONE,
            at([(1 << 30) - 1, 0], [max, -max]),
            1,
        ),
        ("thrust without acceleration", WORLD, NONE, ship(0, 0, 15), 1),
        ("thrust along x", WORLD, SHIP, ship(0, 0, 15), 1),
        ("thrust along -y: halves floor", WORLD, SHIP, ship(49152, 0, 7), 1),
        ("thrust along -x -y: both floor", WORLD, SHIP, ship(40001, 0, 1), 1),
        ("backward thrust floors", WORLD, SHIP, ship(12345, 0, -7), 1),
        ("turns before it thrusts", WORLD, SHIP, ship(65500, 15, 15), 1),
        ("turns left through zero", WORLD, SHIP, ship(100, -15, 0), 1),
        ("turns as fast as can be", WORLD, EXTREME, ship(60000, 15, -15), 1),
        ("drag keeps the sign", WORLD, drag(3), at([0, 0], [17, -17]), 1),
        ("drag below its step does nothing", WORLD, drag(5), at([0, 0], [31, -31]), 1),
        ("the strongest drag", WORLD, drag(1), at([0, 0], [-3, 1]), 1),
        ("the weakest drag", WORLD, drag(31), at([0, 0], [max, -max]), 1),
        ("just at the speed limit", WORLD, no_drag, at([0, 0], [420, -560]), 1),
        ("just above the speed limit", WORLD, no_drag, at([0, 0], [420, -561]), 1),
        ("far above it: negative parts floor", WORLD, no_drag, at([0, 0], [-9001, 12345]), 1),
        (
            "the limit of all velocities",
            WIDE,
            no_limit,
            Entity { thrust: 15, ..at([9, 9], [max, max]) },
            1,
        ),
        (
            "the same, backward",
            WIDE,
            no_limit,
            Entity { thrust: -15, ..at([9, 9], [-max, -max]) },
            1,
        ),
        (
            "all extremes",
            WIDE,
            EXTREME,
            Entity { turn: -15, thrust: -15, ..at([1, 1], [-max, max]) },
            1,
        ),
        ("a long curve", WORLD, SHIP, ship(777, 4, 13), 1000),
        ("a long drift", WORLD, drag(7), at([500, 600], [30000, -20000]), 1000),
        ("a long spin at the extremes", WIDE, EXTREME, ship(1, -11, 15), 300),
    ];
    let case = |(name, world, motion, before, ticks): (&str, World, Motion, Entity, u32)| {
        let mut after = before.clone();
        (0..ticks).for_each(|_| advance(&mut after, motion, world));
        json!({
            "name": name, "world": json::world(world), "motion": json::motion(motion),
            "before": json::entity(&before), "ticks": ticks, "after": json::entity(&after),
        })
    };
    cases.into_iter().map(case).collect()
}

fn steering_cases() -> Value {
    let axes =
        [-128, -127, -120, -119, -16, -15, -8, -7, -1, 0, 1, 7, 8, 15, 16, 119, 120, 127, 999];
    let by_axes = axes.map(|axis| (0_u16, axis, -axis, None, SHIP));
    // The snap distance of a ship is 15 * 60.
    let aims = [
        (1000, 1000),
        (1000, 1900),
        (1000, 1901),
        (1000, 100),
        (1000, 99),
        (65000, 300),
        (65000, 365),
        (65000, 364),
        (0, 32767),
        (0, 32768),
        (0, 32769),
        (40000, 7232),
        (40000, 7231),
        (5, 65535),
    ];
    let by_aim = aims.map(|(heading, aim)| (heading, 127, 64, Some(aim), SHIP));
    let extreme = [
        (0, 0, 0, Some(32768), EXTREME),
        (0, 0, 0, Some(61440), EXTREME),
        (0, 9, 9, Some(5), NONE),
    ];
    let case = |(heading, axis_x, axis_y, aim, motion): (u16, i32, i32, Option<u16>, Motion)| {
        let before = Entity { id: 1, heading, turn: 3, thrust: -4, ..Entity::default() };
        let mut after = before.clone();
        steer(&mut after, Steering { axis_x, axis_y, aim }, motion);
        let mut steering = json!({ "axis_x": axis_x, "axis_y": axis_y });
        if let Some(aim) = aim {
            steering["aim"] = json!(aim);
        }
        json!({
            "motion": json::motion(motion), "before": json::entity(&before),
            "steering": steering, "after": json::entity(&after),
        })
    };
    by_axes.into_iter().chain(by_aim).chain(extreme).map(case).collect()
}

pub(crate) fn check_motion(file: &Value) {
    for case in list(file, "direction") {
        let expected: [i32; 2] = [number(&case[1][0]), number(&case[1][1])];
        assert_eq!(direction(number(&case[0])), expected, "{case}");
    }
    for case in list(file, "motion") {
        let mut entity = json::read_entity(&case["before"]);
        for _ in 0..number(&case["ticks"]) {
            advance(
                &mut entity,
                json::read_motion(&case["motion"]),
                json::read_world(&case["world"]),
            );
        }
        assert_eq!(entity, json::read_entity(&case["after"]), "{case}");
    }
    for case in list(file, "steering") {
        let mut entity = json::read_entity(&case["before"]);
        let steering = Steering {
            axis_x: number(&case["steering"]["axis_x"]),
            axis_y: number(&case["steering"]["axis_y"]),
            aim: case["steering"].get("aim").map(number),
        };
        steer(&mut entity, steering, json::read_motion(&case["motion"]));
        assert_eq!(entity, json::read_entity(&case["after"]), "{case}");
    }
}

pub(crate) fn hash_vectors() -> Value {
    let words: [(u32, &[u32]); 6] = [
        (0, &[]),
        (1, &[]),
        (u32::MAX, &[]),
        (0x9747_b28c, &[0x7473_6574]),
        (7, &[0, 0, u32::MAX]),
        (0x8000_0000, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ];
    let murmur = words
        .map(|(seed, words)| json!({ "seed": seed, "words": words, "hash": hash_of(seed, words) }));
    let cells = [(1, vec![]), (0, vec![]), (0, odd_entities()), (1_048_576, odd_entities())];
    let cells = cells.map(|(cell, entities)| {
        let checksum = cell_checksum(cell, &entities);
        json!({ "cell": cell, "entities": json::entities(&entities), "checksum": checksum })
    });
    json!({ "murmur": murmur, "cell_checksum": cells, "applied_hash": [applied_moves()] })
}

/// Entities with the numbers that implementations get wrong.
pub(crate) fn odd_entities() -> Vec<Entity> {
    let odd = |id, payload: Option<&[u8]>| Entity {
        id,
        kind: u32::MAX,
        position: [65535, 1],
        velocity: [-VELOCITY_LIMIT, VELOCITY_LIMIT],
        heading: 65535,
        turn: -15,
        thrust: 15,
        attributes: [i32::MIN, i32::MAX, -1, 0, 1, 63, -64, 64],
        payload: payload.map(Into::into),
    };
    vec![
        Entity::default(),
        Entity { id: 1, turn: 15, thrust: -1, ..Entity::default() },
        odd(2, None),
        odd(128, Some(b"x")),
        odd(0x7fff_ffff, Some(b"f")),
        odd(0x8000_0000, Some(b"fray")),
        odd(u32::MAX, Some(&[0xff; 256])),
    ]
}

fn applied_moves() -> Value {
    let moves = [
        MoveContent { sequence: 1, ..MoveContent::default() },
        MoveContent {
            sequence: 2,
            axis_x: -127,
            axis_y: 127,
            buttons: 1,
            ..MoveContent::default()
        },
        MoveContent { sequence: 3, aim: Some(0), target: Some(0), ..MoveContent::default() },
        MoveContent {
            sequence: 4,
            aim: Some(65535),
            target: Some(u32::MAX),
            buttons: u32::MAX,
            ..MoveContent::default()
        },
        MoveContent { sequence: 5, payload: b"hello", ..MoveContent::default() },
    ];
    let mut hash = 0;
    let step = |content: MoveContent<'_>| {
        hash = applied_hash(hash, &content);
        let mut value = json!({
            "sequence": content.sequence, "axis_x": content.axis_x, "axis_y": content.axis_y,
            "buttons": content.buttons, "payload": json::hex(content.payload), "hash": hash,
        });
        for (name, optional) in [("aim", content.aim), ("target", content.target)] {
            if let Some(present) = optional {
                value[name] = json!(present);
            }
        }
        value
    };
    moves.into_iter().map(step).collect()
}

fn hash_of(seed: u32, words: &[u32]) -> u32 {
    let mut hasher = Hasher::new(seed);
    words.iter().for_each(|word| hasher.word(*word));
    hasher.finish()
}

pub(crate) fn check_hash(file: &Value) {
    for case in list(file, "murmur") {
        let words: Vec<u32> = case["words"].as_array().expect("words").iter().map(number).collect();
        assert_eq!(hash_of(number(&case["seed"]), &words), number::<u32>(&case["hash"]), "{case}");
    }
    for case in list(file, "cell_checksum") {
        let entities = json::read_entities(&case["entities"]);
        let checksum = cell_checksum(number(&case["cell"]), &entities);
        assert_eq!(checksum, number::<u32>(&case["checksum"]), "{case}");
    }
    for case in list(file, "applied_hash") {
        let mut hash = 0;
        for step in case.as_array().expect("moves") {
            let payload = json::bytes(&step["payload"]);
            let content = MoveContent {
                sequence: number(&step["sequence"]),
                axis_x: number(&step["axis_x"]),
                axis_y: number(&step["axis_y"]),
                aim: step.get("aim").map(number),
                buttons: number(&step["buttons"]),
                target: step.get("target").map(number),
                payload: &payload,
            };
            hash = applied_hash(hash, &content);
            assert_eq!(hash, number::<u32>(&step["hash"]), "{step}");
        }
    }
}
