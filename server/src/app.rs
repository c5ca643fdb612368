//! A server: its parts put together, run, and ended in order.

pub mod credentials;

use crate::cluster::memory::{MemoryDirectory, NoPeers};
use crate::config::{Config, StoreSync};
use crate::game::GameFactory;
use crate::game::arena::Arena;
use crate::listener::{self, Listener, Tuning};
use crate::replay::Pool;
use crate::room::registry::Recording;
use crate::room::{Registry, Settings};
use crate::session::directory::Fleet;
use crate::session::{Limits, Lobby, Replays, Sessions};
use crate::store::{FileStore, MemoryStore, Store, file};
use crate::telemetry::traces::names;
use crate::telemetry::{Health, Metrics, Telemetry, admin, spawn_named};
use crate::tls::Acceptor;
use crate::{rpc, session, status, web, wire};
use axum::Router;
use credentials::{Credentials, Keepers};
use prometheus_client::metrics::gauge::Gauge;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use tracing::Instrument as _;

/// How long a seat waits for the player who reserved it, and how long its ticket is good.
const RESERVATION: Duration = Duration::from_secs(60);
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How many late ticks a room makes up for at once.
const CATCH_UP_TICKS_MAX: u32 = 4;

/// How often rooms hand their logs to the store; a process that is killed loses this much.
const CHUNK_EVERY: Duration = Duration::from_millis(500);
/// How much is kept where, unless told otherwise.
const MEMORY_STORE_MIB: u32 = 64;
const FILE_STORE_MIB: u32 = 1024;

/// Why a server cannot start or did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] listener::Error),
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
    config: Option<Config>,
    telemetry: Telemetry,
}

impl Server {
    /// A server for the arena with the default configuration, unless told otherwise.
    pub fn builder() -> Self {
        Self { game: Arc::new(Arena::default()), config: None, telemetry: Telemetry::default() }
    }

    /// The game that its rooms play.
    #[must_use]
    pub fn game(mut self, game: impl GameFactory) -> Self {
        self.game = Arc::new(game);
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

    /// Binds the listeners. From here on health says that the server is ready; [`App::run`] serves.
    pub async fn build(self) -> Result<App, Error> {
        App::build(self.config.unwrap_or_default(), self.game, &self.telemetry).await
    }
}

/// A server before it has any socket: what tests drive over streams of their own.
pub struct Parts {
    sessions: Arc<Sessions>,
    lobby: Arc<Lobby>,
    health: Arc<Health>,
    players: Router,
    operators: Router,
    stop_operators: CancellationToken,
    tuning: Tuning,
    tls: Option<Arc<Acceptor>>,
    keepers: Mutex<Keepers>,
}

impl Parts {
    /// Puts a server together. Must be called within a tokio runtime.
    pub fn new(config: &Config, game: Arc<dyn GameFactory>) -> Result<Self, Error> {
        let store = open_store(config)?;
        Self::with_store(config, game, store, Pool::threads_by_default())
    }

    /// With recordings that are kept elsewhere, and so many threads to play them; 0: see [`Pool::new`].
    pub fn with_store(
        config: &Config,
        game: Arc<dyn GameFactory>,
        store: Arc<dyn Store>,
        replay_threads: usize,
    ) -> Result<Self, Error> {
        Self::assemble(config, game, store, replay_threads, &Telemetry::default())
    }

