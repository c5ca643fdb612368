//! What went wrong is kept: a late tick, a client's desync, a panic in the game's rules. Only the room that broke ends.

mod support;

use bytes::BytesMut;
use fray_proto::v1;
use fray_proto::v1::play_request::Message as Request;
use fray_server::game::arena::Arena;
use fray_server::game::{
    Controls, Game, GameFactory, Mark, Motions, Profile, Published, Refusal, RestoreError, Setup,
    View, WorldLimits,
};
use fray_server::replay::{Games, Report, Unanswered, Verdict, verify};
use fray_server::store::{
    Checkpoint, Chunk, EndReason, Header, Incident, InputRef, MemoryStore, Name, Reader, Store,
    Summary, TickDraft,
};
use rand_core::Rng as _;
use rand_pcg::Pcg32;
use std::sync::Arc;
use std::time::Duration;
use support::{Net, Player, reason};
use tonic::Code;

/// In a move: the rules panic when it is applied; or in the step after it.
const BREAKS_APPLY: u32 = 1 << 30;
const BREAKS_STEP: u32 = 1 << 31;
/// The rules panic when the time line's marks are taken, a player's view, or with a very long message.
const BREAKS_MARKS: u32 = 1 << 29;
const BREAKS_VIEW: u32 = 1 << 28;
const BREAKS_AT_LENGTH: u32 = 1 << 27;
/// Whoever comes by this name breaks the room.
const BREAKS_JOIN: &str = "breaker";

/// The arena with a fault.
struct Fragile;

struct FragileGame {
    inner: Box<dyn Game>,
    breaks: bool,
    breaks_marks: bool,
    breaks_view: bool,
}

impl FragileGame {
    fn around(inner: Box<dyn Game>) -> Box<dyn Game> {
        Box::new(Self { inner, breaks: false, breaks_marks: false, breaks_view: false })
    }
}

impl GameFactory for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn sim_version(&self) -> u32 {
        1
    }

    fn create(&self, setup: &Setup) -> Box<dyn Game> {
        FragileGame::around(Arena::default().create(setup))
    }

    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        Ok(FragileGame::around(Arena::default().restore(checkpoint)?))
    }
}

impl Game for FragileGame {
    fn world(&self) -> WorldLimits {
        self.inner.world()
    }

    fn motions(&self) -> Motions {
        self.inner.motions()
    }

    fn join(&mut self, player: u32, profile: &Profile) -> u32 {
        assert!(profile.name != BREAKS_JOIN, "somebody came who breaks rooms");
        self.inner.join(player, profile)
    }

    fn leave(&mut self, player: u32) {
        self.inner.leave(player);
    }

    fn set_connected(&mut self, player: u32, connected: bool) {
        self.inner.set_connected(player, connected);
    }

    fn apply(&mut self, player: u32, controls: &Controls) -> Result<(), Refusal> {
        assert!(controls.buttons & BREAKS_APPLY == 0, "this move breaks the room");
        let long = "so it does, ".repeat(500);
        assert!(controls.buttons & BREAKS_AT_LENGTH == 0, "this move breaks the room, {long}");
        self.breaks |= controls.buttons & BREAKS_STEP != 0;
        self.breaks_marks |= controls.buttons & BREAKS_MARKS != 0;
        self.breaks_view |= controls.buttons & BREAKS_VIEW != 0;
        self.inner.apply(player, controls)
    }

    fn step(&mut self) {
        assert!(!self.breaks, "this step breaks the room");
        self.inner.step();
    }

    fn publish(&self, out: &mut Published) {
        self.inner.publish(out);
    }

    fn marks(&self, out: &mut Vec<Mark>) {
        assert!(!self.breaks_marks, "these marks break the room");
        self.inner.marks(out);
    }

    fn view(&self, player: Option<u32>) -> View {
        assert!(!self.breaks_view || player.is_none(), "this view breaks the room");
        self.inner.view(player)
    }

    fn private(&self, player: u32, out: &mut Vec<i32>) {
        self.inner.private(player, out);
    }

    fn checkpoint(&self) -> Vec<u8> {
        self.inner.checkpoint()
    }
}

fn games() -> Vec<Arc<dyn GameFactory>> {
    vec![Arc::new(Fragile), Arc::new(Arena::default())]
}

