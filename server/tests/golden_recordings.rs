//! Recordings that were made once, by the rules and in the format of their day, still come out the same. They are in
//! `golden/`, one for each version of the rules, and are never changed.
//!
//! The inputs come from a little generator of the test's own, so that nothing here depends on a library's choices.
//! `FRAY_WRITE_GOLDEN=1` writes the newest file if it is missing.

use bytes::BytesMut;
use fray_proto::model::{World, direction};
use fray_server::game::arena::{Arena, ArenaOptions, KIND_HAPPENING, KIND_SHIP};
use fray_server::game::{
    Controls, Entity, Game, GameFactory, Input, Profile, Published, Setup, Steering,
};
use fray_server::replay::{Games, Verdict, verify};
use fray_server::store::{Checkpoint, End, EndReason, Header, InputRef, TickDraft};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

const NEWEST: &str = "arena-v1.fray";
const PLAYERS: u32 = 6;
const RATE_HZ: u32 = 20;
const TICKS: u32 = 30 * RATE_HZ;
const SEED: u64 = 0x901d;

const ADVICE: &str = "the rules or the format changed. Recordings are a promise: rules that make another state of the same \
    inputs need another sim_version and a golden file of their own, and the old ones must still be played by somebody. To break \
    the promise on purpose, say so in the changelog and delete the file";

/// A small world and a short round, so that much happens.
fn arena() -> Arena {
    let options = ArenaOptions { position_bits: 18, rocks: 8, pickups: 6, round_s: 20, pause_s: 2 };
    Arena { options }
}

