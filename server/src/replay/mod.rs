//! Recordings, played again.
//!
//! - [`simulation`]: a game that is fed from a recording, tick by tick, from any tick on.
//! - [`verify`]: whether a recording comes out the same, under limits.
//!
//! Architecture Invariant: nothing here waits and nothing has a clock; whoever asks says when to stop. A recording may come from
//! anybody: whatever it holds, the answer is an error, never a panic, and its cost is bounded.

pub mod simulation;
pub mod verify;

pub use simulation::{Error, Simulation, Step};
pub use verify::{Report, Verdict, verify};

use crate::game::GameFactory;
use crate::store::Header;

/// The games that recordings may be of.
#[derive(Clone, Copy)]
pub struct Games<'a>(pub &'a [std::sync::Arc<dyn GameFactory>]);

impl<'a> Games<'a> {
    /// The one that made a recording; its rules must be of the same version.
    pub fn of(self, header: &Header) -> Result<&'a dyn GameFactory, Error> {
        let is_same = |game: &&std::sync::Arc<dyn GameFactory>| {
            game.name() == header.game && game.sim_version() == header.sim_version
        };
        let found = self.0.iter().find(is_same);
        found.map(std::convert::AsRef::as_ref).ok_or_else(|| Error::Unsupported {
            game: header.game.clone(),
            sim_version: header.sim_version,
        })
    }
}
