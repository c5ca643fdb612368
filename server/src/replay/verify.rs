//! Whether a recording comes out the same.

use super::{Error, Games, Simulation, Step};
use crate::game::Input;
use crate::store::{EndReason, Header, ReadError};
use std::collections::BTreeSet;
use std::io::Read;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Bit for bit. If the recorded game panicked at its end, this one did so in the same tick.
    Same {
        /// What the panic said.
        panicked: Option<String>,
    },
    /// Not the same.
    Differs {
        /// The first tick whose recorded hash is another.
        tick: u32,
        /// As recorded.
        recorded: u64,
        /// As it came out; the same as `recorded` if the recorded game panicked and this one did not.
        replayed: u64,
    },
    /// The bytes are not as they were written.
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// The game's rules panicked, and the recording does not say that they did.
    Panicked {
        /// The tick.
        tick: u32,
        /// What the panic said.
        message: String,
    },
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The answer.
    pub verdict: Verdict,
    /// The first header.
    pub header: Option<Header>,
    /// How the log ended; none if it was cut off, or still grows.
    pub end: Option<EndReason>,
    /// The last tick that was played.
    pub last_tick: u32,
    /// Ticks played.
    pub ticks: u32,
    /// State hashes compared.
    pub hashes_compared: u32,
    /// How often ticks were missing between two segments.
    pub gaps: u32,
    /// Players that joined while it was recorded.
    pub joins: u32,
    /// Moves.
    pub moves: u64,
    /// Ticks that a player was in, over all players that joined in the recording.
    pub player_ticks: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Another game, or other rules.
    #[error("{game} with rules of version {sim_version} is not known here")]
    Unsupported {
        /// The recording's game.
        game: String,
        /// The recording's rules.
        sim_version: u32,
    },
    /// A newer version wrote it.
    #[error("written in format {0}, which this version does not read")]
    Newer(u32),
    /// More ticks than may be played.
    #[error("more than {0} ticks")]
    TooLong(u32),
    /// Whoever asked does not want it any more.
    #[error("stopped")]
    Stopped,
    /// The bytes cannot be had.
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
}

/// Plays a recording again from its beginning, and compares. `stop` is asked before each tick.
pub fn verify(
    games: Games<'_>,
    from: impl Read,
    ticks_max: u32,
    mut stop: impl FnMut() -> bool,
) -> Result<Report, Unanswered> {
    let mut verification = Verification::new(games, from, ticks_max);
    loop {
        if let Some(answer) = verification.advance(u32::MAX, &mut stop) {
            return answer;
        }
    }
}

/// A recording that is being compared, a part at a time.
pub struct Verification<R> {
    simulation: Simulation<R>,
    report: Report,
    present: BTreeSet<u32>,
    ticks_max: u32,
}

impl<R: Read> Verification<R> {
    /// From the recording's beginning.
    pub fn new(games: Games<'_>, from: R, ticks_max: u32) -> Self {
        let report = Report {
            verdict: Verdict::Same { panicked: None },
            header: None,
            end: None,
            last_tick: 0,
            ticks: 0,
            hashes_compared: 0,
            gaps: 0,
            joins: 0,
            moves: 0,
            player_ticks: 0,
        };
        let simulation = Simulation::new(games, from);
        Self { simulation, report, present: BTreeSet::new(), ticks_max }
    }

    /// Ticks played so far.
    pub fn ticks(&self) -> u32 {
        self.report.ticks
    }

    /// Plays so many records more; the answer, if that was all.
    pub fn advance(
        &mut self,
        records: u32,
        mut stop: impl FnMut() -> bool,
    ) -> Option<Result<Report, Unanswered>> {
        for _ in 0..records {
            if stop() {
                return Some(Err(Unanswered::Stopped));
            }
            match self.step(&mut stop) {
                Ok(true) => {}
                Ok(false) => return Some(Ok(self.finish())),
                Err(unanswered) => return Some(Err(unanswered)),
            }
        }
        None
    }

    /// Whether it goes on.
    fn step(&mut self, stop: &mut dyn FnMut() -> bool) -> Result<bool, Unanswered> {
        let report = &mut self.report;
        match self.simulation.step_until(stop) {
            Ok(Step::Waiting) => return Ok(false),
            Ok(Step::Began) => {
                report.end = None;
                report.header = report.header.take().or_else(|| self.simulation.header().cloned());
            }
            Ok(Step::Checked) => {}
            Ok(Step::Ended(end)) => report.end = Some(end.reason),
            Ok(Step::Ticked(tick)) => {
                for input in tick.inputs() {
                    match input {
                        Input::Join { player, .. } => {
                            report.joins += 1;
                            self.present.insert(player);
                        }
                        Input::Leave { player } => {
                            self.present.remove(&player);
                        }
                        Input::Controls { .. } => report.moves += 1,
                        Input::Connected { .. } => {}
                    }
                }
                report.ticks += 1;
                report.player_ticks += self.present.len() as u64;
                if report.ticks > self.ticks_max {
                    return Err(Unanswered::TooLong(self.ticks_max));
                }
            }
            Err(Error::Panicked { message, as_recorded: true, .. }) => {
                // What follows, if anything but the end, is looked at all the same.
                report.verdict = Verdict::Same { panicked: Some(message) };
            }
            Err(error) => {
                report.verdict = verdict(error)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn finish(&mut self) -> Report {
        let mut report = self.report.clone();
        if report.header.is_none() && matches!(report.verdict, Verdict::Same { .. }) {
            // Nothing whole was there: nothing was shown to be the same.
            let problem = "there is no whole header".to_owned();
            report.verdict = Verdict::Damaged { offset: 0, problem };
        }
        report.last_tick = self.simulation.tick();
        report.hashes_compared = self.simulation.hashes_compared;
        report.gaps = self.simulation.gaps;
        report
    }
}

fn verdict(error: Error) -> Result<Verdict, Unanswered> {
    Ok(match error {
        Error::Read(ReadError::Damaged { offset, problem }) => {
            Verdict::Damaged { offset, problem: problem.into() }
        }
        Error::Read(ReadError::Newer(version)) => return Err(Unanswered::Newer(version)),
        Error::Read(ReadError::Io(error)) => return Err(Unanswered::Io(error)),
        Error::Checkpoint { offset, problem } => Verdict::Damaged { offset, problem },
        Error::Unsupported { game, sim_version } => {
            return Err(Unanswered::Unsupported { game, sim_version });
        }
        Error::Differs { tick, recorded, replayed } => {
            Verdict::Differs { tick, recorded, replayed }
        }
        Error::NoPanic { tick } => Verdict::Differs { tick, recorded: 0, replayed: 0 },
        Error::Panicked { tick, message, .. } => Verdict::Panicked { tick, message },
        Error::Stopped => return Err(Unanswered::Stopped),
    })
}
