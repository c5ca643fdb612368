//! Many servers: who owns which room, and what servers ask each other.
//!
//! - [`nats`]: the directory that many servers share; [`memory`]: one in this process, of one server alone, or of several
//!   in a test.
//! - [`lease`]: how long this server may run its rooms after the directory last heard of it; [`witness`]: how long others
//!   have certainly been gone; [`electorate`]: who decides whether the directory is away for everybody. All pure.
//! - [`keeper`]: the tasks that renew the lease and keep rooms and records in accord.
//! - [`handover`]: one room goes to another server; [`choice`]: to which, pure. [`evacuation`]: all rooms of a server that ends;
//!   [`rebalance`]: some of one that has more than its share.
//! - [`peer`]: asks other servers. [`fate`]: what became of a room whose owner does not answer; [`claims`]: it goes on here, or is
//!   lost; [`probe`]: asking another server about itself.
//! - [`kube`]: Kubernetes; nobody else knows it. [`endpoints`]: the little that others learn from it. [`edge_wait`]: when a new
//!   server may own rooms. [`news`]: what operators are told.
//!
//! How two servers never run one room: a record is made and changed by compare-and-swap only; its owner stops in time if it
//! cannot renew its lease; nobody else claims before that time is over, or without proof that the owner's process is gone.
//!
//! Architecture Invariant: `rpc` and `cluster` never name each other; the session owns the traits that are implemented here.

pub mod choice;
pub mod claims;
pub mod edge_wait;
pub mod electorate;
pub mod endpoints;
pub mod evacuation;
pub mod fate;
pub mod handover;
pub mod keeper;
pub mod kube;
pub mod lease;
pub mod memory;
pub mod nats;
pub mod news;
pub mod peer;
pub mod probe;
pub mod rebalance;
#[cfg(test)]
mod records;
pub mod witness;
