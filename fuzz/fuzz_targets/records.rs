//! What servers read of each other: the records of the directory, what messages of a stored log say of themselves, answers of peers.
//!
//! Whatever is there: a record that is sound, or none. A sound one is written as it was read, under its own key only, and no decision
//! that is made from records panics: who takes a room, whose votes are how many.
#![no_main]

use bytes::Bytes;
use fray_fuzz::cuts::parts;
use fray_fuzz::heap::{Counting, most_during};
use fray_proto::v1;
use fray_server::cluster::choice::{self, Candidate, Wanted};
use fray_server::cluster::electorate;
use fray_server::cluster::nats::fuzzing::{room, server, written};
use fray_server::session::directory::{InstanceId, ServerRecord};
use fray_server::store::jetstream;
use fray_server::wire;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static HEAP: Counting = Counting;

const OVERHEAD_BYTES: usize = 64 * 1024;
/// Of JSON: a list of short texts is the worst.
const EXPANSION_MAX: usize = 100;
const KEYS: [&str; 2] = ["abc123", "00000000000000aa"];

fuzz_target!(|input: &[u8]| {
    let Some((how, rest)) = input.split_first() else { return };
    let ((), bytes) = most_during(|| match how % 6 {
        0 => a_room(rest),
        1 => servers(rest),
        2 => headers(rest),
        3 => answers(rest),
        4 => a_room_of(rest),
        _ => headers_of(rest),
    });
    assert!(
        bytes <= EXPANSION_MAX * input.len() + OVERHEAD_BYTES,
        "{bytes} bytes for {}",
        input.len()
    );
});

fn a_room(json: &[u8]) {
    let Some(record) = room(KEYS[0], json) else { return };
    assert_eq!(record.room.as_str(), KEYS[0]);
    assert!(room(KEYS[1], json).is_none());
    assert!(InstanceId::parse(record.owner.as_str()).is_some());
    // What its next owner writes.
    assert!(record.epoch.checked_add(1).is_some());
    if let Some(json) = written(&record) {
        assert_eq!(room(KEYS[0], &json), Some(record));
    }
}

/// Right in all but its numbers, which a fuzzer hardly finds as text.
fn a_room_of(input: &[u8]) {
    let [epoch, sim_version, capacity] = numbers(input);
    a_room(
        format!(
            r#"{{"room":"{}","owner":"00000000000000aa","epoch":{epoch},"game":"arena","sim_version":{sim_version},"name":"","capacity":{capacity}}}"#,
            KEYS[0]
        )
        .as_bytes(),
    );
}

/// The same of a message.
fn headers_of(input: &[u8]) {
    let [writer, epoch, first, last, part, parts, segment, offset, at] = numbers(input);
    let lines = [
        ("Fray-Writer", format!("{writer:016x}")),
        ("Fray-Epoch", epoch.to_string()),
        ("Fray-First-Tick", first.to_string()),
        ("Fray-Last-Tick", last.to_string()),
        ("Fray-Part", format!("{part}/{parts}")),
        ("Fray-Segment", segment.to_string()),
        ("Fray-Offset", offset.to_string()),
        ("Fray-Written-At-Ms", at.to_string()),
    ];
    jetstream::fuzzing::is_ours(lines.iter().map(|(name, value)| (*name, value.as_str())));
}

/// Each of up to eight bytes, so that small ones come often.
fn numbers<const COUNT: usize>(input: &[u8]) -> [u64; COUNT] {
    let mut given = parts(input);
    [(); COUNT].map(|()| {
        let bytes = given.next().unwrap_or_default().iter().take(8);
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    })
}

fn servers(input: &[u8]) {
    let servers: Vec<Arc<ServerRecord>> =
        parts(input).filter_map(|json| server(KEYS[1], json)).map(Arc::new).collect();
    for record in &servers {
        assert_eq!(record.instance.as_str(), KEYS[1]);
        if let Some(json) = written(record.as_ref()) {
            assert_eq!(server(KEYS[1], &json).as_ref(), Some(record.as_ref()));
        }
        let _ = electorate::half_are(&record.electorate, |id| id.as_str() < KEYS[1]);
    }
    let candidates = servers.iter().map(|record| Candidate {
        record,
        silent_for: Duration::from_millis(record.renewal_age_ms),
        sent: 9,
        has_refused: false,
    });
    let wanted = Wanted { game: "arena", sim_version: 1, release: "1.0", zone: "a" };
    if let Ok(best) = choice::best(candidates, &wanted) {
        assert!(
            best.plays("arena", 1)
                && !best.is_draining
                && best.players.len() < best.rooms_max as usize
        );
    }
    let known = servers.iter().map(|record| (record.instance.clone(), record.node.as_str()));
    let me = InstanceId::parse("00000000000000bb").expect("an id");
    assert!(!electorate::of((&me, "node"), known).is_empty());
}

fn headers(input: &[u8]) {
    let lines: Vec<String> =
        parts(input).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    jetstream::fuzzing::is_ours(lines.iter().filter_map(|line| line.split_once(": ")));
}

fn answers(message: &[u8]) {
    if let Ok(answer) = v1::JoinResponse::decode(message) {
        let _ = wire::seated(answer);
    }
    let _ = wire::events_piece(Bytes::copy_from_slice(message));
}
