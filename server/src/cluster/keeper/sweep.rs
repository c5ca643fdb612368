//! Sees to what servers leave behind that are gone, though nobody asks: their rooms are declared lost, then their records are
//! removed. Here is decided only who is looked at; [`Fates`](super::super::fate::Fates) asks them and judges.

use super::Shared;
use super::reconcile::AT_ONCE_MAX;
use super::turns::in_turn;
use crate::room::RoomId;
use crate::session::directory::{Held, InstanceId, Revision, RoomRecord, ServerRecord};
use futures_util::{StreamExt as _, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// A server of which nothing was heard for so long is seen to.
const GONE_MAX: Duration = Duration::from_secs(30);
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
    let suspects = sweep.suspects(directory.rooms(), directory.servers(), is_silent);
    let see_to = |(server, left): (InstanceId, Left)| async move {
        shared.fates.clean_up(&server, &left.rooms, left.record).await;
    };
    stream::iter(suspects).for_each_concurrent(AT_ONCE_MAX, see_to).await;
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
}

impl Sweep {
    /// Who is to be seen to, of the silent ones.
    fn suspects(
        &mut self,
        rooms: Vec<Held<RoomRecord>>,
        servers: Vec<Held<ServerRecord>>,
        is_silent: impl Fn(&InstanceId) -> bool,
    ) -> BTreeMap<InstanceId, Left> {
        let mut rooms = rooms;
        rooms.retain(|held| held.record.lost.is_none());
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
