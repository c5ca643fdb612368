//! Keeps this server's place in the fleet: renews its lease, and keeps its rooms and their records in accord.
//!
//! - `renewal`: one task that renews, asks, and lets rooms stand still or end. It waits for nothing else, so nothing can
//!   delay it.
//! - `accord`: what this server's rooms and records need done. Pure. `reconcile`: the task that does it, at its own pace.
//! - `sweep`: sees to what servers leave behind that are gone, and looks at the others without a pause.

mod accord;
mod reconcile;
mod renewal;
mod sweep;
mod turns;

use super::endpoints::EndpointsView;
use super::fate::{Fates, SharedWitness};
use super::lease::Standing;
use super::news::NewsSender;
use super::probe::Probe;
use crate::room::{Registry, RoomId};
use crate::session::directory::{Directory, ServerRecord, Voter};
use crate::session::token::TokenKey;
use crate::telemetry::{Health, Metrics, spawn_named};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a server that ends tries to take its records back. What it leaves behind is declared lost by the others.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);

/// How other servers and players' tickets find this server.
#[derive(Clone, Debug)]
pub struct Card {
    /// Its name, for people.
    pub name: String,
    /// `ADDRESS:PORT` where the edge reaches its players' port.
    pub route: String,
    /// `ADDRESS:PORT` where other servers reach it; empty: they cannot.
    pub peer: String,
    /// Which release it is.
    pub release: String,
    /// Its zone; empty: as the platform says.
    pub zone: String,
    /// See [`ServerRecord::node`].
    pub node: String,
}

/// All that a keeper needs.
pub struct Parts {
    /// Where it has its place.
    pub directory: Arc<dyn Directory>,
    /// The rooms that it keeps.
    pub rooms: Arc<Registry>,
    /// Asks the others.
    pub probe: Arc<dyn Probe>,
    /// The witness that [`Fates`] looks through, too.
    pub witness: SharedWitness,
    /// What becomes of others' rooms.
    pub fates: Arc<Fates>,
    /// What the others are told of this server.
    pub card: Card,
    /// Of the codes of private rooms.
    pub token_key: TokenKey,
    /// What is said to those who probe.
    pub health: Arc<Health>,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    /// What the platform says of servers.
    pub endpoints: EndpointsView,
    /// What operators are told.
    pub news: NewsSender,
}

/// Keeps this server's place in the fleet. From its making on, rooms tick only while the lease is good.
pub struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    standing: watch::Sender<Standing>,
    /// Rooms that the lease has ended: what their players are told.
    cut_off: Mutex<BTreeSet<RoomId>>,
}

impl Shared {
    fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    fn cut_off(&self) -> MutexGuard<'_, BTreeSet<RoomId>> {
        // Nothing panics while it is held.
        self.cut_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, electorate: Vec<Voter>, renewal_age: Duration) -> ServerRecord {
        let Parts { directory, rooms, card, health, endpoints, .. } = &self.parts;
        let zone = match card.zone.as_str() {
            "" => endpoints.zone(&card.peer),
            zone => zone.to_owned(),
        };
        let (game, sim_version) = rooms.game();
        let (rooms_max, room_capacity_max) = rooms.limits();
        let players = rooms.all().into_iter();
        ServerRecord {
            instance: directory.me().clone(),
            name: card.name.clone(),
            route: card.route.clone(),
            peer: card.peer.clone(),
            release: card.release.clone(),
            game: game.to_owned(),
            sim_version,
            sim_versions: rooms.sim_versions(),
            rooms_max: u32::try_from(rooms_max).unwrap_or(u32::MAX),
            room_capacity_max,
            is_draining: health.is_draining() || health.is_drained() || health.awaits_edges(),
            players: players.map(|room| (room.info().id.clone(), room.info().players())).collect(),
            electorate,
            renewal_age_ms: u64::try_from(renewal_age.as_millis()).unwrap_or(u64::MAX),
            zone,
            node: card.node.clone(),
        }
    }
}

impl Keeper {
    /// A keeper that has not begun. The server is not ready until its lease was renewed for the first time.
    pub fn new(parts: Parts) -> Self {
        parts.health.set_cut_off(true);
        let shared = Shared {
            parts,
            standing: watch::Sender::new(Standing::Held),
            cut_off: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether rooms may play, and word of each change.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Keeps this server's place until `stop`, which comes after its rooms have ended; then takes its records back.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        // If this is dropped, its tasks end, too.
        let stop_tasks = stop.child_token();
        let _guard = stop_tasks.clone().drop_guard();
        let renewal = renewal::run(Arc::clone(&self.shared), stop_tasks.clone());
        spawn_named(&tasks, "lease", renewal);
        let reconcile = reconcile::run(Arc::clone(&self.shared), stop_tasks.clone());
        spawn_named(&tasks, "records", reconcile);
        let witness = sweep::watch(Arc::clone(&self.shared), stop_tasks.clone());
        spawn_named(&tasks, "witness", witness);
        let sweep = sweep::run(Arc::clone(&self.shared), stop_tasks.clone());
        spawn_named(&tasks, "sweep", sweep);
        tasks.close();
        tasks.wait().await;
        // What was claimed and has not begun is not over either.
        let claimed = self.shared.parts.fates.claiming();
        self.shared.cut_off().extend(claimed);
        self.shared.parts.fates.close().await;
        if timeout(FAREWELL_TIMEOUT, reconcile::farewell(&self.shared)).await.is_err() {
            tracing::warn!("this server's records stay in the directory: it does not answer");
        }
    }
}
