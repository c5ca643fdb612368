//! A server: its parts put together, run, and ended in order.

use crate::cluster::evacuation::Figures;
use crate::cluster::fate::Fates;
use crate::cluster::handover::Mover;
use crate::cluster::keeper::Keeper;
use crate::cluster::nats::Follower;
use crate::cluster::rebalance::Rebalancer;
use crate::config::Config;
use crate::game::GameFactory;
use crate::game::arena::Arena;
use crate::http2::Peer;
use crate::listener::{self, Bound, Listener, Tuning};
use crate::replay::Pool;
use crate::session::Sessions;
use crate::session::directory::Directory;
use crate::store::Store;
use crate::telemetry::metrics::connections::Connections;
use crate::telemetry::traces::names;
use crate::telemetry::{Health, Telemetry, spawn_named};
use credentials::Keepers;
use parts::{CONTROL, open_store};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use surroundings::Surroundings;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub mod credentials;
mod fleet;
mod parts;
mod surroundings;

pub use parts::Parts;

/// Why a server cannot start or did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] listener::Error),
    /// The directory cannot be used.
    #[error("--nats: {0}")]
    Directory(#[from] crate::cluster::nats::StartError),
    /// There is no way to the Kubernetes API.
    #[error("--kube: {0}")]
    Kube(#[from] crate::cluster::kube::Error),
    /// Keys or certificates cannot be had.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// The descriptors of the services are broken.
    #[error("reflection cannot be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The store cannot be opened.
    #[error("--store: {0}")]
    Store(#[from] crate::store::Error),
    /// The threads that play recordings cannot be started.
    #[error("no threads for replays: {0}")]
    Threads(std::io::Error),
    /// Signals cannot be caught.
    #[error("signals cannot be caught: {0}")]
    Signals(std::io::Error),
    /// Whoever ended the server did not want to wait.
    #[error("a second signal: ended at once")]
    SecondSignal,
    /// Something did not end in time.
    #[error("not everything ended within {0:?}; it was cut off")]
    ShutdownTimeout(Duration),
}

/// Makes servers: see [`Server::builder`].
pub struct Server {
    game: Arc<dyn GameFactory>,
    older: Vec<Arc<dyn GameFactory>>,
    config: Option<Config>,
    telemetry: Telemetry,
    directory: Option<Arc<dyn Directory>>,
}

impl Server {
    /// A server for the arena with the default configuration, unless told otherwise.
    pub fn builder() -> Self {
        Self {
            game: Arc::new(Arena::default()),
            older: Vec::new(),
            config: None,
            telemetry: Telemetry::default(),
            directory: None,
        }
    }

    /// The game that its rooms play.
    #[must_use]
    pub fn game(mut self, game: impl GameFactory) -> Self {
        self.game = Arc::new(game);
        self
    }

    /// Another version of the game's rules, for rooms that come from servers of another release. New rooms do not play it.
    #[must_use]
    pub fn also(mut self, game: impl GameFactory) -> Self {
        self.older.push(Arc::new(game));
        self
    }

    /// How it is set up.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Where it counts and traces; without it, nothing is traced.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// The directory that it shares with other servers, in place of the one that the configuration names.
    #[must_use]
    pub fn directory(mut self, directory: impl Directory) -> Self {
        self.directory = Some(Arc::new(directory));
        self
    }

    /// Binds the listeners. From here on health says that the server is ready; [`App::run`] serves.
    pub async fn build(self) -> Result<App, Error> {
        let Self { game, older, config, telemetry, directory } = self;
        let games = std::iter::once(game).chain(older).collect();
        App::build(config.unwrap_or_default(), games, &telemetry, directory).await
    }
}

/// A server that is bound and ready to run.
pub struct App {
    shutdown_timeout: Duration,
    sessions: Arc<Sessions>,
    health: Arc<Health>,
    stop_operators: CancellationToken,
    players: Listener,
    operators: Listener,
    control: Listener,
    peers: Option<Listener>,
    follower: Option<Follower>,
    /// Gives rooms to others when it ends, and says whether more are on their way here.
    mover: Option<(Arc<Mover>, Arc<Fates>)>,
    rebalancer: Option<Arc<Rebalancer>>,
    rebalance_every: Duration,
    keeper: Option<Keeper>,
    keepers: Keepers,
    /// It leaves its rooms in its own store, for the next start.
    leaves_rooms: bool,
    surroundings: Surroundings,
}

impl App {
    async fn build(
        config: Config,
        games: Vec<Arc<dyn GameFactory>>,
        telemetry: &Telemetry,
        directory: Option<Arc<dyn Directory>>,
    ) -> Result<Self, Error> {
        let (players, operators) =
            (Bound::to(config.listen).await?, Bound::to(config.admin).await?);
        let control = Bound::to(config.control.control).await?;
        let (directory, follower) = match directory {
            Some(directory) => (Some(directory), None),
            None => fleet::directory(&config, telemetry).await?.unzip(),
        };
        let peers = match &directory {
            Some(_) => Some(Bound::to(config.fleet.peer_or(config.listen.ip())).await?),
            None => None,
        };
        let credentials = credentials::read(&config, &telemetry.metrics)?;
        let surroundings = Surroundings::new(&config, telemetry).await?;
        let store = if config.fleet.store_nats {
            fleet::store(&config).await?
        } else {
            open_store(&config)?
        };
        let addresses = peers.as_ref().map(|peers| (players.address(), peers.address()));
        let (fleet, membership, on_end) = if let Some((directory, addresses)) =
            directory.zip(addresses)
        {
            let (fleet, membership) =
                fleet::join(&config, &credentials, directory, addresses, telemetry, &surroundings);
            (fleet, Some(membership), None)
        } else {
            let (fleet, on_end) = fleet::alone(&config, players.address());
            (fleet, None, Some(on_end))
        };
        let threads = Pool::threads_by_default();
        let peer_tls = credentials.peer_tls.as_ref().map(|(tls, _)| Arc::clone(tls));
        let parts = Parts::in_fleet(&config, games, store, threads, telemetry, credentials, fleet)?;
        if let Some(on_end) = on_end {
            parts.sessions.rooms.tell_of_ends(on_end);
        }
        let connections = parts.sessions.metrics.connections.clone();
        let players = Listener::new(players, parts.players, parts.tuning, parts.tls, connections);
        // Others than players are not counted.
        let uncounted = Connections::default;
        // Operators have as many as they need; and a server's connection carries streams of many players.
        let of_operators = Tuning { connections_per_address_max: 0, ..parts.tuning };
        let of_peers = Tuning { peer: Peer::Proxy, ..of_operators };
        let operators = Listener::new(operators, parts.operators, of_operators, None, uncounted());
        let control = Listener::new(control, parts.control, CONTROL, None, uncounted());
        let peers =
            peers.map(|peers| Listener::new(peers, parts.peers, of_peers, peer_tls, uncounted()));
        let mover = membership
            .as_ref()
            .map(|place| (place.mover(&parts.sessions, &surroundings), place.fates()));
        let rebalancer = mover.as_ref().map(|(mover, _)| {
            let rebalancer = Arc::new(Rebalancer { mover: Arc::clone(mover) });
            parts.sessions.set_mover(Arc::clone(&rebalancer) as _);
            rebalancer
        });
        let keeper = membership.map(|place| place.keeper(&parts.sessions, &parts.health));
        if config.restore_rooms {
            let rooms = parts.sessions.restore_own_rooms().await;
            tracing::info!(rooms, "rooms of the last run go on");
        }
        parts.health.bound();
        Ok(Self {
            shutdown_timeout: config.shutdown_timeout,
            sessions: parts.sessions,
            health: parts.health,
            stop_operators: parts.stop_operators,
            players,
            operators,
            control,
            peers,
            follower,
            keeper,
            mover,
            rebalancer,
            rebalance_every: config.fleet.rebalance_every,
            keepers: parts.keepers,
            leaves_rooms: config.restore_rooms,
            surroundings,
        })
    }

    /// Where players come in.
    pub fn listen_addr(&self) -> SocketAddr {
        self.players.local_addr()
    }

    /// Where other servers come in, if there are any.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peers.as_ref().map(Listener::local_addr)
    }

    /// Where players come in, as a browser wants it.
    pub fn url(&self) -> String {
        let scheme = if self.players.is_secure() { "https" } else { "http" };
        format!("{scheme}://{}/", self.listen_addr())
    }

    /// Where operators look.
    pub fn admin_addr(&self) -> SocketAddr {
        self.operators.local_addr()
    }

    /// Where operators change something.
    pub fn control_addr(&self) -> SocketAddr {
        self.control.local_addr()
    }

    /// Serves until `stop`, then ends in order: not ready any more, streams told and ended, rooms closed, listeners last.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let (players, operators) = (TaskTracker::new(), TaskTracker::new());
        let (stop_players, stop_operators) = (CancellationToken::new(), self.stop_operators);
        let watchdog =
            watch_ticks(Arc::clone(&self.sessions), Arc::clone(&self.health), stop_players.clone());
        spawn_named(&players, "watchdog", watchdog);
        self.keepers.spawn(&players, &stop_players);
        self.surroundings.spawn(&self.sessions, &self.health, &operators, &stop_operators);
        spawn_named(&players, "players' listener", self.players.serve(stop_players.clone()));
        // Until the rooms have ended, the others must know whose they are.
        let (fleet, stop_fleet) = (TaskTracker::new(), CancellationToken::new());
        let stop_rebalance = CancellationToken::new();
        if let Some(follower) = self.follower {
            spawn_named(&operators, "directory's view", follower.run(stop_operators.clone()));
        }
        if let Some(keeper) = self.keeper {
            spawn_named(&fleet, "place in the fleet", keeper.run(stop_fleet.clone()));
        }
        if let Some(rebalancer) = self.rebalancer.filter(|_| !self.rebalance_every.is_zero()) {
            let health = Arc::clone(&self.health);
            let rebalance = rebalancer.run(self.rebalance_every, health, stop_rebalance.clone());
            spawn_named(&fleet, "rebalance", rebalance);
        }
        if let Some(peers) = self.peers {
            // What others carry here ends with the players' streams.
            spawn_named(&players, "peers' listener", peers.serve(stop_players.clone()));
        }
        spawn_named(
            &operators,
            "operators' listener",
            self.operators.serve(stop_operators.clone()),
        );

        spawn_named(&operators, "control listener", self.control.serve(stop_operators.clone()));

        stop.await;
        let (rooms, streams) = (self.sessions.rooms.all().len(), self.sessions.streams.len());
        tracing::info!(rooms, streams, "shutting down: taking no more players");
        self.health.draining();
        stop_rebalance.cancel();
        let sessions = &self.sessions;
        let budget = Budget {
            until: Instant::now() + self.shutdown_timeout,
            last_steps: (self.shutdown_timeout / 8).min(LAST_STEPS),
        };
        let in_order = async {
            // Streams of rooms that move end with them; all others at the next tick after this.
            if let Some((mover, fates)) = &self.mover {
                let reserve = (self.shutdown_timeout / 4).min(SHUTDOWN_RESERVE);
                let more_come = || !sessions.arrivals.are_over() || !fates.claiming().is_empty();
                let within = self.shutdown_timeout.saturating_sub(reserve);
                evacuate(mover, within, more_come).await;
                if mover.shares_store {
                    sessions.rooms.leave_unfinished();
                }
            }
            if self.leaves_rooms {
                sessions.leave_rooms().await;
            }
            sessions.drain();
            // The listener stays open while streams are told and end, at their room's next tick.
            sessions.streams.close();
            // Streams of a room that is still on its way end with it.
            let on_their_way = async {
                if let Some((mover, _)) = &self.mover {
                    mover.close(budget.share(MOVING_LINGER)).await;
                }
            };
            let within = budget.share(self.shutdown_timeout / 2);
            let (told, ()) = tokio::join!(timeout(within, sessions.streams.wait()), on_their_way);
            if told.is_err() {
                tracing::warn!(
                    streams = sessions.streams.len(),
                    "streams whose peers take no bytes are cut off"
                );
            }
            // What others asked to be played again must not keep the rooms from writing their ends.
            let replayed =
                timeout(budget.share(self.shutdown_timeout / 4), sessions.replays.close()).await;
            if replayed.is_err() {
                tracing::warn!("recordings that are being played are cut off");
            }
            tracing::info!("shutting down: no streams are left, rooms write their ends");
            stop_players.cancel();
            players.close();
            players.wait().await;
            if !sessions.arrivals.close(budget.share(self.shutdown_timeout / 4)).await {
                tracing::warn!(
                    "a room that came from another server cannot be taken over: the directory is away"
                );
            }
            sessions.readers.close();
            sessions.readers.wait().await;
            sessions.rooms.close().await;
            // Before the others are told that they may go on with rooms from their logs.
            let stored = close_store(Arc::clone(sessions.rooms.store()));
            if timeout(budget.all_but(FAREWELL), stored).await.is_err() {
                tracing::error!("the store does not take the last that was played in time");
            }
            stop_fleet.cancel();
            fleet.close();
            fleet.wait().await;
            tracing::info!("shutting down: rooms and store are closed");
            stop_operators.cancel();
            operators.close();
            operators.wait().await;
        };
        let span = tracing::info_span!("shutdown", otel.name = names::SHUTDOWN);
        let in_order = in_order.instrument(span);
        let ended = tokio::time::timeout(self.shutdown_timeout, in_order).await;
        ended.map_err(|_| Error::ShutdownTimeout(self.shutdown_timeout))
    }

    /// Serves until SIGTERM or Ctrl-C, then ends in order; a second signal ends at once.
    pub async fn run_until_signalled(self) -> Result<(), Error> {
        let mut signals = Signals::new().map_err(Error::Signals)?;
        let stop = CancellationToken::new();
        let mut running = pin!(self.run(stop.cancelled()));
        tokio::select! {
            ended = running.as_mut() => return ended,
            () = signals.next() => stop.cancel(),
        }
        tokio::select! {
            ended = running => ended,
            () = signals.next() => Err(Error::SecondSignal),
        }
    }
}

