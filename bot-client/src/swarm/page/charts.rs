//! The charts of a run over time.

use super::axis::Axis;
use super::html::{Escaped, bytes, clock, short, time as ms};
use super::plot::{Curve, Plot, TimeLine};
use crate::swarm::columns::{Columns, SpreadColumns};
use crate::swarm::run_file::RunFile;
use std::fmt::Write as _;

/// A spread of times over the run.
pub(super) struct SpreadChart {
    pub(super) title: &'static str,
    pub(super) what: &'static str,
    pub(super) name: &'static str,
    pub(super) columns: fn(&Columns) -> &SpreadColumns,
}

/// In the order of the page.
pub(super) const SPREADS: [SpreadChart; 4] = [
    SpreadChart {
        title: "Update gap",
        what: "between two updates of a player, with the waits for those that were missing",
        name: "update_gap_ms",
        columns: |columns| &columns.update_gap_ms,
    },
    SpreadChart {
        title: "Move latency",
        what: "from when a player wanted a move to the update that contains it",
        name: "move_to_ack_ms",
        columns: |columns| &columns.move_to_ack_ms,
    },
    SpreadChart {
        title: "Tick to receipt",
        what: "from when a tick was due at the player to its arrival",
        name: "tick_to_receive_ms",
        columns: |columns| &columns.tick_to_receive_ms,
    },
    SpreadChart {
        title: "Staleness",
        what: "how far the world that a player held was behind its schedule, right before each update",
        name: "staleness_ms",
        columns: |columns| &columns.staleness_ms,
    },
];

const QUANTILES: [&str; 4] = ["p50", "p90", "p99", "max"];

/// Writes all charts of times.
pub(super) fn draw_spreads(
    now: &RunFile,
    earlier: Option<&RunFile>,
    time: &TimeLine,
    out: &mut String,
) {
    for chart in &SPREADS {
        let columns = (chart.columns)(now.series());
        begin(chart.title, chart.what, out);
        for quantile in QUANTILES {
            let value = now.number(&format!("/{}/{quantile}", chart.name));
            key(quantile, quantile, &value.map_or("–".to_owned(), ms), out);
        }
        let before = earlier.map(RunFile::series).filter(|series| !series.is_empty());
        let before = before.map(|series| (series, (chart.columns)(series)));
        if let Some(run) = earlier.filter(|_| before.is_some()) {
            let value = run.number(&format!("/{}/p99", chart.name));
            key("earlier", "p99 earlier", &value.map_or("–".to_owned(), ms), out);
        }
        out.push_str("</p>");
        let [p50, p90, p99, max] = [&columns.p50, &columns.p90, &columns.p99, &columns.max];
        let earlier_p99 = before.iter().flat_map(|(_, columns)| &columns.p99);
        let values = p50.iter().chain(p99).chain(max).chain(earlier_p99).flatten().copied();
        let axis = Axis::log(values);
        let curve = |class, values: &[Option<f64>]| curve(class, now.series(), values);
        let mut curves =
            vec![curve("p50", p50), curve("p99", p99), curve("p90", p90), curve("max", max)];
        curves.extend(before.map(|(series, columns)| self::curve("earlier", series, &columns.p99)));
        let hints = spans(now).into_iter().enumerate().filter_map(|(index, (from, length))| {
            let count = columns.count.get(index).filter(|count| **count > 0)?;
            let at =
                |column: &[Option<f64>]| ms(column.get(index).copied().flatten().unwrap_or(0.0));
            let (p50, p90, p99, max) = (at(p50), at(p90), at(p99), at(max));
            let head = clock(from);
            Some((
                from,
                length,
                format!("{head}\np50 {p50}\np90 {p90}\np99 {p99}\nmax {max}\n{count} times"),
            ))
        });
        let hints = hints.collect();
        let label = format!("{} over time", chart.title);
        Plot { label: &label, axis, format: ms, band: Some((0, 1)), curves, hints }.draw(time, out);
        out.push_str("</figure>\n");
    }
}

/// A number over the run.
struct RateChart {
    title: &'static str,
    what: &'static str,
    format: fn(f64) -> String,
    /// By bucket; it gets how long the bucket is.
    value: fn(&Columns, usize, f64) -> Option<f64>,
    /// Of the whole run.
    mean: fn(&RunFile) -> Option<f64>,
}

fn per_second(run: &RunFile, pointer: &str) -> Option<f64> {
    Some(run.number(pointer)? / run.duration_s().max(0.001))
}

