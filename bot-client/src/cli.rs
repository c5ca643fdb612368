//! The command line.

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fray_bot::admin::{self, AdminArgs};
use fray_bot::client::tracing::Tracer;
use fray_bot::client::transport::{Channels, GrpcServer, Server, Trust, WebSocketServer};
use fray_bot::client::{Options, Player};
use fray_bot::proxy::{self, Shape};
use fray_bot::replay::{self, ReplayArgs};
use fray_bot::swarm::{self, Limits, Outputs, Plan, Role, Watching};
use fray_bot::terminal::{self, Seat, Watcher};
use fray_bot::traces::Exporter;
use fray_proto::v1;
use fray_server::config::traces::TraceFlags;
use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use fray_server::telemetry::Traces;
use fray_server::telemetry::traces::export::Counts;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// When somebody at a terminal is told that there is no server.
const FIRST_ATTEMPTS: Duration = Duration::from_secs(10);

/// How long the last traces may take after the bots have left.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bots and load for Fray, an authoritative multiplayer game server
#[derive(Debug, Parser)]
#[command(version = fray_server::telemetry::VERSION, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Trust the certificate authorities in this PEM file behind https:// addresses, and nobody else [default: the system's]
    #[arg(long, env = "FRAY_CA", value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Swarm(Box<SwarmArgs>),
    Proxy(ProxyArgs),
    Play(PlayArgs),
    Watch(WatchArgs),
    Replay(ReplayArgs),
    Admin(AdminArgs),
}

/// Let many bots play, check everything that the server tells them, and measure
///
/// Every bot keeps a replica of the world, compares every checksum, and recomputes the hash over its applied moves. The exit
/// code is 1 after a desync, a lost or doubled move, a session that came back as somebody else, or a missed limit; it is 0
/// otherwise, also after Ctrl-C.
#[derive(Debug, Args)]
struct SwarmArgs {
    /// Where the server is
    #[arg(long, env = "FRAY_URL", default_value = "http://127.0.0.1:7777")]
    url: String,
    /// How many players
    #[arg(long, short = 'n', default_value_t = 10)]
    players: usize,
    /// Spread the players over this many new rooms; without it the server chooses
    #[arg(long, value_name = "N")]
    rooms: Option<usize>,
    /// Start the players evenly over this time
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    ramp: Duration,
    /// Play this long after the ramp; 0 plays until Ctrl-C or SIGTERM
    #[arg(long, default_value = "30s", value_parser = parse_duration_or_zero)]
    duration: Duration,
    /// Moves per second and player; without it bots move their hands as people do
    #[arg(long, value_name = "HZ")]
    rate: Option<f64>,
    /// Bots with the same seed decide alike
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to carry the Play streams
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    transport: Transport,
    /// How many gRPC streams share a connection
    #[arg(long, value_name = "N", default_value_t = 100)]
    streams_per_connection: usize,
    /// This share of the players, 0 to 1, stops reading after 2 s but goes on sending moves, with a frozen acknowledgement
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    stall: f64,
    /// Those who stop reading acknowledge all the same, so that the server goes on writing to them
    #[arg(long, requires = "stall")]
    stall_lies: bool,
    /// This share of the players, 0 to 1, drops the stream every 2 to 8 s without a word, and resumes
    #[arg(long, value_name = "FRACTION", num_args = 0..=1, default_value_t = 0.0, default_missing_value = "1")]
    churn: f64,
    #[command(flatten)]
    outputs: Outputs,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    traces: TraceFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// One HTTP/2 stream per player
    Grpc,
    /// One WebSocket per player, as browsers have it
    Ws,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Ws => "ws",
        }
    }
}

