//! Goal: the edge does what its table says, to good clients and to bad ones. Method: the real Envoy with the configuration that the
//! chart renders, before servers that believe everything and say what they were sent; so whatever is refused, the edge refused. In some files servers
//! and players are real, too: `fleet`, and whatever comes in by the `gate`, with TLS, to servers that share a real NATS.
//!
//! Needs `envoy`, `helm`, `nats-server` and `jaeger`: `scripts/tools.sh envoy helm nats-server jaeger` installs them.

#![allow(unreachable_pub, missing_docs, reason = "nobody but this test uses its modules")]

mod attacks;
mod balance;
mod browsers;
mod canary;
mod certificates;
mod envoy;
mod expired;
#[path = "../../../server/tests/support/flags.rs"]
mod flags;
mod fleet;
#[path = "../../../server/tests/hostile/frames.rs"]
mod frames;
mod gate;
mod gone;
mod http;
#[path = "../jaeger_support/mod.rs"]
mod jaeger_support;
mod log;
#[path = "../../../server/tests/support/nats.rs"]
mod nats;
#[path = "../programs/mod.rs"]
mod programs;
mod recordings;
#[path = "../server_process/mod.rs"]
mod server_process;
#[path = "../fleet/servers.rs"]
#[allow(dead_code, reason = "each test uses its own part of it")]
mod servers;
mod streams;
mod table;
mod tickets;
mod traces;
mod trust;
mod upstream;
mod whole_traces;

/// Not a test: a server that tests start as a process of its own.
#[test]
#[ignore = "a process that tests start"]
fn a_server_of_the_fleet() {
    server_process::serve();
}
