//! Fray, a naive tonic server and bare TCP in one run: what an update costs, and how many players one core carries.
//!
//! Server on one core, players on another, one server at a time, in turns; medians. Prints its conditions; the figures go to
//! `target/bench/e2e.json`, too.

use anyhow::{Context as _, bail};
use clap::Parser;
use fray_bench::players::{Figures, Kind};
use fray_bench::turns::{self, median, write};
use fray_bench::{MUX_STREAMS, ROOM_PLAYERS, TICK_RATE_HZ};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A player's updates come in time if they are no further apart than this, but for one in a hundred.
const GAP_MAX_MS: f64 = 1.5 * 1000.0 / TICK_RATE_HZ as f64;
/// Beyond these the naive server is not a fair one: its cost ÷ that of bare TCP.
const FAIR_MAX: [f64; 3] = [3.3, 7.0, 7.0];
/// A turn counts if so many of its updates came.
const UPDATES_SHARE_MIN: f64 = 0.98;
const KINDS: [Kind; 3] = [Kind::Fray, Kind::Naive, Kind::Raw];
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

#[derive(Parser)]
struct Args {
    /// How often each server has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each turn.
    #[arg(long, default_value_t = 10)]
    window: u64,
    /// Players on connections of their own.
    #[arg(long, default_value_t = 960)]
    direct: usize,
    /// Players who share connections.
    #[arg(long, default_value_t = 1920)]
    mux: usize,
    /// Look how many players one core carries, too.
    #[arg(long)]
    capacity: bool,
    /// Where the figures go.
    #[arg(long, default_value = "target/bench/e2e.json")]
    out: PathBuf,
}

#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    streams: usize,
    is_scattered: bool,
}

/// In the last one a room's players are on many connections, as behind a proxy, and their moves come at different times.
const MODES: [Mode; 3] = [
    Mode { name: "direct", streams: 1, is_scattered: false },
    Mode { name: "mux", streams: MUX_STREAMS, is_scattered: false },
    Mode { name: "mux_scattered", streams: MUX_STREAMS, is_scattered: true },
];

