//! A game that is fed from a recording.

use super::Games;
use crate::game::{Game, GameFactory, Input, Published};
use crate::store::{Checkpoint, End, Header, ReadError, Reader, Record, Tick};
use crate::telemetry::panic_message;
use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How many ticks are kept while looking for a later checkpoint to begin from; beyond that they are played.
const SKIPPED_TICKS_MAX: usize = 4096;
/// So many bytes of them, too.
const SKIPPED_BYTES_MAX: usize = 32 << 20;

/// How many inputs are fed before somebody asks whether they are still wanted.
const INPUTS_AT_ONCE: usize = 256;
/// How many players are remembered; more than any room has.
const PLAYERS_MAX: usize = 16_384;

/// Why a recording cannot be played on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its bytes.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its checkpoint is none of this game, though its bytes are as they were written.
    #[error("DAMAGED at offset {offset}: {problem}")]
    Checkpoint {
        /// Where the record after the checkpoint begins.
        offset: u64,
        /// What the game says of it.
        problem: String,
    },
    /// Another game, or other rules.
    #[error("{game} with rules of version {sim_version} is not known here")]
    Unsupported {
        /// The recording's game.
        game: String,
        /// The recording's rules.
        sim_version: u32,
    },
    /// The state is not what it was.
    #[error("DIFFERS at tick {tick}: recorded hash {recorded:016x}, replayed {replayed:016x}")]
    Differs {
        /// The first tick whose recorded hash is another.
        tick: u32,
        /// As recorded.
        recorded: u64,
        /// As it came out.
        replayed: u64,
    },
    /// The game's rules panicked.
    #[error("PANICKED in tick {tick}: {message}")]
    Panicked {
        /// The tick.
        tick: u32,
        /// What the panic said.
        message: String,
        /// The recording says that they did so then, too.
        as_recorded: bool,
    },
    /// The recording says that the rules panicked here, and they did not.
    #[error("DIFFERS at tick {tick}: the recorded game panicked in it, and this one does not")]
    NoPanic {
        /// The tick.
        tick: u32,
    },
    /// Whoever asked does not want it any more.
    #[error("stopped")]
    Stopped,
}

/// What came next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A segment began.
    Began,
    /// A tick was played.
    Ticked(Tick),
    /// A checkpoint was compared, or begun from.
    Checked,
    /// The log is at its end.
    Ended(End),
    /// There is no more, yet.
    Waiting,
}

/// A game that plays a recording.
pub struct Simulation<R> {
    games: Vec<Arc<dyn GameFactory>>,
    reader: Reader<R>,
    /// Read and not played: ticks before the tick that was sought.
    ahead: VecDeque<Record>,
    playing: Option<Playing>,
    /// How many hashes were compared.
    pub hashes_compared: u32,
    /// How often ticks were missing between two segments.
    pub gaps: u32,
}

struct Playing {
    header: Header,
    factory: Arc<dyn GameFactory>,
    game: Option<Box<dyn Game>>,
    tick: u32,
    players: BTreeSet<u32>,
}

impl<R: Read> Simulation<R> {
    /// Plays a recording of one of these games.
    pub fn new(games: Games<'_>, from: R) -> Self {
        Self {
            games: games.0.to_vec(),
            reader: Reader::new(from),
            ahead: VecDeque::new(),
            playing: None,
            hashes_compared: 0,
            gaps: 0,
        }
    }

    /// The tick that the game has come to.
    pub fn tick(&self) -> u32 {
        self.playing.as_ref().map_or(0, |playing| playing.tick)
    }

    /// The game as it is after [`Self::tick`].
    pub fn game(&self) -> Option<&dyn Game> {
        self.playing.as_ref().and_then(|playing| playing.game.as_deref())
    }

    /// The header of what is played.
    pub fn header(&self) -> Option<&Header> {
        self.playing.as_ref().map(|playing| &playing.header)
    }

    /// Where in the recording the next record begins.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Whether the log came to its end.
    pub fn is_complete(&self) -> bool {
        self.reader.is_complete()
    }

    /// Goes to a tick as directly as checkpoints allow: from the newest before it. Only forward; a tick after the last means
    /// the last. `stop` is asked before each tick.
    pub fn seek(&mut self, tick: u32, mut stop: impl FnMut() -> bool) -> Result<(), Error> {
        let (mut skipped, mut skipped_bytes) = (0, 0);
        loop {
            if stop() {
                return Err(Error::Stopped);
            }
            let Some(record) = self.reader.next_record()? else { break };
            let is_beyond = match &record {
                Record::Tick(next) => {
                    skipped_bytes += next.size_bytes();
                    next.tick >= tick
                }
                Record::Checkpoint(checkpoint) if checkpoint.tick <= tick => {
                    // What came before need not be played, but for the header.
                    self.ahead.retain(|record| matches!(record, Record::Header(_)));
                    if self.tick() != checkpoint.tick {
                        self.let_go();
                    }
                    (skipped, skipped_bytes) = (0, 0);
                    checkpoint.tick == tick
                }
                Record::Checkpoint(_) => true,
                _ => false,
            };
            self.ahead.push_back(record);
            if is_beyond {
                break;
            }
            skipped += 1;
            if skipped > SKIPPED_TICKS_MAX || skipped_bytes > SKIPPED_BYTES_MAX {
                break;
            }
        }
        while self.tick() < tick || self.game().is_none() {
            if stop() {
                return Err(Error::Stopped);
            }
            if self.step_until(&mut stop)? == Step::Waiting {
                break;
            }
        }
        Ok(())
    }

