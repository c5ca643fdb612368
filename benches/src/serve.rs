//! A server of ships that says how it did since it was last asked: for each line that it reads it writes one.

use crate::pin;
use crate::punctual::{self, Lateness, Whose};
use crate::ships::{MOVES, Scene, Ships, TICKS};
use clap::Parser;
use fray_server::{Server, config::Config};
use serde::{Deserialize, Serialize};
use std::io::BufRead as _;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Parser)]
struct Args {
    /// Which core it runs on.
    #[arg(long)]
    core: usize,
    /// With timers that do nothing else, beside the rooms
    #[arg(long)]
    timers: bool,
    #[command(flatten)]
    scene: Scene,
    /// The server's own flags.
    #[arg(last = true)]
    flags: Vec<String>,
}

/// How it did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Ticks of all rooms, since the beginning.
    pub ticks: u64,
    /// Moves applied, since the beginning.
    pub moves: u64,
    /// How late rooms ticked since it was last asked.
    pub rooms: Lateness,
    /// The same of timers that do nothing else.
    pub timers: Lateness,
    /// What was taken from the heap since the beginning, if that is counted.
    pub heap: Option<Heap>,
}

/// What was taken from the heap.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Heap {
    /// Calls for memory.
    pub allocations: u64,
    /// Calls for another size.
    pub reallocations: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Bytes held.
    pub live_bytes: u64,
}

/// Serves until it is told to end. `heap` is asked at each line that is read.
pub fn serve(heap: impl Fn() -> Option<Heap> + Send + 'static) -> anyhow::Result<()> {
    let args = Args::parse();
    pin(args.core)?;
    let config = Config::parse_from(std::iter::once("world".to_owned()).chain(args.flags));
    // It waits for lines, and ends with the process.
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            let report = Report {
                ticks: TICKS.load(Relaxed),
                moves: MOVES.load(Relaxed),
                rooms: punctual::take(Whose::Rooms),
                timers: punctual::take(Whose::Timers),
                heap: heap(),
            };
            // There is nothing in it that cannot be written.
            println!("{}", serde_json::to_string(&report).unwrap_or_default());
        }
    });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let _timers = args.timers.then(|| punctual::timers(config.tick_rate));
        let app = Server::builder().game(Ships(args.scene)).config(config).build().await?;
        println!("{}", app.listen_addr());
        Ok(app.run_until_signalled().await?)
    })
}
