//! What a checkpoint holds.

use super::ArenaOptions;
use super::rules::{NAME_CHARS_MAX, SIZES};
use crate::game::{Profile, Steering};
use rand_core::Rng;
use rand_pcg::Pcg32;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::VecDeque;
use std::sync::Arc;

/// The whole state; ticks are 64 bits here, and go out as their low 32.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) options: ArenaOptions,
    pub(super) tick_rate_hz: u32,
    /// The last tick that was made.
    pub(super) tick: u64,
    /// The id that the next new entity gets; only grows.
    pub(super) next_id: u32,
    pub(super) rng: Pcg32,
    pub(super) round: Round,
    /// In ascending order of their numbers.
    pub(super) players: Vec<Player>,
    /// This and the lists below: in ascending order of their ids.
    pub(super) shots: Vec<Shot>,
    pub(super) rocks: Vec<Rock>,
    pub(super) pickups: Vec<Pickup>,
    pub(super) happenings: VecDeque<Happening>,
    pub(super) next_rock_at: u64,
    pub(super) next_pickup_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    Playing,
    Pause { winner: Option<u32> },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) id: u32,
    pub(super) number: u32,
    pub(super) phase: Phase,
    pub(super) ends_at: u64,
}

/// An id and a place.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) id: u32,
    pub(super) position: [i32; 2],
    pub(super) velocity: [i32; 2],
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Player {
    /// The room's number for it.
    pub(super) number: u32,
    /// The id of its entry in the global cell.
    pub(super) entry: u32,
    #[serde(serialize_with = "name_out", deserialize_with = "name_in")]
    pub(super) name: Arc<[u8]>,
    pub(super) hue: u16,
    pub(super) connected: bool,
    pub(super) score: i32,
    pub(super) kills: i32,
    pub(super) deaths: i32,
    pub(super) held: Held,
    pub(super) ship: Ship,
}

/// What a player holds down.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) axes: [i8; 2],
    pub(super) aim: Option<u16>,
    pub(super) fire: bool,
    /// Fire was down in some move since the last tick, even if it is up again.
    pub(super) fire_pressed: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ship {
    /// Where it died, while it is dead.
    pub(super) body: Body,
    pub(super) heading: u16,
    pub(super) turn: i8,
    pub(super) thrust: i8,
    pub(super) hull: i32,
    /// What the shield can still take; 0: none.
    pub(super) shield: i32,
    /// When it comes back; none: it is alive.
    pub(super) respawn_at: Option<u64>,
    pub(super) protected_until: Option<u64>,
    pub(super) rapid_until: Option<u64>,
    pub(super) heat_until: u64,
    pub(super) gun_ready_at: u64,
    /// Who hurt it last, and when: they get the kill when a rock finishes it.
    pub(super) hurt_by: Option<(u32, u64)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Shot {
    pub(super) body: Body,
    pub(super) owner: u32,
    pub(super) ends_at: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rock {
    pub(super) body: Body,
    pub(super) size: Size,
    pub(super) shape: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Size {
    Small,
    Medium,
    Large,
}

impl Size {
    /// For the tables in `rules`.
    pub(super) fn index(self) -> usize {
        const { assert!(SIZES == Self::Large as usize + 1) };
        self as usize
    }

    /// What it breaks into.
    pub(super) fn below(self) -> Option<Self> {
        match self {
            Self::Small => None,
            Self::Medium => Some(Self::Small),
            Self::Large => Some(Self::Medium),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pickup {
    pub(super) id: u32,
    pub(super) position: [i32; 2],
    pub(super) gift: Gift,
    pub(super) ends_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Gift {
    Repair,
    Shield,
    Rapid,
}

/// One line of the news.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Happening {
    pub(super) id: u32,
    pub(super) tick: u64,
    pub(super) what: What,
    pub(super) position: [i32; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// Killer and victim.
    Kill(u32, u32),
    /// Player and what it got.
    Pickup(u32, Gift),
    Joined(u32),
    Left(u32),
    /// The round's number.
    RoundBegan(u32),
    /// The winner, if any, and the round's number.
    RoundEnded(Option<u32>, u32),
}

impl Player {
    pub(super) fn new(number: u32, profile: &Profile) -> Self {
        let name: String = profile.name.chars().take(NAME_CHARS_MAX).collect();
        Self {
            number,
            entry: 0,
            name: Arc::from(name.as_bytes()),
            hue: profile.hue % 360,
            connected: true,
            score: 0,
            kills: 0,
            deaths: 0,
            held: Held::default(),
            ship: Ship::default(),
        }
    }
}

impl Held {
    pub(super) fn steering(self) -> Steering {
        Steering { axis_x: i32::from(self.axes[0]), axis_y: i32::from(self.axes[1]), aim: self.aim }
    }
}

impl Ship {
    pub(super) fn is_alive(&self) -> bool {
        self.respawn_at.is_none()
    }
}

impl State {
    /// Where a player is in the list.
    pub(super) fn index_of(&self, number: u32) -> Option<usize> {
        self.players.binary_search_by_key(&number, |p| p.number).ok()
    }

    /// An id that nobody had before. After four billion entities there are none left: [`Self::may_spawn`] stops the
    /// spending long before, and what is left is for joins.
    pub(super) fn new_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.saturating_add(1);
        id
    }

    /// Whether ids may be spent on shots, rocks, pick-ups and news.
    pub(super) fn may_spawn(&self) -> bool {
        self.next_id < u32::MAX - (1 << 24)
    }

    /// A number in `0..n`; 0 if `n` is 0. Multiply and shift: one draw each, so the sequence is plain to follow.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.rng.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// A heading.
    pub(super) fn any_heading(&mut self) -> u16 {
        self.below(1 << 16) as u16
    }
}

fn name_out<S: Serializer>(name: &Arc<[u8]>, out: S) -> Result<S::Ok, S::Error> {
    name.as_ref().serialize(out)
}

fn name_in<'de, D: Deserializer<'de>>(input: D) -> Result<Arc<[u8]>, D::Error> {
    Vec::<u8>::deserialize(input).map(Arc::from)
}
