//! What the log is made of: records, and their bytes. The format is described in docs/RECORDINGS.md.
//!
//! A record is framed as `length: u24, kind: u8, check: u16, payload, checksum: u32`, little-endian. `check` guards the length,
//! so that a flipped bit in it cannot make what follows look like a record that was cut off.

use super::bytes::{
    Malformed, put_bytes, put_short_text, put_varint, take_bytes, take_text, take_u8, take_u32,
    take_u64, take_varint,
};
use super::inputs;
use super::sessions::Sessions;
use crate::game::{Input, Mark};
use bytes::{BufMut as _, Bytes, BytesMut};
use std::fmt;

/// The version of the format that is written; all up to it are read.
pub const FORMAT_VERSION: u32 = 1;
/// What the first payload of a file begins with.
const MAGIC: &[u8; 15] = b"fray-recording\n";
/// The longest payload.
pub const PAYLOAD_BYTES_MAX: usize = (1 << 24) - 1;
/// The largest checkpoint of a game that is stored, uncompressed; it leaves room for what is said about it.
pub const STATE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 64;
/// No tick is later: at 128 Hz this is half a year. So a tick can always be counted on from.
pub const TICK_MAX: u32 = u32::MAX / 2;
/// Texts in a header.
const TEXT_BYTES_MAX: usize = 4096;

pub(super) const HEAD_BYTES: usize = 6;
pub(super) const CHECKSUM_BYTES: usize = 4;

const HEADER: u8 = 1;
const TICK: u8 = 2;
const CHECKPOINT: u8 = 3;
const END: u8 = 4;
pub(super) const SESSIONS: u8 = 5;

const UNCOMPRESSED: u8 = 0;
const LZ4: u8 = 1;

const HAS_HASH: u8 = 1;
const IS_BROKEN: u8 = 2;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Begins a recording, and each of its segments; a checkpoint follows.
    Header(Box<Header>),
    /// One tick.
    Tick(Tick),
    /// The whole state after a tick.
    Checkpoint(Checkpoint),
    /// The log ends here, as it should.
    End(End),
    /// Who has a place in the room after a tick. Never in what leaves the store.
    Sessions(Box<Sessions>),
    /// Something that a newer version wrote, and that can be passed over.
    Unknown,
}

/// No room changes hands so often; and every JSON reader holds such a number as it is.
pub const EPOCH_MAX: u64 = 1 << 53;

/// What a recording is of.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The game.
    pub game: String,
    /// The version of its rules.
    pub sim_version: u32,
    /// Where its random numbers began.
    pub seed: u64,
    /// How the game was set up, for people: the checkpoints hold what counts.
    pub configuration: String,
    /// Ticks per second, 1 to 128.
    pub tick_rate_hz: u32,
    /// The most players.
    pub capacity: u32,
    /// The room's id.
    pub room: String,
    /// What people call the room.
    pub room_name: String,
    /// A private room's code. Never in a file that leaves the server.
    pub code: String,
    /// Counts the room's owners, up to [`EPOCH_MAX`]: who wrote this.
    pub epoch: u64,
    /// The first tick that follows; the checkpoint that precedes it is of the tick before.
    pub first_tick: u32,
    /// When the room was opened, in ms since 1970 (UTC).
    pub started_at_ms: u64,
    /// Of an incident: what happened.
    pub incident: String,
    /// Which server wrote it, in which version.
    pub server: String,
}

/// Without the code: whoever has it may enter the room, and look at its recordings.
impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("game", &self.game)
            .field("sim_version", &self.sim_version)
            .field("seed", &self.seed)
            .field("configuration", &self.configuration)
            .field("tick_rate_hz", &self.tick_rate_hz)
            .field("capacity", &self.capacity)
            .field("room", &self.room)
            .field("room_name", &self.room_name)
            .field("is_private", &!self.code.is_empty())
            .field("epoch", &self.epoch)
            .field("first_tick", &self.first_tick)
            .field("started_at_ms", &self.started_at_ms)
            .field("incident", &self.incident)
            .field("server", &self.server)
            .finish()
    }
}

/// One tick: what was fed to the game, in order, before its step; and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The tick.
    pub tick: u32,
    /// The hash of the state after it, if it was taken.
    pub hash: Option<u64>,
    /// The game's rules panicked in this tick, after the inputs that are here.
    pub is_broken: bool,
    inputs: Bytes,
    marks: Bytes,
}

/// The whole state after a tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The tick; 0 before the first.
    pub tick: u32,
    /// The state's hash.
    pub hash: u64,
    /// What the game made of it.
    pub state: Bytes,
}

/// How a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The last tick.
    pub tick: u32,
    /// Why.
    pub reason: EndReason,
}

/// Why a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// For a reason that this version does not know.
    Other,
    /// The room was over.
    RoomOver,
    /// The server shut down.
    ShutDown,
    /// The game's rules panicked.
    Panicked,
    /// This is a part of a longer log.
    Cut,
    /// The room went on at another server, with a log of its own.
    Moved,
}