    /// Plays the next record.
    pub fn step(&mut self) -> Result<Step, Error> {
        self.step_until(&mut || false)
    }

    /// Plays the next record, and asks now and then whether it is still wanted: a tick of a hostile recording may be long.
    pub fn step_until(&mut self, stop: &mut dyn FnMut() -> bool) -> Result<Step, Error> {
        let next =
            self.ahead.pop_front().map_or_else(|| self.reader.next_record(), |r| Ok(Some(r)))?;
        match next {
            None => Ok(Step::Waiting),
            Some(Record::Header(header)) => {
                let factory = Arc::clone(Games(&self.games).of(&header)?);
                let last = self.playing.take();
                let had_begun = last.is_some();
                let goes_on =
                    last.filter(|last| last.tick.checked_add(1) == Some(header.first_tick));
                self.gaps += u32::from(had_begun && goes_on.is_none());
                let (game, tick) = goes_on.map_or((None, 0), |last| (last.game, last.tick));
                let players = BTreeSet::new();
                self.playing = Some(Playing { header: *header, factory, game, tick, players });
                Ok(Step::Began)
            }
            Some(Record::Checkpoint(checkpoint)) => {
                self.check(&checkpoint)?;
                Ok(Step::Checked)
            }
            Some(Record::Tick(tick)) => {
                self.play(&tick, stop)?;
                Ok(Step::Ticked(tick))
            }
            Some(Record::End(end)) => Ok(Step::Ended(end)),
            // Nothing of the game is in them.
            Some(Record::Sessions(_) | Record::Unknown) => Ok(Step::Checked),
        }
    }

    fn let_go(&mut self) {
        if let Some(playing) = &mut self.playing {
            playing.game = None;
        }
    }

    /// Begins from a checkpoint, or compares with it.
    fn check(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let offset = self.reader.offset();
        let Some(playing) = &mut self.playing else { return Ok(()) };
        let Checkpoint { tick, hash: recorded, .. } = *checkpoint;
        let differs = |replayed| Error::Differs { tick, recorded, replayed };
        if let Some(game) = &playing.game {
            let replayed = guarded(tick, || game.state_hash())?;
            if replayed != recorded {
                return Err(differs(replayed));
            }
            self.hashes_compared += 1;
        }
        // What others begin from must be the same state, too.
        let restored = guarded(tick, || playing.factory.restore(&checkpoint.state))?;
        let restored = restored
            .map_err(|problem| Error::Checkpoint { offset, problem: problem.to_string() })?;
        let replayed = guarded(tick, || restored.state_hash())?;
        if replayed != recorded {
            return Err(differs(replayed));
        }
        self.hashes_compared += 1;
        playing.game.get_or_insert(restored);
        playing.tick = tick;
        Ok(())
    }

    fn play(&mut self, tick: &Tick, stop: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        let Some(playing) = &mut self.playing else { return Ok(()) };
        let Some(game) = &mut playing.game else { return Ok(()) };
        let players = &mut playing.players;
        let played = guarded(tick.tick, || {
            for (count, input) in tick.inputs().enumerate() {
                if count % INPUTS_AT_ONCE == INPUTS_AT_ONCE - 1 && stop() {
                    return Err(Error::Stopped);
                }
                meet(players, &input);
                // A refused move was refused then, too, and changed nothing.
                let _ = input.feed(game.as_mut());
            }
            game.step();
            if tick.is_broken {
                do_what_a_room_does(game.as_ref(), players);
            }
            Ok(tick.hash.map(|_| game.state_hash()))
        });
        let played = played.flatten();
        if played.is_err() {
            // Half a tick was played: nobody may look at that.
            playing.game = None;
        }
        match (played, tick.is_broken) {
            (Err(Error::Panicked { tick, message, .. }), true) => {
                Err(Error::Panicked { tick, message, as_recorded: true })
            }
            (Err(error), _) => Err(error),
            (Ok(_), true) => Err(Error::NoPanic { tick: tick.tick }),
            (Ok(replayed), false) => {
                playing.tick = tick.tick;
                if let (Some(recorded), Some(replayed)) = (tick.hash, replayed) {
                    if recorded != replayed {
                        return Err(Error::Differs { tick: tick.tick, recorded, replayed });
                    }
                    self.hashes_compared += 1;
                }
                Ok(())
            }
        }
    }
}

/// Remembers who is there, as far as the recording tells.
fn meet(players: &mut BTreeSet<u32>, input: &Input) {
    match input {
        Input::Join { player, .. }
        | Input::Connected { player, .. }
        | Input::Controls { player, .. } => {
            if players.len() < PLAYERS_MAX {
                players.insert(*player);
            }
        }
        Input::Leave { player } => {
            players.remove(player);
        }
    }
}

/// The room calls more than the step: any of it may be what broke.
fn do_what_a_room_does(game: &dyn Game, players: &BTreeSet<u32>) {
    game.publish(&mut Published::default());
    game.view(None);
    for player in players {
        game.private(*player, &mut Vec::new());
        game.view(Some(*player));
    }
    game.marks(&mut Vec::new());
    game.state_hash();
    game.checkpoint();
}

/// Calls the game's rules. A panic there is an answer, not an end: the game is not used again afterwards.
pub(super) fn guarded<T>(tick: u32, rules: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(rules)).map_err(|panic| Error::Panicked {
        tick,
        message: panic_message(panic.as_ref()),
        as_recorded: false,
    })
}
