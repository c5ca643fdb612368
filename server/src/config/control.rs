//! Where operators change something.

use clap::Args;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Flags about the operators' verbs.
#[derive(Args, Clone, Debug)]
pub struct ControlFlags {
    /// Where operators change something, with `fray-bot admin`: drain the server, close a room, kick a player. Whoever reaches this
    /// address may do all of that, so it is best left on loopback
    #[arg(long, env = "FRAY_CONTROL", value_name = "ADDR:PORT", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7781))]
    pub control: SocketAddr,
}
