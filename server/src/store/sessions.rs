//! Who has a place in the room, in the log: what another owner needs to take the sessions over. No recording needs it, and it
//! is private: it never leaves the store.

use super::bytes::{
    Malformed, put_short_text, put_text, put_varint, take_text, take_u8, take_u16, take_u32,
};
use super::reader::{ReadError, Reader};
use super::record::{PAYLOAD_BYTES_MAX, Record, SESSIONS, framed};
use crate::game::Profile;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use std::fmt;
use std::io::Read;

/// The version of the payload; what a later one wrote is passed over.
const VERSION: u32 = 1;
/// A session whose player has a longer id is not written: half an id would be somebody else's.
pub const PLAYER_ID_BYTES_MAX: usize = 4096;
/// A longer name is cut.
const NAME_BYTES_MAX: usize = 256;
/// What one session takes at most: a record with less room than that takes no further one.
const SESSION_BYTES_MAX: usize = PLAYER_ID_BYTES_MAX + NAME_BYTES_MAX + 128;

const IS_PRESENCE: u8 = 3;
const RESERVED: u8 = 0;
const PLAYING: u8 = 1;
const DROPPED: u8 = 2;
const HAS_TOKEN: u8 = 4;

/// All sessions of a room after a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// The tick.
    pub tick: u32,
    /// The number of the player who comes next: numbers are never used twice, also not those of players who left.
    pub next_player: u32,
    /// In the order of players' numbers.
    pub sessions: Vec<Session>,
}

/// One session.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// The player's number in the room.
    pub player: u32,
    /// Who it is, over all rooms.
    pub player_id: String,
    /// What it looks like.
    pub profile: Profile,
    /// The player's entity; 0 before the first stream.
    pub entity: u32,
    /// Hash of the resume token; none before the first stream.
    pub token_hash: Option<[u8; 32]>,
    /// All moves up to this sequence are applied.
    pub input_ack: u32,
    /// How many were applied.
    pub applied_count: u32,
    /// Their rolling hash.
    pub applied_hash: u32,
    /// Where the session is in its life.
    pub presence: Presence,
}

/// A session as the room has it: nothing is copied to write it.
#[derive(Clone, Copy)]
pub struct SessionRef<'a> {
    /// See [`Session`], as for all that follows.
    pub player: u32,
    /// Who it is.
    pub player_id: &'a str,
    /// What it looks like.
    pub profile: &'a Profile,
    /// The player's entity.
    pub entity: u32,
    /// Hash of the resume token.
    pub token_hash: Option<&'a [u8; 32]>,
    /// The last sequence that is applied.
    pub input_ack: u32,
    /// How many were applied.
    pub applied_count: u32,
    /// Their rolling hash.
    pub applied_hash: u32,
    /// Where the session is in its life.
    pub presence: Presence,
}

/// Where a session is in its life. Who left has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nobody came yet. Free again after this tick.
    Reserved {
        /// The last tick of it.
        until_tick: u32,
    },
    /// A stream is there.
    Playing,
    /// The stream broke; the player may return until this tick.
    Dropped {
        /// The last tick of it.
        until_tick: u32,
    },
}

/// Without what only the player may know.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("player", &self.player)
            .field("entity", &self.entity)
            .field("has_token", &self.token_hash.is_some())
            .field("input_ack", &self.input_ack)
            .field("applied_count", &self.applied_count)
            .field("applied_hash", &self.applied_hash)
            .field("presence", &self.presence)
            .finish_non_exhaustive()
    }
}

impl<'a> From<&'a Session> for SessionRef<'a> {
    fn from(session: &'a Session) -> Self {
        Self {
            player: session.player,
            player_id: &session.player_id,
            profile: &session.profile,
            entity: session.entity,
            token_hash: session.token_hash.as_ref(),
            input_ack: session.input_ack,
            applied_count: session.applied_count,
            applied_hash: session.applied_hash,
            presence: session.presence,
        }
    }
}

