//! Streams, whatever door they came by, from their first message on: where a player's room is, and whose seat it is.
//! `playing.rs` goes on from there.

use super::directory::{Held, Method, RoomRecord, ServerRecord};
use super::lobby::{JoinSpec, Lobby, RoomChoice};
use super::message::{Hello, Incoming, Outgoing, Welcome, WelcomePlayer};
use super::placing::Place;
use super::playing::{Playing, Seat};
use super::relay::relay;
use super::requests::read_always;
use super::token::ResumeToken;
use super::{Error, Sessions};
use crate::replication::Splicer;
use crate::room::handle::Claim;
use crate::room::{Attached, Ending, Handle, RoomId, RoomInfo};
use crate::telemetry::metrics::labels::Door;
use crate::telemetry::traces::{Peer, names};
use crate::turn::Turn;
use async_stream::stream;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use prometheus_client::metrics::gauge::Gauge;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument as _, Span, field};

/// Spectators get at most this many updates a second: they have no way to say that they cannot keep up.
const WATCH_UPDATES_PER_S_MAX: u32 = 5;

/// How a stream came in.
#[derive(Clone)]
pub struct Entry {
    /// "grpc" or "websocket".
    pub door: &'static str,
    /// What came with the request itself.
    pub ticket: Option<String>,
    /// The span of the client's that opens it.
    pub trace: Peer,
    /// Another server has carried it here: it goes no further.
    pub passed_on: bool,
    /// What the client's bytes say.
    pub parse: Parse,
}

/// Parses a client's message.
pub type Parse = fn(Bytes) -> Result<Incoming, Error>;

/// A player's stream: from Hello to the status that ends it. Ending without an error is ending with OK.
pub fn play<I>(lobby: Arc<Lobby>, entry: Entry, incoming: I) -> Play<I>
where
    I: Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static,
{
    let token = lobby.sessions().streams.token();
    let tasks = lobby.sessions().readers.clone();
    let patience = lobby.sessions().limits.idle_timeout;
    let opening = async move {
        let mut incoming = incoming;
        let span = opening(lobby.sessions(), &entry);
        let opened = open(&lobby, &entry, &mut incoming).instrument(span.clone()).await;
        let sessions = lobby.sessions();
        match opened {
            Ok(Opened::Here(opened)) => {
                let (room, attached, welcome) = *opened;
                opened_as(sessions, &span, &room, &attached);
                let trace = sessions.traces.session(&span);
                let seat = Seat { lobby, entry, room, attached, welcome, trace };
                Ok(Begun::Here(Box::new(Playing::new(seat, incoming))))
            }
            Ok(Opened::There { server, ticket, first }) => {
                let sessions = Arc::clone(sessions);
                let entry = Entry { ticket, ..entry };
                // What comes is read even while nothing that comes back can be written.
                let incoming = read_always(incoming, &sessions.readers);
                let carried = relay(sessions, server, Method::Play, entry, first, incoming);
                Ok(Begun::There(carried.map(|message| message.map(Outgoing::Passed)).boxed()))
            }
            Err(error) => {
                span.record(names::REASON, error.reason());
                Err(note(sessions, error))
            }
        }
    };
    // A task of its own: to verify a ticket takes as long as an update for a hundred players.
    let opening = AbortOnDropHandle::new(tasks.spawn(opening));
    Play { state: State::Opening(opening), patience, stalled: None, _open: token }
}

