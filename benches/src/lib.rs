//! Fray, a naive tonic server and bare TCP, doing the same work beside each other.
//!
//! The work: rooms of 64 ships. Everybody sees all of them each tick, 20 times a second, and sends a move each tick. About every
//! half second each ship turns another way (-2, 0 or 2 rad/s) and burns or does not; every three seconds its health changes.
//!
//! The servers are `world` (Fray with a game of these rules), `naive` and `raw`; `load` is all the players; `e2e` starts them, one
//! server at a time, each pinned to one core and the players to another, and compares. `scale` has other rooms and other players;
//! `allocations` counts what a server takes from the heap, with `counted` in the place of `world`.

pub mod clock;
pub mod cost;
pub mod flight;
pub mod http2;
pub mod moves;
pub mod players;
pub mod punctual;
pub mod replica;
pub mod rooms;
pub mod serve;
pub mod ships;
pub mod table;
pub mod turns;

/// The naive server's messages.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]
pub mod naive {
    tonic::include_proto!("fray.bench");
}

/// Ticks and moves a second.
pub const TICK_RATE_HZ: u32 = 20;
/// Players in a room.
pub const ROOM_PLAYERS: usize = 64;
/// Streams of a connection where players share one, as behind a proxy.
pub const MUX_STREAMS: usize = 100;

/// Keeps this process on one core, with all threads that it starts from now on.
pub fn pin(core: usize) -> std::io::Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}
