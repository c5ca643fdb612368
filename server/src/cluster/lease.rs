//! How long this server may run its rooms after the directory last heard of it. Pure: no clock, no I/O.
//!
//! The server's own record in the directory is its lease; it is renewed every second. All times count from when a renewal was
//! *sent*, so the directory and everybody who looks into it see it later than this server counts from:
//!
//! | after | what | why then |
//! | --- | --- | --- |
//! | [`ASK_AFTER`] 2.5 s | asks the other servers whether they reach the directory | two renewals in a row are missing |
//! | [`FREEZE_AFTER`] 5 s | rooms stand still | players see a pause, nothing is lost yet; time for a renewal to come |
//! | [`DISOWN_AFTER`] 7 s | rooms end here | players go and ask elsewhere |
//! | [`CLAIM_AFTER`] 8 s | others may claim the rooms ([`super::fate`]) | |
//!
//! Between the last tick here and the first claim there are 3 s, between the end here and the first claim 1 s: clocks of
//! healthy machines differ by far less than a second in eight, and a room that is told to end has ended within a tick. A
//! process that stood still meanwhile (paused, starved, swapped out) may wake at any time: so every room looks at its
//! [`crate::room::Permit`] before each tick, and this machine looks at the time before it looks at what has happened. What is
//! left is one tick that was begun before a pause and is let out after it: it is one that was made in time. A *machine* that
//! stands still with its clock (a virtual machine that is moved) notices nothing; against that only a fence at the
//! directory helps, and whoever takes a room over by its log has one.
//!
//! **The directory is away for everybody** if more than half of this server's electorate ([`super::electorate`]), itself
//! included, answer, and nobody who answers reaches it; so, too, if it is alone in its electorate. Then nobody can claim, and
//! rooms play on, for however long. What counts is the electorate that others may have read in this server's record; if that
//! may be two, more than half of each. An answer that says so counts as a renewal that was sent when it was asked for: whoever
//! said "I do not reach it" begins to count anew once it does, and whoever was not asked sees too few of the electorate renew
//! their records to take this server for gone ([`super::witness`]). A record that was sent since begins to count as silent
//! only then.

use std::time::Duration;
use tokio::time::Instant;

/// How often the server's record is renewed.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How soon after a renewal that was not answered the next one is tried.
pub const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Without a renewal for so long, other servers are asked whether they reach the directory.
pub const ASK_AFTER: Duration = Duration::from_millis(2500);
/// How often they are asked then.
pub const ASK_EVERY: Duration = Duration::from_millis(500);
/// Without a renewal for so long, rooms stand still.
pub const FREEZE_AFTER: Duration = Duration::from_secs(5);
/// Without a renewal for so long, rooms end here.
pub const DISOWN_AFTER: Duration = Duration::from_secs(7);
/// Unchanged for so long, as another server sees it, a server's record does not protect its rooms any more.
pub const CLAIM_AFTER: Duration = Duration::from_secs(8);

const _: () = assert!(
    ASK_AFTER.as_millis() + 2 * RENEW_EVERY.as_millis() < FREEZE_AFTER.as_millis()
        && FREEZE_AFTER.as_millis() < DISOWN_AFTER.as_millis()
        && DISOWN_AFTER.as_millis() < CLAIM_AFTER.as_millis(),
    "the order is what makes it safe"
);

/// What this server may do with its rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They are its own, as the directory says.
    Held,
    /// The directory is away for everybody: they play on.
    AwayForAll,
    /// This server alone may be cut off: they stand still.
    Frozen,
    /// They had to end. New ones begin once the lease is renewed.
    Lost,
}

impl Standing {
    /// Whether rooms may tick.
    pub fn plays(self) -> bool {
        matches!(self, Self::Held | Self::AwayForAll)
    }
}

/// What the other servers said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// When they were asked.
    pub asked: Instant,
    /// More than half of each electorate that others may have read answered, each as the server that it was taken for, and
    /// this server counted in.
    pub is_majority: bool,
    /// Somebody who answered reaches the directory.
    pub is_reached: bool,
}

