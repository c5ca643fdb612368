//! Whatever the bytes of a recording are: an answer, in bounded time and memory, and never a panic.
//!
//! Checksums would keep a fuzzer at the door, so they are put right before the bytes are read, as a hostile writer would; every
//! other input is read as it is.
#![no_main]

use fray_fuzz::records::mend_checksums;
use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use fray_server::replay::{Games, Simulation, verify};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static GAMES: LazyLock<Vec<Arc<dyn GameFactory>>> =
    LazyLock::new(|| vec![Arc::new(Arena::default())]);
const TICKS_MAX: u32 = 2_000;

// A panic of a game's rules is caught, and is an answer; only one that escapes ends the fuzzer. So no hook may end it earlier.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 {
        mend_checksums(&mut bytes);
    }
    let _ = verify(Games(&GAMES), bytes.as_slice(), TICKS_MAX, || false);
    let mut simulation = Simulation::new(Games(&GAMES), bytes.as_slice());
    let _ = simulation.seek(u32::from(*how) * 8, || false);
});
