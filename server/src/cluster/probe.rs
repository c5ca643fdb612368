//! Asking another server about itself.

use crate::room::RoomId;
use crate::session::directory::InstanceId;
use futures_util::future::BoxFuture;

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Somebody answered there.
    Answered {
        /// Which run of a server.
        instance: InstanceId,
        /// Whether the directory has answered a renewal of its record within the last 3 s.
        reaches_directory: bool,
        /// Whether the room that was asked for plays there.
        plays_room: bool,
        /// That room's epoch there; 0: it is not there.
        epoch: u64,
    },
    /// Nothing listens there: the connection was refused.
    Refused,
    /// No answer in time, or none that makes sense.
    Silent,
}

/// Asks other servers. An implementation has a deadline of its own; whoever asks has one, too.
pub trait Probe: Send + Sync + 'static {
    /// Asks the server at `peer` (`ADDRESS:PORT`, [`crate::session::directory::ServerRecord::peer`]) who it is, whether it
    /// reaches the directory, and, with a `room`, whether that plays there. Never an error: no answer is an answer.
    fn probe<'a>(&'a self, peer: &'a str, room: Option<&'a RoomId>) -> BoxFuture<'a, ProbeOutcome>;
}

/// Of a server that cannot ask others.
pub struct NoProbe;

impl Probe for NoProbe {
    fn probe<'a>(&'a self, _: &'a str, _: Option<&'a RoomId>) -> BoxFuture<'a, ProbeOutcome> {
        Box::pin(async { ProbeOutcome::Silent })
    }
}