/// Forward TCP connections over a long, uneven or narrow way
///
/// The delay is one way and applies to each direction: with --delay-ms 80 a round trip takes 160 ms longer. The order of bytes
/// is kept. What is under way is bounded; past that the proxy stops reading.
#[derive(Debug, Args)]
struct ProxyArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    listen: String,
    /// Where to forward to
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7777")]
    to: String,
    /// One-way delay of each direction
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay_ms: u64,
    /// The delay varies by up to this, to both sides
    #[arg(long, value_name = "MS", default_value_t = 0)]
    jitter_ms: u64,
    /// Let bytes pass for this long, then stall, and so on; 0 is no stalls
    #[arg(long, value_name = "MS", default_value_t = 0)]
    stall_every_ms: u64,
    /// How long a stall is
    #[arg(long, value_name = "MS", default_value_t = 200)]
    stall_ms: u64,
    /// Bandwidth of each direction of each connection, in kbit/s; 0 is no limit
    #[arg(long, value_name = "KBPS", default_value_t = 0)]
    bandwidth_kbps: u64,
    /// The most that may be under way in one direction of one connection, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    buffer_kib: usize,
    /// Where the jitter's random numbers start
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Play in this terminal
///
/// Arrow keys or WASD fly, space fires, ? shows the keys, q leaves.
#[derive(Debug, Args)]
struct PlayArgs {
    /// Where the server is
    #[arg(long, env = "FRAY_URL", default_value = "http://127.0.0.1:7777")]
    url: String,
    /// How to carry the stream
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    transport: Transport,
    /// What others see of you; without it the server makes a name up
    #[arg(long, default_value = "")]
    name: String,
    /// The room of this id; without it the server chooses
    #[arg(long, value_name = "ID", conflicts_with = "code")]
    room: Option<String>,
    /// The private room with this code
    #[arg(long)]
    code: Option<String>,
}

/// Look on in this terminal
#[derive(Debug, Args)]
struct WatchArgs {
    /// Where the server is
    #[arg(long, env = "FRAY_URL", default_value = "http://127.0.0.1:7777")]
    url: String,
    /// The room of this id; without it the fullest public one
    #[arg(long, value_name = "ID", conflicts_with = "code")]
    room: Option<String>,
    /// The private room with this code
    #[arg(long)]
    code: Option<String>,
    /// Whose surroundings, by the player's number in the room; 0: the best player's
    #[arg(long, value_name = "N", default_value_t = 0)]
    player: u32,
}

/// "0" needs no unit.
fn parse_duration_or_zero(text: &str) -> Result<Duration, humantime::DurationError> {
    if text == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) }
}

/// Does what was asked for, until it is done or `stop` is cancelled.
pub(super) async fn run(cli: Cli, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let trust = match &cli.ca {
        None => Trust::default(),
        Some(ca) => Trust::of_file(ca).with_context(|| format!("--ca {}", ca.display()))?,
    };
    match cli.command {
        Command::Swarm(args) => run_swarm(*args, &trust, stop).await,
        Command::Proxy(args) => run_proxy(args, stop).await,
        Command::Play(args) => run_play(args, trust, stop).await,
        Command::Watch(args) => run_watch(args, &trust, stop).await,
        Command::Replay(args) => {
            let games: [Arc<dyn GameFactory>; 1] = [Arc::new(Arena::default())];
            replay::run(&games, ReplayArgs { trust, ..args }, stop).await
        }
        Command::Admin(args) => Ok(admin::run(args, stop).await),
    }
}