impl Sessions {
    /// Appends a record of these sessions. No more of them are written than fit into a record.
    pub fn put<'a>(
        tick: u32,
        next_player: u32,
        sessions: impl Iterator<Item = SessionRef<'a>>,
        out: &mut BytesMut,
    ) {
        framed(out, SESSIONS, |out| {
            let start = out.len();
            put_varint(out, u64::from(VERSION));
            put_varint(out, u64::from(tick));
            put_varint(out, u64::from(next_player));
            let count_at = out.len();
            out.put_u32_le(0);
            let mut count = 0_u32;
            for session in sessions.filter(|session| session.player_id.len() <= PLAYER_ID_BYTES_MAX)
            {
                if out.len() - start > PAYLOAD_BYTES_MAX - SESSION_BYTES_MAX {
                    break;
                }
                session.put(out);
                count += 1;
            }
            out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        });
    }

    /// `None` if a later version wrote it.
    pub(super) fn take(mut from: Bytes) -> Result<Option<Self>, Malformed> {
        if take_u32(&mut from)? > VERSION {
            return Ok(None);
        }
        let tick = take_u32(&mut from)?;
        let next_player = take_u32(&mut from)?;
        if from.remaining() < 4 {
            return Err(Malformed("a record ends too soon"));
        }
        let count = from.get_u32_le() as usize;
        // Each takes two bytes at least, so a lie about the count reserves nothing.
        let mut sessions = Vec::with_capacity(count.min(from.remaining() / SESSION_BYTES_MIN));
        for _ in 0..count {
            let length = usize::from(take_u16(&mut from)?);
            if length > from.remaining() {
                return Err(Malformed("a record ends too soon"));
            }
            sessions.push(Session::take(from.split_to(length))?);
        }
        Ok(Some(Self { tick, next_player, sessions }))
    }
}

/// Its length, and one byte of each field.
const SESSION_BYTES_MIN: usize = 11;

impl SessionRef<'_> {
    /// Its length goes before it, so that later versions may add to it.
    fn put(self, out: &mut BytesMut) {
        let length_at = out.len();
        out.put_u16_le(0);
        let (presence, until_tick) = match self.presence {
            Presence::Reserved { until_tick } => (RESERVED, until_tick),
            Presence::Playing => (PLAYING, 0),
            Presence::Dropped { until_tick } => (DROPPED, until_tick),
        };
        out.put_u8(presence | if self.token_hash.is_some() { HAS_TOKEN } else { 0 });
        put_varint(out, u64::from(self.player));
        put_text(out, self.player_id);
        put_short_text(out, &self.profile.name, NAME_BYTES_MAX);
        put_varint(out, u64::from(self.profile.hue));
        put_varint(out, u64::from(self.entity));
        put_varint(out, u64::from(self.input_ack));
        put_varint(out, u64::from(self.applied_count));
        put_varint(out, u64::from(self.applied_hash));
        put_varint(out, u64::from(until_tick));
        if let Some(hash) = self.token_hash {
            out.extend_from_slice(hash);
        }
        // By the limits of its texts it is far below what two bytes can say.
        let length = (out.len() - length_at - 2) as u16;
        out[length_at..length_at + 2].copy_from_slice(&length.to_le_bytes());
    }
}