/// What is left of the time for a shutdown when rooms must have moved.
const SHUTDOWN_RESERVE: Duration = Duration::from_secs(5);

/// The time for a shutdown.
struct Budget {
    until: Instant,
    last_steps: Duration,
}

impl Budget {
    /// For one part of it: no more than there is, with something left for what must come after it.
    fn share(&self, wanted: Duration) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        wanted.min(left.saturating_sub(self.last_steps))
    }

    /// All that there is, but for this.
    fn all_but(&self, kept: Duration) -> Duration {
        self.until.saturating_duration_since(Instant::now()).saturating_sub(kept)
    }
}

/// For rooms and the store to write their ends, and for the others to hear of it; less where there is less time in all.
const LAST_STEPS: Duration = Duration::from_secs(3);
/// For the last of these.
const FAREWELL: Duration = Duration::from_millis(500);
/// Rooms that are still on their way at the deadline have so long to arrive.
const MOVING_LINGER: Duration = Duration::from_secs(1);

/// Gives the rooms to other servers.
async fn evacuate(mover: &Arc<Mover>, within: Duration, more_come: impl Fn() -> bool) {
    let began = Instant::now();
    let Figures { moved, parked, left } = mover.evacuate(began + within, more_come).await;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(moved, parked, left, took_ms, "shutting down: rooms have gone to other servers");
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn note_store(sessions: &Sessions) {
    let counts = sessions.rooms.store().counts();
    sessions.metrics.store_stands(counts.bytes, counts.disk_errors, counts.chunks_lost);
}

/// What rooms handed over is in files before the process ends.
async fn close_store(store: Arc<dyn Store>) {
    match tokio::task::spawn_blocking(move || store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the store cannot be closed in order"),
        Err(error) => tracing::error!(%error, "the store broke while it was closed"),
    }
}

/// Says that the process is not live any more when a room's tick does not come, and that it is again when it does.
async fn watch_ticks(sessions: Arc<Sessions>, health: Arc<Health>, stop: CancellationToken) {
    const EVERY: Duration = Duration::from_secs(5);
    let mut seen = std::collections::HashMap::new();
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        note_store(&sessions);
        let mut now = std::collections::HashMap::new();
        for room in sessions.rooms.all() {
            // One that moves stands still, too.
            if *room.frozen().borrow() || *room.moving().borrow() {
                continue;
            }
            let tick = room.frames().borrow().tick;
            now.insert(room.info().id.clone(), tick);
        }
        let stalled: Vec<_> = now
            .iter()
            .filter(|(id, tick)| seen.get(*id) == Some(*tick))
            .map(|(id, _)| id)
            .collect();
        for room in &stalled {
            tracing::error!(%room, for_s = EVERY.as_secs(), "a room does not tick");
        }
        health.set_live(stalled.is_empty());
        sessions.metrics.rooms_stalled.set(stalled.len() as i64);
        seen = now;
    }
}
