//! What a server learns from the platform that it runs on, and tells it; where there is none, nothing.

use super::Error;
use crate::cluster::edge_wait;
use crate::cluster::endpoints::EndpointsView;
use crate::cluster::kube::annotations::Load;
use crate::cluster::kube::{Kube, Options};
use crate::cluster::news::{self, NewsSender};
use crate::config::Config;
use crate::session::Sessions;
use crate::session::directory::{Held, ServerRecord};
use crate::telemetry::{Health, Telemetry, spawn_named};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// All of it, before it runs.
pub(super) struct Surroundings {
    /// What is known of the others; cheap to clone.
    pub(super) endpoints: EndpointsView,
    /// Takes what operators are to be told; cheap to clone.
    pub(super) news: NewsSender,
    edge_wait: Duration,
    platform: Option<Kube>,
}

impl Surroundings {
    /// As the configuration says. From here on the server takes no rooms if it is to wait for edges.
    pub(super) async fn new(config: &Config, telemetry: &Telemetry) -> Result<Self, Error> {
        let edge_wait = config.kube.edge_wait;
        if !edge_wait.is_zero() {
            telemetry.health.set_awaits_edges(true);
        }
        let mut surroundings = Self {
            endpoints: EndpointsView::default(),
            news: NewsSender::default(),
            edge_wait,
            platform: None,
        };
        if let Some(options) = options(config) {
            let (sender, receiver) = news::queue(telemetry.metrics.kube.news_dropped.clone());
            let platform = Kube::connect(options, receiver, &telemetry.metrics).await?;
            surroundings.endpoints = platform.endpoints();
            // If nobody posts them, nobody queues them.
            if config.kube.kube_events {
                surroundings.news = sender;
            }
            surroundings.platform = Some(platform);
        }
        Ok(surroundings)
    }

    /// Listens and tells until `stop`.
    pub(super) fn spawn(
        self,
        sessions: &Arc<Sessions>,
        health: &Arc<Health>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        if !self.edge_wait.is_zero() {
            let (health, endpoints) = (Arc::clone(health), self.endpoints.clone());
            let waiting = edge_wait::run(health, endpoints, self.edge_wait, stop.clone());
            spawn_named(tasks, "wait for edges", waiting);
        }
        if let Some(platform) = self.platform {
            let (sessions, endpoints) = (Arc::clone(sessions), self.endpoints);
            platform.spawn(Box::new(move || load(&sessions, &endpoints)), tasks, stop);
        }
    }
}

/// How full this server is, and how many rooms the others could take of it.
fn load(sessions: &Sessions, endpoints: &EndpointsView) -> Load {
    let rooms = sessions.rooms.all();
    let players = rooms.iter().map(|room| u64::from(room.info().players())).sum();
    let directory = sessions.fleet.directory.as_ref();
    let (game, sim_version) = sessions.rooms.game();
    let places = |held: Held<ServerRecord>| {
        let server = held.record;
        let takes = server.instance != *directory.me()
            && !server.is_draining
            && !endpoints.is_leaving(&server.peer)
            && server.plays(game, sim_version);
        let free = u64::from(server.rooms_max).saturating_sub(server.players.len() as u64);
        if takes { free } else { 0 }
    };
    let places_elsewhere = directory.servers().into_iter().map(places).sum();
    Load { players, rooms: rooms.len() as u64, places_elsewhere }
}

fn options(config: &Config) -> Option<Options> {
    let flags = &config.kube;
    flags.kube.then(|| Options {
        pod: flags.pod_name.clone().unwrap_or_default(),
        namespace: flags.namespace().map(str::to_owned),
        service: flags.service().map(str::to_owned),
        edge_service: flags.edge_service().map(str::to_owned),
        annotates: flags.kube_annotate,
        posts_events: flags.kube_events,
    })
}
