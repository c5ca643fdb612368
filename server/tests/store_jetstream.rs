//! What the store in JetStream does when things go wrong there, with the real NATS.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[path = "support/nats.rs"]
mod nats;
#[path = "support/program.rs"]
mod programs;
mod recorded;

use bytes::BytesMut;
use fray_server::replay::{Report, Verdict};
use fray_server::store::jetstream::{Options, QUEUE_BYTES_MAX, ROOM_CHUNKS_MAX};
use fray_server::store::{
    Checkpoint, Chunk, EndReason, Error, Incident, JetStreamStore, Name, Progress, Reader, Record,
    Store, TickDraft, Writer,
};
use nats::{Nats, Proxy, WAIT, pause};
use recorded::{Dice, Play, Rhythm, header, records, ticks, verified};
use std::io::Read as _;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{Duration, timeout};

const RHYTHM: Rhythm = Rhythm { hash: 5, checkpoint: 20, chunk: 5 };
const SAME: Verdict = Verdict::Same { panicked: None };
const ROOM: &str = "one";

fn name() -> Name {
    Name::parse(ROOM).unwrap()
}

/// A room, as the store sees it: after a refusal it goes on with a checkpoint.
struct Room<'a> {
    runtime: &'a Runtime,
    play: Play,
    writer: Box<dyn Writer>,
    progress: watch::Receiver<Progress>,
    has_gap: bool,
    refused: u32,
}

impl<'a> Room<'a> {
    fn open(runtime: &'a Runtime, store: &JetStreamStore, epoch: u64) -> Self {
        let writer = store.writer(header(ROOM, epoch, 5)).unwrap();
        let progress = store.progress(&name()).expect("it runs");
        let play = Play::new(1, 4, RHYTHM);
        Self { runtime, play, writer, progress, has_gap: false, refused: 0 }
    }

    /// Plays a chunk, and hands it over unless it follows a gap.
    fn play(&mut self) -> Result<(), Error> {
        let chunk = self.play.next_chunk();
        if self.has_gap && !chunk.has_checkpoint {
            self.refused += 1;
            return Ok(());
        }
        let taken = self.writer.append(chunk);
        self.has_gap = taken.is_err();
        self.refused += u32::from(self.has_gap);
        taken
    }

    fn play_all(&mut self, chunks: usize) {
        for _ in 0..chunks {
            self.play().unwrap();
        }
    }

    fn until(&mut self, tick: u32) {
        let reached = self.progress.wait_for(|progress| progress.durable_tick >= tick);
        let reached = self.runtime.block_on(async { timeout(WAIT, reached).await.map(|_| ()) });
        reached.expect("the store keeps up");
    }

    fn until_written(&mut self) {
        self.until(self.play.tick());
    }

    fn end(&mut self) {
        self.writer.append(self.play.last_chunk(EndReason::RoomOver)).unwrap();
        self.until_written();
    }
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..WAIT.as_millis() / 20 {
        if is_so() {
            return;
        }
        pause();
    }
    panic!("never: {what}");
}

