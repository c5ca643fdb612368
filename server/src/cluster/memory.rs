//! A directory in memory: of one server alone, or of several servers in one process, for tests.

use crate::room::RoomId;
use crate::session::Error;
use crate::session::directory::{
    Carried, Directory, DirectoryError, Fate, Held, InstanceId, Peers, Revision, RoomRecord,
    Seated, ServerRecord,
};
use crate::session::lobby::JoinSpec;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// One server's access to a directory that it shares with others in this process, if there are any.
pub struct MemoryDirectory {
    me: InstanceId,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    revision: u64,
    rooms: BTreeMap<RoomId, Held<RoomRecord>>,
    servers: BTreeMap<InstanceId, (Held<ServerRecord>, Instant)>,
}

impl State {
    fn next(&mut self) -> Revision {
        self.revision += 1;
        Revision(self.revision)
    }
}

impl MemoryDirectory {
    /// An empty directory.
    pub fn alone() -> Self {
        let shared = Shared { state: Mutex::default(), changes: watch::Sender::new(0) };
        Self { me: InstanceId::random(), shared: Arc::new(shared) }
    }

    /// Another server's access to the same directory.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { me: InstanceId::random(), shared: Arc::clone(&self.shared) }
    }

    /// A room is over: of a server alone, nobody else keeps its records.
    pub fn forget(&self, room: &RoomId) {
        self.state().rooms.remove(room);
        self.changed();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.shared.changes.send_modify(|changes| *changes += 1);
    }

    fn write(&self, record: RoomRecord, old: Option<Revision>) -> Result<Revision, DirectoryError> {
        let mut state = self.state();
        if state.rooms.get(&record.room).map(|held| held.revision) != old {
            return Err(DirectoryError::Conflict);
        }
        let revision = state.next();
        let held = Held { revision, record: Arc::new(record) };
        state.rooms.insert(held.record.room.clone(), held);
        drop(state);
        self.changed();
        Ok(revision)
    }
}

impl Directory for MemoryDirectory {
    fn me(&self) -> &InstanceId {
        &self.me
    }

    fn room(&self, room: &RoomId) -> Option<Held<RoomRecord>> {
        self.state().rooms.get(room).cloned()
    }

    fn rooms(&self) -> Vec<Held<RoomRecord>> {
        self.state().rooms.values().cloned().collect()
    }

    fn server(&self, instance: &InstanceId) -> Option<Held<ServerRecord>> {
        self.state().servers.get(instance).map(|(held, _)| held.clone())
    }

    fn servers(&self) -> Vec<Held<ServerRecord>> {
        self.state().servers.values().map(|(held, _)| held.clone()).collect()
    }

    fn silence(&self, instance: &InstanceId) -> Option<Duration> {
        self.state().servers.get(instance).map(|(_, since)| since.elapsed())
    }

    fn is_reachable(&self) -> bool {
        true
    }

    fn is_settled(&self) -> bool {
        true
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn read(
        &self,
        room: &RoomId,
    ) -> BoxFuture<'_, Result<Option<Held<RoomRecord>>, DirectoryError>> {
        let held = self.room(room);
        Box::pin(async { Ok(held) })
    }

    fn has_record(&self, server: &InstanceId) -> BoxFuture<'_, Result<bool, DirectoryError>> {
        let is_there = self.server(server).is_some();
        Box::pin(async move { Ok(is_there) })
    }

    fn create(&self, record: RoomRecord) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        Box::pin(async { self.write(record, None) })
    }

    fn swap(
        &self,
        record: RoomRecord,
        old: Revision,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        Box::pin(async move { self.write(record, Some(old)) })
    }

    fn remove(&self, room: &RoomId, old: Revision) -> BoxFuture<'_, Result<(), DirectoryError>> {
        let room = room.clone();
        Box::pin(async move {
            let mut state = self.state();
            if state.rooms.get(&room).map(|held| held.revision) != Some(old) {
                return Err(DirectoryError::Conflict);
            }
            state.rooms.remove(&room);
            drop(state);
            self.changed();
            Ok(())
        })
    }

    fn announce(&self, record: ServerRecord) -> BoxFuture<'_, Result<(), DirectoryError>> {
        Box::pin(async move {
            let mut state = self.state();
            let revision = state.next();
            let held = Held { revision, record: Arc::new(record) };
            state.servers.insert(held.record.instance.clone(), (held, Instant::now()));
            drop(state);
            self.changed();
            Ok(())
        })
    }

    fn withdraw(&self) -> BoxFuture<'_, Result<(), DirectoryError>> {
        Box::pin(async move {
            self.state().servers.remove(&self.me);
            self.changed();
            Ok(())
        })
    }

    fn dismiss(
        &self,
        server: &InstanceId,
        old: Revision,
    ) -> BoxFuture<'_, Result<(), DirectoryError>> {
        let server = server.clone();
        Box::pin(async move {
            let mut state = self.state();
            if state.servers.get(&server).map(|(held, _)| held.revision) != Some(old) {
                return Err(DirectoryError::Conflict);
            }
            state.servers.remove(&server);
            drop(state);
            self.changed();
            Ok(())
        })
    }
}

/// Of a server alone: there is nobody to ask.
pub struct NoPeers;

impl Peers for NoPeers {
    fn join(&self, _: &ServerRecord, _: JoinSpec) -> BoxFuture<'_, Result<Seated, Error>> {
        Box::pin(async { Err(Error::OwnerUnreachable) })
    }

    fn carry(
        &self,
        _: &ServerRecord,
        _: Carried,
        _: BoxStream<'static, Option<Bytes>>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, Error>>, Error>> {
        Box::pin(async { Err(Error::OwnerUnreachable) })
    }

    fn settle(&self, _: Held<RoomRecord>) -> BoxFuture<'_, Result<Fate, Error>> {
        Box::pin(async { Err(Error::OwnerUnreachable) })
    }

    fn forget(&self, _: Held<ServerRecord>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Err(Error::ServerAlive("there are no others")) })
    }
}