/// A number that depends on a tick and a player alone (Marsaglia's xorshift, from a mixed start).
fn noise(tick: u32, player: u32) -> u64 {
    let mut x = (u64::from(tick) << 32 | u64::from(player)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..4 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}

/// What the players do before a tick: most of them hunt whoever is nearest.
fn inputs(tick: u32, shown: &[Entity], world: World) -> Vec<Input> {
    let mut inputs = Vec::new();
    for player in 1..=PLAYERS {
        let noise = noise(tick, player);
        if tick == player * 10 || player == 2 && tick == 420 {
            let profile = Profile { name: format!("pilot {player}"), hue: (player * 57) as u16 };
            inputs.push(Input::Join { player, profile });
        }
        match (player, tick) {
            (2, 380) => inputs.push(Input::Leave { player }),
            (3, 200) => inputs.push(Input::Connected { player, connected: false }),
            (3, 230) => inputs.push(Input::Connected { player, connected: true }),
            _ => {}
        }
        if tick > player * 10 && (noise >> 40).is_multiple_of(3) {
            inputs.push(Input::Controls { player, controls: hunt(player, noise, shown, world) });
        }
    }
    inputs
}

fn hunt(player: u32, noise: u64, shown: &[Entity], world: World) -> Controls {
    let owner = |entity: &Entity| entity.attributes[0] as u32;
    let own = shown.iter().find(|entity| owner(entity) == player);
    let way = |to: &Entity| {
        let own = own.map_or([0, 0], |own| own.position);
        [0, 1].map(|axis| i64::from(world.difference(to.position[axis], own[axis])))
    };
    let nearest = shown.iter().filter(|entity| owner(entity) != player).min_by_key(|entity| {
        let [x, y] = way(entity);
        x * x + y * y
    });
    let aim = nearest.map(|entity| {
        let [x, y] = way(entity);
        let along = |heading: &u16| {
            let [across, down] = direction(*heading).map(i64::from);
            x * across + y * down
        };
        (0..64).map(|part| part << 10).max_by_key(along).unwrap_or(0)
    });
    Controls {
        steering: Steering { axis_x: 0, axis_y: (noise >> 32 & 63) as i32, aim },
        buttons: u32::from(noise & 7 << 44 != 0),
        ..Controls::default()
    }
}

/// The newest golden recording, made again; and how many kills there are in it.
fn made() -> (Vec<u8>, usize) {
    let arena = arena();
    let mut game = arena.create(&Setup { seed: SEED, tick_rate_hz: RATE_HZ, capacity: 8 });
    let limits = game.world();
    let world = World {
        position_bits: limits.position_bits,
        cell_bits: limits.position_bits,
        unit_bits: limits.unit_bits,
    };
    let mut out = BytesMut::new();
    header(&arena).put(&mut out);
    let put_checkpoint = |tick: u32, game: &dyn Game, out: &mut BytesMut| {
        Checkpoint::put(tick, game.state_hash(), &game.checkpoint(), out);
    };
    put_checkpoint(0, game.as_ref(), &mut out);
    let mut kills = BTreeSet::new();
    let (mut draft, mut shown, mut marks) =
        (TickDraft::default(), Published::default(), Vec::new());
    for tick in 1..=TICKS {
        let ships: Vec<Entity> =
            shown.local.iter().filter(|entity| entity.kind == KIND_SHIP).cloned().collect();
        for input in inputs(tick, &ships, world) {
            draft.input(InputRef::from(&input));
            let _ = input.feed(game.as_mut());
        }
        game.step();
        marks.clear();
        game.marks(&mut marks);
        for mark in &marks {
            draft.mark(mark);
        }
        let hash = tick.is_multiple_of(RATE_HZ / 2).then(|| game.state_hash());
        draft.finish(tick, hash, false, &mut out);
        if tick.is_multiple_of(10 * RATE_HZ) && tick != TICKS {
            put_checkpoint(tick, game.as_ref(), &mut out);
        }
        shown = Published::default();
        game.publish(&mut shown);
        let is_kill = |e: &&Entity| e.kind == KIND_HAPPENING && e.attributes[0] == 1;
        kills.extend(shown.global.iter().filter(is_kill).map(|entity| entity.id));
    }
    End { tick: TICKS, reason: EndReason::RoomOver }.put(&mut out);
    (out.to_vec(), kills.len())
}

fn header(arena: &Arena) -> Header {
    Header {
        game: arena.name().into(),
        sim_version: arena.sim_version(),
        seed: SEED,
        configuration: arena.configuration(),
        tick_rate_hz: RATE_HZ,
        capacity: 8,
        room: "golden".into(),
        room_name: "Golden arena".into(),
        code: String::new(),
        epoch: 1,
        first_tick: 1,
        started_at_ms: 1_767_225_600_000,
        incident: String::new(),
        server: "fray-server 0.1.0".into(),
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn every_golden_recording_comes_out_the_same() {
    let games: [Arc<dyn GameFactory>; 1] = [Arc::new(Arena::default())];
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the folder of golden recordings")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "fray"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there are no golden recordings");
    for file in files {
        let name = file.display();
        let bytes = fs::read(&file).expect("a golden recording");
        let report = verify(Games(&games), bytes.as_slice(), u32::MAX, || false);
        let report = report.unwrap_or_else(|error| panic!("{name}: {error}: {ADVICE}"));
        assert_eq!(report.verdict, Verdict::Same { panicked: None }, "{name}: {ADVICE}");
        assert!(report.end.is_some() && report.hashes_compared > 0, "{name} proves nothing");
    }
}

#[test]
fn what_is_written_today_is_the_newest_golden_recording() {
    let path = folder().join(NEWEST);
    let (made, kills) = made();
    assert!(kills >= 3, "a recording in which little happens would prove little: {kills} kills");
    if std::env::var_os("FRAY_WRITE_GOLDEN").is_some() {
        // Never over one that is there.
        if let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(&path) {
            file.write_all(&made).expect("a file that can be written");
        }
    }
    let golden = fs::read(&path).expect("the newest golden recording");
    assert!(golden.len() < 100_000, "a golden recording is small");
    assert!(golden == made, "{NEWEST} would be written otherwise today: {ADVICE}");
}
