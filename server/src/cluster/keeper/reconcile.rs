//! Keeps this server's rooms and records in accord: looks each second and at each change, and does what is needed.

use super::super::fate::{Resumed, SERVER_CUT_OFF, SERVER_ENDED, lost};
use super::accord::{Accord, Here, Scene, Step};
use super::{Shared, renewal};
use crate::room::{Ending, Handle, RoomId, RoomInfo};
use crate::session::directory::{DirectoryError, Held, RoomRecord, code_hash};
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

/// How often it looks, changes or not.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Changes of rooms within this time are looked at together.
const ROOMS_GATHERED: Duration = Duration::from_millis(50);
/// The same, of records: each renewal of every server is one.
const RECORDS_GATHERED: Duration = Duration::from_millis(250);
/// Why rooms of this server's own are restored.
const HAD_TO_END: &str = "it had to end here";
const DID_NOT_BEGIN: &str = "it did not begin here";
/// How many requests are made at once.
pub(super) const AT_ONCE_MAX: usize = 16;

pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut accord = Accord::default();
    let mut rooms = shared.parts.rooms.changes();
    let mut records = shared.parts.directory.changes();
    let mut standing = shared.standing.subscribe();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = changed(&mut rooms) => sleep(ROOMS_GATHERED).await,
                () = changed(&mut records) => sleep(RECORDS_GATHERED).await,
                () = changed(&mut standing) => {}
            }
            look(&shared, &mut accord).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

async fn changed<T>(changes: &mut watch::Receiver<T>) {
    if changes.changed().await.is_err() {
        // Nobody is left who could change anything.
        std::future::pending::<()>().await;
    }
}

async fn look(shared: &Shared, accord: &mut Accord) {
    let directory = shared.parts.directory.as_ref();
    let steps = steps(shared, accord);
    // Nothing is written that would only be in the way of renewals.
    let is_reachable = directory.is_reachable();
    let steps = steps.into_iter().filter(|step| is_reachable || !writes(step));
    stream::iter(steps).for_each_concurrent(AT_ONCE_MAX, |step| take(shared, step)).await;
    forget_cut_off(shared);
}

fn steps(shared: &Shared, accord: &mut Accord) -> Vec<Step> {
    let parts = &shared.parts;
    let directory = parts.directory.as_ref();
    let here: Vec<Here> = parts.rooms.all().iter().map(of_room).collect();
    // In this order: what ends meanwhile is in one of these, and whoever is told of neither still has its record looked at later.
    let ending = parts.rooms.ending();
    shared.cut_off().extend(parts.rooms.take_unfinished());
    let frozen = here.iter().filter(|here| here.is_frozen).count();
    parts.metrics.directory.rooms_frozen.set(i64::try_from(frozen).unwrap_or(i64::MAX));
    let cut_off = shared.cut_off().clone();
    let mut claiming = parts.fates.claiming();
    claiming.extend(ending);
    let scene = Scene {
        me: directory.me(),
        here: &here,
        records: &directory.rooms(),
        standing: shared.standing(),
        is_sure: directory.is_reachable() && directory.is_settled(),
        cut_off: &cut_off,
        claiming: &claiming,
    };
    accord.steps(&scene, Instant::now())
}

/// Whether a step needs the directory.
fn writes(step: &Step) -> bool {
    !matches!(step, Step::Disown(_) | Step::Thaw(_))
}

fn of_room(room: &Handle) -> Here {
    Here {
        room: room.info().id.clone(),
        epoch: room.info().epoch,
        is_frozen: *room.frozen().borrow(),
        is_departing: room.is_departing(),
    }
}

async fn take(shared: &Shared, step: Step) {
    match step {
        Step::Remove(held) => remove(shared, held, "its room is over").await,
        Step::Forget(held) => remove(shared, held, "it was lost long ago").await,
        // Once the store is closed, farewell sees to them.
        Step::Lose(_) | Step::Resume(_) if shared.parts.rooms.is_closing() => {}
        Step::Lose(held) => {
            let room = held.record.room.clone();
            let is_seen_to = match shared.parts.fates.resume(&held, HAD_TO_END).await {
                Resumed::Done => true,
                Resumed::NotYet => false,
                Resumed::Never(_) => lose(shared, held, SERVER_CUT_OFF).await,
            };
            if is_seen_to {
                shared.cut_off().remove(&room);
            }
        }
        Step::Resume(held) => {
            let resumed = shared.parts.fates.resume(&held, DID_NOT_BEGIN).await;
            if let Resumed::Never(why) = resumed {
                // If that fails, it is looked at again.
                lose(shared, held, why).await;
            }
        }
        Step::Restore(room) => restore(shared, &room).await,
        Step::Disown(room) => disown(shared, &room),
        Step::ThawIfOwned(room) => thaw_if_owned(shared, &room).await,
        Step::Thaw(room) => thaw(shared, &room),
    }
}

