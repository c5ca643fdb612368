//! One tick, many times: is it heavy in itself, or was it late because of the machine? And where does its time go?
//!
//! - `load`: the tick with its neighbours, from a recording, and the state that each begins with.
//! - `phases`: a tick as the room makes it, each part measured.
//! - `measure`: the tick and its neighbours in turn, then the tick alone, as often as there is time for.
//! - `verdict`: what the figures mean; pure.
//! - `sampler`: where the time goes, by looking at the stack now and then. `stacks`: what was seen; pure.
//! - `report`: all of it as text, and for programs.
//!
//! The state is restored outside of what is measured; the samples that count are those within.

mod load;
mod measure;
mod phases;
mod report;
mod sampler;
mod stacks;
#[cfg(test)]
mod tests;
mod verdict;

use super::ReplayArgs;
use super::open::Recording;
use anyhow::{Context as _, bail, ensure};
use fray_server::replay::Games;
use fray_server::replay::verify::Unanswered;
use fray_server::telemetry::panic_message;
use measure::{Clock, Stopped};
use report::{Conditions, Report};
use stacks::Profile;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// How long a tick is played again and again, unless that is said.
pub(super) const LASTS_DEFAULT: Duration = Duration::from_secs(3);
/// The longest that may be asked for.
pub(super) const LASTS_MAX: Duration = Duration::from_secs(60);
/// How many ticks before the tick, and as many after it, are its neighbours.
pub(super) const NEIGHBOURS_EACH_SIDE: u32 = 100;

/// The first and the last tick of a recording that are of use for this one.
pub(super) fn ticks_needed(tick: u32) -> [u32; 2] {
    [tick.saturating_sub(NEIGHBOURS_EACH_SIDE), tick.saturating_add(NEIGHBOURS_EACH_SIDE)]
}

/// Profiles a tick, and says what came of it.
pub(super) fn profile(
    games: Games<'_>,
    recording: &Recording,
    tick: u32,
    args: &ReplayArgs,
    out: &mut dyn Write,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<ExitCode> {
    let lasts = args.profile_for.unwrap_or(LASTS_DEFAULT);
    ensure!(
        !lasts.is_zero() && lasts <= LASTS_MAX,
        "--profile-for is above 0 and at most {} s",
        LASTS_MAX.as_secs()
    );
    if let Some(file) = &args.folded {
        let shown = file.display();
        ensure!(args.force || !file.exists(), "{shown} is there already; --force overwrites it");
    }
    let window =
        load::load(games, recording, tick, is_stopped).with_context(|| recording.name.clone())?;
    let began = Instant::now();
    let clock = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    // The rules have played these ticks without a panic; what a room asks of the game besides may still have one.
    let (in_turn, alone, samples) = guarded(|| {
        let in_turn = measure::in_turn(&window, lasts / 3, Clock(&clock), is_stopped)?;
        let sampling = sampler::start();
        let alone = measure::alone(&window, &in_turn, lasts, Clock(&clock), is_stopped)?;
        Ok((in_turn, alone, sampling.and_then(sampler::Sampler::finish)))
    })?;
    let profile = samples.and_then(|stacks| Profile::new(&stacks));
    if let Some(file) = &args.folded {
        let profile = profile.as_ref().map_err(|why| anyhow::anyhow!("--folded: {why}"))?;
        write(file, &profile.folded(), args.force).with_context(|| file.display().to_string())?;
    }
    let conditions = Conditions::now();
    let report = Report {
        recording,
        window: &window,
        in_turn: &in_turn,
        alone: &alone,
        profile,
        conditions,
    };
    if args.json {
        writeln!(out, "{:#}", report.json())?;
    } else {
        out.write_all(report.text().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn guarded<T>(measure: impl FnOnce() -> Result<T, Stopped>) -> anyhow::Result<T> {
    match catch_unwind(AssertUnwindSafe(measure)) {
        Ok(Ok(measured)) => Ok(measured),
        Ok(Err(Stopped)) => Err(Unanswered::Stopped.into()),
        Err(panic) => bail!("the game panicked: {}", panic_message(panic.as_ref())),
    }
}

fn write(file: &Path, text: &str, force: bool) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(true);
    let options = if force { options.create(true) } else { options.create_new(true) };
    options.open(file)?.write_all(text.as_bytes())
}
