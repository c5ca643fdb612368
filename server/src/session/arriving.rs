//! A room that another server gives to this one.
//!
//! The other server has stopped it. It is this server's from the moment at which the directory says so, by one swap, and
//! ticks here after that, never before.

use super::directory::{Directory, DirectoryError, Revision, RoomRecord};
use super::{Error, Sessions};
use crate::room::handle::Move;
use crate::room::travel::{Arrival, ArrivalError, BarredPlayer};
use crate::room::{Departure, Registry, RoomId};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A room's bytes are no more than this: a checkpoint and its sessions.
pub const ROOM_BYTES_MAX: usize = 33 << 20;
/// How many rooms may be on their way here at once.
pub const ARRIVALS_MAX: usize = 8;
/// A room is here within this, or not at all.
pub const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked up whether a swap without an answer has happened.
const LOOKS_MAX: usize = 3;

/// A room that comes.
pub struct Offer {
    /// Which.
    pub room: RoomId,
    /// Its epoch at the other server's.
    pub epoch: u64,
    /// The directory's record that is to be swapped.
    pub revision: Revision,
    /// The last tick that was made.
    pub tick: u32,
    /// See [`Departure::bytes`].
    pub bytes: Bytes,
    /// Moves that were not applied yet, with their players' numbers.
    pub moves: Vec<(u32, Move)>,
    /// Who is kept out.
    pub barred: Vec<BarredPlayer>,
}

impl Offer {
    /// Of a room that stands still, and whose record this is.
    pub fn of(departure: &Departure, revision: Revision) -> Self {
        let Departure { room, epoch, tick, bytes, moves, barred, .. } = departure;
        Self {
            room: room.clone(),
            epoch: *epoch,
            revision,
            tick: *tick,
            bytes: bytes.clone(),
            moves: moves.clone(),
            barred: barred.clone(),
        }
    }
}

/// A room that is this server's now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its epoch here.
    pub epoch: u64,
    /// The first tick of it.
    pub first_tick: u32,
}

impl Sessions {
    /// Takes a room over, unless this server goes away itself; see [`take`].
    pub async fn take_room(&self, offer: Offer) -> Result<Taken, Error> {
        self.takes_players()?;
        let taken = take(&self.rooms, self.fleet.directory.as_ref(), offer).await?;
        self.metrics.moving.arrived.inc();
        Ok(taken)
    }
}

/// Takes a room over. Every error but [`Error::DirectoryAway`], [`Error::RoomExists`] and [`Error::Internal`] says that this
/// server does not own it, and will not.
pub async fn take(
    rooms: &Arc<Registry>,
    directory: &dyn Directory,
    offer: Offer,
) -> Result<Taken, Error> {
    if !rooms.has_place() {
        return Err(Error::RoomsExhausted);
    }
    let Offer { room, epoch, revision, tick, bytes, moves, barred } = offer;
    let parser = Arc::clone(rooms);
    // A large game takes its time.
    let parsed = tokio::task::spawn_blocking(move || parser.parse(&bytes)).await;
    let arrival = parsed.map_err(|_| Error::Internal)?.map_err(|error| refused(&error))?;
    let header = &arrival.header;
    if header.room != room.as_str() || header.epoch != epoch || arrival.tick != tick {
        return Err(Error::Invalid { field: "piece", problem: "another room, epoch or tick" });
    }
    let arrival = Arrival { epoch: epoch + 1, moves, barred, ..arrival };
    own(directory, &room, epoch, revision).await?;
    // From here on nobody else will.
    match rooms.adopt(arrival) {
        Ok(_) => Ok(Taken { epoch: epoch + 1, first_tick: tick + 1 }),
        Err(error) => {
            tracing::error!(%room, %error, "a room that came from another server cannot go on");
            Err(Error::Internal)
        }
    }
}

/// Makes the room this server's in the directory.
async fn own(
    directory: &dyn Directory,
    room: &RoomId,
    epoch: u64,
    revision: Revision,
) -> Result<(), Error> {
    let known = directory.room(room).filter(|held| held.revision == revision);
    let held = match known {
        Some(held) => Some(held),
        None => directory.read(room).await.map_err(|_| Error::Overloaded)?,
    };
    let held = held.filter(|held| held.revision == revision && held.record.epoch == epoch);
    let held = held.ok_or(Error::RoomExists)?;
    let record = RoomRecord {
        owner: directory.me().clone(),
        epoch: epoch + 1,
        followers: Vec::new(),
        parked: false,
        ..(*held.record).clone()
    };
    match directory.swap(record, revision).await {
        Ok(_) => return Ok(()),
        Err(DirectoryError::Conflict) => return Err(Error::RoomExists),
        Err(DirectoryError::Away | DirectoryError::Malformed) => {}
    }
    // Whether it happened is not known: what is there now counts. If it did not happen yet, it may still.
    for _ in 0..LOOKS_MAX {
        if let Ok(Some(held)) = directory.read(room).await {
            if held.record.owner == *directory.me() && held.record.epoch == epoch + 1 {
                return Ok(());
            }
            if held.revision != revision {
                return Err(Error::RoomExists);
            }
        }
    }
    Err(Error::DirectoryAway)
}

fn refused(error: &ArrivalError) -> Error {
    tracing::warn!(%error, "a room that another server gives cannot be taken");
    match error {
        ArrivalError::Unsupported { .. } => Error::SimVersionUnsupported(error.to_string()),
        ArrivalError::Read(_) => Error::Invalid { field: "piece", problem: "not records" },
        ArrivalError::Incomplete(problem) => Error::Invalid { field: "piece", problem },
        ArrivalError::Checkpoint(_) => {
            Error::Invalid { field: "piece", problem: "the game does not take its checkpoint" }
        }
    }
}
