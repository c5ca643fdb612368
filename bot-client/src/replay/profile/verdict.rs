//! What the figures mean.

use super::measure::median;
use std::fmt::Write as _;

/// So many times the median of its neighbours make a tick heavy.
const HEAVY_RATIO: f64 = 1.5;
/// A tick that takes less than this share of its time makes nothing late, unless the other machine is many times slower.
const SMALL_SHARE: f64 = 0.25;
/// How many of the heaviest neighbours are named.
const HEAVIEST: usize = 3;

/// A tick among its neighbours.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comparison {
    pub(super) tick_ns: u64,
    /// Of the neighbours; 0 if there are none.
    pub(super) median_ns: u64,
    /// How many neighbours.
    pub(super) neighbours: usize,
    /// How many of them take less time.
    pub(super) lighter: usize,
    /// The heaviest neighbours, heaviest first: tick and ns.
    pub(super) heaviest: Vec<(u32, u64)>,
    /// The heaviest tick of the last second before it, if that is one that may have made it late.
    pub(super) suspect: Option<(u32, u64)>,
    period_ns: u64,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Heavier than its neighbours, and long.
    Heavy,
    /// Heavier than its neighbours, and still short.
    HeavyButShort,
    /// As its neighbours are, and short.
    Usual,
    /// As its neighbours are, and all of them long.
    AllLong,
}

impl Comparison {
    /// Of the tick at `index` among ticks and their times, ns.
    pub(super) fn new(ticks: &[(u32, u64)], index: usize, tick_rate_hz: u32) -> Self {
        let (tick, tick_ns) = ticks[index];
        let period_ns = 1_000_000_000 / u64::from(tick_rate_hz.max(1));
        let mut neighbours = ticks.to_vec();
        neighbours.remove(index);
        let median_ns = median(neighbours.iter().map(|(_, ns)| *ns).collect());
        let lighter = neighbours.iter().filter(|(_, ns)| *ns < tick_ns).count();
        let mut heaviest = neighbours.clone();
        heaviest.sort_by_key(|(tick, ns)| (u64::MAX - ns, *tick));
        let is_before = |other: u32| other < tick && tick - other <= tick_rate_hz;
        let may_be_why =
            |ns: u64| ratio(ns, median_ns) >= HEAVY_RATIO && share(ns, period_ns) >= SMALL_SHARE;
        let suspect = heaviest.iter().find(|(other, ns)| is_before(*other) && may_be_why(*ns));
        let suspect = suspect.copied();
        heaviest.truncate(HEAVIEST);
        let neighbours = neighbours.len();
        Self { tick_ns, median_ns, neighbours, lighter, heaviest, suspect, period_ns }
    }

    /// How many times the median of its neighbours it takes; 1 if it has none.
    pub(super) fn ratio(&self) -> f64 {
        ratio(self.tick_ns, self.median_ns)
    }

    /// How many times the median this takes.
    pub(super) fn ratio_of(&self, ns: u64) -> f64 {
        ratio(ns, self.median_ns)
    }

    pub(super) fn verdict(&self) -> Verdict {
        let is_heavy = self.ratio() >= HEAVY_RATIO;
        let is_short = share(self.tick_ns, self.period_ns) < SMALL_SHARE;
        match (is_heavy, is_short) {
            (true, false) => Verdict::Heavy,
            (true, true) => Verdict::HeavyButShort,
            (false, true) => Verdict::Usual,
            (false, false) => Verdict::AllLong,
        }
    }

    /// In a sentence or two.
    pub(super) fn sentence(&self) -> String {
        let takes = format!("This tick takes {} here", ms(self.tick_ns));
        let times = if self.neighbours == 0 {
            "and has no neighbours to compare with".to_owned()
        } else {
            format!("{:.1} × its neighbours", self.ratio())
        };
        let percent = share(self.tick_ns, self.period_ns) * 100.0;
        let of_its_time = format!("{percent:.2} % of the {} it may take", ms(self.period_ns));
        let mut text = match self.verdict() {
            Verdict::Heavy => format!(
                "{takes}, {times} and {of_its_time}: it is HEAVY in itself, and what was late may have been late because of it."
            ),
            Verdict::HeavyButShort => format!(
                "{takes}, {times}: it is HEAVIER than they are, but only {of_its_time}: the code is not why it was late, \
                 unless the server's machine is many times slower."
            ),
            Verdict::Usual => {
                format!("{takes}, {times}, {of_its_time}: the code is not why it was late.")
            }
            Verdict::AllLong => format!(
                "{takes}, {times}, but {of_its_time}: ALL ticks here are long. The room is too much for its core."
            ),
        };
        if let Some((tick, ns)) = self.suspect {
            let _ = write!(
                text,
                " But tick {tick}, shortly before it, takes {} ({:.1} ×): look at that one, with --at {tick}.",
                ms(ns),
                self.ratio_of(ns)
            );
        }
        text
    }
}

impl Verdict {
    /// In a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Heavy => "HEAVY",
            Self::HeavyButShort => "HEAVY_BUT_SHORT",
            Self::Usual => "USUAL",
            Self::AllLong => "ALL_LONG",
        }
    }
}

fn ratio(ns: u64, median_ns: u64) -> f64 {
    if median_ns == 0 { 1.0 } else { ns as f64 / median_ns as f64 }
}

fn share(ns: u64, period_ns: u64) -> f64 {
    ns as f64 / period_ns.max(1) as f64
}

/// For people: always in ms, so that figures can be compared at a glance.
pub(super) fn ms(ns: u64) -> String {
    let value = ns as f64 / 1e6;
    let digits = if value >= 100.0 {
        0
    } else if value >= 1.0 {
        2
    } else {
        4
    };
    format!("{value:.digits$} ms")
}
