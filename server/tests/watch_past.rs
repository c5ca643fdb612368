//! Looking back: what `Watch` shows of a recording is what the game was, tick by tick, from any tick on and at any speed.
//!
//! The recorded game's state is known at every tick, so every update can be compared with the truth. Time is virtual, and
//! replays are played by whoever asks (a pool without threads), so nothing happens behind the clock's back.

mod support;

use fray_proto::replica::Replica;
use fray_proto::v1::WatchRequest;
use fray_server::replay::{Games, Simulation};
use fray_server::store::{Checkpoint, Chunk, EndReason, Header, MemoryStore, Name, Store};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use support::recorded::{Hooked, Recorded, State, factory, store_of};
use support::{Net, reason};
use tokio::time::Instant;
use tonic::{Code, Status};

const TICKS: u32 = 700;

static RECORDED: LazyLock<Recorded> = LazyLock::new(|| Recorded::finished("past", TICKS));

fn request(from_tick: u32) -> WatchRequest {
    WatchRequest { recording: "past".into(), from_tick, ..Default::default() }
}

fn net() -> Net {
    Net::with_recordings(store_of(&[&RECORDED]), 0)
}

fn is(status: &Status, code: Code, why: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (code, why), "{status:?}");
}

/// Everything that the replica holds is as it was, and nothing of what it should hold is missing.
fn assert_shows(replica: &Replica, state: &State) {
    let mut local = 0;
    for (cell, entities) in replica.cells() {
        let truth: Vec<_> = if cell == 0 {
            state.global.clone()
        } else {
            let is_here = |e: &&_| replica.world().cell_of(position(e)) == cell;
            state.local.iter().filter(is_here).cloned().collect()
        };
        assert_eq!(entities, truth, "cell {cell} at tick {}", replica.tick());
        local += if cell == 0 { 0 } else { entities.len() };
    }
    assert!(replica.cells().count() > 1, "something is in view");
    assert!(local <= state.local.len());
}

fn position(entity: &fray_server::game::Entity) -> [i32; 2] {
    entity.position
}

