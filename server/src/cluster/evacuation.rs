//! A server that ends gives its rooms to others, a few at a time.
//!
//! Of each room: its players are told, it stands still after a tick, and all of it goes to another server, which makes itself
//! the owner by one swap and goes on; its players are sent there. A room that nobody takes waits in the store for the next
//! server, if all servers share one. While it is not known whether the other server took the room, it plays nowhere here:
//! the directory is asked, and it is made sure that a late swap comes to nothing before the room goes on.

use super::choice::{self, Candidate, Nobody};
use super::endpoints::EndpointsView;
use super::news::{News, NewsSender};
use crate::room::travel::{Moved, Outcome};
use crate::room::{self, Handle, Registry, RoomId};
use crate::session::arriving::{Offer, Taken};
use crate::session::directory::{
    Directory, DirectoryError, Held, InstanceId, RoomRecord, ServerRecord,
};
use crate::store::Name;
use crate::telemetry::Metrics;
use dashmap::DashMap;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How many rooms move at once.
const AT_ONCE_MAX: usize = 4;
/// How long a room whose players are told plays on.
const NOTICE: Duration = Duration::from_millis(100);
/// How long a room stands still at most for its log to get to the store.
const LOG_PATIENCE: Duration = Duration::from_millis(100);
/// The same, of a room that nobody takes: there, the log is all that is left of it.
const PARK_PATIENCE: Duration = Duration::from_secs(5);
/// A room is at the other server's within this, or it is looked up where it is.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the last server waits for another one: one that replaces it is about to start.
const ALONE_PATIENCE: Duration = Duration::from_secs(10);
/// How often a server that refused is tried again for the same room: it may have too much to do for a moment.
const REFUSALS_MAX: usize = 3;

/// Why another server does not have a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It said so.
    Refused(&'static str),
    /// It may have it.
    Unknown,
}

/// Brings a room to another server.
pub trait Carrier: Send + Sync + 'static {
    /// To the server at `peer` ([`ServerRecord::peer`]).
    fn transfer<'a>(
        &'a self,
        peer: &'a str,
        offer: Offer,
    ) -> BoxFuture<'a, Result<Taken, NotTaken>>;
}

/// What came of it all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rooms that play on elsewhere.
    pub moved: usize,
    /// Rooms that wait in the store.
    pub parked: usize,
    /// Rooms that end with this server.
    pub left: usize,
}

/// Gives rooms to other servers.
pub struct Mover {
    /// Where they are known.
    pub directory: Arc<dyn Directory>,
    /// This server's.
    pub rooms: Arc<Registry>,
    /// The way to the others.
    pub carrier: Arc<dyn Carrier>,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    /// All servers keep what rooms play in one place.
    pub shares_store: bool,
    /// What the platform says of the others.
    pub endpoints: EndpointsView,
    /// Tells operators.
    pub news: NewsSender,
    /// Players of rooms that went to a server and are not in its record yet.
    pub sent: DashMap<InstanceId, u64>,
}

impl Mover {
    /// Gives all rooms away that others can take, and parks the rest, until `deadline`.
    pub async fn evacuate(&self, deadline: Instant) -> Figures {
        let began = Instant::now();
        let mut rooms = self.rooms.all();
        // Nobody would miss the others.
        rooms.retain(|room| room.info().players() > 0);
        // Those with most players first: if time runs out, fewest are left.
        rooms.sort_by_key(|room| std::cmp::Reverse(room.info().players()));
        for room in &rooms {
            room.announce_departure();
        }
        let players = rooms.iter().map(|room| room.info().players()).sum();
        self.news.tell(News::DrainBegan { rooms: count_of(rooms.len()), players });
        if !rooms.is_empty() {
            sleep(NOTICE).await;
        }
        let move_away = async |room: Handle| {
            let left = timeout_at(deadline, self.leave(&room, deadline)).await;
            left.unwrap_or(Left::Here)
        };
        let moves = stream::iter(rooms).map(move_away).buffer_unordered(AT_ONCE_MAX);
        let outcomes: Vec<Left> = moves.collect().await;
        let count = |wanted| outcomes.iter().filter(|left| **left == wanted).count();
        let figures = Figures {
            moved: count(Left::Moved),
            parked: count(Left::Parked),
            left: count(Left::Here),
        };
        self.news.tell(News::DrainEnded {
            moved: count_of(figures.moved),
            parked: count_of(figures.parked),
            failed: count_of(figures.left),
            took_ms: ms(began.elapsed()),
        });
        figures
    }

