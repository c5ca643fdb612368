//! Who owns which room, over all servers: what the lobby asks, and what a fleet of servers agrees on.
//!
//! A room's record changes only by compare-and-swap on its revision, so two servers never both create or own a room. A
//! server's own record is its lease: it is renewed every second, and says how full the server is.
//!
//! Reads are of the local view, which lags a moment behind and stays while the directory is away; writes ask the directory.

use super::Error;
use super::lobby::JoinSpec;
use crate::room::{Handle, RoomId};
use crate::telemetry::traces::Peer;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// One run of a server process: no other run has the same id, at whatever address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(String);

impl InstanceId {
    /// Of this run.
    pub fn random() -> Self {
        use rand::RngExt as _;
        Self(format!("{:016x}", rand::rng().random::<u64>()))
    }

    /// Takes an id from outside; `None` if it cannot be one.
    pub fn parse(id: &str) -> Option<Self> {
        let is_hex = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self(id.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A room, as the directory has it. Later versions add fields only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRecord {
    /// Which room.
    pub room: RoomId,
    /// Who runs it.
    pub owner: InstanceId,
    /// Counts owners, from 1 on; only grows.
    pub epoch: u64,
    /// Who holds a copy of it and may take over.
    #[serde(default)]
    pub followers: Vec<InstanceId>,
    /// The game.
    pub game: String,
    /// The version of its rules.
    pub sim_version: u32,
    /// What people see.
    pub name: String,
    /// The most players.
    pub capacity: u32,
    /// Of a private room: the hash of its code ([`code_hash`]). Whoever reads the directory cannot enter.
    #[serde(default)]
    pub code_hash: Option<String>,
    /// Set when nobody runs it any more: why, for its players. Kept for a while, so that all of them are told the same.
    #[serde(default)]
    pub lost: Option<String>,
    /// Its owner has ended and left the room in the store, for another to go on with it.
    #[serde(default)]
    pub parked: bool,
    /// … and the store has all of it, to the last tick. Else its players may be set back, and must be told.
    #[serde(default)]
    pub parked_whole: bool,
}

/// A server, as the directory has it. Later versions add fields only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// This run of it.
    pub instance: InstanceId,
    /// Its name, for people.
    pub name: String,
    /// `ADDRESS:PORT` where the edge reaches its players' port: the claim `route` of tickets.
    pub route: String,
    /// `ADDRESS:PORT` where other servers reach it; empty: they cannot.
    pub peer: String,
    /// Which release of the software it is, for a canary.
    pub release: String,
    /// The game that it runs.
    pub game: String,
    /// The version of its rules.
    pub sim_version: u32,
    /// All versions that rooms which come from elsewhere may play here.
    #[serde(default)]
    pub sim_versions: Vec<u32>,
    /// The most rooms that it takes.
    pub rooms_max: u32,
    /// The most players of a room.
    pub room_capacity_max: u32,
    /// It takes no new rooms: it is about to end, an operator wants it so, or not every edge knows it yet.
    pub is_draining: bool,
    /// Its rooms, and how many seats are taken in each.
    pub players: BTreeMap<RoomId, u32>,
    /// Whom it would ask whether the directory is away for everybody, itself included ([`crate::cluster::electorate`]). Its
    /// silence proves nothing to others while more than half of these may be silent with it; empty: it never does.
    #[serde(default, rename = "voters")]
    pub electorate: Vec<Voter>,
    /// Where it runs, for choosing servers nearby; empty: not known.
    #[serde(default)]
    pub zone: String,
    /// The machine that it runs on: servers of one end together. Empty: not known, one of its own.
    #[serde(default)]
    pub node: String,
    /// When this was sent: how long before the newest renewal had been sent that was answered. More than the pause between two
    /// shows others that answers are missing here, though its renewals come through.
    #[serde(default)]
    pub renewal_age_ms: u64,
}

/// A server of an electorate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Voter {
    /// Which.
    pub instance: InstanceId,
    /// How much its word counts: servers of one machine have as many votes together as those of another.
    pub votes: u32,
}

impl ServerRecord {
    /// Whether a room of this game and version can play there.
    pub fn plays(&self, game: &str, sim_version: u32) -> bool {
        let has_version =
            self.sim_version == sim_version || self.sim_versions.contains(&sim_version);
        self.game == game && has_version
    }

