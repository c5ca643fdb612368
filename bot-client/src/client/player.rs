//! A player: a session on a server, over as many streams as it takes.

use super::connection::{Action, Chance, Connection, Input, Random};
use super::event::Event;
use super::session::{Config, SendError, Session};
use super::transport::{Answer, Link, Message, Server};
use super::{Controls, Ended};
use fray_proto::v1;
use fray_proto::v1::notice::Kind;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Code;

/// How a player comes in and comes back.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the session behaves.
    pub session: Config,
    /// When a first attempt to get in is given up. Later ones are given up when the session must be gone.
    pub first_attempts: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { session: Config::default(), first_attempts: Duration::from_secs(30) }
    }
}

/// A player on a server. It joins, plays, and comes back when the stream breaks; see the crate's example.
///
/// Nothing runs in the background: everything happens inside [`Player::next`], which must be called again and again. It
/// may be cancelled (in a `select!`, say) without losing anything.
pub struct Player {
    server: Arc<dyn Server>,
    session: Session,
    connection: Connection,
    chance: Wishes,
    /// The connection's times count from here.
    origin: Instant,
    request: v1::JoinRequest,
    seat: Option<v1::JoinResponse>,
    state: State,
    /// Cut off on purpose: nothing is attempted before this.
    away_until: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    reads: bool,
}

enum State {
    New,
    Waiting,
    Joining(Answer<v1::JoinResponse>),
    Opening {
        ticket: String,
        answer: Answer<Link>,
    },
    Live {
        link: Link,
        sends: Sends,
    },
    /// Over; why is told once.
    Over(Option<Ended>),
}

