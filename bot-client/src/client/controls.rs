//! What a player holds down.

use fray_proto::model::Steering;
use fray_proto::v1;

/// A player's controls; they hold until other ones are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// -127 (left) to 127 (right).
    pub axis_x: i32,
    /// -127 (back) to 127 (forward).
    pub axis_y: i32,
    /// The heading to turn to, 65536 being a full turn; overrides `axis_x`.
    pub aim: Option<u16>,
    /// Bits; [`Controls::FIRE`] is the first, the rest is the game's.
    pub buttons: u32,
    /// An entity that the move is about.
    pub target: Option<u32>,
    /// What a game adds; at most 64 bytes.
    pub payload: Vec<u8>,
}

impl Controls {
    /// The button that every game has.
    pub const FIRE: u32 = 1;

    /// The part that steers the player's own entity.
    pub fn steering(&self) -> Steering {
        Steering { axis_x: self.axis_x, axis_y: self.axis_y, aim: self.aim }
    }

    /// The message of this number; the tick seen is filled in when it is written.
    pub(super) fn into_move(self, sequence: u32) -> v1::Move {
        v1::Move {
            sequence,
            seen_tick: 0,
            axis_x: self.axis_x.clamp(-127, 127),
            axis_y: self.axis_y.clamp(-127, 127),
            aim: self.aim.map(u32::from),
            buttons: self.buttons,
            target: self.target,
            payload: self.payload,
            trace: None,
        }
    }
}
