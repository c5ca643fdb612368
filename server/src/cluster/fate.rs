//! What became of a room whose owner does not answer.
//!
//! A room is claimed only with proof that its owner is gone, or has left it, and by a compare-and-swap: of all who try, one wins.
//! What becomes of it then: [`super::claims`].

use super::claims::{Claims, Next};
use super::lease::{CLAIM_AFTER, DISOWN_AFTER};
use super::news::NewsSender;
use super::probe::{Probe, ProbeOutcome};
use super::witness::Witness;
use crate::room::RoomId;
use crate::session::Error;
use crate::session::directory::{
    Directory, DirectoryError, Fate, Held, InstanceId, Revision, RoomRecord, ServerRecord,
};
use crate::session::restoring::{Cause, Heir};
use crate::telemetry::Metrics;
use futures_util::{StreamExt as _, stream};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A refused connection, or somebody else at the address, is no proof while the owner renews its record: a firewall may
/// refuse, and two servers may have been given one address. Two renewals are missing after this.
pub const RENEWALS_MISSED: Duration = Duration::from_secs(2);
/// How long a server has to answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a record is read again that somebody else has changed meanwhile.
const ROUNDS_MAX: usize = 4;

/// How many rooms of a server are claimed at once; how many are restored at once is [`super::claims`]'s.
const CLAIMS_AT_ONCE_MAX: usize = 16;
/// Why it is known that a room may be claimed whose owner said so.
const LEFT_BEHIND: &str = "its server has left it in the store";

/// What players are told of a room whose server is gone.
pub const SERVER_GONE: &str = "the server that ran it is gone";
/// What players are told of a room whose server had to end it.
pub const SERVER_CUT_OFF: &str = "the server that ran it was cut off from the others";

/// What players are told of a room that ended with its server, and that no other could take.
pub const SERVER_ENDED: &str = "the server that ran it was shut down, and no other could take it";

/// What a look at a room's owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Alive,
    /// It certainly does not run the room, and why that is known.
    Gone(&'static str),
    /// Not known yet.
    Unknown,
}

/// What the directory says of an owner.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// How long its record has not changed, or not been there, while this server would have noticed.
    pub silent_for: Duration,
    /// The same, but zero while it may play on without the directory ([`Witness::gone_for`]).
    pub gone_for: Duration,
}

/// Judges an owner.
pub fn judge(owner: &InstanceId, outcome: &ProbeOutcome, evidence: Evidence) -> Verdict {
    let misses_renewals = evidence.silent_for >= RENEWALS_MISSED;
    match outcome {
        // What it says of itself is worth more than what is not heard of it.
        ProbeOutcome::Answered { instance, plays_room: true, .. } if instance == owner => {
            Verdict::Alive
        }
        ProbeOutcome::Answered { instance, .. } if instance != owner && misses_renewals => {
            Verdict::Gone("another server is at its address")
        }
        ProbeOutcome::Refused if misses_renewals => Verdict::Gone("nothing listens at its address"),
        _ if evidence.gone_for >= CLAIM_AFTER => Verdict::Gone("its record was not renewed"),
        ProbeOutcome::Answered { instance, .. } if instance == owner => Verdict::Alive,
        _ => Verdict::Unknown,
    }
}

/// Judges the owner of a room that it was asked for.
pub fn judge_of_room(owner: &InstanceId, outcome: &ProbeOutcome, evidence: Evidence) -> Verdict {
    match outcome {
        // Cut off, and it has ended its rooms. It begins none before its renewals come through again.
        ProbeOutcome::Answered {
            instance, plays_room: false, reaches_directory: false, ..
        } if instance == owner && evidence.silent_for >= DISOWN_AFTER => {
            Verdict::Gone("it had to end the room")
        }
        _ => judge(owner, outcome, evidence),
    }
}

/// The record of a room that nobody runs any more.
pub fn lost(record: &RoomRecord, me: &InstanceId, why: &str) -> RoomRecord {
    RoomRecord {
        owner: me.clone(),
        epoch: record.epoch + 1,
        followers: Vec::new(),
        lost: Some(why.to_owned()),
        parked: false,
        parked_whole: false,
        ..record.clone()
    }
}

