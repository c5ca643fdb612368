//! A run as its JSON has it: the one that just ended, or an earlier one from a file.
//!
//! A file may come from an older version, or from anybody. What it does not have is absent in the comparison; what cannot
//! be a run is an error that says why.

use super::columns::{Columns, SpreadColumns};
use super::histogram::Bars;
use super::report::Report;
use super::series::BUCKETS_MAX;
use anyhow::{Context as _, ensure};
use serde::Deserialize as _;
use serde_json::Value;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The longest file that is read. A run's is below 1 MiB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub struct RunFile {
    json: Value,
    series: Columns,
}

impl RunFile {
    /// The run of a report.
    pub fn of(report: &Report) -> Self {
        // Plain data with text as keys: there is always JSON for it.
        let json = serde_json::to_value(report).unwrap_or_default();
        Self { json, series: report.series.clone() }
    }

    /// An earlier run, from a file that `--json` wrote.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut text = String::new();
        let file = File::open(path)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        ensure!(text.len() as u64 <= FILE_BYTES_MAX, "it is longer than {FILE_BYTES_MAX} bytes");
        Self::parse(&text)
    }

    /// The same from its text.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let json: Value = serde_json::from_str(text).context("it is not JSON")?;
        ensure!(
            json.get("updates").is_some_and(Value::is_u64)
                && json.get("update_gap_ms").is_some_and(Value::is_object),
            "it is not a report: `fray-bot swarm --json` writes one"
        );
        let series = match json.get("series") {
            // From a version without.
            None | Some(Value::Null) => Columns::default(),
            Some(series) => Columns::deserialize(series)
                .context("its series are not as this version has them")?,
        };
        ensure!(series.len() <= BUCKETS_MAX, "its series are longer than {BUCKETS_MAX}");
        ensure!(series.is_empty() || series.bucket_s > 0, "its buckets are of no length");
        ensure!(are_even(&series), "the columns of its series are not of the same length");
        Ok(Self { json, series })
    }

    /// The run over time; empty when it is not known.
    pub fn series(&self) -> &Columns {
        &self.series
    }

    /// How long it took, in seconds, at least as long as its series.
    pub fn duration_s(&self) -> f64 {
        let whole = self.series.len().saturating_sub(1) as f64 * f64::from(self.series.bucket_s);
        self.number("/duration_s").unwrap_or(0.0).max(whole)
    }

    /// A value, by JSON pointer; `None` when it is absent or null.
    pub fn value(&self, pointer: &str) -> Option<&Value> {
        self.json.pointer(pointer).filter(|value| !value.is_null())
    }

    /// A number. Those of a summary without values are absent.
    pub fn number(&self, pointer: &str) -> Option<f64> {
        let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        let count = self.value(parent).and_then(|summary| summary.get("count"));
        if count.and_then(Value::as_u64) == Some(0) && !pointer.ends_with("/count") {
            return None;
        }
        self.value(pointer)?.as_f64()
    }

    /// A text.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.value(pointer)?.as_str()
    }

    /// All times of the run under the name of their summary; `None` when they are not known.
    pub fn bars(&self, name: &str) -> Option<Bars> {
        let bars = self.json.get("histograms")?.get(name)?;
        let bars = Bars::deserialize(bars).ok()?.sound();
        (!bars.0.is_empty()).then_some(bars)
    }
}

/// A file may lack columns, but those that it has are of one length.
fn are_even(series: &Columns) -> bool {
    let spreads = [
        &series.update_gap_ms,
        &series.tick_to_receive_ms,
        &series.move_to_ack_ms,
        &series.staleness_ms,
    ];
    let of_spread = |spread: &SpreadColumns| {
        let SpreadColumns { p50, p90, p99, max, count } = spread;
        [p50.len(), p90.len(), p99.len(), max.len(), count.len()]
    };
    let spreads = spreads.into_iter().flat_map(of_spread);
    let counts = [series.players.len(), series.bytes.len(), series.moves.len()];
    let marks = series.marks.values().map(Vec::len);
    spreads.chain(counts).chain(marks).all(|length| length == 0 || length == series.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(json: &Value) -> anyhow::Result<RunFile> {
        RunFile::parse(&json.to_string())
    }

    #[test]
    fn what_an_older_version_wrote_is_a_run_with_less() {
        let spread = json!({"p50": 50.0, "p99": 61.5, "max": 80.0, "count": 10});
        let nothing = json!({"p50": 0.0, "p99": 0.0, "max": 0.0, "count": 0});
        let run = parse(&json!({"updates": 10, "update_gap_ms": spread, "resume_ms": nothing}));
        let run = run.expect("that is enough");
        assert_eq!(run.number("/update_gap_ms/p99"), Some(61.5));
        assert_eq!(run.number("/update_gap_ms/p90"), None);
        assert_eq!(run.number("/resume_ms/p99"), None);
        assert!(run.series().is_empty() && run.bars("update_gap_ms").is_none());
    }

    #[test]
    fn what_is_no_run_is_an_error_that_says_why() {
        let gap = json!({});
        let with = |series: Value| json!({"updates": 1, "update_gap_ms": gap, "series": series});
        let long = vec![0; BUCKETS_MAX + 1];
        for (json, why) in [
            (json!([1, 2]), "not a report"),
            (json!({"updates": "many", "update_gap_ms": {}}), "not a report"),
            (with(json!({"bucket_s": -1})), "series"),
            (with(json!({"bucket_s": 0, "updates": [1]})), "no length"),
            (with(json!({"bucket_s": 1, "updates": long})), "longer"),
            (with(json!({"bucket_s": 1, "updates": [1], "moves": [1, 2]})), "same length"),
            (with(json!({"bucket_s": 1, "updates": [1], "marks": {"x": [1, 2]}})), "same length"),
        ] {
            let error = format!("{:#}", parse(&json).expect_err("no run"));
            assert!(error.contains(why), "{json}: {error}");
        }
        assert!(RunFile::parse("{").is_err());
        assert!(RunFile::parse(&"[".repeat(100_000)).is_err());
        assert!(RunFile::parse(r#"{"updates": 1, "update_gap_ms": {"p50": 1e999}}"#).is_err());
    }

    #[test]
    fn a_report_is_read_back_as_it_was() {
        let report = Report { updates: 7, duration_s: 3.5, ..Report::default() };
        let json = serde_json::to_string(&report).expect("it is plain data");
        let run = RunFile::parse(&json).expect("its own JSON");
        assert_eq!(run.json, RunFile::of(&report).json);
        assert_eq!(run.number("/duration_s"), Some(3.5));
    }
}
