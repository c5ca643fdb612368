//! A server that ends gives its rooms to others, a few at a time ([`super::handover`]). A room that nobody takes waits in the
//! store for the next server, if all servers share one.

use super::choice::{self, Candidate, Nobody};
use super::handover::{Given, Mover};
use super::news::News;
use crate::room::travel::{Departure, Outcome};
use crate::room::{Ending, Handle, RoomId};
use crate::session::directory::{Held, InstanceId, RoomRecord, ServerRecord};
use crate::telemetry::spawn_named;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, interval, sleep, timeout_at};

/// How many rooms move at once.
const AT_ONCE_MAX: usize = 4;
/// How long a room whose players are told plays on.
const NOTICE: Duration = Duration::from_millis(100);
/// How long a room stands still at most for its log to get to the store, which is all that is left of it then.
const PARK_PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the last server waits for another one: one that replaces it is about to start.
const ALONE_PATIENCE: Duration = Duration::from_secs(10);
/// A server that refused a room so often is not asked for it again for a while: it may have too much to do for a moment.
const REFUSALS_MAX: usize = 3;
/// For so long.
const REFUSALS_COUNT_FOR: Duration = Duration::from_secs(5);
/// How often it is looked for rooms that have come meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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

/// What became of a room that was to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Moved,
    Parked,
    Here,
}

/// What all rooms that leave share.
struct Evacuation<'a> {
    mover: &'a Arc<Mover>,
    deadline: Instant,
    /// Until when another server is waited for if there is none.
    alone_until: Instant,
    at_once: Semaphore,
}

impl Mover {
    /// Gives all rooms away that others can take, and parks the rest, until `deadline`: those, too, that are on their way here, as
    /// `more_come` says.
    pub async fn evacuate(
        self: &Arc<Self>,
        deadline: Instant,
        more_come: impl Fn() -> bool,
    ) -> Figures {
        let began = Instant::now();
        let evacuation = Evacuation {
            mover: self,
            deadline,
            alone_until: began + ALONE_PATIENCE,
            at_once: Semaphore::new(AT_ONCE_MAX),
        };
        let mut figures = Figures::default();
        let mut tried: BTreeSet<RoomId> = BTreeSet::new();
        let mut leaving = FuturesUnordered::new();
        let mut looks = interval(LOOK_EVERY);
        let mut is_told = false;
        loop {
            let comes = more_come() && Instant::now() < deadline;
            let mut rooms = self.rooms.all();
            // Nobody would miss the others.
            rooms.retain(|room| room.info().players() > 0 && !tried.contains(&room.info().id));
            if !is_told {
                let players = rooms.iter().map(|room| room.info().players()).sum();
                self.news.tell(News::DrainBegan { rooms: count_of(rooms.len()), players });
                is_told = true;
            }
            tried.extend(rooms.iter().map(|room| room.info().id.clone()));
            // Those with most players first: if time runs out, fewest are left.
            rooms.sort_by_key(|room| std::cmp::Reverse(room.info().players()));
            for room in &rooms {
                room.announce_departure();
            }
            leaving.extend(rooms.into_iter().map(|room| evacuation.leave_in_time(room)));
            if leaving.is_empty() && !comes {
                break;
            }
            tokio::select! {
                Some(left) = leaving.next() => match left {
                    Left::Moved => figures.moved += 1,
                    Left::Parked => figures.parked += 1,
                    Left::Here => figures.left += 1,
                },
                _ = looks.tick() => {}
            }
        }
        self.news.tell(News::DrainEnded {
            moved: count_of(figures.moved),
            parked: count_of(figures.parked),
            failed: count_of(figures.left),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        figures
    }

    /// Who is to have the room.
    pub(super) fn target(
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
            sent: self.sent.to(&held.record.instance),
            has_refused: refused(&held.record.instance)
                || self.unanswered.has(&held.record.instance, Instant::now()),
        });
        let (game, sim_version) = (room.info().game, room.info().sim_version);
        let wanted = choice::Wanted { game, sim_version, release, zone };
        choice::best(candidates, &wanted).map(Arc::clone)
    }

    /// Leaves a room in the store, if there is one that others see. A task of its own does it, to the end.
    async fn park(self: &Arc<Self>, room: &Handle, why: Nobody, deadline: Instant) -> Left {
        if !self.shares_store || !self.directory.is_reachable() {
            return Left::Here;
        }
        let (mover, room) = (Arc::clone(self), room.clone());
        let (out, answer) = oneshot::channel();
        spawn_named(&self.tasks, "parking", async move {
            let left = mover.stop.run_until_cancelled(mover.leave_in_store(&room, why, deadline));
            let _ = out.send(left.await.unwrap_or(Left::Here));
        });
        answer.await.unwrap_or(Left::Here)
    }

