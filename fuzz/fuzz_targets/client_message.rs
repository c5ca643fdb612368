//! What a player's stream brings, cut into pieces anywhere: gRPC's frames, then the messages in them. A WebSocket brings the same
//! messages without the frames.
//!
//! However it is cut, the same comes of it: each message that is whole, up to the first mistake. No message is longer than it may
//! be, no more is kept than one message, and what is parsed is within its ranges and parses again as the same.
#![no_main]

use bytes::Bytes;
use fray_fuzz::cuts::cut;
use fray_fuzz::heap::{Counting, most_during};
use fray_proto::v1;
use fray_server::rpc::fuzzing::messages;
use fray_server::session::Error;
use fray_server::session::message::{INCOMING_BYTES_MAX, Incoming};
use fray_server::wire;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

#[global_allocator]
static HEAP: Counting = Counting;

/// Beside a message and its copy.
const OVERHEAD_BYTES: usize = 16 * 1024;

fuzz_target!(|input: &[u8]| {
    let (pieces, all) = cut(input);
    let expected = read(all);
    let pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::copy_from_slice).collect();
    let mut next = 0;
    let take = |message: Bytes| {
        assert_eq!(Some(message.as_ref()), expected.0.get(next).copied());
        next += 1;
    };
    let (ended, bytes) = most_during(|| messages(pieces.into_iter(), INCOMING_BYTES_MAX, take));
    assert_eq!(next, expected.0.len());
    assert_eq!(ended.is_ok(), expected.1, "{ended:?}");
    assert!(bytes <= 4 * INCOMING_BYTES_MAX.min(all.len()) + OVERHEAD_BYTES, "{bytes} bytes");
    for message in expected.0 {
        parse(message);
    }
    // As from a WebSocket, which bounds it itself.
    parse(&all[..all.len().min(INCOMING_BYTES_MAX)]);
});

/// Another reader of the same frames: the messages, and whether that is all.
fn read(mut bytes: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if head[0] != 0 || length > INCOMING_BYTES_MAX || length > rest.len() {
            return (messages, false);
        }
        let (message, rest) = rest.split_at(length);
        messages.push(message);
        bytes = rest;
    }
    (messages, bytes.is_empty())
}

fn parse(message: &[u8]) {
    let (parsed, bytes) = most_during(|| wire::incoming(Bytes::copy_from_slice(message)));
    // A repeated field of an empty message would be the worst; there is none.
    assert!(bytes <= 8 * message.len() + OVERHEAD_BYTES, "{bytes} bytes");
    let again = v1::PlayRequest::decode(message)
        .map(|message| wire::incoming(message.encode_to_vec().into()));
    match &parsed {
        Ok(Incoming::Move { sequence, controls, .. }) => {
            let steering = controls.steering;
            assert!(*sequence > 0 && controls.payload.len() <= 64);
            assert!(steering.axis_x.abs() <= 127 && steering.axis_y.abs() <= 127);
        }
        Ok(_) | Err(Error::Invalid { .. }) => {}
        Err(_) => assert!(again.is_err()),
    }
    if let Ok(again) = again {
        assert_eq!(again, parsed);
    }
}
