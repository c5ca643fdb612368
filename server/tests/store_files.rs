//! What only a store in files does: who may open it, what it finds there, and what waits to be written.

mod recorded;

use bytes::Bytes;
use fray_server::replay::Verdict;
use fray_server::store::file::{
    Disk as _, FileWriter, INCIDENTS_MAX, Options, QUEUE_BYTES_MAX, QUEUE_CHUNKS_MAX, Sync,
};
use fray_server::store::{Chunk, Error, FileStore, Incident, Name, Reader, Store};
use recorded::sim_disk::SimDisk;
use recorded::{Play, Rhythm, header, verified};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const RHYTHM: Rhythm = Rhythm { hash: 5, checkpoint: 10, chunk: 5 };
const SAME: Verdict = Verdict::Same { panicked: None };
const NOW: Duration = Duration::ZERO;

fn name(name: &str) -> Name {
    Name::parse(name).expect("a name")
}

fn options() -> Options {
    Options { sync: Sync::Tick, segment_bytes: 1, ..Options::default() }
}

fn open(disk: &SimDisk, options: Options) -> (FileStore, FileWriter) {
    FileStore::with_disk(Arc::new(disk.clone()), options, NOW).expect("it opens")
}

fn read(store: &FileStore, room: &str, tick: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read(&name(room), tick).expect("it is there").read_to_end(&mut bytes).expect("readable");
    bytes
}

/// A room that was recorded before, in its first epoch.
fn recorded(disk: &SimDisk, room: &str, chunks: usize) -> Play {
    let (store, mut writer) = open(disk, options());
    let mut play = Play::new(1, 2, RHYTHM);
    let mut log = store.writer(header(room, 1, 1)).expect("the first");
    play.chunks(chunks).into_iter().for_each(|chunk| log.append(chunk).expect("taken"));
    drop(log);
    writer.turn(NOW);
    assert_eq!(store.counts().disk_errors, 0);
    play
}