async fn remove(shared: &Shared, held: Held<RoomRecord>, why: &str) {
    let room = &held.record.room;
    match shared.parts.directory.remove(room, held.revision).await {
        Ok(()) => tracing::debug!(%room, why, "a room's record is removed"),
        // It is looked at again.
        Err(error) => tracing::debug!(%room, %error, "a room's record is not removed"),
    }
}

async fn lose(shared: &Shared, held: Held<RoomRecord>, why: &str) -> bool {
    let directory = &shared.parts.directory;
    let record = lost(&held.record, directory.me(), why);
    directory.swap(record, held.revision).await.is_ok()
}

async fn restore(shared: &Shared, id: &RoomId) {
    let parts = &shared.parts;
    let Some(room) = parts.rooms.get(id) else { return };
    match parts.directory.create(record(shared, room.info())).await {
        Ok(_) => {
            parts.metrics.directory.rooms_restored.inc();
            tracing::warn!(room = %id, epoch = room.info().epoch, "the directory had lost a room: written again");
        }
        // Somebody has written it: read what, and the next look sees it.
        Err(DirectoryError::Conflict) => {
            let _ = parts.directory.read(id).await;
        }
        Err(DirectoryError::Away | DirectoryError::Malformed) => {}
    }
}

/// The record of a room that runs here.
fn record(shared: &Shared, info: &RoomInfo) -> RoomRecord {
    let parts = &shared.parts;
    RoomRecord {
        room: info.id.clone(),
        owner: parts.directory.me().clone(),
        epoch: info.epoch,
        followers: Vec::new(),
        game: info.game.to_owned(),
        sim_version: info.sim_version,
        name: info.name.clone(),
        capacity: info.capacity,
        code_hash: info.code.as_ref().map(|code| code_hash(&parts.token_key, code)),
        lost: None,
        parked: false,
        parked_whole: false,
    }
}

fn disown(shared: &Shared, id: &RoomId) {
    let Some(room) = shared.parts.rooms.get(id) else { return };
    if room.end(Ending::Disowned).is_ok() {
        shared.parts.metrics.directory.rooms_disowned.inc();
        tracing::error!(room = %id, epoch = room.info().epoch, "a room has another owner: it ends here");
    }
}

async fn thaw_if_owned(shared: &Shared, id: &RoomId) {
    let directory = &shared.parts.directory;
    let Some(room) = shared.parts.rooms.get(id) else { return };
    // The view may lag behind a claim.
    match directory.read(id).await {
        Ok(Some(held)) => {
            let record = &held.record;
            let is_ours = record.owner == *directory.me()
                && record.epoch == room.info().epoch
                && record.lost.is_none();
            if is_ours {
                thaw(shared, id);
            } else {
                disown(shared, id);
            }
        }
        // Nobody has it: it is this server's once it is written.
        Ok(None) => restore(shared, id).await,
        Err(_) => {}
    }
}

fn thaw(shared: &Shared, id: &RoomId) {
    if renewal::may_thaw(shared.standing())
        && let Some(room) = shared.parts.rooms.get(id)
    {
        // If it has too much to do to hear this, the next look tells it again.
        let _ = room.thaw();
    }
}

/// Rooms that had to end are of no more interest once the directory does not name them as this server's.
fn forget_cut_off(shared: &Shared) {
    let directory = &shared.parts.directory;
    if !directory.is_reachable() || !directory.is_settled() {
        return;
    }
    let me = directory.me();
    shared.cut_off().retain(|room| {
        let held = directory.room(room);
        held.is_some_and(|held| held.record.owner == *me && held.record.lost.is_none())
    });
}

/// Takes back what this server has in the directory.
pub(super) async fn farewell(shared: &Shared) {
    let directory = &shared.parts.directory;
    let mut records = directory.rooms();
    records.retain(|held| {
        let RoomRecord { owner, lost, parked, .. } = held.record.as_ref();
        *owner == *directory.me() && lost.is_none() && !parked
    });
    let over = shared.parts.rooms.over();
    let mut unfinished = shared.parts.rooms.take_unfinished();
    unfinished.extend(shared.cut_off().iter().cloned());
    let goes_on = shared.parts.fates.has_heir();
    let see_to = |held: Held<RoomRecord>| {
        let room = &held.record.room;
        // Of a later epoch: it may have been on its way here.
        let is_over = !unfinished.contains(room) && (held.record.epoch == 1 || over.contains(room));
        async move {
            if is_over {
                remove(shared, held, "its server ends").await;
            } else if goes_on {
                shared.parts.fates.leave(&held).await;
            } else {
                lose(shared, held, SERVER_ENDED).await;
            }
        }
    };
    stream::iter(records).for_each_concurrent(AT_ONCE_MAX, see_to).await;
    if let Err(error) = directory.withdraw().await {
        tracing::warn!(%error, "this server's record stays in the directory for a while");
    }
}
