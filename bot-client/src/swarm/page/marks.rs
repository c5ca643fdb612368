//! The time line: what happened to players and their streams, in lanes.

use super::charts::spans;
use super::html::{Escaped, clock};
use super::plot::{TimeLine, draw_moments};
use crate::swarm::columns::{MARKS, Mark};
use crate::swarm::run_file::RunFile;
use std::fmt::Write as _;

const LANE_HIGH: f64 = 36.0;

/// When something was wrong: from when, for how long.
pub(super) fn faults(run: &RunFile) -> Vec<(f64, f64)> {
    let is_wrong = |index: usize| {
        let faults = MARKS.iter().filter(|mark| mark.is_fault);
        faults.filter_map(|mark| run.series().marks.get(mark.name)).any(|counts| counts[index] > 0)
    };
    let spans = spans(run).into_iter().enumerate();
    let wrong = spans.filter(|(index, _)| is_wrong(*index)).map(|(_, span)| span);
    let mut faults: Vec<(f64, f64)> = Vec::new();
    for (from, length) in wrong {
        match faults.last_mut() {
            // What follows at once is the same.
            Some((begun, so_far)) if *begun + *so_far >= from => *so_far += length,
            _ => faults.push((from, length)),
        }
    }
    faults
}

/// Writes the lanes in which something happened, and names those in which nothing did.
pub(super) fn draw(run: &RunFile, time: &TimeLine, out: &mut String) {
    let spans = spans(run);
    let none = Vec::new();
    let counts_of = |mark: &Mark| run.series().marks.get(mark.name).unwrap_or(&none);
    let (busy, quiet): (Vec<_>, Vec<_>) =
        MARKS.iter().partition(|mark| counts_of(mark).iter().any(|count| *count > 0));
    if !busy.is_empty() {
        let height = busy.len() as f64 * LANE_HIGH + 26.0;
        let _ = write!(
            out,
            "<figure class=\"lanes\"><svg class=\"plot\" width=\"100%\" height=\"{height}\" \
             role=\"img\" aria-label=\"What happened, over time\">"
        );
        for (lane, mark) in busy.iter().enumerate() {
            let (top, counts) = (lane as f64 * LANE_HIGH, counts_of(mark));
            let sum = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
            let class = if mark.is_fault { "bad" } else { "meant" };
            let _ = write!(
                out,
                "<text class=\"lane {class}\" x=\"0\" y=\"{}\">{} <tspan>{sum}</tspan></text>\
                 <line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
                 <g class=\"mark {class}\">",
                top + 13.0,
                Escaped(mark.label),
                bottom = top + LANE_HIGH - 2.0,
            );
            let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
            for ((from, length), count) in spans.iter().zip(counts).filter(|(_, count)| **count > 0)
            {
                let (x, to) = (time.percent(*from), time.percent(from + length));
                // Few are shorter than many, but never invisible.
                let high = 5.0 + 10.0 * (*count as f64 / most);
                let _ = write!(
                    out,
                    "<rect x=\"{x:.2}%\" width=\"{:.2}%\" y=\"{:.1}\" height=\"{high:.1}\"><title>{}: {count} × {}</title></rect>",
                    to - x,
                    top + LANE_HIGH - 2.0 - high,
                    clock(*from),
                    Escaped(mark.label),
                );
            }
            out.push_str("</g>");
        }
        draw_moments(time, busy.len() as f64 * LANE_HIGH, out);
        out.push_str("</svg></figure>\n");
    }
    if !quiet.is_empty() {
        let names: Vec<&str> = quiet.iter().map(|mark| mark.label).collect();
        let _ = writeln!(out, "<p class=\"note\">None of: {}.</p>", Escaped(&names.join("; ")));
    }
}
