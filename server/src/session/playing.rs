//! A player's stream while it plays: one place where it waits for frames, for messages, and for what hardly ever happens.

use super::lobby::Lobby;
use super::message::{Incoming, Outgoing, Welcome};
use super::play::{Counted, Entry, Parse, end_reason, note};
use super::player::{PlayerStream, Step};
use super::{Error, Sessions};
use crate::replication::TickFrame;
use crate::room::{Attached, Handle, RoomId};
use crate::seldom::Seldom;
use crate::telemetry::metrics::labels::Door;
use crate::telemetry::traces::SessionTrace;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;

/// How many messages are read before the streams beside this one have their turn.
const MESSAGES_AT_ONCE_MAX: usize = 32;
/// What may wait to be written while the client takes nothing, beside the newest frame: answers to its own pings, of which it
/// then gets the newest.
const WAITING_MAX: usize = 4;

/// A stream that has its seat.
pub(super) struct Seat {
    pub(super) lobby: Arc<Lobby>,
    pub(super) entry: Entry,
    pub(super) room: Handle,
    pub(super) attached: Attached,
    pub(super) welcome: Welcome,
    pub(super) trace: Option<SessionTrace>,
}

/// All that it needs.
pub(super) struct Playing<I> {
    lobby: Arc<Lobby>,
    room: Handle,
    parse: Parse,
    player: PlayerStream,
    incoming: Seldom<I>,
    /// More messages may come.
    is_open: bool,
    /// Closed: the room has ended, if `None`.
    frames: Seldom<WatchStream<Arc<TickFrame>>>,
    /// The newest that was not looked at yet.
    frame: Option<Arc<TickFrame>>,
    /// Of the newest frame.
    tick: u32,
    tick_rate_hz: u32,
    news: Seldom<dyn Future<Output = (News, Watched)> + Send>,
    waiting: VecDeque<Outgoing>,
    /// How it ends once what waits is written.
    end: Option<Result<(), Error>>,
    life: Life,
    _counted: Counted,
}