fn read(store: &dyn Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read(&name(), 0).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// All ticks are there, once, from the first on.
fn whole(store: &dyn Store) -> Report {
    let bytes = read(store);
    let report = verified(bytes.as_slice());
    assert_eq!(ticks(&records(bytes.as_slice())), (1..=report.last_tick).collect::<Vec<_>>());
    assert_eq!((&report.verdict, report.gaps), (&SAME, 0));
    report
}

#[test]
fn nothing_is_lost_while_nats_stands_still() {
    let Some(nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    let store = nats::open(&runtime, nats.port(), nats::options());
    let mut room = Room::open(&runtime, &store, 1);
    room.play_all(10);
    room.until_written();
    nats.freeze();
    room.play_all(50);
    // It noticed that there is no answer.
    eventually("an error", || store.counts().disk_errors > 0);
    room.play_all(50);
    nats.thaw();
    room.until_written();
    room.play_all(10);
    room.end();
    let report = whole(&store);
    assert_eq!((report.last_tick, report.end), (room.play.tick(), Some(EndReason::RoomOver)));
    assert_eq!((store.counts().chunks_lost, room.refused), (0, 0));
    store.close().unwrap();
}

#[test]
fn nothing_is_lost_when_nats_is_killed_and_started_again() {
    let Some(mut nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    let store = nats::open(&runtime, nats.port(), nats::options());
    let mut room = Room::open(&runtime, &store, 1);
    for _ in 0..3 {
        room.play_all(20);
        nats.kill();
        room.play_all(20);
        nats.start_again();
        room.until_written();
    }
    room.end();
    assert_eq!(whole(&store).last_tick, room.play.tick());
    assert_eq!((store.counts().chunks_lost, room.refused), (0, 0));
    store.close().unwrap();
}

#[test]
fn a_log_whose_stream_was_wiped_goes_on_from_the_next_checkpoint() {
    let Some(mut nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    let store = nats::open(&runtime, nats.port(), nats::options());
    let mut room = Room::open(&runtime, &store, 1);
    room.play_all(10);
    room.until_written();
    nats.kill();
    nats.wipe();
    nats.start_again();
    let wiped_at = room.play.tick();
    goes_on(&mut room, wiped_at);
    room.end();

    let report = verified(read(&store).as_slice());
    assert_eq!((&report.verdict, report.gaps), (&SAME, 0));
    assert_eq!((report.last_tick, report.end), (room.play.tick(), Some(EndReason::RoomOver)));
    let found = store.find(&name()).unwrap();
    assert!(found.header.first_tick > wiped_at, "{}", found.header.first_tick);
    assert_eq!(report.ticks, report.last_tick - found.header.first_tick + 1);
    assert!(store.counts().chunks_lost > 0);
    store.close().unwrap();
}

/// Plays until what came after this tick is there.
fn goes_on(room: &mut Room<'_>, tick: u32) {
    for _ in 0..WAIT.as_millis() / 20 {
        let _ = room.play();
        pause();
        let reached = room.progress.borrow().last_tick;
        if reached > tick && !room.has_gap {
            return;
        }
    }
    panic!("the log does not go on");
}

#[test]
fn a_log_that_was_let_go_whole_goes_on_from_the_next_checkpoint() {
    let Some(nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    let options = Options { retention_age: Duration::from_secs(1), ..nats::options() };
    let store = nats::open(&runtime, nats.port(), options);
    let mut room = Room::open(&runtime, &store, 1);
    // The last of it is no checkpoint's. On a machine with much to do, a part of it may be gone before the rest is there.
    room.play_all(10);
    room.until(1);
    eventually("it is too old", || matches!(store.find(&name()), Err(Error::NotFound)));
    assert_eq!(store.list().unwrap(), []);
    assert!(matches!(store.read(&name(), 0), Err(Error::NotFound)));
    let tick = room.play.tick();
    goes_on(&mut room, tick);
    assert!(store.counts().chunks_lost > 0);
    store.close().unwrap();
}

#[test]
fn the_later_owner_of_two_writes_and_the_earlier_learns_of_it() {
    let Some(nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    let [first, second, third] =
        std::array::from_fn(|_| nats::open(&runtime, nats.port(), nats::options()));
    let mut old = Room::open(&runtime, &first, 3);
    old.play_all(6);
    old.until_written();
    assert!(second.find(&name()).unwrap().is_running, "on another server");

    let mut new = Room::open(&runtime, &second, 4);
    // It looks where the log ends before the old one goes on: most likely, and what comes is the same in any case.
    (0..10).for_each(|_| pause());
    // Until the new one writes, the old one is as good as it.
    old.play_all(2);
    old.until_written();
    let last_tick = old.play.tick();
    new.play.next_chunk();
    new.play.begin_anew();
    new.play_all(10);
    new.until_written();
    let refused = (0..2000).find_map(|_| {
        pause();
        old.play().err()
    });
    assert!(matches!(refused, Some(Error::Fenced(4))), "{refused:?}");

    // Whoever comes too late is refused: at once, or, where it may not wait, when it was asked.
    let refused = third.writer(header(ROOM, 3, 5)).map(|_| ());
    assert!(matches!(refused, Err(Error::Fenced(4))), "{refused:?}");
    let mut late = runtime.block_on(async { third.writer(header(ROOM, 2, 5)) }).unwrap();
    let mut play = Play::new(1, 4, RHYTHM);
    let mut refused = late.append(play.next_chunk());
    for _ in 0..2000 {
        if refused.is_err() {
            break;
        }
        pause();
        refused = late.append(play.next_chunk());
    }
    assert!(matches!(refused, Err(Error::Fenced(4))), "{refused:?}");

    new.play_all(3);
    new.end();
    let bytes = read(&first);
    let report = verified(bytes.as_slice());
    assert_eq!((&report.verdict, report.last_tick), (&SAME, new.play.tick()));
    let all = records(bytes.as_slice());
    let epochs: Vec<_> = all.iter().filter_map(epoch).collect();
    assert!(epochs.is_sorted() && epochs.first() == Some(&3) && epochs.last() == Some(&4));
    // All that the old one had was there before the new one's first tick.
    let new_begins = all.iter().position(|record| epoch(record) == Some(4)).unwrap();
    assert_eq!(ticks(&all[..new_begins]), (1..=last_tick).collect::<Vec<_>>());
    assert_eq!(ticks(&all[new_begins..]), (6..=new.play.tick()).collect::<Vec<_>>());
    // Who reads from a tick that both have gets what became of it.
    let Record::Header(begin) = &records(first.read(&name(), 30).unwrap())[0] else { panic!() };
    assert_eq!((begin.epoch, begin.first_tick), (4, 21));
    assert!(!first.find(&name()).unwrap().is_running);
    for store in [first, second, third] {
        store.close().unwrap();
    }
}

fn epoch(record: &Record) -> Option<u64> {
    if let Record::Header(header) = record { Some(header.epoch) } else { None }
}

#[test]
fn what_was_taken_but_not_acknowledged_is_there_once() {
    let Some(nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    let proxy = Proxy::new(nats.port());
    let store = nats::open(&runtime, proxy.port(), nats::options());
    let direct = nats::open(&runtime, nats.port(), nats::options());
    let mut room = Room::open(&runtime, &store, 1);
    for round in 0..4 {
        room.play_all(3);
        room.until_written();
        let known = room.play.tick();
        proxy.swallow();
        // JetStream takes it, and nobody here hears of it.
        room.play_all(1);
        let taken = room.play.tick();
        eventually("taken", || direct.find(&name()).is_ok_and(|found| found.last_tick == taken));
        assert_eq!(room.progress.borrow().durable_tick, known, "nothing is assumed");
        // With and without something that waits behind it.
        room.play_all(round);
        proxy.cut();
        room.until_written();
    }
    room.end();
    assert_eq!(whole(&direct).last_tick, room.play.tick());
    assert!(store.counts().disk_errors > 0, "an answer was missing");
    assert_eq!((store.counts().chunks_lost, room.refused), (0, 0));
    store.close().unwrap();
}

#[test]
fn a_store_that_is_full_refuses_and_goes_on_from_a_checkpoint() {
    let Some(nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    let store = nats::open(&runtime, nats.port(), nats::options());
    let mut room = Room::open(&runtime, &store, 1);
    room.play_all(10);
    room.until_written();
    nats.freeze();
    let mut taken = 0;
    while room.play().is_ok() {
        taken += 1;
    }
    // One message more is on its way.
    assert!((ROOM_CHUNKS_MAX..ROOM_CHUNKS_MAX + 16).contains(&taken), "{taken}");
    let full_at = room.play.tick();
    for _ in 0..50 {
        let _ = room.play();
    }
    nats.thaw();
    goes_on(&mut room, full_at);
    room.until_written();
    room.end();
    let report = verified(read(&store).as_slice());
    assert_eq!((&report.verdict, report.gaps), (&SAME, 1));
    assert_eq!((report.last_tick, store.counts().chunks_lost), (room.play.tick(), 0));
    // What was taken is there: all ticks but those that were refused.
    assert_eq!(report.ticks, report.last_tick - room.refused * RHYTHM.chunk);
    store.close().unwrap();
}

#[test]
fn all_rooms_together_have_a_bound_of_bytes() {
    const BIG: usize = 4 << 20;
    let Some(nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    let store = nats::open(&runtime, nats.port(), nats::options());
    nats.freeze();
    let chunk = || Chunk {
        records: vec![0; BIG].into(),
        has_checkpoint: true,
        first_tick: 1,
        last_tick: 1,
        has_end: false,
    };
    let mut taken = 0;
    let mut writers = Vec::new();
    for room in 0..2 * QUEUE_BYTES_MAX / BIG {
        // On a runtime's thread, where it does not ask.
        let header = header(&format!("room{room}"), 1, 5);
        let mut writer = runtime.block_on(async { store.writer(header) }).unwrap();
        taken += usize::from(writer.append(chunk()).is_ok());
        writers.push(writer);
    }
    assert_eq!(taken, QUEUE_BYTES_MAX / BIG);
    drop(writers);
    nats.thaw();
}

/// A chunk with a checkpoint of so many bytes that cannot be packed.
fn big_chunk(tick: u32, bytes: usize) -> (Vec<u8>, Chunk) {
    let mut dice = Dice(u64::from(tick) + 1);
    let state: Vec<u8> = (0..bytes).map(|_| dice.roll(256) as u8).collect();
    let mut records = BytesMut::new();
    Checkpoint::put(tick, 0, &state, &mut records);
    let mut draft = TickDraft::default();
    for tick in tick + 1..=tick + 10 {
        draft.finish(tick, None, false, &mut records);
    }
    let chunk = Chunk {
        records: records.freeze(),
        has_checkpoint: true,
        first_tick: tick + 1,
        last_tick: tick + 10,
        has_end: false,
    };
    (state, chunk)
}

#[test]
fn a_chunk_larger_than_a_message_comes_in_parts() {
    let Some(nats) = Nats::start_with("max_payload: 16384") else { return };
    let runtime = nats::runtime();
    let retention_bytes = 1_000_000;
    let options = Options { retention_bytes, ..nats::options() };
    let store = nats::open(&runtime, nats.port(), options);
    let mut writer = store.writer(header(ROOM, 1, 5)).unwrap();
    let mut progress = store.progress(&name()).unwrap();
    let mut states = Vec::new();
    for tick in (0..100).step_by(10) {
        let (state, chunk) = big_chunk(tick, 300_000);
        writer.append(chunk).unwrap();
        let reached = progress.wait_for(|progress| progress.last_tick == tick + 10);
        runtime.block_on(async { timeout(WAIT, reached).await.map(|_| ()) }).unwrap();
        states.push(state);
        // Of what was begun to be let go nothing is shown; three are whole.
        let first_tick = tick.saturating_sub(20) + 1;
        let found = store.find(&name()).unwrap();
        assert_eq!((found.header.first_tick, found.last_tick), (first_tick, tick + 10));
        let all = records(read(&store).as_slice());
        assert_eq!(ticks(&all), (first_tick..=tick + 10).collect::<Vec<_>>());
        for record in all {
            if let Record::Checkpoint(checkpoint) = record {
                assert_eq!(checkpoint.state, states[checkpoint.tick as usize / 10]);
            }
        }
    }
    // An incident is kept in parts, too.
    let incident = Name::parse("one-x").unwrap();
    let what = "something".to_owned();
    writer.keep(Incident { name: incident.clone(), what, from_tick: 95 }).unwrap();
    // Its first part may be there before the others.
    let kept = || store.read(&incident, 0).map(records).unwrap_or_default();
    eventually("it is kept", || !ticks(&kept()).is_empty());
    assert_eq!(ticks(&kept()), (91..=100).collect::<Vec<_>>());
    drop(writer);
    store.close().unwrap();
    assert_eq!(store.counts().chunks_lost, 0);
}

#[test]
fn who_reads_more_slowly_than_is_let_go_is_told() {
    let Some(nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    let options = Options { retention_bytes: 64 * 1024, ..nats::options() };
    let store = nats::open(&runtime, nats.port(), options);
    let mut room = Room::open(&runtime, &store, 1);
    for _ in 0..30 {
        room.play_all(1);
        room.until_written();
    }
    let mut slow = Reader::new(store.read(&name(), 0).unwrap());
    while slow.next_record().unwrap().is_some() {}
    // It is in the middle of a segment when all that follows goes.
    for _ in 0..600 {
        room.play_all(1);
        room.until_written();
    }
    assert!(store.find(&name()).unwrap().header.first_tick > 150 + 20);
    let mut ticks = Vec::new();
    let end = loop {
        match slow.next_record() {
            Ok(Some(Record::Tick(tick))) => ticks.push(tick.tick),
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    // Either it is told that something is missing, or the next that is there begins a segment: then a gap is seen.
    match end {
        Ok(_) => assert!(ticks.first().is_some_and(|first| *first > 151)),
        Err(error) => assert!(error.to_string().contains("let go meanwhile"), "{error}"),
    }
    assert!(!ticks.contains(&151));
    store.close().unwrap();
}

#[test]
fn what_cannot_be_a_stream_is_refused() {
    let runtime = nats::runtime();
    for prefix in ["", "a.b", "*", "a b"] {
        // Nobody is there, and nobody is asked.
        let client = nats::connect(&runtime, 1);
        let options = Options { prefix: prefix.into(), ..nats::options() };
        let store = JetStreamStore::open(client, options, runtime.handle().clone());
        assert!(matches!(store.map(|_| ()), Err(Error::BadName(_))), "{prefix:?}");
    }
}

#[test]
fn without_nats_a_store_says_so_and_closes() {
    let runtime = nats::runtime();
    let options = Options {
        answer_timeout: Duration::from_millis(200),
        close_timeout: Duration::from_millis(200),
        ..nats::options()
    };
    let store = nats::open(&runtime, 1, options);
    assert!(matches!(store.list(), Err(Error::Io(_))));
    assert!(matches!(store.find(&name()), Err(Error::Io(_))));
    assert!(matches!(store.read(&name(), 0).map(|_| ()), Err(Error::Io(_))));
    // The room plays on, and its log waits.
    let mut writer = store.writer(header(ROOM, 1, 5)).unwrap();
    writer.append(Play::new(1, 4, RHYTHM).next_chunk()).unwrap();
    assert!(matches!(store.close(), Err(Error::Io(_))), "it is not written");
    assert_eq!(store.counts().chunks_lost, 1);
    assert!(writer.append(Play::new(1, 4, RHYTHM).next_chunk()).is_err());
}

/// What a process has used, in s.
fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // Of user and system, in hundredths.
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// What a room of 32 players hands over: 10 ticks with three moves of each player a second.
fn load_chunk(first_tick: u32) -> Chunk {
    use fray_server::store::InputRef;
    let mut records = BytesMut::new();
    let has_checkpoint = (first_tick - 1).is_multiple_of(200);
    if has_checkpoint {
        let state: Vec<u8> = (0..20_000_u32).map(|n| ((n * n) >> 7) as u8).collect();
        Checkpoint::put(first_tick - 1, 0, &state, &mut records);
    }
    let mut draft = TickDraft::default();
    for tick in first_tick..first_tick + 10 {
        for player in 1..=32 {
            let controls = fray_server::game::Controls::default();
            draft.input(InputRef::Controls(player, &controls));
        }
        draft.finish(tick, None, false, &mut records);
    }
    let last_tick = first_tick + 9;
    Chunk { records: records.freeze(), has_checkpoint, first_tick, last_tick, has_end: false }
}

#[test]
#[ignore = "a measurement: cargo test --release -p fray-server --test store_jetstream -- --ignored --nocapture"]
fn load_of_sixty_rooms() {
    const ROOMS: usize = 60;
    let Some(nats) = Nats::start() else { return };
    let runtime = nats::runtime();
    for (every, lasts) in [(Some(Duration::from_millis(500)), 20), (None, 10)] {
        let store = nats::open(&runtime, nats.port(), nats::options());
        let before = (cpu_s(std::process::id()), cpu_s(nats.pid()));
        let began = tokio::time::Instant::now();
        let rooms: Vec<_> = (0..ROOMS)
            .map(|room| {
                let room = format!("load{room}-{lasts}");
                let writer = store.writer(header(&room, 1, 5)).unwrap();
                (writer, store.progress(&Name::parse(&room).unwrap()).unwrap())
            })
            .collect();
        let mut times = runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for (index, (mut writer, mut progress)) in rooms.into_iter().enumerate() {
                tasks.spawn(async move {
                    let phase = Duration::from_millis(500 * index as u64 / ROOMS as u64);
                    tokio::time::sleep(phase).await;
                    let mut times = Vec::new();
                    let mut tick = 1;
                    while began.elapsed() < Duration::from_secs(lasts) {
                        let chunk = load_chunk(tick);
                        let last_tick = chunk.last_tick;
                        let at = tokio::time::Instant::now();
                        writer.append(chunk).unwrap();
                        progress.wait_for(|p| p.last_tick >= last_tick).await.unwrap();
                        times.push(at.elapsed());
                        tick += 10;
                        if let Some(every) = every {
                            tokio::time::sleep_until(at + every).await;
                        }
                    }
                    times
                });
            }
            tasks.join_all().await.concat()
        });
        let took = began.elapsed().as_secs_f64();
        times.sort_unstable();
        let part = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1000.0;
        let own = (cpu_s(std::process::id()) - before.0) / took * 100.0;
        let theirs = (cpu_s(nats.pid()) - before.1) / took * 100.0;
        println!(
            "{ROOMS} rooms, {}: {:.0} appends/s of {} bytes, ack p50 {:.2} ms, p99 {:.2} ms, CPU {own:.1} % here, {theirs:.1} % NATS",
            every.map_or("as fast as it goes".into(), |every| format!("every {every:?}")),
            times.len() as f64 / took,
            load_chunk(11).records.len(),
            part(50),
            part(99),
        );
        store.close().unwrap();
    }
}
