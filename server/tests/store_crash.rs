//! What the sync policies promise is there after a crash, always.
//!
//! A scripted workload of several rooms runs on a disk in memory, which crashes: in every call there is, once each. Then it has
//! what was synced, and of the rest nothing, all, or any part. Whatever is found must be a recording that comes out the same when
//! it is played again, as far as it goes, and hold every tick that was reported as durable.
//!
//! Changes that were tried in `store/file`, each alone, and a test here failed: no sync of a file; of a room's folder; of `rooms`; of
//! the store's folder; none before the next segment; durable published when written; durable in spite of a failed sync; nothing
//! cut off when a room goes on, or after a failed write; an incident renamed before its sync, or its name not synced; cut-off
//! records shown to readers; a torn header left behind; a hole within a record taken for damage.

mod recorded;

use fray_server::replay::{Report, Verdict};
use fray_server::store::file::{FileWriter, Options, Sync};
use fray_server::store::{Chunk, EndReason, FileStore, Incident, Name, Progress, Store, Writer};
use recorded::sim_disk::{Call, Loss, SimDisk};
use recorded::{Play, Rhythm, header, verified};
use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const RHYTHM: Rhythm = Rhythm { hash: 5, checkpoint: 10, chunk: 5 };
const SAME: Verdict = Verdict::Same { panicked: None };
const INCIDENT: &str = "one-incident";
/// How often rooms hand over a chunk of five ticks at 20 Hz.
const STEP: Duration = Duration::from_millis(250);

fn name(name: &str) -> Name {
    Name::parse(name).expect("a name")
}

fn options(sync: Sync) -> Options {
    Options { sync, segment_bytes: 700, retention_bytes: 7_500, ..Options::default() }
}

fn open(disk: &SimDisk, options: Options) -> (FileStore, FileWriter) {
    FileStore::with_disk(Arc::new(disk.clone()), options, Duration::ZERO).expect("it opens")
}

/// What rooms hand over, made once.
struct Script {
    one: Vec<Chunk>,
    one_again: Vec<Chunk>,
    two: Vec<Chunk>,
    three: Vec<Chunk>,
    /// Of a later owner, with later ticks than all others.
    later: Vec<Chunk>,
}

impl Script {
    fn new() -> Self {
        let mut play = Play::new(1, 3, RHYTHM);
        let one = play.chunks(8);
        play.begin_anew();
        let one_again = play.chunks(8);
        let mut play = Play::new(2, 2, RHYTHM);
        let mut two = play.chunks(6);
        two.push(play.last_chunk(EndReason::RoomOver));
        let three = Play::new(3, 2, RHYTHM).chunks(12);
        let mut play = Play::new(9, 2, RHYTHM);
        play.chunks(20);
        play.begin_anew();
        let later = play.chunks(3);
        Self { one, one_again, two, three, later }
    }
}

/// What the rooms knew when the machine crashed.
#[derive(Default)]
struct Known {
    progress: BTreeMap<&'static str, watch::Receiver<Progress>>,
    oldest: BTreeMap<&'static str, u32>,
    has_incident: bool,
}

impl Known {
    fn durable(&self, room: &str) -> u32 {
        self.progress.get(room).map_or(0, |progress| progress.borrow().durable_tick)
    }
}

struct Run<'a> {
    store: FileStore,
    writer: FileWriter,
    disk: &'a SimDisk,
    now: Duration,
    known: Known,
}

