//! How everybody else reaches a room.

use super::followers::{Follower, Followers};
use super::inbox::{Inbox, Said, Word};
use super::recorder::Trouble;
use super::seat::Occupant;
use super::travel::{Arrival, Departure, Moved, RESTORATIONS_MAX, Restoration};
use super::vitals::Vitals;
use super::{Error, RoomId};
use crate::game::{Controls, GameFactory, Profile};
use crate::replication::TickFrame;
use crate::store::Header;
use crate::telemetry::traces::MoveTrace;
use fray_proto::update::MoveAck;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How many requests may wait for a room's task; it answers them between ticks.
pub(super) const COMMANDS_WAITING_MAX: usize = 1024;
/// How many moves may wait to be applied. Clients keep at most as many unacknowledged.
pub const MOVES_WAITING_MAX: usize = 64;

/// What is known of a room without asking its task.
pub struct RoomInfo {
    /// Which room.
    pub id: RoomId,
    /// What people see.
    pub name: String,
    /// The game's name.
    pub game: &'static str,
    /// The version of its rules.
    pub sim_version: u32,
    /// The most players.
    pub capacity: u32,
    /// Private rooms have a code and are not listed.
    pub code: Option<String>,
    /// Counts the room's owners, this one included.
    pub epoch: u64,
    /// How it does.
    pub vitals: Vitals,
    /// Seats taken, reserved ones included.
    pub(super) players: AtomicU32,
    /// Set when the room's task came to its end, and did not just vanish.
    pub(super) ended: OnceLock<Ending>,
    /// Whether the room stands still.
    pub(super) frozen: watch::Sender<bool>,
    /// Whether it is about to move.
    pub(super) moving: watch::Sender<bool>,
    /// Whether it stands still to go.
    pub(super) departing: AtomicBool,
    /// Where it has gone.
    pub(super) moved: OnceLock<Moved>,
    /// The first tick that was, or will be, made here.
    pub first_tick: u32,
    /// When its servers were lost, the last one last.
    pub restorations: Vec<Restoration>,
    /// It ended while another server may have had it.
    pub(super) has_unknown_owner: OnceLock<()>,
}

/// Why a room ended, when it ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was empty for long enough, or the server goes away.
    Over,
    /// An operator closed it.
    Closed,
    /// It may have, or has, another owner by now, and must not go on here.
    Disowned,
    /// It plays on elsewhere: [`RoomInfo::moved`].
    Moved,
    /// It waits in the store for its next owner: why none has it yet.
    Parked(&'static str),
}

/// Without the code: whoever has it may enter.
impl fmt::Debug for RoomInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomInfo")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("is_private", &self.code.is_some())
            .field("players", &self.players())
            .finish_non_exhaustive()
    }
}

impl RoomInfo {
    pub(super) fn new(
        id: RoomId,
        epoch: u64,
        name: String,
        capacity: u32,
        code: Option<String>,
        game: &dyn GameFactory,
    ) -> Self {
        Self {
            id,
            name,
            game: game.name(),
            sim_version: game.sim_version(),
            capacity,
            code,
            epoch,
            vitals: Vitals::default(),
            players: AtomicU32::new(0),
            ended: OnceLock::new(),
            frozen: watch::Sender::new(false),
            moving: watch::Sender::new(false),
            departing: AtomicBool::new(false),
            moved: OnceLock::new(),
            first_tick: 1,
            restorations: Vec::new(),
            has_unknown_owner: OnceLock::new(),
        }
    }

    /// Of a room that has come from elsewhere.
    pub(super) fn arrived(arrival: &Arrival, id: RoomId, game: &dyn GameFactory) -> Self {
        let Arrival { header, epoch, tick, restored, .. } = arrival;
        let mut restorations = arrival.restorations.clone();
        restorations.extend(restored.map(|age| Restoration { epoch: *epoch, age }));
        restorations.drain(..restorations.len().saturating_sub(RESTORATIONS_MAX));
        let code = (!header.code.is_empty()).then(|| header.code.clone());
        let new = Self::new(id, *epoch, header.room_name.clone(), header.capacity, code, game);
        Self { first_tick: tick + 1, restorations, ..new }
    }

    /// How much is missing for somebody who was here last in that epoch; `None`: nothing.
    pub fn restored_since(&self, epoch: u64) -> Option<Duration> {
        let newer = self.restorations.iter().filter(|restoration| restoration.epoch > epoch);
        newer.map(|restoration| restoration.age).reduce(Duration::saturating_add)
    }

    /// Where the room has gone, if it has.
    pub fn moved(&self) -> Option<&Moved> {
        self.moved.get()
    }

    /// A room of a recording: nobody is in it any more.
    pub fn recorded(header: &Header, game: &dyn GameFactory) -> Self {
        let code = (!header.code.is_empty()).then(|| header.code.clone());
        // The store takes only names that can be ids.
        let id = RoomId::recorded(&header.room);
        Self::new(id, header.epoch, header.room_name.clone(), header.capacity, code, game)
    }

