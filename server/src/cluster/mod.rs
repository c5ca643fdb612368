//! Many servers: who owns which room, and what servers ask each other.
//!
//! - [`memory`]: a directory in this process: of one server alone, or of several in a test.
//!
//! Architecture Invariant: `rpc` and `cluster` never name each other; the session owns the traits that are implemented here.

pub mod memory;