/// See [`play`].
pub struct Play<I> {
    state: State<I>,
    /// How long a client may take nothing of what another server says.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    _open: TaskTrackerToken,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of this kind, and are looked at at each tick"
)]
enum State<I> {
    Opening(AbortOnDropHandle<Result<Begun<I>, Error>>),
    Playing(Playing<I>),
    /// The room plays on another server.
    Elsewhere(BoxStream<'static, Result<Outgoing, Error>>),
    Over,
}

/// What comes of opening a stream.
enum Begun<I> {
    Here(Box<Playing<I>>),
    There(BoxStream<'static, Result<Outgoing, Error>>),
}

impl<I> Play<I>
where
    I: Stream<Item = Result<Bytes, Error>> + Unpin,
{
    /// What brings the messages, while the stream plays here.
    pub fn incoming(&self) -> Option<&I> {
        match &self.state {
            State::Playing(playing) => Some(playing.incoming()),
            State::Opening(_) | State::Elsewhere(_) | State::Over => None,
        }
    }

    /// What is to be written next. While `may_write` is false there is nothing, but what the client sends is still read; the
    /// stream may end all the same.
    pub fn poll_next_if(
        &mut self,
        turn: &mut Turn<'_>,
        may_write: bool,
    ) -> Poll<Option<Result<Outgoing, Error>>> {
        loop {
            let item = match &mut self.state {
                State::Opening(opening) => match ready!(opening.poll_unpin(&mut turn.context)) {
                    Ok(Ok(Begun::Here(playing))) => {
                        self.state = State::Playing(*playing);
                        continue;
                    }
                    Ok(Ok(Begun::There(carried))) => {
                        self.state = State::Elsewhere(carried);
                        continue;
                    }
                    Ok(Err(error)) => Some(Err(error)),
                    Err(failed) => {
                        tracing::error!(%failed, task = "opening", "a task panicked");
                        Some(Err(Error::Internal))
                    }
                },
                State::Playing(playing) => ready!(playing.poll(turn, may_write)),
                // That its room gives it up would be heard only once it takes what comes before.
                State::Elsewhere(_) if !may_write => {
                    let patience = self.patience;
                    let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
                    ready!(stalled.poll_unpin(&mut turn.context));
                    Some(Err(Error::IdleTimeout))
                }
                State::Elsewhere(carried) => {
                    self.stalled = None;
                    ready!(carried.poll_next_unpin(&mut turn.context))
                }
                State::Over => None,
            };
            if !matches!(item, Some(Ok(_))) {
                self.state = State::Over;
            }
            return Poll::Ready(item);
        }
    }
}

impl<I> Stream for Play<I>
where
    I: Stream<Item = Result<Bytes, Error>> + Unpin,
{
    type Item = Result<Outgoing, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Outgoing, Error>>> {
        self.poll_next_if(&mut Turn::whole(context), true)
    }
}

/// The span of a stream's beginning, from its first message to its Welcome.
fn opening(sessions: &Sessions, entry: &Entry) -> Span {
    if entry.trace == Peer::Unsampled {
        return Span::none();
    }
    let span = tracing::info_span!(
        "stream",
        otel.name = names::SESSION_JOIN,
        otel.kind = "server",
        fray.door = entry.door,
        fray.room = field::Empty,
        fray.player = field::Empty,
        fray.reason = field::Empty,
    );
    sessions.traces.adopt(&span, entry.trace);
    span
}

fn opened_as(sessions: &Sessions, span: &Span, room: &Handle, attached: &Attached) {
    span.record(names::ROOM, field::display(&room.info().id));
    span.record(names::PLAYER, attached.player);
    if attached.took_over {
        sessions.traces.rename(span, names::SESSION_TAKEOVER);
    } else if attached.resumed {
        sessions.traces.rename(span, names::SESSION_RESUME);
    }
}

/// A stream that looks back at a room which plays on another server.
pub fn watch_elsewhere(
    lobby: Arc<Lobby>,
    entry: Entry,
    request: Bytes,
    room: String,
) -> impl Stream<Item = Result<Outgoing, Error>> + Send + 'static {
    stream! {
        let sessions = Arc::clone(lobby.sessions());
        let _open = sessions.streams.token();
        let place = match RoomId::parse(&room) {
            Some(room) => lobby.whereabouts(&room).await,
            None => Err(Error::RecordingNotFound),
        };
        let server = match place {
            Ok(Place::There(server, _)) if sessions.fleet.relays => server,
            // It has come here meanwhile, or may not be reached from here: the client asks again.
            Ok(_) => {
                yield Err(note(&sessions, Error::WrongServer { room }));
                return;
            }
            Err(error) => {
                yield Err(note(&sessions, error));
                return;
            }
        };
        let nothing_more = futures_util::stream::empty();
        let mut carried =
            pin!(relay(Arc::clone(&sessions), server, Method::Watch, entry, request, nothing_more));
        while let Some(message) = carried.next().await {
            yield message.map(Outgoing::Passed);
        }
    }
}

/// A spectator's stream; `request` is what it asked for, as it came.
pub fn watch(
    lobby: Arc<Lobby>,
    entry: Entry,
    request: Bytes,
    room: RoomChoice,
    followed_player: u32,
) -> impl Stream<Item = Result<Outgoing, Error>> + Send + 'static {
    stream! {
        let sessions = Arc::clone(lobby.sessions());
        let _open = sessions.streams.token();
        let room = match lobby.find(&room).await {
            Ok(Place::Here(room)) => room,
            Ok(Place::There(_, held)) if entry.passed_on || !sessions.fleet.relays => {
                let room = held.record.room.to_string();
                yield Err(note(&sessions, Error::WrongServer { room }));
                return;
            }
            Ok(Place::There(server, _)) => {
                let nothing_more = futures_util::stream::empty();
                let carried = relay(Arc::clone(&sessions), server, Method::Watch, entry, request, nothing_more);
                let mut carried = pin!(carried);
                while let Some(message) = carried.next().await {
                    yield message.map(Outgoing::Passed);
                }
                return;
            }
            Err(error) => {
                yield Err(note(&sessions, error));
                return;
            }
        };
        sessions.metrics.streams.get_or_create(&Door { door: "watch" }).inc();
        let _counted = Counted::new(&sessions.metrics.spectators);
        yield Ok(Outgoing::Welcome(Box::new(welcome(&sessions, &room, None))));

        let pause_ticks = sessions.rooms.settings().tick_rate_hz.div_ceil(WATCH_UPDATES_PER_S_MAX);
        let mut frozen = room.frozen();
        let mut is_frozen = false;
        if *frozen.borrow() {
            frozen.mark_changed();
        }
        let mut splicer = Splicer::default();
        let mut frames = room.frames();
        frames.mark_changed();
        loop {
            let changed = tokio::select! {
                changed = frames.changed() => changed,
                () = sessions.drained(), if is_frozen => Ok(()),
                // What stands still is looked at again.
                Ok(()) = frozen.changed() => {
                    is_frozen = *frozen.borrow_and_update();
                    yield Ok(Outgoing::Frozen(is_frozen));
                    continue;
                }
            };
            if changed.is_err() {
                yield Err(note(&sessions, end_reason(&room)));
                return;
            }
            if sessions.is_draining() {
                yield Ok(Outgoing::ShuttingDown);
                yield Err(note(&sessions, Error::ShuttingDown));
                return;
            }
            let frame = Arc::clone(&frames.borrow_and_update());
            if splicer.base() != 0 && frame.tick < splicer.base() + pause_ticks {
                continue;
            }
            let view = frame.player(followed_player).map_or(frame.spectator_view, |player| player.view);
            if let Some(update) = splicer.update(&frame, None, view) {
                sessions.metrics.updates.inc();
                sessions.metrics.update_bytes.inc_by(update.len() as u64);
                let cells = splicer.take_counts();
                sessions.metrics.cells_spliced(cells.encoded_bytes, cells.spliced_bytes);
                yield Ok(Outgoing::Update(update));
            }
        }
    }
}

