//! Flags of a server that is one of several.

use clap::{ArgAction, Args};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The port for other servers, unless told otherwise.
const PEER_PORT: u16 = 7779;

/// Which fleet the server belongs to, and how others reach it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Fleet")]
pub struct FleetFlags {
    /// Share rooms with all servers at this NATS, for example <nats://127.0.0.1:4222> (JetStream is needed); several
    /// addresses of one NATS cluster are separated by commas. Without it, the server is alone. All servers need the same --ticket-keys and --session-key
    #[arg(long, env = "FRAY_NATS", value_name = "URL", requires_all = ["ticket_keys", "session_key"])]
    pub nats: Option<String>,

    /// Keep what rooms play in that NATS, for all servers to read, and not in a folder or in memory
    #[arg(long, env = "FRAY_STORE_NATS", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = ArgAction::Set, requires = "nats", conflicts_with = "store")]
    pub store_nats: bool,

    /// What the names of this fleet's buckets in NATS begin with
    #[arg(long, env = "FRAY_NATS_PREFIX", value_name = "NAME", default_value = "fray")]
    pub nats_prefix: String,

    /// How many NATS servers keep each record: 1, 3 or 5
    #[arg(long, env = "FRAY_NATS_REPLICAS", value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nats_replicas: u8,

    /// NATS credentials, as `nsc` makes them
    #[arg(long, env = "FRAY_NATS_CREDENTIALS", value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,

    /// Where the other servers come in [default: --listen's address, port 7779; nowhere without --nats]
    #[arg(long, env = "FRAY_PEER", value_name = "ADDR:PORT")]
    pub peer: Option<SocketAddr>,

    /// Where the edge reaches --listen: its way into tickets [default: what --listen says]
    #[arg(long, env = "FRAY_ADVERTISE", value_name = "ADDR:PORT")]
    pub advertise: Option<SocketAddr>,

    /// Where other servers reach --peer [default: what --peer says]
    #[arg(long, env = "FRAY_ADVERTISE_PEER", value_name = "ADDR:PORT")]
    pub advertise_peer: Option<SocketAddr>,

    /// Which release this server is, for a canary: new rooms stay within the release of the server that was asked
    #[arg(long, env = "FRAY_RELEASE", value_name = "NAME", default_value = env!("CARGO_PKG_VERSION"))]
    pub release: String,

    /// How often this server looks whether it has more than its share of the players, and then gives rooms to others: so a new
    /// server fills up. Each room that moves costs its players a moment. 0s: never
    #[arg(long, env = "FRAY_REBALANCE_EVERY", value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub rebalance_every: Duration,

    /// Carry streams on whose room is on another server; else they are refused, and the client joins again
    #[arg(long, env = "FRAY_RELAY", value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub relay: bool,
}

impl FleetFlags {
    /// Where other servers come in, of a server of a fleet.
    pub fn peer_or(&self, listen: IpAddr) -> SocketAddr {
        self.peer.unwrap_or(SocketAddr::new(listen, PEER_PORT))
    }
}
