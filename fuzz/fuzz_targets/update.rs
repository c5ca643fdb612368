//! What a client gets, as it decodes it: a stream of `PlayResponse`s in gRPC's frames, with Welcomes and updates among them.
//!
//! Whatever comes: an error, after which nothing is held, or a world. What is held is in order, on the torus, and no more than
//! came: each entity took three bytes at least.
#![no_main]

use fray_fuzz::heap::{Counting, most_during};
use fray_proto::model::{LEVEL_MAX, PAYLOAD_BYTES_MAX, VELOCITY_LIMIT};
use fray_proto::replica::Replica;
use fray_proto::v1;
use fray_proto::v1::play_response::Message;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

#[global_allocator]
static HEAP: Counting = Counting;

/// An update may ask for 127 ticks of everything that is held: that is the protocol, and takes its time.
const MESSAGES_MAX: usize = 48;
const ENTITY_BYTES_MIN: usize = 3;
/// What an entity, a message or a cell takes in memory, for each byte of it on the wire.
const EXPANSION_MAX: usize = 160;
const OVERHEAD_BYTES: usize = 64 * 1024;

fuzz_target!(|input: &[u8]| {
    let ((), bytes) = most_during(|| follow(input));
    assert!(
        bytes <= EXPANSION_MAX * input.len() + OVERHEAD_BYTES,
        "{bytes} bytes for {}",
        input.len()
    );
});

fn follow(mut input: &[u8]) {
    let mut replica = None;
    let mut came = 0;
    for _ in 0..MESSAGES_MAX {
        let Some((head, rest)) = input.split_first_chunk::<5>() else { break };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (message, rest) = rest.split_at(length.min(rest.len()));
        input = rest;
        came += message.len();
        let Ok(response) = v1::PlayResponse::decode(message) else { continue };
        match (response.message, &mut replica) {
            (Some(Message::Welcome(welcome)), _) => replica = Replica::for_welcome(&welcome),
            (Some(Message::Update(update)), Some(replica)) => {
                match replica.apply(&update) {
                    Ok(()) => assert_eq!(replica.tick(), update.tick),
                    Err(error) => {
                        let resync = error.resync(update.tick);
                        assert_ne!(resync.reason, 0);
                        assert_eq!((replica.tick(), replica.cells().count()), (0, 0));
                    }
                }
                check(replica, came);
            }
            _ => {}
        }
    }
}

fn check(replica: &Replica, came: usize) {
    let world = replica.world();
    let mut entities = 0;
    for (cell, held) in replica.cells() {
        assert!((cell as usize) < world.cells());
        assert!(held.is_sorted_by(|a, b| a.id < b.id), "cell {cell}");
        entities += held.len();
        for entity in held {
            assert!(
                entity.position.iter().all(|c| (0..world.size()).contains(c)) || cell == 0,
                "{entity:?}"
            );
            assert!(entity.velocity.iter().all(|v| v.abs() <= VELOCITY_LIMIT), "{entity:?}");
            assert!(
                entity.turn.abs() <= LEVEL_MAX && entity.thrust.abs() <= LEVEL_MAX,
                "{entity:?}"
            );
            let payload = entity.payload.as_deref().unwrap_or(&[0]);
            assert!((1..=PAYLOAD_BYTES_MAX).contains(&payload.len()), "{entity:?}");
        }
    }
    assert!(entities * ENTITY_BYTES_MIN <= came, "{entities} entities of {came} bytes");
}
