//! A server alone that is started again goes on with its own rooms, from its own store.

use super::Sessions;
use super::directory::{RoomRecord, code_hash};
use super::restoring::Cause;
use crate::room::{Outcome, RoomId};
use crate::store::{self, Name, Store, Summary};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// How long a room stands still at most for its log to get to the store.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// What its players are told.
const STARTS_AGAIN: &str = "it goes on with the room when it is started again";

impl Sessions {
    /// Leaves all rooms in the store: their logs have no end.
    pub async fn leave_rooms(&self) {
        for room in self.rooms.all() {
            let Ok(departure) = room.depart().await else { continue };
            let name = Name::parse(room.info().id.as_str());
            let progress = name.and_then(|name| self.rooms.store().progress(&name));
            if let Some(mut progress) = progress {
                let reached = progress.wait_for(|progress| progress.last_tick >= departure.tick);
                // What is missing then is missing: the store itself says so when it is closed.
                let _ = timeout(LOG_PATIENCE, reached).await;
            }
            tracing::info!(room = %room.info().id, tick = departure.tick, "a room waits in the store for the next start");
            departure.conclude(Outcome::Parked(STARTS_AGAIN));
        }
    }

    /// Goes on with the rooms whose logs have no end, if their players may still come back. Says how many there are.
    pub async fn restore_own_rooms(&self) -> usize {
        let (store, grace) = (Arc::clone(self.rooms.store()), self.rooms.settings().grace);
        // A folder is read: not for the runtime's workers.
        let found = tokio::task::spawn_blocking(move || left(store.as_ref(), grace)).await;
        let found = match found {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(%error, "rooms of the last run cannot be looked for");
                return 0;
            }
            // It was said.
            Err(_) => return 0,
        };
        let mut restored = 0;
        for Summary { header, .. } in found {
            let Some(room) = RoomId::parse(&header.room).filter(|_| self.rooms.has_place()) else {
                continue;
            };
            let code = Some(&header.code).filter(|code| !code.is_empty());
            let record = RoomRecord {
                room,
                owner: self.fleet.directory.me().clone(),
                epoch: header.epoch + 1,
                followers: Vec::new(),
                game: header.game.clone(),
                sim_version: header.sim_version,
                name: header.room_name.clone(),
                capacity: header.capacity,
                code_hash: code.map(|code| code_hash(&self.token_key, code)),
                lost: None,
                parked: false,
                parked_whole: false,
            };
            match self.restore(&record, Cause::Lost { silent_for: grace }).await {
                Ok(age) => {
                    restored += 1;
                    self.metrics.claims.restored(false, age);
                    // It is a directory in memory, which knew of nothing yet.
                    let _ = self.fleet.directory.create(record).await;
                }
                Err(why) => {
                    tracing::info!(room = header.room, %why, "a room of the last run does not go on");
                }
            }
        }
        restored
    }
}

/// Rooms that were written lately, and maybe are not over.
fn left(store: &dyn Store, grace: Duration) -> Result<Vec<Summary>, store::Error> {
    let mut found = store.list()?;
    found.retain(|found| {
        let written_at = store.tail(&found.name).ok().and_then(|tail| tail.written_at);
        let age = written_at.and_then(|at| SystemTime::now().duration_since(at).ok());
        found.header.incident.is_empty() && age.is_some_and(|age| age <= grace)
    });
    Ok(found)
}