impl Session {
    fn take(mut from: Bytes) -> Result<Self, Malformed> {
        let from = &mut from;
        let flags = take_u8(from)?;
        let player = take_u32(from)?;
        let player_id = take_text(from, PLAYER_ID_BYTES_MAX)?;
        let name = take_text(from, NAME_BYTES_MAX)?;
        let hue = u16::try_from(take_u32(from)?)
            .map_err(|_| Malformed("a number is larger than it can be"))?;
        let entity = take_u32(from)?;
        let input_ack = take_u32(from)?;
        let applied_count = take_u32(from)?;
        let applied_hash = take_u32(from)?;
        let until_tick = take_u32(from)?;
        let presence = match flags & IS_PRESENCE {
            RESERVED => Presence::Reserved { until_tick },
            PLAYING => Presence::Playing,
            DROPPED => Presence::Dropped { until_tick },
            _ => return Err(Malformed("a session is in no state that there is")),
        };
        let token_hash = if flags & HAS_TOKEN == 0 {
            None
        } else if from.remaining() < 32 {
            return Err(Malformed("a record ends too soon"));
        } else {
            let mut hash = [0; 32];
            from.copy_to_slice(&mut hash);
            Some(hash)
        };
        let profile = Profile { name, hue };
        Ok(Self {
            player,
            player_id,
            profile,
            entity,
            token_hash,
            input_ack,
            applied_count,
            applied_hash,
            presence,
        })
    }
}

