//! One room goes from this server to another.
//!
//! Its players are told, it stands still after a tick, and all of it goes to the other server, which makes itself the owner by one
//! swap and goes on; its players are sent there. While it is not known whether the other server took the room, it plays nowhere
//! here: the directory is asked, and it is made sure that a late swap comes to nothing before the room goes on.

use super::endpoints::EndpointsView;
use super::news::{News, NewsSender};
use super::probe::{Probe, ProbeOutcome};
use crate::room::travel::{Departure, Moved, Outcome};
use crate::room::{self, Handle, Registry, RoomId};
use crate::session::arriving::{Offer, Taken};
use crate::session::directory::{
    Directory, DirectoryError, Held, InstanceId, RoomRecord, ServerRecord,
};
use crate::store::Name;
use crate::telemetry::{Metrics, spawn_named};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a room stands still at most for its log to get to the store.
const LOG_PATIENCE: Duration = Duration::from_millis(100);
/// A room is at the other server's within this, or it is looked up where it is.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that did not answer is left alone for so long at first …
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// … and at most.
const LEFT_ALONE_MAX: Duration = Duration::from_secs(300);
/// How long the other server has to say whether it plays the room.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// A server's record counts players that were sent to it after this: two renewals, and some.
const COUNTED_AFTER: Duration = Duration::from_millis(2500);

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

/// Players of rooms that went to a server and may not be in its record yet.
#[derive(Debug, Default)]
pub struct SentPlayers(Mutex<BTreeMap<InstanceId, Vec<(Instant, u64)>>>);

impl SentPlayers {
    fn add(&self, to: &InstanceId, players: u64) {
        let now = Instant::now();
        let mut sent = self.lock();
        sent.retain(|_, sent| {
            sent.retain(|(at, _)| now.saturating_duration_since(*at) < COUNTED_AFTER);
            !sent.is_empty()
        });
        sent.entry(to.clone()).or_default().push((now, players));
    }

