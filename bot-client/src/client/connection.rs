//! The way to a server, and back to it: Join, Play, resume, rejoin.
//!
//! A machine without I/O and without a clock: what happened and the time go in, what to do comes out, and chance comes from
//! outside. `docs/CONNECTION.md` specifies it; `web/src/net/connection.ts` is the same machine, and both are tested by
//! `proto/connection/cases.json`.

mod verdict;

use super::Ended;
use fray_proto::v1;
use std::time::Duration;
use verdict::{ROOM_MOVED, Verdict};

/// How long a call of `Join` may take.
pub const JOIN_MS: u64 = 10_000;
/// How long a stream may take until it is open.
pub const CONNECT_MS: u64 = 5_000;
/// How long a stream may take until its `Welcome`, connecting included.
pub const WELCOME_MS: u64 = 10_000;
/// How long a ticket is tried whose streams fail without a reason.
const TICKET_MS: u64 = 5_000;
/// A stream that was good for so long ends a series of failures.
const STEADY_MS: u64 = 2_000;
/// The first pause between two attempts is below this; it doubles with each further one.
const PAUSE_MS_FIRST: u64 = 200;
/// … up to this.
const PAUSE_MS_LONGEST: u64 = 2_000;
/// The pause below which whoever is sent elsewhere goes there.
const HURRY_MS: u64 = 50;
/// The first pause while a room moves is below this; it doubles, too. Its players see the gap.
const MOVING_MS_FIRST: u64 = 50;
/// A stream that does not end by itself after its Redirect is left after this.
const FOLLOW_MS: u64 = 200;
/// The least ceiling of a pause after what happens to all players of a server at once.
const SPREAD_MS: u64 = 1_000;
/// The first pause of whoever is told that there is too much.
const BUSY_MS_FIRST: u64 = 1_000;
/// … and the longest.
const BUSY_MS_LONGEST: u64 = 10_000;
/// A room that is said to stand still is waited for at most so long, unless the grace period is longer.
const FROZEN_MS_MAX: u64 = 300_000;

/// The reason where nobody answered until it was of no use any more.
pub const UNREACHABLE: &str = "UNREACHABLE";

/// Where random numbers come from.
pub trait Chance {
    /// From 0 to 1, without 1.
    fn fraction(&mut self) -> f64;
    /// 16 random bytes as hex.
    fn request_id(&mut self) -> String;
}

