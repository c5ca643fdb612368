//! A room that is restored from its log is the room that wrote it: the same game, the same sessions, the same moves acknowledged.
//!
//! To see them fail: in `replay/restoring.rs`, count no refused moves; forget the grace period; keep the sessions of the first
//! record; go on after a hash that differs.

mod support;

use fray_server::game::arena::Arena;
use fray_server::game::{Controls, GameFactory, Profile, Steering};
use fray_server::replay::restoring::{NotRestored, Restored, play, read};
use fray_server::room::handle::{Attached, Claim, MOVES_WAITING_MAX, Move};
use fray_server::room::registry::{NewRoom, Recording};
use fray_server::room::{Arrival, Handle, Outcome, Registry, RoomId, Settings, Who};
use fray_server::store::sessions::Presence;
use fray_server::store::{
    Checkpoint, End, EndReason, FileStore, MemoryStore, Name, Reader, Record, Sessions, Store,
    TickDraft, file,
};
use fray_server::telemetry::Telemetry;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const TICK_RATE_HZ: u32 = 20;

fn settings(chunk_every: Duration) -> Settings {
    Settings {
        tick_rate_hz: TICK_RATE_HZ,
        grace: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(3),
        reservation: Duration::from_secs(2),
        empty_ttl: Duration::from_secs(3600),
        catch_up_ticks_max: 4,
        checkpoint_every: Duration::from_secs(2),
        chunk_every,
        incident_lateness: Duration::from_secs(10),
    }
}

/// Both axes, buttons, a target, a payload.
type Wish = (i32, i32, u32, Option<u32>, Vec<u8>);

#[derive(Clone, Debug)]
enum Deed {
    Reserve(u8),
    /// By ticket, whether somebody is there or not.
    Come(u8),
    /// By token.
    ComeBack(u8),
    Move(u8, Vec<Wish>),
    Drop(u8),
    Leave(u8),
    Kick(u8),
    /// So many ticks; then what the log says is compared with what is.
    Wait(u32),
}

fn deed() -> impl Strategy<Value = Deed> {
    let player = 0_u8..6;
    let controls = (
        -100..=100_i32,
        -100..=100_i32,
        0_u32..4,
        any::<Option<u32>>(),
        // A game that does not know it refuses the move.
        prop::collection::vec(any::<u8>(), 0..3),
    );
    prop_oneof![
        2 => player.clone().prop_map(Deed::Reserve),
        4 => player.clone().prop_map(Deed::Come),
        1 => player.clone().prop_map(Deed::ComeBack),
        8 => (player.clone(), prop::collection::vec(controls, 1..12))
            .prop_map(|(player, moves)| Deed::Move(player, moves)),
        2 => player.clone().prop_map(Deed::Drop),
        1 => player.clone().prop_map(Deed::Leave),
        1 => player.prop_map(Deed::Kick),
        8 => (1_u32..50).prop_map(Deed::Wait),
    ]
}

fn registry(store: &MemoryStore, chunk_every: Duration) -> Registry {
    let recording =
        Recording { store: Arc::new(store.clone()), server: "test".into(), is_on: true };
    let games: Vec<Arc<dyn GameFactory>> = vec![Arc::new(Arena::default())];
    let telemetry = Telemetry::default();
    Registry::new(games, settings(chunk_every), 4, 5, Some(7), recording, &telemetry)
}

fn name() -> Name {
    Name::parse("abc").expect("a name")
}

fn open(rooms: &Registry) -> Handle {
    let id = RoomId::parse("abc").expect("an id");
    rooms.open(rooms.draft(NewRoom::default(), id)).expect("opened")
}

fn token_of(player: u8) -> [u8; 32] {
    [player + 1; 32]
}

fn restore(store: &MemoryStore) -> Result<Restored, NotRestored> {
    let log = store.read(&name(), u32::MAX).expect("a log");
    let remains = read(log, |_| false)?;
    Ok(play(&remains, &Arena::default(), TICK_RATE_HZ)?)
}