#[test]
fn a_folder_has_one_server_and_any_number_of_readers() {
    let folder = std::env::temp_dir().join(format!("fray-store-files-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    assert!(FileStore::open_read_only(&folder).is_err(), "there is nothing to read");
    let store = FileStore::open(&folder, options()).expect("nobody has it");
    let refused = FileStore::open(&folder, options()).err().expect("somebody has it");
    assert!(refused.to_string().contains("another server writes to"), "{refused}");

    let mut log = store.writer(header("one", 1, 1)).expect("the first");
    let mut play = Play::new(1, 2, RHYTHM);
    play.chunks(7).into_iter().for_each(|chunk| log.append(chunk).expect("taken"));
    drop(log);
    store.close().expect("all is written");
    let reader = FileStore::open_read_only(&folder).expect("there is something to read");
    assert!(reader.writer(header("one", 2, 1)).is_err());
    assert_eq!(verified(read(&reader, "one", 0).as_slice()).last_tick, 35);
    #[cfg(unix)]
    for file in ["rooms/one/00000000000000000001-0000000001.fray", "rooms/one", "rooms", "lock"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(PathBuf::from(&folder).join(file)).expect(file).permissions();
        assert_eq!(mode.mode() & 0o077, 0, "{file} is its owner's");
    }
    // Closed, so another one may have it.
    FileStore::open(&folder, options()).expect("nobody has it").close().expect("closed");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[tokio::test]
async fn the_thread_makes_safe_what_is_written_also_if_nothing_more_comes() {
    let folder = std::env::temp_dir().join(format!("fray-store-sync-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let sync_interval = Duration::from_millis(20);
    let options = Options { sync: Sync::Interval, sync_interval, ..Options::default() };
    let store = FileStore::open(&folder, options).expect("nobody has it");
    let mut log = store.writer(header("one", 1, 1)).expect("the first");
    let mut progress = store.progress(&name("one")).expect("it runs");
    let mut play = Play::new(1, 2, RHYTHM);
    for tick in [5, 10] {
        log.append(play.next_chunk()).expect("taken");
        let safe = progress.wait_for(|progress| progress.durable_tick == tick);
        let safe = tokio::time::timeout(Duration::from_secs(20), safe).await;
        assert!(safe.expect("soon").expect("it goes on").last_tick == tick);
    }
    store.close().expect("closed");
    assert!(progress.borrow().has_ended);
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn what_was_there_before_is_found_again_and_its_owner_stays_fenced() {
    let disk = SimDisk::default();
    recorded(&disk, "one", 9);
    let (store, mut writer) = open(&disk, options());
    let found = store.find(&name("one")).expect("it is there");
    assert_eq!((found.header.first_tick, found.last_tick, found.is_running), (1, 45, false));
    assert_eq!(found.header.code, "SECRET");
    let report = verified(read(&store, "one", 23).as_slice());
    assert_eq!((&report.verdict, report.last_tick, report.ticks), (&SAME, 45, 25));

    let mut later = store.writer(header("one", 4, 1)).expect("a later one");
    let mut play = Play::new(1, 2, RHYTHM);
    play.chunks(12);
    play.begin_anew();
    later.append(play.next_chunk()).expect("taken");
    writer.turn(NOW);
    drop((later, store, writer));
    let (store, _writer) = open(&disk, options());
    assert!(matches!(store.writer(header("one", 3, 1)), Err(Error::Fenced(4))));
    assert_eq!(verified(read(&store, "one", 0).as_slice()).gaps, 1);
}

#[test]
fn an_owner_that_comes_back_with_its_epoch_takes_the_place_of_what_it_had_just_begun() {
    // Cut off in its first tick: there is a checkpoint, and nothing after it.
    let disk = SimDisk::default();
    let mut play = Play::new(1, 2, RHYTHM);
    let first = play.next_chunk();
    recorded(&disk, "one", 1);
    let path = "rooms/one/00000000000000000001-0000000001.fray";
    let bytes = disk.concatenated("rooms/one");
    let mut reader = Reader::new(bytes.as_slice());
    for _ in 0..2 {
        reader.next_record().expect("as it was written").expect("a header, a checkpoint");
    }
    disk.truncate(path, reader.offset() + 3).expect("it is there");
    let (store, mut writer) = open(&disk, options());
    let before = store.find(&name("one")).expect("a recording without a tick");
    assert_eq!(before.last_tick, 0, "the cut leaves no tick");
    let mut again = store.writer(header("one", 1, 1)).expect("the same epoch");
    again.append(first).expect("taken");
    writer.turn(NOW);
    assert_eq!(verified(read(&store, "one", 0).as_slice()).last_tick, 5);
    assert_eq!(store.counts().disk_errors, 0);
}

#[test]
fn damage_is_left_as_it_is_and_shown() {
    let disk = SimDisk::default();
    recorded(&disk, "one", 2);
    let whole = disk.concatenated("rooms/one");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    let other = SimDisk::default();
    for dir in ["rooms", "incidents", "rooms/one"] {
        other.make_dir(dir).expect("made");
    }
    let path = "rooms/one/00000000000000000001-0000000001.fray";
    other.create(path).expect("made").append(&damaged).expect("written");
    let (store, mut writer) = open(&other, options());
    let report = verified(read(&store, "one", 0).as_slice());
    assert!(matches!(report.verdict, Verdict::Damaged { .. }), "{report:?}");
    let mut later = store.writer(header("one", 2, 1)).expect("a later one");
    later.append(Play::new(1, 2, RHYTHM).next_chunk()).expect("taken");
    writer.turn(NOW);
    assert!(other.concatenated("rooms/one").starts_with(&damaged));
}

#[test]
fn damage_and_loss_in_the_middle_are_not_passed_over() {
    for loses in [false, true] {
        let disk = SimDisk::default();
        recorded(&disk, "one", 6);
        let mut entries = disk.list("rooms/one").expect("its parts");
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        assert!(entries.len() >= 3, "{}", entries.len());
        let other = SimDisk::default();
        for dir in ["rooms", "incidents", "rooms/one"] {
            other.make_dir(dir).expect("made");
        }
        for (number, entry) in entries.iter().enumerate() {
            let path = format!("rooms/one/{}", entry.name);
            let mut bytes = Vec::new();
            disk.read(&path).expect("read").read_to_end(&mut bytes).expect("read");
            if number == 1 && loses {
                bytes.fill(0);
            } else if number == 1 {
                bytes[20] ^= 1;
            }
            other.create(&path).expect("made").append(&bytes).expect("written");
        }
        let (store, _writer) = open(&other, options());
        let report = verified(read(&store, "one", 0).as_slice());
        if loses {
            assert_eq!((report.verdict, report.gaps), (Verdict::Same { panicked: None }, 1));
        } else {
            assert!(matches!(report.verdict, Verdict::Damaged { .. }), "{report:?}");
        }
        assert_eq!(other.list("rooms/one").expect("its parts").len(), entries.len());
    }
}

#[test]
fn what_does_not_fit_the_queue_is_refused_until_the_next_checkpoint() {
    let disk = SimDisk::default();
    let (store, mut writer) = open(&disk, options());
    let mut log = store.writer(header("one", 1, 1)).expect("the first");
    let chunk = |bytes: usize, has_checkpoint| Chunk {
        records: Bytes::from(vec![0; bytes]),
        has_checkpoint,
        first_tick: 1,
        last_tick: 1,
        has_end: false,
    };
    assert!(matches!(log.append(chunk(1, false)), Err(Error::Full)), "it must begin with one");
    for (bytes, taken) in [(1, QUEUE_CHUNKS_MAX), (1 << 20, QUEUE_BYTES_MAX >> 20)] {
        let mut count = 0;
        while log.append(chunk(bytes, true)).is_ok() {
            count += 1;
        }
        assert_eq!(count, taken);
        let what = String::new();
        let incident = Incident { name: name("x"), what, from_tick: 1 };
        let is_refused = log.keep(incident).is_err();
        assert_eq!(is_refused, bytes == 1, "an incident is no bytes");
        // None of this is a recording; that is not looked at.
        writer.turn(NOW);
        assert!(matches!(log.append(chunk(1, false)), Err(Error::Full)), "something is missing");
    }
    log.append(chunk(QUEUE_BYTES_MAX + 1, true)).expect("alone, it has to fit");
    writer.turn(NOW);

    // Also if nothing but the queue was in the way, and that of others.
    let mut two = store.writer(header("two", 1, 1)).expect("the first");
    let mut play = Play::new(1, 2, Rhythm { checkpoint: 15, ..RHYTHM });
    two.append(play.next_chunk()).expect("taken");
    while log.append(chunk(1, true)).is_ok() {}
    assert!(two.append(play.next_chunk()).is_err());
    writer.turn(NOW);
    assert!(matches!(two.append(play.next_chunk()), Err(Error::Full)), "it has no checkpoint");
    assert!(two.append(play.next_chunk()).is_ok(), "it has one");
    writer.turn(NOW);
    let report = verified(read(&store, "two", 0).as_slice());
    assert_eq!((&report.verdict, report.gaps, report.last_tick), (&SAME, 1, 20));
}

#[test]
fn a_chunk_that_does_not_follow_is_not_written() {
    let disk = SimDisk::default();
    let (store, mut writer) = open(&disk, options());
    let mut log = store.writer(header("one", 1, 1)).expect("the first");
    let mut play = Play::new(1, 2, Rhythm { checkpoint: 20, ..RHYTHM });
    let mut chunks = play.chunks(9);
    chunks.remove(1);
    for chunk in chunks {
        // What is written is known a little later, as it is with a thread.
        let _ = log.append(chunk);
        writer.turn(NOW);
    }
    let report = verified(read(&store, "one", 0).as_slice());
    assert_eq!((&report.verdict, report.gaps, report.last_tick), (&SAME, 1, 45));
    assert_eq!(report.ticks, 30, "nothing between the gap and the next checkpoint");
    assert_eq!(store.counts().chunks_lost, 1, "the other one was refused");
}

#[test]
fn what_is_old_is_let_go_and_never_the_newest_part_of_a_running_room() {
    let disk = SimDisk::default();
    recorded(&disk, "old", 4);
    let age = Duration::from_secs(100);
    let (store, mut writer) = open(&disk, Options { retention_age: age, ..options() });
    assert!(store.find(&name("old")).is_ok());
    let mut log = store.writer(header("new", 1, 1)).expect("the first");
    let mut play = Play::new(1, 2, RHYTHM);
    for second in [0, 60, 120, 400] {
        play.chunks(2).into_iter().for_each(|chunk| log.append(chunk).expect("taken"));
        writer.turn(Duration::from_secs(second));
    }
    let found = store.list().expect("a list");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].header.first_tick, found[0].last_tick), (31, 40));
    assert!(!disk.names().iter().any(|path| path.starts_with("rooms/old")));
    let report = verified(read(&store, "new", 0).as_slice());
    assert_eq!((&report.verdict, report.ticks), (&SAME, 10));
}

#[test]
fn a_reader_whose_part_was_let_go_is_told() {
    let disk = SimDisk::default();
    let (store, mut writer) = open(&disk, Options { retention_bytes: 1500, ..options() });
    let mut log = store.writer(header("one", 1, 1)).expect("the first");
    let mut play = Play::new(1, 2, RHYTHM);
    log.append(play.next_chunk()).expect("taken");
    writer.turn(NOW);
    let mut reader = store.read(&name("one"), 0).expect("it is there");
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("the first part");
    play.chunks(20).into_iter().for_each(|chunk| log.append(chunk).expect("taken"));
    writer.turn(NOW);
    assert!(store.find(&name("one")).expect("it runs").header.first_tick > 20);
    let told = reader.read_to_end(&mut bytes).expect_err("something is missing");
    assert_eq!(told.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn incidents_have_a_limit_and_outlast_their_rooms() {
    let disk = SimDisk::default();
    let (store, mut writer) = open(&disk, Options { retention_bytes: 1_500_000, ..options() });
    let mut log = store.writer(header("one", 1, 1)).expect("the first");
    let mut play = Play::new(1, 2, RHYTHM);
    log.append(play.next_chunk()).expect("taken");
    for index in 0..INCIDENTS_MAX + 3 {
        let incident = name(&format!("incident-{index}"));
        log.keep(Incident { name: incident, what: "much".into(), from_tick: 1 }).expect("taken");
        writer.turn(Duration::from_millis(index as u64));
    }
    let kept = disk.names().iter().filter(|path| path.starts_with("incidents/")).count();
    assert_eq!(kept, INCIDENTS_MAX);
    assert!(matches!(store.find(&name("incident-2")), Err(Error::NotFound)));
    assert_eq!(verified(read(&store, "incident-3", 0).as_slice()).verdict, SAME);
    drop((log, store, writer));

    // What is left of a copy that a crash interrupted is gone.
    disk.create("incidents/half.part").expect("made");
    let (store, mut writer) = open(&disk, Options { retention_bytes: 150_000, ..options() });
    assert!(!disk.names().contains(&"incidents/half.part".to_owned()));
    let incidents = store.list().expect("a list").len();
    assert!(incidents < INCIDENTS_MAX, "no more than their share");
    // Rooms go first.
    let mut log = store.writer(header("two", 1, 1)).expect("the first");
    play.begin_anew();
    for _ in 0..1200 {
        log.append(play.next_chunk()).expect("taken");
        writer.turn(Duration::from_secs(1));
    }
    assert!(store.find(&name("two")).expect("it runs").header.first_tick > 10);
    assert!(matches!(store.find(&name("one")), Err(Error::NotFound)));
    assert_eq!(store.list().expect("a list").len(), incidents);
}
