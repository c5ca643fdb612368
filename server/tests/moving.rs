//! Goal: whatever happens on the way of a room from one server to another, it plays at one of them or at none, never at both,
//! and nothing of it is lost. Method: two servers without sockets that share a directory, in virtual time, and a carrier between them
//! that can lose what it carries.

mod support;

use fray_proto::hash::MoveContent;
use fray_server::cluster::endpoints::EndpointsView;
use fray_server::cluster::handover::{Carrier, Given, Mover, NotTaken, SentPlayers, Unanswered};
use fray_server::cluster::memory::MemoryDirectory;
use fray_server::cluster::news::NewsSender;
use fray_server::cluster::probe::{Probe, ProbeOutcome};
use fray_server::cluster::rebalance::Rebalancer;
use fray_server::game::{Controls, Profile, Steering};
use fray_server::room::handle::Claim;
use fray_server::room::registry::{Draft, NewRoom};
use fray_server::room::travel::Restoration;
use fray_server::room::{Attached, Ending, Handle, Move, Presence, Registry, RoomId};
use fray_server::session::Error;
use fray_server::session::arriving::{self, Offer, Taken};
use fray_server::session::directory::{Directory as _, RoomMover as _, RoomRecord, ServerRecord};
use fray_server::telemetry::Metrics;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::Net;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What goes wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// It arrives, and nobody hears of it.
    LostAnswer,
    /// It does not arrive, or not yet.
    Late,
    Refused,
    /// It takes its time.
    Slow,
}

/// Where nobody answers.
const SILENT: &str = "silent";

struct Side {
    net: Net,
    directory: Arc<MemoryDirectory>,
}

/// Brings rooms to the other side, more or less.
struct Link {
    rooms: Arc<Registry>,
    directory: Arc<MemoryDirectory>,
    fault: Mutex<Fault>,
    /// What has not arrived yet.
    under_way: Mutex<Vec<Offer>>,
    /// How often a server was asked that does not answer.
    asked_in_vain: AtomicU32,
    /// What rooms are said to have been through.
    lost_before: Mutex<Vec<Restoration>>,
}

impl Carrier for Link {
    fn transfer<'a>(
        &'a self,
        peer: &'a str,
        offer: Offer,
    ) -> BoxFuture<'a, Result<Taken, NotTaken>> {
        Box::pin(async move {
            if peer == SILENT {
                self.asked_in_vain.fetch_add(1, Relaxed);
                return std::future::pending().await;
            }
            let fault = *self.fault.lock().expect("sound");
            match fault {
                Fault::Refused => return Err(NotTaken::Refused("OVERLOADED")),
                Fault::Late => {
                    self.under_way.lock().expect("sound").push(offer);
                    return std::future::pending().await;
                }
                Fault::Slow => sleep(Duration::from_millis(500)).await,
                Fault::Nothing | Fault::LostAnswer => {}
            }
            let mut offer = offer;
            offer.restorations.extend(self.lost_before.lock().expect("sound").iter());
            let taken = arriving::take(&self.rooms, self.directory.as_ref(), offer).await;
            match fault {
                Fault::LostAnswer => std::future::pending().await,
                _ => taken.map_err(|_| NotTaken::Unknown),
            }
        })
    }
}

impl Probe for Link {
    fn probe<'a>(&'a self, _: &'a str, room: Option<&'a RoomId>) -> BoxFuture<'a, ProbeOutcome> {
        let plays_room = room.is_some_and(|room| self.rooms.get(room).is_some());
        let instance = self.directory.me().clone();
        Box::pin(async move {
            ProbeOutcome::Answered { instance, plays_room, reaches_directory: true, epoch: 0 }
        })
    }
}

struct World {
    from: Side,
    to: Side,
    link: Arc<Link>,
    mover: Arc<Mover>,
    target: ServerRecord,
}

fn record(side: &Side, name: &str) -> ServerRecord {
    let (game, sim_version) = side.net.parts.sessions().rooms.game();
    ServerRecord {
        instance: side.directory.me().clone(),
        name: name.into(),
        route: format!("{name}:7777"),
        peer: name.into(),
        release: "r".into(),
        game: game.into(),
        sim_version,
        sim_versions: vec![sim_version],
        zone: String::new(),
        node: String::new(),
        rooms_max: 8,
        room_capacity_max: 64,
        is_draining: false,
        players: BTreeMap::new(),
        electorate: Vec::new(),
        renewal_age_ms: 0,
    }
}

