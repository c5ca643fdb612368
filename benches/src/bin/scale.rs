//! How the server does with very many streams, rooms, players, entities; and how punctual it is. Each scenario compares what was
//! measured in one run, in turns. Prints its conditions; the figures go to `target/bench/scale.json`, too, beside those of the
//! scenarios that ran before.

use clap::{Parser, Subcommand};
use fray_bench::players::stalls::Phase;
use fray_bench::players::{Figures, Says};
use fray_bench::rooms::{Bytes, Room, Ways};
use fray_bench::turns::{Players, Setting, Turn, World, conditions, median, pause, read, write};
use fray_bench::{MUX_STREAMS, ROOM_PLAYERS, TICK_RATE_HZ};
use fray_server::game::arena::Arena;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

const MIB: f64 = (1 << 20) as f64;
/// Players come and go twice: what the second time leaves behind, the first has not made room for.
const WAVES: usize = 2;
/// How long what went may take until its memory is given back.
const AFTERMATH_S: u64 = 20;

/// How many stop reading.
const STALL: f64 = 0.5;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    scenario: Scenario,
    /// How often each has its turn.
    #[arg(long, default_value_t = 3, global = true)]
    rounds: usize,
    /// Seconds of each turn.
    #[arg(long, default_value_t = 10, global = true)]
    window: u64,
    /// Players on a connection.
    #[arg(long, default_value_t = MUX_STREAMS, global = true)]
    streams: usize,
    /// Where the figures go.
    #[arg(long, default_value = "target/bench/scale.json", global = true)]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Scenario {
    /// Open streams of which nearly nothing is asked: rooms tick once a second, players acknowledge every four seconds, and so get an
    /// update every four seconds
    IdleStreams {
        /// How many
        #[arg(long, default_value_t = 100_000)]
        count: usize,
    },
    /// Many small rooms at 5 Hz, beside few
    ManyRooms,
    /// One room with 1,000 players and 10,000 entities, beside rooms of 64 that see as many entities
    BigRoom,
    /// 100, 1,000 and 10,000 players: what an update costs
    Flat,
    /// Ticks beside bare timers, at half load
    Lateness,
    /// Of updates, for each entity that they are about; nothing is timed
    Bytes,
    /// Some of 500 players read nothing; and the same where nothing holds their updates back
    Stall {
        /// How many of them, from 0 to 1
        #[arg(long, default_value_t = STALL)]
        stall: f64,
    },
    /// All of them
    All,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut all = read(&args.out);
    let conditions = conditions();
    println!("{}", serde_json::to_string_pretty(&conditions)?);
    let mut run = |scenario: Scenario| -> anyhow::Result<()> {
        let (name, mut figures) = match scenario {
            Scenario::IdleStreams { count } => ("idle_streams", idle_streams(&args, count)?),
            Scenario::ManyRooms => ("many_rooms", many_rooms(&args)?),
            Scenario::BigRoom => ("big_room", big_room(&args)?),
            Scenario::Flat => ("flat", flat(&args)?),
            Scenario::Lateness => ("lateness", lateness(&args)?),
            Scenario::Bytes => ("bytes", bytes()),
            Scenario::Stall { stall } => ("stall", stalls(&args, stall)?),
            Scenario::All => return Ok(()),
        };
        figures["conditions"] = conditions.clone();
        figures["conditions"]["rounds"] = json!(args.rounds);
        figures["conditions"]["window_s"] = json!(args.window);
        all.insert(name.into(), figures);
        write(&args.out, &all)
    };
    if let Scenario::All = args.scenario {
        run(Scenario::IdleStreams { count: 100_000 })?;
        run(Scenario::ManyRooms)?;
        run(Scenario::BigRoom)?;
        run(Scenario::Flat)?;
        run(Scenario::Lateness)?;
        run(Scenario::Bytes)?;
        return run(Scenario::Stall { stall: STALL });
    }
    run(args.scenario)
}