/// The sending side of a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sends {
    Open,
    Closing,
    Closed,
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Player {
    /// A player that will ask for a seat when [`Player::next`] is first called.
    ///
    /// A request without a `request_id` gets a random one, so that a repeated call does not take two seats.
    pub fn new(server: Arc<dyn Server>, mut request: v1::JoinRequest, options: Options) -> Self {
        let first = Some(std::mem::take(&mut request.request_id)).filter(|id| !id.is_empty());
        let session = Session::new(options.session).traced(server.tracer());
        let now = Instant::now();
        Self {
            server,
            session,
            connection: Connection::new(options.first_attempts),
            chance: Wishes { first },
            origin: now,
            request,
            seat: None,
            state: State::New,
            away_until: None,
            timer: Box::pin(sleep_until(now)),
            reads: true,
        }
    }

    /// Joins, opens the stream and waits for the server's welcome.
    pub async fn join(
        server: Arc<dyn Server>,
        request: v1::JoinRequest,
        options: Options,
    ) -> Result<Self, Ended> {
        let mut player = Self::new(server, request, options);
        while let Some(event) = player.next().await? {
            if matches!(event, Event::Welcomed { .. }) {
                return Ok(player);
            }
        }
        Err(Ended::misbehaved("the stream ended before it began"))
    }

    /// The session: the replica, the own entity, what is unacknowledged.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Where the way to the server stands: whether the room stands still, and how long the session waits.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How much of the grace period is left, while the stream is lost.
    pub fn grace_left(&self) -> Option<Duration> {
        let until_ms = self.connection.grace_until_ms()?;
        Some(Duration::from_millis(until_ms.saturating_sub(self.now_ms())))
    }

    /// The seat, once it is reserved.
    pub fn seat(&self) -> Option<&v1::JoinResponse> {
        self.seat.as_ref()
    }

    /// The same, to take its counters or to run its prediction.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Sets the controls from now on; they are written by the next [`Player::next`].
    pub fn steer(&mut self, controls: Controls) -> Result<u32, SendError> {
        self.steer_since(controls, Instant::now())
    }

    /// The same for controls that were wanted since a while: the wait counts into the time to the acknowledgement.
    pub fn steer_since(&mut self, controls: Controls, due: Instant) -> Result<u32, SendError> {
        let now = Instant::now().into_std();
        self.session.send(controls, due.into_std(), now)
    }

    /// Leaves gracefully: call [`Player::next`] until it says `None`.
    pub fn leave(&mut self) {
        self.session.leave();
    }

    /// Stops reading, or reads again. While it does not read, [`Player::next`] only writes, and never returns by itself.
    pub fn set_reading(&mut self, reads: bool) {
        self.reads = reads;
    }

    /// Cuts the stream off without a word, as a lost network does. The player tries to come back after `away`.
    pub fn cut_off(&mut self, away: Duration) {
        if matches!(self.state, State::Opening { .. } | State::Live { .. }) {
            self.away_until = Some(Instant::now() + away);
            self.session.handle_closed();
            self.tell(Input::Ended(&Ended::broken("cut off on purpose")));
        }
    }

    /// What happens next. `None`: the player left, and the server said goodbye. An error: the session is over, or cannot be
    /// resumed.
    pub async fn next(&mut self) -> Result<Option<Event>, Ended> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Ended>> {
        if let Some(until) = self.away_until {
            ready!(self.poll_timer(until, cx));
            self.away_until = None;
            // That was pause enough.
            if matches!(self.state, State::Waiting) {
                self.tell(Input::Timer);
            }
        }
        loop {
            if let Poll::Ready(happened) = self.poll_state(cx) {
                match happened {
                    Some(event) => return Poll::Ready(event),
                    None => continue,
                }
            }
            let deadline = self.connection.deadline_ms().map(|ms| self.at(ms));
            let is_live = matches!(self.state, State::Live { .. });
            let timeout = self.session.poll_timeout().filter(|_| is_live).map(Instant::from_std);
            let Some(at) = [deadline, timeout].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            ready!(self.poll_timer(at, cx));
            if let Some(event) = self.handle_timeout(deadline) {
                return Poll::Ready(event);
            }
        }
    }

    /// Goes on with what is under way. `None`: something happened that nobody needs to know.
    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Option<Event>, Ended>>> {
        let happened = match &mut self.state {
            State::Over(why) => Some(why.take().map_or(Ok(None), Err)),
            State::New => {
                self.tell(Input::Begin);
                None
            }
            State::Waiting => return Poll::Pending,
            State::Joining(answer) => match ready!(answer.poll_unpin(cx)) {
                Ok(seat) => self.joined(seat).map(|event| Ok(Some(event))),
                Err(ended) => {
                    self.tell(Input::Refused(&ended));
                    Some(self.failed(Event::AttemptFailed, ended))
                }
            },
            State::Opening { ticket, answer } => match ready!(answer.poll_unpin(cx)) {
                Ok(link) => {
                    self.session.open(ticket);
                    self.tell(Input::Opened);
                    self.state = State::Live { link, sends: Sends::Open };
                    None
                }
                Err(ended) => Some(self.handle_ended(ended)),
            },
            State::Live { .. } => Some(match ready!(self.poll_live(cx)) {
                Ok(Some(event)) => Ok(Some(event)),
                Ok(None) => self.handle_end(),
                Err(ended) => self.handle_ended(ended),
            }),
        };
        Poll::Ready(happened)
    }

    /// Writes and reads. `None` is the stream's proper end.
    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Ended>> {
        self.poll_send(cx);
        let State::Live { link, .. } = &mut self.state else {
            return Poll::Pending;
        };
        if !self.reads {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(link.messages.poll_next_unpin(cx)) {
            None => Ok(None),
            Some(Err(ended)) => Err(ended),
            Some(Ok(message)) => self.handle_message(message).map(Some),
        })
    }

    /// Writes what the session wants to, as far as the stream takes it. A stream that takes nothing any more says why on
    /// its other side.
    fn poll_send(&mut self, cx: &mut Context<'_>) {
        let State::Live { link, sends } = &mut self.state else {
            return;
        };
        while *sends == Sends::Open && self.session.has_request() {
            match link.requests.poll_ready_unpin(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => *sends = Sends::Closed,
                Poll::Ready(Ok(())) => {
                    let now = Instant::now().into_std();
                    if let Some(request) = self.session.poll_request(now)
                        && link.requests.start_send_unpin(request).is_err()
                    {
                        *sends = Sends::Closed;
                    }
                }
            }
        }
        if *sends == Sends::Open {
            if self.session.has_left() {
                *sends = Sends::Closing;
            } else if let Poll::Ready(Err(_)) = link.requests.poll_flush_unpin(cx) {
                *sends = Sends::Closed;
            }
        }
        if *sends == Sends::Closing && link.requests.poll_close_unpin(cx).is_ready() {
            *sends = Sends::Closed;
        }
    }

    fn handle_message(&mut self, message: Message) -> Result<Event, Ended> {
        let now = Instant::now();
        let event = self
            .session
            .handle_message(message.bytes, message.framing, now.into_std())
            .map_err(Ended::from)?;
        match &event {
            Event::Welcomed { .. } => {
                if let Some(welcome) = self.session.welcome() {
                    let input = Input::of_welcome(welcome);
                    let now_ms = self.now_ms();
                    // It asks for nothing: the stream goes on.
                    self.connection.handle(now_ms, input, &mut self.chance);
                }
            }
            Event::Notice(notice) => match notice.kind() {
                Kind::RoomFrozen => self.tell(Input::Frozen(true)),
                Kind::RoomResumed => self.tell(Input::Frozen(false)),
                _ => {}
            },
            Event::Redirected(redirect) => self.tell(Input::of_redirect(redirect)),
            _ => {}
        }
        Ok(event)
    }

    /// A seat is there. Only the first one is told.
    fn joined(&mut self, seat: v1::JoinResponse) -> Option<Event> {
        let expires_in = Duration::from_secs(seat.expires_in_s.into());
        self.tell(Input::Joined { ticket: &seat.ticket, expires_in });
        let room = Box::new(seat.room.clone().unwrap_or_default());
        let is_first = self.seat.replace(seat).is_none();
        is_first.then_some(Event::Joined(room))
    }

    /// The server ended the stream with OK.
    fn handle_end(&mut self) -> Result<Option<Event>, Ended> {
        if self.session.has_left() {
            self.session.handle_closed();
            self.tell(Input::Left);
            return Ok(None);
        }
        let message = "the server ended the stream though nobody left".to_owned();
        self.handle_ended(Ended { code: Code::Ok, reason: String::new(), message })
    }

    /// The stream, or the attempt at one, failed.
    fn handle_ended(&mut self, ended: Ended) -> Result<Option<Event>, Ended> {
        let was_open = self.session.is_open() || self.session.has_left();
        self.session.handle_closed();
        self.tell(Input::Ended(&ended));
        self.lost(was_open, ended)
    }

    /// The connection knows what became of the stream.
    fn lost(&mut self, was_open: bool, ended: Ended) -> Result<Option<Event>, Ended> {
        let event = match was_open {
            true if self.connection.is_moving() => {
                self.session.handle_moved();
                Event::Moved
            }
            true => Event::Disconnected,
            false => Event::AttemptFailed,
        };
        self.failed(event, ended)
    }

    /// What the player is told of a failure, after the connection was.
    fn failed(
        &mut self,
        event: impl FnOnce(Ended) -> Event,
        ended: Ended,
    ) -> Result<Option<Event>, Ended> {
        match &mut self.state {
            State::Over(why) => why.take().map_or(Ok(None), Err),
            _ => Ok(Some(event(ended))),
        }
    }

    /// Something is due: the session's, or the connection's deadline.
    fn handle_timeout(
        &mut self,
        deadline: Option<Instant>,
    ) -> Option<Result<Option<Event>, Ended>> {
        let now = Instant::now();
        if deadline.is_some_and(|at| at <= now) {
            let was_waiting = matches!(self.state, State::Waiting);
            let was_open = self.session.is_open() || self.session.has_left();
            self.session.handle_closed();
            self.tell(Input::Timer);
            let late = Ended::timed_out("the server did not answer in time");
            return (!was_waiting).then(|| self.lost(was_open, late));
        }
        let is_live = matches!(self.state, State::Live { .. });
        let is_due = self.session.poll_timeout().is_some_and(|at| at <= now.into_std());
        let dead =
            (is_live && is_due).then(|| self.session.handle_timeout(now.into_std()))?.err()?;
        Some(self.handle_ended(Ended::timed_out(dead)))
    }

    /// Tells the connection what happened, and does what it says.
    fn tell(&mut self, input: Input<'_>) {
        let now_ms = self.now_ms();
        self.state = match self.connection.handle(now_ms, input, &mut self.chance) {
            Action::Nothing => return,
            Action::Wait => State::Waiting,
            Action::Join { request_id, resume_token } => {
                let request = v1::JoinRequest { request_id, resume_token, ..self.request.clone() };
                State::Joining(self.server.join(request))
            }
            Action::Open { ticket } => {
                let answer = self.server.play(&ticket);
                State::Opening { ticket, answer }
            }
            Action::Over(why) => State::Over(why),
        };
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, ms: u64) -> Instant {
        self.origin + Duration::from_millis(ms)
    }

    fn poll_timer(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.deadline() != at {
            self.timer.as_mut().reset(at);
        }
        self.timer.poll_unpin(cx)
    }
}

/// The first wish has the id that the request came with, if it has one.
#[derive(Debug)]
struct Wishes {
    first: Option<String>,
}

impl Chance for Wishes {
    fn fraction(&mut self) -> f64 {
        Random.fraction()
    }

    fn request_id(&mut self) -> String {
        self.first.take().unwrap_or_else(|| Random.request_id())
    }
}
