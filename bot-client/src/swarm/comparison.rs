//! A run beside an earlier one.

use super::run_file::RunFile;
use std::fmt;

/// Two runs of the same differ by more than this.
pub const VISIBLE_PERCENT: f64 = 1.0;

/// Whether less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Times, bytes, faults.
    Less,
    /// It depends on the plan.
    Neither,
}

/// A number of a run.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    /// For people.
    pub label: &'static str,
    /// The unit; empty for counts.
    pub unit: &'static str,
    /// Where it is in the JSON.
    pub pointer: &'static str,
    /// Which of two is better.
    pub better: Better,
}

impl Total {
    /// For people, with the unit.
    pub fn full_label(&self) -> String {
        match self.unit {
            "" => self.label.to_owned(),
            unit => format!("{} ({unit})", self.label),
        }
    }
}

const fn total(
    label: &'static str,
    unit: &'static str,
    pointer: &'static str,
    better: Better,
) -> Total {
    Total { label, unit, pointer, better }
}

/// All numbers of a run that can be compared, in the order of the tables; four of each spread.
pub const TOTALS: [Total; 55] = {
    use Better::{Less, Neither};
    [
        total("update gap p50", "ms", "/update_gap_ms/p50", Less),
        total("update gap p90", "ms", "/update_gap_ms/p90", Less),
        total("update gap p99", "ms", "/update_gap_ms/p99", Less),
        total("update gap max", "ms", "/update_gap_ms/max", Less),
        total("move latency p50", "ms", "/move_to_ack_ms/p50", Less),
        total("move latency p90", "ms", "/move_to_ack_ms/p90", Less),
        total("move latency p99", "ms", "/move_to_ack_ms/p99", Less),
        total("move latency max", "ms", "/move_to_ack_ms/max", Less),
        total("tick to receipt p50", "ms", "/tick_to_receive_ms/p50", Less),
        total("tick to receipt p90", "ms", "/tick_to_receive_ms/p90", Less),
        total("tick to receipt p99", "ms", "/tick_to_receive_ms/p99", Less),
        total("tick to receipt max", "ms", "/tick_to_receive_ms/max", Less),
        total("staleness p50", "ms", "/staleness_ms/p50", Less),
        total("staleness p90", "ms", "/staleness_ms/p90", Less),
        total("staleness p99", "ms", "/staleness_ms/p99", Less),
        total("staleness max", "ms", "/staleness_ms/max", Less),
        total("resume p50", "ms", "/resume_ms/p50", Less),
        total("resume p90", "ms", "/resume_ms/p90", Less),
        total("resume p99", "ms", "/resume_ms/p99", Less),
        total("resume max", "ms", "/resume_ms/max", Less),
        total("longest gap of a player p50", "ms", "/largest_gap_ms/p50", Less),
        total("longest gap of a player p99", "ms", "/largest_gap_ms/p99", Less),
        total("longest gap of a player max", "ms", "/largest_gap_ms/max", Less),
        total("gap while a room moves p50", "ms", "/redirect_gap_ms/p50", Less),
        total("gap while a room moves p99", "ms", "/redirect_gap_ms/p99", Less),
        total("gap while a room moves max", "ms", "/redirect_gap_ms/max", Less),
        total("players that got in", "", "/players", Neither),
        total("duration", "s", "/duration_s", Neither),
        total("updates", "", "/updates", Neither),
        total("bytes of updates", "B", "/update_bytes", Neither),
        total("bytes per update", "B", "/bytes_per_update", Less),
        total("bytes per entity and tick", "B", "/bytes_per_entity_tick", Less),
        total("… rocks not counted", "B", "/bytes_per_entity_tick_without_rocks", Less),
        total("corrections per minute", "", "/corrections/per_minute", Less),
        total("correction p99", "units", "/corrections/units/p99", Less),
        total("moves", "", "/moves", Neither),
        total("moves refused by the game", "", "/refused_moves", Neither),
        total("checksums compared", "", "/checksums", Neither),
        total("desyncs", "", "/desyncs", Less),
        total("broken updates", "", "/broken_updates", Less),
        total("moves lost", "", "/lost_moves", Less),
        total("moves applied twice", "", "/duplicate_moves", Less),
        total("moves altered", "", "/altered_moves", Less),
        total("moves unresolved", "", "/unresolved_moves", Less),
        total("moves set back", "", "/set_back_moves", Less),
        total("streams dropped on purpose", "", "/drops", Neither),
        total("streams resumed", "", "/resumes", Neither),
        total("followed to another server", "", "/redirects", Neither),
        total("sessions set back", "", "/set_back_sessions", Less),
        total("came back as somebody else", "", "/identity_changes", Less),
        total("disconnects", "", "/disconnects", Less),
        total("sessions lost", "", "/sessions_lost", Less),
        total("players with a new session", "", "/sessions_anew", Less),
        total("servers with a stale epoch", "", "/stale_epochs", Less),
        total("rules broken by the server", "", "/violations", Less),
    ]
};