    /// With metrics and traces that are kept elsewhere.
    pub fn assemble(
        config: &Config,
        game: Arc<dyn GameFactory>,
        store: Arc<dyn Store>,
        replay_threads: usize,
        telemetry: &Telemetry,
    ) -> Result<Self, Error> {
        let stop_operators = CancellationToken::new();
        let Telemetry { health, metrics, .. } = telemetry.clone();
        note_limits(&metrics, config);
        expect_known(&metrics);
        let settings = Settings {
            tick_rate_hz: config.tick_rate,
            grace: config.grace,
            idle_timeout: config.idle_timeout,
            reservation: RESERVATION,
            empty_ttl: config.room_ttl,
            catch_up_ticks_max: CATCH_UP_TICKS_MAX,
            checkpoint_every: config.checkpoint_every,
            chunk_every: match config.store_sync {
                StoreSync::Tick => Duration::ZERO,
                StoreSync::None | StoreSync::Interval => CHUNK_EVERY,
            },
            incident_lateness: config.incident_lateness,
        };
        let recording = Recording {
            store: Arc::clone(&store),
            server: format!("fray-server {}", env!("CARGO_PKG_VERSION")),
            is_on: config.record,
        };
        let pool = Pool::new(replay_threads, metrics.replay_jobs_waiting.clone());
        let pool = pool.map_err(Error::Threads)?;
        let replays = Replays::new(store, vec![Arc::clone(&game)], pool, Arc::clone(&metrics));
        let rooms = Registry::new(
            game,
            settings,
            config.rooms_max,
            config.room_capacity,
            config.seed,
            recording,
            telemetry,
        );
        let limits = Limits {
            hello_timeout: HELLO_TIMEOUT,
            staleness_window: config.staleness_window,
            heartbeat: HEARTBEAT,
            idle_timeout: config.idle_timeout,
            ticket_ttl: RESERVATION,
            allow_guests: config.allows_guests(),
        };
        let Credentials { keys, tls, keepers } = credentials::read(config, &metrics)?;
        let fleet = Fleet {
            directory: Arc::new(MemoryDirectory::alone()),
            peers: Arc::new(NoPeers),
            route: config.listen.to_string(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let sessions = Arc::new(Sessions::new(
            Arc::new(rooms),
            keys,
            limits,
            telemetry,
            fleet,
            config.server_name(),
            Arc::new(replays),
        ));
        let lobby = Arc::new(Lobby::new(Arc::clone(&sessions)));
        let origins = Arc::new(web::Origins {
            allowed: config.allow_origin.clone(),
            is_local: config.listen.ip().is_loopback(),
        });
        let players = rpc::router(&lobby, &health)?
            .merge(web::router(&lobby, Arc::clone(&origins)))
            .layer(cors(origins));
        Ok(Self {
            operators: admin::router(&health, &metrics).merge(status::router(
                &sessions,
                &health,
                stop_operators.clone(),
            )),
            stop_operators,
            sessions,
            lobby,
            health,
            players,
            tuning: Tuning {
                connections_max: config.connections_max as usize,
                streams_per_connection_max: config.streams_per_connection_max,
            },
            tls,
            keepers: Mutex::new(keepers),
        })
    }

    /// Reads keys and certificates again from now on, until `stop`, as a server does that runs. Once.
    pub fn keep_credentials(&self, tracker: &TaskTracker, stop: &CancellationToken) {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *keepers).spawn(tracker, stop);
    }

    /// Serves one player's connection, of whatever kind, until it ends.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let stop = CancellationToken::new();
        let (http, router) = (listener::http(self.tuning), self.players.clone());
        match &self.tls {
            Some(tls) => listener::secured(&http, tls, stream, router, None, stop).await,
            None => listener::connection(&http, stream, router, None, stop).await,
        }
    }

    /// Serves one operator's connection until it ends, or [`Self::stop_operators`] cuts it short.
    pub async fn serve_operator(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        let stop = self.stop_operators.clone();
        let http = listener::http(self.tuning);
        listener::connection(&http, stream, self.operators.clone(), None, stop).await;
    }

    /// The last step of an orderly end.
    pub fn stop_operators(&self) {
        self.stop_operators.cancel();
    }

    /// What all streams share.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Where seats are given.
    pub fn lobby(&self) -> &Arc<Lobby> {
        &self.lobby
    }

