//! A room whose last owner is gone, or has left it in the store, goes on here.
//!
//! The room is this server's by then: the directory says so. What it was is in its log, in a store that its last owner wrote and
//! this server reads.

use super::Sessions;
use super::directory::RoomRecord;
use super::token::ResumeToken;
use crate::game::GameFactory;
use crate::replay::restoring::{self, Restored};
use crate::room::travel::supported;
use crate::room::{self, Arrival};
use crate::store::sessions::Presence;
use crate::store::{self, Name, ReadError, Store, Tail};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// What is read may be behind what was written, where a store is kept on several servers: it is looked again so often, with a
/// pause of so long.
const LOOKS_MAX: u32 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a room needs another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its last one is gone; nothing was heard of it for so long.
    Lost {
        /// Where nothing else says how old the room's state is, this does.
        silent_for: Duration,
    },
    /// Its last one has left it in the store.
    Parked,
}

/// Why a room cannot go on here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHere {
    /// Each server has a store of its own: nobody can read what the last owner wrote.
    NoStore,
    /// This server does not play its game, or another version of its rules.
    OtherRules,
    /// This server takes no rooms just now.
    NotNow,
}

/// Why a room did not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRestored {
    /// Another time it may.
    #[error("{0}")]
    NotNow(String),
    /// It never will.
    #[error("{0}")]
    Never(String),
}

/// Goes on with rooms of servers that are gone.
pub trait Heir: Send + Sync + 'static {
    /// Whether this server could have that room now.
    fn takes(&self, record: &RoomRecord) -> Result<(), NotHere>;

    /// Goes on with a room that is this server's by this record. Says how old its state was, if something may be missing.
    fn go_on<'a>(
        &'a self,
        record: &'a RoomRecord,
        cause: Cause,
    ) -> BoxFuture<'a, Result<Option<Duration>, NotRestored>>;
}

impl Heir for Sessions {
    fn takes(&self, record: &RoomRecord) -> Result<(), NotHere> {
        if !self.fleet.shares_store {
            return Err(NotHere::NoStore);
        }
        let is_its = |game: &Arc<dyn GameFactory>| {
            game.name() == record.game && game.sim_version() == record.sim_version
        };
        if !self.rooms.games().iter().any(is_its) {
            return Err(NotHere::OtherRules);
        }
        let is_well = self.health.takes_rooms() && self.rooms.permit().allows(Instant::now());
        let takes = is_well && self.takes_players().is_ok() && self.rooms.has_place();
        if takes { Ok(()) } else { Err(NotHere::NotNow) }
    }

    fn go_on<'a>(
        &'a self,
        record: &'a RoomRecord,
        cause: Cause,
    ) -> BoxFuture<'a, Result<Option<Duration>, NotRestored>> {
        Box::pin(async move {
            if self.takes_players().is_err() {
                return Err(NotRestored::NotNow("this server goes away itself".into()));
            }
            self.restore(record, cause).await
        })
    }
}

impl Sessions {
    pub(super) async fn restore(
        &self,
        record: &RoomRecord,
        cause: Cause,
    ) -> Result<Option<Duration>, NotRestored> {
        let settings = self.rooms.settings();
        let work = Work {
            store: Arc::clone(self.rooms.store()),
            games: self.rooms.games().to_vec(),
            room: record.room.to_string(),
            tick_rate_hz: settings.tick_rate_hz,
            grace_ticks: settings.ticks(settings.grace),
        };
        // A store that is asked over a network, and a game that plays some seconds again, are not for the runtime's workers.
        let done = tokio::task::spawn_blocking(move || work.run()).await;
        let (mut restored, tail) = done.map_err(|error| never(&error))??;
        for session in &mut restored.sessions.sessions {
            let has_been_here = !matches!(session.presence, Presence::Reserved { .. });
            if has_been_here && session.token_hash.is_none() && !session.player_id.is_empty() {
                // It came after the last record of sessions. Its token follows from who it is.
                let (room, player_id) = (record.room.clone(), session.player_id.as_str());
                let token = ResumeToken::of(&self.token_key, room, record.epoch, player_id);
                session.token_hash = Some(token.hash());
            }
        }
        let is_whole = restored.tick >= tail.last_tick.max(restored.read_tick);
        let age = match cause {
            Cause::Parked if is_whole => None,
            Cause::Parked => Some(age(&restored, tail, Duration::ZERO, settings.tick_rate_hz)),
            Cause::Lost { silent_for } => {
                Some(age(&restored, tail, silent_for, settings.tick_rate_hz))
            }
        };
        let Restored { header, tick, game, sessions, .. } = restored;
        let arrival = Arrival {
            header,
            epoch: record.epoch,
            tick,
            game,
            sessions,
            moves: Vec::new(),
            barred: Vec::new(),
            restored: age,
            restorations: Vec::new(),
        };
        match self.rooms.adopt(arrival) {
            Ok(_) => Ok(age),
            // One of an earlier epoch is about to end here.
            Err(room::Error::Exists) => {
                Err(NotRestored::NotNow("such a room is still here".into()))
            }
            Err(error) => Err(never(&error)),
        }
    }
}

/// How long ago the last tick was made that is restored.
fn age(restored: &Restored, tail: Tail, silent_for: Duration, tick_rate_hz: u32) -> Duration {
    let since = |at: SystemTime| SystemTime::now().duration_since(at).unwrap_or_default();
    let left_out = tail.last_tick.max(restored.read_tick).saturating_sub(restored.tick);
    let left_out = Duration::from_secs(u64::from(left_out)) / tick_rate_hz.max(1);
    tail.written_at.map_or(silent_for, since) + left_out
}

fn never(error: &dyn std::fmt::Display) -> NotRestored {
    NotRestored::Never(error.to_string())
}

/// What is done on a thread that may wait.
struct Work {
    store: Arc<dyn Store>,
    games: Vec<Arc<dyn GameFactory>>,
    room: String,
    tick_rate_hz: u32,
    grace_ticks: u32,
}

impl Work {
    #[expect(clippy::disallowed_methods, reason = "it runs on a thread that may block")]
    fn run(&self) -> Result<(Restored, Tail), NotRestored> {
        let name = Name::parse(&self.room).ok_or_else(|| never(&"no recording has its name"))?;
        let tail = self.store.tail(&name).map_err(|error| of_store(&error))?;
        let log = self.store.read(&name, u32::MAX).map_err(|error| of_store(&error))?;
        let mut looks = 0;
        let more = |tick: u32| {
            let is_behind = tick < tail.last_tick && looks < LOOKS_MAX;
            if is_behind {
                looks += 1;
                std::thread::sleep(LOOK_EVERY);
            }
            is_behind
        };
        let remains = restoring::read(log, more).map_err(|error| match error {
            restoring::NotRestored::Unread(error) => NotRestored::NotNow(error.to_string()),
            other => never(&other),
        })?;
        let header = remains.header();
        if header.room != self.room {
            return Err(never(&"the log is another room's"));
        }
        let game = supported(&self.games, self.tick_rate_hz, header).map_err(|e| never(&e))?;
        let restored = restoring::play(&remains, game.as_ref(), self.grace_ticks);
        Ok((restored.map_err(|error| never(&error))?, tail))
    }
}

fn of_store(error: &store::Error) -> NotRestored {
    match error {
        store::Error::Io(_) | store::Error::Read(ReadError::Io(_)) | store::Error::Full => {
            NotRestored::NotNow(error.to_string())
        }
        _ => never(error),
    }
}
