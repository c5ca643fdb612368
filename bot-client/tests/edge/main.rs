//! Goal: the edge does what its table says, to good clients and to bad ones. Method: the real Envoy with the configuration that the
//! chart renders, before servers that believe everything and say what they were sent; so whatever is refused, the edge refused. In `fleet.rs` servers
//! and players are real, too.
//!
//! Needs `envoy` and `helm`: `scripts/tools.sh envoy helm` installs them.

#![allow(unreachable_pub, missing_docs, reason = "nobody but this test uses its modules")]

mod balance;
mod browsers;
mod certificates;
mod envoy;
mod fleet;
mod http;
#[path = "../jaeger_support/mod.rs"]
mod jaeger_support;
mod log;
#[path = "../programs/mod.rs"]
mod programs;
#[path = "../fleet/servers.rs"]
#[allow(dead_code, reason = "each test uses its own part of it")]
mod servers;
mod streams;
mod table;
mod tickets;
mod traces;
mod trust;
mod upstream;