    /// What the process says of itself.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
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
    keepers: Keepers,
}

impl App {
    async fn build(
        config: Config,
        game: Arc<dyn GameFactory>,
        telemetry: &Telemetry,
    ) -> Result<Self, Error> {
        let threads = Pool::threads_by_default();
        let parts = Parts::assemble(&config, game, open_store(&config)?, threads, telemetry)?;
        let connections = parts.sessions.metrics.connections.clone();
        let (router, tls) = (parts.players, parts.tls);
        let players = Listener::bind(config.listen, router, parts.tuning, tls, connections).await?;
        // Probes speak no TLS.
        let (router, uncounted) = (parts.operators, Gauge::default());
        let operators = Listener::bind(config.admin, router, parts.tuning, None, uncounted).await?;
        parts.health.bound();
        Ok(Self {
            shutdown_timeout: config.shutdown_timeout,
            sessions: parts.sessions,
            health: parts.health,
            stop_operators: parts.stop_operators,
            players,
            operators,
            keepers: parts.keepers.into_inner().unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// Where players come in.
    pub fn listen_addr(&self) -> SocketAddr {
        self.players.local_addr()
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

    /// Serves until `stop`, then ends in order: not ready any more, streams told and ended, rooms closed, listeners last.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let (players, operators) = (TaskTracker::new(), TaskTracker::new());
        let (stop_players, stop_operators) = (CancellationToken::new(), self.stop_operators);
        let watchdog =
            watch_ticks(Arc::clone(&self.sessions), Arc::clone(&self.health), stop_players.clone());
        spawn_named(&players, "watchdog", watchdog);
        self.keepers.spawn(&players, &stop_players);
        spawn_named(&players, "players' listener", self.players.serve(stop_players.clone()));
        spawn_named(
            &operators,
            "operators' listener",
            self.operators.serve(stop_operators.clone()),
        );

        stop.await;
        let (rooms, streams) = (self.sessions.rooms.all().len(), self.sessions.streams.len());
        tracing::info!(rooms, streams, "shutting down: taking no more players");
        self.health.draining();
        self.sessions.drain();
        let sessions = &self.sessions;
        let in_order = async {
            // The listener stays open while streams are told and end, at their room's next tick.
            sessions.streams.close();
            let told =
                tokio::time::timeout(self.shutdown_timeout / 2, sessions.streams.wait()).await;
            if told.is_err() {
                tracing::warn!(
                    streams = sessions.streams.len(),
                    "streams whose peers take no bytes are cut off"
                );
            }
            // What others asked to be played again must not keep the rooms from writing their ends.
            let replayed =
                tokio::time::timeout(self.shutdown_timeout / 4, sessions.replays.close()).await;
            if replayed.is_err() {
                tracing::warn!("recordings that are being played are cut off");
            }
            tracing::info!("shutting down: no streams are left, rooms write their ends");
            stop_players.cancel();
            players.close();
            players.wait().await;
            sessions.rooms.close().await;
            close_store(Arc::clone(sessions.rooms.store())).await;
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

/// What gauges are compared with.
fn note_limits(metrics: &Metrics, config: &Config) {
    let as_gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let players = config.rooms_max.saturating_mul(config.room_capacity as usize);
    metrics.capacity_players.set(as_gauge(players));
    metrics.capacity_connections.set(i64::from(config.connections_max));
    metrics.set_tick_rate(config.tick_rate);
    metrics.set_staleness_window(config.staleness_window);
}

/// What telemetry cannot know: the reasons of those above it.
fn expect_known(metrics: &Metrics) {
    let reasons = session::Error::REASONS.iter().chain([&web::websocket::ORIGIN_FORBIDDEN]);
    metrics.expect_refusals(reasons.copied());
    metrics.expect_resyncs(wire::resync_reasons());
}

fn open_store(config: &Config) -> Result<Arc<dyn Store>, Error> {
    let bytes = |default: u32| u64::from(config.store_mib.unwrap_or(default)) << 20;
    let Some(dir) = &config.store else {
        let bytes = usize::try_from(bytes(MEMORY_STORE_MIB)).unwrap_or(usize::MAX);
        return Ok(Arc::new(MemoryStore::new(bytes)));
    };
    let options = file::Options {
        sync: match config.store_sync {
            StoreSync::None => file::Sync::None,
            StoreSync::Interval => file::Sync::Interval,
            StoreSync::Tick => file::Sync::Tick,
        },
        retention_bytes: bytes(FILE_STORE_MIB),
        retention_age: config.store_age,
        ..file::Options::default()
    };
    Ok(Arc::new(FileStore::open(dir, options)?))
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
            if *room.frozen().borrow() {
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

/// What gRPC-Web needs from a page of another origin; only configured ones are let in.
fn cors(origins: Arc<web::Origins>) -> CorsLayer {
    let allowed = AllowOrigin::predicate(move |origin, _| {
        origin.to_str().is_ok_and(|origin| origins.lists(origin))
    });
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([http::Method::POST, http::Method::GET])
        .allow_headers(Any)
        .expose_headers(
            ["grpc-status", "grpc-message", "grpc-status-details-bin"]
                .map(http::HeaderName::from_static),
        )
        .max_age(Duration::from_secs(3600))
}
