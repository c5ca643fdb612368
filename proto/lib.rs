//! The wire contract of Fray, and what both sides of it share.
//!
//! - [`v1`]: messages and services, generated from `proto/fray/v1`.
//! - [`model`]: entities and the integer motion model. Pure: no clock, no I/O, no floats, no messages.
//! - [`cell`]: the bytes of a cell, encoded and decoded. Pure as well.
//! - [`hash`]: checksums of cells, and the rolling hash over applied moves.
//! - [`update`]: the header of an update, joined with shared cells.
//! - [`trace`]: where in a trace a sampled move is.
//! - [`replica`]: a client's copy of the world, which applies updates and checks them.
//!
//! The format is specified in `proto/REPLICATION.md`; `proto/vectors` holds files that every decoder must pass.

pub mod cell;
pub mod hash;
pub mod model;
pub mod replica;
pub mod trace;
pub mod update;

/// Messages and services of package `fray.v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("fray.v1");
}

/// The version of the stream's rules that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The compiled descriptors of `proto/fray/v1`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/fray_descriptors.bin"));