    /// Seats taken now, reserved ones included.
    pub fn players(&self) -> u32 {
        self.players.load(Ordering::Relaxed)
    }
}

/// A player's move, as the room takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// 1, 2, 3, … in the session.
    pub sequence: u32,
    /// The controls from then on.
    pub controls: Controls,
    /// When it came in; says how far ahead of its tick, and nothing else.
    pub arrived: Instant,
    /// Where in a trace it is, if its way is traced.
    pub trace: Option<Box<MoveTrace>>,
}

/// What joins a player's stream to its seat. The stream holds it for as long as it lives: the room notices that a stream is
/// gone when nobody else holds it any more, so a stream cannot forget to say so.
#[derive(Debug)]
pub struct Attachment {
    inbox: Arc<Inbox>,
    player: u32,
    generation: u32,
    /// The stream will bring no more; its last word is in the inbox.
    closing: AtomicBool,
    /// The newest tick that the stream has looked at.
    looked_at_tick: AtomicU32,
    /// The room has given the stream up.
    abandoned: AtomicBool,
    /// An operator removed the player.
    kicked: AtomicBool,
}

impl Attachment {
    pub(super) fn new(inbox: Arc<Inbox>, player: u32, generation: u32, tick: u32) -> Self {
        Self {
            inbox,
            player,
            generation,
            closing: AtomicBool::new(false),
            looked_at_tick: AtomicU32::new(tick),
            abandoned: AtomicBool::new(false),
            kicked: AtomicBool::new(false),
        }
    }

    /// Hands a move to the next tick. How many may wait there is for the stream to see to: [`MOVES_WAITING_MAX`] from tick to tick.
    pub fn enqueue(&self, received: Move) {
        self.say(Said::Move(received));
    }

    /// Says that the stream is awake and has looked at this tick.
    pub fn look_at(&self, tick: u32) {
        self.looked_at_tick.store(tick, Ordering::Relaxed);
    }

    /// Whether the room has given the stream up, because it did not look for too long.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Whether an operator removed the player.
    pub fn is_kicked(&self) -> bool {
        self.kicked.load(Ordering::Acquire)
    }

    pub(super) fn kick(&self) {
        self.kicked.store(true, Ordering::Release);
    }

    pub(super) fn has_stalled(&self, tick: u32, patience_ticks: u32) -> bool {
        tick.saturating_sub(self.looked_at_tick.load(Ordering::Relaxed)) > patience_ticks
    }

    /// Says that no more moves will come: the player leaves once those that did are applied.
    pub fn close(&self) {
        if !self.closing.swap(true, Ordering::AcqRel) {
            self.say(Said::Closed);
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn say(&self, said: Said) {
        let (player, generation) = (self.player, self.generation);
        self.inbox.put(Word { player, generation, said });
    }
}

/// A seat that now has this stream.
#[derive(Debug)]
pub struct Attached {
    /// The stream's side of the seat.
    pub attachment: Arc<Attachment>,
    /// The player's number in the room.
    pub player: u32,
    /// Who it is.
    pub player_id: String,
    /// Its entity.
    pub entity: u32,
    /// This stream's generation; a frame with a higher one means that another stream took over.
    pub generation: u32,
    /// Which moves were applied in earlier streams.
    pub ack: MoveAck,
    /// Whether there was an earlier stream.
    pub resumed: bool,
    /// Whether that one was still there: it ends now.
    pub took_over: bool,
    /// The room's tick when the seat was given: later frames know of it.
    pub tick: u32,
}

/// By what a stream claims a seat.
#[derive(Debug)]
pub enum Claim {
    /// A verified ticket names the player.
    Ticket {
        /// Who it is.
        player_id: String,
        /// Hash of the session's resume token.
        token_hash: [u8; 32],
    },
    /// A resume token's hash.
    Token([u8; 32]),
}

/// Somebody who has a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// By its number in the room.
    Number(u32),
    /// By its id, which is the same in all rooms.
    Id(String),
}

#[derive(Debug)]
pub(super) enum Command {
    Reserve {
        player_id: String,
        profile: Profile,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Attach {
        claim: Claim,
        reply: oneshot::Sender<Result<Attached, Error>>,
    },
    /// Something that a stream noticed.
    Report(Trouble),
    /// Stand still, or go on.
    Freeze(bool),
    /// Come to an end at once.
    End(Ending),
    /// Stand still, and give all that there is.
    Depart(oneshot::Sender<Result<Departure, Error>>),
    Find {
        token_hash: [u8; 32],
        reply: oneshot::Sender<Result<String, Error>>,
    },
    Occupants {
        reply: oneshot::Sender<Result<Vec<Occupant>, Error>>,
    },
    Kick {
        who: Who,
        reply: oneshot::Sender<Result<Occupant, Error>>,
    },
}

/// A room, as everybody else sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    info: Arc<RoomInfo>,
    commands: mpsc::Sender<Command>,
    frames: watch::Receiver<Arc<TickFrame>>,
    followers: Arc<Followers>,
}

impl Handle {
    pub(super) fn new(
        info: Arc<RoomInfo>,
        commands: mpsc::Sender<Command>,
        frames: watch::Receiver<Arc<TickFrame>>,
        followers: Arc<Followers>,
    ) -> Self {
        Self { info, commands, frames, followers }
    }