/// A number of two runs; either may be absent.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Which one.
    pub total: Total,
    /// Of this run.
    pub now: Option<f64>,
    /// Of the earlier one.
    pub before: Option<f64>,
}

impl Compared {
    /// A number of two runs.
    pub fn of(total: Total, now: &RunFile, before: Option<&RunFile>) -> Self {
        let before = before.and_then(|run| run.number(total.pointer));
        Self { total, now: now.number(total.pointer), before }
    }

    /// By how many per cent it is more than before; `None` when there is nothing to divide by.
    pub fn difference_percent(&self) -> Option<f64> {
        let (now, before) = self.now.zip(self.before)?;
        if now.total_cmp(&before).is_eq() {
            return Some(0.0);
        }
        (before != 0.0).then(|| (now - before) / before.abs() * 100.0)
    }

    /// Whether this run is better than the earlier one; `None`: the difference is below [`VISIBLE_PERCENT`], or it cannot
    /// be said.
    pub fn is_better(&self) -> Option<bool> {
        let (now, before) = self.now.zip(self.before)?;
        let differs =
            self.difference_percent().is_none_or(|percent| percent.abs() >= VISIBLE_PERCENT);
        match self.total.better {
            _ if !differs => None,
            Better::Less => Some(now < before),
            Better::Neither => None,
        }
    }

    /// The difference as people read it.
    pub fn difference(&self) -> String {
        match (self.difference_percent(), self.now.zip(self.before)) {
            (Some(percent), _) if percent.abs() >= 1000.0 => format!("{percent:+.0} %"),
            (Some(percent), _) if percent.abs() < 0.05 => "0 %".to_owned(),
            (Some(percent), _) => format!("{percent:+.1} %"),
            (None, Some((now, _))) => format!("{} from 0", figure(now)),
            (None, None) => "–".to_owned(),
        }
    }
}

/// A number with thousands apart, and as many digits as say something.
pub fn figure(number: f64) -> String {
    let digits = match number.abs() {
        _ if number.fract() == 0.0 => 0,
        ..10.0 => 2,
        10.0..1000.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

/// All that both runs have, as a table for a terminal.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// This run.
    pub now: &'a RunFile,
    /// The earlier one.
    pub before: &'a RunFile,
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = ("compared", "now", "earlier", "difference");
        writeln!(f, "\n{:<28}{:>14}{:>14}{:>14}", title.0, title.1, title.2, title.3)?;
        for total in TOTALS {
            let compared = Compared::of(total, self.now, Some(self.before));
            if compared.now.is_none() && compared.before.is_none() {
                continue;
            }
            let number = |number: Option<f64>| number.map_or("–".to_owned(), figure);
            let label = total.full_label();
            let verdict = match compared.is_better() {
                Some(true) => "  better",
                Some(false) => "  worse",
                None => "",
            };
            let (now, before) = (number(compared.now), number(compared.before));
            let difference = compared.difference();
            writeln!(f, "{label:<28}{now:>14}{before:>14}{difference:>14}{verdict}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(now: Option<f64>, before: Option<f64>, better: Better) -> Compared {
        Compared { total: Total { better, ..TOTALS[0] }, now, before }
    }

    #[test]
    fn differences_are_in_per_cent_of_the_earlier_run() {
        let worse = compared(Some(60.0), Some(50.0), Better::Less);
        assert_eq!((worse.difference().as_str(), worse.is_better()), ("+20.0 %", Some(false)));
        let better = compared(Some(60.0), Some(80.0), Better::Less);
        assert_eq!((better.difference().as_str(), better.is_better()), ("-25.0 %", Some(true)));
        let neither = compared(Some(3.0), Some(2.0), Better::Neither);
        assert_eq!((neither.difference().as_str(), neither.is_better()), ("+50.0 %", None));
        let by_chance = compared(Some(100.9), Some(100.0), Better::Less);
        assert_eq!(by_chance.is_better(), None);
        let same = compared(Some(0.0), Some(0.0), Better::Less);
        assert_eq!((same.difference().as_str(), same.is_better()), ("0 %", None));
        let from_nothing = compared(Some(3.0), Some(0.0), Better::Less);
        assert_eq!(from_nothing.difference(), "3 from 0");
        assert_eq!(from_nothing.is_better(), Some(false));
        let absent = compared(Some(3.0), None, Better::Less);
        assert_eq!((absent.difference().as_str(), absent.is_better()), ("–", None));
    }

    #[test]
    fn figures_can_be_read() {
        for (number, text) in [
            (0.0, "0"),
            (1.234, "1.23"),
            (51.27, "51.3"),
            (1234.5, "1,234"),
            (-1_234_567.0, "-1,234,567"),
            (999.0, "999"),
        ] {
            assert_eq!(figure(number), text);
        }
    }
}
