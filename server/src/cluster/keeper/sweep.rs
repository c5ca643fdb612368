//! Sees to what servers leave behind that are gone, though nobody asks: their rooms go on elsewhere, or are declared lost, then
//! their records are removed. Here is decided only who is looked at; [`Fates`](super::super::fate::Fates) asks them and judges.
//!
//! All servers look. So that not the first one gets all rooms, each room has its own order of servers, and each waits for those
//! that come before it.

use super::super::fate::RENEWALS_MISSED;
use super::Shared;
use super::reconcile::AT_ONCE_MAX;
use super::turns::in_turn;
use crate::room::RoomId;
use crate::session::directory::{Held, InstanceId, Revision, RoomRecord, ServerRecord};
use futures_util::{StreamExt as _, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// A server of which nothing was heard for so long is seen to.
const GONE_MAX: Duration = Duration::from_secs(30);
/// How long a server waits for each one that comes before it to go on with a room.
const TURN: Duration = Duration::from_secs(2);
/// How often it is looked for such servers.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often the witness looks, whatever else is being done: what it does not see for long it takes for late.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// The most rooms that are seen to in one go, and the most records of servers without any; the others have their turn next.
const ROOMS_MAX: usize = 256;
/// See [`ROOMS_MAX`].
const SERVERS_MAX: usize = 64;

/// Looks at the other servers without a pause.
pub(super) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut looks = interval(WATCH_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        shared.parts.witness.look(shared.parts.directory.as_ref());
    }
}

pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut sweep = Sweep::default();
    let mut looks = interval(SWEEP_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            looks.tick().await;
            for_all(&shared, &mut sweep).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

async fn for_all(shared: &Shared, sweep: &mut Sweep) {
    let directory = shared.parts.directory.as_ref();
    if !directory.is_reachable() || !directory.is_settled() {
        return;
    }
    let is_silent = |server: &InstanceId| {
        let evidence = || shared.parts.witness.evidence(server, directory);
        server != directory.me() && evidence().silent_for >= GONE_MAX
    };
    if shared.parts.fates.has_heir() {
        take_over(shared, sweep).await;
    }
    let suspects = sweep.suspects(directory.rooms(), directory.servers(), is_silent);
    let see_to = |(server, left): (InstanceId, Left)| async move {
        shared.parts.fates.clean_up(&server, &left.rooms, left.record).await;
    };
    stream::iter(suspects).for_each_concurrent(AT_ONCE_MAX, see_to).await;
}

/// Goes on with rooms that were left in the store, and with those of servers that have missed renewals and are gone.
async fn take_over(shared: &Shared, sweep: &mut Sweep) {
    let directory = shared.parts.directory.as_ref();
    let fates = &shared.parts.fates;
    let misses_renewals = |server: &InstanceId| {
        server != directory.me()
            && shared.parts.witness.evidence(server, directory).silent_for >= RENEWALS_MISSED
    };
    let turn = |record: &RoomRecord| fates.turn(record);
    let mut due = sweep.due(directory.rooms(), Instant::now(), misses_renewals, turn);
    let parked = due.extract_if(.., |held| held.record.parked);
    let parked: Vec<_> = parked.collect();
    let take = |held: Held<RoomRecord>| async move { fates.take_parked(&held).await };
    stream::iter(parked).for_each_concurrent(AT_ONCE_MAX, take).await;
    let mut of_servers: BTreeMap<InstanceId, Vec<Held<RoomRecord>>> = BTreeMap::new();
    for held in due {
        of_servers.entry(held.record.owner.clone()).or_default().push(held);
    }
    let see_to = |(server, rooms): (InstanceId, Vec<Held<RoomRecord>>)| async move {
        fates.take_over(&server, &rooms).await;
    };
    stream::iter(of_servers).for_each_concurrent(AT_ONCE_MAX, see_to).await;
}

/// What a silent server has left behind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    rooms: Vec<Held<RoomRecord>>,
    /// Its own record, if it has no rooms any more.
    record: Option<Revision>,
}

/// Remembers whose turn it was.
#[derive(Debug, Default)]
struct Sweep {
    room: Option<RoomId>,
    server: Option<InstanceId>,
    /// Rooms that need another owner: in which epoch, and since when.
    ownerless: BTreeMap<RoomId, (u64, Instant)>,
    taken: Option<RoomId>,
}

impl Sweep {
    /// Rooms that this server is to go on with now, of those that were left in the store, and those of suspects. `turn`: how many
    /// servers come before this one; `None`: it cannot.
    fn due(
        &mut self,
        mut rooms: Vec<Held<RoomRecord>>,
        now: Instant,
        is_suspect: impl Fn(&InstanceId) -> bool,
        turn: impl Fn(&RoomRecord) -> Option<u32>,
    ) -> Vec<Held<RoomRecord>> {
        let owners: BTreeSet<_> = rooms.iter().map(|held| held.record.owner.clone()).collect();
        let suspects: BTreeSet<_> = owners.into_iter().filter(is_suspect).collect();
        rooms.retain(|held| {
            let record = &held.record;
            let is_ownerless = record.parked || suspects.contains(&record.owner);
            is_ownerless && held.revision != Revision::LOST && record.lost.is_none()
        });
        let was = std::mem::take(&mut self.ownerless);
        for held in &rooms {
            let (room, epoch) = (held.record.room.clone(), held.record.epoch);
            let since = was.get(&room).filter(|(of, _)| *of == epoch).map_or(now, |(_, at)| *at);
            self.ownerless.insert(room, (epoch, since));
        }
        let ownerless = &self.ownerless;
        rooms.retain(|held| {
            let waits_for = turn(&held.record).map(|before| TURN * before);
            let since = ownerless.get(&held.record.room).map_or(now, |(_, since)| *since);
            waits_for.is_some_and(|waits| now.saturating_duration_since(since) >= waits)
        });
        in_turn(rooms, |held| &held.record.room, &mut self.taken, ROOMS_MAX)
    }

    /// Who is to be seen to, of the silent ones.
    fn suspects(
        &mut self,
        rooms: Vec<Held<RoomRecord>>,
        servers: Vec<Held<ServerRecord>>,
        is_silent: impl Fn(&InstanceId) -> bool,
    ) -> BTreeMap<InstanceId, Left> {
        let mut rooms = rooms;
        // What was left in the store is everybody's already.
        rooms.retain(|held| held.record.lost.is_none() && !held.record.parked);
        let owners: BTreeSet<_> = rooms.iter().map(|held| held.record.owner.clone()).collect();
        let silent: BTreeSet<_> = owners.iter().filter(|owner| is_silent(owner)).collect();
        rooms.retain(|held| held.revision != Revision::LOST && silent.contains(&held.record.owner));
        let mut servers = servers;
        servers.retain(|held| {
            let server = &held.record.instance;
            held.revision != Revision::LOST && !owners.contains(server) && is_silent(server)
        });
        let mut suspects: BTreeMap<InstanceId, Left> = BTreeMap::new();
        for held in in_turn(rooms, |held| &held.record.room, &mut self.room, ROOMS_MAX) {
            suspects.entry(held.record.owner.clone()).or_default().rooms.push(held);
        }
        for held in in_turn(servers, |held| &held.record.instance, &mut self.server, SERVERS_MAX) {
            let left = suspects.entry(held.record.instance.clone()).or_default();
            left.record = Some(held.revision);
        }
        suspects
    }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
