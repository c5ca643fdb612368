//! Goal: `fray-bot replay` says of each recording what is true, with the exit code that belongs to it. Method: a real recording of the
//! arena, whole, cut off, damaged and changed; and a game that panics.

mod replay_support;

use clap::Parser;
use fray_bot::replay::{ReplayArgs, answer};
use fray_server::game::arena::Arena;
use fray_server::game::{GameFactory, Input};
use fray_server::store::{InputRef, Record, TickDraft};
use replay_support::{Fragile, Scratch, records, written};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ReplayArgs,
}

const GOLDEN: &[u8] = include_bytes!("../../server/tests/golden/arena-v1.fray");

/// What the arguments give: the exit code, and what is said.
fn say(line: &[&str]) -> (ExitCode, String) {
    let games: [Arc<dyn GameFactory>; 2] = [Arc::new(Arena::default()), Arc::new(Fragile)];
    let args = Line::parse_from(["replay"].iter().chain(line)).args;
    let mut out = Vec::new();
    let code = answer(&games, &args, &mut out, &CancellationToken::new());
    let code = code.unwrap_or_else(|error| {
        out.extend_from_slice(format!("{error:#}").as_bytes());
        ExitCode::from(2)
    });
    (code, String::from_utf8(out).expect("text"))
}

fn last_line(said: &str) -> &str {
    said.lines().last().unwrap_or_default()
}

/// The golden recording with other moves in one tick, and checksums that are right.
fn altered(tick: u32) -> Vec<u8> {
    let records = records(GOLDEN);
    written(&records, |record, out| {
        let Record::Tick(old) = record else { return false };
        if old.tick != tick {
            return false;
        }
        let mut draft = TickDraft::default();
        for input in old.inputs() {
            let input = match input {
                Input::Controls { player, mut controls } => {
                    controls.steering.axis_y = -127;
                    controls.steering.aim = Some(12_345);
                    Input::Controls { player, controls }
                }
                other => other,
            };
            draft.input(InputRef::from(&input));
        }
        draft.finish(old.tick, old.hash, old.is_broken, out);
        true
    })
}

