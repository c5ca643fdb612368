//! A spectator in front of a room.

use crate::client::connection::{Action, Connection, Input, Random};
use crate::client::transport::{Answer, GrpcServer, Server as _};
use crate::client::{Config, Ended, Event, Session};
use fray_proto::v1::notice::Kind;
use fray_proto::v1::{self, join_request, play_response, watch_response};
use prost::Message as _;
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Streaming};

/// What gRPC puts before every message.
const PREFIX_BYTES: usize = 5;
/// A spectator that is later than this starts again.
const LATE_MAX: Duration = Duration::from_secs(2);
/// When a stream that was lost, or never came, is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// A spectator. It comes back when the stream breaks; like a [`Player`](crate::client::Player), it does everything in its
/// `next`, which may be cancelled.
pub struct Watcher {
    server: GrpcServer,
    /// What was asked for; the room may be whichever is fullest.
    wanted: v1::WatchRequest,
    /// Where it looks on, by the seat in front of it.
    request: v1::WatchRequest,
    connection: Connection,
    /// The connection's times count from here.
    origin: Instant,
    /// What a player's session would know, without moves.
    pub(super) session: Session,
    state: State,
}

enum State {
    New,
    Waiting,
    Joining(Answer<v1::JoinResponse>),
    Opening(Answer<Streaming<v1::WatchResponse>>),
    Open(Box<Streaming<v1::WatchResponse>>),
    Over(Option<Ended>),
}

