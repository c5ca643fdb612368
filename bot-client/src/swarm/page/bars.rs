//! All times of a run as bars. Both axes are logarithmic: what is rare is what one looks for.

use super::axis::Axis;
use super::charts::SPREADS;
use super::html::{Escaped, time as ms};
use crate::swarm::comparison::figure;
use crate::swarm::histogram::{BARS_PER_DECADE, Bars, bar_from_ms};
use crate::swarm::run_file::RunFile;
use std::fmt::Write as _;

const HIGH: f64 = 130.0;

/// The margin above, for the names of percentiles.
const TOP: f64 = 34.0;

/// Writes the bars of everything that was measured.
pub(super) fn draw(now: &RunFile, earlier: Option<&RunFile>, out: &mut String) {
    let named = SPREADS.iter().map(|chart| (chart.title, chart.name));
    out.push_str("<div class=\"two\">");
    for (title, name) in named.chain([("Resume", "resume_ms")]) {
        if let Some(bars) = now.bars(name) {
            draw_one(title, name, &bars, now, earlier, out);
        }
    }
    out.push_str("</div>\n");
}

fn draw_one(
    title: &str,
    name: &str,
    bars: &Bars,
    now: &RunFile,
    earlier: Option<&RunFile>,
    out: &mut String,
) {
    let before = earlier.and_then(|run| run.bars(name));
    let both = || bars.0.iter().chain(before.iter().flat_map(|bars| &bars.0));
    let first = both().map(|(bar, _)| *bar).min().unwrap_or(0) - 1;
    let last = both().map(|(bar, _)| *bar).max().unwrap_or(0) + 2;
    // At least a factor of ten, so that one bar does not fill the picture.
    let last = last.max(first + BARS_PER_DECADE);
    let place = |bar: i32| f64::from(bar - first) / f64::from(last - first);
    let axis = share_axis([Some(bars), before.as_ref()].into_iter().flatten());
    // However rare, it is seen.
    let high = |bars: &Bars, count: u64| (HIGH * axis.place(share_ppm(bars, count))).max(2.0);

    let _ = write!(
        out,
        "<figure><figcaption><b>{}</b> <span>{} times</span></figcaption>\
         <svg class=\"plot\" width=\"100%\" height=\"{}\" role=\"img\" \
         aria-label=\"{}: all times of the run\">",
        Escaped(title),
        figure(bars.sum() as f64),
        TOP + HIGH + 24.0,
        Escaped(title),
    );
    for tick in axis.ticks() {
        let y = TOP + HIGH * (1.0 - axis.place(tick));
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"side\" x=\"-8\" y=\"{:.1}\">{} %</text>",
            y + 4.0,
            tick / 1e4,
        );
    }
    let (from_ms, to_ms) = (bar_from_ms(first), bar_from_ms(last));
    let percent_of = |ms: f64| 100.0 * (ms / from_ms).ln() / (to_ms / from_ms).ln();
    let times = Axis::Log(from_ms, to_ms).ticks();
    let middle = times.len() / 2;
    for (index, time) in times.into_iter().enumerate() {
        let percent = percent_of(time);
        let odd = if index % 2 == middle % 2 { "" } else { " odd" };
        let edge = if percent > 95.0 { " edge" } else { "" };
        let _ = write!(
            out,
            "<text class=\"below{odd}{edge}\" x=\"{percent:.2}%\" y=\"{}\">{}</text>",
            TOP + HIGH + 18.0,
            ms(time),
        );
    }
    out.push_str("<g class=\"bars\">");
    for (bar, count) in &bars.0 {
        let high = high(bars, *count);
        let _ = write!(
            out,
            "<rect x=\"{:.2}%\" width=\"{:.2}%\" y=\"{:.1}\" height=\"{high:.1}\">\
             <title>{} to {}: {} times, {:.3} %</title></rect>",
            100.0 * place(*bar),
            100.0 * (place(bar + 1) - place(*bar)),
            TOP + HIGH - high,
            ms(bar_from_ms(*bar)),
            ms(bar_from_ms(bar + 1)),
            figure(*count as f64),
            share_ppm(bars, *count) / 1e4,
        );
    }
    out.push_str("</g>");
    if let Some(before) = &before {
        out.push_str("<g class=\"outline\">");
        for (bar, count) in &before.0 {
            let (y, x) = (TOP + HIGH - high(before, *count), 100.0 * place(*bar));
            let to = 100.0 * place(bar + 1);
            let _ =
                write!(out, "<line x1=\"{x:.2}%\" x2=\"{to:.2}%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        }
        out.push_str("</g>");
    }
    for (quantile, row) in [("p50", 0), ("p99", 1)] {
        if let Some(time) = now.number(&format!("/{name}/{quantile}")) {
            let percent = percent_of(time.max(from_ms)).clamp(0.0, 100.0);
            let edge = if percent > 75.0 { " edge" } else { "" };
            let _ = write!(
                out,
                "<line class=\"at {quantile}\" x1=\"{percent:.2}%\" x2=\"{percent:.2}%\" \
                 y1=\"{}\" y2=\"{}\"/>\
                 <text class=\"at {quantile}{edge}\" x=\"{percent:.2}%\" y=\"{}\"> {quantile} {} </text>",
                TOP - 8.0,
                TOP + HIGH,
                TOP - 2.0 - f64::from(row) * 14.0,
                ms(time),
            );
        }
    }
    out.push_str("</svg></figure>\n");
}

/// Where the axis of shares begins at the lowest: 0.001 %.
const LEAST_PPM: f64 = 15.0;

/// A share in millionths.
fn share_ppm(bars: &Bars, count: u64) -> f64 {
    count as f64 / bars.sum().max(1) as f64 * 1e6
}

/// From below the rarest to all.
fn share_axis<'a>(all: impl Iterator<Item = &'a Bars>) -> Axis {
    let shares = all.flat_map(|bars| bars.0.iter().map(|(_, count)| share_ppm(bars, *count)));
    let least = shares.fold(1e5, f64::min).max(LEAST_PPM);
    Axis::Log(10_f64.powf((least * 0.7).log10().floor()), 1e6)
}
