//! Whatever the bytes of a recording are: an answer, and the right one. Nothing panics, and nothing takes forever.
//!
//! Everything here goes through `verify`, which reads, restores and plays. `PROPTEST_CASES` makes it try more.

mod recorded;

use bytes::BytesMut;
use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use fray_server::replay::{Games, Report, Verdict, verify};
use fray_server::store::{EndReason, ReadError, Reader};
use proptest::collection::vec;
use proptest::prelude::*;
use recorded::{Play, Rhythm, arena, header, verified};
use std::sync::{Arc, LazyLock};

const SAME: Verdict = Verdict::Same { panicked: None };
/// A record is framed as `length: u24, kind: u8, check: u16, payload, checksum: u32`.
const HEAD_BYTES: usize = 6;
const CHECKSUM_BYTES: usize = 4;
const TICK: u8 = 2;
const CHECKPOINT: u8 = 3;
/// What a stranger's recording may cost here, in ticks.
const TICKS_MAX: u32 = 200;

/// A whole recording, and where each of its records ends.
struct Sample {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let mut play = Play::new(4, 2, Rhythm { hash: 2, checkpoint: 4, chunk: 2 });
    let mut bytes = BytesMut::new();
    header("one", 1, 1).put(&mut bytes);
    for chunk in play.chunks(4) {
        bytes.extend_from_slice(&chunk.records);
    }
    // A second segment, and the end.
    let mut next = header("one", 1, 1);
    next.first_tick = play.tick() + 1;
    next.put(&mut bytes);
    bytes.extend_from_slice(&play.next_chunk().records);
    bytes.extend_from_slice(&play.last_chunk(EndReason::RoomOver).records);
    let mut reader = Reader::new(&bytes[..]);
    let mut ends = Vec::new();
    while reader.next_record().expect("as it was written").is_some() {
        ends.push(reader.offset() as usize);
    }
    Sample { bytes: bytes.to_vec(), ends }
});

fn is_incomplete(report: &Report) -> bool {
    report.verdict == SAME && report.end.is_none()
}

#[test]
fn the_sample_is_whole() {
    let Sample { bytes, ends } = &*SAMPLE;
    let report = verified(bytes.as_slice());
    assert_eq!((&report.verdict, report.end), (&SAME, Some(EndReason::RoomOver)));
    assert_eq!((report.last_tick, report.gaps), (11, 0));
    assert!(report.moves > 0 && report.joins == 2);
    assert_eq!(ends.last(), Some(&bytes.len()));
    println!("{} bytes, {} records", bytes.len(), ends.len());
}