impl Tick {
    /// What was fed to the game, in order.
    pub fn inputs(&self) -> impl Iterator<Item = Input> + use<> {
        inputs::inputs(self.inputs.clone())
    }

    /// Appends the tick's record.
    pub fn put(&self, out: &mut BytesMut) {
        put_tick(out, self.tick, self.hash, self.is_broken, &self.inputs, &self.marks);
    }

    /// How much memory its inputs and marks take.
    pub fn size_bytes(&self) -> usize {
        self.inputs.len() + self.marks.len()
    }

    /// What a time line should show of it.
    pub fn marks(&self) -> impl Iterator<Item = Mark> + use<> {
        inputs::marks(self.marks.clone())
    }
}

/// A tick as the room writes it: inputs are encoded when they happen.
#[derive(Debug, Default)]
pub struct TickDraft {
    inputs: BytesMut,
    marks: BytesMut,
}

impl TickDraft {
    /// Adds an input.
    pub fn input(&mut self, input: inputs::InputRef<'_>) {
        inputs::put_input(&mut self.inputs, input);
    }

    /// Adds a mark.
    pub fn mark(&mut self, mark: &Mark) {
        inputs::put_mark(&mut self.marks, mark);
    }

    /// Appends the tick's record, and starts the next tick's draft.
    pub fn finish(&mut self, tick: u32, hash: Option<u64>, is_broken: bool, out: &mut BytesMut) {
        put_tick(out, tick, hash, is_broken, &self.inputs, &self.marks);
        self.inputs.clear();
        self.marks.clear();
    }
}

fn put_tick(
    out: &mut BytesMut,
    tick: u32,
    hash: Option<u64>,
    is_broken: bool,
    inputs: &[u8],
    marks: &[u8],
) {
    framed(out, TICK, |out| {
        put_varint(out, u64::from(tick));
        let has_hash = if hash.is_some() { HAS_HASH } else { 0 };
        out.put_u8(has_hash | if is_broken { IS_BROKEN } else { 0 });
        if let Some(hash) = hash {
            out.put_u64_le(hash);
        }
        put_bytes(out, inputs);
        put_bytes(out, marks);
    });
}

impl Checkpoint {
    /// Appends a checkpoint's record; `false` if the state is larger than [`STATE_BYTES_MAX`].
    pub fn put(tick: u32, hash: u64, state: &[u8], out: &mut BytesMut) -> bool {
        if state.len() > STATE_BYTES_MAX {
            return false;
        }
        let compressed = lz4_flex::block::compress(state);
        framed(out, CHECKPOINT, |out| {
            put_varint(out, u64::from(tick));
            out.put_u64_le(hash);
            put_varint(out, state.len() as u64);
            if compressed.len() < state.len() {
                out.put_u8(LZ4);
                out.extend_from_slice(&compressed);
            } else {
                out.put_u8(UNCOMPRESSED);
                out.extend_from_slice(state);
            }
        });
        true
    }

    fn take(mut from: Bytes) -> Result<Self, Malformed> {
        let tick = take_u32(&mut from)?;
        let hash = take_u64(&mut from)?;
        let length = take_varint(&mut from)?;
        if length > STATE_BYTES_MAX as u64 {
            return Err(Malformed("a checkpoint is larger than it can be"));
        }
        let length = length as usize;
        let state = match take_u8(&mut from)? {
            UNCOMPRESSED => from,
            LZ4 => {
                let mut state = vec![0; length];
                let written = lz4_flex::block::decompress_into(&from, &mut state);
                let written = written.map_err(|_| Malformed("a checkpoint cannot be unpacked"))?;
                state.truncate(written);
                state.into()
            }
            _ => return Err(Malformed("a checkpoint is packed in an unknown way")),
        };
        if state.len() != length {
            return Err(Malformed("a checkpoint is not as long as it says"));
        }
        Ok(Self { tick, hash, state })
    }
}

impl Header {
    /// Appends the header's record. Texts that are too long are cut.
    pub fn put(&self, out: &mut BytesMut) {
        framed(out, HEADER, |out| {
            out.extend_from_slice(MAGIC);
            put_varint(out, u64::from(FORMAT_VERSION));
            put_short_text(out, &self.game, TEXT_BYTES_MAX);
            put_varint(out, u64::from(self.sim_version));
            out.put_u64_le(self.seed);
            put_short_text(out, &self.configuration, TEXT_BYTES_MAX);
            put_varint(out, u64::from(self.tick_rate_hz));
            put_varint(out, u64::from(self.capacity));
            put_short_text(out, &self.room, TEXT_BYTES_MAX);
            put_short_text(out, &self.room_name, TEXT_BYTES_MAX);
            put_short_text(out, &self.code, TEXT_BYTES_MAX);
            put_varint(out, self.epoch);
            put_varint(out, u64::from(self.first_tick));
            put_varint(out, self.started_at_ms);
            put_short_text(out, &self.incident, TEXT_BYTES_MAX);
            put_short_text(out, &self.server, TEXT_BYTES_MAX);
        });
    }

