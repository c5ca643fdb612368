//! Whatever a game shows from tick to tick, whoever follows it holds the same, bit for bit: encoded once, spliced for two streams
//! that skip ticks, look elsewhere and begin again at will, decoded by the replica that is the reference for all clients.
//!
//! Unlike `server/tests/replication.rs`, its world obeys nothing: any numbers, any ids, and the encoder's own limits are tried.
#![no_main]

use fray_proto::model::{Entity, Motion, Motions, VELOCITY_LIMIT, launched};
use fray_proto::replica::Replica;
use fray_proto::update::GRPC_PREFIX_BYTES;
use fray_proto::v1;
use fray_server::game::{Published, View, WorldLimits};
use fray_server::replication::{Encoder, Grid, Splicer, TickFrame};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

const TICKS_MAX: u32 = 40;
const ENTITIES_MAX: usize = 24;
const RATE_HZ: u32 = 4;
const KINDS: u32 = 3;

fuzz_target!(|input: &[u8]| {
    // What is too short for more ends there.
    let _ = play(&mut Unstructured::new(input));
});

fn play(given: &mut Unstructured<'_>) -> Result<()> {
    let mut motions = Motions::default();
    for kind in 0..KINDS {
        motions.set(kind, motion(given)?);
    }
    let position_bits = given.int_in_range(8..=30)?;
    let limits = WorldLimits { position_bits, unit_bits: 4, speed_max: any(given)? };
    let grid = Grid::new(limits, motions);
    let replica = Replica::new(grid.world, grid.motions.clone()).expect("a grid is sound");
    let mut streams = [(); 2].map(|()| (Splicer::default(), replica.clone(), VIEW));
    let mut encoder = Encoder::new(grid.clone(), RATE_HZ);
    let mut shown = Published::default();
    for tick in 1..=TICKS_MAX {
        for entity in &mut shown.local {
            fray_proto::model::advance(entity, grid.motions.of(entity.kind), grid.world);
        }
        for _ in 0..given.int_in_range(0..=4)? {
            happen(given, &mut shown, &grid)?;
        }
        shown.put_in_order();
        let frame = encoder.encode(tick, &shown, Vec::new(), VIEW, Vec::new());
        for (splicer, replica, view) in &mut streams {
            match given.int_in_range(0..=7)? {
                0 => continue,
                1 => *view = View { center: pair(given)?, extent: pair(given)? },
                2 => splicer.restart(),
                _ => {}
            }
            let framed = splicer.update(&frame, None, *view).expect("a newer tick");
            follow(&framed, replica, splicer, &frame);
        }
    }
    Ok(())
}

const VIEW: View = View { center: [0, 0], extent: [1 << 20, 1 << 20] };

fn follow(framed: &[u8], replica: &mut Replica, splicer: &Splicer, frame: &TickFrame) {
    let message = v1::WatchResponse::decode(&framed[GRPC_PREFIX_BYTES..]).expect("a message");
    let Some(v1::watch_response::Message::Update(update)) = message.message else {
        panic!("an update")
    };
    replica.apply(&update).expect("what the encoder writes fits");
    let mut held = 0;
    for (cell, entities) in replica.cells() {
        assert!(splicer.holds(cell));
        assert_eq!(entities, frame.entities(cell), "cell {cell}");
        held += 1;
    }
    let visible =
        (0..frame.grid().world.cells() as u32).filter(|cell| splicer.holds(*cell)).count();
    assert_eq!(held, visible);
}

/// Small numbers, numbers at the limits, and any.
fn any(given: &mut Unstructured<'_>) -> Result<i32> {
    Ok(match given.int_in_range(0..=5)? {
        0 => i32::MAX,
        1 => i32::MIN,
        2 => given.arbitrary()?,
        3 => 1 << given.int_in_range(0..=30)?,
        _ => i32::from(given.arbitrary::<i8>()?),
    })
}

fn pair(given: &mut Unstructured<'_>) -> Result<[i32; 2]> {
    Ok([any(given)?, any(given)?])
}

fn motion(given: &mut Unstructured<'_>) -> Result<Motion> {
    Ok(Motion {
        turn_rate: any(given)?,
        acceleration: any(given)?,
        speed_max: any(given)?,
        drag_shift: any(given)? as u32,
        launch_speed: any(given)?,
        launch_distance: any(given)?,
    })
}

fn entity(given: &mut Unstructured<'_>) -> Result<Entity> {
    let payload_bytes = given.int_in_range(0..=3)?;
    Ok(Entity {
        id: any(given)? as u32,
        kind: given.int_in_range(0..=KINDS)?,
        position: pair(given)?,
        velocity: pair(given)?,
        heading: given.arbitrary()?,
        turn: given.arbitrary()?,
        thrust: given.arbitrary()?,
        attributes: [any(given)?, 0, 0, any(given)?, 0, 0, 0, 0],
        payload: match payload_bytes {
            0 => None,
            3 => Some(vec![7; 300].into()),
            bytes => Some(given.bytes(bytes - 1)?.into()),
        },
    })
}

fn happen(given: &mut Unstructured<'_>, shown: &mut Published, grid: &Grid) -> Result<()> {
    let what = given.int_in_range(0..=9)?;
    let list = if given.ratio(1, 4)? { &mut shown.global } else { &mut shown.local };
    if list.is_empty() || (what < 3 && list.len() < ENTITIES_MAX) {
        list.push(entity(given)?);
        return Ok(());
    }
    let index = given.choose_index(list.len())?;
    match what {
        3 => drop(list.remove(index)),
        4 => list[index] = Entity { id: list[index].id, ..entity(given)? },
        5 => list[index].velocity = pair(given)?,
        6 => list[index].position = pair(given)?,
        7 => (list[index].turn, list[index].thrust) = (given.arbitrary()?, given.arbitrary()?),
        // As the wire's shortcut for shots has it.
        8 => {
            let (id, kind) = (any(given)? as u32, given.int_in_range(0..=KINDS)?);
            // Who launches is shown within limits, whatever it is.
            let mut parent = list[index].clone();
            parent.velocity = parent.velocity.map(|v| v.clamp(-VELOCITY_LIMIT, VELOCITY_LIMIT));
            let shot = launched(&parent, id, kind, grid.motions.of(kind), grid.world);
            list.push(shot);
        }
        _ => list[index].attributes[given.choose_index(8)?] = any(given)?,
    }
    Ok(())
}
