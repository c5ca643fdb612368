//! What a player costs the server's heap: calls for memory for each player and tick, on the way out and on the way in, counted.
//!
//! The server runs alone in its process (`counted`), and is counted in two sizes with as many rooms: what differs is the players'
//! part, what is left is the rooms'. Both with moves and without, so that what differs is the moves' part. The rest of the
//! process (timers, the log's writer) is in the rooms' part.

use clap::Parser;
use fray_bench::players::Says;
use fray_bench::serve::{Heap, Report};
use fray_bench::turns::{Players, Setting, World, conditions, read, write};
use fray_bench::{MUX_STREAMS, TICK_RATE_HZ};
use serde::Serialize;
use serde_json::{Map, json};
use std::path::PathBuf;

/// Players in a room, few and many.
const SIZES: [usize; 2] = [32, 64];
/// Nobody acknowledges anything, and nobody is to be given up for it.
const PATIENCE: &str = "1h";

#[derive(Parser)]
struct Args {
    /// How many rooms.
    #[arg(long, default_value_t = 6)]
    rooms: usize,
    /// Seconds of each turn; a room's checkpoint comes every ten.
    #[arg(long, default_value_t = 11)]
    window: u64,
    /// Where the figures go.
    #[arg(long, default_value = "target/bench/allocations.json")]
    out: PathBuf,
    /// Where the calls of a player and tick go, too: beside what an update costs.
    #[arg(long, default_value = "target/bench/e2e.json")]
    beside: PathBuf,
}

/// Of so many players in each room.
#[derive(Clone, Copy, Debug, Serialize)]
struct Counted {
    players: usize,
    /// Of a room, in a tick.
    calls: f64,
    bytes: f64,
    /// How many moves the tick applied.
    moves: f64,
}

/// What a player, or a move, costs.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    calls: f64,
    bytes: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut all = Map::new();
    all.insert("conditions".into(), conditions());
    let mut worst = Cost { calls: 0.0, bytes: 0.0 };
    for (name, streams) in [("direct", 1), ("mux", MUX_STREAMS)] {
        let [silent_few, silent] = both(&args, streams, Says::Nothing)?;
        let [moving_few, moving] = both(&args, streams, Says::Moves)?;
        let per_player = |few: Counted, many: Counted| {
            let players = (many.players - few.players) as f64;
            let of = |few: f64, many: f64| (many - few) / players;
            Cost { calls: of(few.calls, many.calls), bytes: of(few.bytes, many.bytes) }
        };
        let (send, whole) = (per_player(silent_few, silent), per_player(moving_few, moving));
        let moves =
            (moving.moves - moving_few.moves) / (moving.players - moving_few.players) as f64;
        let of_move = |with: f64, without: f64| (with - without) / moves;
        let per_move = Cost {
            calls: of_move(whole.calls, send.calls),
            bytes: of_move(whole.bytes, send.bytes),
        };
        let players = silent.players as f64;
        let per_room = Cost {
            calls: silent.calls - send.calls * players,
            bytes: silent.bytes - send.bytes * players,
        };
        println!(
            "{name:>6}: per player and tick {:.3} calls ({:.0} bytes) to send; per move {:.3} ({:.0}) to receive; per room and tick {:.1} ({:.0})",
            send.calls, send.bytes, per_move.calls, per_move.bytes, per_room.calls, per_room.bytes
        );
        if whole.calls > worst.calls {
            worst = whole;
        }
        let figures = json!({
            "per_player_tick_send": send,
            "per_move_receive": per_move,
            "per_room_tick": per_room,
            "per_player_tick": whole,
            "turns": [silent_few, silent, moving_few, moving],
        });
        all.insert(name.into(), figures);
    }
    let name = "allocations_per_player_tick";
    all.insert(name.into(), json!(worst.calls));
    write(&args.out, &all)?;
    let mut beside = read(&args.beside);
    beside.insert(name.into(), json!(worst.calls));
    write(&args.beside, &beside)
}

fn both(args: &Args, streams: usize, says: Says) -> anyhow::Result<[Counted; 2]> {
    let [few, many] = SIZES.map(|players| count(args, players, streams, says));
    Ok([few?, many?])
}

fn count(args: &Args, players: usize, streams: usize, says: Says) -> anyhow::Result<Counted> {
    let mut setting = Setting::new(players, TICK_RATE_HZ);
    setting.program = "counted";
    setting.scene.clear();
    if says == Says::Nothing {
        setting = setting.flag("staleness-window", &PATIENCE).flag("idle-timeout", &PATIENCE);
    }
    let mut world = World::start(&setting)?;
    let crowd = Players { says, ..Players::new(args.rooms * players, streams, args.window) };
    let turn = world.play(crowd)?;
    let ticks = (turn.ended.ticks - turn.began.ticks) as f64;
    let heap = |report: &Report| report.heap.clone().unwrap_or_default();
    let (Heap { bytes: bytes_before, .. }, Heap { bytes, .. }) =
        (heap(&turn.began), heap(&turn.ended));
    let calls = |heap: Heap| heap.allocations + heap.reallocations;
    let counted = Counted {
        players,
        calls: (calls(heap(&turn.ended)) - calls(heap(&turn.began))) as f64 / ticks,
        bytes: (bytes - bytes_before) as f64 / ticks,
        moves: (turn.ended.moves - turn.began.moves) as f64 / ticks,
    };
    println!(
        "        {streams} per connection, {says:?}, {} rooms of {players}: {:.1} calls and {:.0} bytes per room and tick, {:.1} moves; {} updates",
        args.rooms, counted.calls, counted.bytes, counted.moves, turn.figures.updates
    );
    Ok(counted)
}
