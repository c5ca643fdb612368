//! A player: a session on a server, over as many streams as it takes.

use super::event::Event;
use super::session::{Config, SendError, Session};
use super::transport::{Answer, Link, Message, Server};
use super::{Controls, Ended};
use fray_proto::v1;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use rand::RngExt as _;
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
    /// The first wait before a new attempt; each further one is twice as long.
    pub retry_first: Duration,
    /// The longest wait.
    pub retry_longest: Duration,
    /// When to give up: so long after the last sign of life.
    pub give_up_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            session: Config::default(),
            retry_first: Duration::from_millis(50),
            retry_longest: Duration::from_secs(2),
            give_up_after: Duration::from_secs(60),
        }
    }
}

/// A player on a server. It joins, plays, and comes back when the stream breaks; see the crate's example.
///
/// Nothing runs in the background: everything happens inside [`Player::next`], which must be called again and again. It
/// may be cancelled (in a `select!`, say) without losing anything.
pub struct Player {
    server: Arc<dyn Server>,
    options: Options,
    session: Session,
    request: v1::JoinRequest,
    seat: Option<v1::JoinResponse>,
    state: State,
    attempts: u32,
    alive_at: Instant,
    timer: Pin<Box<Sleep>>,
    reads: bool,
}

enum State {
    Waiting { rejoin: bool },
    Joining(Answer<v1::JoinResponse>),
    Opening(Answer<Link>),
    Live { link: Link, sends: Sends },
    Over,
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
        if request.request_id.is_empty() {
            request.request_id = format!("{:032x}", rand::random::<u128>());
        }
        let session = Session::new(options.session.clone()).traced(server.tracer());
        let now = Instant::now();
        let state = State::Waiting { rejoin: true };
        let timer = Box::pin(sleep_until(now));
        Self {
            server,
            options,
            session,
            request,
            seat: None,
            state,
            attempts: 0,
            alive_at: now,
            timer,
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

    /// Cuts the stream off without a word, as a lost network does. The player comes back after `away`.
    pub fn cut_off(&mut self, away: Duration) {
        if !matches!(self.state, State::Over) {
            self.session.handle_closed();
            self.wait(away, false);
        }
    }

    /// What happens next. `None`: the player left, and the server said goodbye. An error: the session is over, or cannot be
    /// resumed.
    pub async fn next(&mut self) -> Result<Option<Event>, Ended> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Ended>> {
        loop {
            match &mut self.state {
                State::Over => return Poll::Ready(Ok(None)),
                State::Waiting { rejoin } => {
                    ready!(self.timer.poll_unpin(cx));
                    let rejoin = *rejoin;
                    self.state = self.attempt(rejoin);
                }
                State::Joining(answer) => match ready!(answer.poll_unpin(cx)) {
                    Ok(seat) => {
                        let room = Box::new(seat.room.clone().unwrap_or_default());
                        self.state = State::Opening(self.server.play(&seat.ticket));
                        let is_first = self.seat.replace(seat).is_none();
                        if is_first {
                            return Poll::Ready(Ok(Some(Event::Joined(room))));
                        }
                    }
                    Err(ended) => return Poll::Ready(self.retry(ended)),
                },
                State::Opening(answer) => match ready!(answer.poll_unpin(cx)) {
                    Ok(link) => {
                        let ticket = self.seat.as_ref().map_or("", |seat| &seat.ticket);
                        self.session.open(ticket, Instant::now().into_std());
                        self.state = State::Live { link, sends: Sends::Open };
                    }
                    Err(ended) => return Poll::Ready(self.retry(ended)),
                },
                State::Live { .. } => {
                    let event = ready!(self.poll_live(cx));
                    return Poll::Ready(match event {
                        Ok(Some(event)) => Ok(Some(event)),
                        Ok(None) => self.handle_end(),
                        Err(ended) => self.retry(ended),
                    });
                }
            }
        }
    }

    /// Goes on with an attempt to get in, or back in.
    fn attempt(&mut self, rejoin: bool) -> State {
        match &self.seat {
            Some(seat) if !rejoin => State::Opening(self.server.play(&seat.ticket)),
            _ => {
                let mut request = self.request.clone();
                self.session.resume_token().clone_into(&mut request.resume_token);
                if !request.resume_token.is_empty() {
                    // Another question than the first: it wants a fresh ticket, not the first answer again.
                    request.request_id = format!("{:032x}", rand::random::<u128>());
                }
                State::Joining(self.server.join(request))
            }
        }
    }

    /// Writes, reads and keeps time. `None` is the stream's proper end.
    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Ended>> {
        loop {
            self.poll_send(cx);
            let State::Live { link, .. } = &mut self.state else {
                return Poll::Pending;
            };
            if self.reads
                && let Poll::Ready(message) = link.messages.poll_next_unpin(cx)
            {
                return Poll::Ready(match message {
                    None => Ok(None),
                    Some(Err(ended)) => Err(ended),
                    Some(Ok(message)) => self.handle_message(message).map(Some),
                });
            }
            match self.session.poll_timeout() {
                None => return Poll::Pending,
                Some(at) => {
                    let at = Instant::from_std(at);
                    if self.timer.deadline() != at {
                        self.timer.as_mut().reset(at);
                    }
                }
            }
            ready!(self.timer.poll_unpin(cx));
            let now = Instant::now().into_std();
            self.session.handle_timeout(now).map_err(Ended::timed_out)?;
        }
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
        self.alive_at = now;
        let event = self
            .session
            .handle_message(message.bytes, message.framing, now.into_std())
            .map_err(|violation| Ended::misbehaved(violation.to_string()))?;
        if matches!(event, Event::Welcomed { .. }) {
            self.attempts = 0;
        }
        Ok(event)
    }

    /// The server ended the stream with OK.
    fn handle_end(&mut self) -> Result<Option<Event>, Ended> {
        if self.session.has_left() {
            self.session.handle_closed();
            self.state = State::Over;
            return Ok(None);
        }
        self.retry(Ended::broken("the server ended the stream though nobody left"))
    }

    /// The stream, or an attempt at one, failed: try again later, or never.
    fn retry(&mut self, ended: Ended) -> Result<Option<Event>, Ended> {
        let was_open = self.session.is_open() || self.session.has_left();
        self.session.handle_closed();
        let gives_up = self.alive_at.elapsed() >= self.options.give_up_after;
        // A first seat may be waited for, but a refusal of it is final.
        let refused = self.seat.is_none() && ended.code == Code::Unauthenticated;
        if gives_up || refused || !ended.is_resumable() {
            self.state = State::Over;
            return Err(ended);
        }
        let doubled = self.options.retry_first * 2_u32.saturating_pow(self.attempts.min(16));
        let longest = doubled.min(self.options.retry_longest);
        // Full jitter: thousands that lost the same server must not come back in step.
        let wait = longest.mul_f64(rand::rng().random_range(0.0..1.0));
        // The ticket at hand leads to the same server. It is worth one attempt, when there was a stream.
        let rejoin = self.attempts > 0 || ended.code == Code::Unauthenticated;
        self.attempts += 1;
        self.wait(wait, rejoin);
        let event = if was_open { Event::Disconnected } else { Event::AttemptFailed };
        Ok(Some(event(ended)))
    }

    fn wait(&mut self, wait: Duration, rejoin: bool) {
        self.timer.as_mut().reset(Instant::now() + wait);
        self.state = State::Waiting { rejoin };
    }
}
