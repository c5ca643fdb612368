//! What becomes of a room whose owner is gone: it goes on here, or with another server, or it is lost.
//!
//! Whether the owner is gone is found out in [`super::fate`]. Here one swap makes this server the owner, in the next epoch; only then
//! is the room restored from the store that all servers share, and goes on. From the swap on a task of its own does it: whoever
//! asked may be gone meanwhile. A server that dies between the two is one whose room is claimed, like any other.

use super::fate::{SERVER_GONE, lost};
use super::news::{News, NewsSender};
use crate::room::RoomId;
use crate::session::Error;
use crate::session::directory::{
    Directory, DirectoryError, Fate, Held, InstanceId, Revision, RoomRecord,
};
use crate::session::restoring::{Cause, Heir, NotHere, NotRestored};
use crate::telemetry::{Metrics, spawn_named};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xxhash_rust::xxh3::xxh3_64;

/// How many rooms are restored at once.
const AT_ONCE_MAX: usize = 4;
/// How often it is tried to swap a record, or to read a store, that does not answer.
const TRIES: usize = 5;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(300);

/// A room that cannot be restored here is left to others for so long.
const OTHERS_FIRST: Duration = Duration::from_secs(30);
/// So many are remembered.
const GIVEN_UP_MAX: usize = 10_000;

/// After so many turns a room that nobody can go on with is given up: a server that could may be about to start.
const NOBODYS_TURN: u32 = 15;

/// What players are told of a room that no server can play any more.
pub const NO_SUCH_RULES: &str =
    "the server that ran it is gone, and no other plays its version of the rules";

/// Who can go on with a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This server.
    Here,
    /// Another one, or this one later.
    Later,
    /// Nobody; what its players are told.
    Nobody(&'static str),
}