fn say(what: &str, turn: &Turn) {
    let figures = &turn.figures;
    println!(
        "        {what}: {} updates of {:.0} bytes, {:.2} µs, gap p50 {:.1} p99 {:.1} ms, receipt p99 {:.2} ms, ticks late by p99 {} µs (timers {}), server {:.0} %, players {:.0} %, {:.0} ships ({} at least), {} desyncs",
        figures.updates,
        bytes_per_update(figures),
        figures.cpu_us_per_update,
        figures.gap_p50_ms,
        figures.gap_p99_ms,
        figures.receipt_p99_ms,
        turn.ended.rooms.p99_us,
        turn.ended.timers.p99_us,
        figures.server_busy * 100.0,
        figures.load_busy * 100.0,
        figures.ships_mean,
        figures.ships_min,
        figures.desyncs,
    );
}

fn bytes_per_update(figures: &Figures) -> f64 {
    figures.update_bytes as f64 / figures.updates as f64
}

/// Several settings, in turns.
fn compare(
    rounds: usize,
    settings: &[(String, Setting, Players)],
) -> anyhow::Result<Vec<Vec<Turn>>> {
    let mut turns: Vec<Vec<Turn>> = settings.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((name, setting, players), turns) in settings.iter().zip(&mut turns) {
            let turn = World::start(setting)?.play(*players)?;
            say(name, &turn);
            turns.push(turn);
        }
    }
    Ok(turns)
}

fn cost_us(turns: &[Turn]) -> f64 {
    median(turns.iter().map(|turn| turn.figures.cpu_us_per_update))
}

fn gap_p99_ms(turns: &[Turn]) -> f64 {
    median(turns.iter().map(|turn| turn.figures.gap_p99_ms))
}

/// What is kept of them.
fn kept(turns: &[Turn]) -> Value {
    let turns = turns.iter().map(|turn| {
        json!({"figures": turn.figures, "rooms": turn.ended.rooms, "timers": turn.ended.timers})
    });
    turns.collect()
}

fn idle_streams(args: &Args, count: usize) -> anyhow::Result<Value> {
    let setting = Setting::new(ROOM_PLAYERS, 1)
        // Who has gone is gone, and so are rooms.
        .flag("grace", &"1s")
        .flag("room-ttl", &"1s")
        // Recordings stay, up to what they may take.
        .flag("record", &"false");
    let mut world = World::start(&setting)?;
    let before = world.rss_bytes()?;
    println!("        nobody: {:.1} MiB", before as f64 / MIB);
    let mut waves = Vec::new();
    for wave in 1..=WAVES {
        let players = Players {
            says: Says::Pings,
            rate_hz: 1,
            ..Players::new(count, args.streams, args.window)
        };
        let turn = world.play(players)?;
        let there = turn.figures.rss_bytes;
        let mut gone = Vec::new();
        for _ in 0..AFTERMATH_S {
            pause(Duration::from_secs(1));
            gone.push(world.rss_bytes()?);
        }
        let after = gone.last().copied().unwrap_or_default();
        println!(
            "        wave {wave}, {} streams: {:.1} MiB, {:.2} KiB each; server {:.0} %, {} updates; {AFTERMATH_S} s after: {:.1} MiB",
            turn.figures.players,
            there as f64 / MIB,
            there.saturating_sub(before) as f64 / 1024.0 / count as f64,
            turn.figures.server_busy * 100.0,
            turn.figures.updates,
            after as f64 / MIB,
        );
        waves.push(json!({
            "streams": turn.figures.players,
            "rss_bytes": there,
            "rss_after_bytes": after,
            "rss_each_second_after": gone,
            "server_busy": turn.figures.server_busy,
        }));
    }
    Ok(json!({"rss_before_bytes": before, "waves": waves}))
}

fn at_5_hz(args: &Args, count: usize) -> (String, Setting, Players) {
    const RATE_HZ: u32 = 5;
    const IN_ROOM: usize = 50;
    let players = Players { rate_hz: RATE_HZ, ..Players::new(count, args.streams, args.window) };
    let name = format!("{count} players in {} rooms at {RATE_HZ} Hz", count.div_ceil(IN_ROOM));
    // Timers would be most of what few players cost.
    (name, Setting::new(IN_ROOM, RATE_HZ).without_timers(), players)
}

fn many_rooms(args: &Args) -> anyhow::Result<Value> {
    let turns = compare(args.rounds, &[at_5_hz(args, 1_000), at_5_hz(args, 10_000)])?;
    let ratio = cost_us(&turns[1]) / cost_us(&turns[0]);
    println!("        10,000 players cost {ratio:.2} of what 1,000 do, for each update");
    Ok(json!({
        "cost_ratio": ratio,
        "gap_p99_ms": gap_p99_ms(&turns[1]),
        "few": kept(&turns[0]),
        "many": kept(&turns[1]),
    }))
}