impl World {
    async fn new(fault: Fault) -> Self {
        let directory = MemoryDirectory::alone();
        let side = || Side {
            net: Net::new(&["--room-ttl", "1h"]),
            directory: Arc::new(directory.another()),
        };
        let (from, to) = (side(), side());
        from.directory.announce(record(&from, "from")).await.expect("announced");
        let target = record(&to, "to");
        to.directory.announce(target.clone()).await.expect("announced");
        let link = Arc::new(Link {
            rooms: Arc::clone(&to.net.parts.sessions().rooms),
            directory: Arc::clone(&to.directory),
            fault: Mutex::new(fault),
            under_way: Mutex::default(),
            asked_in_vain: AtomicU32::new(0),
            lost_before: Mutex::default(),
        });
        let mover = Arc::new(Mover {
            directory: Arc::clone(&from.directory) as _,
            rooms: Arc::clone(&from.net.parts.sessions().rooms),
            carrier: Arc::clone(&link) as _,
            metrics: Arc::new(Metrics::default()),
            shares_store: false,
            endpoints: EndpointsView::default(),
            news: NewsSender::default(),
            probe: Arc::clone(&link) as _,
            sent: SentPlayers::default(),
            unanswered: Unanswered::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        Self { from, to, link, mover, target }
    }

    async fn open(&self, id: &str) -> Handle {
        let rooms = &self.from.net.parts.sessions().rooms;
        let id = RoomId::parse(id).expect("an id");
        let draft = rooms.draft(NewRoom { private: true, ..NewRoom::default() }, id);
        let Draft { id: room, name, capacity, epoch, .. } = draft.clone();
        let (game, sim_version) = rooms.game();
        let record = RoomRecord {
            room,
            owner: self.from.directory.me().clone(),
            epoch,
            followers: Vec::new(),
            game: game.into(),
            sim_version,
            name,
            capacity,
            code_hash: None,
            lost: None,
            parked: false,
            parked_whole: false,
        };
        self.from.directory.create(record).await.expect("created");
        rooms.open(draft).expect("a room")
    }

    fn there(&self, id: &str) -> Option<Handle> {
        self.to.net.parts.sessions().rooms.get(&RoomId::parse(id).expect("an id"))
    }

    async fn give(&self, room: &Handle) -> Given {
        self.mover.give(room, &self.target).await
    }
}

async fn seat(room: &Handle, player: &str) -> Attached {
    let profile = Profile { name: player.into(), hue: 7 };
    room.reserve(player.into(), profile).await.expect("a seat");
    attach(room, player).await
}

/// So many seats are taken.
async fn crowd(room: &Handle, players: usize) {
    for player in 0..players {
        let profile = Profile { name: "p".into(), hue: 1 };
        room.reserve(format!("p{player}"), profile).await.expect("a seat");
    }
}

async fn attach(room: &Handle, player: &str) -> Attached {
    let token_hash = [player.len() as u8; 32];
    let claim = Claim::Ticket { player_id: player.into(), token_hash };
    room.attach(claim).await.expect("its seat")
}

fn a_move(sequence: u32) -> Move {
    let steering = Steering { axis_x: 5, axis_y: 100, aim: None };
    let controls = Controls { steering, buttons: sequence % 2, ..Controls::default() };
    Move { sequence, controls, arrived: Instant::now(), trace: None }
}

/// The rolling hash that a client would have after so many of them.
fn applied_hash(moves: u32) -> u32 {
    (1..=moves).fold(0, |hash, sequence| {
        let content = MoveContent {
            sequence,
            axis_x: 5,
            axis_y: 100,
            aim: None,
            buttons: sequence % 2,
            target: None,
            payload: &[],
        };
        fray_proto::hash::applied_hash(hash, &content)
    })
}

/// How it ended.
async fn ended(room: &Handle) -> Option<Ending> {
    let ended = async {
        while !room.has_ended() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("it ends");
    room.ending()
}

async fn ticks(room: &Handle, more: u32) {
    let mut frames = room.frames();
    let until = frames.borrow().tick + more;
    frames.wait_for(|frame| frame.tick >= until).await.expect("it plays");
}

#[tokio::test(start_paused = true)]
async fn a_room_goes_on_with_its_seats_its_moves_and_its_code() {
    let world = World::new(Fault::Nothing).await;
    let room = world.open("abc").await;
    let code = room.info().code.clone();
    let ann = seat(&room, "ann").await;
    let _bo = seat(&room, "bo").await;
    let gone = seat(&room, "gonefor").await;
    room.reserve("later".into(), Profile::default()).await.expect("a seat");
    room.kick(fray_server::room::Who::Id("gonefor".into())).await.expect("kicked");
    drop(gone);
    for sequence in 1..=3 {
        ann.attachment.enqueue(a_move(sequence)).expect("room for it");
    }
    ticks(&room, 2).await;
    // Two that no tick has seen yet, the later one behind a gap.
    let departs = async {
        let given = world.give(&room).await;
        (given, room.frames().borrow().tick)
    };
    ann.attachment.enqueue(a_move(4)).expect("room for it");
    ann.attachment.enqueue(a_move(6)).expect("room for it");
    let (given, last_tick) = departs.await;
    assert_eq!(given, Given::Moved);
    assert_eq!(ended(&room).await, Some(Ending::Moved));
    let moved = room.info().moved().expect("it says where").clone();
    assert_eq!((moved.route.as_str(), moved.release.as_str()), ("to:7777", "r"));
    assert_eq!((moved.epoch, moved.first_tick), (2, last_tick + 1));

    let there = world.there("abc").expect("it is there");
    assert_eq!((there.info().epoch, there.info().first_tick), (2, last_tick + 1));
    assert_eq!(there.info().code, code);
    ticks(&there, 2).await;
    let occupants = there.occupants().await.expect("some");
    let seats: Vec<_> = occupants.iter().map(|one| (one.player_id.as_str(), one.player)).collect();
    assert_eq!(seats, [("ann", 1), ("bo", 2), ("later", 4)]);
    assert!(matches!(occupants[0].presence, Presence::Expected { .. }), "{occupants:?}");
    assert!(matches!(occupants[2].presence, Presence::Reserved { .. }), "{occupants:?}");
    let again = attach(&there, "ann").await;
    assert!(again.resumed && !again.took_over);
    assert_eq!((again.player, again.entity), (ann.player, ann.entity));
    assert_eq!(
        (again.ack.input_ack, again.ack.applied_count),
        (4, 4),
        "the one behind the gap waits"
    );
    assert_eq!(again.ack.applied_hash, applied_hash(4));
    let barred = there.reserve("gonefor".into(), Profile::default()).await;
    assert_eq!(barred, Err(fray_server::room::Error::Kicked));
    let held = world.from.directory.read(&there.info().id).await.expect("read").expect("a record");
    assert_eq!((&held.record.owner, held.record.epoch), (world.to.directory.me(), 2));
}

#[tokio::test(start_paused = true)]
async fn controls_hold_for_players_on_their_way_and_not_for_those_who_do_not_come() {
    let world = World::new(Fault::Nothing).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    ticks(&room, 2).await;
    assert_eq!(world.give(&room).await, Given::Moved);
    let there = world.there("abc").expect("it is there");
    let presence = async || there.occupants().await.expect("some")[0].presence.clone();
    ticks(&there, 20).await;
    assert!(matches!(presence().await, Presence::Expected { .. }));
    ticks(&there, 25).await;
    assert!(matches!(presence().await, Presence::Dropped { .. }), "after two seconds");
    assert!(attach(&there, "ann").await.resumed, "it may still come back");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_in_the_directory() {
    let world = World::new(Fault::LostAnswer).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    assert_eq!(world.give(&room).await, Given::Moved);
    assert_eq!(ended(&room).await, Some(Ending::Moved));
    assert_eq!(room.info().moved().expect("it says where").epoch, 2);
    assert!(world.there("abc").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_room_that_stays_is_safe_from_what_arrives_late() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    assert_eq!(world.give(&room).await, Given::Stays);
    ticks(&room, 3).await;
    let late = world.link.under_way.lock().expect("sound").pop().expect("under way");
    let taken = arriving::take(&world.link.rooms, world.link.directory.as_ref(), late).await;
    assert_eq!(taken, Err(Error::RoomExists));
    assert!(world.there("abc").is_none());
    ticks(&room, 3).await;
    assert!(!*room.moving().borrow(), "its players need not wait any more");
    // It can still move.
    *world.link.fault.lock().expect("sound") = Fault::Nothing;
    assert_eq!(world.give(&room).await, Given::Moved);
}

#[tokio::test(start_paused = true)]
async fn a_room_whose_record_is_somebody_elses_by_then_ends() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let id = room.info().id.clone();
    let claimed = async {
        sleep(Duration::from_secs(1)).await;
        let held = world.to.directory.read(&id).await.expect("read").expect("a record");
        let third = fray_server::session::directory::InstanceId::random();
        let record = RoomRecord { owner: third, epoch: 2, ..(*held.record).clone() };
        world.to.directory.swap(record, held.revision).await.expect("swapped");
    };
    let (given, ()) = tokio::join!(world.give(&room), claimed);
    assert_eq!(given, Given::Gone);
    assert_eq!(ended(&room).await, Some(Ending::Disowned));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_says_so_tries_again_and_leaves_what_nobody_takes() {
    let world = World::new(Fault::Refused).await;
    let (room, empty) = (world.open("abc").await, world.open("empty").await);
    let _ann = seat(&room, "ann").await;
    let mut moving = room.moving();
    let evacuated = world.mover.evacuate(Instant::now() + Duration::from_secs(20), || false);
    let then_takes = async {
        moving.wait_for(|moving| *moving).await.expect("it says so");
        assert!(!*empty.moving().borrow());
        sleep(Duration::from_millis(400)).await;
        *world.link.fault.lock().expect("sound") = Fault::Nothing;
    };
    let (figures, ()) = tokio::join!(evacuated, then_takes);
    assert_eq!((figures.moved, figures.parked, figures.left), (1, 0, 0));
    assert!(world.there("abc").is_some() && world.there("empty").is_none());

    let world = World::new(Fault::Nothing).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let newer = ServerRecord { sim_version: 99, sim_versions: vec![99], ..world.target.clone() };
    world.to.directory.announce(newer).await.expect("announced");
    let figures = world.mover.evacuate(Instant::now() + Duration::from_secs(8), || false).await;
    assert_eq!(
        (figures.moved, figures.parked, figures.left),
        (0, 0, 1),
        "no server plays its rules"
    );
    ticks(&room, 1).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_no_room_is_taken() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    assert_eq!(world.give(&room).await, Given::Stays);
    let good = world.link.under_way.lock().expect("sound").pop().expect("under way");
    let revision = world.from.directory.read(&room.info().id).await.expect("read");
    let revision = revision.expect("a record").revision;
    let offer = |bytes: bytes::Bytes| Offer { revision, bytes, ..good.clone() };
    let take =
        async |offer| arriving::take(&world.link.rooms, world.link.directory.as_ref(), offer).await;
    let mut bits = good.bytes.to_vec();
    bits[good.bytes.len() / 2] ^= 1;
    let cut = good.bytes.slice(..good.bytes.len() - 1);
    let twice = [&good.bytes[..], &good.bytes[..]].concat();
    for wrong in [bits.into(), cut, twice.into(), bytes::Bytes::new()] {
        let refused = take(offer(wrong)).await.expect_err("refused");
        assert_eq!(refused.reason(), "INVALID_ARGUMENT");
    }
    let another = Offer { room: RoomId::parse("xyz").expect("an id"), ..offer(good.bytes.clone()) };
    assert_eq!(take(another).await.expect_err("refused").reason(), "INVALID_ARGUMENT");
    let held = world.from.directory.read(&room.info().id).await.expect("read").expect("a record");
    assert_eq!(held.record.owner, *world.from.directory.me(), "and the record is untouched");
}

#[tokio::test(start_paused = true)]
async fn nor_what_counts_beyond_its_end() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    assert_eq!(world.give(&room).await, Given::Stays);
    let good = world.link.under_way.lock().expect("sound").pop().expect("under way");
    for wrong in
        [Offer { epoch: u64::MAX, ..good.clone() }, Offer { tick: u32::MAX, ..good.clone() }]
    {
        let taken = arriving::take(&world.link.rooms, world.link.directory.as_ref(), wrong).await;
        assert_eq!(taken.expect_err("refused").reason(), "INVALID_ARGUMENT");
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_on_its_way_arrives_though_nobody_waits_for_it_any_more() {
    let world = World::new(Fault::Slow).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let waited = tokio::time::timeout(Duration::from_millis(100), world.give(&room)).await;
    assert!(waited.is_err(), "it takes longer");
    assert_eq!(ended(&room).await, Some(Ending::Moved));
    assert!(room.info().moved().is_some() && world.there("abc").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_still_on_its_way_when_the_server_ends_is_not_over() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let (given, ()) = tokio::join!(world.give(&room), async {
        sleep(Duration::from_secs(1)).await;
        world.mover.close(Duration::ZERO).await;
    });
    assert_eq!(given, Given::Gone);
    assert_eq!(ended(&room).await, Some(Ending::Disowned));
    let unfinished = world.mover.rooms.take_unfinished();
    assert!(unfinished.contains(&room.info().id), "its record is not removed");
}

#[tokio::test(start_paused = true)]
async fn rooms_with_players_that_nobody_took_are_not_over_when_others_can_read_their_logs() {
    for others_can in [true, false] {
        let world = World::new(Fault::Nothing).await;
        let (room, empty) = (world.open("abc").await, world.open("empty").await);
        let _ann = seat(&room, "ann").await;
        let rooms = &world.mover.rooms;
        if others_can {
            rooms.leave_unfinished();
        }
        rooms.close().await;
        let is_parked = matches!(room.ending(), Some(Ending::Parked(_)));
        assert_eq!((is_parked, empty.ending()), (others_can, Some(Ending::Over)));
        assert!(is_parked || room.ending() == Some(Ending::Over));
        assert_eq!(rooms.take_unfinished(), [room.info().id.clone()].into());
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_that_comes_while_others_leave_leaves_as_well() {
    let world = World::new(Fault::Nothing).await;
    let comes = AtomicBool::new(true);
    let more_come = || comes.load(Relaxed);
    let evacuated = world.mover.evacuate(Instant::now() + Duration::from_secs(20), more_come);
    let (figures, _ann) = tokio::join!(evacuated, async {
        sleep(Duration::from_millis(300)).await;
        let room = world.open("late").await;
        let seat = seat(&room, "ann").await;
        comes.store(false, Relaxed);
        seat
    });
    assert_eq!(figures.moved, 1);
    assert!(world.there("late").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_was_wiped_meanwhile_costs_no_room() {
    for (fault, given) in [(Fault::Late, Given::Stays), (Fault::LostAnswer, Given::Moved)] {
        let world = World::new(fault).await;
        let room = world.open("abc").await;
        let _ann = seat(&room, "ann").await;
        let id = room.info().id.clone();
        let wiped = async {
            sleep(Duration::from_secs(1)).await;
            let held = world.from.directory.read(&id).await.expect("read").expect("a record");
            world.from.directory.remove(&id, held.revision).await.expect("removed");
        };
        let (came, ()) = tokio::join!(world.give(&room), wiped);
        assert_eq!(came, given);
        let there = world.there("abc");
        assert_eq!(there.is_some(), given == Given::Moved, "at one of them");
        if given == Given::Stays {
            ticks(&room, 3).await;
            let held = world.from.directory.read(&id).await.expect("read").expect("written again");
            assert_eq!(held.record.owner, *world.from.directory.me());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn players_who_were_not_back_since_their_room_was_restored_are_told_wherever_it_is() {
    let world = World::new(Fault::Nothing).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    world
        .link
        .lost_before
        .lock()
        .expect("sound")
        .push(Restoration { epoch: 1, age: Duration::from_secs(7) });
    assert_eq!(world.give(&room).await, Given::Moved);
    let there = world.there("abc").expect("it is there");
    assert_eq!(there.info().restored_since(0), Some(Duration::from_secs(7)));
    assert_eq!(there.info().restored_since(1), None, "whoever was here since knows");
}

#[tokio::test(start_paused = true)]
async fn a_server_with_more_than_its_share_gives_away_what_is_too_much() {
    let world = World::new(Fault::Nothing).await;
    for id in ["abc", "xyz", "few"] {
        let room = world.open(id).await;
        crowd(&room, if id == "few" { 4 } else { 20 }).await;
    }
    let rebalancer = Rebalancer { mover: Arc::clone(&world.mover) };
    let sent = rebalancer.even_out(8).await;
    assert_eq!(sent.len(), 1, "24 and 20 are about the same: {sent:?}");
    assert_eq!((sent[0].players, sent[0].to.as_deref()), (20, Ok("to")));
    assert!(world.there(sent[0].room.as_str()).is_some());
    assert_eq!(rebalancer.even_out(8).await, [], "though the other's record does not say so yet");
    // One room, by hand.
    let few = world.mover.rooms.get(&RoomId::parse("few").expect("an id")).expect("it is here");
    let own = world.from.directory.server(world.from.directory.me()).expect("a record").record;
    let stays = rebalancer.send(few.clone(), Some(own)).await;
    assert_eq!(stays.to, Err("that server has it".to_owned()));
    let goes = rebalancer.send(few, Some(Arc::new(world.target.clone()))).await;
    assert_eq!(goes.to.as_deref(), Ok("to"));
    assert_eq!(world.mover.rooms.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_server_fills_up_once_nobody_joins_the_fleet_any_more() {
    let world = World::new(Fault::Nothing).await;
    for id in ["abc", "xyz"] {
        let room = world.open(id).await;
        crowd(&room, 20).await;
    }
    let health = Arc::clone(world.from.net.parts.health());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let rebalancer = Arc::new(Rebalancer { mover: Arc::clone(&world.mover) });
    tasks.spawn(rebalancer.run(Duration::from_secs(10), health, stop.clone()));
    tasks.close();
    let renew = async {
        for _ in 0..40 {
            world.to.directory.announce(world.target.clone()).await.expect("announced");
            sleep(Duration::from_secs(1)).await;
        }
    };
    // The first look only sees who is there.
    let (moved_after, ()) = tokio::join!(
        async {
            let began = Instant::now();
            while world.mover.rooms.all().len() > 1 {
                sleep(Duration::from_millis(100)).await;
            }
            began.elapsed()
        },
        renew
    );
    let (first, second) = (Duration::from_secs(20), Duration::from_secs(31));
    assert!(moved_after >= first && moved_after < second, "{moved_after:?}");
    stop.cancel();
    tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_left_alone_and_the_rooms_go_to_another() {
    let world = World::new(Fault::Nothing).await;
    // It looks like the better choice.
    let mut target = world.target.clone();
    target.players.insert(RoomId::parse("full").expect("an id"), 60);
    let silent = world.from.directory.another();
    let record = ServerRecord {
        instance: silent.me().clone(),
        peer: SILENT.into(),
        name: SILENT.into(),
        ..world.target.clone()
    };
    let renewals = async {
        loop {
            world.to.directory.announce(target.clone()).await.expect("announced");
            silent.announce(record.clone()).await.expect("announced");
            sleep(Duration::from_secs(1)).await;
        }
    };
    let rooms = [world.open("abc").await, world.open("def").await, world.open("ghi").await];
    let mut seats = Vec::new();
    for room in &rooms {
        seats.push(seat(room, "ann").await);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let figures = tokio::select! {
        figures = world.mover.evacuate(deadline, || false) => figures,
        () = renewals => unreachable!("they do not end"),
    };
    assert_eq!((figures.moved, figures.left), (3, 0));
    let asked = world.link.asked_in_vain.load(Relaxed);
    assert!((1..=3).contains(&asked), "once for each that left at the same time: {asked}");
    assert!(Instant::now() < deadline, "it does not take all the time");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_comes_back_before_its_end_here_is_over_is_refused_for_the_moment() {
    let world = World::new(Fault::LostAnswer).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let back = async {
        // It is there, and nobody here knows yet.
        while world.there("abc").is_none() {
            sleep(Duration::from_millis(10)).await;
        }
        let there = world.there("abc").expect("it is there");
        let departure = there.depart().await.expect("it stands still");
        let held = world.from.directory.read(&there.info().id).await.expect("read");
        let offer = Offer::of(&departure, held.expect("a record").revision);
        let taken = arriving::take(&world.mover.rooms, world.from.directory.as_ref(), offer).await;
        assert_eq!(taken.expect_err("refused").reason(), "OVERLOADED");
        departure.conclude(fray_server::room::Outcome::Stays);
        there
    };
    let (given, there) = tokio::join!(world.give(&room), back);
    assert_eq!(given, Given::Moved);
    ticks(&there, 2).await;
}
