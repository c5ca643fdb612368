//! A fleet in a world of its own, with players: NATS, three servers, and Envoy.

use super::crowd::Crowd;
use super::envoy::{self, Edge};
use super::fault::PATIENCE;
use super::newcomers::Newcomers;
use super::processes::{self, Folder, Nats, Server};
use super::world::World;
use serde_json::Value;
use std::collections::BTreeSet;

const PLAYERS: usize = 36;
const ROOMS: usize = 12;
/// Rooms that newcomers make and leave end soon.
const FLAGS: &[&str] = &["--room-ttl=20s"];

pub struct Stage {
    // What is first ends first.
    pub crowd: Crowd,
    edge: Option<Edge>,
    pub url: String,
    pub servers: Vec<Server>,
    pub nats: Nats,
    values: Value,
    edges: usize,
    folder: Folder,
    _world: World,
}

impl Stage {
    /// Everybody plays, and each server has rooms. `None`: something is not installed, and that was said.
    pub async fn set() -> Option<Self> {
        let mut world = World::new();
        let folder = Folder::new("faults");
        processes::write_keys(&folder.0);
        let nats = Nats::start(world.host(), &folder.0).await?;
        let mut servers = Vec::new();
        for name in ["one", "two", "three"] {
            servers.push(Server::start(name, world.host(), &folder.0, &nats.url(), FLAGS).await);
        }
        let addresses: Vec<_> = servers.iter().map(Server::players).collect();
        let mut values = envoy::values(&addresses, "");
        // The same port after a restart: players come back to it.
        values["edge"]["listen"]["port"] = 8443.into();
        let edge = start_edge(&folder, 0, &values).await?;
        edge.healthy("servers", 3).await;
        let url = format!("http://{}", edge.address);
        let edge = Some(edge);
        let crowd = Crowd::gather("players through the edge", PLAYERS, ROOMS, &url).await;
        crowd.until("everybody plays", PATIENCE, |diary| diary.updates.len() > 20).await;
        let owners: BTreeSet<_> = crowd.rooms().into_values().collect();
        assert_eq!(owners.len(), 3, "rooms are on all servers: {owners:?}");
        Some(Self { crowd, edge, url, servers, nats, values, edges: 1, folder, _world: world })
    }

    /// From now on newcomers come through the edge.
    pub fn newcomers(&self) -> Newcomers {
        let rooms = self.crowd.rooms().into_keys().collect();
        Newcomers::come(&self.url, &rooms, &self.crowd.oracle)
    }

    /// Its streams end without a word.
    pub async fn restart_edge(&mut self) {
        drop(self.edge.take());
        self.edge = start_edge(&self.folder, self.edges, &self.values).await;
        assert!(self.edge.is_some(), "it was there");
        self.edges += 1;
    }

    /// Nothing was two things at once, and nobody lost anything.
    pub async fn all_was_one(self) {
        let conflicts = self.crowd.oracle.conflicts();
        assert!(conflicts.is_empty(), "{conflicts:#?}");
        let seen = self.crowd.oracle.seen();
        println!("{seen} updates compared, none differs");
        assert!(seen > 1000);
        self.crowd.lost_nothing();
        self.crowd.go_home().await;
    }
}

/// Its files are in the stage's folder: every world has the same process ids.
async fn start_edge(folder: &Folder, number: usize, values: &Value) -> Option<Edge> {
    let folder = folder.0.join(format!("edge-{number}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    Edge::start_in(folder, values).await
}
