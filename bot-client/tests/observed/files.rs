//! What operators are given, as text: the dashboard, the rules with their tests, the runbook.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name)
}

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn dashboard() -> Value {
    serde_json::from_str(&text("helm/dashboards/fray.json")).expect("JSON")
}

/// The panels with something to show: all but the rows' titles.
pub(crate) fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().filter(|panel| panel["type"] != "row").collect()
}

/// The expressions of a panel, as they are when all servers are chosen.
pub(crate) fn expressions(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().expect("targets");
    let chosen = |expression: &str| {
        let expression = expression.replace("$__rate_interval", "1m");
        let expression = expression.replace("$job", ".*").replace("$instance", ".*");
        assert!(!expression.contains('$'), "a variable that is not known: {expression}");
        expression
    };
    targets.iter().map(|target| chosen(target["expr"].as_str().expect("text"))).collect()
}

/// The lines of each alert in the rules, by its name.
pub(crate) fn alerts() -> BTreeMap<String, Vec<String>> {
    let mut alerts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = None;
    for line in text("helm/rules/fray.yaml").lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            let is_new = alerts.insert(name.to_owned(), Vec::new()).is_none();
            assert!(is_new, "two alerts are called {name}");
            current = Some(name.to_owned());
        } else if line.starts_with("- ") {
            current = None;
        } else if let Some(lines) = current.as_ref().and_then(|name| alerts.get_mut(name)) {
            lines.push(line.to_owned());
        }
    }
    alerts
}

/// The entries of the runbook, by their titles.
pub(crate) fn runbook() -> BTreeMap<String, String> {
    let text = text("docs/RUNBOOK.md");
    let entries = text.split("\n## ").skip(1).filter_map(|entry| entry.split_once('\n'));
    entries.map(|(title, body)| (title.to_owned(), body.to_owned())).collect()
}

/// The metrics that a text names: words that begin as ours do, outside of strings.
pub(crate) fn metrics(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (index, outside) in expression.split('"').enumerate() {
        if index % 2 == 0 {
            let words = outside.split(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c));
            let is_ours = |word: &&str| {
                ["fray_", "fray:", "process_"].iter().any(|start| word.starts_with(start))
                    || *word == "up"
            };
            names.extend(words.filter(is_ours).map(str::to_owned));
        }
    }
    names
}