fn flat(args: &Args) -> anyhow::Result<Value> {
    let counts = [100, 1_000, 10_000];
    let turns = compare(args.rounds, &counts.map(|count| at_5_hz(args, count)))?;
    let costs: Vec<f64> = turns.iter().map(|turns| cost_us(turns)).collect();
    let ratios: Vec<f64> = costs.iter().map(|cost| cost / costs[1]).collect();
    println!("        {counts:?} players: {costs:.2?} µs per update, {ratios:.2?} of 1,000");
    let turns: Vec<Value> = turns.iter().map(|turns| kept(turns)).collect();
    Ok(json!({"players": counts, "cost_us": costs, "cost_to_1000": ratios, "turns": turns}))
}

fn big_room(args: &Args) -> anyhow::Result<Value> {
    const PLAYERS: usize = 1_000;
    const ENTITIES: usize = 10_000;
    // 8 by 8 cells; a view is as wide as one, and touches about four.
    const POSITION_BITS: u32 = 18;
    const VIEW_EXTENT: i32 = 1 << (POSITION_BITS - 3 - 1);
    let big = Setting::new(PLAYERS, TICK_RATE_HZ)
        .scene("position-bits", &POSITION_BITS)
        .scene("view-extent", &VIEW_EXTENT)
        .scene("drones", &(ENTITIES - PLAYERS));
    let players = Players::new(PLAYERS, args.streams, args.window);
    // How many do they see?
    let looked = World::start(&big)?.play(Players { window_s: 3, ..players })?;
    say("a look", &looked);
    let seen = looked.figures.ships_mean as usize;
    let small = Setting::new(ROOM_PLAYERS, TICK_RATE_HZ)
        .scene("drones", &seen.saturating_sub(ROOM_PLAYERS));
    let as_many = Players { count: PLAYERS / ROOM_PLAYERS * ROOM_PLAYERS, ..players };
    let turns = compare(
        args.rounds,
        &[
            (format!("{PLAYERS} in a room with {ENTITIES} entities"), big, players),
            (format!("rooms of {ROOM_PLAYERS} that see {seen}"), small, as_many),
        ],
    )?;
    let ratio = cost_us(&turns[0]) / cost_us(&turns[1]);
    println!("        an update of the big room costs {ratio:.2} of one of the small ones");
    Ok(json!({
        "cost_ratio": ratio,
        "entities_seen": seen,
        "big": kept(&turns[0]),
        "small": kept(&turns[1]),
    }))
}

fn lateness(args: &Args) -> anyhow::Result<Value> {
    // How many are half of what the core carries?
    const LOOKS: usize = 3;
    let setting = Setting::new(ROOM_PLAYERS, TICK_RATE_HZ);
    let at = |count: usize, window_s: u64| {
        let players = Players::new(count / ROOM_PLAYERS * ROOM_PLAYERS, args.streams, window_s);
        (format!("{} players", players.count), setting.clone(), players)
    };
    let mut count = 15 * ROOM_PLAYERS;
    for _ in 0..LOOKS {
        let looked = compare(1, &[at(count, 3)])?;
        // What more of them cost is less for each.
        count = (count as f64 * 0.5 / looked[0][0].figures.server_busy) as usize;
    }
    let turns = compare(args.rounds, &[at(count, args.window)])?.remove(0);
    let busy = median(turns.iter().map(|turn| turn.figures.server_busy));
    let ratio = |of: fn(&fray_bench::punctual::Lateness) -> u32| {
        let of = |turn: &Turn| f64::from(of(&turn.ended.rooms)) / f64::from(of(&turn.ended.timers));
        median(turns.iter().map(of))
    };
    let (p50, p99) = (ratio(|late| late.p50_us.max(1)), ratio(|late| late.p99_us.max(1)));
    let receipt_p99_ms = median(turns.iter().map(|turn| turn.figures.receipt_p99_ms));
    println!(
        "        at {:.0} % load ticks are late by {p99:.2} of bare timers' p99 ({p50:.2} of p50); received within {receipt_p99_ms:.2} ms (p99)",
        busy * 100.0,
    );
    Ok(json!({
        "server_busy": busy,
        "lateness_ratio_p99": p99,
        "lateness_ratio_p50": p50,
        "receipt_p99_ms": receipt_p99_ms,
        "turns": kept(&turns),
    }))
}

