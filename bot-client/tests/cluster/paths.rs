//! Where somebody on call looks finds one move's way: the edge's log, Events, metrics, and a trace.

use super::fleet::{Fleet, RELEASE};
use super::kube::{Kube, metric, until};
use super::load::{Load, play_on};
use super::scenes::Stage;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// The spans of a move, from who made it to who saw it: see docs/TRACING.md.
const WAY: [&str; 7] = [
    "fray.move",
    "fray.move.receive",
    "fray.move.queue",
    "fray.move.tick",
    "fray.move.encode",
    "fray.move.send",
    "fray.move.apply",
];

pub fn scenes(stage: &mut Stage) {
    stage.scene("paths: a move's way is seen", |kube| {
        let fleet = Fleet::install(
            kube,
            &json!({
                "jaeger": { "enabled": true },
                "tracing": { "budget": 1000 },
                // Streams tell where they go while they last, and not when they begin.
                "edge": { "tracing": { "trustClients": true }, "accessLog": { "every": "2s" } },
            }),
        );
        let collector = format!("http://{RELEASE}-jaeger:4317");
        let flags = ["--otlp-endpoint", &collector, "--trace-moves", "0.05"];
        let load = Load::begin_with(&fleet, "paths", &flags);
        play_on(Duration::from_secs(5));
        let servers = fleet.servers();
        let names: BTreeSet<_> = servers.iter().map(|pod| pod.name.clone()).collect();

        let line = until("the edge's log has a stream and its server", Duration::from_secs(20), || {
            let edges = "--selector=app.kubernetes.io/component=edge";
            let log = kube.kubectl(&["logs", edges, "--tail=-1"]);
            let to_server = |line: &&str| {
                line.contains("/fray.v1.Play/Play")
                    && servers.iter().any(|pod| line.contains(&pod.address))
            };
            log.lines().find(to_server).map(str::to_owned)
        });
        let line: Value = serde_json::from_str(&line).expect("a line of it is JSON");

        let applied: f64 =
            names.iter().map(|pod| metric(kube, pod, "fray_moves_applied_total")).sum();
        assert!(applied > 0.0, "no server applied a move");

        let (id, server) = until("a whole trace of a move", Duration::from_secs(60), || whole_trace(kube));
        assert!(names.contains(&server), "{server} is none of {names:?}");

        // Something to tell.
        kube.kubectl(&["delete", "pod", &servers[0].name, "--timeout=120s"]);
        let reasons = until("an Event of a server's own", Duration::from_secs(30), || {
            let reasons = told_by_servers(kube);
            (!reasons.is_empty()).then_some(reasons)
        });
        let found = load.end();
        found.is_sound();
        format!(
            "trace {id} goes from a bot to {server} and to another bot; the edge logged {}; Events {reasons:?}; \
             {applied} moves applied",
            line["path"],
        )
    });
}

/// A trace with all spans of a move, and which server's they are.
fn whole_trace(kube: &Kube) -> Option<(String, String)> {
    let namespace = &kube.settings.namespace;
    let path = format!(
        "/api/v1/namespaces/{namespace}/services/{RELEASE}-jaeger:16686/proxy/api/traces\
         ?service=fray-bot&operation=fray.move&limit=200"
    );
    let answer: Value =
        serde_json::from_str(&kube.try_kubectl(&["get", "--raw", &path]).ok()?).ok()?;
    let traces = answer["data"].as_array()?.iter();
    let has_all = |trace: &&Value| {
        let spans = trace["spans"].as_array().into_iter().flatten();
        let names: BTreeSet<_> = spans.filter_map(|span| span["operationName"].as_str()).collect();
        WAY.iter().all(|name| names.contains(name))
    };
    let trace = traces.clone().find(has_all)?;
    let ticked =
        trace["spans"].as_array()?.iter().find(|span| span["operationName"] == "fray.move.tick")?;
    let process = &trace["processes"][ticked["processID"].as_str()?];
    let tags = process["tags"].as_array()?.iter();
    let instance = tags
        .filter(|tag| tag["key"] == "service.instance.id")
        .find_map(|tag| tag["value"].as_str())?;
    Some((trace["traceID"].as_str()?.to_owned(), instance.to_owned()))
}

/// The reasons of Events that servers posted themselves.
fn told_by_servers(kube: &Kube) -> BTreeSet<String> {
    let events = kube.get(&["events"]);
    let events = events["items"].as_array().expect("a list").iter();
    let ours = events.filter(|event| {
        let by =
            event["reportingComponent"].as_str().or_else(|| event["source"]["component"].as_str());
        by.is_some_and(|by| by.contains("fray"))
    });
    ours.filter_map(|event| event["reason"].as_str().map(str::to_owned)).collect()
}
