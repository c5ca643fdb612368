//! Goal: no panel, rule or runbook names a metric that is gone, and every alert is explained and tried out. Method: the texts are
//! compared; and the real Prometheus scrapes a server on which bots play, and is asked everything that a dashboard would ask it.
//!
//! Needs `prometheus`: `scripts/tools.sh prometheus` installs it.

mod files;
#[path = "../../../server/tests/support/flags.rs"]
mod flags;
mod play;
#[path = "../programs/mod.rs"]
mod programs;
mod prometheus;

use files::Question;
use prometheus::Prometheus;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// By when everything must have a series. It takes a few seconds; more on a machine that does other things, too.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[test]
fn every_alert_has_an_entry_in_the_runbook_and_no_entry_is_left_over() {
    let (alerts, runbook) = (files::alerts(), files::runbook());
    let names: BTreeSet<_> = alerts.keys().collect();
    assert_eq!(names, runbook.keys().collect());
    assert!(names.len() > 10, "the rules were read: {names:?}");
    for (name, entry) in &runbook {
        for part in ["**Meaning.**", "**Who is affected.**", "**Confirm.**", "**Do.**"] {
            assert!(entry.contains(part), "{name} has no {part}");
        }
    }
    for (name, lines) in &alerts {
        let value = |key: &str| lines.iter().find_map(|line| line.strip_prefix(key));
        let severity = value("labels: { severity: ").and_then(|rest| rest.strip_suffix(" }"));
        assert!(matches!(severity, Some("page" | "ticket")), "{name}: {severity:?}");
        assert!(value("summary: ").is_some() && value("description: ").is_some(), "{name}");
        let anchor = value("runbook_url: ").and_then(|url| url.split_once("docs/RUNBOOK.md#"));
        assert_eq!(anchor.map(|(_, anchor)| anchor), Some(&*name.to_lowercase()), "{name}");
    }
}

#[test]
fn links_within_the_runbook_lead_somewhere() {
    let anchors: BTreeSet<_> = files::runbook().keys().map(|name| name.to_lowercase()).collect();
    for link in files::text("docs/RUNBOOK.md").split("](#").skip(1) {
        let (anchor, _) = link.split_once(')').expect("a link's end");
        assert!(anchors.contains(anchor), "{anchor}");
    }
}

#[test]
fn every_alert_is_seen_to_fire_and_not_to_fire() {
    let tests = files::text("helm/rules/tests/fray.test.yaml");
    let (mut fires, mut rests) = (BTreeSet::new(), BTreeSet::new());
    for case in tests.split("- alertname: ").skip(1) {
        let name = case.lines().next().unwrap_or_default().to_owned();
        if case.contains("exp_alerts: []") {
            rests.insert(name)
        } else {
            fires.insert(name)
        };
    }
    let alerts: BTreeSet<_> = files::alerts().into_keys().collect();
    assert_eq!(fires, alerts);
    assert_eq!(rests, alerts);
}

#[test]
fn every_panel_says_what_it_shows_and_takes_the_chosen_prometheus() {
    let dashboard = files::dashboard();
    let rows = dashboard["panels"].as_array().expect("panels").iter();
    let rows = rows.filter(|panel| panel["type"] == "row").map(|row| row["title"].as_str());
    assert_eq!(rows.flatten().collect::<Vec<_>>(), ["Overview", "Room", "Pod", "Edge", "Fleet"]);
    let mut ids = BTreeSet::new();
    for panel in files::panels(&dashboard) {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64()), "{title}: another panel has its id");
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(!files::questions(panel).is_empty(), "{title}");
        let of_ticks = title.as_str().is_some_and(|title| title.starts_with("Tick "));
        let exemplars = panel["targets"][0]["exemplar"] == Value::Bool(true);
        assert!(exemplars || !of_ticks, "{title}: ticks lead to their traces");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_rule_and_runbook_entry_has_series_in_a_real_prometheus() {
    let app = play::server().await;
    let (listen, admin) = (app.listen_addr(), app.admin_addr());
    let url = format!("http://{listen}");
    let rules = files::path("helm/rules/fray.yaml");
    let Some(prometheus) = Prometheus::start(admin, &rules).await else { return };

    let (stop, over) = (CancellationToken::new(), CancellationToken::new());
    let mut serving = JoinSet::new();
    serving.spawn(app.run(over.clone().cancelled_owned()));
    let checks = async {
        let endpoint = Endpoint::from_shared(url.clone()).expect("an address");
        let channel = endpoint.connect().await.expect("connected");
        // Somebody plays before anybody can look on.
        until(&prometheus, "fray_players > 2").await;
        play::oddities(listen, channel).await;
        until(&prometheus, "fray_resumes_total > 0").await;
        no_scrape_fails(&prometheus).await;
        let dashboard = files::dashboard();
        let panels = files::panels(&dashboard).into_iter().flat_map(files::questions).collect();
        every_question_is_answered(&prometheus, panels, 50).await;
        every_question_is_answered(&prometheus, files::runbook_questions(), 30).await;
        every_rule_has_series(&prometheus).await;
        for histogram in
            ["fray_tick_duration_seconds", "fray_tick_lateness_seconds", "fray_move_wait_seconds"]
        {
            buckets_lead_to_traces(&prometheus, &format!("{histogram}_bucket")).await;
        }
        stop.cancel();
    };
    let (report, ()) = tokio::join!(play::bots(&url, stop.clone()), checks);
    assert_eq!(swarm_faults(&report), [""; 0]);
    over.cancel();
    let ended = serving.join_next().await.expect("the server").expect("no panic");
    ended.expect("ends in order");
}