    /// Seats taken, over all its rooms.
    pub fn players_total(&self) -> u64 {
        self.players.values().map(|&players| u64::from(players)).sum()
    }
}

/// Which version of a record; grows with each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// Of a record that the directory itself has lost, and that this server remembers until its owner has written it again.
    pub const LOST: Self = Self(0);
}

/// A record and its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<T> {
    /// What it says.
    pub record: Arc<T>,
    /// By which it can be changed.
    pub revision: Revision,
}

/// Why the directory does not do as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// It does not answer. Whether a write happened is unknown: read it back.
    #[error("the directory does not answer")]
    Away,
    /// Somebody else was first: the record is another by now, or exists already.
    #[error("somebody else has changed the record")]
    Conflict,
    /// Its answer makes no sense.
    #[error("the directory holds something that cannot be read")]
    Malformed,
}

impl From<DirectoryError> for Error {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Away | DirectoryError::Malformed => Self::DirectoryAway,
            DirectoryError::Conflict => Self::Overloaded,
        }
    }
}

/// Who owns which room, over all servers.
pub trait Directory: Send + Sync + 'static {
    /// This server.
    fn me(&self) -> &InstanceId;

    /// A room, in the local view.
    fn room(&self, room: &RoomId) -> Option<Held<RoomRecord>>;

    /// All rooms, lost ones included, in the order of their ids, in the local view.
    fn rooms(&self) -> Vec<Held<RoomRecord>>;

    /// A server, in the local view.
    fn server(&self, instance: &InstanceId) -> Option<Held<ServerRecord>>;

    /// All servers whose records are there, this one included, in the local view.
    fn servers(&self) -> Vec<Held<ServerRecord>>;

    /// For how long, on this process's monotonic clock, a server's record has not changed. `None`: it has no record.
    fn silence(&self, instance: &InstanceId) -> Option<Duration>;

    /// Whether a renewal of this server's own record was answered within the last 3 s. Other answers do not count: a directory
    /// that can be read, or that takes other writes, keeps nobody's rooms.
    fn is_reachable(&self) -> bool;

    /// Whether what the local view does not have is not there. Not so for a while after the directory came back empty, or
    /// before it was first read.
    fn is_settled(&self) -> bool;

    /// Changes with the local view.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Reads a room from the directory itself.
    fn read(
        &self,
        room: &RoomId,
    ) -> BoxFuture<'_, Result<Option<Held<RoomRecord>>, DirectoryError>>;

    /// Whether the directory itself has a record of this server, one that cannot be read included.
    fn has_record(&self, server: &InstanceId) -> BoxFuture<'_, Result<bool, DirectoryError>>;

    /// Writes a record where there must be none.
    fn create(&self, record: RoomRecord) -> BoxFuture<'_, Result<Revision, DirectoryError>>;

    /// Writes a record in place of the one of this revision.
    fn swap(
        &self,
        record: RoomRecord,
        old: Revision,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>>;

    /// Removes the record of this revision.
    fn remove(&self, room: &RoomId, old: Revision) -> BoxFuture<'_, Result<(), DirectoryError>>;

    /// Renews this server's own record, whatever is there.
    fn announce(&self, record: ServerRecord) -> BoxFuture<'_, Result<(), DirectoryError>>;

    /// Removes this server's own record: it is going away.
    fn withdraw(&self) -> BoxFuture<'_, Result<(), DirectoryError>>;

    /// Removes the record, of this revision, of another server that is gone for good.
    fn dismiss(
        &self,
        server: &InstanceId,
        old: Revision,
    ) -> BoxFuture<'_, Result<(), DirectoryError>>;
}

/// A room, as those see it who look for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRoom {
    /// Which room.
    pub id: RoomId,
    /// What people see.
    pub name: String,
    /// The game.
    pub game: String,
    /// Seats taken.
    pub players: u32,
    /// The most players.
    pub capacity: u32,
    /// Private rooms are not listed.
    pub is_private: bool,
    /// Of a private room, for those who are in it.
    pub code: Option<String>,
}

