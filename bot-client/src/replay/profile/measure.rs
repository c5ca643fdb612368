//! The tick and its neighbours in turn, then the tick alone.

use super::load::Window;
use super::phases::{Around, PHASES, PhasesNs, Stage};
use hdrhistogram::Histogram;
use std::time::Duration;

/// Passes through all neighbours, at most: the median of more says no more.
const PASSES_MAX: usize = 25;
/// How often the tick is played alone, at least: a heavy one takes longer than was asked for.
const REPETITIONS_MIN: u64 = 5;

/// A longer time is shown as this one.
const TIME_MAX_NS: u64 = 600_000_000_000;

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

/// The tick and its neighbours, each once after the other.
pub(super) struct InTurn {
    /// How often all ticks were played.
    pub(super) passes: usize,
    /// Of each tick of the window, in its order: the median of all passes, ns.
    pub(super) ticks_ns: Vec<u64>,
    /// What was there before the tick.
    state: Vec<u8>,
    around: Around,
}

/// The tick, again and again from the same state.
pub(super) struct Alone {
    /// Its parts, then the whole, ns.
    pub(super) times: [Histogram<u64>; PHASES + 1],
    /// Players that are known, and entities, local and global ones, after the tick.
    pub(super) counts: [usize; 3],
}

impl Alone {
    /// How often it was played.
    pub(super) fn repetitions(&self) -> u64 {
        self.times[PHASES].len()
    }
}

/// Plays the window's ticks for about so long; once in any case.
pub(super) fn in_turn(
    window: &Window,
    lasts: Duration,
    clock: Clock<'_>,
    is_stopped: &dyn Fn() -> bool,
) -> Result<InTurn, Stopped> {
    let began = clock.now_ns();
    let mut start = None;
    // This one does not count: memory is taken in it for the first time.
    pass(window, clock, is_stopped, |stage| {
        start = Some((stage.game.checkpoint(), stage.around()));
    })?;
    let (state, around) = start.expect("the window's index is one of its ticks");
    let mut passes: Vec<Vec<u64>> = Vec::new();
    while passes.is_empty()
        || (passes.len() < PASSES_MAX && clock.since(began) < nanoseconds(lasts))
    {
        passes.push(pass(window, clock, is_stopped, |_| ())?);
    }
    let ticks_ns = (0..window.ticks.len())
        .map(|index| median(passes.iter().map(|ticks_ns| ticks_ns[index]).collect()))
        .collect();
    Ok(InTurn { passes: passes.len(), ticks_ns, state, around })
}

/// Plays the tick for about so long, and a few times in any case.
pub(super) fn alone(
    window: &Window,
    start: &InTurn,
    lasts: Duration,
    clock: Clock<'_>,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Alone, Stopped> {
    let began = clock.now_ns();
    let mut times: [Histogram<u64>; PHASES + 1] = std::array::from_fn(|_| histogram());
    let mut counts = [0; 3];
    while times[PHASES].len() < REPETITIONS_MIN || clock.since(began) < nanoseconds(lasts) {
        if is_stopped() {
            return Err(Stopped);
        }
        let mut stage = Stage::with(window.restore(&start.state), start.around.clone());
        let phases_ns = stage.play(window.work(), clock);
        let all_ns = phases_ns.into_iter().chain([whole(&phases_ns)]);
        for (histogram, ns) in times.iter_mut().zip(all_ns) {
            histogram.saturating_record(ns);
        }
        counts = stage.counts();
    }
    Ok(Alone { times, counts })
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

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn histogram() -> Histogram<u64> {
    // Invariant: the bounds and the digits are within what a histogram takes.
    Histogram::new_with_bounds(1, TIME_MAX_NS, 3).expect("bounds")
}

/// The upper one of two in the middle; 0 of nothing.
pub(super) fn median(mut values: Vec<u64>) -> u64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0 } else { *values.select_nth_unstable(middle).1 }
}