    /// Fields that a newer version adds come after these, and are passed over.
    fn take(mut from: Bytes) -> Result<Self, Error> {
        if !from.starts_with(MAGIC) {
            return Err(Malformed("this is not a recording").into());
        }
        let from = &mut from.split_off(MAGIC.len());
        let version = take_u32(from)?;
        if version > FORMAT_VERSION {
            return Err(Error::Newer(version));
        }
        let header = Self {
            game: take_text(from, TEXT_BYTES_MAX)?,
            sim_version: take_u32(from)?,
            seed: take_u64(from)?,
            configuration: take_text(from, TEXT_BYTES_MAX)?,
            tick_rate_hz: take_u32(from)?,
            capacity: take_u32(from)?,
            room: take_text(from, TEXT_BYTES_MAX)?,
            room_name: take_text(from, TEXT_BYTES_MAX)?,
            code: take_text(from, TEXT_BYTES_MAX)?,
            epoch: take_varint(from)?,
            first_tick: take_u32(from)?,
            started_at_ms: take_varint(from)?,
            incident: take_text(from, TEXT_BYTES_MAX)?,
            server: take_text(from, TEXT_BYTES_MAX)?,
        };
        if !(1..=128).contains(&header.tick_rate_hz)
            || !(1..=TICK_MAX).contains(&header.first_tick)
            || header.epoch > EPOCH_MAX
        {
            return Err(Malformed("a header's numbers are out of range").into());
        }
        Ok(header)
    }
}

impl End {
    /// Appends the end's record.
    pub fn put(&self, out: &mut BytesMut) {
        framed(out, END, |out| {
            put_varint(out, u64::from(self.tick));
            out.put_u8(match self.reason {
                EndReason::Other => 0,
                EndReason::RoomOver => 1,
                EndReason::ShutDown => 2,
                EndReason::Panicked => 3,
                EndReason::Cut => 4,
                EndReason::Moved => 5,
            });
        });
    }

    fn take(mut from: Bytes) -> Result<Self, Malformed> {
        let tick = take_u32(&mut from)?;
        let reason = match take_u8(&mut from)? {
            1 => EndReason::RoomOver,
            2 => EndReason::ShutDown,
            3 => EndReason::Panicked,
            4 => EndReason::Cut,
            5 => EndReason::Moved,
            _ => EndReason::Other,
        };
        Ok(Self { tick, reason })
    }
}

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("written in format {0}, which this version does not read")]
    Newer(u32),
}

impl Record {
    /// From a kind and a payload whose checksum was right.
    pub(super) fn take(kind: u8, mut payload: Bytes) -> Result<Self, Error> {
        Ok(match kind {
            HEADER => Self::Header(Box::new(Header::take(payload)?)),
            TICK => {
                let tick = take_u32(&mut payload)?;
                let flags = take_u8(&mut payload)?;
                let hash = (flags & HAS_HASH != 0).then(|| take_u64(&mut payload)).transpose()?;
                let inputs = take_bytes(&mut payload, PAYLOAD_BYTES_MAX)?;
                let marks = take_bytes(&mut payload, PAYLOAD_BYTES_MAX)?;
                inputs::check(inputs.clone(), marks.clone())?;
                Self::Tick(Tick { tick, hash, is_broken: flags & IS_BROKEN != 0, inputs, marks })
            }
            CHECKPOINT => Self::Checkpoint(Checkpoint::take(payload)?),
            END => Self::End(End::take(payload)?),
            SESSIONS => Sessions::take(payload)?
                .map_or(Self::Unknown, |sessions| Self::Sessions(Box::new(sessions))),
            _ => Self::Unknown,
        })
    }
}

/// Appends a record of this kind. Its payload must stay below [`PAYLOAD_BYTES_MAX`]: what the room writes is far below, by
/// the limits of players, moves and states.
pub(super) fn framed(out: &mut BytesMut, kind: u8, payload: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, HEAD_BYTES);
    payload(out);
    let length = (out.len() - start - HEAD_BYTES) as u32;
    let [low, middle, high, _] = length.to_le_bytes();
    let head = [low, middle, high, kind];
    out[start..start + 4].copy_from_slice(&head);
    out[start + 4..start + HEAD_BYTES].copy_from_slice(&head_check(head).to_le_bytes());
    let checksum = crc32fast::hash(&out[start..]);
    out.put_u32_le(checksum);
}

/// Guards length and kind. Never 0 for zeros, so that a hole in a file does not look like records.
pub(super) fn head_check(head: [u8; 4]) -> u16 {
    crc32fast::hash(&head) as u16
}
