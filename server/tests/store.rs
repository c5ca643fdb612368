//! What every store does, in memory, in files or in JetStream. Each test runs against all three.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[path = "support/nats.rs"]
mod nats;
#[path = "support/program.rs"]
mod programs;
mod recorded;

use bytes::BytesMut;
use fray_server::replay::Verdict;
use fray_server::store::file::{Options, Sync};
use fray_server::store::{
    Checkpoint, Chunk, EndReason, Error, FileStore, Incident, MemoryStore, Name, Progress, Reader,
    Record, Store, Writer, cut, jetstream,
};
use nats::Nats;
use recorded::{Play, Rhythm, header, records, ticks, verified};
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

const RHYTHM: Rhythm = Rhythm { hash: 5, checkpoint: 20, chunk: 5 };
const SAME: Verdict = Verdict::Same { panicked: None };
const WAIT: Duration = Duration::from_secs(20);

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fray-store-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Small segments, so that there are many.
fn options() -> Options {
    Options { sync: Sync::Tick, segment_bytes: 1, ..Options::default() }
}

/// Runs a test against each. `bytes_max` is what the store may keep.
fn with_each(test: &str, bytes_max: u64, run: impl AsyncFn(&dyn Store) + Copy) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(run(&MemoryStore::new(bytes_max as usize)));
    let folder = Folder::new(test);
    let options = Options { retention_bytes: bytes_max, ..options() };
    let store = FileStore::open(&folder.0, options).unwrap();
    runtime.block_on(run(&store));
    store.close().unwrap();
    assert_eq!(store.counts().disk_errors, 0);
    let Some(nats) = Nats::start() else { return };
    let elsewhere = nats::runtime();
    let options = jetstream::Options { retention_bytes: bytes_max, ..nats::options() };
    let store = nats::open(&elsewhere, nats.port(), options);
    runtime.block_on(run(&store));
    store.close().unwrap();
    assert_eq!(store.counts().chunks_lost, 0);
}

fn name(name: &str) -> Name {
    Name::parse(name).unwrap()
}

/// Waits until so much can be read.
async fn until(progress: &mut watch::Receiver<Progress>, tick: u32) {
    let reached = progress.wait_for(|progress| progress.last_tick >= tick);
    timeout(WAIT, reached).await.expect("the store keeps up").expect("it goes on");
}

async fn append(store: &dyn Store, writer: &mut dyn Writer, room: &str, chunks: Vec<Chunk>) {
    let mut progress = store.progress(&name(room)).expect("it runs");
    for chunk in chunks {
        let tick = chunk.last_tick;
        writer.append(chunk).unwrap();
        until(&mut progress, tick).await;
    }
}

async fn end(store: &dyn Store, room: &str, writer: Box<dyn Writer>) {
    let progress = store.progress(&name(room));
    drop(writer);
    if let Some(mut progress) = progress {
        while store.find(&name(room)).is_ok_and(|found| found.is_running) {
            let _ = timeout(Duration::from_millis(10), progress.changed()).await;
        }
    }
}

/// All that can be read from a tick on.
fn read(store: &dyn Store, room: &str, tick: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read(&name(room), tick).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn put(record: &Record, out: &mut BytesMut) {
    match record {
        Record::Header(_) | Record::Sessions(_) | Record::Unknown => {}
        Record::Tick(tick) => tick.put(out),
        Record::Checkpoint(at) => {
            Checkpoint::put(at.tick, at.hash, &at.state, out);
        }
        Record::End(end) => end.put(out),
    }
}

#[test]
fn what_is_appended_is_read_in_order() {
    with_each("order", 1 << 30, async |store| {
        let mut play = Play::new(1, 4, RHYTHM);
        let mut writer = store.writer(header("one", 1, 5)).unwrap();
        let mut chunks = play.chunks(30);
        chunks.push(play.last_chunk(EndReason::RoomOver));
        let expected: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.records.to_vec()).collect();
        append(store, writer.as_mut(), "one", chunks).await;
        let bytes = read(store, "one", 0);
        let all = records(bytes.as_slice());
        assert_eq!(ticks(&all), (1..=play.tick()).collect::<Vec<_>>());
        // The same bytes, but for the headers of segments.
        let mut without_headers = BytesMut::new();
        for record in &all {
            put(record, &mut without_headers);
        }
        assert_eq!(without_headers, expected);
        let report = verified(bytes.as_slice());
        assert_eq!(report.end, Some(EndReason::RoomOver));
        assert_eq!((report.last_tick, report.gaps), (play.tick(), 0));
        assert_eq!(report.verdict, SAME);
        end(store, "one", writer).await;
    });
}

