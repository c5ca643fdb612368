//! What a client tells its user.

use super::Ended;
use super::entity_ticks::EntityTicks;
use super::predict::Correction;
use fray_proto::{replica, v1};
use std::time::Duration;

/// Something that came from the server, or happened to the stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A seat is reserved.
    Joined(Box<v1::Room>),
    /// The stream is open and the session has begun, or goes on.
    Welcomed {
        /// Whether it goes on.
        resumed: bool,
    },
    /// The replica is at another tick.
    Updated(Updated),
    /// The replica broke and is empty; keyframes are asked for.
    Broken {
        /// The update that did it.
        tick: u32,
        /// Why.
        error: replica::Error,
    },
    /// An update that cannot be applied, because keyframes are waited for; or a message of an unknown kind.
    Ignored,
    /// The server answered a ping, or is just alive.
    Pong {
        /// The room's tick.
        tick: u32,
    },
    /// The server has something to tell.
    Notice(v1::Notice),
    /// The room is on another server; the stream is about to end.
    Redirected(v1::Redirect),
    /// The stream ended because the room moved to another server. The next one is under way; controls hold meanwhile.
    Moved(Ended),
    /// The stream broke after its welcome. It will be resumed.
    Disconnected(Ended),
    /// An attempt to get in, or back in, failed. Another one follows.
    AttemptFailed(Ended),
}

/// What an update brought.
#[derive(Debug, Default)]
pub struct Updated {
    /// The tick that is held now.
    pub tick: u32,
    /// How many ticks it spans; 1 for one that starts from nothing.
    pub ticks: u32,
    /// Whether it started from nothing.
    pub is_fresh: bool,
    /// The whole message with its framing.
    pub wire_bytes: usize,
    /// How many entities moved, if they are counted.
    pub entity_ticks: EntityTicks,
    /// For each move that it acknowledged: the time since the player wanted it.
    pub acknowledged: Vec<Duration>,
    /// How wrong the prediction of the own entity was, if it was.
    pub correction: Option<Correction>,
    /// Moves that the game refused.
    pub refusals: Vec<v1::Refusal>,
}
