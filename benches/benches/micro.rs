//! What the parts of a tick take: the rules' step, encoding, splicing, and a client's decoding, for each entity or player; and
//! what a move takes to be read.
//!
//! `cargo bench -p fray-bench`. Items are entities, players (splice) or moves (receive): a time divided by them is what one
//! takes. Allocations are counted; where none are listed there were none.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box, counter::ItemsCount};
use fray_bench::moves::MoveBytes;
use fray_bench::rooms::{Room, WAYS, Ways};
use fray_bench::table::rows;
use fray_bench::turns::{conditions, write};
use fray_proto::replica::Replica;
use fray_proto::update::GRPC_PREFIX_BYTES;
use fray_proto::v1::{PlayResponse, play_response::Message};
use fray_server::game::Published;
use fray_server::game::arena::Arena;
use fray_server::replication::Splicer;
use fray_server::session::message::Incoming;
use fray_server::wire;
use prost::Message as _;
use serde_json::Map;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const SIZES: [u32; 2] = [64, 1000];

/// Set in the process that measures; the other one reads what that says.
const MEASURES: &str = "FRAY_BENCH_MEASURES";

fn main() -> anyhow::Result<()> {
    if std::env::var_os(MEASURES).is_some() {
        divan::main();
        return Ok(());
    }
    let mut measuring = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(MEASURES, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut table = String::new();
    let said = measuring.stdout.take().context("its output is piped")?;
    for line in BufReader::new(said).lines() {
        let line = line?;
        println!("{line}");
        table += &(line + "\n");
    }
    ensure!(measuring.wait()?.success(), "it did not end well");
    let rows = rows(&table);
    if rows.is_empty() {
        // It was only asked what there is, or whether all of it works.
        return Ok(());
    }
    let mut all = Map::new();
    all.insert("conditions".into(), conditions());
    all.insert("benches".into(), serde_json::to_value(rows)?);
    // Cargo runs it in the package's folder.
    write(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/micro.json")), &all)
}

/// Each ship has a new way before each step.
#[divan::bench(args = SIZES)]
fn step_ships(bencher: Bencher, players: u32) {
    let mut room = Room::ships(players, Ways::All);
    bencher.counter(ItemsCount::new(players)).bench_local(|| {
        room.steer();
        room.step();
    });
}

#[divan::bench]
fn step_arena(bencher: Bencher) {
    let mut room = Room::new(&Arena::default(), 64, Ways::Some);
    let entities = room.entities();
    bencher.counter(ItemsCount::new(entities)).bench_local(|| {
        room.steer();
        room.step();
    });
}

#[divan::bench(args = SIZES)]
fn publish_ships(bencher: Bencher, players: u32) {
    let room = Room::ships(players, Ways::Some);
    let mut published = Published::default();
    bencher.counter(ItemsCount::new(players)).bench_local(|| {
        published.local.clear();
        room.game.publish(&mut published);
        black_box(&published);
    });
}

fn encode(bencher: Bencher, mut room: Room) {
    let mut encoder = room.encoder();
    let entities = room.entities();
    bencher.counter(ItemsCount::new(entities)).with_inputs(|| room.play_on()).bench_local_values(
        |(tick, published, players, view)| {
            encoder.encode(tick, &published, players, view, Vec::new())
        },
    );
}

#[divan::bench(args = SIZES)]
fn encode_some_ways(bencher: Bencher, players: u32) {
    encode(bencher, Room::ships(players, Ways::Some));
}

#[divan::bench(args = SIZES)]
fn encode_all_ways(bencher: Bencher, players: u32) {
    encode(bencher, Room::ships(players, Ways::All));
}

#[divan::bench]
fn encode_arena(bencher: Bencher) {
    encode(bencher, Room::new(&Arena::default(), 64, Ways::Some));
}

/// All players of a room of 64, each its own.
#[divan::bench(args = WAYS)]
fn splice(bencher: Bencher, ways: Ways) {
    let mut room = Room::ships(64, ways);
    let mut encoder = room.encoder();
    let mut splicers: Vec<Splicer> = (0..64).map(|_| Splicer::default()).collect();
    bencher
        .counter(ItemsCount::new(splicers.len()))
        .with_inputs(|| room.next_frame(&mut encoder))
        .bench_local_refs(|frame| {
            for (player, splicer) in frame.players.iter().zip(&mut splicers) {
                black_box(splicer.update(frame, Some(player), player.view));
            }
        });
}

/// A client's: the message, and all of the replica.
#[divan::bench(args = WAYS)]
fn decode(bencher: Bencher, ways: Ways) {
    let mut room = Room::ships(64, ways);
    let mut encoder = room.encoder();
    let grid = encoder.grid().clone();
    let mut replica = Replica::new(grid.world, grid.motions).expect("the grid's world is valid");
    let mut splicer = Splicer::default();
    let next = move || {
        let frame = room.next_frame(&mut encoder);
        let player = &frame.players[0];
        splicer.update(&frame, Some(player), player.view).expect("each tick is news")
    };
    bencher.counter(ItemsCount::new(64_u32)).with_inputs(next).bench_local_refs(|update| {
        let message = PlayResponse::decode(&update[GRPC_PREFIX_BYTES..]);
        let Ok(Some(Message::Update(update))) = message.map(|message| message.message) else {
            unreachable!("it is an update")
        };
        replica.apply(&update).expect("it is what comes next");
    });
}

/// From a message's bytes to what the room is given.
#[divan::bench]
fn receive(bencher: Bencher) {
    let mut bytes = MoveBytes::of_fray();
    let mut sequence = 0;
    let next = move || {
        sequence += 1;
        Bytes::copy_from_slice(&bytes.with(sequence, sequence, 1, 1)[GRPC_PREFIX_BYTES..])
    };
    bencher.counter(ItemsCount::new(1_u32)).with_inputs(next).bench_local_values(|message| {
        let Ok(Incoming::Move { sequence, controls, .. }) = wire::incoming(message) else {
            unreachable!("it is a move")
        };
        (sequence, controls)
    });
}
