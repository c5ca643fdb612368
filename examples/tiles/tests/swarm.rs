//! Goal: a game that Fray and its bots know nothing of is played without a fault on the unchanged wire. Method: the swarm
//! that measures servers plays it, over streams in memory and in virtual time; then a player with a plan of its own.

use clap::Parser as _;
use fray_bot::client::transport::{GrpcServer, Server};
use fray_bot::client::{Controls, Event, Options, Player};
use fray_bot::swarm::{self, Limits, Plan, Report};
use fray_proto::v1;
use fray_server::app::Parts;
use fray_server::config::Config;
use fray_tiles::Tiles;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Endpoint, Uri};

/// A server for tiles, without sockets.
struct Net {
    parts: Arc<Parts>,
    connections: TaskTracker,
}

impl Net {
    fn new() -> Self {
        let config = Config::parse_from(["fray-server", "--seed", "7"]);
        let parts = Parts::new(&config, Arc::new(Tiles)).expect("a server");
        parts.health().bound();
        Self { parts: Arc::new(parts), connections: TaskTracker::new() }
    }

    /// A way to it, with a connection of its own.
    fn way(&self) -> Arc<dyn Server> {
        let (parts, connections) = (Arc::clone(&self.parts), self.connections.clone());
        let connector = tower::service_fn(move |_: Uri| {
            let (client, server) = tokio::io::duplex(64 * 1024);
            let parts = Arc::clone(&parts);
            connections.spawn(async move { parts.serve(server).await });
            async move { Ok::<_, std::io::Error>(TokioIo::new(client)) }
        });
        let endpoint = Endpoint::from_static("http://memory");
        Arc::new(GrpcServer::new(endpoint.connect_with_connector_lazy(connector)))
    }

    /// All points in all rooms, as the newest frames have them.
    fn points(&self) -> i32 {
        let rooms = self.parts.sessions().rooms.all();
        let points = |room: &fray_server::room::Handle| -> i32 {
            let frame = room.frames().borrow().clone();
            let entries = frame.entities(0).iter().filter(|entity| entity.kind == 16);
            entries.map(|entry| entry.attributes[2]).sum()
        };
        rooms.iter().map(points).sum()
    }

    /// Lets the swarm play, and notes the points once a second.
    async fn swarm(&self, plan: Plan) -> (Report, Vec<i32>) {
        let mut points = Vec::new();
        let stop = CancellationToken::new();
        let report =
            swarm::run(plan, stop, |_, _| self.way(), |_| points.push(self.points())).await;
        (report, points)
    }
}

fn assert_no_faults(report: &Report) {
    let limits = Limits { max_errors: Some(0), max_disconnects: Some(0), ..Limits::default() };
    assert_eq!(limits.failures(report), [""; 0], "{report}");
    assert_eq!(report.players, report.players_wanted);
    assert!(report.checksums > 0 && report.moves > 0, "{report}");
    assert_eq!((report.unresolved_moves, report.set_back_moves), (0, 0), "{report}");
}

#[tokio::test(start_paused = true)]
async fn the_swarm_plays_it_without_a_fault() {
    let plan = Plan {
        players: 12,
        rooms: Some(1),
        duration: Some(Duration::from_secs(20)),
        ..Plan::default()
    };
    let (report, points) = Net::new().swarm(plan).await;
    assert_no_faults(&report);
    assert!(report.refused_moves > 0, "pilots of ships try to fly across: {report}");
    assert!(points[5] > points[2] && points[15] > points[5], "{points:?}");
}

#[tokio::test(start_paused = true)]
async fn players_that_drop_out_come_back_to_the_same_rider() {
    let plan = Plan {
        players: 8,
        rooms: Some(2),
        duration: Some(Duration::from_secs(30)),
        churn: 0.5,
        ..Plan::default()
    };
    let (report, points) = Net::new().swarm(plan).await;
    assert_no_faults(&report);
    assert!(report.drops > 4 && report.resumes > 4, "{report}");
    assert!(points[25] > points[5], "{points:?}");
}

/// Plays updates until something is so.
async fn until(player: &mut Player, what: &str, mut so: impl FnMut(&Player, &Event) -> bool) {
    for _ in 0..2000 {
        let event = player.next().await.expect("the stream goes on").expect("nobody left");
        if so(player, &event) {
            return;
        }
    }
    panic!("it never came to be: {what}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_move_is_acknowledged_and_the_rider_goes_where_it_may() {
    let net = Net::new();
    let request = v1::JoinRequest { player_name: "Ada".into(), ..v1::JoinRequest::default() };
    let mut player = Player::join(net.way(), request, Options::default()).await.expect("a seat");
    let welcome = player.session().welcome().expect("welcomed");
    assert_eq!((welcome.game.as_str(), welcome.sim_version), ("tiles", 1));
    let number = welcome.player as i32;
    until(&mut player, "a rider", |player, _| player.session().own().is_some()).await;

    let steer = |axis_x, axis_y| Controls { axis_x, axis_y, ..Controls::default() };
    player.steer(steer(127, 127)).expect("sent: across");
    player.steer(steer(-127, 0)).expect("sent: back");
    player.steer(steer(0, 127)).expect("sent: a turn");
    let mut refusals = Vec::new();
    until(&mut player, "acknowledged", |player, event| {
        if let Event::Updated(update) = event {
            refusals.extend(update.refusals.iter().map(|r| (r.sequence, r.reason())));
        }
        player.session().unacknowledged() == 0
    })
    .await;
    let reason = v1::refusal::Reason::NotAllowed;
    assert_eq!(refusals, [(1, reason), (2, reason)]);
    assert_eq!(player.session().private(), [1], "the turn that waits for the next square");

    until(&mut player, "it rides along y", |player, _| {
        player.session().own().is_some_and(|rider| rider.velocity[1] > 0)
    })
    .await;
    until(&mut player, "a score", |player, _| {
        let replica = player.session().replica().expect("there since the welcome");
        let entry = replica.globals().iter().find(|e| e.kind == 16 && e.attributes[0] == number);
        let score = entry.map_or(0, |entry| entry.attributes[2]);
        // All that is painted so far is in view: the score board and the board agree.
        let squares = replica.entities().filter(|e| e.kind == 32 && e.attributes[0] == number);
        assert_eq!(squares.count() as i32, score);
        let name = entry.and_then(|entry| entry.payload.as_deref());
        score > 4 && name == Some(b"Ada".as_slice())
    })
    .await;
    player.leave();
    while player.next().await.expect("a good end").is_some() {}
    let counters = player.session_mut().take_counters();
    assert!(!counters.has_faults() && counters.refusals == 2, "{counters:?}");
}
