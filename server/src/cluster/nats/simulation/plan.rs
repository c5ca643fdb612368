//! What befalls servers, links and the directory in a run, chosen by its seed.

use super::world::Ms;
use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeMap;

/// From then on nothing is cut, away, slow or paused, and nobody ends any more.
pub(super) const HEALED_AT: Ms = 105_000;
/// How long a run is: long enough after that for all to be seen to, though now and then a message still takes its time and
/// puts that off by 8 s.
pub(super) const LENGTH: Ms = HEALED_AT + 75_000;

pub(super) type Interval = (Ms, Ms);

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Never,
    /// Its address refuses.
    Killed(Ms),
    /// Its address is silent: its machine lost its power.
    Vanished(Ms),
    /// In order: its room ends, and its record goes, if the directory hears of it. Then its address refuses.
    Withdrawn(Ms),
}

impl End {
    pub(super) fn at(self) -> Option<Ms> {
        match self {
            Self::Never => None,
            Self::Killed(at) | Self::Vanished(at) | Self::Withdrawn(at) => Some(at),
        }
    }
}

pub(super) struct Plan {
    /// When links are cut: from which server to which; the directory comes after the servers.
    pub(super) cuts: BTreeMap<(usize, usize), Vec<Interval>>,
    /// When nobody reaches the directory.
    pub(super) away: Vec<Interval>,
    /// When the directory's answers take long to each server.
    pub(super) slow: Vec<Vec<Interval>>,
    pub(super) pauses: Vec<Vec<Interval>>,
    pub(super) starts: Vec<Ms>,
    pub(super) ends: Vec<End>,
    /// The machine that each server runs on; empty: nobody knows.
    pub(super) nodes: Vec<String>,
}

struct Dice(Pcg64Mcg);

impl Dice {
    fn upto(&mut self, max: u64) -> u64 {
        self.0.next_u64() % max
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.upto(chances) == 0
    }

    fn interval(&mut self, shortest: Ms, longest: Ms) -> Interval {
        let from = 5000 + self.upto(HEALED_AT - 5000);
        let until = from + shortest + self.upto(longest - shortest);
        (from, until.min(HEALED_AT))
    }

    fn intervals(&mut self, many: u64, longest: Ms) -> Vec<Interval> {
        (0..self.upto(many + 1)).map(|_| self.interval(200, longest)).collect()
    }
}

impl Plan {
    pub(super) fn new(seed: u64, count: usize) -> Self {
        let mut dice = Dice(Pcg64Mcg::seed_from_u64(seed));
        // Some of the long cuts are seen alone, others among all else.
        let noise = u64::from(!dice.one_in(3)) * 2;
        let mut cuts = BTreeMap::new();
        for from in 0..count {
            for to in from + 1..=count {
                // Of the directory both ways, too: TCP has no half of a connection for long.
                let cut = dice.intervals(noise, 20_000);
                cuts.insert((from, to), cut.clone());
                cuts.insert((to, from), cut);
            }
        }
        let away = dice.intervals(noise.min(1), 25_000);
        let slow = (0..count).map(|_| dice.intervals(noise, 20_000)).collect();
        let pauses = (0..count).map(|_| dice.intervals(noise, 14_000)).collect();
        let starts = (0..count).map(|server| {
            let is_newcomer = server > 0 && dice.one_in(3);
            if is_newcomer { 3000 + dice.upto(80_000) } else { 0 }
        });
        let starts = starts.collect();
        let ends = (0..count).map(|_| {
            let (kind, at) = (dice.upto(16), 10_000 + dice.upto(HEALED_AT - 10_000));
            match kind {
                0 | 1 => End::Killed(at),
                2 => End::Vanished(at),
                3 => End::Withdrawn(at),
                _ => End::Never,
            }
        });
        let ends = ends.collect();
        let nodes = vec![String::new(); count];
        let mut plan = Self { cuts, away, slow, pauses, starts, ends, nodes };
        if dice.one_in(2) || noise == 0 {
            plan.part(&mut dice, count);
        }
        if dice.one_in(2) {
            plan.on_machines(&mut dice);
        }
        plan
    }

    /// Servers share machines, and it is known. Now and then a machine loses its power, with all of them.
    fn on_machines(&mut self, dice: &mut Dice) {
        for node in &mut self.nodes {
            *node = format!("n{}", dice.upto(2));
        }
        if dice.one_in(3) {
            let at = 10_000 + dice.upto(HEALED_AT - 10_000);
            let (nodes, ends) = (&self.nodes, &mut self.ends);
            // Whoever has ended before is not there.
            let there = ends.iter_mut().zip(nodes).filter(|(_, node)| *node == "n0");
            for (end, _) in there.filter(|(end, _)| end.at().is_none_or(|before| before > at)) {
                *end = End::Vanished(at);
            }
        }
    }

    /// For long, some servers do not reach the directory, or are not answered by it in time, and mostly cannot ask the others.
    fn part(&mut self, dice: &mut Dice, count: usize) {
        let all = (1 << count) - 1;
        let side = if dice.one_in(3) { all } else { 1 + dice.upto(all) };
        let is_there = |server: usize| (side >> server) & 1 == 1;
        let from = 5000 + dice.upto(15_000);
        let cut = (from, (from + 20_000 + dice.upto(80_000)).min(HEALED_AT));
        let parts_servers = !dice.one_in(3);
        for one in 0..count {
            let is_only_slow = one > 0 && is_there(one) && dice.one_in(4);
            if is_only_slow {
                self.slow[one].push(cut);
            }
            for other in 0..=count {
                let is_to_directory = other == count && is_there(one) && !is_only_slow;
                let is_between = other < count && is_there(one) != is_there(other);
                if one != other && (is_to_directory || is_between && parts_servers) {
                    for link in [(one, other), (other, one)] {
                        self.cuts.entry(link).or_default().push(cut);
                    }
                }
            }
        }
    }
}
