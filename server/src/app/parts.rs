//! A server's parts, put together.

use super::credentials::{Credentials, Keepers};
use super::{Error, credentials, fleet};
use crate::config::{Config, StoreSync};
use crate::game::GameFactory;
use crate::http2::Peer;
use crate::listener::{self, Tuning};
use crate::replay::Pool;
use crate::room::registry::Recording;
use crate::room::{Registry, Settings};
use crate::session::directory::Fleet;
use crate::session::onlooking::Onlookers;
use crate::session::{Limits, Lobby, Replays, Sessions};
use crate::store::{FileStore, MemoryStore, Store, file};
use crate::telemetry::metrics::connections::Connections;
use crate::telemetry::{Health, Metrics, Telemetry, admin};
use crate::tls::Acceptor;
use crate::{rpc, session, status, web, wire};
use axum::Router;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Operators who change something are few.
pub(super) const CONTROL: Tuning = Tuning {
    connections_max: 64,
    connections_per_address_max: 0,
    streams_per_connection_max: 16,
    peer: Peer::Client,
};
/// How many late ticks a room makes up for at once.
const CATCH_UP_TICKS_MAX: u32 = 4;

/// How often rooms hand their logs to the store; a process that is killed loses this much.
const CHUNK_EVERY: Duration = Duration::from_millis(500);
/// How much is kept where, unless told otherwise.
const MEMORY_STORE_MIB: u32 = 64;
pub(super) const FILE_STORE_MIB: u32 = 1024;

/// A server before it has any socket: what tests drive over streams of their own.
pub struct Parts {
    pub(super) sessions: Arc<Sessions>,
    lobby: Arc<Lobby>,
    pub(super) health: Arc<Health>,
    pub(super) players: Router,
    pub(super) operators: Router,
    pub(super) peers: Router,
    pub(super) control: Router,
    pub(super) stop_operators: CancellationToken,
    pub(super) tuning: Tuning,
    pub(super) tls: Option<Arc<Acceptor>>,
    pub(super) keepers: Keepers,
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
        let (fleet, on_end) = fleet::alone(config, config.listen);
        let credentials = credentials::read(config, &telemetry.metrics)?;
        let parts = Self::in_fleet(
            config,
            vec![game],
            store,
            replay_threads,
            telemetry,
            credentials,
            fleet,
        )?;
        parts.sessions.rooms.tell_of_ends(on_end);
        Ok(parts)
    }

    /// With other servers around it.
    pub(super) fn in_fleet(
        config: &Config,
        games: Vec<Arc<dyn GameFactory>>,
        store: Arc<dyn Store>,
        replay_threads: usize,
        telemetry: &Telemetry,
        credentials: Credentials,
        fleet: Fleet,
    ) -> Result<Self, Error> {
        let stop_operators = CancellationToken::new();
        let Telemetry { health, metrics, .. } = telemetry.clone();
        note_limits(&metrics, config);
        expect_known(&metrics);
        let settings = Settings {
            tick_rate_hz: config.tick_rate,
            grace: config.grace,
            idle_timeout: config.idle_timeout,
            reservation: config.keys.ticket_ttl,
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
        let replays = Replays::new(store, games.clone(), pool, Arc::clone(&metrics));
        let rooms = Registry::new(
            games,
            settings,
            config.rooms_max,
            config.room_capacity,
            config.seed,
            recording,
            telemetry,
        );
        let (game, sim_version) = rooms.game();
        metrics.set_game(game, sim_version);
        let limits = Limits {
            hello_timeout: HELLO_TIMEOUT,
            staleness_window: config.staleness_window,
            heartbeat: HEARTBEAT,
            idle_timeout: config.idle_timeout,
            ticket_ttl: config.keys.ticket_ttl,
            allow_guests: config.allows_guests(),
        };
        let Credentials { keys, tls, keepers, peer_tls: _ } = credentials;
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
        let onlookers = Arc::new(Onlookers::new(&sessions));
        let origins = Arc::new(web::Origins {
            allowed: config.allow_origin.clone(),
            is_local: config.listen.ip().is_loopback(),
        });
        let streams = rpc::address::Streams::new(
            &sessions,
            config.streams_per_address_max(),
            config.trusted_hops,
        );
        let players = rpc::router(&lobby, &health)?
            .merge(web::router(&lobby, Arc::clone(&origins), Arc::clone(&onlookers)))
            .layer(cors(origins))
            .layer(axum::middleware::from_fn_with_state(streams, rpc::address::limited));
        Ok(Self {
            operators: admin::router(&health, &metrics).merge(status::router(
                &sessions,
                &health,
                stop_operators.clone(),
            )),
            stop_operators,
            peers: rpc::peer::router(&lobby, &onlookers),
            control: rpc::control_router(&sessions)?,
            sessions,
            lobby,
            health,
            players,
            tuning: Tuning {
                connections_max: config.connections_max as usize,
                connections_per_address_max: config.connections_per_address_max(),
                streams_per_connection_max: config.streams_per_connection_max,
                peer: if config.trusted_hops > 0 { Peer::Proxy } else { Peer::Client },
            },
            tls,
            keepers,
        })
    }

    /// Reads keys and certificates again from now on, until `stop`, as a server does that runs. Once.
    pub fn keep_credentials(&self, tracker: &TaskTracker, stop: &CancellationToken) {
        self.keepers.spawn(tracker, stop);
    }

    /// Serves one player's connection, of whatever kind, until it ends.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let stop = CancellationToken::new();
        let counts = self.sessions.metrics.connections.clone();
        let (server, router) = (listener::server(self.tuning, counts), self.players.clone());
        let permit = listener::without_address(&server);
        match &self.tls {
            Some(tls) => listener::secured(&server, tls, stream, router, permit, stop).await,
            None => listener::unknown(&server, stream, router, permit, stop).await,
        }
    }

    /// Serves one operator's connection until it ends, or [`Self::stop_operators`] cuts it short.
    pub async fn serve_operator(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        self.serve_uncounted(stream, self.tuning, self.operators.clone()).await;
    }

    /// The same for one who changes something.
    pub async fn serve_control(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        self.serve_uncounted(stream, CONTROL, self.control.clone()).await;
    }

    async fn serve_uncounted(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        tuning: Tuning,
        router: Router,
    ) {
        let stop = self.stop_operators.clone();
        let server = listener::server(tuning, Connections::default());
        let permit = listener::without_address(&server);
        listener::unknown(&server, stream, router, permit, stop).await;
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

/// What gauges are compared with.
fn note_limits(metrics: &Metrics, config: &Config) {
    let as_gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let players = config.rooms_max.saturating_mul(config.room_capacity as usize);
    metrics.capacity_players.set(as_gauge(players));
    metrics.capacity_rooms.set(as_gauge(config.rooms_max));
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

pub(super) fn open_store(config: &Config) -> Result<Arc<dyn Store>, Error> {
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

/// What gRPC-Web needs from a page of another origin; only configured ones are let in.
fn cors(origins: Arc<web::Origins>) -> CorsLayer {
    let allowed = AllowOrigin::predicate(move |origin, _| {
        origin.to_str().is_ok_and(|origin| origins.lists(origin))
    });
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([http::Method::POST, http::Method::GET])
        // Whatever is asked for: `*` would leave out `authorization`, which carries tickets.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(
            ["grpc-status", "grpc-message", "grpc-status-details-bin"]
                .map(http::HeaderName::from_static),
        )
        .max_age(Duration::from_secs(3600))
}
