//! The bytes of single cells: keyframes, deltas, and what must be refused.

use crate::json::{self, Value, list, number};
use crate::model::odd_entities;
use fray_proto::cell::{self, DecodeError, Rules};
use fray_proto::model::{self, Entity, Motion, Motions, VELOCITY_LIMIT, World};
use serde_json::json;

pub(crate) const WORLD: World = World { position_bits: 16, cell_bits: 14, unit_bits: 4 };
/// A cell whose square touches both far edges of the world.
const CORNER: u32 = 16;

pub(crate) fn motions() -> Motions {
    let mut motions = Motions::default();
    motions.set(
        1,
        Motion {
            turn_rate: 60,
            acceleration: 900,
            speed_max: 700,
            drag_shift: 6,
            ..Motion::default()
        },
    );
    motions.set(3, Motion { drag_shift: 4, ..Motion::default() });
    motions.set(4, Motion { launch_speed: 1900, launch_distance: 1300, ..Motion::default() });
    motions
}

pub(crate) fn vectors() -> Value {
    json!({
        "keyframes": keyframes(),
        "deltas": deltas(),
        "malformed_keyframes": malformed_keyframes(),
        "malformed_deltas": malformed_deltas(),
    })
}

pub(crate) fn ship(id: u32) -> Entity {
    Entity {
        id,
        kind: 1,
        position: [50000, 51000],
        velocity: [40, -30],
        heading: 9000,
        ..Entity::default()
    }
}

fn keyframes() -> Value {
    let cases = [
        ("an empty cell", CORNER, vec![]),
        ("a cell of one at its corner, all zero", CORNER, vec![at_corner(0)]),
        (
            "gaps between ids",
            1,
            vec![at_zero(0), at_zero(1), at_zero(3), at_zero(1000), at_zero(u32::MAX)],
        ),
        ("every field, the global cell", 0, odd_entities()),
        ("every field, corner of the world", CORNER, odd_entities()),
        ("turn alone", 1, vec![Entity { turn: -15, ..at_zero(9) }]),
        ("thrust alone", 1, vec![Entity { thrust: 15, ..at_zero(9) }]),
        ("heading alone", 1, vec![Entity { heading: 65535, ..at_zero(9) }]),
        ("velocity alone", 1, vec![Entity { velocity: [0, -1], ..at_zero(9) }]),
        ("position alone", 1, vec![Entity { position: [16383, 0], ..at_zero(9) }]),
        (
            "outside its cell's square, as after a server's mistake",
            6,
            vec![Entity { position: [3, 65535], ..at_zero(9) }],
        ),
        (
            "one attribute",
            1,
            vec![Entity { attributes: [0, 0, 0, 0, 0, 0, 0, i32::MIN], ..at_zero(9) }],
        ),
    ];
    let case = |(name, cell, entities): (&str, u32, Vec<Entity>)| {
        let mut bytes = Vec::new();
        cell::encode_keyframe(&entities, cell, WORLD, &mut bytes);
        json!({
            "name": name, "world": json::world(WORLD), "cell": cell,
            "bytes": json::hex(&bytes), "entities": json::entities(&entities),
        })
    };
    cases.into_iter().map(case).collect()
}

fn at_zero(id: u32) -> Entity {
    Entity { id, ..Entity::default() }
}

fn at_corner(id: u32) -> Entity {
    Entity { position: WORLD.origin_of(CORNER), ..at_zero(id) }
}

/// What the model makes of these entities in a tick.
pub(crate) fn advanced(mut entities: Vec<Entity>, cell: u32) -> Vec<Entity> {
    cell::advance_cell(&mut entities, cell, Rules { world: WORLD, motions: &motions() });
    entities
}

