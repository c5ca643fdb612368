//! A room on its way from one server to another: all that its next owner needs.

use super::handle::Move;
use super::{Error, RoomId};
use crate::game::{Game, GameFactory};
use crate::store::{Header, ReadError, Reader, Record, Sessions};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A room that stands still after a tick, to go on elsewhere. It waits until it is told what came of that; if this is dropped
/// without a word, it ends, since it may have another owner.
#[derive(Debug)]
pub struct Departure {
    /// Which room.
    pub room: RoomId,
    /// Its epoch here.
    pub epoch: u64,
    /// The last tick that was made.
    pub tick: u32,
    /// A header, a checkpoint, and the sessions: how a recording begins.
    pub bytes: Bytes,
    /// Moves that were not applied yet, with their players' numbers.
    pub moves: Vec<(u32, Move)>,
    /// Who is kept out.
    pub barred: Vec<BarredPlayer>,
    /// See [`Restoration`].
    pub restorations: Vec<Restoration>,
    pub(super) outcome: oneshot::Sender<Outcome>,
}

impl Departure {
    /// Tells the room what came of it. A room that is gone need not be told.
    pub fn conclude(self, outcome: Outcome) {
        let _ = self.outcome.send(outcome);
    }
}

/// What came of a departure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It plays on elsewhere.
    Moved(Moved),
    /// It is in the store, for another server to go on with it: why none has it yet.
    Parked(&'static str),
    /// It goes on here.
    Stays,
}

/// Where a room is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// `ADDRESS:PORT` where the edge reaches its server.
    pub route: String,
    /// Which release that is.
    pub release: String,
    /// The room's epoch there.
    pub epoch: u64,
    /// The first tick of it.
    pub first_tick: u32,
    /// The next owner writes on in the same log: it has no end here.
    pub shares_log: bool,
}

/// How many are remembered.
pub const RESTORATIONS_MAX: usize = 8;

/// A room's server was lost, and the room went on from its log. Players who were not back since must still be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restoration {
    /// The epoch that began with it.
    pub epoch: u64,
    /// How old the state was from which it went on.
    pub age: Duration,
}

/// Who gets no seat in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarredPlayer {
    /// Who.
    pub player_id: String,
    /// The hash of its resume token, if it had one.
    pub token_hash: Option<[u8; 32]>,
    /// The last tick of it.
    pub until_tick: u32,
}

/// A room that comes from elsewhere, or from a store.
pub struct Arrival {
    /// What it was at its last owner's.
    pub header: Header,
    /// Its epoch here.
    pub epoch: u64,
    /// The last tick that was made.
    pub tick: u32,
    /// The game after that tick.
    pub game: Box<dyn Game>,
    /// Who has a place in it.
    pub sessions: Sessions,
    /// Moves that were not applied yet, with their players' numbers.
    pub moves: Vec<(u32, Move)>,
    /// Who is kept out.
    pub barred: Vec<BarredPlayer>,
    /// Its last owner was lost: how old this state is.
    pub restored: Option<Duration>,
    /// The same, of owners before.
    pub restorations: Vec<Restoration>,
}

/// Why what came is no room that can go on here.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    /// Bytes that cannot be.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A header, a checkpoint, or the sessions are not there, or not of the tick that was said.
    #[error("{0}")]
    Incomplete(&'static str),
    /// Another game, or other rules, or another tick rate.
    #[error(
        "{game} with rules of version {sim_version} at {tick_rate_hz} ticks per second is not played here"
    )]
    Unsupported {
        /// Its game.
        game: String,
        /// The version of its rules.
        sim_version: u32,
        /// Its ticks per second.
        tick_rate_hz: u32,
    },
    /// The game does not take its checkpoint.
    #[error("{0}")]
    Checkpoint(String),
}

impl Arrival {
    /// Takes what [`Departure::bytes`] were, at the next owner's. It is in epoch 0 until it is given another.
    pub fn parse(
        games: &[Arc<dyn GameFactory>],
        tick_rate_hz: u32,
        bytes: &[u8],
    ) -> Result<Self, ArrivalError> {
        let mut reader = Reader::new(bytes);
        let Some(Record::Header(header)) = reader.next_record()? else {
            return Err(ArrivalError::Incomplete("no header"));
        };
        let factory = supported(games, tick_rate_hz, &header)?;
        let Some(Record::Checkpoint(checkpoint)) = reader.next_record()? else {
            return Err(ArrivalError::Incomplete("no checkpoint"));
        };
        let Some(Record::Sessions(sessions)) = reader.next_record()? else {
            return Err(ArrivalError::Incomplete("no sessions"));
        };
        if reader.next_record()?.is_some() || reader.offset() != bytes.len() as u64 {
            return Err(ArrivalError::Incomplete("something follows the sessions"));
        }
        // The rules are not asked for more than to take their own state, but whoever sent it may be of another build.
        let restore = || {
            let game = factory.restore(&checkpoint.state)?;
            let hash = game.state_hash();
            Ok::<_, crate::game::RestoreError>((game, hash))
        };
        let restored = catch_unwind(AssertUnwindSafe(restore));
        let restored =
            restored.map_err(|_| ArrivalError::Checkpoint("the rules panicked".into()))?;
        let (game, hash) = restored.map_err(|error| ArrivalError::Checkpoint(error.to_string()))?;
        if hash != checkpoint.hash {
            return Err(ArrivalError::Checkpoint("its hash is another here".into()));
        }
        Ok(Self {
            header: *header,
            epoch: 0,
            tick: checkpoint.tick,
            game,
            sessions: *sessions,
            moves: Vec::new(),
            barred: Vec::new(),
            restored: None,
            restorations: Vec::new(),
        })
    }

    /// Which room it is.
    pub fn room(&self) -> Result<RoomId, Error> {
        RoomId::parse(&self.header.room).ok_or(Error::Failed)
    }
}

/// The game that a header names, if it can be played here.
pub fn supported<'a>(
    games: &'a [Arc<dyn GameFactory>],
    tick_rate_hz: u32,
    header: &Header,
) -> Result<&'a Arc<dyn GameFactory>, ArrivalError> {
    let is_meant = |game: &&Arc<dyn GameFactory>| {
        header.game == game.name() && header.sim_version == game.sim_version()
    };
    let game = games.iter().find(is_meant).filter(|_| header.tick_rate_hz == tick_rate_hz);
    game.ok_or_else(|| ArrivalError::Unsupported {
        game: header.game.clone(),
        sim_version: header.sim_version,
        tick_rate_hz: header.tick_rate_hz,
    })
}