#[test]
fn reading_begins_with_a_checkpoint_that_is_not_after_the_tick() {
    with_each("begin", 1 << 30, async |store| {
        let mut play = Play::new(1, 4, RHYTHM);
        let mut writer = store.writer(header("one", 1, 5)).unwrap();
        append(store, writer.as_mut(), "one", play.chunks(16)).await;
        for tick in [0, 1, 19, 20, 21, 40, 41, 79, 80, 5000] {
            let bytes = read(store, "one", tick);
            let all = records(bytes.as_slice());
            let Record::Header(header) = &all[0] else { panic!("{:?}", all[0]) };
            let Record::Checkpoint(checkpoint) = &all[1] else { panic!("{:?}", all[1]) };
            assert_eq!(checkpoint.tick + 1, header.first_tick);
            // The newest there is: they are 20 ticks apart.
            assert!(checkpoint.tick <= tick, "{} for {tick}", checkpoint.tick);
            assert!(
                tick.min(play.tick()) <= checkpoint.tick + 20,
                "{} for {tick}",
                checkpoint.tick
            );
            assert_eq!(ticks(&all).last(), Some(&play.tick()));
            assert_eq!(verified(bytes.as_slice()).verdict, SAME);
        }
        assert!(matches!(store.read(&name("nobody"), 0), Err(Error::NotFound)));
    });
}

#[test]
fn what_progress_tells_can_be_read_at_once() {
    with_each("follow", 1 << 30, async |store| {
        let mut play = Play::new(1, 4, RHYTHM);
        let mut writer = store.writer(header("one", 1, 5)).unwrap();
        let mut progress = store.progress(&name("one")).expect("it runs");
        writer.append(play.next_chunk()).unwrap();
        until(&mut progress, 5).await;
        let mut reader = Reader::new(store.read(&name("one"), 0).unwrap());
        let mut seen = 0;
        // The first chunk that comes after a checkpoint begins a new segment: the reader goes over to it.
        for _ in 0..25 {
            writer.append(play.next_chunk()).unwrap();
            until(&mut progress, play.tick()).await;
            while let Some(record) = reader.next_record().unwrap() {
                if let Record::Tick(tick) = record {
                    assert_eq!(tick.tick, seen + 1);
                    seen = tick.tick;
                }
            }
            assert_eq!(seen, play.tick());
            assert!(!reader.is_complete());
        }
        writer.append(play.last_chunk(EndReason::ShutDown)).unwrap();
        until(&mut progress, play.tick()).await;
        assert!(progress.borrow().has_ended);
        while reader.next_record().unwrap().is_some() {}
        assert!(reader.is_complete());
        end(store, "one", writer).await;
    });
}

#[test]
fn an_earlier_owner_is_refused() {
    with_each("fence", 1 << 30, async |store| {
        let mut play = Play::new(1, 4, RHYTHM);
        let mut first = store.writer(header("one", 3, 5)).unwrap();
        append(store, first.as_mut(), "one", play.chunks(5)).await;
        assert!(matches!(store.writer(header("one", 2, 5)), Err(Error::Fenced(3))));

        let mut second = store.writer(header("one", 4, 5)).unwrap();
        let refused = first.append(play.next_chunk());
        assert!(matches!(refused, Err(Error::Fenced(4))), "{refused:?}");
        assert!(matches!(store.writer(header("one", 3, 5)), Err(Error::Fenced(4))));
        play.begin_anew();
        append(store, second.as_mut(), "one", play.chunks(5)).await;
        // That the first is gone changes nothing for the second.
        drop(first);
        append(store, second.as_mut(), "one", play.chunks(1)).await;
        assert!(store.find(&name("one")).unwrap().is_running);
        let all = records(read(store, "one", 0).as_slice());
        let epochs: Vec<_> = all.iter().filter_map(epoch).collect();
        assert!(epochs.is_sorted() && epochs.first() == Some(&3) && epochs.last() == Some(&4));
        assert_eq!(verified(read(store, "one", 0).as_slice()).verdict, SAME);
        end(store, "one", second).await;
    });
}

fn epoch(record: &Record) -> Option<u64> {
    if let Record::Header(header) = record { Some(header.epoch) } else { None }
}

