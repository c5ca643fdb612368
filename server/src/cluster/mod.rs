//! Many servers: who owns which room, and what servers ask each other.
//!
//! - [`peer`]: asks other servers.
//! - [`memory`]: a directory in this process: of one server alone, or of several in a test.
//!
//! Architecture Invariant: `rpc` and `cluster` never name each other; the session owns the traits that are implemented here.

pub mod memory;
pub mod peer;