/// A server that is ended with this.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(kind: Kind) -> anyhow::Result<Self> {
        let here = std::env::current_exe()?;
        let folder = here.parent().context("a program is in a folder")?;
        let name = match kind {
            Kind::Fray => "world",
            Kind::Naive => "naive",
            Kind::Raw => "raw",
        };
        let mut command = Command::new(folder.join(name));
        command.args(["--core", SERVER_CORE]).stdout(Stdio::piped());
        if kind == Kind::Fray {
            command.args(["--", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
            command.args(["--control", "127.0.0.1:0", "--allow-guests", "--log", "error"]);
            command.args(["--room-capacity", &ROOM_PLAYERS.to_string(), "--rooms-max", "1000"]);
            command.args(["--connections-max", "100000"]);
        }
        let mut process = command.spawn().with_context(|| format!("{name} does not start"))?;
        let out = process.stdout.take().context("its output is piped")?;
        let mut address = String::new();
        BufReader::new(out).read_line(&mut address)?;
        let address = address.trim().to_owned();
        if address.is_empty() {
            bail!("{name} ended at once");
        }
        Ok(Self { process, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One turn of one server.
fn turn(kind: Kind, mode: Mode, players: usize, window: u64) -> anyhow::Result<Figures> {
    let server = Server::start(kind)?;
    let here = std::env::current_exe()?;
    let load = here.parent().context("a program is in a folder")?.join("load");
    let name = format!("{kind:?}").to_lowercase();
    let output = Command::new(load)
        .args(["--core", LOAD_CORE, "--kind", &name, "--address", &server.address])
        .args(["--pid", &server.process.id().to_string(), "--players", &players.to_string()])
        .args(["--streams", &mode.streams.to_string(), "--window", &window.to_string()])
        .args(mode.is_scattered.then_some("--scattered"))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the players of {name} ended with {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut all = Map::new();
    let conditions = conditions(&args);
    println!("{}", serde_json::to_string_pretty(&conditions)?);
    all.insert("conditions".into(), conditions);
    for (index, mode) in MODES.iter().enumerate() {
        let players = if mode.streams == 1 { args.direct } else { args.mux };
        let costs = costs(&args, *mode, players, &mut all)?;
        let [fray, naive, raw] = costs;
        let name = mode.name;
        println!(
            "{name:>6}: {fray:.2} µs per update, naive {naive:.2}, raw {raw:.2}: {:.3} of naive, {:.2} of raw",
            fray / naive,
            fray / raw
        );
        all.insert(format!("cpu_ratio_{name}"), json!(fray / naive));
        all.insert(format!("cpu_ratio_raw_{name}"), json!(fray / raw));
        all.insert(format!("naive_to_raw_{name}"), json!(naive / raw));
        let is_fair = naive / raw <= FAIR_MAX[index];
        all.insert(format!("naive_is_fair_{name}"), json!(is_fair));
        println!(
            "        the naive server costs {:.2} of raw{}; {:.1} KiB per player",
            naive / raw,
            if is_fair { "" } else { ": it is not a fair one" },
            all[&format!("rss_per_player_{name}_bytes")].as_f64().unwrap_or_default() / 1024.0
        );
        if args.capacity && !mode.is_scattered {
            capacities(&args, *mode, costs, &mut all)?;
        }
    }
    write(&args.out, &all)
}

/// Each server in its turn; the medians of what an update costs.
fn costs(
    args: &Args,
    mode: Mode,
    players: usize,
    all: &mut Map<String, Value>,
) -> anyhow::Result<[f64; 3]> {
    let mut turns: [Vec<Figures>; 3] = Default::default();
    for _ in 0..args.rounds {
        for (kind, turns) in KINDS.into_iter().zip(&mut turns) {
            let figures = turn(kind, mode, players, args.window)?;
            println!(
                "        {kind:?}: {} updates of {:.0} bytes, {:.2} µs, gap p99 {:.1} ms, receipt p99 {:.2} ms, server {:.0} %, players {:.0} %, {} of {} ships, {} desyncs, {} ended, {} moves, {} withheld, {:.1} KiB per player",
                figures.updates,
                figures.update_bytes as f64 / figures.updates as f64,
                figures.cpu_us_per_update,
                figures.gap_p99_ms,
                figures.receipt_p99_ms,
                figures.server_busy * 100.0,
                figures.load_busy * 100.0,
                figures.ships_min,
                ROOM_PLAYERS,
                figures.desyncs,
                figures.ended,
                figures.moves,
                figures.moves_withheld,
                per_player(&figures) / 1024.0,
            );
            turns.push(figures);
        }
    }
    let name = mode.name;
    let rss = turns[0].iter().map(per_player);
    all.insert(format!("rss_per_player_{name}_bytes"), json!(median(rss)));
    all.insert(format!("turns_{name}"), serde_json::to_value(&turns)?);
    Ok(turns.map(|turns| median(turns.iter().map(|figures| figures.cpu_us_per_update))))
}

fn per_player(figures: &Figures) -> f64 {
    figures.rss_bytes.saturating_sub(figures.rss_before_bytes) as f64
        / figures.players.max(1) as f64
}

fn in_rooms(players: f64) -> usize {
    (players as usize / ROOM_PLAYERS).max(1) * ROOM_PLAYERS
}

/// How many players one core carries.
fn capacities(
    args: &Args,
    mode: Mode,
    costs: [f64; 3],
    all: &mut Map<String, Value>,
) -> anyhow::Result<()> {
    let name = mode.name;
    let mut most = Vec::new();
    for (kind, cost) in KINDS.into_iter().zip(costs).take(2) {
        let mut probes = Vec::new();
        let players = capacity(kind, mode, cost, args.window, &mut probes)?;
        let kind = format!("{kind:?}").to_lowercase();
        println!("        {kind} carries {players} players");
        all.insert(format!("players_{kind}_{name}"), json!(players));
        all.insert(format!("probes_{kind}_{name}"), json!(probes));
        most.push(players);
    }
    let ratio = most[0] as f64 / most[1] as f64;
    println!("        that is {ratio:.2} times as many");
    all.insert(format!("players_ratio_{name}"), json!(ratio));
    // Whether the players' process could have kept up with more.
    let bare = probe(Kind::Raw, mode, most[0], args.window)?;
    all.insert(format!("probe_raw_{name}"), json!(bare));
    for kind in KINDS {
        let half = turn(kind, mode, in_rooms(most[0] as f64 / 2.0), args.window)?;
        let (kind, ms) = (format!("{kind:?}").to_lowercase(), half.receipt_p99_ms);
        println!("        {kind}, at half of what Fray carries: received within {ms:.2} ms (p99)");
        all.insert(format!("receipt_p99_ms_half_load_{kind}_{name}"), json!(ms));
    }
    Ok(())
}

/// So many players, and whether their updates came in time.
#[derive(Clone, Copy, Debug, Serialize)]
struct Probe {
    players: usize,
    is_well: bool,
    gap_p99_ms: f64,
    updates_share: f64,
    server_busy: f64,
    load_busy: f64,
}

fn probe(kind: Kind, mode: Mode, players: usize, window: u64) -> anyhow::Result<Probe> {
    let window = window.min(6);
    let figures = turn(kind, mode, players, window)?;
    let due = players as f64 * f64::from(TICK_RATE_HZ) * window as f64;
    let updates_share = figures.updates as f64 / due;
    let all_came =
        updates_share >= UPDATES_SHARE_MIN && figures.ended == 0 && figures.moves_withheld == 0;
    let probe = Probe {
        players,
        is_well: all_came && figures.gap_p99_ms < GAP_MAX_MS,
        gap_p99_ms: figures.gap_p99_ms,
        updates_share,
        server_busy: figures.server_busy,
        load_busy: figures.load_busy,
    };
    println!(
        "        {kind:?} {players}: gap p99 {:.1} ms, {:.1} % of updates, server {:.0} %, players {:.0} %",
        probe.gap_p99_ms,
        updates_share * 100.0,
        probe.server_busy * 100.0,
        probe.load_busy * 100.0
    );
    Ok(probe)
}

/// The most players whose updates come in time, in two of three turns: upwards until they do not, then halfway between.
fn capacity(
    kind: Kind,
    mode: Mode,
    cost_us: f64,
    window: u64,
    probes: &mut Vec<Probe>,
) -> anyhow::Result<usize> {
    let mut carries = |players: usize| {
        let (mut well, mut badly) = (0, 0);
        while well < 2 && badly < 2 {
            let probe = probe(kind, mode, players, window)?;
            well += u32::from(probe.is_well);
            badly += u32::from(!probe.is_well);
            probes.push(probe);
        }
        Ok::<_, anyhow::Error>(well == 2)
    };
    let mut good = in_rooms(0.6 * 1e6 / cost_us / f64::from(TICK_RATE_HZ));
    while !carries(good)? {
        good = in_rooms(good as f64 * 0.7);
        if good == ROOM_PLAYERS {
            return Ok(good);
        }
    }
    let mut bad = in_rooms(good as f64 * 1.3) + ROOM_PLAYERS;
    while carries(bad)? {
        good = bad;
        bad = in_rooms(good as f64 * 1.3) + ROOM_PLAYERS;
    }
    while bad - good > (good / 20).max(ROOM_PLAYERS) {
        let middle = in_rooms(f64::midpoint(good as f64, bad as f64));
        if carries(middle)? { good = middle } else { bad = middle }
    }
    Ok(good)
}

fn conditions(args: &Args) -> Value {
    let mut conditions = turns::conditions();
    conditions["room_players"] = json!(ROOM_PLAYERS);
    conditions["window_s"] = json!(args.window);
    conditions["rounds"] = json!(args.rounds);
    conditions["players_direct"] = json!(args.direct);
    conditions["players_mux"] = json!(args.mux);
    conditions
}