impl Run<'_> {
    fn writer(&mut self, room: &'static str, epoch: u64) -> Box<dyn Writer> {
        let writer =
            self.store.writer(header(room, epoch, epoch)).expect("the first, or a later one");
        let progress = self.store.progress(&name(room)).expect("it runs");
        self.known.progress.insert(room, progress);
        writer
    }

    /// The writer does what waits, and the time goes on. What a crash interrupts does not become known, but what was to be let
    /// go may be gone.
    fn turn(&mut self) {
        self.writer.turn(self.now);
        self.now += STEP;
        let find = |room: &str| self.store.find(&name(room)).ok();
        let known = &mut self.known;
        if !self.disk.has_crashed() {
            let rooms = ["one", "two", "three"].into_iter().filter(|room| find(room).is_some());
            known.oldest.extend(rooms.map(|room| (room, 0)));
            known.has_incident = true;
        }
        known.has_incident &= find(INCIDENT).is_some();
        known.oldest.retain(|room, oldest| {
            let found = find(room);
            *oldest = found.as_ref().map_or(0, |found| found.header.first_tick);
            found.is_some()
        });
    }
}

/// Rooms come and go, one has another owner, an incident is kept, the oldest is let go.
fn play(script: &Script, disk: &SimDisk, options: Options) -> Option<Known> {
    let opened = FileStore::with_disk(Arc::new(disk.clone()), options, Duration::ZERO);
    // It may crash as soon as that.
    let (store, writer) = opened.ok()?;
    let now = Duration::ZERO;
    let mut run = Run { store, writer, disk, now, known: Known::default() };
    let mut two = run.writer("two", 1);
    let mut one = run.writer("one", 1);
    for index in 0..8 {
        // After a failure, plain chunks are refused until the next checkpoint.
        let _ = one.append(script.one[index].clone());
        if let Some(chunk) = script.two.get(index) {
            let _ = two.append(chunk.clone());
        }
        if index == 6 {
            let what = "something".into();
            let _ = one.keep(Incident { name: name(INCIDENT), what, from_tick: 31 });
        }
        run.turn();
    }
    drop(two);
    let mut three = run.writer("three", 1);
    run.turn();
    let mut one_again = run.writer("one", 2);
    drop(one);
    for index in 0..12 {
        if let Some(chunk) = script.one_again.get(index) {
            let _ = one_again.append(chunk.clone());
        }
        let _ = three.append(script.three[index].clone());
        run.turn();
    }
    drop((one_again, three));
    run.turn();
    run.store.close().expect("no thread");
    run.turn();
    Some(run.known)
}

/// Remembers what was played before.
#[derive(Default)]
struct Verifier {
    reports: HashMap<Vec<u8>, Report>,
}

impl Verifier {
    fn verify(&mut self, bytes: Vec<u8>) -> &Report {
        self.reports.entry(bytes).or_insert_with_key(|bytes| verified(bytes.as_slice()))
    }
}

fn read(store: &FileStore, room: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read(&name(room), 0).expect("it is there").read_to_end(&mut bytes).expect("readable");
    bytes
}

fn check(
    script: &Script,
    known: &Known,
    disk: &SimDisk,
    sync: Sync,
    verifier: &mut Verifier,
    at: &str,
) {
    let keep_all = Options { retention_bytes: u64::MAX, ..options(sync) };
    let (store, mut writer) = open(disk, keep_all);
    for found in store.list().expect("a list") {
        let report = verifier.verify(read(&store, found.name.as_str()));
        assert_eq!(report.verdict, SAME, "{at}: {}", found.name);
        assert_eq!(report.last_tick, found.last_tick, "{at}: {}", found.name);
        assert!(!found.is_running);
        if sync == Sync::None {
            continue;
        }
        if found.name.as_str() == INCIDENT {
            assert_eq!(report.end, Some(EndReason::Cut), "{at}: the incident is whole");
            continue;
        }
        assert_eq!(report.gaps, 0, "{at}: {}", found.name);
        // Its files one after the other are a recording without any help.
        let dir = format!("rooms/{}", found.name);
        let report = verifier.verify(disk.concatenated(&dir));
        assert_eq!(report.verdict, SAME, "{at}: {dir}");
    }
    for (room, oldest) in &known.oldest {
        let durable = known.durable(room);
        if durable == 0 {
            continue;
        }
        let found = store.find(&name(room)).unwrap_or_else(|error| panic!("{at}: {room}: {error}"));
        let kept = (found.header.first_tick, found.last_tick);
        assert!(kept.0 <= *oldest && kept.1 >= durable, "{at}: {room}: {kept:?}, {durable}");
    }
    if sync != Sync::None && known.has_incident {
        assert!(store.find(&name(INCIDENT)).is_ok(), "{at}: the incident is there");
    }

    // A later owner goes on wherever it was cut off.
    let rooms: Vec<_> = store.list().expect("a list").into_iter().map(|found| found.name).collect();
    for room in rooms.iter().map(Name::as_str).filter(|room| *room != INCIDENT) {
        let mut owner = store.writer(header(room, 7, 7)).expect("a later one");
        for chunk in &script.later {
            owner.append(chunk.clone()).expect("it is taken");
        }
        drop(owner);
        writer.turn(Duration::ZERO);
        let dir = format!("rooms/{room}");
        let mut all = vec![read(&store, room)];
        if sync != Sync::None {
            all.push(disk.concatenated(&dir));
        }
        for bytes in all {
            let report = verifier.verify(bytes);
            assert_eq!((&report.verdict, report.last_tick), (&SAME, 115), "{at}: {room} goes on");
        }
    }
    assert_eq!(store.counts().disk_errors, 0, "{at}");
}

