//! A chart over time as SVG that stretches: the curves lie in an inner picture that is stretched to the width, and
//! everything else is placed in per cent of it, so that text keeps its size on a telephone and on a wall.

use super::axis::{Axis, moments};
use super::html::{Escaped, clock};
use std::fmt::Write as _;

/// How wide the inner picture is, in its own units.
const WIDE: f64 = 1000.0;

/// How high the inner picture is, in pixels.
const HIGH: f64 = 150.0;

/// The margin above it, for half a label.
const TOP: f64 = 10.0;

/// The run's time, shared by all charts of a page.
#[derive(Clone, Debug)]
pub(super) struct TimeLine {
    /// How long it is, in seconds.
    pub(super) span_s: f64,
    /// Until when players were started.
    pub(super) ramp_s: f64,
    /// When something was wrong: from when, for how long.
    pub(super) faults: Vec<(f64, f64)>,
}

impl TimeLine {
    /// Where a second is, in per cent.
    pub(super) fn percent(&self, second: f64) -> f64 {
        (second / self.span_s * 100.0).clamp(0.0, 100.0)
    }

    fn x(&self, second: f64) -> f64 {
        self.percent(second) * WIDE / 100.0
    }
}

/// A curve: its class, and for each bucket the middle of it in seconds and the value.
pub(super) struct Curve {
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// What stands where the pointer is: from when, for how long, and what to tell.
pub(super) type Hint = (f64, f64, String);

/// See the module.
pub(super) struct Plot<'a> {
    /// For those who cannot see it.
    pub(super) label: &'a str,
    pub(super) axis: Axis,
    pub(super) format: fn(f64) -> String,
    /// The space between the first two is filled.
    pub(super) band: Option<(usize, usize)>,
    pub(super) curves: Vec<Curve>,
    pub(super) hints: Vec<Hint>,
}

impl Plot<'_> {
    /// Writes the SVG element.
    pub(super) fn draw(&self, time: &TimeLine, out: &mut String) {
        let height = TOP + HIGH + 24.0;
        // To write into a string cannot fail; this holds for the whole page.
        let _ = write!(
            out,
            "<svg class=\"plot\" width=\"100%\" height=\"{height}\" role=\"img\" aria-label=\"{}\">",
            Escaped(self.label)
        );
        for tick in self.axis.ticks() {
            let y = TOP + self.y(tick);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"side\" x=\"-8\" y=\"{:.1}\">{}</text>",
                y + 4.0,
                (self.format)(tick)
            );
        }
        draw_moments(time, TOP + HIGH, out);
        let _ = write!(
            out,
            "<svg y=\"{TOP}\" width=\"100%\" height=\"{HIGH}\" viewBox=\"0 0 {WIDE} {HIGH}\" \
             preserveAspectRatio=\"none\">"
        );
        let _ =
            write!(out, "<path class=\"ramp\" d=\"M0 0H{:.1}V{HIGH}H0z\"/>", time.x(time.ramp_s));
        if !time.faults.is_empty() {
            out.push_str("<path class=\"fault\" d=\"");
            for (from, length) in &time.faults {
                let (x, to) = (time.x(*from), time.x(from + length));
                let _ = write!(out, "M{x:.1} 0H{to:.1}V{HIGH}H{x:.1}z");
            }
            out.push_str("\"/>");
        }
        if let Some((low, high)) = self.band {
            self.draw_band(time, low, high, out);
        }
        for curve in &self.curves {
            self.draw_curve(time, curve, out);
        }
        out.push_str("<g class=\"hints\">");
        for (from, length, text) in &self.hints {
            let (x, width) = (time.x(*from), time.x(from + length) - time.x(*from));
            let _ = write!(
                out,
                "<path d=\"M{x:.1} 0h{width:.2}v{HIGH}h-{width:.2}z\"><title>{}</title></path>",
                Escaped(text)
            );
        }
        out.push_str("</g></svg></svg>\n");
    }

    fn y(&self, value: f64) -> f64 {
        HIGH * (1.0 - self.axis.place(value))
    }

    fn draw_curve(&self, time: &TimeLine, curve: &Curve, out: &mut String) {
        let _ = write!(out, "<path class=\"{}\" d=\"", curve.class);
        let mut is_apart = true;
        for (index, (second, value)) in curve.points.iter().enumerate() {
            let Some(value) = value else {
                is_apart = true;
                continue;
            };
            let command = if is_apart { 'M' } else { 'L' };
            let _ = write!(out, "{command}{:.1} {:.1}", time.x(*second), self.y(*value));
            let is_last = curve.points.get(index + 1).is_none_or(|(_, next)| next.is_none());
            if is_apart && is_last {
                // Between gaps: a dot.
                out.push_str("h0");
            }
            is_apart = false;
        }
        out.push_str("\"/>");
    }

    fn draw_band(&self, time: &TimeLine, low: usize, high: usize, out: &mut String) {
        let (low, high) = (&self.curves[low].points, &self.curves[high].points);
        let both = low.iter().zip(high).map(|((second, low), (_, high))| {
            low.zip(*high).map(|(low, high)| (time.x(*second), self.y(low), self.y(high)))
        });
        out.push_str("<path class=\"band\" d=\"");
        let both: Vec<_> = both.collect();
        for run in both.split(Option::is_none) {
            let upper = run.iter().flatten().map(|(x, _, high)| (x, high));
            let lower = run.iter().flatten().rev().map(|(x, low, _)| (x, low));
            for (index, (x, y)) in upper.chain(lower).enumerate() {
                let _ = write!(out, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
            }
            if !run.is_empty() {
                out.push('z');
            }
        }
        out.push_str("\"/>");
    }
}

/// The clock below a time line.
pub(super) fn draw_moments(time: &TimeLine, bottom: f64, out: &mut String) {
    for (index, second) in moments(time.span_s).into_iter().enumerate() {
        let percent = time.percent(second);
        // On narrow screens every other one.
        let odd = if index % 2 == 1 { " odd" } else { "" };
        let edge = match index {
            0 => " first",
            _ if percent > 97.0 => " edge",
            _ => "",
        };
        let _ = write!(
            out,
            "<line class=\"tick{odd}\" x1=\"{percent:.2}%\" x2=\"{percent:.2}%\" y1=\"{bottom}\" y2=\"{}\"/>\
             <text class=\"below{odd}{edge}\" x=\"{percent:.2}%\" y=\"{}\">{}</text>",
            bottom + 4.0,
            bottom + 18.0,
            clock(second)
        );
    }
}
