//! Recordings, played again.
//!
//! - [`simulation`]: a game that is fed from a recording, tick by tick, from any tick on.
//! - [`mod@verify`]: whether a recording comes out the same, under limits.
//! - [`frames`]: what streams show of a recording: the same updates as of a room that plays.
//! - [`restoring`]: a room as its last owner left it, for its next one.
//! - [`pool`]: the threads on which all this is done.
//!
//! Architecture Invariant: nothing here has a clock, and nothing but [`pool`] waits; whoever asks says when to stop. A recording may come from
//! anybody: whatever it holds, the answer is an error, never a panic, and its cost is bounded.

pub mod frames;
pub mod pool;
pub mod restoring;
pub mod simulation;
pub mod verify;

pub use frames::Playback;
pub use pool::Pool;
pub use simulation::{Error, Simulation, Step};
pub use verify::{Report, Unanswered, Verdict, Verification, verify};

use crate::game::GameFactory;
use crate::store::Header;

/// The games that recordings may be of.
#[derive(Clone, Copy)]
pub struct Games<'a>(pub &'a [std::sync::Arc<dyn GameFactory>]);

impl<'a> Games<'a> {
    /// The one that made a recording; its rules must be of the same version.
    pub fn of(self, header: &Header) -> Result<&'a std::sync::Arc<dyn GameFactory>, Error> {
        let is_same = |game: &&std::sync::Arc<dyn GameFactory>| {
            game.name() == header.game && game.sim_version() == header.sim_version
        };
        let found = self.0.iter().find(is_same);
        found.ok_or_else(|| Error::Unsupported {
            game: header.game.clone(),
            sim_version: header.sim_version,
        })
    }
}