fn crash_everywhere(sync: Sync) {
    let script = Script::new();
    let whole = SimDisk::default();
    let known = play(&script, &whole, options(sync)).expect("no crash");
    let calls = whole.calls();
    let count = |call| calls.iter().filter(|found| **found == call).count();
    let made = (count(Call::Create), count(Call::Remove));
    assert!(made.0 > 10 && made.1 > 2, "the script meets every case: {made:?}, {:?}", known.oldest);
    assert!(
        count(Call::Rename) == 1 && known.has_incident && known.oldest.contains_key("one"),
        "{:?}",
        known.oldest
    );
    let ends = if sync == Sync::None { 0 } else { 80 };
    assert_eq!(known.durable("one"), ends);

    let mut verifier = Verifier::default();
    for at in 0..=calls.len() {
        let disk = SimDisk::crashing_at(at);
        let Some(known) = play(&script, &disk, options(sync)) else { continue };
        let seed = at as u64 * 31;
        for loss in
            [Loss::All, Loss::Nothing, Loss::Any(seed), Loss::Any(seed + 1), Loss::Any(seed + 2)]
        {
            let at =
                format!("{sync:?}, call {at} of {} ({:?}), {loss:?}", calls.len(), calls.get(at));
            check(&script, &known, &disk.after_crash(loss), sync, &mut verifier, &at);
        }
    }
}

#[test]
fn whatever_the_policy_a_crash_leaves_recordings_that_can_be_played() {
    crash_everywhere(Sync::None);
}

#[test]
fn with_the_policy_interval_what_was_reported_durable_is_there() {
    crash_everywhere(Sync::Interval);
}

#[test]
fn with_the_policy_tick_what_was_reported_durable_is_there() {
    crash_everywhere(Sync::Tick);
}

#[test]
fn with_the_policy_interval_durable_lags_by_no_more_than_the_interval() {
    let (store, mut writer) = open(&SimDisk::default(), options(Sync::Interval));
    let mut room = store.writer(header("one", 1, 1)).expect("the first");
    let progress = store.progress(&name("one")).expect("it runs");
    let mut play = Play::new(1, 2, RHYTHM);
    let mut now = Duration::ZERO;
    for _ in 0..40 {
        room.append(play.next_chunk()).expect("taken");
        let turn = writer.turn(now);
        let Progress { last_tick, durable_tick, .. } = *progress.borrow();
        assert_eq!(last_tick, play.tick());
        // 20 ticks a second.
        assert!(durable_tick + 20 >= last_tick, "{durable_tick} {last_tick}");
        let is_soon = turn.due.is_some_and(|due| due <= now + Duration::from_secs(1));
        assert!(durable_tick == last_tick || is_soon);
        now += STEP;
    }
    // Without anything new, the last of it is made safe when it is due.
    let due = writer.turn(now).due.expect("it looks again");
    writer.turn(due);
    let Progress { last_tick, durable_tick, .. } = *progress.borrow();
    assert_eq!(durable_tick, last_tick);
    assert_eq!(progress.borrow().durable_tick, play.tick());
    assert!(store.counts().syncs < 40, "not one for each chunk");
}

