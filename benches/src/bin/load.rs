//! The players. Prints what was measured as JSON.

use clap::Parser;
use fray_bench::pin;
use fray_bench::players::{Kind, Plan, play};
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Parser)]
struct Args {
    /// Which core it runs on.
    #[arg(long)]
    core: usize,
    /// Which server.
    #[arg(long)]
    kind: Kind,
    /// Where it is.
    #[arg(long)]
    address: SocketAddr,
    /// Its process.
    #[arg(long)]
    pid: u32,
    /// How many players.
    #[arg(long)]
    players: usize,
    /// How many of them share a connection.
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// Seconds after the last one came.
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10)]
    window: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    pin(args.core)?;
    let figures = play(Plan {
        address: args.address,
        kind: args.kind,
        pid: args.pid,
        players: args.players,
        streams_per_connection: args.streams.max(1),
        warm_up: Duration::from_secs(args.warm_up),
        window: Duration::from_secs(args.window),
    })?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
