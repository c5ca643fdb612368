//! Whatever a game does to its entities from one tick to the next, the decoder gets to the same entities; and whatever
//! bytes come, it answers.

use fray_proto::cell::{self, Rules};
use fray_proto::model::{Entity, Motion, Motions, VELOCITY_LIMIT, World};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const WORLD: World = World { position_bits: 16, cell_bits: 14, unit_bits: 4 };

fn motions() -> Motions {
    let ship = Motion {
        turn_rate: 60,
        acceleration: 900,
        speed_max: 700,
        drag_shift: 6,
        ..Motion::default()
    };
    let shot = Motion { launch_speed: 1900, launch_distance: 1300, ..Motion::default() };
    let mut motions = Motions::default();
    motions.set(1, ship);
    motions.set(2, shot);
    motions
}

fn entity() -> impl Strategy<Value = Entity> {
    let velocity = -VELOCITY_LIMIT..=VELOCITY_LIMIT;
    let place = (0..65536, 0..65536, velocity.clone(), velocity, any::<u16>());
    let levels = (0..4_u32, -15..=15_i8, -15..=15_i8);
    let rest = (any::<[i32; 8]>(), proptest::option::of(vec(any::<u8>(), 1..9)));
    (place, levels, rest).prop_map(
        |((x, y, vx, vy, heading), (kind, turn, thrust), (attributes, payload))| Entity {
            id: 0,
            kind,
            position: [x, y],
            velocity: [vx, vy],
            heading,
            turn,
            thrust,
            attributes,
            payload: payload.map(Into::into),
        },
    )
}

fn entities() -> impl Strategy<Value = Vec<Entity>> {
    let by_id = btree_map(0..60_u32, entity(), 0..20);
    by_id.prop_map(|all| all.into_iter().map(|(id, entity)| Entity { id, ..entity }).collect())
}

proptest! {
    #[test]
    fn a_delta_leads_from_any_cell_to_any_other(before in entities(), after in entities(), cell in 0..17_u32) {
        let motions = motions();
        let rules = Rules { world: WORLD, motions: &motions };
        let mut bytes = Vec::new();
        let mut decoded = before.clone();
        if cell::encode_delta(&before, &after, cell, rules, &mut bytes) {
            cell::apply_delta(&mut decoded, &bytes, cell, rules).expect("the encoder's own bytes");
        } else {
            cell::advance_cell(&mut decoded, cell, rules);
        }
        prop_assert_eq!(decoded, after);
    }

    #[test]
    fn a_keyframe_is_the_whole_cell(entities in entities(), cell in 0..17_u32) {
        let mut bytes = Vec::new();
        cell::encode_keyframe(&entities, cell, WORLD, &mut bytes);
        prop_assert_eq!(cell::read_keyframe(&bytes, cell, WORLD), Ok(entities));
    }

    #[test]
    fn any_bytes_are_answered(before in entities(), bytes in vec(any::<u8>(), 0..200), cell in 0..17_u32) {
        let motions = motions();
        let _ = cell::read_keyframe(&bytes, cell, WORLD);
        let _ = cell::apply_delta(&mut before.clone(), &bytes, cell, Rules { world: WORLD, motions: &motions });
    }
}