struct Play {
    store: MemoryStore,
    rooms: Registry,
    room: Handle,
    streams: BTreeMap<u8, (Attached, u32)>,
    /// Everything is in the log after each tick.
    writes_each_tick: bool,
    compared: u32,
}

impl Play {
    fn new(chunk_every: Duration) -> Self {
        let store = MemoryStore::new(1 << 30);
        let rooms = registry(&store, chunk_every);
        let room = open(&rooms);
        Self {
            store,
            rooms,
            room,
            streams: BTreeMap::new(),
            writes_each_tick: chunk_every.is_zero(),
            compared: 0,
        }
    }

    async fn come(&mut self, player: u8, claim: Claim) {
        if let Ok(attached) = self.room.attach(claim).await {
            let next = attached.ack.input_ack + 1;
            self.streams.insert(player, (attached, next));
        }
    }

    async fn take(&mut self, deed: &Deed) {
        let (id, profile) = (
            |player: &u8| format!("p{player}"),
            |player: &u8| Profile { name: format!("n{player}"), hue: 7 },
        );
        match deed {
            Deed::Reserve(player) => {
                let _ = self.room.reserve(id(player), profile(player)).await;
            }
            Deed::Come(player) => {
                let _ = self.room.reserve(id(player), profile(player)).await;
                let token_hash = token_of(*player);
                self.come(*player, Claim::Ticket { player_id: id(player), token_hash }).await;
            }
            Deed::ComeBack(player) => self.come(*player, Claim::Token(token_of(*player))).await,
            Deed::Move(player, moves) => {
                let Some((attached, next)) = self.streams.get_mut(player) else { return };
                let frame = Arc::clone(&self.room.frames().borrow());
                let applied = frame.player(attached.player).map_or(0, |shown| shown.ack.input_ack);
                for (axis_x, axis_y, buttons, target, payload) in moves {
                    let steering =
                        Steering { axis_x: *axis_x, axis_y: *axis_y, ..Steering::default() };
                    let payload = payload.as_slice().into();
                    let controls =
                        Controls { steering, buttons: *buttons, target: *target, payload };
                    let sequence = *next;
                    let arrived = Instant::now();
                    let sent = Move { sequence, controls, arrived, trace: None };
                    // As a stream does, it keeps within what may wait.
                    if sequence <= applied.saturating_add(MOVES_WAITING_MAX as u32) {
                        attached.attachment.enqueue(sent);
                        *next += 1;
                    }
                }
            }
            Deed::Drop(player) => drop(self.streams.remove(player)),
            Deed::Leave(player) => {
                if let Some((attached, _)) = self.streams.get(player) {
                    attached.attachment.close();
                }
            }
            Deed::Kick(player) => {
                let _ = self.room.kick(Who::Id(id(player))).await;
            }
            Deed::Wait(ticks) => {
                self.wait(*ticks).await;
                if self.writes_each_tick {
                    self.compare().await;
                }
            }
        }
    }

    async fn wait(&mut self, ticks: u32) {
        let mut frames = self.room.frames();
        frames.mark_unchanged();
        for _ in 0..ticks {
            frames.changed().await.expect("it plays");
            let tick = frames.borrow().tick;
            // One who does not look is given up in time.
            for (attached, _) in
                self.streams.iter().filter(|(player, _)| **player != 5).map(|s| s.1)
            {
                attached.attachment.look_at(tick);
            }
        }
    }

    async fn compare(&mut self) {
        let departure = self.room.depart().await.expect("it stands still");
        let mut live = self.rooms.parse(&departure.bytes).expect("a room");
        let restored = restore(&self.store).expect("restored");
        let (tick, live_hash) = (departure.tick, live.game.state_hash());
        departure.conclude(Outcome::Stays);
        assert_eq!((restored.tick, restored.read_tick), (tick, tick));
        assert_eq!(restored.game.state_hash(), live_hash);
        // Nobody has come in since the tick, but numbers that were only reserved may be given again.
        live.sessions.next_player = restored.sessions.next_player;
        assert_eq!(restored.sessions, live.sessions);
        assert_eq!(restored.header.room, "abc");
        self.compared += 1;
    }
}

