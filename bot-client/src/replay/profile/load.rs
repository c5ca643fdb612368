//! A tick with its neighbours, from a recording.

use super::super::dump::Players;
use super::super::open::Recording;
use super::NEIGHBOURS_EACH_SIDE;
use super::phases::{Stage, Work};
use anyhow::{Context as _, anyhow, ensure};
use fray_server::game::{Game, GameFactory};
use fray_server::replay::simulation::Error;
use fray_server::replay::verify::Unanswered;
use fray_server::replay::{Games, Simulation, Step};
use fray_server::store::Header;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Ticks one after the other, and the state before the first of them.
pub(super) struct Window {
    factory: Arc<dyn GameFactory>,
    pub(super) header: Header,
    state: Vec<u8>,
    players: BTreeSet<u32>,
    /// In order, without gaps.
    pub(super) ticks: Vec<Work>,
    /// Which of them it is about.
    pub(super) index: usize,
}

impl Window {
    /// The tick that it is about.
    pub(super) fn work(&self) -> &Work {
        &self.ticks[self.index]
    }

    /// Ready to play the first of the ticks.
    pub(super) fn begin(&self) -> Stage {
        let rate_hz = self.header.tick_rate_hz;
        Stage::new(self.restore(&self.state), rate_hz, self.ticks[0].tick - 1, &self.players)
    }

    /// The game with this state. Invariant: the game itself has made the checkpoint, and restored it in [`load`].
    pub(super) fn restore(&self, state: &[u8]) -> Box<dyn Game> {
        self.factory.restore(state).expect("the game restores what it made")
    }
}

/// Reads the ticks around this one, and plays them once: they must come out as they were recorded.
pub(super) fn load(
    games: Games<'_>,
    recording: &Recording,
    tick: u32,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<Window> {
    let scan = recording.scan(u32::MAX)?;
    let (first, last) = (scan.first_tick(), scan.last_tick);
    let header = scan.header.context("there is no whole header")?;
    let factory = Arc::clone(games.of(&header)?);
    // Whoever sees damage before the tick is told of it below, by the one who plays.
    let is_there = (first..=last).contains(&tick);
    ensure!(
        is_there || (tick > last && scan.is_damaged),
        "tick {tick} is not in it: it has the ticks {first} to {last}"
    );
    let before = tick.saturating_sub(NEIGHBOURS_EACH_SIDE).max(first) - 1;
    let mut simulation = Simulation::new(games, recording.open()?);
    // Where ticks are missing, the nearest state there is before the tick will do.
    simulation.seek(before, is_stopped).map_err(|error| failed(error, tick))?;
    ensure!(simulation.tick() < tick, "tick {tick} is missing in it");
    let mut window = Window {
        factory,
        header: *header,
        state: Vec::new(),
        players: BTreeSet::new(),
        ticks: Vec::new(),
        index: 0,
    };
    window.begin_at(simulation.game().context("there is no state")?)?;
    let mut at = simulation.tick();
    while at < tick.saturating_add(NEIGHBOURS_EACH_SIDE) {
        if is_stopped() {
            return Err(Unanswered::Stopped.into());
        }
        let step = match simulation.step() {
            Ok(step) => step,
            // What is after the tick is only to compare with.
            Err(_) if at >= tick => break,
            Err(error) => return Err(failed(error, tick)),
        };
        match step {
            Step::Ticked(next) => {
                at = next.tick;
                window.ticks.push(Work::new(&next));
            }
            Step::Checked if simulation.tick() == at => {
                if let Some(work) = window.ticks.last_mut() {
                    work.has_checkpoint = true;
                }
            }
            // Ticks are missing here. Those before are no neighbours of what follows.
            Step::Checked if at >= tick => break,
            Step::Checked => {
                at = simulation.tick();
                window.begin_at(simulation.game().context("there is no state")?)?;
            }
            Step::Began => {}
            Step::Ended(_) | Step::Waiting => break,
        }
    }
    let index = window.ticks.iter().position(|work| work.tick == tick);
    window.index = index.with_context(|| format!("tick {tick} is missing in it"))?;
    window.players = Players::before(recording, window.ticks[0].tick - 1)?.numbers();
    Ok(window)
}

fn failed(error: Error, tick: u32) -> anyhow::Error {
    match error {
        Error::Stopped => Unanswered::Stopped.into(),
        Error::Panicked { tick: broken, as_recorded: true, message } if broken == tick => {
            anyhow!("tick {tick} cannot be measured: the rules panic in it, as recorded: {message}")
        }
        error => error.into(),
    }
}

impl Window {
    fn begin_at(&mut self, game: &dyn Game) -> anyhow::Result<()> {
        self.ticks.clear();
        self.state = game.checkpoint();
        self.factory.restore(&self.state).map_err(anyhow::Error::new)?;
        Ok(())
    }
}
