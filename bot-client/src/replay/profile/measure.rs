//! The tick and its neighbours in turn, then the tick alone.

use super::load::Window;
use super::phases::{PHASES, PhasesNs, Stage};
use hdrhistogram::Histogram;
use std::time::Duration;

/// Passes through all neighbours, at most: the median of more says no more.
const PASSES_MAX: usize = 25;
/// The share of the time that passes may take; one is made in any case.
const PASSES_SHARE: u64 = 3;
/// How often the tick is played alone, at least: a heavy one takes longer than was asked for.
const REPETITIONS_MIN: u64 = 5;

/// Tells the time, ns since any beginning.
#[derive(Clone, Copy)]
pub(super) struct Clock<'a>(pub(super) &'a dyn Fn() -> u64);

impl Clock<'_> {
    pub(super) fn now_ns(self) -> u64 {
        (self.0)()
    }

    pub(super) fn since(self, began_ns: u64) -> u64 {
        self.now_ns().saturating_sub(began_ns)
    }
}

/// Whoever asked does not want it any more.
#[derive(Debug)]
pub(super) struct Stopped;

/// What was measured.
pub(super) struct Measured {
    /// Times through all ticks.
    pub(super) passes: usize,
    /// Of each tick of the window, in its order: the median of all passes, ns.
    pub(super) ticks_ns: Vec<u64>,
    /// Of the tick alone: its parts, then the whole.
    pub(super) alone: [Histogram<u64>; PHASES + 1],
    /// Players that are known, and entities, local and global ones, after the tick.
    pub(super) counts: [usize; 3],
}

impl Measured {
    /// How often the tick was played alone.
    pub(super) fn repetitions(&self) -> u64 {
        self.alone[PHASES].len()
    }
}

/// Plays the window's ticks for about so long.
pub(super) fn measure(
    window: &Window,
    lasts: Duration,
    clock: Clock<'_>,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Measured, Stopped> {
    let lasts_ns = u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
    let began = clock.now_ns();
    let mut passes: Vec<Vec<u64>> = Vec::new();
    let mut start = None;
    // This one does not count: memory is taken in it for the first time.
    pass(window, clock, is_stopped, |stage| {
        start = Some((stage.game.checkpoint(), stage.around()));
    })?;
    let (state, around) = start.expect("the window's index is one of its ticks");
    while passes.is_empty()
        || (passes.len() < PASSES_MAX && clock.since(began) < lasts_ns / PASSES_SHARE)
    {
        passes.push(pass(window, clock, is_stopped, |_| ())?);
    }
    let ticks_ns = (0..window.ticks.len())
        .map(|index| median(passes.iter().map(|ticks_ns| ticks_ns[index]).collect()))
        .collect();
    let mut alone: [Histogram<u64>; PHASES + 1] = std::array::from_fn(|_| histogram());
    let mut counts = [0; 3];
    while alone[PHASES].len() < REPETITIONS_MIN || clock.since(began) < lasts_ns {
        if is_stopped() {
            return Err(Stopped);
        }
        let mut stage = Stage::with(window.restore(&state), around.clone());
        let phases_ns = stage.play(window.work(), clock);
        for (histogram, ns) in
            alone.iter_mut().zip(phases_ns.into_iter().chain([whole(&phases_ns)]))
        {
            histogram.saturating_record(ns);
        }
        counts = stage.counts();
    }
    Ok(Measured { passes: passes.len(), ticks_ns, alone, counts })
}

/// Plays all ticks once; how long each took, ns.
fn pass(
    window: &Window,
    clock: Clock<'_>,
    is_stopped: &dyn Fn() -> bool,
    mut before_tick: impl FnMut(&Stage),
) -> Result<Vec<u64>, Stopped> {
    let mut stage = window.begin();
    let mut ticks_ns = Vec::with_capacity(window.ticks.len());
    for (index, work) in window.ticks.iter().enumerate() {
        if is_stopped() {
            return Err(Stopped);
        }
        if index == window.index {
            before_tick(&stage);
        }
        ticks_ns.push(whole(&stage.play(work, clock)));
    }
    Ok(ticks_ns)
}

fn whole(phases_ns: &PhasesNs) -> u64 {
    phases_ns.iter().sum()
}

fn histogram() -> Histogram<u64> {
    // Invariant: three digits are within what the histogram takes.
    Histogram::new(3).expect("three digits")
}

/// The upper one of two in the middle; 0 of nothing.
pub(super) fn median(mut values: Vec<u64>) -> u64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0 } else { *values.select_nth_unstable(middle).1 }
}