    /// How many to this one.
    pub fn to(&self, server: &InstanceId) -> u64 {
        let now = Instant::now();
        let sent = self.lock();
        let lately = sent.get(server).into_iter().flatten();
        let lately = lately.filter(|(at, _)| now.saturating_duration_since(*at) < COUNTED_AFTER);
        lately.map(|(_, players)| players).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Vec<(Instant, u64)>>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Servers that did not answer: a room that is offered to one stands still for nothing.
#[derive(Debug, Default)]
pub struct Unanswered(Mutex<BTreeMap<InstanceId, (Instant, u32)>>);

impl Unanswered {
    /// Whether it is to be left alone just now.
    pub fn has(&self, server: &InstanceId, now: Instant) -> bool {
        self.lock().get(server).is_some_and(|(until, _)| now < *until)
    }

    /// It did not answer: it is left alone, twice as long each time.
    fn add(&self, server: &InstanceId, now: Instant) {
        let mut silent = self.lock();
        silent.retain(|_, (until, _)| now.saturating_duration_since(*until) < LEFT_ALONE_MAX);
        let times = silent.get(server).map_or(0, |(_, times)| times + 1);
        let pause = LEFT_ALONE * 2_u32.saturating_pow(times);
        silent.insert(server.clone(), (now + pause.min(LEFT_ALONE_MAX), times));
    }

    fn answered(&self, server: &InstanceId) {
        self.lock().remove(server);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, (Instant, u32)>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives rooms to other servers.
pub struct Mover {
    /// Where they are known.
    pub directory: Arc<dyn Directory>,
    /// This server's.
    pub rooms: Arc<Registry>,
    /// The way to the others.
    pub carrier: Arc<dyn Carrier>,
    /// Asks them.
    pub probe: Arc<dyn Probe>,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    /// All servers keep what rooms play in one place.
    pub shares_store: bool,
    /// What the platform says of the others.
    pub endpoints: EndpointsView,
    /// Tells operators.
    pub news: NewsSender,
    /// To whom rooms went lately.
    pub sent: SentPlayers,
    /// Who did not answer lately.
    pub unanswered: Unanswered,
    /// Rooms on their way: whoever began it may not wait for the end.
    pub tasks: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
}

impl Mover {
    /// Gives a room to that server. A task of its own does it, to the end.
    pub async fn give(self: &Arc<Self>, room: &Handle, target: &ServerRecord) -> Given {
        let (mover, room, target) = (Arc::clone(self), room.clone(), target.clone());
        let (out, answer) = oneshot::channel();
        spawn_named(&self.tasks, "handover", async move {
            let given = mover.stop.run_until_cancelled(mover.hand_over(&room, &target)).await;
            // Nobody may listen any more.
            let _ = out.send(given.unwrap_or(Given::Gone));
        });
        // If it broke, the room has ended with it.
        answer.await.unwrap_or(Given::Gone)
    }

    /// What is still on its way after so long is given up: it is not known then who has it, and it does not play on here.
    pub async fn close(&self, within: Duration) {
        self.tasks.close();
        // Nobody is told: who waits sees its room end.
        let _ = timeout(within, self.tasks.wait()).await;
        self.stop.cancel();
        self.tasks.wait().await;
    }

    async fn hand_over(&self, room: &Handle, target: &ServerRecord) -> Given {
        let id = &room.info().id;
        if room.has_ended() {
            return Given::Gone;
        }
        // What cannot be swapped would only stand still.
        if !self.directory.is_reachable() {
            return Given::Stays;
        }
        let Some(held) = self.own_record(id, room.info().epoch).await else {
            return Given::Stays;
        };
        room.announce_departure();
        let departure = match room.depart().await {
            Ok(departure) => departure,
            Err(room::Error::Ended | room::Error::Moved | room::Error::Disowned) => {
                return Given::Gone;
            }
            Err(_) => {
                room.announce_stay();
                return Given::Stays;
            }
        };
        let still_since = Instant::now();
        if self.shares_store {
            self.log_reaches(id, departure.tick, LOG_PATIENCE).await;
        }
        let players = u64::from(room.info().players());
        self.sent.add(&target.instance, players);
        let offer = Offer::of(&departure, held.revision);
        let taken = timeout(TRANSFER_TIMEOUT, self.carrier.transfer(&target.peer, offer)).await;
        let taken = taken.unwrap_or(Err(NotTaken::Unknown));
        match taken {
            Err(NotTaken::Unknown) => self.unanswered.add(&target.instance, Instant::now()),
            Ok(_) | Err(NotTaken::Refused(_)) => self.unanswered.answered(&target.instance),
        }
        let (given, taken) = match taken {
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
            Some(taken) => self.conclude(room, departure, target, taken, still_since.elapsed()),
            // Not known: the room ends here. Whoever has it, or claims it, goes on.
            None if given == Given::Gone => drop(departure),
            None => {
                self.metrics.moving.departed("stayed");
                departure.conclude(Outcome::Stays);
            }
        }
        given
    }

    /// It is the other server's.
    fn conclude(
        &self,
        room: &Handle,
        departure: Departure,
        target: &ServerRecord,
        Taken { epoch, first_tick }: Taken,
        still: Duration,
    ) {
        let (route, release) = (target.route.clone(), target.release.clone());
        let shares_log = self.shares_store;
        departure.conclude(Outcome::Moved(Moved { route, release, epoch, first_tick, shares_log }));
        self.metrics.moving.departed("moved");
        self.metrics.moving.still.observe(still.as_secs_f64());
        let (id, players, still_ms) = (&room.info().id, room.info().players(), ms(still));
        self.news.tell(News::RoomMoved {
            room: id.clone(),
            to: target.name.clone(),
            players,
            gap_ms: still_ms,
        });
        tracing::info!(room = %id, to = target.name, epoch, players, still_ms, "a room has moved to another server");
    }

    /// The record of a room of this server's, as it is in the directory now.
    pub(super) async fn own_record(&self, id: &RoomId, epoch: u64) -> Option<Held<RoomRecord>> {
        let is_own = |held: &Held<RoomRecord>| {
            held.record.owner == *self.directory.me() && held.record.epoch == epoch
        };
        match self.directory.room(id).filter(is_own) {
            Some(held) => Some(held),
            None => self.directory.read(id).await.ok().flatten().filter(is_own),
        }
    }

    /// Finds out whether a server that did not answer has the room. If not, its swap, should it come yet, finds another
    /// revision. Of a room whose record names it, that server does not let go ([`crate::session::arriving`]).
    async fn resolve(
        &self,
        held: &Held<RoomRecord>,
        target: &ServerRecord,
        tick: u32,
    ) -> (Given, Option<Taken>) {
        let (directory, id) = (self.directory.as_ref(), &held.record.room);
        let taken = |epoch| (Given::Moved, Some(Taken { epoch, first_tick: tick + 1 }));
        loop {
            match directory.read(id).await {
                Ok(Some(now)) if now.record.owner == target.instance => {
                    return taken(now.record.epoch);
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
                // A third server's.
                Ok(Some(_)) => return (Given::Gone, None),
                // The directory was wiped: what the other server does counts.
                Ok(None) => match self.plays(target, id).await {
                    Some(true) => return taken(held.record.epoch + 1),
                    Some(false) if directory.create((*held.record).clone()).await.is_ok() => {
                        return (Given::Stays, None);
                    }
                    _ => sleep(PAUSE).await,
                },
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Whether a server plays a room; `None`: it does not say.
    async fn plays(&self, server: &ServerRecord, room: &RoomId) -> Option<bool> {
        let answer = timeout(PROBE_TIMEOUT, self.probe.probe(&server.peer, Some(room))).await;
        match answer.unwrap_or(ProbeOutcome::Silent) {
            ProbeOutcome::Answered { instance, plays_room, .. } => {
                Some(plays_room && instance == server.instance)
            }
            ProbeOutcome::Refused => Some(false),
            ProbeOutcome::Silent => None,
        }
    }

    /// Waits until the room's log is in the store up to this tick.
    pub(super) async fn log_reaches(&self, id: &RoomId, tick: u32, patience: Duration) -> bool {
        let progress = Name::parse(id.as_str()).and_then(|name| self.rooms.store().progress(&name));
        let Some(mut progress) = progress else { return false };
        let reached = progress.wait_for(|progress| progress.last_tick >= tick);
        timeout(patience, reached).await.is_ok_and(|reached| reached.is_ok())
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
