//! Goal: whatever a peer sends or leaves out, it gets the right answer, costs nobody else an update, is counted, and nothing of it stays.
//! Method: connections that are written by hand, byte by byte, to a server in memory and in virtual time; another connection's player,
//! who must see every tick meanwhile.

#![allow(unreachable_pub, missing_docs, reason = "nobody but this test uses its modules")]

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod attacker;
mod beginnings;
mod floods;
mod frames;
mod garbage;
mod h2spec;
mod headers;
mod memory;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/program.rs"]
mod program;
mod resets;
mod rules;
mod silence;
mod stalls;
