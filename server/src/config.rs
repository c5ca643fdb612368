//! The only reader of flags and environment.

pub mod command;
pub mod control;
pub mod fleet;
pub mod keys;
pub mod kube;
pub mod tls;
pub mod traces;

use self::kube::KubeFlags;
use crate::telemetry::VERSION;
use clap::{ArgAction, Parser};
use control::ControlFlags;
use fleet::FleetFlags;
use keys::KeyFlags;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tls::TlsFlags;
use traces::{ServerTraceFlags, TraceFlags};

/// Fray: an authoritative multiplayer game server.
///
/// Without any flags it serves the arena at <http://127.0.0.1:7777>/ and needs nothing else: open the page, or let bots in
/// with `fray-bot swarm`. Every flag can be given as an environment variable, too.
#[derive(Clone, Debug, Parser)]
#[command(name = "fray-server", version = VERSION, max_term_width = 110)]
pub struct Config {
    /// Where players come in: gRPC, gRPC-Web, WebSocket (/ws) and the page, all on one port. Port 0: any free one
    #[arg(long, env = "FRAY_LISTEN", value_name = "ADDR:PORT", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7777))]
    pub listen: SocketAddr,

    /// Where operators look: /livez, /readyz, /metrics, /status
    #[arg(long, env = "FRAY_ADMIN", value_name = "ADDR:PORT", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7780))]
    pub admin: SocketAddr,

    /// Where they change something.
    #[command(flatten)]
    pub control: ControlFlags,

    /// Ticks per second of every room, 1 to 128
    #[arg(long, env = "FRAY_TICK_RATE", value_name = "HZ", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=128))]
    pub tick_rate: u32,

    /// The most players in a room
    #[arg(long, env = "FRAY_ROOM_CAPACITY", value_name = "PLAYERS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub room_capacity: u32,

    /// The most rooms on this server
    #[arg(long, env = "FRAY_ROOMS_MAX", value_name = "ROOMS", default_value_t = 1000)]
    pub rooms_max: usize,

    /// How long a room without players lives on
    #[arg(long, env = "FRAY_ROOM_TTL", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub room_ttl: Duration,

    /// How long a player whose stream broke keeps its place
    #[arg(long, env = "FRAY_GRACE", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub grace: Duration,

    /// How far updates may run ahead of what a client has acknowledged; what a client sees is never older than this
    #[arg(long, env = "FRAY_STALENESS_WINDOW", value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub staleness_window: Duration,

    /// A client that says nothing for this long is gone
    #[arg(long, env = "FRAY_IDLE_TIMEOUT", value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration)]
    pub idle_timeout: Duration,

    /// Seat players who come without a ticket [default: true if --listen is a loopback address]
    #[arg(long, env = "FRAY_ALLOW_GUESTS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub allow_guests: Option<bool>,

    /// Pages of other origins that may use this server, for example <https://play.example.com>; repeatable, "*" for all
    #[arg(long = "allow-origin", env = "FRAY_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', action = ArgAction::Append)]
    pub allow_origin: Vec<String>,

    /// The most connections at once
    #[arg(long, env = "FRAY_CONNECTIONS_MAX", value_name = "CONNECTIONS", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub connections_max: u32,

    /// The most streams at once on one connection
    #[arg(
        long,
        env = "FRAY_STREAMS_PER_CONNECTION_MAX",
        value_name = "STREAMS",
        default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub streams_per_connection_max: u32,

    /// The most connections at once of one address (of IPv6: of one /64); 0: as many as it likes [default: 256; 0 if --listen is a
    /// loopback address, or --trusted-hops is set]
    #[arg(long, env = "FRAY_CONNECTIONS_PER_ADDRESS_MAX", value_name = "CONNECTIONS")]
    pub connections_per_address_max: Option<u32>,

    /// The most streams at once of one address that play or look on; 0: as many as it likes [default: 1024; 0 if --listen is a
    /// loopback address]
    #[arg(long, env = "FRAY_STREAMS_PER_ADDRESS_MAX", value_name = "STREAMS")]
    pub streams_per_address_max: Option<u32>,