    /// One room, to whoever takes it.
    async fn leave(&self, room: &Handle, deadline: Instant) -> Left {
        let id = &room.info().id;
        let mut refusals: Vec<InstanceId> = Vec::new();
        // In time for what waits in the store to get there.
        let park_at = deadline.checked_sub(PARK_PATIENCE).unwrap_or(deadline);
        let alone_until = park_at.min(Instant::now() + ALONE_PATIENCE);
        loop {
            let refused = |server: &InstanceId| {
                refusals.iter().filter(|other| *other == server).count() >= REFUSALS_MAX
            };
            match self.target(room, refused) {
                Ok(target) => match self.give(room, &target).await {
                    Given::Moved => return Left::Moved,
                    Given::Gone => return Left::Here,
                    Given::Refused => refusals.push(target.instance.clone()),
                    Given::Stays => {}
                },
                Err(nobody) => {
                    // Meanwhile it plays on.
                    let until = if nobody == Nobody::Alone { alone_until } else { park_at };
                    if Instant::now() >= until {
                        let left = self.park(room, deadline).await;
                        tracing::warn!(room = %id, %nobody, ?left, "no server takes a room");
                        return left;
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Who is to have the room.
    fn target(
        &self,
        room: &Handle,
        refused: impl Fn(&InstanceId) -> bool,
    ) -> Result<Arc<ServerRecord>, Nobody> {
        let directory = self.directory.as_ref();
        let servers = directory.servers();
        let me = servers.iter().find(|held| held.record.instance == *directory.me());
        let (release, zone) =
            me.map_or(("", ""), |me| (me.record.release.as_str(), me.record.zone.as_str()));
        let candidates = servers.iter().filter(|held| {
            let is_other = held.record.instance != *directory.me();
            is_other && !self.endpoints.is_leaving(&held.record.peer)
        });
        let candidates = candidates.map(|held| Candidate {
            record: &held.record,
            silent_for: directory.silence(&held.record.instance).unwrap_or(Duration::MAX),
            sent: self.sent.get(&held.record.instance).map_or(0, |sent| *sent),
            has_refused: refused(&held.record.instance),
        });
        let (game, sim_version) = (room.info().game, room.info().sim_version);
        let wanted = choice::Wanted { game, sim_version, release, zone };
        choice::best(candidates, &wanted).map(Arc::clone)
    }

    /// Gives a room to that server.
    pub async fn give(&self, room: &Handle, target: &ServerRecord) -> Given {
        let id = &room.info().id;
        let Some(held) = self.own_record(id, room.info().epoch).await else {
            return Given::Stays;
        };
        room.announce_departure();
        let departure = match room.depart().await {
            Ok(departure) => departure,
            Err(room::Error::Ended | room::Error::Moved) => return Given::Gone,
            Err(_) => return Given::Stays,
        };
        let still_since = Instant::now();
        if self.shares_store {
            self.log_reaches(id, departure.tick, LOG_PATIENCE).await;
        }
        let players = u64::from(room.info().players());
        *self.sent.entry(target.instance.clone()).or_default() += players;
        let offer = Offer::of(&departure, held.revision);
        let taken = timeout(TRANSFER_TIMEOUT, self.carrier.transfer(&target.peer, offer)).await;
        let (given, taken) = match taken.unwrap_or(Err(NotTaken::Unknown)) {
            Ok(taken) => (Given::Moved, Some(taken)),
            Err(NotTaken::Refused(reason)) => {
                self.metrics.moving.departed("refused");
                tracing::info!(room = %id, to = target.name, reason, "a server does not take a room");
                (Given::Refused, None)
            }
            Err(NotTaken::Unknown) => {
                self.metrics.moving.departed("unknown");
                self.resolve(&held, target, departure.tick).await
            }
        };
        match taken {
            Some(Taken { epoch, first_tick }) => {
                let (route, release) = (target.route.clone(), target.release.clone());
                let shares_log = self.shares_store;
                let moved = Moved { route, release, epoch, first_tick, shares_log };
                departure.conclude(Outcome::Moved(moved));
                let still = still_since.elapsed();
                self.metrics.moving.departed("moved");
                self.metrics.moving.still.observe(still.as_secs_f64());
                let still_ms = ms(still);
                self.news.tell(News::RoomMoved {
                    room: id.clone(),
                    to: target.name.clone(),
                    players: u32::try_from(players).unwrap_or(u32::MAX),
                    gap_ms: still_ms,
                });
                tracing::info!(room = %id, to = target.name, epoch, players, still_ms, "a room has moved to another server");
            }
            // Not known: the room ends here. Whoever has it, or claims it, goes on.
            None if given == Given::Gone => drop(departure),
            None => {
                self.metrics.moving.departed("stayed");
                departure.conclude(Outcome::Stays);
            }
        }
        given
    }

    /// The record of a room of this server's, as it is in the directory now.
    async fn own_record(&self, id: &RoomId, epoch: u64) -> Option<Held<RoomRecord>> {
        let is_own = |held: &Held<RoomRecord>| {
            held.record.owner == *self.directory.me() && held.record.epoch == epoch
        };
        match self.directory.room(id).filter(is_own) {
            Some(held) => Some(held),
            None => self.directory.read(id).await.ok().flatten().filter(is_own),
        }
    }

    /// Finds out whether a server that did not answer has the room. If not, its swap, should it come yet, finds another
    /// revision.
    async fn resolve(
        &self,
        held: &Held<RoomRecord>,
        target: &ServerRecord,
        tick: u32,
    ) -> (Given, Option<Taken>) {
        let (directory, id) = (self.directory.as_ref(), &held.record.room);
        loop {
            match directory.read(id).await {
                Ok(Some(now)) if now.record.owner == target.instance => {
                    let (epoch, first_tick) = (now.record.epoch, tick + 1);
                    return (Given::Moved, Some(Taken { epoch, first_tick }));
                }
                Ok(Some(now)) if now.revision == held.revision => {
                    // The same record under another revision.
                    match directory.swap((*held.record).clone(), held.revision).await {
                        Ok(_) => return (Given::Stays, None),
                        Err(DirectoryError::Conflict) => {}
                        Err(DirectoryError::Away | DirectoryError::Malformed) => sleep(PAUSE).await,
                    }
                }
                Ok(Some(now))
                    if now.record.owner == *directory.me()
                        && now.record.epoch == held.record.epoch =>
                {
                    return (Given::Stays, None);
                }
                // A third server's, or nobody's.
                Ok(_) => return (Given::Gone, None),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Leaves a room in the store, if there is one that others see.
    async fn park(&self, room: &Handle, deadline: Instant) -> Left {
        let info = room.info();
        if !self.shares_store {
            return Left::Here;
        }
        let Some(held) = self.own_record(&info.id, info.epoch).await else { return Left::Here };
        let Ok(departure) = room.depart().await else { return Left::Here };
        let until = deadline.min(Instant::now() + PARK_PATIENCE);
        let patience = until.saturating_duration_since(Instant::now());
        let is_there = self.log_reaches(&info.id, departure.tick, patience).await;
        let record = RoomRecord { parked: true, ..(*held.record).clone() };
        if is_there && self.directory.swap(record, held.revision).await.is_ok() {
            self.metrics.moving.departed("parked");
            departure.conclude(Outcome::Parked);
            return Left::Parked;
        }
        departure.conclude(Outcome::Stays);
        Left::Here
    }

    /// Waits until the room's log is in the store up to this tick.
    async fn log_reaches(&self, id: &RoomId, tick: u32, patience: Duration) -> bool {
        let progress = Name::parse(id.as_str()).and_then(|name| self.rooms.store().progress(&name));
        let Some(mut progress) = progress else { return false };
        let reached = progress.wait_for(|progress| progress.last_tick >= tick);
        timeout(patience, reached).await.is_ok_and(|reached| reached.is_ok())
    }
}

fn count_of(rooms: usize) -> u32 {
    u32::try_from(rooms).unwrap_or(u32::MAX)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What became of a room that was to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Moved,
    Parked,
    Here,
}

/// What came of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// It is there.
    Moved,
    /// That server does not take it.
    Refused,
    /// It plays on here.
    Stays,
    /// It is not here any more.
    Gone,
}