fn deltas() -> Value {
    let mut cases = Vec::new();
    let mut add =
        |name: &str, cell: u32, before: Vec<Entity>, change: &dyn Fn(&mut Vec<Entity>)| {
            let mut after = advanced(before.clone(), cell);
            change(&mut after);
            cases.push(delta(name, cell, &before, &after));
        };
    let one = || vec![Entity { turn: 5, thrust: 9, ..ship(7) }];
    add("nothing but the model", CORNER, one(), &|_| {});
    add("turn", CORNER, one(), &|after| after[0].turn = -15);
    add("thrust", CORNER, one(), &|after| after[0].thrust = 0);
    add("heading", CORNER, one(), &|after| after[0].heading = 65535);
    add("heading, the far half", CORNER, one(), &|after| after[0].heading ^= 0x8000);
    add("velocity", CORNER, one(), &|after| after[0].velocity = [-699, 3]);
    add("position, over both edges", CORNER, one(), &|after| after[0].position = [1, 65535]);
    add("attributes", CORNER, one(), &|after| {
        after[0].attributes = [i32::MAX, i32::MIN, 0, 1, -1, 0, 9, 0];
    });
    add("a payload comes", CORNER, one(), &|after| after[0].payload = Some((*b"payload").into()));
    let paid = || {
        vec![Entity {
            payload: Some((*b"old").into()),
            attributes: [i32::MIN, i32::MAX, 3, 0, 0, 0, 0, 1],
            ..ship(7)
        }]
    };
    add("a payload goes", CORNER, paid(), &|after| after[0].payload = None);
    add("a payload becomes the longest", CORNER, paid(), &|after| {
        after[0].payload = Some([7; 256].into());
    });
    add("attributes wrap from MIN to MAX and back", CORNER, paid(), &|after| {
        after[0].attributes = [i32::MAX, i32::MIN, -3, 0, 0, 0, 0, 0];
    });
    let fast = || vec![Entity { kind: 2, velocity: [-VELOCITY_LIMIT, VELOCITY_LIMIT], ..ship(7) }];
    add("velocity from one limit to the other", CORNER, fast(), &|after| {
        after[0].velocity = [VELOCITY_LIMIT, -VELOCITY_LIMIT];
    });
    add("everything at once", CORNER, paid(), &|after| {
        after[0] = Entity {
            turn: 1,
            thrust: -1,
            heading: 1,
            velocity: [1, -1],
            position: [65535, 0],
            attributes: [1, 2, 3, 4, 5, 6, 7, 8],
            payload: Some((*b"x").into()),
            ..after[0].clone()
        };
    });
    add(
        "the global cell does not move",
        0,
        vec![Entity { kind: 16, position: [0, 0], ..ship(7) }, at_zero(8)],
        &|after| {
            after[1].attributes[2] = 100;
        },
    );
    let crowd = || (0..160).map(at_corner).collect::<Vec<_>>();
    add("ranks with gaps", CORNER, crowd(), &|after| {
        for rank in [0, 1, 5, 140, 159] {
            after[rank].thrust = 15;
        }
    });
    let many = || (0..20).map(|id| ship(id * 3)).collect::<Vec<_>>();
    add("the first, a middle and the last leave", CORNER, many(), &|after| {
        after.remove(19);
        after.remove(10);
        after.remove(0);
    });
    add("everybody leaves", CORNER, many(), &|after| after.clear());
    add("enters before, between and after", CORNER, many(), &|after| {
        after.insert(10, Entity { kind: 2, payload: Some([9].into()), ..ship(28) });
        after.push(ship(100_000));
        after.push(at_zero(u32::MAX));
    });
    add("enters an empty cell, at rest in this tick", CORNER, vec![], &|after| after.push(ship(5)));
    add("leaves, changes and enters together", CORNER, many(), &|after| {
        after[3].turn = 15;
        after[16].position[0] += 5;
        after[17].velocity = [0, 0];
        after.push(ship(601));
        after.remove(15);
        after.remove(2);
        after.insert(6, ship(19));
    });
    let owned = |id| Entity { attributes: [id as i32 * 5, 9, 0, 0, 0, 0, 0, 0], ..ship(id) };
    let launch = |parent: &Entity, id| model::launched(parent, id, 4, motions().of(4), WORLD);
    add("launches", CORNER, vec![owned(3), owned(4)], &|after| {
        let launched = [launch(&after[1], 5), launch(&after[0], 90), launch(&after[1], 4000)];
        after.extend(launched);
    });
    add("launched by one that turns round and leaves the edge", CORNER, vec![owned(3)], &|after| {
        after[0].heading = 40000;
        after[0].position = [65535, 65535];
        after[0].velocity = [-VELOCITY_LIMIT, VELOCITY_LIMIT];
        let launched = launch(&after[0], 4);
        after.push(launched);
    });
    add("not quite what the rule would launch", CORNER, vec![owned(3)], &|after| {
        let mut launched = launch(&after[0], 4);
        launched.velocity[0] += 1;
        after.push(launched);
    });
    add(
        "as the rule would launch it, but below the highest of all ids",
        CORNER,
        vec![owned(3), ship(u32::MAX)],
        &|after| {
            let launched = launch(&after[0], 4);
            after.insert(1, launched);
        },
    );
    add("leaves, changes, launches and enters together", CORNER, many(), &|after| {
        after[3].turn = 15;
        after[9].attributes[0] = 77;
        let launched = [launch(&after[9], 60), launch(&after[0], 61)];
        after.extend(launched);
        after.push(Entity { kind: 4, ..ship(62) });
        after.remove(19);
        after.insert(6, ship(16));
    });
    cases.into()
}

fn delta(name: &str, cell: u32, before: &[Entity], after: &[Entity]) -> Value {
    let motions = motions();
    let mut bytes = Vec::new();
    if !cell::encode_delta(
        before,
        after,
        cell,
        Rules { world: WORLD, motions: &motions },
        &mut bytes,
    ) {
        cell::encode_empty_delta(&mut bytes);
    }
    json!({
        "name": name, "world": json::world(WORLD), "motions": json::motions(&motions), "cell": cell,
        "before": json::entities(before), "bytes": json::hex(&bytes), "after": json::entities(after),
    })
}

