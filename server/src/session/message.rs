//! What clients and server tell each other, in our own types. Doors parse into these, once.

use crate::game::{Controls, Motions, World};
use crate::room::RoomInfo;
use bytes::Bytes;
use fray_proto::trace::TraceContext;
use fray_proto::update::MoveAck;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The most bytes of a message from a client.
pub const INCOMING_BYTES_MAX: usize = 16 * 1024;

/// From a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Opens the stream.
    Hello(Hello),
    /// Controls from now on.
    Move {
        /// 1, 2, 3, … in the session.
        sequence: u32,
        /// The newest tick that the client applied.
        seen_tick: u32,
        /// The controls.
        controls: Controls,
        /// The client's span, if it traces the move.
        trace: Option<TraceContext>,
    },
    /// An acknowledgement; wants an answer unless `echo` is 0.
    Ping {
        /// The newest tick that the client applied.
        seen_tick: u32,
        /// Comes back.
        echo: u64,
    },
    /// The player goes.
    Leave,
    /// The client's replica broke.
    Resync {
        /// Why, for the metrics.
        reason: &'static str,
        /// The update's checksum was another: the client holds another world.
        is_desync: bool,
        /// The tick of the update that failed.
        tick: u32,
        /// The cell, where it is known.
        cell: Option<u32>,
    },
    /// Something from a newer client; skipped.
    Unknown,
}

/// How a stream begins.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// The version of the rules that the client speaks.
    pub protocol_version: u32,
    /// From `Join`.
    pub ticket: Option<String>,
    /// From an earlier `Welcome`.
    pub resume_token: Option<String>,
    /// Guests only.
    pub player_name: String,
    /// Guests only.
    pub room_id: Option<String>,
}

/// Secrets do not get into logs: only whether they came.
impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("protocol_version", &self.protocol_version)
            .field("has_ticket", &self.ticket.is_some())
            .field("has_resume_token", &self.resume_token.is_some())
            .field("player_name", &self.player_name)
            .field("room_id", &self.room_id)
            .finish()
    }
}

/// To a client.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// First.
    Welcome(Box<Welcome>),
    /// An update, framed as gRPC does: [`fray_proto::update::frame_update`].
    Update(Bytes),
    /// Answer to a ping, or a heartbeat.
    Pong {
        /// From the ping; 0 in a heartbeat.
        echo: u64,
        /// The room's tick.
        tick: u32,
    },
    /// The server goes away.
    ShuttingDown,
    /// A message of another server's, as it is.
    Passed(Bytes),
    /// The room stands still (true), or goes on.
    Frozen(bool),
    /// The room is about to move to another server.
    Moving,
    /// The room was restored to a state of this age.
    Restored(Duration),
    /// The room is on another server.
    Redirect(Redirect),
}

/// Where a room has gone.
#[derive(Clone)]
pub struct Redirect {
    /// Opens a stream there. Whoever has it is the player.
    pub ticket: String,
    /// How long it is good.
    pub expires_in: Duration,
    /// The room's epoch there.
    pub epoch: u64,
    /// The first tick of it.
    pub first_tick: u32,
}

/// Without the ticket.
impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirect").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The session, and all constants of the room.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The room.
    pub room: Arc<RoomInfo>,
    /// Counts the room's owners.
    pub epoch: u64,
    /// The first tick of this owner.
    pub first_tick: u32,
    /// Ticks per second.
    pub tick_rate_hz: u32,
    /// The world.
    pub world: World,
    /// Motion constants.
    pub motions: Motions,
    /// Times that the client must keep.
    pub staleness_window_ms: u32,
    /// Times that the client must keep.
    pub heartbeat_ms: u32,
    /// Times that the client must keep.
    pub idle_timeout_ms: u32,
    /// How long a dropped player may come back.
    pub grace_ms: u32,
    /// The server's name.
    pub server: String,
    /// Its release.
    pub release: String,
    /// How old the state was that the room was restored from, if this session was not here since.
    pub restored: Option<Duration>,
    /// None for spectators.
    pub player: Option<WelcomePlayer>,
}

/// What a player is told of its session.
#[derive(Clone)]
pub struct WelcomePlayer {
    /// Who it is.
    pub player_id: String,
    /// Its number in the room.
    pub player: u32,
    /// Its entity.
    pub entity: u32,
    /// Which moves were applied so far.
    pub ack: MoveAck,
    /// How to come back. A secret.
    pub resume_token: String,
    /// Whether this continues an earlier stream.
    pub resumed: bool,
}

/// Without the resume token: whoever has it is the player.
impl fmt::Debug for WelcomePlayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WelcomePlayer")
            .field("player_id", &self.player_id)
            .field("player", &self.player)
            .field("entity", &self.entity)
            .field("ack", &self.ack)
            .field("resumed", &self.resumed)
            .finish_non_exhaustive()
    }
}
