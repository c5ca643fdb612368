//! A run as one page: everything is in the file, nothing runs in it, and it asks nobody for anything.
//!
//! The pictures are SVG, drawn here; what the pointer is on tells its numbers by `<title>`. There is no script, and the
//! page's policy allows none: what a server or a file says about itself is text, whatever it tries to be.

mod axis;
mod bars;
mod charts;
mod html;
mod marks;
mod plot;
mod tables;

use super::comparison::{Compared, TOTALS, figure};
use super::run_file::RunFile;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use html::{Escaped, clock};
use plot::TimeLine;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// The numbers at the top of the page.
const TILES: [&str; 8] = [
    "/update_gap_ms/p99",
    "/move_to_ack_ms/p99",
    "/tick_to_receive_ms/p99",
    "/staleness_ms/p99",
    "/bytes_per_update",
    "/players",
    "/updates",
    "/moves",
];

/// The page of a run, compared with an earlier one if there is one.
pub fn render(now: &RunFile, earlier: Option<&RunFile>) -> String {
    let time = time_line(now, earlier);
    let mut page = String::with_capacity(256 * 1024);
    draw_head(now, earlier, &mut page);
    section("timeline", "What happened", &mut page);
    page.push_str(
        "<p class=\"note\">What is red in the charts below is at the times of what is red here; the grey part is \
         when players were started. Hold the pointer over anything to read its numbers.</p>\n",
    );
    marks::draw(now, &time, &mut page);
    section("times", "Times", &mut page);
    charts::draw_spreads(now, earlier, &time, &mut page);
    section("load", "Players and load", &mut page);
    charts::draw_rates(now, earlier, &time, &mut page);
    section("distribution", "Distribution of all times", &mut page);
    page.push_str("<p class=\"note\">Both axes are logarithmic: a bar's height is its share of all times.</p>\n");
    bars::draw(now, earlier, &mut page);
    section("totals", "Totals", &mut page);
    if earlier.is_some() {
        page.push_str(
            "<p class=\"note\">Two runs differ by chance, too: run each more than once before you believe a small \
             difference.</p>\n",
        );
    }
    tables::draw_totals(now, earlier, &mut page);
    section("limits", "Limits", &mut page);
    tables::draw_limits(now, &mut page);
    section("errors", "Errors", &mut page);
    tables::draw_errors(now, &mut page);
    section("conditions", "Conditions", &mut page);
    tables::draw_conditions(now, earlier, &mut page);
    page.push_str(include_str!("foot.html"));
    page
}

fn time_line(now: &RunFile, earlier: Option<&RunFile>) -> TimeLine {
    let earlier_s = earlier.filter(|run| !run.series().is_empty()).map_or(0.0, RunFile::duration_s);
    TimeLine {
        span_s: now.duration_s().max(earlier_s).max(1.0),
        ramp_s: now.number("/conditions/ramp_s").unwrap_or(0.0),
        faults: marks::faults(now),
    }
}

fn draw_head(now: &RunFile, earlier: Option<&RunFile>, out: &mut String) {
    let text = |pointer: &str| now.text(pointer).unwrap_or("–");
    let server = text("/conditions/server/name");
    let _ = writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"dark light\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>Fray swarm report: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        policy(),
        Escaped(server),
    );
    let checks = now.value("/verdict").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let failed = checks.iter().filter(|check| check["passed"] != Value::Bool(true)).count();
    let (class, verdict) = match (checks.len(), failed) {
        (0, _) => ("same", "not judged".to_owned()),
        (all, 0) => ("better", format!("passed: {all} of {all} limits kept")),
        (all, failed) => ("worse", format!("failed: {failed} of {all} limits missed")),
    };
    let _ = writeln!(
        out,
        "<header><p class=\"brand\">Fray swarm report</p><h1>{} players on {}</h1>\
         <p class=\"sub\">{} · {} · {} · {} · seed {}</p>\
         <p class=\"verdict {class}\">{verdict}</p></header>\n<main>\n<section id=\"summary\"><h2>Summary</h2>\
         <dl class=\"tiles\">",
        figure(now.number("/players").unwrap_or(0.0)),
        Escaped(server),
        Escaped(text("/conditions/server/game")),
        Escaped(text("/conditions/started_at")),
        clock(now.duration_s()),
        Escaped(text("/conditions/transport")),
        figure(now.number("/conditions/seed").unwrap_or(0.0)),
    );
    for total in TOTALS.iter().filter(|total| TILES.contains(&total.pointer)) {
        let compared = Compared::of(*total, now, earlier);
        let _ = write!(
            out,
            "<div><dt>{}</dt><dd><b>{}</b>",
            Escaped(total.label),
            compared.now.map_or("–".to_owned(), |now| match total.unit {
                "ms" => html::time(now),
                "" => figure(now),
                unit => format!("{} {unit}", figure(now)),
            }),
        );
        if earlier.is_some() {
            let _ = write!(out, "<br>{}", tables::delta(&compared));
        }
        out.push_str("</dd></div>\n");
    }
    out.push_str("</dl>\n");
    for check in checks.iter().filter(|check| check["passed"] != Value::Bool(true)) {
        let what = check.get("what").and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| check.get(name).and_then(Value::as_f64);
        let _ = writeln!(
            out,
            "<p class=\"failure\">{}: {}, limit {}</p>",
            Escaped(what),
            number("value").map_or("not measured".to_owned(), figure),
            number("limit").map_or("–".to_owned(), figure)
        );
    }
}

/// The style as it stands here, and nothing else, not even by mistake.
fn policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
}

fn section(id: &str, title: &str, out: &mut String) {
    let _ = write!(out, "</section>\n<section id=\"{id}\"><h2>{title}</h2>\n");
}

#[cfg(test)]
mod tests;
