//! A player's life across streams: from a seat in the lobby to the last update.
//!
//! - [`arriving`]: a room that another server gives.
//! - [`directory`]: who owns which room, over all servers.
//! - [`lobby`]: finds or opens rooms, reserves seats, hands out tickets.
//! - [`ticket`]: what a ticket says and who signed it; [`token`]: how a session is resumed.
//! - [`message`]: what clients and server tell each other, in our own types.
//! - [`replays`]: recordings: found, fetched, verified. [`watch_past`]: a stream that looks back.
//! - [`restoring`]: a room goes on here whose last owner is gone.
//! - [`onlooking`]: what a room shows to pages that only look on.
//! - [`play`]: a player's stream and a spectator's, whatever door they came by. [`player`] decides, [`play`] waits.
//!
//! Architecture Invariant: no transport is known here. Doors turn bytes into [`message::Incoming`] and [`message::Outgoing`] into bytes.

pub mod arriving;
pub mod directory;
pub mod error;
pub mod identity;
pub mod keyring;
pub mod load;
pub mod lobby;
pub mod message;
pub mod onlooking;
pub mod placing;
pub mod play;
pub mod player;
mod playing;
pub mod relay;
pub mod replays;
mod requests;
mod restarting;
pub mod restoring;
mod spectating;
pub mod telling;
pub mod ticket;
pub mod token;
pub mod watch_past;

pub use error::Error;
pub use lobby::Lobby;
pub use replays::Replays;

use crate::room::Registry;
use crate::telemetry::{Health, Metrics, Telemetry, Traces};
use directory::RoomMover;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Limits and times of streams.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How soon `Hello` must come.
    pub hello_timeout: Duration,
    /// How far, in time, updates may run ahead of what the client acknowledged.
    pub staleness_window: Duration,
    /// The server says something at least this often.
    pub heartbeat: Duration,
    /// A client that says nothing for this long is gone.
    pub idle_timeout: Duration,
    /// How long a ticket, and the seat that waits for it, are good.
    pub ticket_ttl: Duration,
    /// Whether a stream without a ticket is seated.
    pub allow_guests: bool,
}

/// What tickets and resume tokens are made with.
pub struct Keys {
    /// Signs and verifies tickets.
    pub tickets: Arc<ticket::Keys>,
    /// What resume tokens, and all other ids that must be the same on each server, are made from.
    pub tokens: token::TokenKey,
    /// Who players are, by an identity provider's word.
    pub identity: identity::Policy,
}

/// All that streams share.
pub struct Sessions {
    /// The rooms of this server.
    pub rooms: Arc<Registry>,
    /// Signs and verifies tickets.
    pub keys: Arc<ticket::Keys>,
    /// What resume tokens are made from.
    pub token_key: token::TokenKey,
    /// Who players are, by an identity provider's word.
    pub identity: identity::Policy,
    /// Limits and times.
    pub limits: Limits,
    /// What probes are told; also whether an operator has the server drained.
    pub health: Arc<Health>,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    /// Which moves, calls and sessions are traced.
    pub traces: Arc<Traces>,
    /// The other servers, if there are any.
    pub fleet: directory::Fleet,
    /// The server's name, for people.
    pub server_name: String,
    /// Every open stream holds a token of it.
    pub streams: TaskTracker,
    /// The tasks that read players' requests; each ends with its stream.
    pub readers: TaskTracker,
    /// What was played, and the threads that play it again.
    pub replays: Arc<Replays>,
    /// Rooms that other servers give to this one.
    pub arrivals: arriving::Arrivals,
    /// What gives rooms to other servers, if there are any.
    mover: OnceLock<Arc<dyn RoomMover>>,
    draining: CancellationToken,
}

impl Sessions {
    /// Nothing is draining yet.
    pub fn new(
        rooms: Arc<Registry>,
        keys: Keys,
        limits: Limits,
        telemetry: &Telemetry,
        fleet: directory::Fleet,
        server_name: String,
        replays: Arc<Replays>,
    ) -> Self {
        Self {
            rooms,
            keys: keys.tickets,
            token_key: keys.tokens,
            identity: keys.identity,
            limits,
            health: Arc::clone(&telemetry.health),
            metrics: Arc::clone(&telemetry.metrics),
            traces: Arc::clone(&telemetry.traces),
            fleet,
            server_name,
            streams: TaskTracker::new(),
            readers: TaskTracker::new(),
            replays,
            arrivals: arriving::Arrivals::default(),
            mover: OnceLock::new(),
            draining: CancellationToken::new(),
        }
    }

    /// What gives rooms to other servers from now on. Once.
    pub fn set_mover(&self, mover: Arc<dyn RoomMover>) {
        // There is one.
        let _ = self.mover.set(mover);
    }

    /// What gives rooms to other servers; `None`: there are no others.
    pub fn mover(&self) -> Option<&Arc<dyn RoomMover>> {
        self.mover.get()
    }

    /// From now on no seats are given, and streams end at their next tick.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Whether the server is going away.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Whether new players are seated here, and rooms opened for them: not by a server that goes away, or that an operator has
    /// drained ([`Health::set_drained`]), or that not every edge knows yet ([`Health::awaits_edges`]).
    pub fn takes_players(&self) -> Result<(), Error> {
        if self.is_draining() || self.health.is_draining() {
            Err(Error::ShuttingDown)
        } else if self.health.is_drained() || self.health.awaits_edges() {
            Err(Error::Draining)
        } else {
            Ok(())
        }
    }

    /// Waits until the server goes away.
    pub async fn drained(&self) {
        self.draining.cancelled().await;
    }
}