fn virtual_time<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(run)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_room_from_its_log_is_the_room_that_wrote_it(deeds in prop::collection::vec(deed(), 1..80)) {
        virtual_time(async {
            let mut play = Play::new(Duration::ZERO);
            for deed in &deeds {
                play.take(deed).await;
            }
            play.wait(1).await;
            play.compare().await;
        });
    }
}

/// Some play that has all in it that a log can hold.
async fn played(chunk_every: Duration) -> Play {
    let mut play = Play::new(chunk_every);
    let moves = |count: i32| (0..count).map(|i| (i, 100 - i, 1, None, Vec::new())).collect();
    let deeds = [
        Deed::Come(0),
        Deed::Come(1),
        Deed::Come(2),
        Deed::Wait(15),
        Deed::Move(0, moves(20)),
        Deed::Move(1, vec![(1, 2, 0, Some(9), vec![1, 2]), (3, 4, 1, None, Vec::new())]),
        Deed::Wait(40),
        Deed::Drop(2),
        Deed::Move(0, moves(7)),
        Deed::Wait(17),
    ];
    for deed in &deeds {
        play.take(deed).await;
    }
    assert_eq!(play.compared, if play.writes_each_tick { 3 } else { 0 });
    play
}

fn bytes(store: &MemoryStore) -> Vec<u8> {
    let mut all = Vec::new();
    store.read(&name(), 0).expect("a log").read_to_end(&mut all).expect("read");
    all
}

fn from_bytes(bytes: &[u8]) -> Result<Restored, NotRestored> {
    Ok(play(&read(bytes, |_| false)?, &Arena::default(), TICK_RATE_HZ)?)
}

#[test]
fn wherever_a_log_is_cut_off_the_room_goes_on_from_the_last_whole_tick_and_never_from_another_state()
 {
    virtual_time(async {
        let play = played(Duration::ZERO).await;
        let all = bytes(&play.store);
        let mut states = BTreeMap::new();
        let mut last = None;
        let mut restored_from = 0;
        // What a cut in the middle of a record leaves is the same as one before it.
        let mut ends = vec![];
        let mut reader = Reader::new(all.as_slice());
        while reader.next_record().expect("sound").is_some() {
            ends.push(usize::try_from(reader.offset()).expect("small"));
        }
        for end in ends {
            for cut in [end, (end + 3).min(all.len())] {
                match from_bytes(&all[..cut]) {
                    Ok(restored) => {
                        let state = (restored.game.state_hash(), restored.sessions.clone());
                        let before = states.entry(restored.tick).or_insert_with(|| state.clone());
                        // Sessions are written after their tick: before, somebody new is a stranger.
                        assert_eq!(before.0, state.0);
                        assert!(last <= Some(restored.tick), "it goes back at {cut}");
                        last = Some(restored.tick);
                        restored_from += 1;
                    }
                    Err(NotRestored::NoBeginning) => assert_eq!(last, None, "at {cut}"),
                    Err(other) => panic!("{other} at {cut}"),
                }
            }
        }
        assert!(restored_from > 100 && states.len() > 60, "{restored_from} {}", states.len());
    });
}

#[test]
fn damage_ends_the_log_before_it() {
    virtual_time(async {
        let play = played(Duration::ZERO).await;
        let mut all = bytes(&play.store);
        let whole = from_bytes(&all).expect("whole").tick;
        let at = all.len() - 40;
        all[at] ^= 1;
        let restored = from_bytes(&all).expect("up to the damage");
        assert!(restored.tick < whole && restored.tick + 10 > whole, "{}", restored.tick);
    });
}

