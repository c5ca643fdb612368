//! The tables: totals, limits, errors, conditions.

use super::html::Escaped;
use crate::swarm::comparison::{Compared, TOTALS, figure};
use crate::swarm::run_file::RunFile;
use serde_json::Value;
use std::fmt::Write as _;

/// How many errors are listed.
const ERRORS_MAX: usize = 70;

/// Writes all numbers of the run, beside those of an earlier one.
pub(super) fn draw_totals(now: &RunFile, earlier: Option<&RunFile>, out: &mut String) {
    let heads: &[&str] = if earlier.is_some() {
        &["", "this run", "earlier", "difference"]
    } else {
        &["", "this run"]
    };
    begin("totals", heads, out);
    for total in TOTALS {
        let compared = Compared::of(total, now, earlier);
        if compared.now.is_none() && compared.before.is_none() {
            continue;
        }
        let number = |number: Option<f64>| number.map_or("–".to_owned(), figure);
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            Escaped(&total.full_label()),
            number(compared.now)
        );
        if earlier.is_some() {
            let _ =
                write!(out, "<td>{}</td><td>{}</td>", number(compared.before), delta(&compared));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// A difference, and in words what it means.
pub(super) fn delta(compared: &Compared) -> String {
    let (class, word) = match compared.is_better() {
        Some(true) => ("better", " better"),
        Some(false) => ("worse", " worse"),
        None => ("same", ""),
    };
    format!("<span class=\"{class}\">{}{word}</span>", Escaped(&compared.difference()))
}

/// Writes what the run had to keep to.
pub(super) fn draw_limits(now: &RunFile, out: &mut String) {
    begin("limits", &["", "found", "limit", "outcome"], out);
    for check in now.value("/verdict").and_then(Value::as_array).into_iter().flatten() {
        let number = |name: &str| check.get(name).and_then(Value::as_f64);
        let is = |name: &str| check.get(name).and_then(Value::as_bool) == Some(true);
        let what = check.get("what").and_then(Value::as_str).unwrap_or_default();
        let bound = if is("is_least") { "at least" } else { "at most" };
        let (class, word) = if is("passed") { ("better", "passed") } else { ("worse", "FAILED") };
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{bound} {}</td>\
             <td><span class=\"{class}\">{word}</span></td></tr>",
            Escaped(what),
            number("value").map_or("not measured".to_owned(), figure),
            number("limit").map_or("–".to_owned(), figure),
        );
    }
    out.push_str("</tbody></table></div>\n");
}

/// Writes how calls and streams ended that nobody asked to end.
pub(super) fn draw_errors(now: &RunFile, out: &mut String) {
    let errors = now.value("/errors").and_then(Value::as_object).filter(|map| !map.is_empty());
    let Some(errors) = errors else {
        out.push_str(
            "<p class=\"note\">No call was refused, and no stream ended with an error.</p>\n",
        );
        return;
    };
    begin("errors", &["status and reason", "times", "what the first one said"], out);
    for (label, count) in errors.iter().take(ERRORS_MAX) {
        let examples = now.value("/error_examples").and_then(Value::as_object);
        let example = examples.and_then(|map| map.get(label)).and_then(Value::as_str);
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"text\">{}</td></tr>",
            Escaped(label),
            figure(count.as_f64().unwrap_or(0.0)),
            Escaped(example.unwrap_or("")),
        );
    }
    out.push_str("</tbody></table></div>\n");
}

/// What a run's conditions are called, and where they are in the JSON.
const CONDITIONS: [(&str, &str); 30] = [
    ("started (UTC)", "/conditions/started_at"),
    ("bots", "/conditions/bot_version"),
    ("build of the bots", "/conditions/bot_build"),
    ("command line", "/conditions/flags"),
    ("transport", "/conditions/transport"),
    ("players", "/conditions/players"),
    ("new rooms", "/conditions/rooms"),
    ("ramp (s)", "/conditions/ramp_s"),
    ("duration (s)", "/conditions/duration_s"),
    ("moves per second and player", "/conditions/rate_hz"),
    ("seed", "/conditions/seed"),
    ("share that stops reading", "/conditions/stall"),
    ("share that drops streams", "/conditions/churn"),
    ("server", "/conditions/server/name"),
    ("game", "/conditions/server/game"),
    ("version of its rules", "/conditions/server/sim_version"),
    ("server's version", "/conditions/server/version"),
    ("protocol from", "/conditions/server/protocol_min"),
    ("protocol to", "/conditions/server/protocol_max"),
    ("ticks per second", "/conditions/server/tick_rate_hz"),
    ("staleness window (ms)", "/conditions/server/staleness_window_ms"),
    ("grace period (ms)", "/conditions/server/grace_ms"),
    ("rooms seen", "/conditions/server/rooms"),
    ("bots' system", "/conditions/machine/system"),
    ("kernel", "/conditions/machine/kernel"),
    ("processor", "/conditions/machine/cpu"),
    ("threads at once", "/conditions/machine/cores"),
    ("memory (MiB)", "/conditions/machine/memory_bytes"),
    ("load before", "/conditions/machine/load_before"),
    ("load after", "/conditions/machine/load_after"),
];

/// Writes under what conditions the run took place; beside an earlier one's, with what differs marked.
pub(super) fn draw_conditions(now: &RunFile, earlier: Option<&RunFile>, out: &mut String) {
    let heads: &[&str] =
        if earlier.is_some() { &["", "this run", "earlier"] } else { &["", "this run"] };
    begin("conditions", heads, out);
    for (label, pointer) in CONDITIONS {
        let value = shown(now, pointer);
        let before = earlier.map(|run| shown(run, pointer));
        let differs = before.as_ref().is_some_and(|before| *before != value);
        let class = if differs { " class=\"differs\"" } else { "" };
        let _ = write!(
            out,
            "<tr{class}><th scope=\"row\">{}</th><td class=\"text\">{}</td>",
            Escaped(label),
            Escaped(&value)
        );
        if let Some(before) = before {
            let _ = write!(out, "<td class=\"text\">{}</td>", Escaped(&before));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

#[cfg(test)]
pub(super) fn condition_pointers() -> impl Iterator<Item = &'static str> {
    CONDITIONS.iter().map(|(_, pointer)| *pointer)
}

fn shown(run: &RunFile, pointer: &str) -> String {
    match run.value(pointer) {
        None => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
            parts.join(", ")
        }
        Some(value) if pointer.ends_with("_bytes") => {
            figure((value.as_f64().unwrap_or(0.0) / f64::from(1 << 20)).round())
        }
        Some(value) => value.to_string(),
    }
}

fn begin(class: &str, heads: &[&str], out: &mut String) {
    let _ = write!(out, "<div class=\"wide\"><table class=\"{class}\"><thead><tr>");
    for head in heads {
        let _ = write!(out, "<th scope=\"col\">{}</th>", Escaped(head));
    }
    out.push_str("</tr></thead><tbody>\n");
}
