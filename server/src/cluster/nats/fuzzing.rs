//! For fuzz targets only: what the directory's buckets hold, as it is read.

use super::{as_json, parse_room, parse_server};
use crate::session::directory::{RoomRecord, ServerRecord};
use bytes::Bytes;

/// A room's record; `None`: it is none, or another room's.
pub fn room(key: &str, value: &[u8]) -> Option<RoomRecord> {
    parse_room(key, value)
}

/// A server's record; `None`: it is none, or another server's.
pub fn server(key: &str, value: &[u8]) -> Option<ServerRecord> {
    parse_server(key, value)
}

/// As it is written; `None`: the directory would not take it.
pub fn written(record: &impl serde::Serialize) -> Option<Bytes> {
    as_json(record).ok()
}
