//! Whatever the bytes of a recording are: an answer, in bounded time and memory, and never a panic.
//!
//! Checksums would keep a fuzzer at the door, so they are put right before the bytes are read, as a hostile writer would; every
//! other input is read as it is.
#![no_main]

use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use fray_server::replay::{Games, Simulation, verify};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static GAMES: LazyLock<Vec<Arc<dyn GameFactory>>> = LazyLock::new(|| vec![Arc::new(Arena::default())]);
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

/// Makes every record whole, wherever its length leads. The layout is in docs/RECORDINGS.md.
fn mend_checksums(bytes: &mut [u8]) {
    const HEAD_BYTES: usize = 6;
    const CHECKSUM_BYTES: usize = 4;
    let mut rest = bytes;
    while let Some(most) = rest.len().checked_sub(HEAD_BYTES + CHECKSUM_BYTES) {
        let length = u32::from_le_bytes([rest[0], rest[1], rest[2], 0]) as usize;
        let length = length.min(most);
        rest[..3].copy_from_slice(&(length as u32).to_le_bytes()[..3]);
        let check = crc32fast::hash(&rest[..4]) as u16;
        rest[4..HEAD_BYTES].copy_from_slice(&check.to_le_bytes());
        let end = HEAD_BYTES + length;
        let checksum = crc32fast::hash(&rest[..end]);
        rest[end..end + CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        rest = &mut rest[end + CHECKSUM_BYTES..];
    }
}
