//! Keepers on the directory in NATS: rooms that play while it is restarted, stands still or is emptied.

use super::support::Net;
use super::*;
use fray_server::cluster::endpoints::EndpointsView;
use fray_server::cluster::fate::{Fates, SharedWitness};
use fray_server::cluster::keeper::{Card, Keeper, Parts};
use fray_server::cluster::news::NewsSender;
use fray_server::cluster::probe::NoProbe;
use fray_server::room::Handle;
use fray_server::room::registry::NewRoom;
use fray_server::telemetry::metrics::directory::Directory as Metrics;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Kept {
    net: Net,
    joined: Joined,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Kept {
    async fn start(nats: &Nats) -> Self {
        let (net, joined) = (Net::new(&["--room-ttl", "1h"]), nats.join().await);
        let sessions = net.parts.sessions();
        let (probe, witness) = (Arc::new(NoProbe), SharedWitness::default());
        let fates = Fates::new(
            Arc::clone(&joined.directory) as _,
            Arc::clone(&probe) as _,
            witness.clone(),
            Arc::clone(&sessions.metrics),
            NewsSender::default(),
        );
        let keeper = Keeper::new(Parts {
            directory: Arc::clone(&joined.directory) as _,
            rooms: Arc::clone(&sessions.rooms),
            probe,
            witness,
            fates: Arc::new(fates),
            card: Card {
                name: "one".into(),
                route: String::new(),
                peer: String::new(),
                release: "1".into(),
                zone: String::new(),
                node: String::new(),
            },
            token_key: sessions.token_key.clone(),
            health: Arc::clone(net.parts.health()),
            metrics: Arc::clone(&sessions.metrics),
            endpoints: EndpointsView::default(),
            news: NewsSender::default(),
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(keeper.run(stop.clone()));
        tasks.close();
        let kept = Self { net, joined, tasks, stop };
        until("it is ready", || kept.net.parts.health().takes_rooms()).await;
        kept
    }

    async fn open(&self, name: &str, epoch: u64) -> Handle {
        let rooms = &self.net.parts.sessions().rooms;
        let mut draft = rooms.draft(NewRoom::default(), id(name));
        draft.epoch = epoch;
        let record = RoomRecord { epoch, ..room(name, self.joined.directory.me()) };
        self.joined.directory.create(record).await.expect("created");
        rooms.open(draft).expect("opened")
    }

    fn metrics(&self) -> &Metrics {
        &self.net.parts.sessions().metrics.directory
    }

    async fn end(self) {
        self.net.parts.sessions().rooms.close().await;
        self.stop.cancel();
        timeout(DEADLINE, self.tasks.wait()).await.expect("it ends");
        self.joined.leave().await;
    }
}

/// A server alone: nobody can be asked, and nobody can claim.
#[tokio::test]
async fn a_room_plays_through_a_restart_a_pause_and_an_emptied_directory() {
    let Some(mut nats) = Nats::start("kept").await else { return };
    let kept = Kept::start(&nats).await;
    let room = kept.open("abc", 4).await;
    let plays = async |what: &str| {
        let tick = room.frames().borrow().tick;
        until(what, || room.frames().borrow().tick > tick + 20).await;
        assert!(room.ending().is_none() && !*room.frozen().borrow(), "{what}");
    };
    let renewed = async |what: &str| {
        let renewals = kept.metrics().renewals.get();
        until(what, || kept.metrics().renewals.get() > renewals + 1).await;
        assert!(kept.net.parts.health().takes_rooms());
    };

    nats.kill();
    until("it is noticed", || !kept.joined.directory.is_reachable()).await;
    plays("while NATS is away").await;
    nats.launch().await;
    renewed("after a restart").await;

    nats.signal("STOP");
    until("it is noticed", || !kept.joined.directory.is_reachable()).await;
    plays("while NATS stands still").await;
    nats.signal("CONT");
    renewed("after a pause").await;
    assert_eq!(kept.metrics().rooms_restored.get(), 0);

    nats.kill();
    nats.wipe();
    nats.launch().await;
    until("its record is written again", || kept.metrics().rooms_restored.get() == 1).await;
    plays("after NATS was emptied").await;
    let stored = kept.joined.directory.read(&id("abc")).await.expect("an answer");
    assert_eq!(stored.expect("a record").record.epoch, 4);
    assert_eq!(kept.metrics().rooms_disowned.get() + kept.metrics().claims.get(), 0);

    let other = nats.join().await;
    until("others see both", || {
        other.directory.rooms().len() == 1 && other.directory.servers().len() == 1
    })
    .await;
    kept.end().await;
    until("it leaves nothing behind", || {
        other.directory.rooms().is_empty() && other.directory.servers().is_empty()
    })
    .await;
    other.leave().await;
}
