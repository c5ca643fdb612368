//! Players: a swarm in a pod of the cluster, which comes in by the edge's Service. Its log has the report.

use super::fleet::{Fleet, RELEASE};
use super::kube::{Beside, Kube, until};
use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

/// Everybody plays within this.
const ALL_PLAY: Duration = Duration::from_secs(120);

/// How long players may take to leave, and the report to be written.
const LEAVE: Duration = Duration::from_secs(45);

/// What waits longer than this is more than the goal for whatever is planned.
const GOAL_MS: f64 = 500.0;

/// How many come in a second: less than the edge lets in, see [`super::fleet`].
const JOINS_PER_S: u64 = 40;

/// How many streams share a connection: less than the edge lets in (edge.streamsPerConnectionMax.players).
const STREAMS_PER_CONNECTION: &str = "16";

/// Players that play on while something happens.
pub struct Load {
    kube: Kube,
    pod: String,
    log: Beside,
    players: u64,
    begin: Instant,
}

impl Load {
    /// Starts them, and waits until all of them play.
    pub fn begin(fleet: &Fleet, name: &str) -> Self {
        Self::begin_with(fleet, name, &[])
    }

    pub fn begin_with(fleet: &Fleet, name: &str, flags: &[&str]) -> Self {
        let kube = fleet.kube.clone();
        let settings = kube.settings.clone();
        let players = settings.players;
        let pod = format!("swarm-{name}");
        let ramp = format!("{}s", players.div_ceil(JOINS_PER_S).max(2));
        let (count, rooms) = (players.to_string(), settings.rooms.to_string());
        let url = format!("http://{RELEASE}-edge");
        let mut args = vec!["swarm", "--url", &url, "--players", &count, "--rooms", &rooms];
        args.extend(["--streams-per-connection", STREAMS_PER_CONNECTION, "--ramp", &ramp]);
        args.extend(["--duration", "0", "--compare-worlds", "--json", "-"]);
        args.extend(flags);
        kube.apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": pod, "labels": { "app.kubernetes.io/component": "load" } },
            "spec": {
                "restartPolicy": "Never",
                // Nobody's API, and it stays where nothing is drained or killed.
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "nodeName": fleet.quiet_node,
                "terminationGracePeriodSeconds": LEAVE.as_secs(),
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" },
                },
                "containers": [{
                    "name": "swarm",
                    "image": settings.image.name(),
                    "command": ["/usr/bin/fray-bot"],
                    "args": args,
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": { "drop": ["ALL"] },
                    },
                    "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "1Gi" } },
                }],
            },
        }));
        let phase = || kube.find(&format!("pod/{pod}"), "/status/phase");
        until("the players' pod starts", Duration::from_secs(60), || {
            phase().filter(|phase| phase != "Pending")
        });
        let log = kube.beside(&["logs", "--follow", &pod], &kube.out(&format!("{pod}.log")));
        let load = Self { kube, pod, log, players, begin: Instant::now() };
        let all = format!("{players}/{players} players");
        until(&format!("{players} players play"), ALL_PLAY, || {
            load.log.text().contains(&all).then_some(())
        });
        load
    }

    /// Everybody leaves. What they found.
    pub fn end(mut self) -> Found {
        self.kube.kubectl(&["delete", "pod", &self.pod, "--wait=true", "--timeout=90s"]);
        until("the report is written", LEAVE, || self.log.has_ended().then_some(()));
        let text = self.log.text();
        // The log has both of the pod's streams, line by line: progress and tables for people are none of JSON's lines.
        let json: Vec<&str> = text.lines().filter(|line| is_json(line)).collect();
        let report = serde_json::from_str(&json.join("\n"));
        let report = report.unwrap_or_else(|error| panic!("no report ({error}):\n{text}"));
        Found { report, players: self.players, took: self.begin.elapsed() }
    }
}

/// Whether a line can be of an indented JSON object.
fn is_json(line: &str) -> bool {
    line.trim_start().starts_with(['"', '{', '}', '[', ']'])
}

/// Players go on for a while: what was there before has to settle, and what comes of something needs its time.
pub fn play_on(time: Duration) {
    std::thread::sleep(time);
}