#[test]
fn with_the_policy_tick_one_sync_covers_all_that_waited() {
    let disk = SimDisk::default();
    let (store, mut writer) =
        open(&disk, Options { segment_bytes: 1 << 20, ..options(Sync::Tick) });
    let mut room = store.writer(header("one", 1, 1)).expect("the first");
    let mut play = Play::new(1, 2, RHYTHM);
    play.chunks(10).into_iter().for_each(|chunk| room.append(chunk).expect("taken"));
    writer.turn(Duration::ZERO);
    let syncs = |disk: &SimDisk| disk.calls().into_iter().filter(|c| *c == Call::SyncFile).count();
    assert_eq!(syncs(&disk), 1);
    assert_eq!(store.progress(&name("one")).expect("it runs").borrow().durable_tick, 50);
    writer.turn(Duration::ZERO);
    assert_eq!(syncs(&disk), 1, "nothing to do");
}

/// One of two rooms has a disk that refuses each kind of call once, each time another one of them.
#[test]
fn a_file_that_cannot_be_written_costs_its_room_a_gap_and_others_nothing() {
    for call in [Call::MakeDir, Call::Create, Call::Append, Call::SyncFile, Call::SyncDir] {
        for sync in [Sync::None, Sync::Interval, Sync::Tick] {
            for nth in [0, 1, 2, 5] {
                refuse(call, nth, sync);
            }
        }
    }
}

fn refuse(refused: Call, nth: usize, sync: Sync) {
    let at = format!("{refused:?} {nth} {sync:?}");
    let disk = SimDisk::default();
    let keep_all = Options { retention_bytes: u64::MAX, ..options(sync) };
    let (store, mut writer) = open(&disk, keep_all);
    let count = std::sync::atomic::AtomicUsize::new(0);
    let has_failed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let failed = Arc::clone(&has_failed);
    let order = std::sync::atomic::Ordering::Relaxed;
    disk.fail(move |call, path| {
        let fails =
            call == refused && path.starts_with("rooms/one") && count.fetch_add(1, order) == nth;
        failed.fetch_or(fails, order);
        fails
    });

    let mut rooms = ["one", "two"].map(|room| {
        let writer = store.writer(header(room, 1, 1)).expect("the first");
        (room, writer, Play::new(5, 2, RHYTHM))
    });
    let follow = store.progress(&name("one")).expect("it runs");
    let mut now = Duration::ZERO;
    for _ in 0..40 {
        for (room, writer, play) in &mut rooms {
            let taken = writer.append(play.next_chunk());
            assert!(taken.is_ok() || *room == "one", "{at}");
        }
        writer.turn(now);
        now += STEP;
    }
    let ticks = rooms[0].2.tick();
    drop(rooms);
    writer.turn(now);

    let has_failed = has_failed.load(order);
    let mut verifier = Verifier::default();
    for room in ["one", "two"] {
        for bytes in [read(&store, room), disk.concatenated(&format!("rooms/{room}"))] {
            let report = verifier.verify(bytes);
            assert_eq!((&report.verdict, report.last_tick), (&SAME, ticks), "{at}: {room}");
            // What is missing at the very beginning is no gap.
            assert!(report.gaps <= u32::from(has_failed && room == "one"), "{at}: {room}");
        }
    }
    let is_durable = sync != Sync::None;
    assert_eq!(follow.borrow().durable_tick, if is_durable { ticks } else { 0 }, "{at}");
    assert_eq!(store.counts().disk_errors > 0, has_failed, "{at}");
}