impl<I> Playing<I>
where
    I: Stream<Item = Result<Bytes, Error>> + Unpin,
{
    pub(super) fn new(seat: Seat, incoming: I) -> Self {
        let Seat { lobby, entry, room, attached, welcome, trace } = seat;
        let sessions = lobby.sessions();
        sessions.metrics.streams.get_or_create(&Door { door: entry.door }).inc();
        if attached.resumed {
            sessions.metrics.resumes.inc();
        }
        let counted = Counted::new(&sessions.metrics.players);
        let life = Life::begin(&room, &attached, entry.door);
        let restored = welcome.restored.map(Outgoing::Restored);
        let waiting = [Outgoing::Welcome(Box::new(welcome))].into_iter().chain(restored).collect();
        let tick_rate_hz = sessions.rooms.settings().tick_rate_hz;
        let player = PlayerStream::new(
            attached,
            &sessions.limits,
            tick_rate_hz,
            Arc::clone(&sessions.metrics),
            Arc::clone(&sessions.traces),
            trace,
            Instant::now(),
        );
        let mut watched =
            Watched { frozen: room.frozen(), moving: room.moving(), is_frozen: false };
        if *watched.frozen.borrow() {
            watched.frozen.mark_changed();
        }
        let tick = room.frames().borrow().tick;
        Self {
            news: Seldom::new(listen(Arc::clone(sessions), watched)),
            frames: Seldom::new(Box::pin(WatchStream::new(room.frames()))),
            lobby,
            room,
            parse: entry.parse,
            player,
            incoming: Seldom::new(Box::pin(incoming)),
            is_open: true,
            frame: None,
            tick,
            tick_rate_hz,
            waiting,
            end: None,
            life,
            _counted: counted,
        }
    }

    /// What is to be written next; `None` after an end in order.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        may_write: bool,
    ) -> Poll<Option<Result<Outgoing, Error>>> {
        loop {
            if may_write && let Some(outgoing) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(outgoing)));
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(end.err().map(Err));
            }
            let step = match self.step(context, may_write) {
                Poll::Ready(step) => step,
                Poll::Pending => return Poll::Pending,
            };
            match step {
                Ok(Step::Wait) => {}
                Ok(Step::Report(trouble)) => self.room.report(trouble),
                Ok(Step::Write(outgoing)) if may_write => return Poll::Ready(Some(Ok(outgoing))),
                Ok(Step::Write(outgoing)) => {
                    if self.waiting.len() == WAITING_MAX {
                        self.waiting.pop_back();
                    }
                    self.waiting.push_back(outgoing);
                }
                Ok(Step::Finish(last)) => {
                    self.player.ends("OK");
                    self.life.reason = "LEFT";
                    self.waiting.extend(last);
                    self.end = Some(Ok(()));
                }
                Err(error) => {
                    self.player.ends(error.reason());
                    self.life.reason = error.reason();
                    self.end = Some(Err(note(self.lobby.sessions(), error)));
                }
            }
        }
    }

    fn step(&mut self, context: &mut Context<'_>, may_write: bool) -> Poll<Result<Step, Error>> {
        if may_write && let Poll::Ready((news, watched)) = self.news.poll_unpin(context) {
            let sessions = Arc::clone(self.lobby.sessions());
            self.news = Seldom::new(listen(sessions, watched));
            return Poll::Ready(self.on_news(news));
        }
        if let Poll::Ready(step) = self.poll_messages(context) {
            return Poll::Ready(step);
        }
        match self.frames.poll_next_unpin(context) {
            Poll::Ready(Some(frame)) => {
                self.tick = frame.tick;
                self.frame = Some(frame);
            }
            Poll::Ready(None) => return Poll::Ready(self.on_room_ended()),
            Poll::Pending => {}
        }
        if !may_write {
            // Nobody says that it looked: the room gives it up after a while.
            let is_abandoned = self.player.is_abandoned();
            return if is_abandoned { Poll::Ready(Err(Error::IdleTimeout)) } else { Poll::Pending };
        }
        match self.frame.take() {
            Some(frame) => Poll::Ready(self.on_frame(&frame)),
            None => Poll::Pending,
        }
    }

    fn poll_messages(&mut self, context: &mut Context<'_>) -> Poll<Result<Step, Error>> {
        for _ in 0..MESSAGES_AT_ONCE_MAX {
            if !self.is_open {
                return Poll::Pending;
            }
            let step = match self.incoming.poll_next_unpin(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(message)) => match message.and_then(self.parse) {
                    Ok(message) => {
                        self.is_open = message != Incoming::Leave;
                        self.player.on_message(message, Instant::now(), self.tick)
                    }
                    Err(error) => Err(error),
                },
                Poll::Ready(None) => {
                    self.is_open = false;
                    self.player.close();
                    Ok(Step::Wait)
                }
            };
            if !matches!(step, Ok(Step::Wait)) {
                return Poll::Ready(step);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn on_frame(&mut self, frame: &TickFrame) -> Result<Step, Error> {
        // Where the room has gone comes first: a server that ends drains as soon as its rooms are elsewhere.
        if self.lobby.sessions().is_draining() {
            if self.room.ending().is_some() {
                return self.on_room_ended();
            }
            self.waiting.push_back(Outgoing::ShuttingDown);
            return Err(Error::ShuttingDown);
        }
        let behind_ticks = u64::from(self.player.ticks_behind(frame.tick));
        let behind_ms = behind_ticks * 1000 / u64::from(self.tick_rate_hz);
        self.room.info().vitals.saw_staleness(behind_ms as u32);
        self.player.on_frame(frame, Instant::now())
    }

    fn on_room_ended(&mut self) -> Result<Step, Error> {
        let redirect = self.lobby.redirect(&self.room, self.player.player_id());
        self.waiting.extend(redirect.map(Outgoing::Redirect));
        Err(end_reason(&self.room))
    }

    fn on_news(&mut self, news: News) -> Result<Step, Error> {
        match news {
            News::Frozen(is_frozen) => Ok(Step::Write(Outgoing::Frozen(is_frozen))),
            News::Moving(true) => Ok(Step::Write(Outgoing::Moving)),
            News::Moving(false) => Ok(Step::Wait),
            News::Drained => {
                self.waiting.push_back(Outgoing::ShuttingDown);
                Err(Error::ShuttingDown)
            }
        }
    }
}

/// What hardly ever happens.
#[derive(Clone, Copy)]
enum News {
    /// The room stands still, or goes on.
    Frozen(bool),
    /// The room is about to move, or stays.
    Moving(bool),
    /// The server ends, and the room stands still: there is no frame at which to look.
    Drained,
}

/// Where it is heard.
struct Watched {
    frozen: watch::Receiver<bool>,
    moving: watch::Receiver<bool>,
    is_frozen: bool,
}

fn listen(sessions: Arc<Sessions>, watched: Watched) -> BoxFuture<'static, (News, Watched)> {
    Box::pin(async move {
        let mut watched = watched;
        let news = tokio::select! {
            () = sessions.drained(), if watched.is_frozen => News::Drained,
            Ok(()) = watched.frozen.changed() => {
                watched.is_frozen = *watched.frozen.borrow_and_update();
                News::Frozen(watched.is_frozen)
            }
            Ok(()) = watched.moving.changed() => News::Moving(*watched.moving.borrow_and_update()),
            // The room is gone: its frames say so.
            else => std::future::pending().await,
        };
        (news, watched)
    })
}

/// A player's stream, for the log: when it has its seat, and why it ends. At debug: its peer decides how often.
struct Life {
    room: RoomId,
    player: u32,
    generation: u32,
    reason: &'static str,
}

impl Life {
    fn begin(room: &Handle, attached: &Attached, door: &'static str) -> Self {
        let Attached { player, generation, resumed, tick, .. } = *attached;
        let room = room.info().id.clone();
        tracing::debug!(%room, player, generation, resumed, tick, door, "a player's stream opened");
        // Unless something else is said: nobody reads it any more.
        Self { room, player, generation, reason: "CANCELLED" }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let Self { room, player, generation, reason } = self;
        tracing::debug!(%room, player, generation, reason, "a player's stream ended");
    }
}