/// The recordings that are not rooms.
fn incidents(net: &Net) -> Vec<Summary> {
    let all = net.parts.sessions().rooms.store().list().expect("a list");
    all.into_iter().filter(|recording| !recording.header.incident.is_empty()).collect()
}

fn replayed(net: &Net, name: &Name) -> Report {
    let from = net.parts.sessions().rooms.store().read(name, 0).expect("a recording");
    verify(Games(&games()), from, u32::MAX, || false).expect("an answer")
}

async fn play(player: &mut Player, ticks: u32) {
    let until = player.replica.tick() + ticks;
    player.until("time passes", |player| player.replica.tick() >= until).await;
}

async fn send(player: &mut Player, buttons: u32) {
    let sequence = player.sent.len() as u32 + 1;
    let message = v1::Move { sequence, buttons, ..Default::default() };
    player.sent.push(message.clone());
    player.raw.send(Request::Move(message)).await;
}

/// In a room of its own.
async fn alone(net: &Net, name: &str) -> Player {
    let create = v1::CreateRoom { name: format!("{name}'s"), ..Default::default() };
    let room = Some(v1::join_request::Room::Create(create));
    let request = v1::JoinRequest { player_name: name.into(), room, ..Default::default() };
    let ticket = net.lobby().await.join(request).await.expect("joined").into_inner().ticket;
    net.open(support::hello_with_ticket(&ticket)).await.expect("seated")
}