fn malformed_keyframes() -> Value {
    let cases = [
        ("no bytes", ""),
        ("less than announced", "020000"),
        ("a row that ends early", "01050801"),
        ("a byte left over", "0000"),
        ("a number above 32 bits", "ffffffff1f"),
        ("a number that never ends", "808080808000"),
        ("a count above what bytes can hold", "ffffffff0f"),
        ("ids beyond 32 bits", "02ffffffff0f0000000000"),
        ("turn beyond its levels", "0100010020"),
        ("thrust beyond its levels", "010002001f"),
        ("a heading of 65536", "01000400808004"),
        ("a velocity beyond the limit", "0100080082808010" /* 2^24 + 1 */),
        ("a mask with an unknown bit", "0100800101"),
        ("a payload beyond its limit", "010040008202"),
        ("a payload that ends early", "010040000461"),
        ("attributes that end early", "01002000ff02"),
    ];
    let case = |(name, hex): (&str, &str)| {
        let bytes = json::bytes(&json!(hex));
        let error = cell::read_keyframe(&bytes, CORNER, WORLD).expect_err(name);
        json!({
            "name": name, "world": json::world(WORLD), "cell": CORNER, "bytes": hex, "refusal": refusal(error),
        })
    };
    cases.into_iter().map(case).collect()
}

fn malformed_deltas() -> Value {
    let cases = [
        ("no bytes", ""),
        ("a byte left over", "0000"),
        ("a change of an unknown rank", "08810501"),
        ("a change past the last", "10810101" /* rank 1 */),
        ("a change of the rank that left", "09010101" /* two entities, one leaves, rank 1 */),
        ("more leave than there are", "0103000000"),
        ("one leaves that is not there", "010102"),
        ("changes announced that are missing", "10"),
        ("leaves announced that are missing", "01"),
        ("enters announced that are missing", "02"),
        ("launches announced that are missing", "04"),
        ("launched by nobody", "0401000204"),
        ("more launches than bytes", "04ff0100"),
        ("an empty payload", "08400100"),
        ("one enters that is there", "0201070001"),
        ("turn beyond its levels", "08010120"),
        ("velocity beyond the limit", "0808feffff0f0000"),
        ("an attribute that ends early", "08200180"),
    ];
    let motions = motions();
    let case = |(name, hex): (&str, &str), before: &[Entity]| {
        let bytes = json::bytes(&json!(hex));
        let rules = Rules { world: WORLD, motions: &motions };
        let error = cell::apply_delta(&mut before.to_vec(), &bytes, CORNER, rules).expect_err(name);
        json!({
            "name": name, "world": json::world(WORLD), "motions": json::motions(&motions), "cell": CORNER,
            "before": json::entities(before), "bytes": hex, "refusal": refusal(error),
        })
    };
    let two = [ship(7), ship(8)];
    let mut cases: Vec<_> = cases.into_iter().map(|named| case(named, &two)).collect();
    let highest = [ship(7), ship(u32::MAX)];
    cases.push(case(("launched after the highest of all ids", "0401050004"), &highest));
    cases.into()
}

fn refusal(error: DecodeError) -> &'static str {
    match error {
        DecodeError::Truncated => "truncated",
        DecodeError::Trailing => "trailing",
        DecodeError::OutOfRange(_) => "out_of_range",
        DecodeError::UnknownRank(_) => "unknown_rank",
        DecodeError::DuplicateId(_) => "duplicate_id",
    }
}

pub(crate) fn check(file: &Value) {
    for case in list(file, "keyframes") {
        let read = cell::read_keyframe(
            &json::bytes(&case["bytes"]),
            number(&case["cell"]),
            json::read_world(&case["world"]),
        );
        assert_eq!(read, Ok(json::read_entities(&case["entities"])), "{}", case["name"]);
    }
    for case in list(file, "malformed_keyframes") {
        let read = cell::read_keyframe(
            &json::bytes(&case["bytes"]),
            number(&case["cell"]),
            json::read_world(&case["world"]),
        );
        assert_eq!(
            read.map_err(refusal).expect_err("malformed"),
            case["refusal"],
            "{}",
            case["name"]
        );
    }
    for case in list(file, "deltas").chain(list(file, "malformed_deltas")) {
        let motions = json::read_motions(&case["motions"]);
        let rules = Rules { world: json::read_world(&case["world"]), motions: &motions };
        let mut entities = json::read_entities(&case["before"]);
        let bytes = json::bytes(&case["bytes"]);
        match cell::apply_delta(&mut entities, &bytes, number(&case["cell"]), rules) {
            Ok(()) => assert_eq!(entities, json::read_entities(&case["after"]), "{}", case["name"]),
            Err(error) => assert_eq!(refusal(error), case["refusal"], "{}", case["name"]),
        }
    }
}