/// Where a stream goes on.
enum Opened {
    Here(Box<(Handle, Attached, Welcome)>),
    There {
        server: Arc<ServerRecord>,
        ticket: Option<String>,
        /// The client's first message.
        first: Bytes,
    },
}

async fn open(
    lobby: &Lobby,
    entry: &Entry,
    incoming: &mut (impl Stream<Item = Result<Bytes, Error>> + Unpin),
) -> Result<Opened, Error> {
    let sessions = lobby.sessions();
    let first = timeout(sessions.limits.hello_timeout, incoming.next()).await;
    let first = first.map_err(|_| Error::HelloTimeout)?.ok_or(Error::HelloExpected)??;
    let Incoming::Hello(hello) = (entry.parse)(first.clone())? else {
        return Err(Error::HelloExpected);
    };
    if hello.protocol_version != fray_proto::PROTOCOL_VERSION {
        return Err(Error::ProtocolUnsupported(hello.protocol_version));
    }
    if sessions.is_draining() {
        return Err(Error::ShuttingDown);
    }
    let (room, claim, token, was_here_in) = match claim(lobby, entry, hello).await? {
        Claimed::Here { room, claim, token, was_here_in } => (room, claim, token, was_here_in),
        Claimed::There(server, ticket) => return Ok(Opened::There { server, ticket, first }),
    };
    let attached = room.attach(claim).await?;
    let player = WelcomePlayer {
        player_id: attached.player_id.clone(),
        player: attached.player,
        entity: attached.entity,
        ack: attached.ack,
        resume_token: token.reveal(),
        resumed: attached.resumed,
    };
    let restored = was_here_in.and_then(|epoch| room.info().restored_since(epoch));
    let restored = restored.filter(|_| attached.resumed);
    let welcome = Welcome { restored, ..welcome(sessions, &room, Some(player)) };
    Ok(Opened::Here(Box::new((room, attached, welcome))))
}

/// By what a stream has a seat, and where.
enum Claimed {
    Here {
        room: Handle,
        claim: Claim,
        /// For the next time.
        token: ResumeToken,
        /// The room's epoch at the last Welcome; `None`: nothing depends on what was before.
        was_here_in: Option<u64>,
    },
    There(Arc<ServerRecord>, Option<String>),
}