async fn run_swarm(
    args: SwarmArgs,
    trust: &Trust,
    stop: CancellationToken,
) -> anyhow::Result<ExitCode> {
    for (share, name) in [(args.stall, "--stall"), (args.churn, "--churn")] {
        ensure!((0.0..=1.0).contains(&share), "{name} is a share from 0 to 1");
    }
    ensure!(args.stall + args.churn <= 1.0, "--stall and --churn are shares of the same players");
    ensure!(args.rate.is_none_or(|hz| hz > 0.0), "--rate is above 0");
    let plan = Plan {
        players: args.players,
        rooms: args.rooms,
        ramp: args.ramp,
        duration: (!args.duration.is_zero()).then_some(args.duration),
        rate_hz: args.rate,
        seed: args.seed,
        stall: args.stall,
        stall_lies: args.stall_lies,
        churn: args.churn,
        ..Plan::default()
    };
    let complain = |what: &str| eprintln!("{what}");
    let instance = std::process::id().to_string();
    let counts = Counts::default();
    let traces = args.traces.start("fray-bot", instance, None, &counts, complain);
    let mut servers = Servers::new(&args, trust, &traces)?;
    let mut watching = Watching::begin(args.outputs)?;
    let told = |now: &swarm::Progress| watching.progress(now);
    let report = swarm::run(plan, stop, |_, role| servers.give(role), told).await;
    let exported = Arc::clone(&traces);
    tokio::task::spawn_blocking(move || exported.shut_down(EXPORT_TIMEOUT)).await?;
    let lost = counts.dropped.get() + counts.failed.get();
    if lost > 0 {
        eprintln!(
            "traces: {lost} spans did not reach the collector, {} did",
            counts.exported.get()
        );
    }
    let failures = watching.end(report, &args.limits, args.transport.name())?;
    for failure in &failures {
        eprintln!("FAILED: {failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ways to the server. Players that will not read have connections of their own: on a shared one, their unread bytes
/// would hold up their neighbours, and the measurement would blame the server.
struct Servers {
    websocket: Option<WebSocketServer>,
    reading: (Channels, usize),
    stalling: (Channels, usize),
}

impl Servers {
    fn new(args: &SwarmArgs, trust: &Trust, traces: &Arc<Traces>) -> anyhow::Result<Self> {
        let exporter = || Arc::new(Exporter(Arc::clone(traces))) as Arc<dyn Tracer>;
        let channels = Channels::trusting(&args.url, args.streams_per_connection, trust)
            .with_context(|| format!("--url {}", args.url))?
            .traced(traces.is_on().then(exporter));
        let websocket = match args.transport {
            Transport::Grpc => None,
            Transport::Ws => {
                let lobby = channels.clone().next(0);
                Some(WebSocketServer::new(&args.url, lobby)?.trusting(trust.clone()))
            }
        };
        Ok(Self { websocket, reading: (channels.clone(), 0), stalling: (channels, 0) })
    }

    fn give(&mut self, role: Role) -> Arc<dyn Server> {
        if let Some(server) = &self.websocket {
            return Arc::new(server.clone());
        }
        let stalls = role == Role::Stalls;
        let (channels, count) = if stalls { &mut self.stalling } else { &mut self.reading };
        *count += 1;
        Arc::new(channels.next(*count - 1))
    }
}

async fn run_proxy(args: ProxyArgs, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    ensure!(args.jitter_ms <= args.delay_ms, "--jitter-ms is at most --delay-ms");
    let ms = Duration::from_millis;
    let config = proxy::Config {
        shape: Shape {
            delay: ms(args.delay_ms),
            jitter: ms(args.jitter_ms),
            stall_every: ms(args.stall_every_ms),
            stall: ms(args.stall_ms),
            bytes_per_s: (args.bandwidth_kbps > 0).then_some(args.bandwidth_kbps * 1000 / 8),
        },
        buffer_bytes_max: args.buffer_kib.saturating_mul(1024),
        seed: args.seed,
    };
    let listener = TcpListener::bind(&args.listen)
        .await
        .with_context(|| format!("--listen {}", args.listen))?;
    eprintln!("{} -> {}", listener.local_addr()?, args.to);
    proxy::run(listener, args.to, config, stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn run_play(
    args: PlayArgs,
    trust: Trust,
    stop: CancellationToken,
) -> anyhow::Result<ExitCode> {
    let channel = GrpcServer::trusting(&args.url, &trust);
    let channel = channel.with_context(|| format!("--url {}", args.url))?;
    let server: Arc<dyn Server> = match args.transport {
        Transport::Grpc => Arc::new(channel),
        Transport::Ws => Arc::new(WebSocketServer::new(&args.url, channel)?.trusting(trust)),
    };
    let room = match (args.room, args.code) {
        (Some(id), _) => Some(v1::join_request::Room::RoomId(id)),
        (None, code) => code.map(v1::join_request::Room::Code),
    };
    let request = v1::JoinRequest { player_name: args.name, room, ..v1::JoinRequest::default() };
    let options = Options { first_attempts: FIRST_ATTEMPTS, ..Options::default() };
    let player = Player::new(server, request, options);
    terminal::run(Seat::Player(Box::new(player)), 0, stop).await
}

async fn run_watch(
    args: WatchArgs,
    trust: &Trust,
    stop: CancellationToken,
) -> anyhow::Result<ExitCode> {
    let server = GrpcServer::trusting(&args.url, trust);
    let server = server.with_context(|| format!("--url {}", args.url))?;
    let request = v1::WatchRequest {
        room_id: args.room.unwrap_or_default(),
        code: args.code.unwrap_or_default(),
        player: args.player,
        ..Default::default()
    };
    let watcher = Watcher::new(server, request);
    terminal::run(Seat::Watcher(Box::new(watcher)), args.player, stop).await
}