#[test]
fn who_came_after_the_last_record_of_sessions_leaves_with_the_next_tick() {
    virtual_time(async {
        // Nothing is written of sessions but with checkpoints.
        let mut play = played(Duration::from_secs(1)).await;
        let log = bytes(&play.store);
        let mut reader = Reader::new(log.as_slice());
        let mut cut = 0;
        let mut is_joined = false;
        while let Some(record) = reader.next_record().expect("sound") {
            cut = usize::try_from(reader.offset()).expect("small");
            is_joined |= matches!(&record, Record::Tick(tick) if tick.inputs().count() > 0);
            if is_joined {
                break;
            }
        }
        let restored = from_bytes(&log[..cut]).expect("restored");
        let strangers = &restored.sessions.sessions;
        assert!(!strangers.is_empty());
        let tick = restored.tick;
        for stranger in strangers {
            assert_eq!(stranger.presence, Presence::Dropped { until_tick: tick });
            assert!(stranger.player_id.is_empty() && stranger.token_hash.is_none());
        }
        let next_player = restored.sessions.next_player;
        assert!(next_player > strangers.last().expect("one").player, "numbers are not used again");

        // In a room that goes on so, they are gone, and the log of it plays on as it was.
        play.rooms.close().await;
        let store = MemoryStore::new(1 << 30);
        let rooms = registry(&store, Duration::ZERO);
        let Restored { header, tick, game, sessions, .. } = restored;
        let room = rooms.adopt(Arrival {
            header,
            epoch: 2,
            tick,
            game,
            sessions,
            moves: Vec::new(),
            barred: Vec::new(),
            restored: Some(Duration::from_secs(3)),
            restorations: Vec::new(),
        });
        let room = room.expect("adopted");
        play.room = room.clone();
        room.frames().wait_for(|frame| frame.tick > tick + 2).await.expect("it plays");
        assert_eq!(room.occupants().await, Ok(Vec::new()));
        play.streams.clear();
        (play.store, play.rooms) = (store, rooms);
        play.wait(3).await;
        play.compare().await;
    });
}

/// A log of a few ticks in which nothing happens, whose hashes are right up to a tick.
fn log(ticks: u32, right_to: u32, end: Option<EndReason>) -> Vec<u8> {
    use fray_server::game::Setup;
    let factory = Arena::default();
    let mut game = factory.create(&Setup { seed: 3, tick_rate_hz: TICK_RATE_HZ, capacity: 4 });
    let mut out = bytes::BytesMut::new();
    let header = fray_server::store::Header {
        game: factory.name().into(),
        sim_version: factory.sim_version(),
        tick_rate_hz: TICK_RATE_HZ,
        room: "abc".into(),
        capacity: 4,
        epoch: 1,
        first_tick: 1,
        ..Default::default()
    };
    header.put(&mut out);
    Checkpoint::put(0, game.state_hash(), &game.checkpoint(), &mut out);
    Sessions::put(0, 1, std::iter::empty(), &mut out);
    let mut draft = TickDraft::default();
    for tick in 1..=ticks {
        game.step();
        let hash = game.state_hash() ^ u64::from(tick > right_to);
        draft.finish(tick, (tick % 5 == 0).then_some(hash), false, &mut out);
    }
    if let Some(reason) = end {
        End { tick: ticks, reason }.put(&mut out);
    }
    out.to_vec()
}

#[test]
fn where_it_does_not_come_out_the_same_the_room_goes_back_to_where_it_does() {
    let restored = from_bytes(&log(43, 43, None)).expect("sound");
    assert_eq!((restored.tick, restored.read_tick), (43, 43));
    let restored = from_bytes(&log(43, 22, None)).expect("sound up to a tick");
    assert_eq!((restored.tick, restored.read_tick), (20, 43));
    let restored = from_bytes(&log(43, 0, None)).expect("the checkpoint is sound");
    assert_eq!((restored.tick, restored.read_tick), (0, 43));
}

#[test]
fn a_room_that_was_over_does_not_come_back() {
    for reason in [EndReason::RoomOver, EndReason::ShutDown, EndReason::Panicked] {
        let Err(NotRestored::Over(why)) = from_bytes(&log(9, 9, Some(reason))) else {
            panic!("it comes back after {reason:?}");
        };
        assert_eq!(why, reason);
    }
    assert!(matches!(from_bytes(&[]), Err(NotRestored::NoBeginning)));
}