/// A resume token, a ticket, or a guest's wish.
async fn claim(lobby: &Lobby, entry: &Entry, hello: Hello) -> Result<Claimed, Error> {
    let sessions = lobby.sessions();
    let ticket = hello.ticket.or_else(|| entry.ticket.clone());
    if let Some(token) = &hello.resume_token {
        let token = ResumeToken::parse(token).ok_or(Error::SessionNotFound)?;
        let place = lobby.whereabouts(&token.room).await.map_err(|error| match error {
            Error::RoomNotFound => Error::SessionNotFound,
            other => other,
        })?;
        return match place {
            Place::Here(room) if room.info().epoch < token.epoch => Err(Error::OwnerUnreachable),
            Place::Here(room) => {
                let was_here_in = Some(token.epoch);
                let token = token.in_epoch(room.info().epoch);
                Ok(Claimed::Here { room, claim: Claim::Token(token.hash()), token, was_here_in })
            }
            Place::There(server, held) => carried(sessions, entry, server, &held, ticket),
        };
    }
    let (room, player_id, ticket) = if let Some(ticket) = ticket {
        let (player_id, room): (String, RoomId) = sessions.keys.verify(&ticket)?;
        if player_id.is_empty() {
            return Err(Error::TicketInvalid("it is for looking on only"));
        }
        (room, player_id, ticket)
    } else if sessions.limits.allow_guests {
        let room = hello.room_id.map_or(RoomChoice::Any, RoomChoice::Id);
        let player_name = hello.player_name;
        let passed_on = entry.passed_on;
        let spec = JoinSpec { player_name, room, passed_on, ..JoinSpec::default() };
        let seat = lobby.join(spec).await?;
        (seat.room.id, seat.player_id, seat.ticket)
    } else {
        return Err(Error::TicketMissing);
    };
    match lobby.whereabouts(&room).await? {
        Place::There(server, held) => carried(sessions, entry, server, &held, Some(ticket)),
        Place::Here(room) => {
            let RoomInfo { id, epoch, .. } = room.info().as_ref();
            let token = ResumeToken::of(&sessions.token_key, id.clone(), *epoch, &player_id);
            let claim = Claim::Ticket { player_id, token_hash: token.hash() };
            Ok(Claimed::Here { room, claim, token, was_here_in: None })
        }
    }
}

/// A stream may go on to another server, once.
fn carried(
    sessions: &Sessions,
    entry: &Entry,
    server: Arc<ServerRecord>,
    held: &Held<RoomRecord>,
    ticket: Option<String>,
) -> Result<Claimed, Error> {
    if entry.passed_on || !sessions.fleet.relays {
        return Err(Error::WrongServer { room: held.record.room.to_string() });
    }
    Ok(Claimed::There(server, ticket))
}

fn welcome(sessions: &Sessions, room: &Handle, player: Option<WelcomePlayer>) -> Welcome {
    let frame = Arc::clone(&room.frames().borrow());
    let settings = sessions.rooms.settings();
    Welcome {
        room: Arc::clone(room.info()),
        epoch: room.info().epoch,
        first_tick: room.info().first_tick,
        tick_rate_hz: settings.tick_rate_hz,
        world: frame.grid().world,
        motions: frame.grid().motions.clone(),
        staleness_window_ms: ms(sessions.limits.staleness_window),
        heartbeat_ms: ms(sessions.limits.heartbeat),
        idle_timeout_ms: ms(sessions.limits.idle_timeout),
        grace_ms: ms(settings.grace),
        restored: None,
        server: sessions.server_name.clone(),
        release: sessions.fleet.release.clone(),
        player,
    }
}

pub(super) fn ms(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

pub(super) fn end_reason(room: &Handle) -> Error {
    match room.ending() {
        Some(Ending::Over | Ending::Closed) => Error::RoomEnded,
        Some(Ending::Disowned) => Error::LeaseLost,
        Some(Ending::Moved) => Error::RoomMoved,
        Some(Ending::Parked(why)) => Error::Parked(why),
        None => Error::RoomFailed,
    }
}

/// Counts a refusal, once, on its way out.
pub(super) fn note(sessions: &Sessions, error: Error) -> Error {
    sessions.metrics.refused(error.reason());
    tracing::debug!(reason = error.reason(), %error, "a stream is refused or ends with an error");
    error
}

/// One more for as long as this lives.
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio_util::task::TaskTracker;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_of_what_is_carried_is_given_up_and_one_that_does_is_not() {
        let patience = Duration::from_secs(15);
        let carried = futures_util::stream::pending::<Result<Outgoing, Error>>().boxed();
        let mut play = Play::<futures_util::stream::Empty<Result<Bytes, Error>>> {
            state: State::Elsewhere(carried),
            patience,
            stalled: None,
            _open: TaskTracker::new().token(),
        };
        let mut looks_after = async |seconds, may_write| {
            sleep(Duration::from_secs(seconds)).await;
            let context = Context::from_waker(Waker::noop());
            play.poll_next_if(&mut Turn::whole(&context), may_write)
        };
        assert!(looks_after(0, false).await.is_pending());
        assert!(looks_after(14, false).await.is_pending());
        assert!(looks_after(0, true).await.is_pending(), "it takes something");
        assert!(looks_after(14, false).await.is_pending());
        assert!(looks_after(14, false).await.is_pending());
        let ended = looks_after(2, false).await;
        assert!(matches!(ended, Poll::Ready(Some(Err(Error::IdleTimeout)))));
    }
}
