//! Whatever the bytes of a recording are: an answer, in bounded time and memory, and never a panic: neither here nor in the game's rules,
//! which are to refuse what they cannot go on from. The same for a log that a server left behind, of which a room is made again.
//!
//! Checksums would keep a fuzzer at the door, so they are put right before the bytes are read, as a hostile writer would; every
//! other input is read as it is.
#![no_main]

use fray_fuzz::heap::{Counting, most_during};
use fray_fuzz::records::mend_checksums;
use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use fray_server::replay::restoring::{NotRestored, play, read};
use fray_server::replay::{Error, Games, Simulation, Unanswered, Verdict, verify};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

#[global_allocator]
static HEAP: Counting = Counting;

static GAMES: LazyLock<Vec<Arc<dyn GameFactory>>> =
    LazyLock::new(|| vec![Arc::new(Arena::default())]);
const TICKS_MAX: u32 = 2_000;
const GRACE_TICKS: u32 = 200;
/// What a room of a full world takes, and a checkpoint unpacked: 16 MiB each, and what is made of them.
const BYTES_MAX: usize = 64 << 20;

// A panic of a game's rules is caught by who plays them, and is an answer: it is looked for there. So no hook may end it earlier.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 {
        mend_checksums(&mut bytes);
    }
    let ((), most_bytes) = most_during(|| {
        verified(&bytes);
        sought(&bytes, u32::from(*how) * 8);
        restored(&bytes);
    });
    assert!(most_bytes < BYTES_MAX, "{}", said(&format!("{most_bytes} bytes were taken")));
});

fn verified(bytes: &[u8]) {
    let answer: Result<_, Unanswered> = verify(Games(&GAMES), bytes, TICKS_MAX, || false);
    if let Ok(report) = answer {
        assert!(!matches!(report.verdict, Verdict::Panicked { .. }), "{}", said(&report.verdict));
    }
}

fn sought(bytes: &[u8], tick: u32) {
    let mut simulation = Simulation::new(Games(&GAMES), bytes);
    no_rules_panicked(simulation.seek(tick, || false).err());
}

fn restored(bytes: &[u8]) {
    let remains = match read(bytes, |_| false) {
        Ok(remains) => remains,
        Err(NotRestored::Unplayable(error)) => return no_rules_panicked(Some(error)),
        Err(_) => return,
    };
    match play(&remains, GAMES[0].as_ref(), GRACE_TICKS) {
        Ok(room) => assert!(room.tick <= room.read_tick, "{}", said(&"it is ahead of its log")),
        Err(error) => no_rules_panicked(Some(error)),
    }
}

fn no_rules_panicked(error: Option<Error>) {
    if let Some(error @ Error::Panicked { .. }) = error {
        panic!("{}", said(&error));
    }
}

/// Nobody else says what a panic says here.
fn said(what: &impl std::fmt::Debug) -> String {
    let text = format!("panicked at what a recording holds: {what:?}");
    eprintln!("{text}");
    text
}
