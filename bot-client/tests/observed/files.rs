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

/// A question to Prometheus, and the labels that each series of the answer must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) of: String,
    pub(crate) expression: String,
    pub(crate) labels: Vec<String>,
}

/// What a panel asks when all servers are chosen; its legend names labels.
pub(crate) fn questions(panel: &Value) -> Vec<Question> {
    let targets = panel["targets"].as_array().expect("targets");
    let chosen = |expression: &str| {
        let expression = expression.replace("$__rate_interval", "1m");
        let expression = expression.replace("$job", ".*").replace("$instance", ".*");
        assert!(!expression.contains('$'), "a variable that is not known: {expression}");
        expression
    };
    let question = |target: &Value| {
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        let labels = legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0));
        Question {
            of: panel["title"].as_str().unwrap_or_default().to_owned(),
            expression: chosen(target["expr"].as_str().expect("text")),
            labels: labels.map(|label| label.trim().to_owned()).collect(),
        }
    };
    targets.iter().map(question).collect()
}

/// What the runbook tells people to ask: all that stands between backticks and names a metric.
pub(crate) fn runbook_questions() -> Vec<Question> {
    let mut questions = Vec::new();
    for (of, entry) in runbook() {
        let spans: Vec<_> = entry.split('`').collect();
        assert!(spans.len() % 2 == 1, "{of}: a backtick is not closed");
        let named = spans.into_iter().skip(1).step_by(2).filter(|span| !metrics(span).is_empty());
        questions.extend(named.map(|expression| Question {
            of: of.clone(),
            expression: expression.to_owned(),
            labels: Vec::new(),
        }));
    }
    questions
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