#[test]
fn no_more_is_kept_than_may_be() {
    const BYTES_MAX: u64 = 16 * 1024;
    with_each("retention", BYTES_MAX, async |store| {
        let mut sizes = Vec::new();
        for room in ["one", "two", "three"] {
            let mut play = Play::new(1, 4, RHYTHM);
            let mut writer = store.writer(header(room, 1, 5)).unwrap();
            let chunks = play.chunks(60);
            sizes.push(chunks.iter().map(|chunk| chunk.records.len() as u64).sum::<u64>());
            append(store, writer.as_mut(), room, chunks).await;
            end(store, room, writer).await;
        }
        assert!(sizes.iter().sum::<u64>() > 2 * BYTES_MAX, "more than fits: {sizes:?}");
        let mut play = Play::new(1, 4, RHYTHM);
        let mut writer = store.writer(header("four", 1, 5)).unwrap();
        append(store, writer.as_mut(), "four", play.chunks(400)).await;
        let found = store.list().unwrap();
        let total: u64 = found.iter().map(|found| found.size_bytes).sum();
        // A segment more may be there until the next one is begun.
        assert!(total <= BYTES_MAX + 4096, "{total}");
        // The running one alone is too long: its beginning is gone, and nothing is left of the others.
        let names: Vec<_> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["four"]);
        assert!(found[0].header.first_tick > 1);
        let report = verified(read(store, "four", 0).as_slice());
        assert_eq!((&report.verdict, report.last_tick), (&SAME, play.tick()));
        assert!(matches!(store.find(&name("one")), Err(Error::NotFound)));
        end(store, "four", writer).await;
    });
}

#[test]
fn what_began_last_is_listed_first() {
    with_each("list", 1 << 30, async |store| {
        let mut writers = Vec::new();
        for (index, room) in ["b", "a", "c"].into_iter().enumerate() {
            let mut play = Play::new(1, 2, RHYTHM);
            let mut writer = store.writer(header(room, 1, 100 + index as u64)).unwrap();
            // Nothing is listed before there is something.
            assert_eq!(store.list().unwrap().len(), index);
            append(store, writer.as_mut(), room, play.chunks(2)).await;
            writers.push((room, writer));
        }
        for (room, writer) in writers {
            assert!(store.find(&name(room)).unwrap().is_running);
            end(store, room, writer).await;
            assert!(store.progress(&name(room)).is_none());
        }
        let found = store.list().unwrap();
        let names: Vec<_> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["c", "a", "b"]);
        for found in found {
            assert!(!found.is_running);
            assert_eq!((found.header.first_tick, found.last_tick), (1, 10));
            assert_eq!(found.header.code, "SECRET");
            assert!(found.size_bytes > 100);
        }
    });
}

#[test]
fn an_incident_is_a_recording_of_its_own() {
    with_each("incident", 1 << 30, async |store| {
        let mut play = Play::new(1, 4, RHYTHM);
        let mut writer = store.writer(header("one", 1, 5)).unwrap();
        append(store, writer.as_mut(), "one", play.chunks(17)).await;
        // It keeps what was handed over just before.
        let last = play.next_chunk();
        let last_tick = last.last_tick;
        writer.append(last).unwrap();
        let what = "something happened".to_owned();
        let from_tick = 47;
        writer.keep(Incident { name: name("one-x"), what: what.clone(), from_tick }).unwrap();
        // In order, so it is there once what comes later is.
        append(store, writer.as_mut(), "one", play.chunks(1)).await;

        let found = store.find(&name("one-x")).unwrap();
        assert!(!found.is_running);
        assert_eq!(found.last_tick, last_tick);
        assert_eq!((found.header.incident.clone(), found.header.first_tick), (what, 41));
        assert_eq!(found.header.code, "SECRET", "it is still for who has the code");
        let bytes = read(store, "one-x", 0);
        // But not in a file of it that leaves the store.
        let mut file = BytesMut::new();
        let leaves = cut(&mut Reader::new(bytes.as_slice()), 0, u32::MAX, "", |piece| {
            file.unsplit(piece.split());
            true
        });
        leaves.expect("a copy");
        assert!(!file.windows(6).any(|window| window == b"SECRET"));
        let report = verified(bytes.as_slice());
        assert_eq!((&report.verdict, report.end), (&SAME, Some(EndReason::Cut)));
        assert_eq!((report.last_tick, report.ticks), (last_tick, last_tick - 40));
        assert_eq!(store.list().unwrap().len(), 2);
        end(store, "one", writer).await;
        assert_eq!(store.list().unwrap().len(), 2);
    });
}

#[test]
fn nothing_is_taken_after_closing() {
    with_each("close", 1 << 30, async |store| {
        let mut play = Play::new(1, 4, RHYTHM);
        let mut writer = store.writer(header("one", 1, 5)).unwrap();
        for chunk in play.chunks(9) {
            writer.append(chunk).unwrap();
        }
        store.close().unwrap();
        store.close().unwrap();
        assert!(writer.append(play.next_chunk()).is_err());
        assert!(store.writer(header("two", 1, 5)).is_err());
        // What was taken before is there.
        let report = verified(read(store, "one", 0).as_slice());
        assert_eq!((&report.verdict, report.last_tick), (&SAME, 45));
    });
}