impl Drop for Load {
    fn drop(&mut self) {
        // When a scene ends before its time.
        let _ = self.kube.try_kubectl(&[
            "delete",
            "pod",
            &self.pod,
            "--ignore-not-found",
            "--wait=false",
            "--now",
        ]);
    }
}

/// A swarm's report.
pub struct Found {
    report: Value,
    players: u64,
    took: Duration,
}

impl Found {
    pub fn count(&self, pointer: &str) -> u64 {
        let value = self.report.pointer(pointer);
        value.and_then(Value::as_u64).unwrap_or_else(|| panic!("the report has no {pointer}"))
    }

    fn number(&self, pointer: &str) -> f64 {
        let value = self.report.pointer(pointer);
        value.and_then(Value::as_f64).unwrap_or_else(|| panic!("the report has no {pointer}"))
    }

    /// Ends and refusals with this status or reason.
    pub fn errors_with(&self, what: &str) -> u64 {
        let errors = self.report["errors"].as_object().expect("a map");
        errors
            .iter()
            .filter(|(label, _)| label.contains(what))
            .filter_map(|(_, count)| count.as_u64())
            .sum()
    }

    /// The first thing that players were told of this kind.
    pub fn told(&self, kind: &str) -> Option<&str> {
        self.report["notice_examples"][kind].as_str()
    }

    /// No desync, no move lost or doubled, no room that was two things: whatever happens.
    pub fn is_sound(&self) {
        let wrong: Vec<String> = [
            "/desyncs",
            "/broken_updates",
            "/lost_moves",
            "/duplicate_moves",
            "/altered_moves",
            "/violations",
            "/identity_changes",
            "/stale_epochs",
            "/worlds/conflicts",
        ]
        .into_iter()
        .filter(|pointer| self.count(pointer) > 0)
        .map(|pointer| format!("{} {}", self.count(pointer), &pointer[1..]))
        .collect();
        assert!(wrong.is_empty(), "{wrong:?}; {}", self.more());
        assert!(self.count("/worlds/updates") > self.players, "nothing was compared");
    }

    /// And everybody goes on as who they were, in a room that lost nothing.
    pub fn nobody_lost_anything(&self) {
        self.is_sound();
        let lost =
            ["/sessions_lost", "/unresolved_moves", "/set_back_moves", "/worlds/rolled_back_ticks"]
                .map(|pointer| (pointer, self.count(pointer)));
        assert!(lost.iter().all(|(_, count)| *count == 0), "{lost:?}; {}", self.more());
        assert_eq!(self.count("/players"), self.players, "{}", self.more());
    }

    /// And no stream even broke.
    pub fn nobody_noticed(&self) {
        self.nobody_lost_anything();
        assert_eq!(self.count("/disconnects"), 0, "{}", self.more());
    }

    /// Of any player.
    pub fn largest_gap_ms(&self) -> f64 {
        self.number("/largest_gap_ms/max")
    }

    /// What else the report has, for whoever looks for the cause.
    pub fn more(&self) -> String {
        let of = |name: &str| self.report[name].to_string();
        format!(
            "errors {}; {}; notices {}; {}",
            of("errors"),
            of("error_examples"),
            of("notice_examples"),
            of("worlds")
        )
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = |quantile| self.number(&format!("/largest_gap_ms/{quantile}"));
        let within = if wait("p99") <= GOAL_MS { "within" } else { "OVER" };
        write!(
            f,
            "{} players, {:.0} s: longest wait per player p50 {:.0} p99 {:.0} max {:.0} ms ({within} {GOAL_MS} ms)",
            self.count("/players"),
            self.took.as_secs_f64(),
            wait("p50"),
            wait("p99"),
            wait("max"),
        )?;
        let counts = [
            ("/moves", "moves"),
            ("/lost_moves", "lost"),
            ("/duplicate_moves", "doubled"),
            ("/set_back_moves", "set back"),
            ("/desyncs", "desyncs"),
            ("/worlds/conflicts", "conflicts"),
            ("/disconnects", "streams broke"),
            ("/redirects", "moved with their rooms"),
            ("/resumes", "resumed"),
            ("/sessions_lost", "sessions lost"),
        ];
        counts.iter().try_for_each(|(pointer, name)| write!(f, ", {} {name}", self.count(pointer)))
    }
}