/// A seat that waits for its player, wherever it is.
#[derive(Clone)]
pub struct Seated {
    /// Opens the stream.
    pub ticket: String,
    /// The room.
    pub room: ListedRoom,
    /// Who the player is; empty for those who only look on.
    pub player_id: String,
}

/// The header by which servers of a fleet know each other.
pub const PEER_HEADER: &str = "x-fray-peer";

/// The other servers, for what they must be asked.
pub trait Peers: Send + Sync + 'static {
    /// Lets another server give the seat: it looks at its own rooms only.
    /// Errors: the other server's own, or [`Error::OwnerUnreachable`].
    fn join(&self, server: &ServerRecord, spec: JoinSpec) -> BoxFuture<'_, Result<Seated, Error>>;

    /// Carries a stream on to another server: messages both ways, as they are. When `incoming` ends, so does the other
    /// server's; `None` in it, and dropping what is returned, break the stream off, as a client that is gone would.
    fn carry(
        &self,
        server: &ServerRecord,
        call: Carried,
        incoming: BoxStream<'static, Option<Bytes>>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, Error>>, Error>>;

    /// Finds out what became of a room whose owner does not answer, and if the owner is gone for certain, says so in the
    /// directory. [`Error::OwnerUnreachable`]: not known yet.
    fn settle(&self, room: Held<RoomRecord>) -> BoxFuture<'_, Result<Fate, Error>>;

    /// Removes the record of a server of which an operator says that it is gone for good: its rooms are lost soon after.
    /// [`Error::ServerAlive`]: it answers, or has renewed its record too lately.
    fn forget(&self, server: Held<ServerRecord>) -> BoxFuture<'_, Result<(), Error>>;
}

/// What became of a room that was to go to another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which.
    pub room: RoomId,
    /// Seats taken in it.
    pub players: u32,
    /// The name of the server that has it now; or why it stayed.
    pub to: Result<String, String>,
}

/// Gives rooms of this server to others while it runs.
pub trait RoomMover: Send + Sync + 'static {
    /// To that server, or to whichever fits best.
    fn send(&self, room: Handle, to: Option<Arc<ServerRecord>>) -> BoxFuture<'_, Sent>;

    /// As many rooms as it takes for this server to have no more players than its share, but no more than `rooms_max`.
    fn even_out(&self, rooms_max: usize) -> BoxFuture<'_, Vec<Sent>>;
}

/// A stream that is carried on to another server.
#[derive(Clone)]
pub struct Carried {
    /// Which one.
    pub method: Method,
    /// What came with the request, or was given to a guest.
    pub ticket: Option<String>,
    /// The span of the client's that opened it.
    pub trace: Peer,
}

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A player's.
    Play,
    /// A spectator's.
    Watch,
    /// Of a page that only looks on.
    Events,
}

/// What became of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// This is its record now: it has an owner.
    Owned(Held<RoomRecord>),
    /// Nobody runs it any more, and why.
    Lost(String),
}

/// What a server knows of the others.
#[derive(Clone)]
pub struct Fleet {
    /// Who owns which room.
    pub directory: Arc<dyn Directory>,
    /// The other servers.
    pub peers: Arc<dyn Peers>,
    /// `ADDRESS:PORT` where the edge reaches this server: the claim `route` of its tickets.
    pub route: String,
    /// `ADDRESS:PORT` where other servers reach it: what they show here must be meant for it.
    pub peer: String,
    /// Which release this server is.
    pub release: String,
    /// All servers keep what rooms play in one place.
    pub shares_store: bool,
    /// Streams whose room is on another server are carried on; else they are refused.
    pub relays: bool,
}

/// What the directory keeps of a private room's code: whoever has the code can compare, nobody can tell the code from it
/// by trying (codes have 40 bits of chance; the key is the fleet's).
pub fn code_hash(key: &super::token::TokenKey, code: &str) -> String {
    key.derive("code", &code.to_ascii_uppercase())
}
