//! Where somebody on call looks finds one move's way: the edge's log, Events, metrics, and a trace.

use super::fleet::{Fleet, RELEASE};
use super::kube::{Kube, metric, until};
use super::load::{Load, play_on};
use super::scenes::Stage;
use super::spans::WAY;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

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

        let applied: f64 =
            names.iter().map(|pod| metric(kube, pod, "fray_moves_applied_total")).sum();
        assert!(applied > 0.0, "no server applied a move");

        let Traced { id, server, room } =
            until("a whole trace of a move", Duration::from_secs(60), || whole_trace(kube));
        let pod = servers.iter().find(|pod| pod.name == server);
        let pod = pod.unwrap_or_else(|| panic!("{server} is none of {names:?}"));

        // The trace's move went into this room, on this server. Whose it was the trace says by the number in the room, and the log by the
        // ticket's subject: a room's streams are as close as both together come.
        let path = until("the edge's log has a stream of that room", Duration::from_secs(20), || {
            let edges = "--selector=app.kubernetes.io/component=edge";
            let log = kube.kubectl(&["logs", edges, "--tail=-1"]);
            log.lines().find_map(|line| path_of_stream(line, &room, &pod.address))
        });

        // Something to tell.
        kube.kubectl(&["delete", "pod", &servers[0].name, "--timeout=120s"]);
        let reasons = until("an Event of a server's own", Duration::from_secs(30), || {
            let reasons = told_by_servers(kube);
            (!reasons.is_empty()).then_some(reasons)
        });
        let found = load.end();
        found.is_sound();
        format!(
            "trace {id} goes from a bot to {server} and to another bot; the edge logged {path} to room {room} there; \
             Events {reasons:?}; {applied} moves applied",
        )
    });
}

/// What a line of the edge's log says of a stream of this room to the server with this address.
fn path_of_stream(line: &str, room: &str, address: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let server = line["server"].as_str()?.rsplit_once(':')?.0;
    let path = line["path"].as_str()?;
    let is_it = path == "/fray.v1.Play/Play" && line["room"] == room && server == address;
    is_it.then(|| path.to_owned())
}

/// What a trace with all spans of a move says.
struct Traced {
    id: String,
    /// The server whose tick applied it.
    server: String,
    room: String,
}

fn whole_trace(kube: &Kube) -> Option<Traced> {
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
    let tag = |of: &Value, key: &str| {
        let mut tags = of["tags"].as_array()?.iter();
        tags.find(|tag| tag["key"] == key)?["value"].as_str().map(str::to_owned)
    };
    Some(Traced {
        id: trace["traceID"].as_str()?.to_owned(),
        server: tag(&trace["processes"][ticked["processID"].as_str()?], "service.instance.id")?,
        room: tag(ticked, "fray.room")?,
    })
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

#[test]
fn a_line_of_the_log_belongs_to_a_trace_by_its_room_and_server() {
    let line = |path: &str, room: &str, server: &str| {
        json!({ "path": path, "room": room, "server": server }).to_string()
    };
    let play = "/fray.v1.Play/Play";
    let found = |line: &str| path_of_stream(line, "r1", "10.0.0.7");
    assert_eq!(found(&line(play, "r1", "10.0.0.7:7777")).as_deref(), Some(play));
    assert_eq!(found(&line(play, "r2", "10.0.0.7:7777")), None);
    assert_eq!(found(&line(play, "r1", "10.0.0.70:7777")), None);
    assert_eq!(found(&line("/fray.v1.Lobby/Join", "r1", "10.0.0.7:7777")), None);
    assert_eq!(found("[warning] no JSON"), None);
}