fn bytes() -> Value {
    const TICKS: u32 = 400;
    let rooms = [
        ("ships, new ways twice a second", Room::ships(64, Ways::Some)),
        ("ships, new ways every tick", Room::ships(64, Ways::All)),
        ("arena, new ways twice a second", Room::new(&Arena::default(), 64, Ways::Some)),
        ("arena, new ways every tick", Room::new(&Arena::default(), 64, Ways::All)),
    ];
    let counted = rooms.into_iter().map(|(name, room)| {
        let bytes = Bytes::count(room, TICKS);
        println!(
            "        {name}: {:.2} bytes per entity and tick; updates of {:.0} bytes, {:.0} of them cells, about {:.0} entities",
            bytes.per_entity, bytes.whole, bytes.cells, bytes.entities
        );
        (name.to_owned(), json!(bytes))
    });
    Value::Object(counted.collect())
}

/// What those who stopped reading cost: the most that the server's memory grew while they did, for each of them (all read in the phase
/// before); and how much further apart the others' updates were.
struct Stalled {
    rss_bytes: f64,
    gap_ratio: f64,
}

impl Stalled {
    fn of(turn: &Turn) -> Self {
        let phases = &turn.figures.phases;
        let pairs = phases.windows(2).filter(|pair| pair[1].stalled > 0);
        let grown = |pair: &[Phase]| {
            pair[1].rss_bytes.saturating_sub(pair[0].rss_bytes) as f64 / pair[1].stalled as f64
        };
        let gap_ms = |is_stalled: bool| {
            let phases = phases.iter().filter(|phase| (phase.stalled > 0) == is_stalled);
            median(phases.map(|phase| phase.gap_p99_ms))
        };
        let rss_bytes = pairs.map(grown).fold(0.0, f64::max);
        Self { rss_bytes, gap_ratio: gap_ms(true) / gap_ms(false) }
    }
}

fn stalls(args: &Args, share: f64) -> anyhow::Result<Value> {
    const PLAYERS: usize = 500;
    // Within one run they stop so often.
    const STALLS: u64 = 2;
    // With these an update is long enough: within such a window the kernel cannot keep all that is not read.
    const DRONES: usize = 700;
    // And not so long that whoever answers no pings is sent away.
    const WINDOW_S_MIN: u64 = 15;
    const WINDOW_S_MAX: u64 = 18;
    // All in one room: so each sees what all of them do.
    let setting = Setting::new(PLAYERS, TICK_RATE_HZ).scene("drones", &DRONES);
    // Recordings grow all the while.
    let setting = setting.flag("record", &"false");
    let window_s = args.window.clamp(WINDOW_S_MIN, WINDOW_S_MAX);
    let players = Players { stalls: Some((share, STALLS)), ..Players::new(PLAYERS, 1, window_s) };
    let on = ("as it is".to_owned(), setting.clone(), players);
    let off = setting.flag("staleness-window", &"1h");
    let off = ("nothing is held back".to_owned(), off, players);
    let turns = compare(args.rounds, &[on, off])?;
    let [on, off] = [&turns[0], &turns[1]].map(|turns| {
        let all: Vec<Stalled> = turns.iter().map(Stalled::of).collect();
        let rss_bytes = median(all.iter().map(|one| one.rss_bytes));
        Stalled { rss_bytes, gap_ratio: median(all.iter().map(|one| one.gap_ratio)) }
    });
    println!(
        "        {share} of {PLAYERS} players stop reading: {:.2} KiB for each of them, the others' gap p99 {:.2} of what it was; where nothing is held back: {:.2} KiB, {:.2}",
        on.rss_bytes / 1024.0,
        on.gap_ratio,
        off.rss_bytes / 1024.0,
        off.gap_ratio,
    );
    Ok(json!({
        "share": share,
        "rss_per_stalled_bytes": on.rss_bytes,
        "gap_p99_ratio": on.gap_ratio,
        "control": {"rss_per_stalled_bytes": off.rss_bytes, "gap_p99_ratio": off.gap_ratio},
        "turns": kept(&turns[0]),
        "control_turns": kept(&turns[1]),
    }))
}
