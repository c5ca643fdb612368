//! A room that another server gives to this one.
//!
//! The other server has stopped it. It is this server's from the moment at which the directory says so, by one swap, and
//! ticks here after that, never before.

use super::directory::{Directory, DirectoryError, Held, Revision, RoomRecord};
use super::{Error, Sessions};
use crate::room::handle::Move;
use crate::room::travel::{Arrival, ArrivalError, BarredPlayer, Restoration};
use crate::room::{Departure, Registry, RoomId};
use crate::telemetry::spawn_named;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A room's bytes are no more than this: a checkpoint and its sessions.
pub const ROOM_BYTES_MAX: usize = 33 << 20;
/// How many rooms may be on their way here at once.
pub const ARRIVALS_MAX: usize = 8;
/// A room is here within this, or not at all.
pub const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks whether a swap without an answer has happened.
const PAUSE: Duration = Duration::from_millis(250);
/// Seats are kept for a while for those who left: a room has no more sessions than this for each.
const SESSIONS_PER_SEAT_MAX: usize = 64;

/// A room that comes.
#[derive(Clone)]
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
    /// When it was restored before.
    pub restorations: Vec<Restoration>,
}

impl Offer {
    /// Of a room that stands still, and whose record this is.
    pub fn of(departure: &Departure, revision: Revision) -> Self {
        let Departure { room, epoch, tick, bytes, moves, barred, restorations, .. } = departure;
        Self {
            room: room.clone(),
            epoch: *epoch,
            revision,
            tick: *tick,
            bytes: bytes.clone(),
            moves: moves.clone(),
            barred: barred.clone(),
            restorations: restorations.clone(),
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

/// Rooms that are on their way here.
#[derive(Debug)]
pub struct Arrivals {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(ARRIVALS_MAX)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }
}

impl Arrivals {
    /// A place for one more.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::Overloaded)
    }

    /// Whether none is on its way.
    pub fn are_over(&self) -> bool {
        self.places.available_permits() == ARRIVALS_MAX
    }

    /// Waits for those that are taken over just now, for so long; what is not known by then is given up, and its record stays for
    /// others. No more may come. Whether all were done in time.
    pub async fn close(&self, within: Duration) -> bool {
        self.places.close();
        self.tasks.close();
        let in_time = timeout(within, self.tasks.wait()).await.is_ok();
        self.stop.cancel();
        self.tasks.wait().await;
        in_time
    }
}

impl Sessions {
    /// Takes a room over, unless this server goes away itself; see [`take`]. A task of its own does it: whoever gives the room may
    /// not wait for the end, and nothing may come between the swap and the room.
    pub async fn take_room(
        &self,
        offer: Offer,
        place: OwnedSemaphorePermit,
    ) -> Result<Taken, Error> {
        self.takes_players()?;
        let (rooms, metrics) = (Arc::clone(&self.rooms), Arc::clone(&self.metrics));
        let directory = Arc::clone(&self.fleet.directory);
        let (out, answer) = oneshot::channel();
        let stop = self.arrivals.stop.clone();
        spawn_named(&self.arrivals.tasks, "arrival", async move {
            let taken = stop.run_until_cancelled(take(&rooms, directory.as_ref(), offer)).await;
            let taken = taken.unwrap_or(Err(Error::DirectoryAway));
            if taken.is_ok() {
                metrics.moving.arrived.inc();
            }
            drop(place);
            // Nobody may listen any more.
            let _ = out.send(taken);
        });
        answer.await.unwrap_or(Err(Error::Internal))
    }
}

/// Takes a room over. Every error but [`Error::DirectoryAway`], [`Error::RoomExists`] and [`Error::Internal`] says that this
/// server does not own it, and will not.
pub async fn take(
    rooms: &Arc<Registry>,
    directory: &dyn Directory,
    offer: Offer,
) -> Result<Taken, Error> {
    // An earlier stay of this room's is not over: what became of it is not known here yet.
    if rooms.has(&offer.room) {
        return Err(Error::Overloaded);
    }
    if !rooms.has_place() {
        return Err(Error::RoomsExhausted);
    }
    let Offer { room, epoch, revision, tick, bytes, moves, barred, restorations } = offer;
    let (Some(next_epoch), Some(first_tick)) = (epoch.checked_add(1), tick.checked_add(1)) else {
        return Err(Error::Invalid { field: "begin", problem: "no epoch or tick follows" });
    };
    let parser = Arc::clone(rooms);
    // A large game takes its time.
    let parsed = tokio::task::spawn_blocking(move || parser.parse(&bytes)).await;
    let arrival = parsed.map_err(|_| Error::Internal)?.map_err(|error| refused(&error))?;
    let header = &arrival.header;
    if header.room != room.as_str() || header.epoch != epoch || arrival.tick != tick {
        return Err(Error::Invalid { field: "piece", problem: "another room, epoch or tick" });
    }
    if arrival.sessions.sessions.len() > arrival.header.capacity as usize * SESSIONS_PER_SEAT_MAX {
        return Err(Error::Invalid { field: "piece", problem: "too many sessions" });
    }
    let arrival = Arrival { epoch: next_epoch, moves, barred, restorations, ..arrival };
    own(directory, &room, epoch, revision).await?;
    // From here on nobody else will.
    match rooms.adopt(arrival) {
        Ok(_) => Ok(Taken { epoch: next_epoch, first_tick }),
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
    let is_offered = |held: &Held<RoomRecord>| {
        let RoomRecord { epoch: at, parked, lost, .. } = held.record.as_ref();
        held.revision == revision && *at == epoch && !parked && lost.is_none()
    };
    let held = held.filter(is_offered);
    let held = held.ok_or(Error::RoomExists)?;
    let record = RoomRecord {
        owner: directory.me().clone(),
        epoch: epoch + 1,
        followers: Vec::new(),
        parked: false,
        parked_whole: false,
        ..(*held.record).clone()
    };
    match directory.swap(record, revision).await {
        Ok(_) => return Ok(()),
        Err(DirectoryError::Conflict) => return Err(Error::RoomExists),
        Err(DirectoryError::Away | DirectoryError::Malformed) => {}
    }
    // Whether it happened is not known: what is there now counts. Whoever gave the room sees that it is this server's, and lets go
    // of it: so this is not given up while it may be.
    loop {
        match directory.read(room).await {
            Ok(Some(held))
                if held.record.owner == *directory.me() && held.record.epoch == epoch + 1 =>
            {
                // Meanwhile it may have been left to others.
                let is_left = held.record.parked || held.record.lost.is_some();
                return if is_left { Err(Error::RoomExists) } else { Ok(()) };
            }
            Ok(Some(held)) if held.revision != revision => return Err(Error::RoomExists),
            // It did not happen yet, and may still: unless this comes first.
            Ok(Some(held)) => match directory.swap((*held.record).clone(), revision).await {
                Ok(_) => return Err(Error::DirectoryAway),
                Err(
                    DirectoryError::Conflict | DirectoryError::Away | DirectoryError::Malformed,
                ) => {}
            },
            // The directory was wiped. Whoever gave it has it, and writes it again.
            Ok(None) => return Err(Error::DirectoryAway),
            Err(_) => {}
        }
        sleep(PAUSE).await;
    }
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