fn state(tick: u32) -> &'static State {
    &RECORDED.states[tick as usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn seeking_to_any_tick_gives_the_state_that_the_game_had(from in 1..=TICKS, more in 0..=TICKS) {
        let store = store_of(&[&RECORDED]);
        let name = Name::parse("past").expect("a name");
        let games: [Arc<dyn fray_server::game::GameFactory>; 1] = [Arc::new(factory())];
        let bytes = store.read(&name, from).expect("there");
        let mut simulation = Simulation::new(Games(&games), bytes);
        for tick in [from, (from + more).min(TICKS)] {
            simulation.seek(tick, || false).expect("sound");
            prop_assert_eq!(simulation.tick(), tick);
            let hash = simulation.game().expect("a game").state_hash();
            prop_assert_eq!(hash, state(tick).hash);
        }
    }

    #[test]
    fn a_still_shows_exactly_the_state_of_its_tick(tick in 1..=TICKS) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let mut watcher = net().watch(WatchRequest { still: true, ..request(tick) }).await.expect("opens");
            let update = watcher.update().await.expect("goes on").expect("an update");
            assert_eq!((update.tick, update.base_tick), (tick, Some(0)));
            assert_shows(&watcher.replica, state(tick));
            assert!(watcher.update().await.expect("ends well").is_none(), "only one");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_shows_every_tick_as_it_was_and_ends_well() {
    let net = net();
    let mut watcher = net.watch(request(0)).await.expect("opens");
    assert_eq!(watcher.welcome.tick_rate_hz, 20);
    assert_eq!(watcher.welcome.game, "arena");
    let room = watcher.welcome.room.clone().expect("a room");
    assert_eq!((room.room_id.as_str(), room.name.as_str()), ("past", "The past"));
    assert_eq!(watcher.welcome.resume_token, "");
    for tick in 1..=TICKS {
        let update = watcher.update().await.expect("goes on").expect("an update");
        assert_eq!(update.tick, tick);
        assert_eq!(update.base_tick, (tick == 1).then_some(0), "only the first is from nothing");
        assert_shows(&watcher.replica, state(tick));
    }
    assert!(watcher.update().await.expect("ends well").is_none());
    assert!(watcher.replica.checksums_checked() > 20);
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_as_fast_as_was_asked() {
    let net = net();
    for (speed_percent, ticks_per_update, ms_per_update) in [
        (0, 1, 50),
        (100, 1, 50),
        (25, 1, 200),
        (50, 1, 100),
        (150, 2, 66),
        (400, 4, 50),
        (1600, 16, 50),
    ] {
        let opened = Instant::now();
        let mut watcher =
            net.watch(WatchRequest { speed_percent, ..request(600) }).await.expect("opens");
        let mut ticks = Vec::new();
        while let Some(update) = watcher.update().await.expect("ends well") {
            assert_shows(&watcher.replica, state(update.tick));
            ticks.push(update.tick);
        }
        let took = opened.elapsed();
        assert_eq!(ticks.first(), Some(&600));
        assert_eq!(ticks.last(), Some(&TICKS));
        let spans: Vec<_> = ticks.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (last, others) = spans.split_last().expect("several");
        assert!(
            others.iter().all(|span| *span == ticks_per_update),
            "{speed_percent} %: {spans:?}"
        );
        assert!(*last <= ticks_per_update);
        // One more than there are updates: the end is found when more is asked for.
        let expected = Duration::from_millis(ms_per_update * spans.len() as u64);
        let slack = Duration::from_millis(2 * ms_per_update + spans.len() as u64 * 2);
        assert!(took >= expected && took <= expected + slack, "{speed_percent} %: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ticks_before_the_first_and_after_the_last_mean_those() {
    let net = net();
    for (from_tick, expected) in
        [(0, 1), (1, 1), (TICKS, TICKS), (TICKS + 1, TICKS), (u32::MAX, TICKS)]
    {
        let mut watcher =
            net.watch(WatchRequest { still: true, ..request(from_tick) }).await.expect("opens");
        assert_eq!(watcher.ticks().await.0, [expected]);
        let mut watcher = net.watch(request(from_tick)).await.expect("opens");
        let first = watcher.update().await.expect("goes on").expect("an update");
        assert_eq!(first.tick, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_player_can_be_followed() {
    let net = net();
    let (_, player) = RECORDED.joins[0];
    let mut watcher = net.watch(WatchRequest { player, ..request(400) }).await.expect("opens");
    let (ticks, end) = watcher.ticks().await;
    assert_eq!((ticks.len() as u32, end.is_ok()), (TICKS - 400 + 1, true));
    // Somebody who was never there: the game chooses.
    let still = WatchRequest { player: 9999, still: true, ..request(400) };
    let mut watcher = net.watch(still).await.expect("opens");
    watcher.update().await.expect("goes on").expect("an update");
    assert_shows(&watcher.replica, state(400));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_still_plays_is_followed_to_its_end() {
    let store = Arc::new(MemoryStore::new(64 << 20));
    let mut recorded = Recorded::new("past", 20);
    recorded.play(100);
    let mut writer = recorded.write(store.as_ref());
    let net = Net::with_recordings(store, 0);
    let mut watcher = net.watch(request(90)).await.expect("opens");
    for tick in 90..=100 {
        assert_eq!(watcher.update().await.expect("goes on").expect("an update").tick, tick);
    }
    for tick in (101..=300).step_by(20) {
        let early = tokio::time::timeout(Duration::from_secs(30), watcher.update()).await;
        assert!(early.is_err(), "nothing comes before it was played");
        let written = recorded.chunks.len();
        recorded.play(20);
        for chunk in &recorded.chunks[written..] {
            writer.append(chunk.clone()).expect("taken");
        }
        for tick in tick..tick + 20 {
            let update = watcher.update().await.expect("goes on").expect("an update");
            assert_eq!((update.tick, update.base_tick), (tick, None));
            assert_shows(&watcher.replica, &recorded.states[tick as usize]);
        }
    }
    recorded.end(EndReason::RoomOver);
    writer.append(recorded.chunks.last().expect("the end").clone()).expect("taken");
    drop(writer);
    assert!(watcher.update().await.expect("ends well").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_room_that_has_not_played_yet_is_waited_for() {
    let store = Arc::new(MemoryStore::new(64 << 20));
    let mut recorded = Recorded::new("past", 20);
    recorded.play(20);
    // Only the checkpoint that the log begins with.
    let mut writer = store.writer(recorded.header.clone()).expect("a writer");
    let mut records = bytes::BytesMut::new();
    let factory = factory();
    let setup =
        fray_server::game::Setup { seed: recorded.header.seed, tick_rate_hz: 20, capacity: 8 };
    let state = fray_server::game::GameFactory::create(&factory, &setup).checkpoint();
    Checkpoint::put(0, recorded.states[0].hash, &state, &mut records);
    let records = records.freeze();
    let begun =
        Chunk { records, has_checkpoint: true, first_tick: 1, last_tick: 0, has_end: false };
    writer.append(begun).expect("taken");
    let net = Net::with_recordings(store, 0);
    let mut watcher = net.watch(request(5)).await.expect("opens");
    let early = tokio::time::timeout(Duration::from_secs(30), watcher.update()).await;
    assert!(early.is_err(), "nothing was played yet");
    writer.append(recorded.chunks[0].clone()).expect("taken");
    for tick in 1..=20 {
        assert_eq!(watcher.update().await.expect("goes on").expect("an update").tick, tick);
        assert_shows(&watcher.replica, &recorded.states[tick as usize]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_on_where_ticks_are_missing_and_where_a_later_owner_went_back() {
    // By chunks of 20 ticks: 1 to 100, then from 201 in the same epoch, then the next owner from 101.
    let store = Arc::new(MemoryStore::new(64 << 20));
    for (epoch, parts) in [
        (1, [&RECORDED.chunks[..5], &RECORDED.chunks[10..12]]),
        (2, [&RECORDED.chunks[5..20], &[]]),
    ] {
        let mut writer =
            store.writer(Header { epoch, ..RECORDED.header.clone() }).expect("a writer");
        for chunk in parts.into_iter().flatten() {
            writer.append(chunk.clone()).expect("taken");
        }
    }
    let net = Net::with_recordings(store, 0);
    let played: Vec<u32> = (1..=100).chain(201..=240).chain(101..=400).collect();
    for speed_percent in [100, 700, 1600] {
        let asked = WatchRequest { speed_percent, ..request(0) };
        let mut watcher = net.watch(asked).await.expect("opens");
        let mut ticks = Vec::new();
        while let Some(update) = watcher.update().await.expect("ends well") {
            assert_shows(&watcher.replica, state(update.tick));
            ticks.push(update.tick);
        }
        assert_eq!(ticks.last(), Some(&400));
        if speed_percent == 100 {
            assert_eq!(ticks, played);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_writer_is_gone_ends_at_its_last_tick() {
    let store = Arc::new(MemoryStore::new(64 << 20));
    let mut recorded = Recorded::new("past", 20);
    recorded.play(110);
    let writer = recorded.write(store.as_ref());
    let net = Net::with_recordings(store, 0);
    let mut watcher = net.watch(request(110)).await.expect("opens");
    assert!(watcher.update().await.expect("goes on").is_some());
    drop(writer);
    assert!(watcher.update().await.expect("ends well").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_malformed_is_refused() {
    let net = net();
    for speed_percent in [1, 24, 1601, u32::MAX] {
        let refused = net.watch(WatchRequest { speed_percent, ..request(0) }).await.err();
        is(&refused.expect("refused"), Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    for name in ["../etc/passwd", "UPPER", "-", &"x".repeat(65)] {
        let wrong = WatchRequest { recording: name.into(), ..Default::default() };
        let refused = net.watch(wrong).await.err().expect("refused");
        is(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    let unknown = WatchRequest { recording: "nowhere".into(), ..Default::default() };
    let refused = net.watch(unknown).await.err().expect("refused");
    is(&refused, Code::NotFound, "RECORDING_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_private_rooms_past_needs_its_code() {
    let mut recorded = Recorded::new("den", 20);
    recorded.header.code = "ABCD2345".into();
    recorded.play(30);
    recorded.end(EndReason::RoomOver);
    let net = Net::with_recordings(store_of(&[&recorded]), 0);
    let asked = |code: &str, name: &str| WatchRequest {
        recording: name.into(),
        code: code.into(),
        ..Default::default()
    };
    let unknown = net.watch(asked("", "nowhere")).await.err().expect("refused");
    for code in ["", "ABCD2346"] {
        let refused = net.watch(asked(code, "den")).await.err().expect("refused");
        is(&refused, Code::NotFound, "RECORDING_NOT_FOUND");
        assert_eq!(refused.message(), unknown.message(), "it does not even say that there is one");
        assert_eq!(refused.details(), unknown.details());
    }
    let mut watcher = net.watch(asked("abcd2345", "den")).await.expect("opens");
    let room = watcher.welcome.room.clone().expect("a room");
    assert!(room.private && room.code.is_empty());
    assert_eq!(watcher.ticks().await.0.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn another_versions_recording_is_not_played() {
    let mut recorded = Recorded::finished("past", 30);
    recorded.header.sim_version += 1;
    let net = Net::with_recordings(store_of(&[&recorded]), 0);
    let refused = net.watch(request(0)).await.err().expect("refused");
    is(&refused, Code::FailedPrecondition, "SIM_VERSION_UNSUPPORTED");
}

/// A store whose recording has these records from this chunk on.
fn store_with_chunk(recorded: &Recorded, index: usize, bytes: &[u8]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new(64 << 20));
    let mut writer = store.writer(Header { ..recorded.header.clone() }).expect("a writer");
    for (at, chunk) in recorded.chunks.iter().enumerate() {
        let mut chunk = chunk.clone();
        if at == index {
            chunk.records = bytes.to_owned().into();
        }
        writer.append(chunk).expect("taken");
    }
    store
}

#[tokio::test(start_paused = true)]
async fn damage_ends_the_replay_after_the_last_sound_tick() {
    let mut bytes = RECORDED.chunks[3].records.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    let net = Net::with_recordings(store_with_chunk(&RECORDED, 3, &bytes), 0);
    let mut watcher = net.watch(request(0)).await.expect("opens");
    let (ticks, end) = watcher.ticks().await;
    let last = *ticks.last().expect("some");
    assert!((60..80).contains(&last), "{last}");
    assert_shows(&watcher.replica, state(last));
    is(&end.expect_err("damaged"), Code::DataLoss, "RECORDING_DAMAGED");
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_not_the_recorded_one_is_not_shown() {
    let mut recorded = Recorded::new("past", 20);
    recorded.lie_about_hash_of = Some(77);
    recorded.play(150);
    let net = Net::with_recordings(store_of(&[&recorded]), 0);
    let (ticks, end) = net.watch(request(0)).await.expect("opens").ticks().await;
    assert_eq!(ticks.last(), Some(&76));
    is(&end.expect_err("another"), Code::DataLoss, "RECORDING_DAMAGED");
}

#[tokio::test(start_paused = true)]
async fn a_game_that_panics_ends_the_replay_as_it_would_its_room() {
    let steps = AtomicU32::new(0);
    let bomb = Hooked(Arc::new(move || {
        assert!(steps.fetch_add(1, Ordering::Relaxed) < 30, "a bomb in a test");
    }));
    let net = Net::with_recordings_of(Arc::new(bomb), store_of(&[&RECORDED]), 0);
    let (ticks, end) = net.watch(request(0)).await.expect("opens").ticks().await;
    assert_eq!(ticks.last(), Some(&30));
    is(&end.expect_err("broken"), Code::Aborted, "ROOM_FAILED");
    let refused = net.watch(request(0)).await.err().expect("broken at once");
    is(&refused, Code::Aborted, "ROOM_FAILED");
}

#[tokio::test(start_paused = true)]
async fn no_more_replays_are_shown_at_once_than_the_server_takes() {
    let net = net();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(net.watch(request(0)).await.expect("opens"));
    }
    let refused = net.watch(request(0)).await.err().expect("one too many");
    is(&refused, Code::ResourceExhausted, "OVERLOADED");
    open.pop();
    // The server hears of it in its own time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    net.watch(request(0)).await.expect("opens");
}

#[tokio::test(start_paused = true)]
async fn replays_are_told_that_the_server_goes_away() {
    let mut recorded = Recorded::new("past", 20);
    recorded.play(100);
    // One in the middle, and one that waits for more.
    for from_tick in [1, 100] {
        let store = Arc::new(MemoryStore::new(64 << 20));
        let _runs = recorded.write(store.as_ref());
        let net = Net::with_recordings(store, 0);
        let mut watcher = net.watch(request(from_tick)).await.expect("opens");
        watcher.update().await.expect("goes on");
        tokio::time::sleep(Duration::from_millis(120)).await;
        net.parts.sessions().drain();
        let (_, end) = watcher.ticks().await;
        is(&end.expect_err("told"), Code::Unavailable, "SHUTTING_DOWN");
        let refused = net.watch(request(1)).await.err().expect("told");
        is(&refused, Code::Unavailable, "SHUTTING_DOWN");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_slows_its_replay_and_misses_nothing() {
    let net = net();
    let mut watcher =
        net.watch(WatchRequest { speed_percent: 1600, ..request(0) }).await.expect("opens");
    let mut ticks = Vec::new();
    while let Some(update) = watcher.update().await.expect("ends well") {
        assert_shows(&watcher.replica, state(update.tick));
        ticks.push(update.tick);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] <= 16), "{ticks:?}");
}