    /// What is known of the room.
    pub fn info(&self) -> &Arc<RoomInfo> {
        &self.info
    }

    /// The room's frames: the newest, and word of each new one. Closed when the room has ended.
    pub fn frames(&self) -> watch::Receiver<Arc<TickFrame>> {
        self.frames.clone()
    }

    /// For a task that looks at [`Self::frames`], [`Self::frozen`] and [`Self::moving`] each time that it is woken.
    pub fn follow(&self) -> Follower {
        Follower::new(Arc::clone(&self.followers))
    }

    /// Why the room, whose frames have stopped, came to its end; `None`: its task broke.
    pub fn ending(&self) -> Option<Ending> {
        self.info.ended.get().copied()
    }

    /// Whether the room stands still, and word of each change.
    pub fn frozen(&self) -> watch::Receiver<bool> {
        self.info.frozen.subscribe()
    }

    /// Makes the room stand still, from its next tick on: no moves are applied and nothing is let out.
    pub fn freeze(&self) -> Result<(), Error> {
        self.tell(Command::Freeze(true))
    }

    /// Lets the room go on after [`Self::freeze`]; the time between is given up.
    pub fn thaw(&self) -> Result<(), Error> {
        self.tell(Command::Freeze(false))
    }

    /// Whether the room is about to move, and word of each change.
    pub fn moving(&self) -> watch::Receiver<bool> {
        self.info.moving.subscribe()
    }

    /// Tells the room's players that it is about to move.
    pub fn announce_departure(&self) {
        self.info.moving.send_replace(true);
        self.followers.wake();
    }

    /// Tells its players that it does not go just now.
    pub fn announce_stay(&self) {
        self.info.moving.send_replace(false);
        self.followers.wake();
    }

    /// Whether it stands still and waits for what comes of its departure.
    pub fn is_departing(&self) -> bool {
        self.info.departing.load(Ordering::Acquire)
    }

    /// Makes the room stand still and gives all that another server needs to go on with it. [`Error::Overloaded`]: it stands
    /// still for another reason.
    pub async fn depart(&self) -> Result<Departure, Error> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Depart(reply))?;
        answer.await.unwrap_or(Err(Error::Ended))
    }

    /// Ends the room at once.
    pub fn end(&self, why: Ending) -> Result<(), Error> {
        self.tell(Command::End(why))
    }

    /// Whether the room is over.
    pub fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Keeps a seat for a player for a while. Asking again for the same player keeps the same seat.
    pub async fn reserve(&self, player_id: String, profile: Profile) -> Result<(), Error> {
        self.ask(|reply| Command::Reserve { player_id, profile, reply }).await
    }

    /// Gives a seat to a stream; an older stream of the same player is over then.
    pub async fn attach(&self, claim: Claim) -> Result<Attached, Error> {
        self.ask(|reply| Command::Attach { claim, reply }).await
    }

    /// Tells the room of a client whose copy of the world is not what it should be. If the room has too much to do, it is
    /// not told: what is to be kept is best kept by a room that keeps up.
    pub fn report(&self, trouble: Trouble) {
        let _ = self.commands.try_send(Command::Report(trouble));
    }

    /// Whose resume token this is.
    pub async fn find(&self, token_hash: [u8; 32]) -> Result<String, Error> {
        self.ask(|reply| Command::Find { token_hash, reply }).await
    }

    /// Who has a seat, reserved ones included, in the order of their numbers.
    pub async fn occupants(&self) -> Result<Vec<Occupant>, Error> {
        self.ask(|reply| Command::Occupants { reply }).await
    }

    /// Removes somebody, and says how it was there. Its stream ends at the next tick, and it gets no seat here for
    /// [`super::barred::BARRED_FOR`].
    pub async fn kick(&self, who: Who) -> Result<Occupant, Error> {
        self.ask(|reply| Command::Kick { who, reply }).await
    }

    fn tell(&self, command: Command) -> Result<(), Error> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => self.gone(),
        })
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply))?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Why nobody answers.
    fn gone(&self) -> Error {
        match self.ending() {
            Some(Ending::Moved) => Error::Moved,
            Some(Ending::Disowned | Ending::Parked(_)) => Error::Disowned,
            _ => Error::Ended,
        }
    }
}