#[test]
fn a_recording_that_comes_out_the_same_is_described() {
    let scratch = Scratch::new("same");
    let file = scratch.file("a.fray", GOLDEN);
    let (code, said) = say(&[&file]);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    assert!(last_line(&said).starts_with("SAME: 600 ticks"), "{said}");
    for part in [
        "arena, rules of version 1",
        "Golden arena (golden)",
        "2026-01-01T00:00:00Z",
        "1 to 600 (00:00 to 00:30) at 20 Hz",
        "7 joins",
        "the room was over",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let (code, said) = say(&[&file, "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!((&said["verdict"]["is"], &said["ticks"]), (&"SAME".into(), &600.into()));
}

#[test]
fn a_recording_that_breaks_off_is_incomplete_and_no_failure() {
    let scratch = Scratch::new("incomplete");
    let file = scratch.file("a.fray", &GOLDEN[..GOLDEN.len() / 2]);
    let (code, said) = say(&[&file]);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    let line = last_line(&said);
    assert!(line.starts_with("SAME so far") && line.contains("INCOMPLETE"), "{line}");
    assert!(line.contains("bytes into the next record"), "{line}");
}

#[test]
fn a_flipped_bit_is_damage() {
    let scratch = Scratch::new("damaged");
    let mut bytes = GOLDEN.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    let (code, said) = say(&[&scratch.file("a.fray", &bytes)]);
    assert_eq!(code, ExitCode::FAILURE, "{said}");
    assert!(last_line(&said).starts_with("DAMAGED at offset "), "{said}");
    let (code, said) = say(&[&scratch.file("b.fray", b"something else, and long enough")]);
    assert_eq!(code, ExitCode::FAILURE, "{said}");
    assert!(said.contains("DAMAGED at offset 0"), "{said}");
}

#[test]
fn another_move_differs_and_the_tick_and_the_entity_are_found() {
    let scratch = Scratch::new("differs");
    let (one, other) = (scratch.file("a.fray", GOLDEN), scratch.file("b.fray", &altered(333)));
    let (code, said) = say(&[&other]);
    assert_eq!(code, ExitCode::FAILURE, "{said}");
    // Hashes are taken every ten ticks.
    assert!(last_line(&said).starts_with("DIFFERS at tick 340: recorded hash "), "{said}");
    let (code, said) = say(&[&other, "--until", "332"]);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    assert!(last_line(&said).starts_with("SAME up to tick 332"), "{said}");

    let (code, said) = say(&[&one, "--diff", &other]);
    assert_eq!(code, ExitCode::FAILURE, "{said}");
    assert!(said.contains("DIFFERS after tick 333"), "{said}");
    assert!(said.contains("input only in a.fray: Controls"), "{said}");
    assert!(said.contains("first local entity that differs"), "{said}");
    assert!(said.contains("  turn ") || said.contains("  thrust "), "{said}");
    let (_, said) = say(&[&one, "--diff", &other, "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["differs"]["tick"], 333);
    assert_eq!(said["differs"]["entity"]["is"], "local");

    let (code, said) = say(&[&one, "--diff", &one]);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    assert!(said.contains("the same after ticks 0 to 600"), "{said}");
}

#[test]
fn a_part_is_exported_and_is_the_same_and_nothing_is_overwritten() {
    let scratch = Scratch::new("export");
    let (file, part) = (scratch.file("a.fray", GOLDEN), scratch.path("part.fray"));
    let line = [file.as_str(), "--export", &part, "--from", "300", "--until", "420"];
    let (code, said) = say(&line);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    assert!(said.contains("ticks 201 to 420"), "from the checkpoint before: {said}");
    let (code, said) = say(&[&part]);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    assert!(last_line(&said).starts_with("SAME: 220 ticks"), "{said}");
    assert!(said.contains("a part of a longer log"), "{said}");
    let (code, said) = say(&[&file, "--diff", &part]);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    assert!(said.contains("the same after ticks 200 to 420"), "{said}");

    let (code, said) = say(&line);
    assert_eq!(code, ExitCode::from(2), "{said}");
    assert!(said.contains("is there already"), "{said}");
    assert_eq!(say(&[&line[..], &["--force"]].concat()).0, ExitCode::SUCCESS);
    assert_eq!(scratch.names(), ["a.fray", "part.fray"], "nothing else is left");
}

#[test]
fn the_state_after_a_tick_has_the_hash_that_was_recorded() {
    let scratch = Scratch::new("dump");
    let file = scratch.file("a.fray", GOLDEN);
    for record in records(GOLDEN) {
        let Record::Tick(tick) = record else { continue };
        let Some(hash) = tick.hash.filter(|_| tick.tick % 70 == 0) else { continue };
        let (code, said) = say(&[&file, "--at", &tick.tick.to_string()]);
        assert_eq!(code, ExitCode::SUCCESS, "{said}");
        assert!(said.contains(&format!("state hash {hash:016x}")), "{said}");
        assert!(said.contains("payload \"pilot 1\""), "{said}");
    }
    let (_, said) = say(&[&file, "--at", "210", "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["players"][2]["connected"], false);
    assert!(said["local"].as_array().is_some_and(|all| all.len() > 6));
    let (code, said) = say(&[&file, "--at", "601"]);
    assert_eq!(code, ExitCode::from(2));
    assert!(said.contains("after ticks 0 to 600"), "{said}");
}

#[test]
fn a_store_is_a_table_and_a_room_is_its_segments() {
    let scratch = Scratch::new("store");
    let file = scratch.file("a.fray", GOLDEN);
    let room = "store/rooms/golden";
    for (name, from, until) in [("1-0000000001", "1", "200"), ("1-0000000201", "201", "600")] {
        let segment = scratch.path(&format!("{room}/{name}.fray"));
        let (code, said) = say(&[&file, "--export", &segment, "--from", from, "--until", until]);
        assert_eq!(code, ExitCode::SUCCESS, "{said}");
    }
    scratch.file("store/incidents/golden-damaged.fray", &[7; 100]);
    let store = scratch.path("store");
    let (code, said) = say(&[&store]);
    assert_eq!(code, ExitCode::FAILURE, "{said}");
    assert!(said.contains("00:00 to 00:30") && said.contains("DAMAGED at offset 0"), "{said}");
    assert_eq!(last_line(&said), "1 of 2 are the same");
    for line in [&[store.as_str(), "--recording", "golden"][..], &[&scratch.path(room)]] {
        let (code, said) = say(line);
        assert_eq!(code, ExitCode::SUCCESS, "{said}");
        assert!(last_line(&said).starts_with("SAME: 600 ticks"), "{said}");
    }
    // A crash cut off what another segment follows: ticks are missing, and nothing is damaged.
    let first = scratch.path(&format!("{room}/1-0000000001.fray"));
    let bytes = std::fs::read(&first).expect("a segment");
    scratch.file(&format!("{room}/1-0000000001.fray"), &bytes[..bytes.len() / 2]);
    let (code, said) = say(&[&store, "--recording", "golden"]);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    assert!(said.contains("gaps          1") && last_line(&said).starts_with("SAME: "), "{said}");

    let (code, said) = say(&[&store, "--at", "5"]);
    assert_eq!(code, ExitCode::from(2));
    assert!(said.contains("golden, golden-damaged"), "{said}");
}

#[test]
fn a_recorded_panic_that_happens_again_is_the_same_and_any_other_is_not() {
    let scratch = Scratch::new("panic");
    let recorded = scratch.file("recorded.fray", &Fragile::recording(true, true));
    let (code, said) = say(&[&recorded]);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    assert!(said.contains("the rules panicked") && said.contains("a fragile game"), "{said}");
    assert_eq!(last_line(&said), "SAME: panics in tick 7 as recorded: it broke at 7");

    let unrecorded = scratch.file("unrecorded.fray", &Fragile::recording(true, false));
    let (code, said) = say(&[&unrecorded]);
    assert_eq!(code, ExitCode::FAILURE, "{said}");
    assert!(last_line(&said).starts_with("PANICKED in tick 7"), "{said}");

    let mended = scratch.file("mended.fray", &Fragile::recording(false, true));
    let (code, said) = say(&[&mended]);
    assert_eq!(code, ExitCode::FAILURE, "{said}");
    assert!(last_line(&said).contains("the recorded game panicked in it"), "{said}");
}

/// Bots must not know more than a client can: only recordings need the game itself. (Spans are made in one place for all.)
#[test]
fn only_replays_and_traces_name_the_server() {
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut wrong = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.extend((!path.ends_with("src/replay")).then_some(path));
            } else if !path.ends_with("src/cli.rs") && !path.ends_with("src/traces.rs") {
                let source = std::fs::read_to_string(&path).expect("a source");
                wrong.extend(source.contains("fray_server").then_some(path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} name fray_server");
}

#[test]
fn what_cannot_be_answered_is_neither() {
    let scratch = Scratch::new("unanswered");
    let (code, said) = say(&[&scratch.path("nothing.fray")]);
    assert_eq!(code, ExitCode::from(2));
    assert!(said.contains("nothing.fray"), "{said}");
    let other = written(&records(GOLDEN), |record, out| {
        let Record::Header(header) = record else { return false };
        let mut header = header.clone();
        header.sim_version = 99;
        header.put(out);
        true
    });
    let (code, said) = say(&[&scratch.file("new.fray", &other)]);
    assert_eq!(code, ExitCode::from(2));
    assert!(said.contains("arena with rules of version 99 is not known here"), "{said}");
}
