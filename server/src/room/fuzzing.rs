//! For fuzz targets only: a room that comes from elsewhere, without a task and a registry.

use super::core::Core;
use super::log::TickLog;
use super::{Arrival, Error, Settings};
use crate::store::Header;
use bytes::Bytes;

/// The room that goes on from what came.
pub fn arrived(arrival: Arrival, settings: Settings) -> Core {
    Core::arrived(arrival, settings, TickLog::off())
}

/// What its next owner gets of it; see [`super::Departure::bytes`].
pub fn packed(core: &mut Core, header: &Header) -> Result<Bytes, Error> {
    core.pack(header).map(|packed| packed.bytes)
}
