//! What a room feeds a game, as values: the log holds these, and they make the same game again.

use super::{Controls, Game, Profile, Refusal};

/// One input. State and inputs make the next state, and nothing else does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// [`Game::join`].
    Join {
        /// The player's number.
        player: u32,
        /// What it looks like.
        profile: Profile,
    },
    /// [`Game::leave`].
    Leave {
        /// The player's number.
        player: u32,
    },
    /// [`Game::set_connected`].
    Connected {
        /// The player's number.
        player: u32,
        /// Whether its stream is there.
        connected: bool,
    },
    /// [`Game::apply`]. The moves of a session are logged without gaps, so a move's sequence is its count.
    Controls {
        /// The player's number.
        player: u32,
        /// The controls from then on.
        controls: Controls,
    },
}

impl Input {
    /// Feeds it to a game, as the room did.
    pub fn feed(&self, game: &mut dyn Game) -> Result<(), Refusal> {
        match self {
            Self::Join { player, profile } => {
                game.join(*player, profile);
            }
            Self::Leave { player } => game.leave(*player),
            Self::Connected { player, connected } => game.set_connected(*player, *connected),
            Self::Controls { player, controls } => return game.apply(*player, controls),
        }
        Ok(())
    }
}

/// Something that a time line should show. Joins and leaves need none: they are inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What.
    pub kind: MarkKind,
    /// Who, by number; 0: nobody.
    pub player: u32,
    /// To whom; 0: nobody.
    pub other: u32,
    /// For people; short.
    pub text: String,
}

/// What a time line knows how to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// The game's own; its text says what.
    Other,
    /// One took another out.
    Kill,
    /// A round began.
    Round,
}