/// The thread's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Chance for Random {
    fn fraction(&mut self) -> f64 {
        rand::random()
    }

    fn request_id(&mut self) -> String {
        format!("{:032x}", rand::random::<u128>())
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The player wants in.
    Begin,
    /// `Join` gave a seat.
    Joined {
        /// Opens the stream.
        ticket: &'a str,
        /// How long, from now; 0: not known.
        expires_in: Duration,
    },
    /// `Join` was refused, or failed.
    Refused(&'a Ended),
    /// The stream is open, but nothing came yet.
    Opened,
    /// `Welcome` came.
    Welcomed {
        /// Empty for spectators.
        resume_token: &'a str,
        /// How long a session outlives its stream.
        grace: Duration,
        /// After how long a silent client is taken for dead.
        idle_timeout: Duration,
    },
    /// The server says that the room stands still, or that it goes on.
    Frozen(bool),
    /// The server says that the room is on another server; the stream is about to end.
    Redirected {
        /// Opens a stream there; empty: none.
        ticket: &'a str,
        /// How long, from now; 0: not known.
        expires_in: Duration,
    },
    /// The stream ended though the player did not leave, or could not be opened.
    Ended(&'a Ended),
    /// The time of [`Connection::deadline_ms`] has come.
    Timer,
    /// The player has left, or does not wait any longer.
    Left,
}

impl<'a> Input<'a> {
    /// What a `Welcome` says of it.
    pub fn of_welcome(welcome: &'a v1::Welcome) -> Self {
        Self::Welcomed {
            resume_token: &welcome.resume_token,
            grace: Duration::from_millis(welcome.grace_ms.into()),
            idle_timeout: Duration::from_millis(welcome.idle_timeout_ms.into()),
        }
    }

    /// What a `Redirect` says of it.
    pub fn of_redirect(redirect: &'a v1::Redirect) -> Self {
        let expires_in = Duration::from_secs(redirect.expires_in_s.into());
        Self::Redirected { ticket: &redirect.ticket, expires_in }
    }
}

/// What to do. Everything but [`Action::Nothing`] also means: let go of the call or the stream that there was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on.
    Nothing,
    /// Call `Join`.
    Join {
        /// For this wish; the same when the call is repeated.
        request_id: String,
        /// Empty: a new session.
        resume_token: String,
    },
    /// Open a stream with this ticket, and with the resume token if there is one.
    Open {
        /// From `Join`.
        ticket: String,
    },
    /// Wait for [`Connection::deadline_ms`].
    Wait,
    /// It is over; `None`: the player left.
    Over(Option<Ended>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Joining { until_ms: u64 },
    Opening { until_ms: u64, welcome_until_ms: u64 },
    Playing { since_ms: u64 },
    Waiting { until_ms: u64 },
    Over,
}

#[derive(Clone, Debug)]
struct Ticket {
    text: String,
    expires_ms: Option<u64>,
    /// When a stream with it first failed.
    failed_ms: Option<u64>,
}

impl Ticket {
    fn new(now_ms: u64, text: &str, expires_in: Duration) -> Self {
        let expires_ms = (!expires_in.is_zero()).then(|| now_ms + ms(expires_in));
        Self { text: text.to_owned(), expires_ms, failed_ms: None }
    }
}

#[derive(Clone, Debug)]
struct Session {
    resume_token: String,
    /// How long after the loss of its stream the session may still be there: the server may notice as late as it gives up
    /// silent clients.
    kept_ms: u64,
    grace_ms: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Connection {
    first_ms: u64,
    state: State,
    ticket: Option<Ticket>,
    /// Takes its place when the stream ends, or at this time.
    redirect: Option<(Ticket, u64)>,
    session: Option<Session>,
    /// The id of the wish that is not fulfilled yet.
    request_id: Option<String>,
    /// Since when there is no stream.
    apart_since_ms: u64,
    /// From when the grace period counts: it does not while the room stands still.
    grace_from_ms: u64,
    is_frozen: bool,
    /// The stream was lost because the room moves.
    is_moving: bool,
    /// Somebody was sent elsewhere without a pause since the last stream that was good for a while.
    has_hurried: bool,
    failures: u32,
    last: Option<Verdict>,
}

impl Connection {
    /// A connection of which a first attempt is given up after `first`.
    pub fn new(first: Duration) -> Self {
        Self {
            first_ms: ms(first),
            state: State::Idle,
            ticket: None,
            redirect: None,
            session: None,
            request_id: None,
            apart_since_ms: 0,
            grace_from_ms: 0,
            is_frozen: false,
            is_moving: false,
            has_hurried: false,
            failures: 0,
            last: None,
        }
    }

    /// When to say [`Input::Timer`].
    pub fn deadline_ms(&self) -> Option<u64> {
        let until_ms = match self.state {
            State::Joining { until_ms }
            | State::Opening { until_ms, .. }
            | State::Waiting { until_ms } => Some(until_ms),
            State::Idle | State::Playing { .. } | State::Over => None,
        };
        let follow_ms = self.redirect.as_ref().map(|(_, until_ms)| *until_ms);
        [until_ms, follow_ms].into_iter().flatten().min()
    }

    /// While the stream is lost: until when the session is there for certain.
    pub fn grace_until_ms(&self) -> Option<u64> {
        let session = self.session.as_ref().filter(|_| self.is_apart())?;
        Some(self.grace_from_ms + session.grace_ms)
    }

    /// Whether the session's room is said to stand still.
    pub fn is_frozen(&self) -> bool {
        self.is_frozen && self.session.is_some() && self.state != State::Over
    }

    /// Whether the server has too much to do just now.
    pub fn is_busy(&self) -> bool {
        self.is_apart() && self.last == Some(Verdict::Busy)
    }

    /// Whether there is no stream because the room moves to another server; mostly that takes less than people notice.
    pub fn is_moving(&self) -> bool {
        self.is_apart() && self.is_moving
    }

    fn is_apart(&self) -> bool {
        !matches!(self.state, State::Playing { .. } | State::Over)
    }

    /// What is to be done about what happened. Times are milliseconds from any origin, and only grow.
    pub fn handle(&mut self, now_ms: u64, input: Input<'_>, chance: &mut impl Chance) -> Action {
        match (self.state, input) {
            (State::Over, _) => Action::Nothing,
            (_, Input::Left) => {
                self.state = State::Over;
                self.redirect = None;
                Action::Over(None)
            }
            (State::Idle, Input::Begin) => {
                self.apart_since_ms = now_ms;
                self.join(now_ms, chance)
            }
            (State::Joining { .. }, Input::Joined { ticket, expires_in }) => {
                self.joined(now_ms, ticket, expires_in)
            }
            (State::Joining { .. }, Input::Refused(ended)) => {
                let verdict = Verdict::of_refusal(ended, self.session.is_some());
                self.failed(now_ms, verdict, ended, chance)
            }
            (State::Joining { .. }, Input::Timer) => {
                let late = Ended::timed_out("no seat in time");
                self.failed(now_ms, Verdict::Again, &late, chance)
            }
            (State::Opening { welcome_until_ms, .. }, Input::Opened) => {
                self.state = State::Opening { until_ms: welcome_until_ms, welcome_until_ms };
                Action::Nothing
            }
            (State::Opening { .. }, Input::Welcomed { resume_token, grace, idle_timeout }) => {
                let (grace_ms, kept_ms) = (ms(grace), ms(grace.saturating_add(idle_timeout)));
                let resume_token = resume_token.to_owned();
                self.session = (!resume_token.is_empty()).then_some(Session {
                    resume_token,
                    kept_ms,
                    grace_ms,
                });
                self.request_id = None;
                self.is_frozen = false;
                self.is_moving = false;
                self.state = State::Playing { since_ms: now_ms };
                Action::Nothing
            }
            (
                State::Opening { .. } | State::Playing { .. },
                Input::Redirected { ticket, expires_in },
            ) => {
                let ticket = (!ticket.is_empty()).then(|| Ticket::new(now_ms, ticket, expires_in));
                self.redirect = ticket.map(|ticket| (ticket, now_ms + FOLLOW_MS));
                self.is_frozen = false;
                Action::Nothing
            }
            (State::Playing { .. }, Input::Frozen(is_frozen)) => {
                self.is_frozen = is_frozen;
                Action::Nothing
            }
            (State::Opening { .. } | State::Playing { .. }, Input::Ended(ended)) => {
                self.ended(now_ms, ended, chance)
            }
            (State::Opening { .. }, Input::Timer) => {
                self.ended(now_ms, &Ended::timed_out("no Welcome in time"), chance)
            }
            (State::Playing { .. }, Input::Timer) if self.redirect.is_some() => {
                self.ended(now_ms, &Ended::timed_out("no end after a Redirect"), chance)
            }
            (State::Waiting { .. }, Input::Timer) => self.attempt(now_ms, chance),
            // Of a call or a stream that is not waited for any more.
            _ => Action::Nothing,
        }
    }

    /// With the ticket at hand, or another one.
    fn attempt(&mut self, now_ms: u64, chance: &mut impl Chance) -> Action {
        match self.usable_ticket(now_ms) {
            Some(ticket) => self.open(now_ms, ticket),
            None => self.join(now_ms, chance),
        }
    }

    fn join(&mut self, now_ms: u64, chance: &mut impl Chance) -> Action {
        self.state = State::Joining { until_ms: now_ms + JOIN_MS };
        let request_id = self.request_id.get_or_insert_with(|| chance.request_id()).clone();
        let resume_token = self.session.as_ref().map(|session| session.resume_token.clone());
        Action::Join { request_id, resume_token: resume_token.unwrap_or_default() }
    }

    fn joined(&mut self, now_ms: u64, ticket: &str, expires_in: Duration) -> Action {
        self.ticket = Some(Ticket::new(now_ms, ticket, expires_in));
        self.is_frozen = false;
        if self.session.is_some() {
            // A further ticket for it is another wish. Without a session the wish is a seat, and that waits for its player.
            self.request_id = None;
        }
        self.open(now_ms, ticket.to_owned())
    }

    fn open(&mut self, now_ms: u64, ticket: String) -> Action {
        self.state =
            State::Opening { until_ms: now_ms + CONNECT_MS, welcome_until_ms: now_ms + WELCOME_MS };
        Action::Open { ticket }
    }

    /// The ticket at hand, if a stream may be tried with it.
    fn usable_ticket(&self, now_ms: u64) -> Option<String> {
        let ticket = self.ticket.as_ref()?;
        let is_fresh = ticket.expires_ms.is_none_or(|at| now_ms < at);
        let is_worth_it = ticket.failed_ms.is_none_or(|at| now_ms < at + TICKET_MS);
        (is_fresh && is_worth_it).then(|| ticket.text.clone())
    }

    /// The stream is gone, or never came.
    fn ended(&mut self, now_ms: u64, ended: &Ended, chance: &mut impl Chance) -> Action {
        if let State::Playing { since_ms } = self.state {
            self.apart_since_ms = now_ms;
            self.grace_from_ms = now_ms;
            if now_ms - since_ms >= STEADY_MS {
                self.failures = 0;
                self.has_hurried = false;
                self.last = None;
            }
            if let Some(ticket) = &mut self.ticket {
                ticket.failed_ms = None;
            }
        }
        let verdict = Verdict::of_stream(ended, self.session.is_some());
        let redirect = self.redirect.take();
        self.is_moving |= redirect.is_some() || ended.reason == ROOM_MOVED;
        if let Some((ticket, _)) = redirect.filter(|_| verdict != Verdict::Over) {
            self.ticket = Some(ticket);
            return self.follow(now_ms, ended, chance);
        }
        match (verdict, &mut self.ticket) {
            (Verdict::Elsewhere | Verdict::Spread, ticket) => *ticket = None,
            (_, Some(ticket)) => {
                ticket.failed_ms.get_or_insert(now_ms);
            }
            (_, None) => {}
        }
        self.failed(now_ms, verdict, ended, chance)
    }

    /// However the stream ended: the room is elsewhere, and its players go there at once. Whoever is sent on before a stream
    /// was good for a while takes a pause: servers may not agree where the room is.
    fn follow(&mut self, now_ms: u64, ended: &Ended, chance: &mut impl Chance) -> Action {
        if self.has_hurried || now_ms >= self.give_up_ms() {
            return self.failed(now_ms, Verdict::Again, ended, chance);
        }
        self.has_hurried = true;
        self.last = None;
        self.attempt(now_ms, chance)
    }

    fn failed(
        &mut self,
        now_ms: u64,
        verdict: Verdict,
        ended: &Ended,
        chance: &mut impl Chance,
    ) -> Action {
        if verdict == Verdict::Over {
            self.state = State::Over;
            return Action::Over(Some(ended.clone()));
        }
        match ended.reason.as_str() {
            // Nothing of the server's own.
            "" => {}
            reason => self.is_frozen = verdict::STANDS_STILL.contains(&reason),
        }
        if self.is_frozen {
            self.grace_from_ms = now_ms;
        }
        let give_up_ms = self.give_up_ms();
        if now_ms >= give_up_ms {
            self.state = State::Over;
            let reason = UNREACHABLE.to_owned();
            return Action::Over(Some(Ended { reason, ..ended.clone() }));
        }
        let pause_ms = self.pause_ms(verdict, chance);
        self.last = Some(verdict);
        // The last attempt is at the very end.
        self.state = State::Waiting { until_ms: give_up_ms.min(now_ms + pause_ms) };
        Action::Wait
    }

    fn give_up_ms(&self) -> u64 {
        match &self.session {
            None => self.apart_since_ms + self.first_ms,
            Some(session) => {
                let kept_until_ms = self.apart_since_ms + session.kept_ms;
                let frozen_until_ms = self.grace_from_ms + session.kept_ms;
                kept_until_ms.max(frozen_until_ms.min(self.apart_since_ms + FROZEN_MS_MAX))
            }
        }
    }

    /// Thousands that lost the same server must not come back in step, and nobody may be in a loop without a pause.
    fn pause_ms(&mut self, verdict: Verdict, chance: &mut impl Chance) -> u64 {
        let fraction = chance.fraction();
        let between = |low: u64, high: u64| low + (fraction * (high - low) as f64) as u64;
        if verdict == Verdict::Elsewhere && !self.has_hurried {
            self.has_hurried = true;
            return between(0, HURRY_MS);
        }
        let doubled = |first: u64, longest: u64| longest.min(first << self.failures.min(16));
        let is_first = self.failures == 0;
        let (low, high) = match verdict {
            Verdict::Busy => {
                let high = doubled(BUSY_MS_FIRST, BUSY_MS_LONGEST);
                (high / 4, high)
            }
            Verdict::Again | Verdict::Elsewhere if self.is_moving => {
                let high = doubled(MOVING_MS_FIRST, PAUSE_MS_LONGEST);
                (high / 2, high)
            }
            _ => {
                let spread = if verdict == Verdict::Spread { SPREAD_MS } else { 0 };
                let high = doubled(PAUSE_MS_FIRST, PAUSE_MS_LONGEST).max(spread);
                (if is_first { 0 } else { high / 4 }, high)
            }
        };
        self.failures = self.failures.saturating_add(1);
        between(low, high)
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(u64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
