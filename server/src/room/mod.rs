//! THE TICK LOOP. A room is one game with its players, owned by one task.
//!
//! - [`task`]: the loop itself: commands when they come, a tick when it is due.
//! - [`clock`]: when ticks are due, and what happens when they are late. Pure.
//! - [`core`]: what a tick does: drain inputs, step, publish. No clock and no task, so tests drive it by hand.
//! - `inbox.rs`: what streams bring to the next tick; [`followers`]: whom a tick wakes.
//! - [`seat`]: one player's place in the room: its moves, its generation of streams, its grace period.
//! - `barred.rs`: who gets no seat, because an operator removed it.
//! - [`log`]: what the room writes down of itself; [`recorder`]: hands it to the store, and keeps incidents.
//! - [`handle`]: how everybody else reaches a room; [`registry`]: all rooms of this process, for look-up only.
//! - [`travel`]: a room that leaves for another server, or arrives.
//! - [`permit`]: until when the rooms of this process may tick.
//! - [`vitals`]: how the room does, in numbers, for those who look on.
//!
//! Architecture Invariant: a room publishes `Arc<TickFrame>` on a watch, wakes who follows it, and knows nothing more of streams; a slow
//! reader costs it nothing. No lock is held and nothing is awaited while a tick is made.

pub mod barred;
pub mod clock;
pub mod core;
pub mod followers;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod handle;
mod inbox;
pub mod log;
pub mod permit;
pub mod recorder;
pub mod registry;
mod resumes;
pub mod seat;
pub mod task;
mod traced;
pub mod travel;
pub mod vitals;

pub use followers::Follower;
pub use handle::{Attached, Attachment, Ending, Handle, Move, RoomInfo, Who};
pub use permit::Permit;
pub use registry::Registry;
pub use seat::{Occupant, Presence};
pub use travel::{Arrival, Departure, Moved, Outcome};
pub use vitals::Vitals;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Which room: lower-case letters and digits, ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(String);

impl TryFrom<String> for RoomId {
    type Error = &'static str;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        Self::parse(&id).ok_or("not a room's id")
    }
}

impl From<RoomId> for String {
    fn from(id: RoomId) -> Self {
        id.0
    }
}

impl RoomId {
    const CHARS_MAX: usize = 32;

    /// Takes a room's id from outside; `None` if it cannot be one.
    pub fn parse(id: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = !id.is_empty() && id.len() <= Self::CHARS_MAX && id.chars().all(is_plain);
        fits.then(|| Self(id.to_owned()))
    }

    /// The id that a recording's header names: it was one when it was written.
    fn recorded(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// An id that no other room has, by chance.
    pub fn random() -> Self {
        use rand::RngExt as _;
        Self::from_bits(rand::rng().random())
    }

    /// The id that these bits give: 10 letters and digits, of which each is one of 31.
    pub fn from_bits(mut bits: u128) -> Self {
        const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
        let letters = (0..10).map(|_| {
            let letter = ALPHABET[(bits % 31) as usize];
            bits /= 31;
            char::from(letter)
        });
        Self(letters.collect())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How rooms run; the same for all rooms of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ticks per second, 1 to 128.
    pub tick_rate_hz: u32,
    /// How long a dropped player keeps its place.
    pub grace: Duration,
    /// How long a stream may take no notice of the room before it is given up.
    pub idle_timeout: Duration,
    /// How long a seat waits for a player who joined but did not come yet.
    pub reservation: Duration,
    /// How long a room without players lives on.
    pub empty_ttl: Duration,
    /// How many late ticks are made up for at once; beyond that, time is given up.
    pub catch_up_ticks_max: u32,
    /// How often the whole state goes into the log.
    pub checkpoint_every: Duration,
    /// How often the log is handed to the store.
    pub chunk_every: Duration,
    /// A tick that begins later than this is an incident.
    pub incident_lateness: Duration,
}

impl Settings {
    /// How often the log does what.
    pub fn rhythm(&self) -> log::Rhythm {
        log::Rhythm {
            hash_ticks: self.tick_rate_hz,
            checkpoint_ticks: self.ticks(self.checkpoint_every),
            chunk_ticks: self.ticks(self.chunk_every),
        }
    }

    /// A duration in whole ticks, at least one.
    pub fn ticks(&self, duration: Duration) -> u32 {
        let ticks = duration.as_millis() * u128::from(self.tick_rate_hz) / 1000;
        u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
    }
}

/// What a room refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No free seat.
    #[error("the room is full")]
    Full,
    /// The player has no seat here, or no more.
    #[error("there is no such session in this room")]
    SessionNotFound,
    /// The room is over.
    #[error("the room has ended")]
    Ended,
    /// The room has more requests than it can take just now.
    #[error("the room is overloaded")]
    Overloaded,
    /// An operator removed the player.
    #[error("an operator removed the player from this room")]
    Kicked,
    /// A room of this id is here already.
    #[error("there is such a room already")]
    Exists,
    /// The server has all the rooms that it takes.
    #[error("the server has all the rooms that it takes")]
    RoomsExhausted,
    /// The game's rules panicked.
    #[error("the room failed")]
    Failed,
    /// The room may be on another server by now, or soon.
    #[error("the room may have another owner by now")]
    Disowned,
    /// The room is on another server by now.
    #[error("the room has moved to another server")]
    Moved,
}
