//! What a game is to Fray: pure rules over integers.
//!
//! State and inputs make the next state, and nothing else does: no clock, no I/O, no floats, no unordered iteration.
//! So the same seed and inputs give the same states on every machine, which is what replication, recordings and moving
//! rooms stand on. A test reads this folder's sources and fails on anything of the kind.
//!
//! The room feeds a game like this, every tick: [`Game::join`], [`Game::leave`], [`Game::apply`] in the order in which
//! they were received, then one [`Game::step`], then [`Game::publish`].

pub mod arena;
pub mod input;

pub use fray_proto::model::{Entity, Motion, Motions, Steering, World};
pub use input::{Input, Mark, MarkKind};
use std::sync::Arc;

/// How a room wants its game to be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Where the game's own random numbers start.
    pub seed: u64,
    /// Ticks per second, 1 to 128: speeds per second become speeds per tick.
    pub tick_rate_hz: u32,
    /// The most players that will be in the room at once.
    pub capacity: u32,
}

/// Makes games of one kind: what a server is built with.
pub trait GameFactory: Send + Sync + 'static {
    /// The name of the game, as in "arena".
    fn name(&self) -> &'static str;

    /// The version of the rules: changes whenever the same inputs would give another state.
    fn sim_version(&self) -> u32;

    /// How this kind of game is set up, for people: recordings carry it. What counts is in the checkpoints.
    fn configuration(&self) -> String {
        String::new()
    }

    /// A new game at tick 0.
    fn create(&self, setup: &Setup) -> Box<dyn Game>;

    /// A game that goes on from a checkpoint.
    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError>;
}

/// Why bytes are not a checkpoint of this game.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreError(pub String);

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a checkpoint of this game: {}", self.0)
    }
}

impl std::error::Error for RestoreError {}

/// The rules of one game, and its state.
pub trait Game: Send + 'static {
    /// The shape of the world, and how fast anything may go; constant.
    fn world(&self) -> WorldLimits;

    /// How entities move, by kind; constant.
    fn motions(&self) -> Motions;

    /// Half the width or height of the smallest view that anybody has, in sub-units; constant. Cells are not made much smaller than
    /// views: each costs a few bytes and some time per update. Where everybody sees all of the world, it is one cell.
    fn view_extent_min(&self) -> i32 {
        0
    }

    /// A player comes in. Returns the id of its entity, which is its own until it leaves.
    /// Numbers are never used twice in a room; players may come in another order than that of their numbers.
    fn join(&mut self, player: u32, profile: &Profile) -> u32;

    /// A player is gone for good.
    fn leave(&mut self, player: u32);

    /// Whether the player's stream is there. While it is not, the game treats the controls as let go.
    fn set_connected(&mut self, player: u32, connected: bool);

    /// A player's controls from now on; at most a few per tick. A game should take buttons that were down in any of a
    /// tick's moves as pressed in that tick: somebody may press and let go within one. A refusal changes nothing else: the move's controls are then ignored.
    fn apply(&mut self, player: u32, controls: &Controls) -> Result<(), Refusal>;

    /// One tick.
    fn step(&mut self);

    /// All that is to be replicated, as it is after the last step.
    fn publish(&self, out: &mut Published);

    /// Where a player looks, in the world: its cells around here are sent. Also for players whose entity is gone for a
    /// while. `None` for a player that is not in the game (a spectator): the game chooses a place worth watching.
    fn view(&self, player: Option<u32>) -> View;

    /// What only this player may know; small.
    fn private(&self, player: u32, out: &mut Vec<i32>);

    /// What a time line should show of the last step.
    fn marks(&self, _out: &mut Vec<Mark>) {}

    /// The whole state, for [`GameFactory::restore`]. The same state gives the same bytes.
    fn checkpoint(&self) -> Vec<u8>;

    /// Two states with the same hash are the same.
    fn state_hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.checkpoint())
    }
}

/// The shape of a game's world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorldLimits {
    /// The world is a torus with edges of `2^position_bits` sub-units; 8 to 30.
    pub position_bits: u32,
    /// A unit for display is `2^unit_bits` sub-units.
    pub unit_bits: u32,
    /// Nothing goes faster, in sub-units per tick. Cells are made at least 20 ticks of it wide.
    pub speed_max: i32,
}

/// What a player chose to be seen as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// At most 24 characters.
    pub name: String,
    /// Colour: a hue in degrees, 0 to 359.
    pub hue: u16,
}

/// A player's controls, as a game gets them: numbers are within their ranges already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// Axes and aim.
    pub steering: Steering,
    /// Bits; bit 0 is fire, the rest is the game's.
    pub buttons: u32,
    /// An entity that the move is about.
    pub target: Option<u32>,
    /// What a game adds; at most 64 bytes.
    pub payload: Arc<[u8]>,
}

/// Why a move was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The target does not exist, or cannot be targeted.
    InvalidTarget,
    /// The payload is not one that the game knows.
    InvalidPayload,
    /// Against the rules just now.
    NotAllowed,
}

/// What a game shows of itself at one tick. Each list in strictly ascending order of ids.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Entities with a place.
    pub local: Vec<Entity>,
    /// What all may see wherever they are: players and scores, rounds, and recent happenings, each an entity that is
    /// kept for at least 2 s, so that nobody who skips ticks misses one.
    pub global: Vec<Entity>,
}

impl Published {
    /// Games are asked for ascending ids; one that forgets it must not take its clients apart.
    pub fn put_in_order(&mut self) {
        for shown in [&mut self.local, &mut self.global] {
            if !shown.is_sorted_by(|a, b| a.id < b.id) {
                shown.sort_by_key(|entity| entity.id);
                shown.dedup_by_key(|entity| entity.id);
            }
        }
    }
}

/// A rectangle of the world that a player should see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its middle, in sub-units.
    pub center: [i32; 2],
    /// Half its width and height, in sub-units.
    pub extent: [i32; 2],
}