    async fn leave_in_store(&self, room: &Handle, why: Nobody, deadline: Instant) -> Left {
        let info = room.info();
        let Some(held) = self.own_record(&info.id, info.epoch).await else { return Left::Here };
        let Ok(departure) = room.depart().await else { return Left::Here };
        let until = deadline.min(Instant::now() + PARK_PATIENCE);
        let patience = until.saturating_duration_since(Instant::now());
        let is_there = self.log_reaches(&info.id, departure.tick, patience).await;
        // Players who are not back since it was restored must still be told.
        let parked_whole = info.restorations.is_empty();
        let record = RoomRecord { parked: true, parked_whole, ..(*held.record).clone() };
        if is_there {
            return self.parked(departure, &held, record, why).await;
        }
        departure.conclude(Outcome::Stays);
        Left::Here
    }

    /// Says so in the directory. While it is not known whether that came through, the room stands still.
    async fn parked(
        &self,
        departure: Departure,
        held: &Held<RoomRecord>,
        record: RoomRecord,
        why: Nobody,
    ) -> Left {
        let directory = self.directory.as_ref();
        loop {
            let is_parked = match directory.swap(record.clone(), held.revision).await {
                Ok(_) => true,
                Err(_) => match directory.read(&record.room).await {
                    Ok(Some(now)) if *now.record == record => true,
                    // Not yet: once more.
                    Ok(Some(now)) if now.revision == held.revision => false,
                    Ok(Some(now)) if now.record == held.record => {
                        departure.conclude(Outcome::Stays);
                        return Left::Here;
                    }
                    // Another server's, or nobody's.
                    Ok(_) => return Left::Here,
                    Err(_) => false,
                },
            };
            if is_parked {
                self.metrics.moving.departed("parked");
                departure.conclude(Outcome::Parked(why.sentence()));
                return Left::Parked;
            }
            sleep(PAUSE).await;
        }
    }
}

impl Evacuation<'_> {
    async fn leave_in_time(&self, room: Handle) -> Left {
        // A room that is on its way by then goes on without being waited for.
        let left = timeout_at(self.deadline, async {
            sleep(NOTICE).await;
            self.leave(&room).await
        });
        left.await.unwrap_or(Left::Here)
    }

    /// One room, to whoever takes it.
    async fn leave(&self, room: &Handle) -> Left {
        let id = &room.info().id;
        let mut refusals: Vec<(Instant, InstanceId)> = Vec::new();
        // In time for what waits in the store to get there.
        let park_at = self.deadline.checked_sub(PARK_PATIENCE).unwrap_or(self.deadline);
        loop {
            let refused = |server: &InstanceId| {
                let lately = refusals.iter().filter(|(at, _)| at.elapsed() < REFUSALS_COUNT_FOR);
                lately.filter(|(_, other)| other == server).count() >= REFUSALS_MAX
            };
            // Not held while a room only waits: others can go meanwhile. It is never closed.
            let Ok(place) = self.at_once.acquire().await else { return Left::Here };
            match self.mover.target(room, refused) {
                Ok(target) => match self.mover.give(room, &target).await {
                    Given::Moved => return Left::Moved,
                    Given::Gone => return gone(room),
                    Given::Refused => refusals.push((Instant::now(), target.instance.clone())),
                    // One that does not answer is left alone for a while (`Unanswered`).
                    Given::Stays => {}
                },
                Err(nobody) => {
                    // Meanwhile it plays on.
                    let is_alone = nobody == Nobody::Alone;
                    let until = if is_alone { park_at.min(self.alone_until) } else { park_at };
                    if Instant::now() >= until {
                        let left = self.mover.park(room, nobody, self.deadline).await;
                        // Directory or store may be back in time, if there are any.
                        let may_come = self.mover.shares_store && Instant::now() < park_at;
                        if left != Left::Here || room.has_ended() || !may_come {
                            tracing::warn!(room = %id, %nobody, ?left, "no server takes a room");
                            return if room.has_ended() { gone(room) } else { left };
                        }
                    }
                }
            }
            drop(place);
            sleep(PAUSE).await;
        }
    }
}

/// A room that somebody else saw off.
fn gone(room: &Handle) -> Left {
    match room.ending() {
        Some(Ending::Moved) => Left::Moved,
        Some(Ending::Parked(_)) => Left::Parked,
        _ => Left::Here,
    }
}

fn count_of(rooms: usize) -> u32 {
    u32::try_from(rooms).unwrap_or(u32::MAX)
}
