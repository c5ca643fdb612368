//! What a simulated server sees of the directory, and what is in it.

use crate::cluster::records;
use crate::room::RoomId;
use crate::session::directory::{
    Directory, DirectoryError, Held, InstanceId, Revision, RoomRecord, ServerRecord, Voter,
};
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::sync::watch;

/// The only one.
const ROOM: &str = "room";

/// What a server sees of the directory, as it would ask it.
pub(super) struct Face {
    pub(super) me: InstanceId,
    pub(super) rooms: Vec<Held<RoomRecord>>,
    pub(super) servers: Vec<(Held<ServerRecord>, Duration)>,
    pub(super) is_reachable: bool,
    pub(super) is_settled: bool,
}

impl Directory for Face {
    fn me(&self) -> &InstanceId {
        &self.me
    }
    fn room(&self, room: &RoomId) -> Option<Held<RoomRecord>> {
        self.rooms.iter().find(|held| held.record.room == *room).cloned()
    }
    fn rooms(&self) -> Vec<Held<RoomRecord>> {
        self.rooms.clone()
    }
    fn server(&self, instance: &InstanceId) -> Option<Held<ServerRecord>> {
        self.servers().into_iter().find(|held| held.record.instance == *instance)
    }
    fn servers(&self) -> Vec<Held<ServerRecord>> {
        self.servers.iter().map(|(held, _)| held.clone()).collect()
    }
    fn silence(&self, instance: &InstanceId) -> Option<Duration> {
        let mut servers = self.servers.iter();
        servers.find(|(held, _)| held.record.instance == *instance).map(|(_, silence)| *silence)
    }
    fn is_reachable(&self) -> bool {
        self.is_reachable
    }
    fn is_settled(&self) -> bool {
        self.is_settled
    }
    fn changes(&self) -> watch::Receiver<u64> {
        unreachable!("nobody waits here")
    }
    fn read(&self, _: &RoomId) -> BoxFuture<'_, Result<Option<Held<RoomRecord>>, DirectoryError>> {
        unreachable!("messages are simulated")
    }
    fn has_record(&self, _: &InstanceId) -> BoxFuture<'_, Result<bool, DirectoryError>> {
        unreachable!("messages are simulated")
    }
    fn create(&self, _: RoomRecord) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        unreachable!("messages are simulated")
    }
    fn swap(&self, _: RoomRecord, _: Revision) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        unreachable!("messages are simulated")
    }
    fn remove(&self, _: &RoomId, _: Revision) -> BoxFuture<'_, Result<(), DirectoryError>> {
        unreachable!("messages are simulated")
    }
    fn announce(&self, _: ServerRecord) -> BoxFuture<'_, Result<(), DirectoryError>> {
        unreachable!("messages are simulated")
    }
    fn withdraw(&self) -> BoxFuture<'_, Result<(), DirectoryError>> {
        unreachable!("messages are simulated")
    }
    fn dismiss(&self, _: &InstanceId, _: Revision) -> BoxFuture<'_, Result<(), DirectoryError>> {
        unreachable!("messages are simulated")
    }
}

pub(super) fn instance(server: usize) -> InstanceId {
    InstanceId::parse(&format!("{server:016x}")).expect("an id")
}

pub(super) fn room_id() -> RoomId {
    RoomId::parse(ROOM).expect("an id")
}

pub(super) fn room_record(is_lost: bool) -> RoomRecord {
    let (owner, epoch) = if is_lost { (1, 2) } else { (0, 1) };
    let lost = is_lost.then(|| "gone".to_owned());
    RoomRecord { lost, ..records::room(ROOM, instance(owner), epoch) }
}

/// Which server an instance is.
pub(super) fn number(instance: &InstanceId) -> usize {
    usize::from_str_radix(instance.as_str(), 16).expect("a number")
}

pub(super) fn server_record(
    server: usize,
    node: &str,
    electorate: Vec<Voter>,
    renewal_age: Duration,
) -> ServerRecord {
    ServerRecord {
        peer: server.to_string(),
        electorate,
        renewal_age_ms: renewal_age.as_millis() as u64,
        node: node.to_owned(),
        ..records::server(instance(server))
    }
}