    /// How many proxies players come through that each add an address to x-forwarded-for; what comes before what they added is not
    /// believed. 0: none, players connect themselves
    #[arg(long, env = "FRAY_TRUSTED_HOPS", value_name = "PROXIES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=16))]
    pub trusted_hops: u32,

    /// Where every room's random numbers start: the same seed and the same moves give the same game [default: random]
    #[arg(long, env = "FRAY_SEED", value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Record what rooms play; without it there are no recordings, and nothing is kept of an incident
    #[arg(long, env = "FRAY_RECORD", value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub record: bool,

    /// Keep what rooms play in this folder, for recordings; without it, the newest is kept in memory
    #[arg(long, env = "FRAY_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// When the folder's files are made safe against loss of power: by the system alone, every second, or every tick. A process
    /// that is killed loses at most the last half second, with `tick` the last tick
    #[arg(long, env = "FRAY_STORE_SYNC", value_name = "POLICY", value_enum, default_value_t = StoreSync::Interval)]
    pub store_sync: StoreSync,

    /// How much is kept, in MiB, before the oldest is let go [default: 1024 in a folder, 64 in memory]
    #[arg(long, env = "FRAY_STORE_MIB", value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub store_mib: Option<u32>,

    /// How long recordings are kept in the folder
    #[arg(long, env = "FRAY_STORE_AGE", value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    pub store_age: Duration,

    /// Of a server alone: leave rooms in the --store folder at its end, and go on with them at the next start, after a crash, too, while their players may still come back (--grace)
    #[arg(long, env = "FRAY_RESTORE_ROOMS", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = ArgAction::Set, requires = "store", conflicts_with = "nats")]
    pub restore_rooms: bool,

    /// How often a room's whole state goes into its log; less often costs less, and seeking takes longer
    #[arg(long, env = "FRAY_CHECKPOINT_EVERY", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub checkpoint_every: Duration,

    /// A tick that begins this much too late is an incident: the last seconds are kept as a recording
    #[arg(long, env = "FRAY_INCIDENT_LATENESS", value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub incident_lateness: Duration,

    /// How long an orderly end may take after SIGTERM or Ctrl-C, before what is left is cut off
    #[arg(long, env = "FRAY_SHUTDOWN_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub shutdown_timeout: Duration,

    /// The server's name, for people [default: the host's name]
    #[arg(long, env = "FRAY_NAME", value_name = "NAME")]
    pub name: Option<String>,

    /// What to log, for example "info" or "`fray_server=debug`"
    #[arg(long, env = "FRAY_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// How the log looks [default: auto]
    #[arg(long, env = "FRAY_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Auto, hide_default_value = true)]
    pub log_format: LogFormat,

    /// Write only so many lines of each kind, a few a second, and say how many more there were
    #[arg(long, env = "FRAY_LOG_LIMIT", value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub log_limit: bool,

    /// The fleet, if there is one.
    #[command(flatten)]
    pub fleet: FleetFlags,

    /// The cluster that the server runs in, if it is one of Kubernetes.
    #[command(flatten)]
    pub kube: KubeFlags,

    /// Keys of tickets and sessions, and who players are.
    #[command(flatten)]
    pub keys: KeyFlags,

    /// The players' port with TLS.
    #[command(flatten)]
    pub tls: TlsFlags,

    /// What is traced, and where traces go.
    #[command(flatten)]
    pub traces: TraceFlags,

    /// What a server traces besides.
    #[command(flatten)]
    pub server_traces: ServerTraceFlags,
}

/// Of one address, unless told otherwise: a school or a company may be behind one.
const CONNECTIONS_PER_ADDRESS_MAX: u32 = 256;
const STREAMS_PER_ADDRESS_MAX: u32 = 1024;

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// JSON in a pod of Kubernetes, unless somebody sits before it; else for people
    Auto,
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// When files of the store are made safe against loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreSync {
    /// When the system gets to it
    None,
    /// Every second
    Interval,
    /// Every tick
    Tick,
}

