//! A room as its last owner left it: from the newest checkpoint of its log, the ticks after it, and who had a place.
//!
//! What comes out is what the owner had after the last tick that is there: the same game, the same sessions with the same
//! moves acknowledged. A log that ends within a record, or is damaged there, ends before it. Where the state is not what the log
//! says of it, the room goes back to the last tick that is known to be right: at worst the checkpoint.

use super::simulation::{Error, guarded};
use crate::game::{Controls, Game, GameFactory, Input, Profile};
use crate::store::sessions::{Presence, Session};
use crate::store::{Checkpoint, EndReason, Header, ReadError, Reader, Record, Sessions, Tick};
use fray_proto::hash::{MoveContent, applied_hash};
use std::collections::BTreeMap;
use std::io::Read;

/// What is read after a checkpoint is no more than this; a log has one every few seconds.
pub const BYTES_AFTER_CHECKPOINT_MAX: usize = 64 << 20;

/// Why a log makes no room.
#[derive(Debug, thiserror::Error)]
pub enum NotRestored {
    /// The store does not answer; another time it may.
    #[error("the log cannot be read: {0}")]
    Unread(std::io::Error),
    /// There is no checkpoint with its sessions, or none that can be read.
    #[error("the log has no beginning that can be read")]
    NoBeginning,
    /// The room was over, and why.
    #[error("the log has ended: {0:?}")]
    Over(EndReason),
    /// More than [`BYTES_AFTER_CHECKPOINT_MAX`] after a checkpoint.
    #[error("the log is longer after its last checkpoint than it can be")]
    TooLong,
    /// Its game is not played here, or does not take the checkpoint.
    #[error(transparent)]
    Unplayable(#[from] Error),
}

/// A room that can go on.
pub struct Restored {
    /// The newest header.
    pub header: Header,
    /// The last tick.
    pub tick: u32,
    /// The game after it.
    pub game: Box<dyn Game>,
    /// Who has a place after it.
    pub sessions: Sessions,
    /// The last tick that could be read: ticks after [`Self::tick`] are left out, because they did not come out the same.
    pub read_tick: u32,
}

/// What a log says from its newest checkpoint on.
#[derive(Debug)]
pub struct Remains {
    header: Header,
    checkpoint: Checkpoint,
    sessions: Sessions,
    after: Vec<After>,
    bytes: usize,
}

#[derive(Debug)]
enum After {
    Tick(Tick),
    Sessions(Sessions),
}

impl Remains {
    /// The game's name, the version of its rules, and the room.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The last tick that is there.
    pub fn tick(&self) -> u32 {
        self.after.last().map_or(self.checkpoint.tick, |after| match after {
            After::Tick(tick) => tick.tick,
            After::Sessions(sessions) => sessions.tick,
        })
    }
}

/// Reads a log to its end. When there is no more, `more` is asked, with the last tick, whether to try again: a store that lives on
/// several servers may not have everything everywhere at once.
pub fn read(from: impl Read, mut more: impl FnMut(u32) -> bool) -> Result<Remains, NotRestored> {
    let mut reader = Reader::new(from);
    let mut gathered = Gathered::default();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => gathered.take(record)?,
            Ok(None) if more(gathered.tick()) => {}
            Ok(None) => break,
            Err(ReadError::Io(error)) => return Err(NotRestored::Unread(error)),
            Err(damage) => {
                // What is before it is as it was written.
                tracing::warn!(error = %damage, tick = gathered.tick(), "a log ends with damage");
                break;
            }
        }
    }
    gathered.finish()
}

#[derive(Default)]
struct Gathered {
    remains: Option<Remains>,
    /// A header whose checkpoint, and a checkpoint whose sessions have not come yet.
    header: Option<Header>,
    checkpoint: Option<(Header, Checkpoint)>,
    end: Option<EndReason>,
}

impl Gathered {
    fn tick(&self) -> u32 {
        self.remains.as_ref().map_or(0, Remains::tick)
    }