#[test]
fn every_flipped_bit_is_damage() {
    let Sample { bytes, ends } = &*SAMPLE;
    let last_record = ends[ends.len() - 2];
    let mut flipped = bytes.clone();
    for bit in 0..bytes.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        let report = verified(flipped.as_slice());
        match &report.verdict {
            Verdict::Damaged { offset, .. } => {
                let record = ends.iter().copied().filter(|end| *end <= bit / 8).max();
                assert_eq!(*offset as usize, record.unwrap_or_default(), "bit {bit}");
            }
            // In the very last record, it may look as if that had been cut off.
            _ => assert!(is_incomplete(&report) && bit / 8 >= last_record, "bit {bit}: {report:?}"),
        }
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_cut_is_an_incomplete_recording_of_what_was_before() {
    let Sample { bytes, ends } = &*SAMPLE;
    for length in 0..bytes.len() {
        // A file system may have left zeros in place of what was not yet written.
        for zeros in [0, 1, 70_000] {
            let mut cut = bytes[..length].to_vec();
            cut.resize(length + zeros, 0);
            let report = verified(cut.as_slice());
            if length < ends[0] {
                let is_damage = matches!(report.verdict, Verdict::Damaged { offset: 0, .. });
                // If what was cut off is a zero, then it is whole.
                let is_whole = zeros > 0 && bytes[length..ends[0]].iter().all(|byte| *byte == 0);
                assert!(is_damage || is_whole, "{length} {zeros}: {report:?}");
                continue;
            }
            let is_whole = cut.starts_with(bytes);
            assert!(is_incomplete(&report) || is_whole, "{length} {zeros}: {report:?}");
            let mut reader = Reader::new(cut.as_slice());
            while reader.next_record().expect("not damaged").is_some() {}
            let before = ends.iter().filter(|end| **end <= length).max();
            assert!(reader.offset() as usize >= *before.expect("the header is before"));
            assert!(reader.offset() as usize <= length.max(ends[0]) + CHECKSUM_BYTES);
        }
    }
}

/// Frames a record as the server does, so that its checksums are right whatever it says.
fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    let head = [length[0], length[1], length[2], kind];
    let mut out = head.to_vec();
    out.extend_from_slice(&(crc32fast::hash(&head) as u16).to_le_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

/// Kinds and payloads of the sample.
fn payloads() -> Vec<(u8, Vec<u8>)> {
    let Sample { bytes, ends } = &*SAMPLE;
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let records = starts.zip(ends).map(|(start, end)| &bytes[start..*end]);
    let payload = |record: &[u8]| record[HEAD_BYTES..record.len() - CHECKSUM_BYTES].to_vec();
    records.map(|record| (record[3], payload(record))).collect()
}

/// As a server would: with limits, and an answer in any case.
fn ask(bytes: &[u8]) {
    let games: Vec<Arc<dyn GameFactory>> = vec![Arc::new(arena()), Arc::new(Arena::default())];
    // Why there is no answer is an answer, too.
    let _ = verify(Games(&games), bytes, TICKS_MAX, || false);
}

/// Something done to bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        // The numbers that are the most trouble.
        2 => (any::<usize>(), prop_oneof![Just(0), Just(0x7f), Just(0x80), Just(0xff)])
            .prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (any::<usize>(), vec(any::<u8>(), 1..12)).prop_map(|(at, more)| Change::Insert(at, more)),
        1 => (any::<usize>(), 1..40usize).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (any::<usize>(), 1..200usize).prop_map(|(at, count)| Change::Repeat(at, count)),
    ]
}

fn apply(changes: &[Change], bytes: &mut Vec<u8>) {
    for change in changes {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let range = |at: &usize, count: &usize| at % length..(at % length + count).min(length);
        match change {
            Change::Set(at, byte) => bytes[at % length] = *byte,
            Change::Insert(at, more) => drop(bytes.splice(at % length..at % length, more.clone())),
            Change::Remove(at, count) => drop(bytes.drain(range(at, count))),
            Change::Repeat(at, count) => {
                let again = bytes[range(at, count)].to_vec();
                bytes.splice(at % length..at % length, again);
            }
        }
    }
}

/// What a game's rules say when they panic is not worth a line each.
fn quietly() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |location| location.file());
            if file.contains("tests/") {
                usual(info);
            }
        }));
    });
}

