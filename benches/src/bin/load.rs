//! The players. Prints what was measured as JSON.

use clap::Parser;
use fray_bench::players::stalls::Stalls;
use fray_bench::players::{Kind, Plan, Says, play};
use fray_bench::{TICK_RATE_HZ, pin};
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
    /// A room's players are on many connections.
    #[arg(long)]
    scattered: bool,
    /// What they say.
    #[arg(long, value_enum, default_value_t = Says::Moves)]
    says: Says,
    /// Ticks a second.
    #[arg(long, default_value_t = TICK_RATE_HZ)]
    rate: u32,
    /// Write a line when the window begins.
    #[arg(long)]
    announce: bool,
    /// Such a share of the connections stops reading, in turns with a window in which all of them read.
    #[arg(long)]
    stall: Option<f64>,
    /// How often they stop.
    #[arg(long, default_value_t = 2)]
    stalls: usize,
    /// Seconds after the last one came; and for those who stopped reading, to catch up.
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
        is_scattered: args.scattered,
        says: args.says,
        rate_hz: args.rate,
        announces: args.announce,
        warm_up: Duration::from_secs(args.warm_up),
        window: Duration::from_secs(args.window),
        stalls: args.stall.map(|share| Stalls {
            share,
            rounds: args.stalls,
            pause: Duration::from_secs(args.warm_up),
        }),
    })?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
