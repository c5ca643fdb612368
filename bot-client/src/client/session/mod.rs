//! A player's session, without I/O: messages and the time go in, messages and events come out.
//!
//! The session outlives its streams. For each new one call [`Session::open`], pass on what [`Session::poll_request`] gives,
//! pass in what arrives through [`Session::handle_message`], wake up at [`Session::poll_timeout`], and say
//! [`Session::handle_closed`] when the stream is gone. Everything that needs a socket or a clock is elsewhere, so this
//! part is tested in virtual time.

mod deadlines;
mod incoming;

use super::entity_ticks::EntityTickCounter;
use super::event::Event;
use super::ledger::{Ledger, UNACKNOWLEDGED_MAX};
use super::predict::Prediction;
use super::schedule::TickLine;
use super::tracing::Tracer;
use super::{Controls, Counters, Ended};
use bytes::Bytes;
use fray_proto::PROTOCOL_VERSION;
use fray_proto::model::Entity;
use fray_proto::replica::Replica;
use fray_proto::v1::{self, play_request, play_response};
use prost::Message as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Code;

/// How often an unanswered `Resync` is repeated.
const RESYNC_AGAIN: Duration = Duration::from_secs(1);

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many moves may wait for their acknowledgement. More than the rule's 64 is for tests of servers.
    pub unacknowledged_max: usize,
    /// Says that it has seen whatever the server wrote, read or not: a client that lies, to try servers and proxies.
    pub acknowledges_unread: bool,
    /// Whether a silent server is taken for dead.
    pub idle_timeout: bool,
    /// Count moved entities in every update, this kind apart from the others; `None` saves the time.
    pub entity_ticks_apart: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            unacknowledged_max: UNACKNOWLEDGED_MAX,
            acknowledges_unread: false,
            idle_timeout: true,
            entity_ticks_apart: None,
        }
    }
}

/// Why a message is not acceptable: the server breaks the rules of the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Bytes that are no message.
    #[error("a message cannot be decoded: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// The server does not speak this client's version.
    #[error(
        "the server speaks protocol versions {min} to {max}, this client speaks {PROTOCOL_VERSION}"
    )]
    Protocol {
        /// The lowest.
        min: u32,
        /// The highest.
        max: u32,
    },
    /// A message that may not come now.
    #[error("the server sent {0} where it may not")]
    Unexpected(&'static str),
    /// A world that cannot be.
    #[error("the world's numbers are out of range")]
    World,
    /// A server that owned the room before another one did.
    #[error("the server has epoch {epoch} of the room, which is in epoch {newest}")]
    StaleEpoch {
        /// Of this server.
        epoch: u64,
        /// The newest one known.
        newest: u64,
    },
}

impl From<Violation> for Ended {
    fn from(violation: Violation) -> Self {
        let message = violation.to_string();
        match violation {
            // There is a better one.
            Violation::StaleEpoch { .. } => {
                Self { code: Code::FailedPrecondition, reason: "WRONG_SERVER".to_owned(), message }
            }
            _ => Self::misbehaved(message),
        }
    }
}

/// Why a move was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no stream just now: a client that is cut off makes no moves.
    #[error("the stream is not open")]
    NotOpen,
    /// Too many moves wait for their acknowledgement.
    #[error("too many moves are unacknowledged")]
    WindowFull,
}

/// Where the session's stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No stream.
    Apart,
    /// `Hello` is sent or about to be.
    Opening,
    /// `Welcome` came.
    Open,
    /// `Leave` is sent.
    Leaving,
}

/// Where the room is.
#[derive(Clone, Debug, Default)]
struct Whereabouts {
    room_id: String,
    /// The newest one that is known, of a `Welcome` or of a `Redirect`.
    epoch: u64,
    /// The stream was lost because the room moves: the server holds the controls.
    is_moving: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    config: Config,
    tracer: Option<Arc<dyn Tracer>>,
    phase: Phase,
    welcome: Option<v1::Welcome>,
    whereabouts: Whereabouts,
    replica: Option<Replica>,
    counter: Option<EntityTickCounter>,
    ledger: Ledger,
    line: Option<TickLine>,
    prediction: Option<Prediction>,
    private: Vec<i32>,
    counters: Counters,
    checksums_before: u64,
    /// Nothing but keyframes can be applied.
    awaits_keyframes: bool,
    hello: Option<v1::Hello>,
    resync: Option<v1::Resync>,
    resync_asked: Option<(v1::Resync, Instant)>,
    /// The next move to be written to this stream.
    next_move: u32,
    /// Moves up to this one were written to an earlier stream already: their times say nothing about this one.
    resent: u32,
    wants_ping: bool,
    wants_leave: bool,
    sent_at: Option<Instant>,
    heard_at: Option<Instant>,
}