/// What came of going on with a room of this server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resumed {
    /// It is seen to: it plays, or others go on with it, or it is known to be lost.
    Done,
    /// Another time.
    NotYet,
    /// Nobody can; what its players are told.
    Never(&'static str),
}

/// Whether something may be missing of a room that was left in the store.
fn of_parked(record: &RoomRecord) -> Cause {
    if record.parked_whole { Cause::Parked } else { Cause::Lost { silent_for: Duration::ZERO } }
}

/// A witness that several tasks look through.
#[derive(Clone)]
pub struct SharedWitness(Arc<Mutex<Witness>>);

impl Default for SharedWitness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Witness::new(Instant::now()))))
    }
}

impl SharedWitness {
    /// Looks at the directory. The keeper does so every half second.
    pub fn look(&self, directory: &dyn Directory) {
        self.lock().look(directory, Instant::now());
    }

    /// What is known of a server.
    pub fn evidence(&self, instance: &InstanceId, directory: &dyn Directory) -> Evidence {
        let (witness, now) = (self.lock(), Instant::now());
        Evidence {
            silent_for: witness.silent_for(instance, directory, now),
            gone_for: witness.gone_for(instance, directory, now),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Witness> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out what became of rooms.
pub struct Fates {
    directory: Arc<dyn Directory>,
    probe: Arc<dyn Probe>,
    witness: SharedWitness,
    claims: Arc<Claims>,
}

impl Fates {
    /// With the witness that the keeper looks through, too.
    pub fn new(
        directory: Arc<dyn Directory>,
        probe: Arc<dyn Probe>,
        witness: SharedWitness,
        metrics: Arc<Metrics>,
        news: NewsSender,
    ) -> Self {
        let claims = Arc::new(Claims::new(Arc::clone(&directory), metrics, news));
        Self { directory, probe, witness, claims }
    }

    /// Who goes on here with rooms of servers that are gone. Without, they are lost.
    pub fn set_heir(&self, heir: Weak<dyn Heir>) {
        self.claims.set_heir(heir);
    }

    /// Whether rooms of servers that are gone can go on.
    pub(super) fn has_heir(&self) -> bool {
        self.claims.has_heir()
    }

    /// Rooms that are this server's, or about to be, and not here yet.
    pub fn claiming(&self) -> BTreeSet<RoomId> {
        self.claims.claiming()
    }

    /// How many servers come before this one to go on with a room that nobody asks for; see [`Claims::turn`].
    pub(super) fn turn(&self, record: &RoomRecord) -> Option<u32> {
        let directory = self.directory.as_ref();
        let is_there = |server: &InstanceId| {
            self.witness.evidence(server, directory).silent_for < RENEWALS_MISSED
        };
        self.claims.turn(record, is_there)
    }

    /// What was begun comes to its end, or is given up.
    pub(super) async fn close(&self) {
        self.claims.close().await;
    }

    /// Goes on with a room of this server's own that is not here: it had to end, or did not begin. If others can and this server
    /// cannot, it is left to them.
    pub(super) async fn resume(&self, held: &Held<RoomRecord>, proof: &'static str) -> Resumed {
        let is_done = match self.claims.next(&held.record) {
            Next::Here => {
                let cause = Cause::Lost { silent_for: Duration::ZERO };
                matches!(self.claims.take(held.clone(), proof, cause).await, Ok(Some(_)))
            }
            Next::Later => self.leave(held).await,
            Next::Nobody(why) => return Resumed::Never(why),
        };
        if is_done { Resumed::Done } else { Resumed::NotYet }
    }

    /// Leaves a room of this server's own to whoever can go on with it from its log.
    pub(super) async fn leave(&self, held: &Held<RoomRecord>) -> bool {
        let record = RoomRecord { parked: true, parked_whole: false, ..(*held.record).clone() };
        self.directory.swap(record, held.revision).await.is_ok()
    }

    /// Goes on with a room that was left in the store, if this server can.
    pub(super) async fn take_parked(&self, held: &Held<RoomRecord>) {
        // Whatever comes of it, it is seen to again.
        let _ = self.claim(held, LEFT_BEHIND, of_parked(&held.record)).await;
    }

    /// Finds out what became of a room whose owner does not answer, and if the owner is certainly gone, goes on with it, or says
    /// in the directory that it is lost. [`Error::OwnerUnreachable`]: not known yet, or another server will. [`Error::RoomNotFound`]:
    /// it is over.
    pub async fn settle(&self, mut held: Held<RoomRecord>) -> Result<Fate, Error> {
        let directory = self.directory.as_ref();
        for _ in 0..ROUNDS_MAX {
            let record = &held.record;
            if let Some(why) = &record.lost {
                return Ok(Fate::Lost(why.clone()));
            }
            if record.owner == *directory.me() && !record.parked {
                return Ok(Fate::Owned(held));
            }
            let (proof, cause) = if record.parked {
                (LEFT_BEHIND, of_parked(record))
            } else {
                match self.judge(&record.owner, Some(&record.room)).await.1 {
                    Verdict::Alive => return Ok(Fate::Owned(held)),
                    Verdict::Unknown => return Err(Error::OwnerUnreachable),
                    Verdict::Gone(proof) => (proof, self.lost_since(&record.owner)),
                }
            };
            if let Some(fate) = self.claim(&held, proof, cause).await? {
                return Ok(fate);
            }
            // Somebody else has changed it: what is there now counts.
            held = match directory.read(&held.record.room).await {
                Ok(Some(held)) => held,
                Ok(None) => return Err(Error::RoomNotFound),
                Err(_) => return Err(Error::OwnerUnreachable),
            };
        }
        Err(Error::OwnerUnreachable)
    }

    /// Goes on with a room whose owner is gone, or says that it is lost. `None`: somebody else has changed the record.
    async fn claim(
        &self,
        held: &Held<RoomRecord>,
        proof: &'static str,
        cause: Cause,
    ) -> Result<Option<Fate>, Error> {
        match self.claims.next(&held.record) {
            Next::Here => self.claims.take(held.clone(), proof, cause).await,
            Next::Later => Err(Error::OwnerUnreachable),
            Next::Nobody(why) => self.claims.lose(held, proof, why).await,
        }
    }

    fn lost_since(&self, owner: &InstanceId) -> Cause {
        let silent_for = self.witness.evidence(owner, self.directory.as_ref()).silent_for;
        Cause::Lost { silent_for }
    }

    /// Goes on with rooms of a server that has missed renewals, if it does not answer and is certainly gone.
    pub(super) async fn take_over(&self, server: &InstanceId, rooms: &[Held<RoomRecord>]) {
        let (outcome, verdict) = self.judge(server, None).await;
        if let Verdict::Gone(proof) = verdict
            && !answers_itself(&outcome, server)
        {
            self.claim_all(server, rooms, proof).await;
        }
    }

    /// Whatever comes of it, they are seen to again.
    async fn claim_all(
        &self,
        server: &InstanceId,
        rooms: &[Held<RoomRecord>],
        proof: &'static str,
    ) {
        let cause = self.lost_since(server);
        let claim = |held: Held<RoomRecord>| async move {
            let _ = self.claim(&held, proof, cause).await;
        };
        stream::iter(rooms.to_vec()).for_each_concurrent(CLAIMS_AT_ONCE_MAX, claim).await;
    }

    /// Sees to rooms of a silent server, though nobody asked for them, and removes its record, if that is named; both only if it
    /// is certainly gone. What is certain once stays so: a room that had to end does not begin again.
    pub async fn clean_up(
        &self,
        server: &InstanceId,
        rooms: &[Held<RoomRecord>],
        record: Option<Revision>,
    ) {
        let (outcome, verdict) = self.judge(server, None).await;
        if answers_itself(&outcome, server) {
            // It knows best, of each room. Whatever comes of it, it is seen to again.
            for held in rooms {
                let _ = self.settle(held.clone()).await;
            }
            return;
        }
        let Verdict::Gone(proof) = verdict else { return };
        self.claim_all(server, rooms, proof).await;
        if let Some(revision) = record
            && self.directory.dismiss(server, revision).await.is_ok()
        {
            tracing::warn!(%server, proof, "the record of a server that is gone is removed");
        }
    }

    /// Removes the record of a server of which an operator says that it is gone for good. That is believed unless it answers,
    /// or has renewed its record within [`CLAIM_AFTER`], or this server could not have noticed.
    pub async fn forget(&self, server: &Held<ServerRecord>) -> Result<(), Error> {
        let (directory, id) = (self.directory.as_ref(), &server.record.instance);
        if *id == *directory.me() {
            return Err(Error::ServerAlive("it is the one that was asked"));
        }
        if !directory.is_reachable() || !directory.is_settled() {
            return Err(Error::DirectoryAway);
        }
        let (outcome, _) = self.judge(id, None).await;
        if answers_itself(&outcome, id) {
            return Err(Error::ServerAlive("it answers"));
        }
        if self.witness.evidence(id, directory).silent_for < CLAIM_AFTER {
            return Err(Error::ServerAlive("it may have renewed its record within the last 8 s"));
        }
        directory.dismiss(id, server.revision).await.map_err(|error| match error {
            DirectoryError::Conflict => Error::ServerAlive("it has just renewed its record"),
            other => other.into(),
        })?;
        tracing::warn!(server = %id, name = server.record.name, "a server is forgotten: an operator says that it is gone");
        Ok(())
    }

    /// What a server says, or does not, and what that means.
    async fn judge(&self, server: &InstanceId, room: Option<&RoomId>) -> (ProbeOutcome, Verdict) {
        let outcome = self.ask(server, room).await;
        self.witness.look(self.directory.as_ref());
        // What is known after the answer came.
        let evidence = self.witness.evidence(server, self.directory.as_ref());
        let judge = if room.is_some() { judge_of_room } else { judge };
        let verdict = judge(server, &outcome, evidence);
        // That it is not in this server's view may be the view's fault, or its record's, which this release cannot read.
        let is_unseen =
            matches!(verdict, Verdict::Gone(_)) && self.directory.server(server).is_none();
        if is_unseen && self.directory.has_record(server).await != Ok(false) {
            return (outcome, Verdict::Unknown);
        }
        (outcome, verdict)
    }

    async fn ask(&self, server: &InstanceId, room: Option<&RoomId>) -> ProbeOutcome {
        let server = self.directory.server(server);
        let Some(server) = server.filter(|server| !server.record.peer.is_empty()) else {
            return ProbeOutcome::Silent;
        };
        let answer = timeout(PROBE_TIMEOUT, self.probe.probe(&server.record.peer, room)).await;
        answer.unwrap_or(ProbeOutcome::Silent)
    }
}

fn answers_itself(outcome: &ProbeOutcome, server: &InstanceId) -> bool {
    matches!(outcome, ProbeOutcome::Answered { instance, .. } if instance == server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_is_cut_off_and_has_ended_its_room_is_no_owner_any_more() {
        let owner = InstanceId::random();
        let verdict = |plays_room, reaches_directory, silent_for| {
            let instance = owner.clone();
            let outcome =
                ProbeOutcome::Answered { instance, reaches_directory, plays_room, epoch: 1 };
            let evidence = Evidence { silent_for, gone_for: Duration::ZERO };
            (judge_of_room(&owner, &outcome, evidence), judge(&owner, &outcome, evidence))
        };
        let gone = Verdict::Gone("it had to end the room");
        assert_eq!(verdict(false, false, DISOWN_AFTER), (gone, Verdict::Alive));
        assert_eq!(verdict(true, false, DISOWN_AFTER).0, Verdict::Alive, "away for all");
        assert_eq!(verdict(false, true, DISOWN_AFTER).0, Verdict::Alive, "about to open it");
        let sooner = DISOWN_AFTER.saturating_sub(Duration::from_millis(1));
        assert_eq!(verdict(false, false, sooner).0, Verdict::Alive);
    }
}
