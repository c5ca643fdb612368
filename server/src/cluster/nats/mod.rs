//! The directory that many servers share: two key-value buckets in NATS JetStream.
//!
//! - `options`: where NATS is, and how one gets in.
//! - `view`: what this server knows of the directory. Pure.
//! - `follow`: keeps the view as the buckets are; makes them, if they are not there.
//! - `request`: single reads and writes, each with a deadline.
//!
//! A record is one JSON value. Rooms are in `<prefix>_rooms` under their ids, servers in `<prefix>_servers` under their
//! instances' ids; a record's revision is its message's sequence number in the bucket's stream, so a compare-and-swap is a
//! message with an expected last sequence of its subject.

mod follow;
#[cfg(fuzzing)]
pub mod fuzzing;
mod options;
mod request;
mod view;

pub use follow::Follower;
pub use options::{Options, Tls};
pub use request::REQUEST_TIMEOUT;
pub use view::SETTLE;

use crate::room::RoomId;
use crate::session::directory::{
    Directory, DirectoryError, Held, InstanceId, Revision, RoomRecord, ServerRecord,
};
use crate::store::EPOCH_MAX;
use crate::telemetry::Metrics;
use async_nats::jetstream;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use request::{Kind, Requests, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use view::{Entry, View, held};

/// Without an answer to a renewal for so long, the directory counts as not reachable. Nothing else is such an answer: each
/// bucket, and reading and writing it, may fail by itself, and what counts is whether this server keeps its rooms.
pub const REACHABLE_FOR: Duration = Duration::from_secs(3);
/// The most bytes of a record.
const RECORD_BYTES_MAX: usize = 256 * 1024;

/// Why a directory cannot be used: something that waiting does not mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL is none.
    #[error("not a NATS URL: {0}")]
    Url(std::io::Error),
    /// The credentials cannot be read.
    #[error("the NATS credentials cannot be read: {0}")]
    Credentials(std::io::Error),
    /// The prefix or the number of replicas cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The client does not start.
    #[error("the NATS client does not start: {0}")]
    Client(#[from] async_nats::ConnectError),
}

/// The names of the two buckets.
#[derive(Clone, Debug)]
struct Buckets {
    rooms: String,
    servers: String,
}

impl Buckets {
    /// The stream of a bucket.
    fn stream(bucket: &str) -> String {
        format!("KV_{bucket}")
    }

    /// The subject of a key.
    fn subject(bucket: &str, key: &str) -> String {
        format!("$KV.{bucket}.{key}")
    }
}

/// The directory in NATS. [`Follower::run`] must run for as long as it is used.
pub struct NatsDirectory {
    shared: Arc<Shared>,
}

struct Shared {
    me: InstanceId,
    buckets: Buckets,
    requests: Requests,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    view: View,
    /// When a renewal was last acknowledged.
    renewed: Option<Instant>,
}

impl NatsDirectory {
    /// A directory, and what keeps its view. Does not wait until NATS is there: it is tried for ever.
    pub async fn start(
        options: Options,
        me: InstanceId,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Follower), StartError> {
        options.check()?;
        let (client, events) = options.connect(&me).await?;
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(REQUEST_TIMEOUT);
        let shared = Arc::new(Shared {
            me,
            buckets: Buckets {
                rooms: format!("{}_rooms", options.prefix),
                servers: format!("{}_servers", options.prefix),
            },
            requests: Requests { jetstream, metrics },
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        let follower = Follower::new(Arc::clone(&shared), options, events);
        Ok((Self { shared }, follower))
    }

    async fn write_room(
        &self,
        kind: Kind,
        record: RoomRecord,
        old: Revision,
    ) -> Result<Revision, DirectoryError> {
        let shared = &self.shared;
        let value = as_json(&record)?;
        let write = Write {
            kind,
            bucket: shared.buckets.rooms.clone(),
            key: record.room.to_string(),
            value: Some(value),
            old: Some(old),
        };
        let revision = shared.requests.write(write).await?;
        shared.take(Entry::Room(held(record, revision.0)));
        Ok(revision)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.view.forget(Instant::now()) {
            self.changed();
        }
        state
    }

    /// What an answer to this server says.
    fn take(&self, entry: Entry) {
        let is_new = self.state().view.take(entry, Instant::now());
        if is_new {
            self.changed();
        }
    }

    /// What is read in full or heard of, in order.
    fn hear(&self, entry: Entry) {
        let is_new = self.state().view.hear(entry, Instant::now());
        if is_new {
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

fn as_json(record: &impl serde::Serialize) -> Result<Bytes, DirectoryError> {
    let value = serde_json::to_vec(record).map_err(|_| DirectoryError::Malformed)?;
    // The directory would not take it, and say so each time.
    if value.len() > RECORD_BYTES_MAX {
        return Err(DirectoryError::Malformed);
    }
    Ok(value.into())
}

/// A room's record as it is stored; `None`: it is none, or another room's.
fn parse_room(key: &str, value: &[u8]) -> Option<RoomRecord> {
    let record: RoomRecord = parse(value)?;
    let are_sound = record.epoch <= EPOCH_MAX
        && InstanceId::parse(record.owner.as_str()).is_some()
        && record.followers.iter().all(|follower| InstanceId::parse(follower.as_str()).is_some());
    (record.room.as_str() == key && are_sound).then_some(record)
}

fn parse_server(key: &str, value: &[u8]) -> Option<ServerRecord> {
    let record: ServerRecord = parse(value)?;
    let is_sound = InstanceId::parse(record.instance.as_str()).is_some()
        && record
            .electorate
            .iter()
            .all(|voter| InstanceId::parse(voter.instance.as_str()).is_some());
    (record.instance.as_str() == key && is_sound).then_some(record)
}

fn parse<T: serde::de::DeserializeOwned>(value: &[u8]) -> Option<T> {
    if value.len() > RECORD_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(value).ok()
}

impl Directory for NatsDirectory {
    fn me(&self) -> &InstanceId {
        &self.shared.me
    }

    fn room(&self, room: &RoomId) -> Option<Held<RoomRecord>> {
        self.shared.state().view.room(room)
    }

    fn rooms(&self) -> Vec<Held<RoomRecord>> {
        self.shared.state().view.rooms()
    }

    fn server(&self, instance: &InstanceId) -> Option<Held<ServerRecord>> {
        self.shared.state().view.server(instance)
    }

    fn servers(&self) -> Vec<Held<ServerRecord>> {
        self.shared.state().view.servers()
    }

    fn silence(&self, instance: &InstanceId) -> Option<Duration> {
        self.shared.state().view.silence(instance, Instant::now())
    }

    fn is_reachable(&self) -> bool {
        self.shared.state().renewed.is_some_and(|renewed| renewed.elapsed() < REACHABLE_FOR)
    }

    fn is_settled(&self) -> bool {
        self.shared.state().view.is_settled(Instant::now())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn read(
        &self,
        room: &RoomId,
    ) -> BoxFuture<'_, Result<Option<Held<RoomRecord>>, DirectoryError>> {
        let key = room.to_string();
        Box::pin(async move {
            let shared = &self.shared;
            let stored = shared.requests.read(&shared.buckets.rooms, &key).await?;
            let Some((stored, value)) = stored.and_then(|mut stored| {
                let value = stored.value.take()?;
                Some((stored, value))
            }) else {
                return Ok(None);
            };
            let record = parse_room(&key, &value).ok_or(DirectoryError::Malformed)?;
            let held = held(record, stored.revision.0);
            shared.take(Entry::Room(held.clone()));
            Ok(Some(held))
        })
    }

    fn has_record(&self, server: &InstanceId) -> BoxFuture<'_, Result<bool, DirectoryError>> {
        let key = server.to_string();
        Box::pin(async move {
            let shared = &self.shared;
            let stored = shared.requests.read(&shared.buckets.servers, &key).await?;
            Ok(stored.is_some_and(|stored| stored.value.is_some()))
        })
    }

    fn create(&self, record: RoomRecord) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        Box::pin(async move {
            // A directory that was emptied would take it, and its owner would come back and find it taken.
            let known = self.room(&record.room);
            let is_remembered = known.is_some_and(|known| {
                known.revision == Revision::LOST && known.record.owner != record.owner
            });
            if is_remembered {
                return Err(DirectoryError::Conflict);
            }
            self.write_room(Kind::Create, record, Revision(0)).await
        })
    }

    fn swap(
        &self,
        record: RoomRecord,
        old: Revision,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        Box::pin(self.write_room(Kind::Swap, record, old))
    }

    fn remove(&self, room: &RoomId, old: Revision) -> BoxFuture<'_, Result<(), DirectoryError>> {
        let room = room.clone();
        Box::pin(async move {
            let shared = &self.shared;
            let write = Write {
                kind: Kind::Remove,
                bucket: shared.buckets.rooms.clone(),
                key: room.to_string(),
                value: None,
                old: Some(old),
            };
            shared.requests.write(write).await?;
            shared.state().view.removed(&room, old);
            shared.changed();
            Ok(())
        })
    }

    fn announce(&self, record: ServerRecord) -> BoxFuture<'_, Result<(), DirectoryError>> {
        Box::pin(async move {
            let shared = &self.shared;
            let write = Write {
                kind: Kind::Announce,
                bucket: shared.buckets.servers.clone(),
                key: shared.me.to_string(),
                value: Some(as_json(&record)?),
                old: None,
            };
            let sent = Instant::now();
            let revision = shared.requests.write(write).await?;
            {
                let (mut state, now) = (shared.state(), Instant::now());
                state.renewed = Some(now);
                state.view.renewed(revision, sent, now);
            }
            shared.take(Entry::Server(held(record, revision.0)));
            Ok(())
        })
    }

    fn withdraw(&self) -> BoxFuture<'_, Result<(), DirectoryError>> {
        Box::pin(async move {
            let shared = &self.shared;
            let write = Write {
                kind: Kind::Withdraw,
                bucket: shared.buckets.servers.clone(),
                key: shared.me.to_string(),
                value: None,
                old: None,
            };
            shared.requests.write(write).await.map(|_| ())
        })
    }

    fn dismiss(
        &self,
        server: &InstanceId,
        old: Revision,
    ) -> BoxFuture<'_, Result<(), DirectoryError>> {
        let server = server.clone();
        Box::pin(async move {
            let shared = &self.shared;
            if old == Revision::LOST {
                return Err(DirectoryError::Conflict);
            }
            let write = Write {
                kind: Kind::Dismiss,
                bucket: shared.buckets.servers.clone(),
                key: server.to_string(),
                value: None,
                old: Some(old),
            };
            shared.requests.write(write).await?;
            shared.state().view.dismissed(&server, old);
            shared.changed();
            Ok(())
        })
    }
}

#[cfg(test)]
mod simulation;
