//! Goal: whatever happens on the way of a room from one server to another, it plays at one of them or at none, never at both,
//! and nothing of it is lost. Method: two servers without sockets that share a directory, in virtual time, and a carrier between them
//! that can lose what it carries.

#[path = "../support/mod.rs"]
mod support;

mod evacuation;
mod handover;
mod rebalance;

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
