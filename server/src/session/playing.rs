//! A player's stream while it plays: one place where it waits for frames, for messages, and for what hardly ever happens.

use super::Error;
use super::lobby::Lobby;
use super::message::{Incoming, Outgoing, Welcome};
use super::play::{Counted, Entry, Parse, end_reason, note};
use super::player::{PlayerStream, Step};
use crate::replication::TickFrame;
use crate::room::{Attached, Follower, Handle, RoomId};
use crate::seldom::Seldom;
use crate::telemetry::metrics::labels::Door;
use crate::telemetry::traces::SessionTrace;
use crate::turn::Turn;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tokio::time::Instant;

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
    incoming: I,
    /// More messages may come.
    is_open: bool,
    /// There may be some that were not read.
    has_incoming: bool,
    follower: Follower,
    /// Closed: the room has ended.
    frames: watch::Receiver<Arc<TickFrame>>,
    /// The newest that was not looked at yet.
    frame: Option<Arc<TickFrame>>,
    /// Of the newest frame.
    tick: u32,
    tick_rate_hz: u32,
    /// Whether the room stands still, or goes on.
    frozen: watch::Receiver<bool>,
    /// Whether it is about to move, or stays.
    moving: watch::Receiver<bool>,
    /// While the room stands still there is no frame at which to look whether the server ends.
    drained: Option<Seldom<dyn Future<Output = ()> + Send>>,
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
        let mut frozen = room.frozen();
        if *frozen.borrow() {
            frozen.mark_changed();
        }
        let mut frames = room.frames();
        frames.mark_changed();
        let tick = frames.borrow().tick;
        Self {
            follower: room.follow(),
            frames,
            frozen,
            moving: room.moving(),
            drained: None,
            lobby,
            room,
            parse: entry.parse,
            player,
            incoming,
            is_open: true,
            has_incoming: true,
            frame: None,
            tick,
            tick_rate_hz,
            waiting,
            end: None,
            life,
            _counted: counted,
        }
    }

    /// What brings the messages.
    pub(super) fn incoming(&self) -> &I {
        &self.incoming
    }

    /// What is to be written next; `None` after an end in order.
    pub(super) fn poll(
        &mut self,
        turn: &mut Turn<'_>,
        may_write: bool,
    ) -> Poll<Option<Result<Outgoing, Error>>> {
        self.follower.stay(&turn.context);
        loop {
            if may_write && let Some(outgoing) = self.waiting.pop_front() {
                if self.waiting.is_empty() {
                    // Mostly there is nothing more for as long as the stream lasts.
                    self.waiting = VecDeque::new();
                }
                return Poll::Ready(Some(Ok(outgoing)));
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(end.err().map(Err));
            }
            let step = match self.step(turn, may_write) {
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

    fn step(&mut self, turn: &mut Turn<'_>, may_write: bool) -> Poll<Result<Step, Error>> {
        if may_write && let Poll::Ready(step) = self.poll_news(&mut turn.context) {
            return Poll::Ready(step);
        }
        if let Poll::Ready(step) = self.poll_messages(turn) {
            return Poll::Ready(step);
        }
        let changed = self.frames.has_changed();
        if !matches!(changed, Ok(false)) {
            // The last one may not have been looked at.
            let newest = self.frames.borrow_and_update();
            if newest.has_changed() {
                self.tick = newest.tick;
                self.frame = Some(Arc::clone(&newest));
            } else if changed.is_err() {
                drop(newest);
                return Poll::Ready(self.on_room_ended());
            }
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

    fn poll_messages(&mut self, turn: &mut Turn<'_>) -> Poll<Result<Step, Error>> {
        // A tick wakes a stream to which nothing came.
        self.has_incoming |= turn.has_request;
        for _ in 0..MESSAGES_AT_ONCE_MAX {
            if !self.is_open || !self.has_incoming {
                return Poll::Pending;
            }
            let step = match self.incoming.poll_next_unpin(&mut turn.request) {
                Poll::Pending => {
                    (self.has_incoming, turn.has_request) = (false, false);
                    return Poll::Pending;
                }
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
        turn.context.waker().wake_by_ref();
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

    /// What hardly ever happens.
    fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<Result<Step, Error>> {
        // Whoever could change them is there as long as the room's handle.
        if matches!(self.frozen.has_changed(), Ok(true)) {
            let is_frozen = *self.frozen.borrow_and_update();
            let sessions = Arc::clone(self.lobby.sessions());
            let drained = async move { sessions.drained().await };
            self.drained = is_frozen.then(|| Seldom::new(Box::pin(drained) as _));
            return Poll::Ready(Ok(Step::Write(Outgoing::Frozen(is_frozen))));
        }
        if matches!(self.moving.has_changed(), Ok(true)) && *self.moving.borrow_and_update() {
            return Poll::Ready(Ok(Step::Write(Outgoing::Moving)));
        }
        let has_drained =
            self.drained.as_mut().is_some_and(|drained| drained.poll_unpin(context).is_ready());
        if has_drained {
            self.drained = None;
            self.waiting.push_back(Outgoing::ShuttingDown);
            return Poll::Ready(Err(Error::ShuttingDown));
        }
        Poll::Pending
    }
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
