//! A small server for tests: one room with ships that obey the motion model, honest unless it is told to be otherwise.
//!
//! [`room`] is pure, its streams exchange messages by hand, as [`pair`] does; [`server`] puts it behind the client's `Server` trait, on
//! tokio's clock, which tests pause.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of it")]

pub mod pair;
pub mod room;
mod seat;
pub mod server;