const RATES: [RateChart; 5] = [
    RateChart {
        title: "Players",
        what: "who played, on average",
        format: short,
        value: |columns, index, _| columns.players.get(index).copied().flatten(),
        mean: |run| {
            let known = run.series().players.iter().flatten();
            Some(known.clone().sum::<f64>() / known.count().max(1) as f64)
        },
    },
    RateChart {
        title: "Updates per second",
        what: "of all players together",
        format: short,
        value: |columns, index, seconds| Some(*columns.updates.get(index)? as f64 / seconds),
        mean: |run| per_second(run, "/updates"),
    },
    RateChart {
        title: "Bytes per second",
        what: "of all updates, framing included",
        format: bytes,
        value: |columns, index, seconds| Some(*columns.bytes.get(index)? as f64 / seconds),
        mean: |run| per_second(run, "/update_bytes"),
    },
    RateChart {
        title: "Bytes per update",
        what: "framing included",
        format: bytes,
        value: |columns, index, _| {
            let updates = *columns.updates.get(index)?;
            // The few that come while everybody leaves say nothing about play.
            let least = columns.updates.iter().max()? / 10;
            (updates > least).then_some(*columns.bytes.get(index)? as f64 / updates as f64)
        },
        mean: |run| run.number("/bytes_per_update"),
    },
    RateChart {
        title: "Moves per second",
        what: "of all players together",
        format: short,
        value: |columns, index, seconds| Some(*columns.moves.get(index)? as f64 / seconds),
        mean: |run| per_second(run, "/moves"),
    },
];

/// Writes all charts of numbers.
pub(super) fn draw_rates(
    now: &RunFile,
    earlier: Option<&RunFile>,
    time: &TimeLine,
    out: &mut String,
) {
    out.push_str("<div class=\"two\">\n");
    for chart in &RATES {
        let values_of = |run: &RunFile| -> Vec<Option<f64>> {
            let spans = spans(run).into_iter().enumerate();
            // What is left of a bucket at the end is too short to tell a rate.
            let shortest_s = f64::from(run.series().bucket_s) * 0.5;
            spans
                .map(|(index, (_, seconds))| {
                    let is_whole = seconds >= shortest_s;
                    (chart.value)(run.series(), index, seconds).filter(|_| is_whole)
                })
                .collect()
        };
        let values = values_of(now);
        let before = earlier.filter(|run| !run.series().is_empty());
        let before = before.map(|run| (run, values_of(run)));
        begin(chart.title, chart.what, out);
        let mean = |run| (chart.mean)(run).map_or("–".to_owned(), chart.format);
        key("rate", "mean", &mean(now), out);
        if let Some((run, _)) = &before {
            key("earlier", "mean earlier", &mean(run), out);
        }
        out.push_str("</p>");
        let earlier_values = before.iter().flat_map(|(_, values)| values);
        let axis = Axis::linear(values.iter().chain(earlier_values).flatten().copied());
        let mut curves = vec![curve("rate", now.series(), &values)];
        curves.extend(before.iter().map(|(run, values)| curve("earlier", run.series(), values)));
        let hints = spans(now).into_iter().zip(&values).filter_map(|((from, length), value)| {
            Some((from, length, format!("{}\n{}", clock(from), (chart.format)((*value)?))))
        });
        let hints = hints.collect();
        let label = format!("{} over time", chart.title);
        Plot { label: &label, axis, format: chart.format, band: None, curves, hints }
            .draw(time, out);
        out.push_str("</figure>\n");
    }
    out.push_str("</div>\n");
}

fn begin(title: &str, what: &str, out: &mut String) {
    let _ = write!(
        out,
        "<figure><figcaption><b>{}</b> <span>{}</span></figcaption><p class=\"keys\">",
        Escaped(title),
        Escaped(what)
    );
}

fn key(class: &str, name: &str, value: &str, out: &mut String) {
    let (name, value) = (Escaped(name), Escaped(value));
    let _ = write!(out, "<span class=\"key {class}\"><i></i>{name} <b>{value}</b></span> ");
}

/// From when each bucket is, and for how long; the last one as long as the run went on.
pub(super) fn spans(run: &RunFile) -> Vec<(f64, f64)> {
    let bucket_s = f64::from(run.series().bucket_s);
    let end_s = run.duration_s();
    let from = (0..run.series().len()).map(|index| index as f64 * bucket_s);
    // A moment at least, so that nothing is divided by nothing.
    from.map(|from| (from, (end_s - from).clamp(0.001, bucket_s))).collect()
}

fn curve(class: &'static str, series: &Columns, values: &[Option<f64>]) -> Curve {
    let bucket_s = f64::from(series.bucket_s);
    let middles = (0..).map(|index| (f64::from(index) + 0.5) * bucket_s);
    Curve { class, points: middles.zip(values.iter().copied()).collect() }
}