    fn take(&mut self, record: Record) -> Result<(), NotRestored> {
        match record {
            Record::Header(header) => {
                self.header = Some(*header);
                self.end = None;
            }
            Record::Checkpoint(checkpoint) => {
                // Ticks are missing before it, or its owner went back: what is known of before does not lead there.
                self.remains.take_if(|remains| remains.tick() != checkpoint.tick);
                let same = || self.remains.as_ref().map(|remains| remains.header.clone());
                let header = self.header.take().or_else(same);
                self.checkpoint = header.map(|header| (header, checkpoint));
            }
            Record::Sessions(sessions) => match self.checkpoint.take() {
                Some((header, checkpoint)) => {
                    let (after, bytes) = (Vec::new(), 0);
                    self.remains =
                        Some(Remains { header, checkpoint, sessions: *sessions, after, bytes });
                }
                None => self.push(After::Sessions(*sessions), 0)?,
            },
            Record::Tick(tick) => {
                // A checkpoint without its sessions is none to begin from.
                self.checkpoint = None;
                let bytes = tick.size_bytes();
                self.push(After::Tick(tick), bytes)?;
            }
            Record::End(end) => self.end = Some(end.reason),
            Record::Unknown => {}
        }
        Ok(())
    }

    fn push(&mut self, after: After, bytes: usize) -> Result<(), NotRestored> {
        let Some(remains) = &mut self.remains else { return Ok(()) };
        remains.bytes += bytes + size_of::<After>();
        if remains.bytes > BYTES_AFTER_CHECKPOINT_MAX {
            return Err(NotRestored::TooLong);
        }
        remains.after.push(after);
        Ok(())
    }

    fn finish(self) -> Result<Remains, NotRestored> {
        match self.end {
            Some(reason) => Err(NotRestored::Over(reason)),
            None => self.remains.ok_or(NotRestored::NoBeginning),
        }
    }
}

/// Plays what remains. `grace_ticks`: how long who was dropped may come back.
pub fn play(
    remains: &Remains,
    factory: &dyn GameFactory,
    grace_ticks: u32,
) -> Result<Restored, Error> {
    let mut to_tick = remains.tick();
    loop {
        let mut sure_tick = remains.checkpoint.tick;
        match play_to(remains, factory, grace_ticks, to_tick, &mut sure_tick) {
            Err(error) if to_tick > sure_tick => {
                let room = &remains.header.room;
                tracing::error!(room, %error, tick = sure_tick, "a log does not come out the same: the room goes back to where it does");
                to_tick = sure_tick;
            }
            played => return played,
        }
    }
}

fn play_to(
    remains: &Remains,
    factory: &dyn GameFactory,
    grace_ticks: u32,
    to_tick: u32,
    sure_tick: &mut u32,
) -> Result<Restored, Error> {
    let Checkpoint { tick: from_tick, hash: recorded, state } = &remains.checkpoint;
    let game = guarded(*from_tick, || factory.restore(state))?;
    let game =
        game.map_err(|problem| Error::Checkpoint { offset: 0, problem: problem.to_string() })?;
    let mut room = Room {
        game,
        tick: *from_tick,
        next_player: remains.sessions.next_player,
        seats: by_number(&remains.sessions),
        grace_ticks,
    };
    let replayed = guarded(*from_tick, || room.game.state_hash())?;
    if replayed != *recorded {
        return Err(Error::Differs { tick: *from_tick, recorded: *recorded, replayed });
    }
    for after in &remains.after {
        match after {
            After::Tick(tick) if tick.tick > to_tick => break,
            After::Tick(tick) => {
                guarded(tick.tick, || room.play(tick))?;
                if tick.is_broken {
                    return Err(Error::NoPanic { tick: tick.tick });
                }
                if let Some(recorded) = tick.hash {
                    let replayed = guarded(tick.tick, || room.game.state_hash())?;
                    if replayed != recorded {
                        return Err(Error::Differs { tick: tick.tick, recorded, replayed });
                    }
                    *sure_tick = tick.tick;
                }
            }
            // It knows more: who they are, and by what they come back.
            After::Sessions(sessions) if sessions.tick == room.tick => {
                room.seats = by_number(sessions);
                room.next_player = room.next_player.max(sessions.next_player);
            }
            After::Sessions(_) => {}
        }
    }
    Ok(Restored {
        header: remains.header.clone(),
        tick: room.tick,
        sessions: room.sessions(),
        game: room.game,
        read_tick: remains.tick(),
    })
}