/// Both play in rooms of their own; one room breaks by a move with these buttons.
async fn a_panic_ends_its_room_alone(buttons: u32, words: &str) {
    let net = Net::with_game(&[], Arc::new(Fragile));
    let (mut unlucky, mut other) = (alone(&net, "unlucky").await, alone(&net, "other").await);
    play(&mut unlucky, 250).await;
    unlucky.steer(5, 5).await;
    send(&mut unlucky, buttons).await;
    let end = loop {
        match unlucky.update().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a room that broke does not end with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Aborted, "ROOM_FAILED"));
    play(&mut other, 100).await;
    other.steer(1, 1).await;
    other.until_all_is_acked().await;
    let metrics = &net.parts.sessions().metrics;
    assert_eq!((metrics.rooms_failed.get(), metrics.rooms.get()), (1, 1), "one is lost, one runs");

    let [incident] = &incidents(&net)[..] else { panic!("one incident is kept") };
    let room = unlucky.welcome.room.as_ref().expect("a room").room_id.clone();
    let name = incident.name.to_string();
    assert!(name.starts_with(&room) && name.ends_with("-panic"), "{name}");
    assert!(incident.header.incident.contains(words), "{}", incident.header.incident);
    for name in [&incident.name, &Name::parse(&room).expect("a name")] {
        let report = replayed(&net, name);
        let Verdict::Same { panicked: Some(message) } = &report.verdict else {
            panic!("the same panic again, not {report:?}");
        };
        assert!(message.contains(words), "{message}");
        assert_eq!(report.end, Some(EndReason::Panicked));
        assert!(report.last_tick > 240, "up to the tick before it broke: {report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_move_ends_its_room_alone_and_can_be_played_again() {
    a_panic_ends_its_room_alone(BREAKS_APPLY, "this move breaks").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_step_ends_its_room_alone_and_can_be_played_again() {
    a_panic_ends_its_room_alone(BREAKS_STEP, "this step breaks").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_beside_the_step_ends_its_room_alone_and_can_be_played_again() {
    a_panic_ends_its_room_alone(BREAKS_MARKS, "these marks break").await;
    a_panic_ends_its_room_alone(BREAKS_VIEW, "this view breaks").await;
}

#[tokio::test(start_paused = true)]
async fn however_long_a_panic_speaks_its_recording_is_kept() {
    a_panic_ends_its_room_alone(BREAKS_AT_LENGTH, "this move breaks").await;
}

#[tokio::test(start_paused = true)]
async fn an_incident_of_a_private_room_is_for_who_has_the_code() {
    let net = Net::new(&[]);
    let create = v1::CreateRoom { name: "den".into(), private: true, ..Default::default() };
    let room = Some(v1::join_request::Room::Create(create));
    let request = v1::JoinRequest { player_name: "quiet".into(), room, ..Default::default() };
    let joined = net.lobby().await.join(request).await.expect("joined").into_inner();
    let code = joined.room.expect("a room").code;
    let mut player = net.open(support::hello_with_ticket(&joined.ticket)).await.expect("seated");
    play(&mut player, 250).await;
    let reason = v1::resync::Reason::ChecksumMismatch.into();
    player.raw.send(Request::Resync(v1::Resync { reason, tick: 249, cell: None })).await;
    play(&mut player, 40).await;

    let [incident] = &incidents(&net)[..] else { panic!("one incident is kept") };
    let name = incident.name.to_string();
    let mut replays = net.replays().await;
    let listed = replays.list(v1::ReplaysListRequest::default()).await.expect("a list");
    assert_eq!(listed.into_inner().recordings, []);
    let ask = |code: &str| v1::TimelineRequest {
        name: name.clone(),
        code: code.into(),
        ..Default::default()
    };
    let refused = replays.timeline(ask("")).await.expect_err("without the code");
    assert_eq!(refused.code(), Code::NotFound);
    replays.timeline(ask(&code)).await.expect("with the code");
}

/// The smallest game that there can be, and chunks of its log.
fn chunk(first_tick: u32, noise: &[u8]) -> Chunk {
    let mut records = BytesMut::new();
    assert!(Checkpoint::put(first_tick - 1, 1, noise, &mut records));
    for tick in first_tick..first_tick + 10 {
        TickDraft::default().finish(tick, None, false, &mut records);
    }
    let records = records.freeze();
    Chunk { records, has_checkpoint: true, first_tick, last_tick: first_tick + 9, has_end: false }
}

#[test]
fn a_full_store_in_memory_keeps_its_incidents_and_lets_go_of_older_play() {
    let store = MemoryStore::new(200_000);
    let header =
        Header { room: "room".into(), tick_rate_hz: 20, first_tick: 1, ..Header::default() };
    let mut writer = store.writer(header).expect("a writer");
    let mut random = Pcg32::new(1, 1);
    let mut noise = [0; 5000];
    for turn in 0..60 {
        random.fill_bytes(&mut noise);
        writer.append(chunk(turn * 10 + 1, &noise)).expect("taken");
    }
    let name = Name::parse("room-600-panic").expect("a name");
    let incident = Incident { name: name.clone(), what: "it broke".into(), from_tick: 580 };
    writer.keep(incident).expect("kept");
    for turn in 60..120 {
        random.fill_bytes(&mut noise);
        writer.append(chunk(turn * 10 + 1, &noise)).expect("taken");
    }
    let kept = store.find(&name).expect("it is still there");
    assert!(kept.header.first_tick <= 581 && kept.last_tick == 600, "{kept:?}");
    let mut reader = Reader::new(store.read(&name, 0).expect("its bytes"));
    while reader.next_record().expect("a record").is_some() {}
    assert!(reader.is_complete());
    let bytes: u64 = store.list().expect("a list").iter().map(|log| log.size_bytes).sum();
    assert!(bytes <= 200_000, "{bytes}");
}

#[test]
fn a_hostile_tick_of_many_inputs_is_given_up_when_nobody_waits() {
    let game = Arena::default().create(&Setup { seed: 1, tick_rate_hz: 20, capacity: 64 });
    let mut file = BytesMut::new();
    let header = Header {
        game: "arena".into(),
        sim_version: 1,
        tick_rate_hz: 20,
        first_tick: 1,
        ..Header::default()
    };
    header.put(&mut file);
    Checkpoint::put(0, game.state_hash(), &game.checkpoint(), &mut file);
    let mut draft = TickDraft::default();
    for player in 1..=2000 {
        draft.input(InputRef::Join(player, &Profile::default()));
    }
    draft.finish(1, None, false, &mut file);
    let mut asked = 0;
    let stopped = verify(Games(&games()), file.as_ref(), u32::MAX, || {
        asked += 1;
        // Before the header, the checkpoint and the tick; then within the tick.
        asked > 4
    });
    assert!(matches!(stopped, Err(Unanswered::Stopped)), "{stopped:?}");
    assert_eq!(asked, 5);

    for _ in 0..1 << 18 {
        draft.input(InputRef::Leave(1));
    }
    file.clear();
    header.put(&mut file);
    Checkpoint::put(0, game.state_hash(), &game.checkpoint(), &mut file);
    draft.finish(1, None, false, &mut file);
    let report = verify(Games(&games()), file.as_ref(), u32::MAX, || false).expect("an answer");
    assert!(matches!(report.verdict, Verdict::Damaged { .. }), "no room has so many: {report:?}");
}

#[test]
fn ticks_at_the_end_of_all_numbers_are_damage() {
    let game = Arena::default().create(&Setup { seed: 1, tick_rate_hz: 20, capacity: 64 });
    let header = Header {
        game: "arena".into(),
        sim_version: 1,
        tick_rate_hz: 20,
        first_tick: u32::MAX,
        epoch: 1,
        ..Header::default()
    };
    let mut file = BytesMut::new();
    header.put(&mut file);
    Checkpoint::put(u32::MAX - 1, game.state_hash(), &game.checkpoint(), &mut file);
    TickDraft::default().finish(u32::MAX, None, false, &mut file);
    Header { epoch: 2, ..header }.put(&mut file);
    let report = verify(Games(&games()), file.as_ref(), u32::MAX, || false).expect("an answer");
    assert!(matches!(report.verdict, Verdict::Damaged { offset: 0, .. }), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_between_two_ticks_can_be_played_again() {
    let net = Net::with_game(&[], Arc::new(Fragile));
    let mut first = net.player("first").await;
    play(&mut first, 30).await;
    let ticket = net.ticket(BREAKS_JOIN).await;
    let status = net.open(support::hello_with_ticket(&ticket)).await.err().expect("refused");
    assert_ne!(status.code(), Code::Ok);
    let end = first.raw.end().await.expect_err("the room broke");
    assert_eq!(reason(&end), "ROOM_FAILED");
    let [incident] = &incidents(&net)[..] else { panic!("one incident is kept") };
    let report = replayed(&net, &incident.name);
    assert!(matches!(report.verdict, Verdict::Same { panicked: Some(_) }), "{report:?}");
    // The server takes players as before.
    play(&mut net.player("later").await, 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reports_a_desync_leaves_a_recording_and_no_more_than_one() {
    let net = Net::new(&[]);
    let mut player = net.player("doubter").await;
    play(&mut player, 250).await;
    let resync = |reason: v1::resync::Reason| {
        let tick = 249;
        Request::Resync(v1::Resync { reason: reason.into(), tick, cell: Some(3) })
    };
    player.raw.send(resync(v1::resync::Reason::BaseMismatch)).await;
    play(&mut player, 40).await;
    assert_eq!(incidents(&net).len(), 0, "a lost base is no desync");
    for _ in 0..3 {
        player.raw.send(resync(v1::resync::Reason::ChecksumMismatch)).await;
        play(&mut player, 20).await;
    }
    // Nor does another stream get a second one at once.
    let mut second = net.player("second doubter").await;
    play(&mut second, 5).await;
    second.raw.send(resync(v1::resync::Reason::ChecksumMismatch)).await;
    play(&mut second, 20).await;
    let [incident] = &incidents(&net)[..] else { panic!("one incident is kept") };
    assert!(incident.name.as_str().ends_with("-desync"), "{}", incident.name);
    assert!(
        incident.header.incident.contains("at tick 249 in cell 3"),
        "{}",
        incident.header.incident
    );
    let report = replayed(&net, &incident.name);
    assert_eq!(report.verdict, Verdict::Same { panicked: None });
    assert!(report.last_tick >= 249, "the tick in question is in it");
}

#[tokio::test(start_paused = true)]
async fn a_late_tick_leaves_a_recording() {
    let net = Net::new(&["--incident-lateness", "300ms"]);
    let mut player = net.player("patient").await;
    play(&mut player, 100).await;
    tokio::time::advance(Duration::from_millis(200)).await;
    play(&mut player, 20).await;
    assert_eq!(incidents(&net).len(), 0, "not late enough");
    tokio::time::advance(Duration::from_millis(900)).await;
    play(&mut player, 20).await;
    let [incident] = &incidents(&net)[..] else { panic!("one incident is kept") };
    assert!(incident.name.as_str().ends_with("-late"), "{}", incident.name);
    assert!(incident.header.incident.contains("ms late"), "{}", incident.header.incident);
    assert_eq!(replayed(&net, &incident.name).verdict, Verdict::Same { panicked: None });
}
