//! Playing, looking on and recordings, as one thing to wait for.

use crate::client::{Config, Controls, Ended, Event, Player, SendError, Session};
use crate::replay::Playback;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::{self, play_response, watch_response};
use prost::Message as _;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// What gRPC puts before every message.
const PREFIX_BYTES: usize = 5;
/// A spectator that is later than this starts again.
const LATE_MAX: Duration = Duration::from_secs(2);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(700);
/// So long without an answer is the end.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// Where one sits.
#[derive(Debug)]
pub enum Seat {
    /// In a ship.
    Player(Box<Player>),
    /// In front of it.
    Watcher(Box<Watcher>),
    /// In front of what has been.
    Recording(Box<Playback>),
}

impl Seat {
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Ended> {
        match self {
            Self::Player(player) => player.next().await,
            Self::Watcher(watcher) => watcher.next().await,
            Self::Recording(playback) => playback.next().await,
        }
    }

    pub(super) fn session(&self) -> &Session {
        match self {
            Self::Player(player) => player.session(),
            Self::Watcher(watcher) => &watcher.session,
            Self::Recording(playback) => &playback.session,
        }
    }

    pub(super) fn session_mut(&mut self) -> &mut Session {
        match self {
            Self::Player(player) => player.session_mut(),
            Self::Watcher(watcher) => &mut watcher.session,
            Self::Recording(playback) => &mut playback.session,
        }
    }

    /// Spectators have no controls.
    pub(super) fn steer(&mut self, controls: Controls) -> Result<(), SendError> {
        match self {
            Self::Player(player) => player.steer(controls).map(|_| ()),
            Self::Watcher(_) | Self::Recording(_) => Ok(()),
        }
    }

    /// Leaves gracefully: wait for the end of [`Seat::next`].
    pub(super) fn leave(&mut self) {
        match self {
            Self::Player(player) => player.leave(),
            Self::Watcher(watcher) => watcher.state = State::Over,
            Self::Recording(playback) => playback.leave(),
        }
    }

    /// What the picture takes for the time: a recording can stand still.
    pub(super) fn time(&self, now: Instant) -> std::time::Instant {
        match self {
            Self::Player(_) | Self::Watcher(_) => now.into_std(),
            Self::Recording(playback) => playback.time(now),
        }
    }
}

/// A spectator. It comes back when the stream breaks; like a [`Player`], it does everything in its `next`, which may be
/// cancelled.
#[derive(Debug)]
pub struct Watcher {
    client: PlayClient<Channel>,
    request: v1::WatchRequest,
    /// What a player's session would know, without moves.
    session: Session,
    state: State,
    alive_at: Instant,
}

#[derive(Debug)]
enum State {
    Waiting(Instant),
    Open(Box<Streaming<v1::WatchResponse>>),
    Over,
}

impl Watcher {
    /// A spectator that opens its stream when it is first waited for.
    pub fn new(channel: Channel, request: v1::WatchRequest) -> Self {
        let now = Instant::now();
        Self {
            client: PlayClient::new(channel),
            request,
            session: Session::new(Config::default()),
            state: State::Waiting(now),
            alive_at: now,
        }
    }

    /// Looks at another player from now on.
    pub(super) fn follow(&mut self, player: u32) {
        if !matches!(self.state, State::Over) {
            self.request.player = player;
            self.state = State::Waiting(Instant::now());
        }
    }

    async fn next(&mut self) -> Result<Option<Event>, Ended> {
        loop {
            match &mut self.state {
                State::Over => return Ok(None),
                State::Waiting(until) => {
                    sleep_until(*until).await;
                    match self.client.watch(self.request.clone()).await {
                        Ok(response) => self.opened(response.into_inner()),
                        Err(status) => return self.retry(status.into(), Event::AttemptFailed),
                    }
                }
                State::Open(stream) => match stream.message().await {
                    Ok(Some(response)) => {
                        if let Some(event) = self.handle(response)? {
                            return Ok(Some(event));
                        }
                    }
                    Ok(None) => return Err(Status::new(Code::Aborted, "the stream ended").into()),
                    Err(status) => return self.retry(status.into(), Event::Disconnected),
                },
            }
        }
    }

    fn opened(&mut self, stream: Streaming<v1::WatchResponse>) {
        let now = Instant::now().into_std();
        self.session = Session::new(Config::default());
        self.session.open("", now);
        // Spectators have nothing to say: their greeting is the request.
        self.session.poll_request(now);
        self.state = State::Open(Box::new(stream));
    }

    fn handle(&mut self, response: v1::WatchResponse) -> Result<Option<Event>, Ended> {
        use play_response::Message;
        let now = Instant::now();
        self.alive_at = now;
        let bytes = response.encoded_len() + PREFIX_BYTES;
        let message = match response.message {
            Some(watch_response::Message::Welcome(welcome)) => Message::Welcome(welcome),
            Some(watch_response::Message::Update(update)) => Message::Update(update),
            Some(watch_response::Message::Notice(notice)) => Message::Notice(notice),
            None => return Ok(None),
        };
        let message = v1::PlayResponse { message: Some(message) };
        let event = self
            .session
            .handle_response(message, bytes, now.into_std())
            .map_err(|violation| Ended::misbehaved(violation.to_string()))?;
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
            self.state = State::Waiting(now);
        }
        Ok(Some(event))
    }

    fn retry(
        &mut self,
        ended: Ended,
        event: impl FnOnce(Ended) -> Event,
    ) -> Result<Option<Event>, Ended> {
        if !ended.is_resumable() || self.alive_at.elapsed() > GIVE_UP_AFTER {
            self.state = State::Over;
            return Err(ended);
        }
        self.session.handle_closed();
        self.state = State::Waiting(Instant::now() + RETRY);
        Ok(Some(event(ended)))
    }
}