fn by_number(sessions: &Sessions) -> BTreeMap<u32, Session> {
    sessions.sessions.iter().map(|session| (session.player, session.clone())).collect()
}

struct Room {
    game: Box<dyn Game>,
    tick: u32,
    next_player: u32,
    seats: BTreeMap<u32, Session>,
    grace_ticks: u32,
}

impl Room {
    fn play(&mut self, tick: &Tick) {
        for input in tick.inputs() {
            self.feed(&input, tick.tick);
        }
        self.game.step();
        self.tick = tick.tick;
    }

    /// Feeds an input to the game, and does to the seat what the room did.
    fn feed(&mut self, input: &Input, tick: u32) {
        match input {
            Input::Join { player, profile } => {
                let entity = self.game.join(*player, profile);
                self.next_player = self.next_player.max(player.saturating_add(1));
                let seat = self.seats.entry(*player).or_insert_with(|| stranger(*player, profile));
                (seat.entity, seat.presence) = (entity, Presence::Playing);
                return;
            }
            Input::Leave { player } => {
                self.seats.remove(player);
            }
            Input::Connected { player, connected } => {
                if let Some(seat) = self.seats.get_mut(player) {
                    let until_tick = tick.saturating_add(self.grace_ticks);
                    seat.presence = if *connected {
                        Presence::Playing
                    } else {
                        Presence::Dropped { until_tick }
                    };
                }
            }
            Input::Controls { player, controls } => {
                if let Some(seat) = self.seats.get_mut(player) {
                    apply(seat, controls);
                }
            }
        }
        // A refused move was refused then, too, and changed nothing but what is acknowledged.
        let _ = input.feed(self.game.as_mut());
    }

    /// Who has a place now. Those who came after the last record of sessions are in the game, and nobody knows who they are: they
    /// leave with the next tick.
    fn sessions(&self) -> Sessions {
        let tick = self.tick;
        let is_kept = |session: &&Session| !matches!(session.presence, Presence::Reserved { until_tick } if tick >= until_tick);
        let settled = |session: &Session| {
            let is_stranger = session.player_id.is_empty();
            let until_tick = tick;
            let presence =
                if is_stranger { Presence::Dropped { until_tick } } else { session.presence };
            Session { presence, ..session.clone() }
        };
        let sessions = self.seats.values().filter(is_kept).map(settled).collect();
        Sessions { tick, next_player: self.next_player, sessions }
    }
}

/// The moves of a session have no gaps, so the next one has the next number.
fn apply(seat: &mut Session, controls: &Controls) {
    seat.input_ack = seat.input_ack.wrapping_add(1);
    seat.applied_count = seat.applied_count.wrapping_add(1);
    let content = MoveContent {
        sequence: seat.input_ack,
        axis_x: controls.steering.axis_x,
        axis_y: controls.steering.axis_y,
        aim: controls.steering.aim.map(u32::from),
        buttons: controls.buttons,
        target: controls.target,
        payload: &controls.payload,
    };
    seat.applied_hash = applied_hash(seat.applied_hash, &content);
}

/// Somebody of whom no record tells.
fn stranger(player: u32, profile: &Profile) -> Session {
    Session {
        player,
        player_id: String::new(),
        profile: profile.clone(),
        entity: 0,
        token_hash: None,
        input_ack: 0,
        applied_count: 0,
        applied_hash: 0,
        presence: Presence::Playing,
    }
}