impl Session {
    /// A session that has not begun.
    pub fn new(config: Config) -> Self {
        let counter = config.entity_ticks_apart.map(EntityTickCounter::new);
        Self {
            config,
            tracer: None,
            phase: Phase::Apart,
            welcome: None,
            whereabouts: Whereabouts::default(),
            replica: None,
            counter,
            ledger: Ledger::default(),
            line: None,
            prediction: None,
            private: Vec::new(),
            counters: Counters::default(),
            checksums_before: 0,
            awaits_keyframes: true,
            hello: None,
            resync: None,
            resync_asked: None,
            next_move: 1,
            resent: 0,
            wants_ping: false,
            wants_leave: false,
            sent_at: None,
            heard_at: None,
        }
    }

    /// Tells `tracer` of its moves, if there is one.
    #[must_use]
    pub fn traced(self, tracer: Option<Arc<dyn Tracer>>) -> Self {
        Self { tracer, ..self }
    }

    /// Takes no older epoch of the room for true than an earlier session did.
    #[must_use]
    pub fn after(self, earlier: &Self) -> Self {
        Self { whereabouts: earlier.whereabouts.clone(), ..self }
    }

    // --- what happens ---

    /// A new stream is there: greet the server, and go on with the session if one has begun.
    pub fn open(&mut self, ticket: &str) {
        self.handle_closed();
        self.phase = Phase::Opening;
        self.hello = Some(v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            ticket: ticket.to_owned(),
            resume_token: self.resume_token().to_owned(),
            ..v1::Hello::default()
        });
    }

    /// The stream is gone.
    pub fn handle_closed(&mut self) {
        self.phase = Phase::Apart;
        self.hello = None;
        self.resync = None;
        self.resync_asked = None;
        self.wants_ping = false;
        self.awaits_keyframes = true;
        self.line = None;
        self.note_checksums();
        if let Some(replica) = &mut self.replica {
            replica.clear();
        }
    }

    /// The stream is gone because the room moves to another server. Unlike after a loss, controls hold meanwhile.
    pub fn handle_moved(&mut self) {
        self.handle_closed();
        self.whereabouts.is_moving = true;
    }

    /// A message came, with so many bytes of framing around it.
    pub fn handle_message(
        &mut self,
        message: Bytes,
        framing: usize,
        now: Instant,
    ) -> Result<Event, Violation> {
        let wire_bytes = message.len() + framing;
        let response = v1::PlayResponse::decode(message)?;
        self.handle_response(response, wire_bytes, now)
    }

    /// The same for a message that is decoded already.
    pub fn handle_response(
        &mut self,
        response: v1::PlayResponse,
        wire_bytes: usize,
        now: Instant,
    ) -> Result<Event, Violation> {
        use play_response::Message;
        self.heard_at = Some(now);
        let is_open = matches!(self.phase, Phase::Open | Phase::Leaving);
        match response.message {
            Some(Message::Welcome(welcome)) => self.handle_welcome(welcome, now),
            Some(Message::Update(update)) if is_open => {
                Ok(self.handle_update(update, wire_bytes, now))
            }
            Some(Message::Update(_)) => Err(Violation::Unexpected("an update")),
            Some(Message::Pong(pong)) => Ok(Event::Pong { tick: pong.tick }),
            Some(Message::Notice(notice)) => Ok(Event::Notice(notice)),
            Some(Message::Redirect(redirect)) => {
                let newest = &mut self.whereabouts.epoch;
                *newest = redirect.epoch.max(*newest);
                Ok(Event::Redirected(redirect))
            }
            None => Ok(Event::Ignored),
        }
    }

    /// The time of [`Self::poll_timeout`] has come. An error: the stream is dead.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), &'static str> {
        if self.idle_deadline().is_some_and(|at| at <= now) {
            return Err("nothing heard for the idle timeout");
        }
        if self.ping_due().is_some_and(|at| at <= now) {
            self.wants_ping = true;
        }
        if self.resync_due().is_some_and(|at| at <= now) {
            self.resync = self.resync_asked.take().map(|(resync, _)| resync);
        }
        Ok(())
    }

    // --- what the player does ---

    /// Sets the controls from now on. `due` is when the player wanted that: waiting counts into the time to the
    /// acknowledgement.
    pub fn send(
        &mut self,
        controls: Controls,
        due: Instant,
        now: Instant,
    ) -> Result<u32, SendError> {
        if self.phase != Phase::Open || self.wants_leave {
            return Err(SendError::NotOpen);
        }
        if self.ledger.unacknowledged() >= self.config.unacknowledged_max {
            return Err(SendError::WindowFull);
        }
        let steering = controls.steering();
        let trace = self.tracer.as_ref().and_then(|tracer| tracer.begin());
        let sequence = self.ledger.push(controls, due, trace);
        self.counters.moves += 1;
        if let (Some(prediction), Some(line)) = (&mut self.prediction, &self.line) {
            prediction.advance_to(line, now);
            prediction.moved(sequence, steering);
        }
        Ok(sequence)
    }

    /// Leaves gracefully, once all moves are written.
    pub fn leave(&mut self) {
        self.wants_leave = true;
    }

    /// Runs the prediction of the own entity up to now; for a player that looks at it.
    pub fn predict(&mut self, now: Instant) -> Option<&Entity> {
        let prediction = self.prediction.as_mut()?;
        prediction.advance_to(self.line.as_ref()?, now);
        prediction.entity()
    }

    // --- what is to be sent, and when to wake up ---

    /// The next message to write, if there is one.
    pub fn poll_request(&mut self, now: Instant) -> Option<v1::PlayRequest> {
        use play_request::Message;
        let message = if let Some(hello) = self.hello.take() {
            Message::Hello(hello)
        } else if self.phase != Phase::Open {
            return None;
        } else if let Some(resync) = self.resync.take() {
            self.resync_asked = Some((resync, now));
            Message::Resync(resync)
        } else if let Some(mut message) = self.ledger.message(self.next_move, now) {
            self.next_move += 1;
            self.wants_ping = false;
            message.seen_tick = self.seen_tick();
            Message::Move(message)
        } else if self.wants_leave {
            self.phase = Phase::Leaving;
            Message::Leave(v1::Leave {})
        } else if self.wants_ping {
            self.wants_ping = false;
            Message::Ping(v1::Ping { seen_tick: self.seen_tick(), echo: 0 })
        } else {
            return None;
        };
        self.sent_at = Some(now);
        Some(v1::PlayRequest { message: Some(message) })
    }

    /// Whether [`Self::poll_request`] has something.
    pub fn has_request(&self) -> bool {
        let is_open = self.phase == Phase::Open;
        let has_move = self.next_move <= self.ledger.newest();
        let open = has_move || self.wants_ping || self.wants_leave || self.resync.is_some();
        self.hello.is_some() || is_open && open
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [self.idle_deadline(), self.ping_due(), self.resync_due()];
        due.into_iter().flatten().min()
    }

    // --- what is known ---

    /// The server's view of the world, if a session has begun.
    pub fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// The session's constants, as the newest `Welcome` has them.
    pub fn welcome(&self) -> Option<&v1::Welcome> {
        self.welcome.as_ref()
    }

    /// The player's own entity as it was at the newest update, while it lives.
    pub fn own(&self) -> Option<&Entity> {
        self.replica.as_ref()?.entity(self.welcome.as_ref()?.entity)
    }

    /// What only this player knows.
    pub fn private(&self) -> &[i32] {
        &self.private
    }

    /// Whether moves can be sent.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether `Leave` is written: the sending side can be closed.
    pub fn has_left(&self) -> bool {
        self.phase == Phase::Leaving
    }

    /// How many moves wait for their acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        self.ledger.unacknowledged()
    }

    /// Since when the oldest of them is wanted.
    pub fn unacknowledged_since(&self) -> Option<Instant> {
        self.ledger.oldest_due()
    }

    /// How long a move takes to the server and its effect back, without the wait for the tick.
    pub fn round_trip(&self) -> Option<Duration> {
        self.prediction.as_ref()?.round_trip()
    }

    /// When ticks are due here.
    pub fn tick_line(&self) -> Option<&TickLine> {
        self.line.as_ref()
    }

    /// Brings the session back, from another process or network; empty before `Welcome`.
    pub fn resume_token(&self) -> &str {
        self.welcome.as_ref().map_or("", |welcome| &welcome.resume_token)
    }

    /// What was counted since the last call.
    pub fn take_counters(&mut self) -> Counters {
        self.note_checksums();
        std::mem::take(&mut self.counters)
    }
}