/// What was waited for.
enum Happened {
    Joined(Result<v1::JoinResponse, Ended>),
    Opened(Result<Streaming<v1::WatchResponse>, Ended>),
    Came(Result<Option<v1::WatchResponse>, Ended>),
    Due,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Watcher {
    /// A spectator that opens its stream when it is first waited for.
    pub fn new(server: GrpcServer, request: v1::WatchRequest) -> Self {
        Self {
            server,
            wanted: request.clone(),
            request,
            connection: Connection::new(GIVE_UP_AFTER),
            origin: Instant::now(),
            session: Session::new(Config::default()),
            state: State::New,
        }
    }

    /// Looks at another player from now on.
    pub(super) fn follow(&mut self, player: u32) {
        self.wanted.player = player;
        self.wanted.room_id.clone_from(&self.request.room_id);
        self.restart();
    }

    pub(super) fn leave(&mut self) {
        self.state = State::Over(None);
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Another stream, on purpose: its failures are counted anew.
    fn restart(&mut self) {
        if !matches!(self.state, State::Over(_)) {
            self.connection = Connection::new(GIVE_UP_AFTER);
            self.state = State::New;
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Event>, Ended> {
        loop {
            match &mut self.state {
                State::Over(why) => return why.take().map_or(Ok(None), Err),
                State::New => self.tell(Input::Begin),
                _ => {}
            }
            match self.happening().await {
                Happened::Joined(Ok(seat)) => self.joined(&seat),
                // A server that knows no spectators' tickets needs none.
                Happened::Joined(Err(ended)) if ended.code == Code::Unimplemented => {
                    self.tell(Input::Joined { ticket: "", expires_in: Duration::ZERO });
                }
                Happened::Joined(Err(ended)) => {
                    self.tell(Input::Refused(&ended));
                    return self.failed(Event::AttemptFailed, ended);
                }
                Happened::Opened(Ok(stream)) => self.opened(stream),
                Happened::Came(Ok(Some(response))) => match self.handle(response) {
                    Ok(Some(event)) => return Ok(Some(event)),
                    Ok(None) => {}
                    Err(ended) => return self.ended(ended),
                },
                Happened::Came(Ok(None)) => {
                    let message = "the stream ended".to_owned();
                    let ended = Ended { code: Code::Ok, reason: String::new(), message };
                    return self.ended(ended);
                }
                Happened::Opened(Err(ended)) | Happened::Came(Err(ended)) => {
                    return self.ended(ended);
                }
                Happened::Due => {
                    let was_waiting = matches!(self.state, State::Waiting);
                    self.tell(Input::Timer);
                    if !was_waiting {
                        let late = Ended::timed_out("the server did not answer in time");
                        return self.failed(Event::AttemptFailed, late);
                    }
                }
            }
        }
    }

    /// Waits for what is under way; it goes on where it was if this is cancelled.
    async fn happening(&mut self) -> Happened {
        let deadline = self.connection.deadline_ms();
        let due = deadline.map(|ms| self.origin + Duration::from_millis(ms));
        let happened = async {
            match &mut self.state {
                State::Joining(answer) => Happened::Joined(answer.await),
                State::Opening(answer) => Happened::Opened(answer.await),
                State::Open(stream) => Happened::Came(stream.message().await.map_err(Into::into)),
                State::New | State::Waiting | State::Over(_) => pending().await,
            }
        };
        tokio::select! {
            happened = happened => happened,
            () = sleep_until(due.unwrap_or(self.origin)), if due.is_some() => Happened::Due,
        }
    }

    fn joined(&mut self, seat: &v1::JoinResponse) {
        let room = seat.room.as_ref().map_or("", |room| &room.room_id);
        if self.wanted.code.is_empty() && !room.is_empty() {
            // The ticket is for this room, whichever is the fullest by now.
            room.clone_into(&mut self.request.room_id);
        }
        let expires_in = Duration::from_secs(seat.expires_in_s.into());
        self.tell(Input::Joined { ticket: &seat.ticket, expires_in });
    }

    fn opened(&mut self, stream: Streaming<v1::WatchResponse>) {
        self.tell(Input::Opened);
        // It goes on with nothing but the newest epoch, below which no stream may be.
        self.session = Session::new(Config::default()).after(&self.session);
        self.session.open("");
        // Spectators have nothing to say: their greeting is the request.
        self.session.poll_request(Instant::now().into_std());
        self.state = State::Open(Box::new(stream));
    }

    fn handle(&mut self, response: v1::WatchResponse) -> Result<Option<Event>, Ended> {
        use play_response::Message;
        let now = Instant::now();
        let bytes = response.encoded_len() + PREFIX_BYTES;
        let message = match response.message {
            Some(watch_response::Message::Welcome(welcome)) => {
                self.tell(Input::of_welcome(&welcome));
                Message::Welcome(welcome)
            }
            Some(watch_response::Message::Update(update)) => Message::Update(update),
            Some(watch_response::Message::Notice(notice)) => {
                match notice.kind() {
                    Kind::RoomFrozen => self.tell(Input::Frozen(true)),
                    Kind::RoomResumed => self.tell(Input::Frozen(false)),
                    _ => {}
                }
                Message::Notice(notice)
            }
            None => return Ok(None),
        };
        let message = v1::PlayResponse { message: Some(message) };
        let event =
            self.session.handle_response(message, bytes, now.into_std()).map_err(Ended::from)?;
        let is_late = match &event {
            Event::Updated(update) => self
                .session
                .tick_line()
                .is_some_and(|line| line.lateness(update.tick, now.into_std()) > LATE_MAX),
            // A spectator cannot ask for keyframes; a new stream begins with them.
            Event::Broken { .. } => true,
            _ => false,
        };
        if is_late {
            self.restart();
        }
        Ok(Some(event))
    }

    fn ended(&mut self, ended: Ended) -> Result<Option<Event>, Ended> {
        let was_open = self.session.is_open();
        self.session.handle_closed();
        self.tell(Input::Ended(&ended));
        let event = match was_open {
            true if self.connection.is_moving() => Event::Moved,
            true => Event::Disconnected,
            false => Event::AttemptFailed,
        };
        self.failed(event, ended)
    }

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

    fn tell(&mut self, input: Input<'_>) {
        let now_ms = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.state = match self.connection.handle(now_ms, input, &mut Random) {
            Action::Nothing => return,
            Action::Wait => State::Waiting,
            Action::Join { request_id, .. } => {
                let room = match (&self.wanted.code, &self.wanted.room_id) {
                    (code, _) if !code.is_empty() => Some(join_request::Room::Code(code.clone())),
                    (_, id) if !id.is_empty() => Some(join_request::Room::RoomId(id.clone())),
                    _ => None,
                };
                let request =
                    v1::JoinRequest { request_id, room, spectate: true, ..Default::default() };
                State::Joining(self.server.join(request))
            }
            Action::Open { ticket } => {
                State::Opening(self.server.watch(self.request.clone(), &ticket))
            }
            Action::Over(why) => State::Over(why),
        };
    }
}