fn cases(usual: u32) -> ProptestConfig {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        ProptestConfig::default().cases
    } else {
        usual
    };
    // Shrunk cases are not worth a file: the input is printed.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn any_bytes_have_an_answer(bytes in vec(any::<u8>(), 0..300)) {
        ask(&bytes);
    }

    #[test]
    fn a_changed_recording_is_never_taken_for_a_whole_one(changes in vec(change(), 1..4)) {
        let mut bytes = SAMPLE.bytes.clone();
        apply(&changes, &mut bytes);
        let report = verified(bytes.as_slice());
        let is_damage = matches!(report.verdict, Verdict::Damaged { .. });
        let is_whole = report.verdict == SAME && report.end.is_some();
        // Whole records may be gone or twice there, from the end on; nothing is played that was not recorded.
        prop_assert!(is_damage || report.verdict == SAME, "{:?}", report);
        // Less than a record after the end is what a later owner had just begun.
        let is_all_there = bytes.starts_with(&SAMPLE.bytes) || report.gaps > 0;
        prop_assert!(!is_whole || is_all_there, "{:?}", report);
    }

    #[test]
    fn a_writer_that_lies_has_an_answer(
        lies in vec((any::<usize>(), vec(change(), 1..4)), 1..4),
        order in vec(change(), 0..3),
    ) {
        quietly();
        let mut records = payloads();
        for (record, changes) in &lies {
            let count = records.len();
            apply(changes, &mut records[record % count].1);
        }
        // Records in another order, left out, of another kind.
        for change in &order {
            let count = records.len();
            match change {
                Change::Set(at, kind) => records[at % count].0 = kind % 7,
                Change::Insert(at, payload) => {
                    records.insert(at % count, (TICK, payload.clone()));
                }
                Change::Remove(at, _) => drop(records.remove(at % count)),
                Change::Repeat(at, _) => {
                    let again = records[at % count].clone();
                    records.insert(at % count, again);
                }
            }
        }
        let bytes: Vec<u8> = records.iter().flat_map(|(kind, payload)| framed(*kind, payload)).collect();
        ask(&bytes);
    }

    #[test]
    fn a_state_that_no_game_was_ever_in_has_an_answer(changes in vec(change(), 1..6)) {
        quietly();
        let mut bytes = BytesMut::new();
        header("one", 1, 1).put(&mut bytes);
        let mut play = Play::new(4, 2, Rhythm { hash: 2, checkpoint: 100, chunk: 20 });
        let first = play.next_chunk();
        let mut reader_bytes = bytes.clone();
        reader_bytes.extend_from_slice(&first.records);
        let mut reader = Reader::new(&reader_bytes[..]);
        while let Some(record) = reader.next_record().expect("as it was written") {
            match record {
                fray_server::store::Record::Checkpoint(checkpoint) => {
                    let mut state = checkpoint.state.to_vec();
                    apply(&changes, &mut state);
                    // With the hash that it really has, if it is a state at all.
                    let hash = std::panic::catch_unwind(|| arena().restore(&state).map(|game| game.state_hash()));
                    let hash = hash.ok().and_then(Result::ok).unwrap_or(checkpoint.hash);
                    fray_server::store::Checkpoint::put(0, hash, &state, &mut bytes);
                }
                fray_server::store::Record::Tick(tick) => {
                    // Without the hashes, so that all of it is played.
                    let mut draft = fray_server::store::TickDraft::default();
                    for input in tick.inputs() {
                        draft.input((&input).into());
                    }
                    draft.finish(tick.tick, None, false, &mut bytes);
                }
                _ => {}
            }
        }
        ask(&bytes);
    }
}

#[test]
fn a_record_takes_no_more_memory_than_its_limit() {
    let header = payloads().remove(0);
    let begin = framed(header.0, &header.1);
    let varint = |mut value: u64| {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    };
    let checkpoint = |length: u64, kind: u8, rest: &[u8]| {
        let mut payload = vec![0];
        payload.extend_from_slice(&[0; 8]);
        payload.extend_from_slice(&varint(length));
        payload.push(kind);
        payload.extend_from_slice(rest);
        [begin.clone(), framed(CHECKPOINT, &payload)].concat()
    };
    for (length, kind) in [(16 << 20, 0), (16 << 20, 1), ((16 << 20) + 1, 0), (u64::MAX, 1), (1, 7)]
    {
        let bytes = checkpoint(length, kind, b"short");
        let mut reader = Reader::new(bytes.as_slice());
        reader.next_record().expect("a header");
        let answer = reader.next_record();
        assert!(matches!(answer, Err(ReadError::Damaged { .. })), "{length} {kind}: {answer:?}");
    }
    // What says that it is long is waited for, and no memory is taken before it comes.
    let mut bytes = begin.clone();
    let head = [0xff, 0xff, 0xff, TICK];
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&(crc32fast::hash(&head) as u16).to_le_bytes());
    let mut reader = Reader::new(bytes.as_slice());
    reader.next_record().expect("a header");
    assert!(reader.next_record().expect("cut off").is_none());
}