impl Config {
    /// Whether players without a ticket are seated. Where an ID token is required, a ticket is, too: nothing else shows it.
    pub fn allows_guests(&self) -> bool {
        !self.keys.require_id_token && self.allow_guests.unwrap_or(self.listen.ip().is_loopback())
    }

    /// How many connections an address may have; 0: as many as it likes. Behind a proxy all have its address.
    pub fn connections_per_address_max(&self) -> u32 {
        let is_theirs = !self.listen.ip().is_loopback() && self.trusted_hops == 0;
        let default = if is_theirs { CONNECTIONS_PER_ADDRESS_MAX } else { 0 };
        self.connections_per_address_max.unwrap_or(default)
    }

    /// How many streams an address may have; 0: as many as it likes.
    pub fn streams_per_address_max(&self) -> u32 {
        let default = if self.listen.ip().is_loopback() { 0 } else { STREAMS_PER_ADDRESS_MAX };
        self.streams_per_address_max.unwrap_or(default)
    }

    /// What to call this server.
    pub fn server_name(&self) -> String {
        let host = || std::fs::read_to_string("/etc/hostname").map(|name| name.trim().to_owned());
        self.name
            .clone()
            .or_else(|| host().ok())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "fray".into())
    }
}

impl LogFormat {
    /// Whether lines are JSON, here: `auto` looks where the process runs.
    pub fn is_json(self) -> bool {
        // What Kubernetes sets in every container.
        let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        self.is_json_in(in_pod, std::io::stderr().is_terminal())
    }

    fn is_json_in(self, in_pod: bool, at_terminal: bool) -> bool {
        match self {
            Self::Auto => in_pod && !at_terminal,
            Self::Human => false,
            Self::Json => true,
        }
    }
}

impl Default for Config {
    /// What no flags and no environment give.
    fn default() -> Self {
        Self::parse_from(["fray-server"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_fit_together() {
        Config::command().debug_assert();
    }

    #[test]
    fn guests_are_seated_on_loopback_only_unless_said_otherwise() {
        let parsed = |flags: &[&str]| {
            Config::parse_from(["fray-server"].iter().chain(flags)).allows_guests()
        };
        assert!(parsed(&[]));
        assert!(!parsed(&["--listen", "0.0.0.0:7777"]));
        assert!(parsed(&["--listen", "0.0.0.0:7777", "--allow-guests"]));
        assert!(!parsed(&["--allow-guests", "false"]));
        let provider =
            ["--id-issuer", "https://id", "--id-audience", "fray", "--id-jwks", "https://id/keys"];
        assert!(parsed(&provider));
        assert!(!parsed(&[&provider[..], &["--require-id-token", "--allow-guests"]].concat()));
    }

    #[test]
    fn addresses_are_limited_unless_they_stand_for_many() {
        let limits = |flags: &[&str]| {
            let config = Config::parse_from(["fray-server"].iter().chain(flags));
            (config.connections_per_address_max(), config.streams_per_address_max())
        };
        let public = ["--listen", "0.0.0.0:7777"];
        assert_eq!(limits(&[]), (0, 0));
        assert_eq!(limits(&public), (256, 1024));
        assert_eq!(limits(&[&public[..], &["--trusted-hops", "1"]].concat()), (0, 1024));
        let said = ["--connections-per-address-max", "3", "--streams-per-address-max", "2"];
        assert_eq!(limits(&said), (3, 2));
    }

    #[test]
    fn the_log_is_json_where_machines_read_it() {
        let is_json = |format: LogFormat| {
            [(true, false), (true, true), (false, false)]
                .map(|(pod, tty)| format.is_json_in(pod, tty))
        };
        assert_eq!(is_json(LogFormat::Auto), [true, false, false]);
        assert_eq!(is_json(LogFormat::Human), [false; 3]);
        assert_eq!(is_json(LogFormat::Json), [true; 3]);
    }
}
