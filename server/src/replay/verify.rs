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
    let mut simulation = Simulation::new(games, from);
    let mut report = Report {
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
    let mut present = BTreeSet::new();
    loop {
        if stop() {
            return Err(Unanswered::Stopped);
        }
        match simulation.step() {
            Ok(Step::Waiting) => break,
            Ok(Step::Began) => {
                report.end = None;
                report.header = report.header.take().or_else(|| simulation.header().cloned());
            }
            Ok(Step::Checked) => {}
            Ok(Step::Ended(end)) => report.end = Some(end.reason),
            Ok(Step::Ticked(tick)) => {
                for input in tick.inputs() {
                    match input {
                        Input::Join { player, .. } => {
                            report.joins += 1;
                            present.insert(player);
                        }
                        Input::Leave { player } => {
                            present.remove(&player);
                        }
                        Input::Controls { .. } => report.moves += 1,
                        Input::Connected { .. } => {}
                    }
                }
                report.ticks += 1;
                report.player_ticks += present.len() as u64;
                if report.ticks > ticks_max {
                    return Err(Unanswered::TooLong(ticks_max));
                }
            }
            Err(Error::Panicked { message, as_recorded: true, .. }) => {
                report.verdict = Verdict::Same { panicked: Some(message) };
                if let Ok(Step::Ended(end)) = simulation.step() {
                    report.end = Some(end.reason);
                }
                break;
            }
            Err(error) => {
                report.verdict = verdict(error)?;
                break;
            }
        }
    }
    if report.header.is_none() && matches!(report.verdict, Verdict::Same { .. }) {
        // Nothing whole was there: nothing was shown to be the same.
        let problem = "there is no whole header".to_owned();
        report.verdict = Verdict::Damaged { offset: 0, problem };
    }
    report.last_tick = simulation.tick();
    report.hashes_compared = simulation.hashes_compared;
    report.gaps = simulation.gaps;
    Ok(report)
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