impl Poll {
    /// Whether nobody can claim anything, because the directory is away for a majority, this server included.
    pub fn is_away_for_all(&self) -> bool {
        self.is_majority && !self.is_reached
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing but that time has passed.
    Beat,
    /// A renewal was answered.
    Renewed {
        /// When it was sent.
        sent: Instant,
    },
    /// A renewal was not answered.
    NotRenewed,
    /// The other servers were asked.
    Asked(Poll),
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Renew the record; say what came of it.
    Renew,
    /// Ask the other servers; say what came of it.
    Ask,
    /// Let all rooms stand still.
    Freeze,
    /// End all rooms: others may own them by now.
    Disown,
    /// Rooms may go on, if their records still say that they are this server's.
    ThawIfOwned,
    /// Rooms may go on: nobody can have claimed them.
    Thaw,
}

/// The lease of this server.
#[derive(Clone, Debug)]
pub struct Lease {
    standing: Standing,
    /// When the newest renewal that was answered was sent.
    renewed: Instant,
    /// The same, or when it was last known that nobody can claim: the later.
    safe: Instant,
    next_renewal: Instant,
    is_renewing: bool,
    next_question: Instant,
    is_asking: bool,
}

impl Lease {
    /// A lease that begins now: there are no rooms yet.
    pub fn new(now: Instant) -> Self {
        Self {
            standing: Standing::Held,
            renewed: now,
            safe: now,
            next_renewal: now,
            is_renewing: false,
            next_question: now,
            is_asking: false,
        }
    }

    /// What this server may do with its rooms, as of the last event.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Until when rooms may tick, if nothing else happens.
    pub fn ticks_until(&self) -> Instant {
        if self.standing == Standing::Lost { self.safe } else { self.safe + FREEZE_AFTER }
    }

    /// How long ago the newest renewal that was answered was sent.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.renewed)
    }

    /// When the next [`Event::Beat`] is due at the latest.
    pub fn wakes_at(&self) -> Instant {
        let mut next = if self.is_renewing { None } else { Some(self.next_renewal) };
        let mut or = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        if !self.is_asking && self.standing != Standing::Lost {
            or(self.next_question.max(self.renewed + ASK_AFTER));
        }
        match self.standing {
            Standing::Held | Standing::AwayForAll => or(self.safe + FREEZE_AFTER),
            Standing::Frozen => or(self.safe + DISOWN_AFTER),
            Standing::Lost => {}
        }
        // If nothing else is due, what runs will come back.
        next.unwrap_or(self.next_renewal + RENEW_EVERY)
    }

    /// Takes note of what has happened, and says what is to be done. The time comes first: what a pause has made due is due
    /// before anything that happened in it.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        self.pass(now, &mut actions);
        match event {
            Event::Beat => {}
            Event::Renewed { sent } => {
                self.is_renewing = false;
                self.renewed = self.renewed.max(sent);
                if self.confirm(sent, now) {
                    if self.standing == Standing::Frozen {
                        actions.push(Action::ThawIfOwned);
                    }
                    self.standing = Standing::Held;
                }
            }
            Event::NotRenewed => {
                self.is_renewing = false;
                self.next_renewal = self.next_renewal.min(now + RETRY_AFTER);
            }
            Event::Asked(poll) => {
                self.is_asking = false;
                // Rooms that had to end do not come back by that: nobody runs them any more.
                let is_of_use = self.standing != Standing::Lost && poll.is_away_for_all();
                if is_of_use && self.age(now) >= ASK_AFTER && self.confirm(poll.asked, now) {
                    if self.standing == Standing::Frozen {
                        actions.push(Action::Thaw);
                    }
                    self.standing = Standing::AwayForAll;
                }
            }
        }
        self.schedule(now, &mut actions);
        actions
    }

    /// Rooms are safe from then on; whether that is good enough to let them tick now.
    fn confirm(&mut self, from: Instant, now: Instant) -> bool {
        self.safe = self.safe.max(from);
        now.saturating_duration_since(self.safe) < FREEZE_AFTER
    }

    fn pass(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let unsafe_for = now.saturating_duration_since(self.safe);
        if unsafe_for >= DISOWN_AFTER && self.standing != Standing::Lost {
            self.standing = Standing::Lost;
            actions.push(Action::Disown);
        } else if unsafe_for >= FREEZE_AFTER && self.standing.plays() {
            self.standing = Standing::Frozen;
            actions.push(Action::Freeze);
        }
    }

    fn schedule(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.is_renewing && now >= self.next_renewal {
            self.is_renewing = true;
            self.next_renewal = now + RENEW_EVERY;
            actions.push(Action::Renew);
        }
        let may_ask = !self.is_asking && self.standing != Standing::Lost;
        if may_ask && now >= self.next_question && self.age(now) >= ASK_AFTER {
            self.is_asking = true;
            self.next_question = now + ASK_EVERY;
            actions.push(Action::Ask);
        }
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