#[test]
fn a_later_owner_counts_and_what_an_earlier_one_had_after_it_does_not() {
    virtual_time(async {
        let mut play = played(Duration::ZERO).await;
        let restored = restore(&play.store).expect("restored");
        let from = restored.tick;
        play.wait(30).await;
        // The earlier owner has written on; the later one went back.
        let Restored { header, tick, game, sessions, .. } = restored;
        play.room.end(fray_server::room::Ending::Disowned).expect("told");
        play.rooms.close().await;
        let rooms = registry(&play.store, Duration::ZERO);
        let arrival = Arrival {
            header,
            epoch: 2,
            tick,
            game,
            sessions,
            moves: Vec::new(),
            barred: Vec::new(),
            restored: None,
            restorations: Vec::new(),
        };
        play.room = rooms.adopt(arrival).expect("adopted");
        play.rooms = rooms;
        play.streams.clear();
        play.wait(3).await;
        play.compare().await;
        let restored = restore(&play.store).expect("restored");
        assert!(restored.tick < from + 30 && restored.header.epoch == 2);
    });
}

/// A server alone with a folder; who was in its room comes back, or nobody does.
async fn started_again(end: impl AsyncFnOnce(&support::Net)) -> (usize, Option<(u64, u32, bool)>) {
    let folder = std::env::temp_dir().join(format!("fray-restart-{:016x}", rand::random::<u64>()));
    let store = || Arc::new(FileStore::open(&folder, file::Options::default()).expect("a store"));
    let token_hash = token_of(1);
    let first = store();
    let net = support::Net::sharing(&[], first.clone());
    let rooms = &net.parts.sessions().rooms;
    let room = open(rooms);
    room.reserve("p1".into(), Profile::default()).await.expect("a seat");
    let attached = room.attach(Claim::Ticket { player_id: "p1".into(), token_hash }).await;
    let mut frames = room.frames();
    frames.wait_for(|frame| frame.tick > 30).await.expect("it plays");
    let tick = frames.borrow().tick;
    end(&net).await;
    drop(attached);
    rooms.close().await;
    first.close().expect("closed");
    drop((first, net));

    let second = store();
    let net = support::Net::sharing(&[], second.clone());
    let sessions = net.parts.sessions();
    // As when it starts: no edge has seen it yet.
    net.parts.health().set_awaits_edges(true);
    let count = sessions.restore_own_rooms().await;
    let room = sessions.rooms.get(&room.info().id);
    let found = match &room {
        None => None,
        Some(room) => {
            assert_eq!(room.find(token_hash).await, Ok("p1".to_owned()));
            assert!(sessions.fleet.directory.room(&room.info().id).is_some());
            let info = room.info();
            Some((info.epoch, info.first_tick, info.first_tick > tick))
        }
    };
    sessions.rooms.close().await;
    second.close().expect("closed");
    drop(net);
    std::fs::remove_dir_all(&folder).expect("its folder");
    (count, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_alone_that_is_started_again_goes_on_with_the_rooms_that_it_left() {
    let (count, room) = started_again(async |net| net.parts.sessions().leave_rooms().await).await;
    let (epoch, first_tick, is_whole) = room.expect("it goes on");
    assert_eq!((count, epoch), (1, 2));
    assert!(is_whole, "{first_tick}");
    // As a crash does: what was gathered last is missing, and there is no end.
    let crash = async |net: &support::Net| {
        let room = net.parts.sessions().rooms.all().remove(0);
        room.end(fray_server::room::Ending::Disowned).expect("told");
        let mut frames = room.frames();
        while frames.changed().await.is_ok() {}
    };
    let (count, room) = started_again(crash).await;
    assert_eq!((count, room.expect("it goes on").0), (1, 2));
    // In order, without leaving them: they are over.
    assert_eq!(started_again(async |_| {}).await, (0, None));
}
