//! Records for the tests of this module, with nothing in them but what a test is about.

use crate::room::RoomId;
use crate::session::directory::{InstanceId, RoomRecord, ServerRecord};
use std::collections::BTreeMap;

pub(super) fn room(id: &str, owner: InstanceId, epoch: u64) -> RoomRecord {
    RoomRecord {
        room: RoomId::parse(id).expect("an id"),
        owner,
        epoch,
        followers: Vec::new(),
        game: "arena".into(),
        sim_version: 1,
        name: String::new(),
        capacity: 8,
        code_hash: None,
        lost: None,
        parked: false,
        parked_whole: false,
    }
}

/// It asks nobody, and was answered just now.
pub(super) fn server(instance: InstanceId) -> ServerRecord {
    ServerRecord {
        instance,
        name: String::new(),
        route: String::new(),
        peer: String::new(),
        release: String::new(),
        game: "arena".into(),
        sim_version: 1,
        sim_versions: Vec::new(),
        rooms_max: 8,
        room_capacity_max: 8,
        is_draining: false,
        players: BTreeMap::new(),
        electorate: Vec::new(),
        renewal_age_ms: 0,
        zone: String::new(),
        node: String::new(),
    }
}
