//! What a stream shows of a recording: the same updates as of a room that plays, from any tick on.

use super::{Error, Games, Simulation, Step};
use crate::game::Published;
use crate::replication::{Encoder, Grid, Splicer, TickFrame};
use crate::store::Header;
use bytes::Bytes;
use std::io::Read;
use std::sync::Arc;

/// The most ticks whose changes one update gathers; one that spans more starts from nothing.
const GATHERED_TICKS_MAX: u32 = 64;

/// One stream's look at a recording: a game that is played again, and what was written of it.
pub struct Playback<R> {
    simulation: Simulation<R>,
    encoder: Option<Encoder>,
    frame: Option<Arc<TickFrame>>,
    splicer: Splicer,
    published: Published,
    followed_player: u32,
}

/// What came of going on.
#[derive(Debug)]
pub struct Shown {
    /// The update from what was written last to the tick that was reached, framed; none if no tick was made.
    pub update: Option<Bytes>,
    /// Ticks that were played.
    pub ticks: u32,
    /// What is next.
    pub then: Then,
}

/// What is next.
#[derive(Debug)]
pub enum Then {
    /// There is more.
    GoesOn,
    /// This was the last tick, so far.
    Waits,
    /// It cannot go on.
    Failed(Error),
}

impl<R: Read> Playback<R> {
    /// Goes to a tick, or to the last if it is later. `followed_player` is whose surroundings are shown; 0: the game chooses.
    pub fn open(
        games: Games<'_>,
        from: R,
        tick: u32,
        followed_player: u32,
        stop: impl FnMut() -> bool,
    ) -> Result<Self, Error> {
        let mut simulation = Simulation::new(games, from);
        simulation.seek(tick, stop)?;
        Ok(Self {
            simulation,
            encoder: None,
            frame: None,
            splicer: Splicer::default(),
            published: Published::default(),
            followed_player,
        })
    }

    /// The header of what is played, and how its world is cut into cells; none if the log does not hold a state yet.
    pub fn header(&self) -> Option<(&Header, Grid)> {
        let game = self.simulation.game()?;
        Some((self.simulation.header()?, Grid::of(game)))
    }

    /// Where in the recording the next record begins.
    pub fn offset(&self) -> u64 {
        self.simulation.offset()
    }

    /// The tick that was reached.
    pub fn tick(&self) -> u32 {
        self.simulation.tick()
    }

    /// The update to the state as it is now.
    pub fn show(&mut self) -> Option<Bytes> {
        if self.frame.as_ref().map(|frame| frame.tick) != Some(self.simulation.tick()) {
            self.encode();
        }
        let frame = self.frame.as_ref()?;
        self.splicer.update(frame, None, frame.spectator_view)
    }

    /// Plays so many ticks, or as many as there are, and shows the last. `stop` is asked before each.
    pub fn advance(&mut self, ticks: u32, mut stop: impl FnMut() -> bool) -> Shown {
        let mut played = 0;
        let then = loop {
            if played == ticks {
                break Then::GoesOn;
            }
            if stop() {
                break Then::Failed(Error::Stopped);
            }
            match self.simulation.step_until(&mut stop) {
                Ok(Step::Ticked(_)) => {
                    played += 1;
                    if ticks <= GATHERED_TICKS_MAX {
                        self.encode();
                    }
                }
                Ok(Step::Began | Step::Checked | Step::Ended(_)) => {}
                Ok(Step::Waiting) => break Then::Waits,
                Err(error) => break Then::Failed(error),
            }
        };
        let update = if played > 0 { self.show() } else { None };
        Shown { update, ticks: played, then }
    }

    /// Makes the frame of the tick that was reached, if there is a state.
    fn encode(&mut self) {
        let Some(game) = self.simulation.game() else { return };
        let Some(header) = self.simulation.header() else { return };
        let tick = self.simulation.tick();
        self.published.local.clear();
        self.published.global.clear();
        game.publish(&mut self.published);
        self.published.put_in_order();
        let follows =
            self.frame.as_ref().is_some_and(|frame| frame.tick.checked_add(1) == Some(tick));
        let mut encoder = self.encoder.take().filter(|_| follows).unwrap_or_else(|| {
            // Nothing that was written is a base for what follows: ticks are missing here, or were not looked at, or a later
            // owner of the room went back to the last tick that it knew.
            self.splicer.restart();
            Encoder::new(Grid::of(game), header.tick_rate_hz)
        });
        let view = game.view(Some(self.followed_player).filter(|player| *player != 0));
        self.frame = Some(encoder.encode(tick, &self.published, Vec::new(), view, Vec::new()));
        self.encoder = Some(encoder);
    }
}