/// The newest sessions that a log tells of, from the reader's place to the last whole record. Whoever goes on from them plays the
/// ticks after [`Sessions::tick`] on. `None`: there are none, as in all that leaves the store.
pub fn last_sessions(reader: &mut Reader<impl Read>) -> Result<Option<Sessions>, ReadError> {
    let mut last = None;
    while let Some(record) = reader.next_record()? {
        // A later owner wrote its own right after the checkpoint with which it began.
        if let Record::Sessions(sessions) = record {
            last = Some(*sessions);
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Checkpoint, End, EndReason, Header, TickDraft};
    use proptest::prelude::*;

    fn session() -> impl Strategy<Value = Session> {
        let presence = prop_oneof![
            Just(Presence::Playing),
            any::<u32>().prop_map(|until_tick| Presence::Reserved { until_tick }),
            any::<u32>().prop_map(|until_tick| Presence::Dropped { until_tick }),
        ];
        let texts = ("\\PC{0,40}", "\\PC{0,24}");
        let numbers = any::<[u32; 5]>();
        (texts, any::<u16>(), numbers, any::<Option<[u8; 32]>>(), presence).prop_map(
            |((player_id, name), hue, numbers, token_hash, presence)| Session {
                player: numbers[0],
                player_id,
                profile: Profile { name, hue },
                entity: numbers[1],
                token_hash,
                input_ack: numbers[2],
                applied_count: numbers[3],
                applied_hash: numbers[4],
                presence,
            },
        )
    }

    fn sessions() -> impl Strategy<Value = Vec<Session>> {
        prop::collection::vec(session(), 0..40)
    }

    fn put(tick: u32, next_player: u32, sessions: &[Session], out: &mut BytesMut) {
        Sessions::put(tick, next_player, sessions.iter().map(SessionRef::from), out);
    }

    /// A log of two ticks, with these sessions before each.
    fn log(sessions: &[&[Session]; 3]) -> BytesMut {
        let mut out = BytesMut::new();
        Header { tick_rate_hz: 20, first_tick: 1, ..Header::default() }.put(&mut out);
        Checkpoint::put(0, 0, b"state", &mut out);
        let mut draft = TickDraft::default();
        put(0, 1, sessions[0], &mut out);
        for tick in 1..=2 {
            draft.finish(tick, None, false, &mut out);
            put(tick, 1 + tick, sessions[tick as usize], &mut out);
        }
        End { tick: 2, reason: EndReason::RoomOver }.put(&mut out);
        out
    }

    proptest! {
        #[test]
        fn the_last_sessions_of_a_log_are_what_was_written_last(all in [sessions(), sessions(), sessions()]) {
            let bytes = log(&[&all[0], &all[1], &all[2]]);
            let found = last_sessions(&mut Reader::new(bytes.as_ref())).unwrap().unwrap();
            prop_assert_eq!(found, Sessions { tick: 2, next_player: 3, sessions: all[2].clone() });
        }

        #[test]
        fn no_bytes_are_taken_amiss(bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0_u8..3) {
            let mut payload = vec![version];
            payload.extend(bytes);
            let _ = Sessions::take(payload.into());
        }

        #[test]
        fn a_record_that_is_cut_is_noticed(all in prop::collection::vec(session(), 1..4), cut in 1_usize..60) {
            let mut record = BytesMut::new();
            put(7, 9, &all, &mut record);
            let payload = &record[6..record.len() - 4];
            let cut = cut.min(payload.len() - 1);
            prop_assert!(Sessions::take(Bytes::copy_from_slice(&payload[..payload.len() - cut])).is_err());
        }
    }

    fn known() -> Session {
        Session {
            player: 3,
            player_id: "p-1".into(),
            profile: Profile { name: "Ada".into(), hue: 300 },
            entity: 12,
            token_hash: Some([0xab; 32]),
            input_ack: 200,
            applied_count: 199,
            applied_hash: 1 << 31,
            presence: Presence::Dropped { until_tick: 1000 },
        }
    }

    /// Of format 1, for all times.
    #[test]
    fn the_bytes_stay_the_same() {
        let mut record = BytesMut::new();
        put(5, 4, &[known()], &mut record);
        let mut expected = vec![0x01, 0x05, 0x04, 0x01, 0, 0, 0, 56, 0];
        expected.extend([6, 3, 3, b'p', b'-', b'1', 3, b'A', b'd', b'a', 0xac, 0x02, 12]);
        expected.extend([0xc8, 0x01, 0xc7, 0x01, 0x80, 0x80, 0x80, 0x80, 0x08, 0xe8, 0x07]);
        expected.extend([0xab; 32]);
        assert_eq!(record[6..record.len() - 4], expected);
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let mut record = BytesMut::new();
        put(5, 4, &[known()], &mut record);
        let payload = record[6..record.len() - 4].to_vec();
        // More after the known fields of the record, and of a session.
        let mut longer = payload.clone();
        longer.push(1);
        let read = Sessions::take(longer.into()).unwrap().unwrap();
        assert_eq!(read.sessions, [known()]);
        let mut longer = payload.clone();
        longer[7] += 1;
        longer.push(1);
        let read = Sessions::take(longer.into()).unwrap().unwrap();
        assert_eq!(read.sessions, [known()]);
        let mut later = payload;
        later[0] = 2;
        assert_eq!(Sessions::take(later.into()).unwrap(), None);
    }

    #[test]
    fn sessions_of_another_tick_are_damage() {
        let mut out = BytesMut::new();
        Header { tick_rate_hz: 20, first_tick: 1, ..Header::default() }.put(&mut out);
        Checkpoint::put(0, 0, b"state", &mut out);
        put(1, 1, &[], &mut out);
        let read = last_sessions(&mut Reader::new(out.as_ref()));
        assert!(matches!(read, Err(ReadError::Damaged { .. })), "{read:?}");
    }

    #[test]
    fn no_token_is_shown() {
        let shown = format!("{:?}", Sessions { tick: 1, next_player: 2, sessions: vec![known()] });
        assert!(!shown.contains("171") && !shown.contains("p-1"), "{shown}");
    }

    #[test]
    fn more_than_fits_into_a_record_is_left_out() {
        let long = Session { player_id: "x".repeat(PLAYER_ID_BYTES_MAX), ..known() };
        let too_long = Session { player_id: "x".repeat(PLAYER_ID_BYTES_MAX + 1), ..known() };
        let count = PAYLOAD_BYTES_MAX / PLAYER_ID_BYTES_MAX + 10;
        let all = std::iter::once(&too_long).chain(std::iter::repeat_n(&long, count));
        let mut record = BytesMut::new();
        Sessions::put(1, 2, all.map(SessionRef::from), &mut record);
        let payload = record.split_to(record.len() - 4).split_off(6).freeze();
        assert!(payload.len() <= PAYLOAD_BYTES_MAX);
        let read = Sessions::take(payload).unwrap().unwrap();
        assert!(read.sessions.len() < count && read.sessions.len() > count - 300);
        assert!(read.sessions.iter().all(|session| *session == long));
    }
}
