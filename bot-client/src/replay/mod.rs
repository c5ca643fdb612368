//! Recordings on the command line: are they the same when they are played again, what was the state at a tick, where do two
//! of them part; and in the terminal.
//!
//! - `open`: what a path leads to: a file, a room's folder, a store. `remote`: recordings of a running server. `table`: all that a store holds.
//! - `summary`: what a recording is, and whether it comes out the same. `dump`: the state after a tick.
//! - `diff`: where two recordings part. `export`: a part of one as a file. `profile`: where the time of a tick goes.
//! - `playback`: a recording as something to look at, for [`crate::terminal`]; the game runs on a thread of its own, `engine`.
//!
//! The games are the caller's: a program for another game calls [`run`] with its own factory.

mod diff;
mod dump;
mod engine;
mod export;
mod open;
mod playback;
mod profile;
mod remote;
mod summary;
mod table;
#[cfg(test)]
mod tests;

pub use playback::{Control, Playback};

use crate::client::transport::Trust;
use crate::terminal::{self, Seat};
use anyhow::bail;
use clap::Args;
use fray_server::game::GameFactory;
use fray_server::replay::Games;
use fray_server::replay::verify::Unanswered;
use open::{Found, Recording};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// As after Ctrl-C.
const STOPPED: u8 = 130;
/// Neither the same nor not: it could not be found out.
const UNANSWERED: u8 = 2;

/// Play a recording again, and compare
///
/// The exit code is 0 when the recording comes out the same, also when its end is missing; 1 when it differs or is damaged; 2
/// when that could not be found out.
#[derive(Clone, Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct ReplayArgs {
    /// A recording; or a store's folder, or that of a room in it; or the address of a running server (<http://…> or <https://…>)
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Of a store, or a server: this one alone
    #[arg(long, value_name = "NAME")]
    pub recording: Option<String>,
    /// Of a server: the private room's code
    #[arg(long, value_name = "CODE", default_value = "")]
    pub code: String,
    /// Write the recording as one file, without a private room's code
    #[arg(long, value_name = "FILE", groups = ["action", "file"])]
    pub export: Option<PathBuf>,
    /// Show the state after this tick
    #[arg(long, value_name = "TICK", group = "action")]
    pub at: Option<u32>,
    /// Play the tick of --at again and again, from the state before it, and show where its time goes
    #[arg(long, requires = "at")]
    pub profile: bool,
    /// How long to do so [default: 3s]
    #[arg(long, value_name = "TIME", requires = "profile", value_parser = humantime::parse_duration)]
    pub profile_for: Option<Duration>,
    /// Write the stacks that --profile saw, one a line with its count, for flame graphs
    #[arg(long, value_name = "FILE", requires = "profile", group = "file")]
    pub folded: Option<PathBuf>,
    /// Find the first tick and entity that differ from those of another recording
    #[arg(long, value_name = "OTHER", group = "action")]
    pub diff: Option<PathBuf>,
    /// Play it in this terminal
    #[arg(long, group = "action")]
    pub play: bool,
    /// Begin here: with --export at the checkpoint before, with --play at this very tick
    #[arg(long, value_name = "TICK")]
    pub from: Option<u32>,
    /// Go only as far as this tick
    #[arg(long, value_name = "TICK")]
    pub until: Option<u32>,
    /// Overwrite the file of --export, or --folded
    #[arg(long, requires = "file")]
    pub force: bool,
    /// With --play: whose surroundings, by the player's number; 0: where the game looks
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub player: u32,
    /// Answer in JSON
    #[arg(long, conflicts_with = "play")]
    pub json: bool,
    /// Of a server behind `https://`: whose certificates are trusted.
    #[arg(skip)]
    pub trust: Trust,
}