fn swarm_faults(report: &fray_bot::swarm::Report) -> Vec<String> {
    fray_bot::swarm::Limits::default().failures(report)
}

/// Waits until an expression has a series.
async fn until(prometheus: &Prometheus, expression: &str) {
    let deadline = Instant::now() + DEADLINE;
    while !prometheus.query(expression).await.is_ok_and(|series| !series.is_empty()) {
        assert!(Instant::now() < deadline, "it never came to be: {expression}");
        sleep(LOOK_EVERY).await;
    }
}

async fn buckets_lead_to_traces(prometheus: &Prometheus, buckets: &str) {
    let exemplars = prometheus.exemplars(buckets).await.expect("exemplars are kept");
    let exemplar = exemplars.first().unwrap_or_else(|| panic!("{buckets} has no exemplar"));
    let trace_id = exemplar["labels"]["trace_id"].as_str().unwrap_or_default();
    assert!(trace_id.len() == 32 && trace_id.chars().all(|c| c.is_ascii_hexdigit()), "{exemplar}");
}

async fn no_scrape_fails(prometheus: &Prometheus) {
    let targets = prometheus.ask("targets", &[]).await.expect("targets");
    let target = &targets["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
}

/// Each parses and has series, one of which has a number, and all of which have the labels that are shown.
async fn every_question_is_answered(
    prometheus: &Prometheus,
    mut left: Vec<Question>,
    at_least: usize,
) {
    assert!(left.len() > at_least, "the questions were read: {left:?}");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut without = Vec::new();
        for question in left {
            let Question { of, expression, labels } = &question;
            let answer = prometheus.query(expression).await;
            let answer = answer.unwrap_or_else(|error| panic!("{of}: {expression}: {error}"));
            for series in &answer {
                for label in labels {
                    let metric = &series["metric"];
                    assert!(
                        metric[label].is_string(),
                        "{of}: {expression}: no {label} in {metric}"
                    );
                }
            }
            if !answer.iter().any(is_finite) {
                without.push(question);
            }
        }
        if without.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "without a series that has a number: {without:#?}");
        left = without;
        sleep(LOOK_EVERY).await;
    }
}

/// Whether a series of an instant's answer has a number, and not NaN for want of events.
fn is_finite(series: &Value) -> bool {
    series["value"][1].as_str().and_then(|value| value.parse().ok()).is_some_and(f64::is_finite)
}

/// Every rule can be evaluated, and the metrics that it names are there; and those that the runbook names.
async fn every_rule_has_series(prometheus: &Prometheus) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let wrong = wrong_rules(prometheus).await.expect("an answer");
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{wrong:#?}");
        sleep(LOOK_EVERY).await;
    }
}

async fn wrong_rules(prometheus: &Prometheus) -> Result<Vec<String>, String> {
    let names = prometheus.ask("label/__name__/values", &[]).await?;
    let names: BTreeSet<_> =
        names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut wrong = Vec::new();
    let mut missing = |of: &str, named: BTreeSet<String>| {
        for name in named.iter().filter(|name| !names.contains(name.as_str())) {
            // The base name of a histogram, in a text.
            if !names.contains(format!("{name}_bucket").as_str()) {
                wrong.push(format!("{of} names {name}, which has no series"));
            }
        }
    };
    let answer = prometheus.ask("rules", &[]).await?;
    let groups = answer["groups"].as_array().into_iter().flatten();
    let rules: Vec<_> =
        groups.flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
    for rule in &rules {
        let name = rule["name"].as_str().unwrap_or_default();
        missing(name, files::metrics(rule["query"].as_str().unwrap_or_default()));
        if name.starts_with("fray:") {
            missing("the rules", BTreeSet::from([name.to_owned()]));
        }
    }
    for (title, entry) in files::runbook() {
        missing(&title, files::metrics(&entry));
    }
    let unwell = rules.iter().filter(|rule| rule["health"] != "ok");
    wrong.extend(
        unwell.map(|rule| format!("{}: {} {}", rule["name"], rule["health"], rule["lastError"])),
    );
    if rules.len() < 20 {
        wrong.push(format!("only {} rules", rules.len()));
    }
    Ok(wrong)
}
