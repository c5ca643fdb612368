//! A server's flags in tests: on this machine, on ports of the system's choice.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

use clap::Parser as _;
use fray_server::config::Config;

pub const FREE_PORTS: [&str; 6] =
    ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--control", "127.0.0.1:0"];

/// What these flags give, on free ports.
pub fn config(more: &[&str]) -> Config {
    Config::parse_from([&["fray-server"], &FREE_PORTS[..], more].concat())
}