/// Does what the arguments ask for, on standard output, until it is done or `stop` is cancelled. The recordings are of these
/// games.
pub async fn run(
    games: &[Arc<dyn GameFactory>],
    args: ReplayArgs,
    stop: CancellationToken,
) -> anyhow::Result<ExitCode> {
    let games = games.to_vec();
    if args.play {
        let player = args.player;
        let stopped = stop.clone();
        let opened = tokio::task::spawn_blocking(move || play(games, &args, &stopped)).await?;
        return match opened {
            Ok(playback) => terminal::run(Seat::Recording(Box::new(playback)), player, stop).await,
            Err(error) => Ok(failed(&error)),
        };
    }
    let work = move || answer(&games, &args, &mut io::stdout().lock(), &stop);
    let answer = tokio::task::spawn_blocking(work).await?;
    Ok(answer.unwrap_or_else(|error| failed(&error)))
}

/// Says on standard error why there is no answer; the exit code for it.
fn failed(error: &anyhow::Error) -> ExitCode {
    let is_unread = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_unread) {
        // Whoever reads the answer has read enough.
        return ExitCode::SUCCESS;
    }
    if error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Unanswered::Stopped))) {
        return ExitCode::from(STOPPED);
    }
    eprintln!("Error: {error:#}");
    ExitCode::from(UNANSWERED)
}

/// The same on any output, for all but `--play`; not for async threads. An error: the arguments, or what they lead to, give no
/// answer.
pub fn answer(
    games: &[Arc<dyn GameFactory>],
    args: &ReplayArgs,
    out: &mut dyn Write,
    stop: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let games = Games(games);
    let is_stopped = || stop.is_cancelled();
    if args.from.is_some() && args.export.is_none() {
        bail!(
            "--from goes with --export or --play; what is verified is verified from its beginning"
        );
    }
    if let Some(other) = &args.diff {
        let sides = [one(&args.path, args, stop)?, one(other, args, stop)?];
        return diff::diff(games, &sides, args, out, &is_stopped);
    }
    match find(&args.path, args, stop)? {
        Found::One(recording) => {
            if let Some(tick) = args.at.filter(|_| args.profile) {
                profile::profile(games, &recording, tick, args, out, &is_stopped)
            } else if let Some(tick) = args.at {
                dump::dump(games, &recording, tick, args, out, &is_stopped)
            } else if let Some(file) = &args.export {
                export::export(&recording, file, args, out)
            } else {
                summary::verify_one(games, &recording, args, out, &is_stopped)
            }
        }
        Found::Store(recordings) if args.at.is_none() && args.export.is_none() => {
            table::verify_all(games, &recordings, args, out, &is_stopped)
        }
        Found::Store(recordings) => Err(open::which(&recordings)),
    }
}

fn play(
    games: Vec<Arc<dyn GameFactory>>,
    args: &ReplayArgs,
    stop: &CancellationToken,
) -> anyhow::Result<Playback> {
    let recording = one(&args.path, args, stop)?;
    Playback::open(games, recording, args.from, args.until, args.player)
}

/// What the path leads to.
fn find(path: &Path, args: &ReplayArgs, stop: &CancellationToken) -> anyhow::Result<Found> {
    let name = args.recording.as_deref();
    let Some(url) = remote::url(path) else { return open::find(path, name) };
    // A room may have played for days, and its neighbours are all that a tick needs.
    let [from_tick, to_tick] = match args.at.filter(|_| args.profile) {
        Some(tick) => profile::ticks_needed(tick),
        None => [0, 0],
    };
    let wanted = remote::Wanted { name, code: &args.code, from_tick, to_tick };
    Ok(Found::One(remote::fetch(url, &args.trust, &wanted, stop)?))
}

/// The one recording that the path leads to.
fn one(path: &Path, args: &ReplayArgs, stop: &CancellationToken) -> anyhow::Result<Recording> {
    match find(path, args, stop)? {
        Found::One(recording) => Ok(recording),
        Found::Store(recordings) => Err(open::which(&recordings)),
    }
}

/// `true` is the exit code for good news.
fn exit_code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A tick as the time since the beginning of the room: minutes and seconds.
fn clock(tick: u32, tick_rate_hz: u32) -> String {
    let seconds = tick / tick_rate_hz.max(1);
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}