/// Makes this server the owner of rooms whose owners are gone.
pub struct Claims {
    directory: Arc<dyn Directory>,
    metrics: Arc<Metrics>,
    news: NewsSender,
    /// Who goes on with them; it holds this.
    heir: OnceLock<Weak<dyn Heir>>,
    /// What is being claimed just now; each is told when that is over.
    claiming: Mutex<BTreeMap<RoomId, watch::Receiver<()>>>,
    /// What could not be restored here just now: others have their turn.
    given_up: Mutex<BTreeMap<RoomId, Instant>>,
    at_once: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Claims {
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        metrics: Arc<Metrics>,
        news: NewsSender,
    ) -> Self {
        Self {
            directory,
            metrics,
            news,
            heir: OnceLock::new(),
            claiming: Mutex::default(),
            given_up: Mutex::default(),
            at_once: Semaphore::new(AT_ONCE_MAX),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Who goes on with rooms here, from now on. Without, rooms are lost with their servers.
    pub(super) fn set_heir(&self, heir: Weak<dyn Heir>) {
        // There is one.
        let _ = self.heir.set(heir);
    }

    /// Whether rooms of servers that are gone can go on at all.
    pub(super) fn has_heir(&self) -> bool {
        self.heir.get().is_some()
    }

    /// Rooms that are this server's, or about to be, and not here yet.
    pub(super) fn claiming(&self) -> BTreeSet<RoomId> {
        self.lock().keys().cloned().collect()
    }

    /// Who can go on with a room whose owner is gone.
    pub(super) fn next(&self, record: &RoomRecord) -> Next {
        if self.has_given_up(&record.room) {
            return Next::Later;
        }
        let heir = self.heir.get().and_then(Weak::upgrade);
        match heir.map(|heir| heir.takes(record)) {
            Some(Ok(())) => Next::Here,
            None | Some(Err(NotHere::NoStore)) => Next::Nobody(SERVER_GONE),
            // Once it is well again, or its successor is there.
            Some(Err(NotHere::NotNow)) => Next::Later,
            Some(Err(NotHere::OtherRules)) => {
                let owner = &record.owner;
                let servers = self.directory.servers();
                let mut others = servers.iter().filter(|held| held.record.instance != *owner);
                if others.any(|held| held.record.plays(&record.game, record.sim_version)) {
                    Next::Later
                } else {
                    Next::Nobody(NO_SUCH_RULES)
                }
            }
        }
    }

    /// Whose turn it is to go on with a room that nobody asks for: how many servers come before this one. `None`: it is not for
    /// this server. Another order for each room, so that each server has its share.
    pub(super) fn turn(
        &self,
        record: &RoomRecord,
        is_there: impl Fn(&InstanceId) -> bool,
    ) -> Option<u32> {
        let me = self.directory.me();
        match self.next(record) {
            Next::Here => {}
            Next::Later => return None,
            Next::Nobody(_) => return Some(NOBODYS_TURN),
        }
        let weight = |server: &InstanceId| {
            (xxh3_64(format!("{} {server}", record.room).as_bytes()), server.clone())
        };
        let mine = weight(me);
        let servers = self.directory.servers();
        let others = servers.iter().map(|held| &held.record).filter(|other| {
            let has_place = (other.players.len() as u64) < u64::from(other.rooms_max);
            let is_other = other.instance != *me && other.instance != record.owner;
            is_other
                && !other.is_draining
                && has_place
                && other.plays(&record.game, record.sim_version)
        });
        let before =
            others.filter(|other| is_there(&other.instance) && weight(&other.instance) > mine);
        Some(u32::try_from(before.count()).unwrap_or(u32::MAX))
    }

    /// Makes this server the owner of a room, and goes on with it. `None`: somebody else has changed the record.
    pub(super) async fn take(
        self: &Arc<Self>,
        held: Held<RoomRecord>,
        proof: &'static str,
        cause: Cause,
    ) -> Result<Option<Fate>, Error> {
        let room = held.record.room.clone();
        let entry = match self.begin(&room) {
            Ok(entry) => entry,
            Err(mut over) => {
                // An error says that it is over, too.
                let _ = over.changed().await;
                return Ok(None);
            }
        };
        let (claims, (out, answer)) = (Arc::clone(self), oneshot::channel());
        spawn_named(&self.tasks, "claim", async move {
            let _entry = entry;
            let fate = tokio::select! {
                biased;
                () = claims.stop.cancelled() => Err(Error::OwnerUnreachable),
                fate = claims.go_on(held, proof, cause) => fate,
            };
            // Whoever asked may be gone.
            let _ = out.send(fate);
        });
        answer.await.unwrap_or(Err(Error::OwnerUnreachable))
    }

    async fn go_on(
        &self,
        held: Held<RoomRecord>,
        proof: &'static str,
        cause: Cause,
    ) -> Result<Option<Fate>, Error> {
        let Ok(_one_of_few) = self.at_once.acquire().await else {
            return Err(Error::OwnerUnreachable);
        };
        let Some(heir) = self.heir.get().and_then(Weak::upgrade) else {
            return Err(Error::OwnerUnreachable);
        };
        // It may go away itself since this was asked for.
        if self.next(&held.record) != Next::Here {
            return Err(Error::OwnerUnreachable);
        }
        let record = RoomRecord {
            owner: self.directory.me().clone(),
            epoch: held.record.epoch + 1,
            followers: Vec::new(),
            lost: None,
            parked: false,
            parked_whole: false,
            ..(*held.record).clone()
        };
        let Some(revision) = self.swap(&record, held.revision).await? else { return Ok(None) };
        let (room, owner, epoch) = (&record.room, &held.record.owner, record.epoch);
        let mut tries = 1;
        let why = loop {
            match heir.go_on(&record, cause).await {
                Ok(age) => {
                    self.metrics.claims.restored(cause == Cause::Parked, age);
                    let age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
                    if let Some(age_ms) = age_ms {
                        self.news.tell(News::RoomRestored { room: room.clone(), age_ms });
                    }
                    tracing::warn!(%room, %owner, epoch, proof, age_ms, "a room of a server that is gone goes on here");
                    return Ok(Some(Fate::Owned(Held { record: Arc::new(record), revision })));
                }
                Err(NotRestored::NotNow(why)) if tries < TRIES => {
                    tries += 1;
                    tracing::warn!(%room, epoch, why, "a room is not restored yet");
                    sleep(PAUSE).await;
                }
                Err(NotRestored::NotNow(why)) => {
                    tracing::warn!(%room, epoch, why, "a room is left to whoever can restore it");
                    self.note_given_up(room);
                    let record = RoomRecord { parked: true, ..record };
                    let _ = self.swap(&record, revision).await;
                    return Err(Error::OwnerUnreachable);
                }
                Err(why) => break why,
            }
        };
        tracing::error!(%room, %owner, epoch, %why, "a room cannot be restored");
        let held = Held { record: Arc::new(record), revision };
        self.lose(&held, proof, SERVER_GONE).await
    }

    /// Says in the directory that nobody runs the room any more. `None`: somebody else has changed the record.
    pub(super) async fn lose(
        &self,
        held: &Held<RoomRecord>,
        proof: &'static str,
        why: &'static str,
    ) -> Result<Option<Fate>, Error> {
        let record = &held.record;
        let claimed = lost(record, self.directory.me(), why);
        let Some(Revision(revision)) = self.swap(&claimed, held.revision).await? else {
            return Ok(None);
        };
        self.metrics.directory.claims.inc();
        self.news.tell(News::RoomLost { room: record.room.clone(), why: why.to_owned() });
        let (room, owner) = (&record.room, &record.owner);
        tracing::warn!(%room, %owner, epoch = record.epoch, revision, proof, why, "a room is lost with its server");
        Ok(Some(Fate::Lost(why.to_owned())))
    }

    /// `None`: somebody else has changed the record. Where no answer comes it is tried again: the record is this one's, if the
    /// first try came through after all.
    async fn swap(&self, record: &RoomRecord, old: Revision) -> Result<Option<Revision>, Error> {
        let directory = self.directory.as_ref();
        for tries in 1..=TRIES {
            match directory.swap(record.clone(), old).await {
                Ok(revision) => return Ok(Some(revision)),
                Err(DirectoryError::Conflict) if tries == 1 => return Ok(None),
                Err(DirectoryError::Conflict) => match directory.read(&record.room).await {
                    Ok(Some(now)) if *now.record == *record => return Ok(Some(now.revision)),
                    Ok(_) => return Ok(None),
                    Err(_) => {}
                },
                Err(DirectoryError::Away | DirectoryError::Malformed) => {}
            }
            sleep(PAUSE).await;
        }
        Err(Error::OwnerUnreachable)
    }

    /// What is being done comes to its end, or is given up: then the record names this server, and others claim the room.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Nobody else here is claiming it; or whoever does tells when that is over.
    fn begin(self: &Arc<Self>, room: &RoomId) -> Result<Claiming, watch::Receiver<()>> {
        let mut claiming = self.lock();
        if let Some(over) = claiming.get(room) {
            return Err(over.clone());
        }
        let (over, receiver) = watch::channel(());
        claiming.insert(room.clone(), receiver);
        Ok(Claiming { claims: Arc::clone(self), room: room.clone(), _over: over })
    }

    fn note_given_up(&self, room: &RoomId) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.retain(|_, at| at.elapsed() < OTHERS_FIRST);
        if given_up.len() < GIVEN_UP_MAX {
            given_up.insert(room.clone(), Instant::now());
        }
    }

    fn has_given_up(&self, room: &RoomId) -> bool {
        let given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.get(room).is_some_and(|at| at.elapsed() < OTHERS_FIRST)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoomId, watch::Receiver<()>>> {
        // Nothing panics while it is held.
        self.claiming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A room that is being claimed.
struct Claiming {
    claims: Arc<Claims>,
    room: RoomId,
    _over: watch::Sender<()>,
}

impl Drop for Claiming {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.room);
    }
}
