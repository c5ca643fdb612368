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
        let gap_ms = self.kube.settings.gap_ms;
        Found { report, players: self.players, took: self.begin.elapsed(), gap_ms }
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
    /// See [`Found::nobody_waited_long`].
    gap_ms: f64,
}

/// The longest wait of any player may be so many times as long as what 99 of 100 keep to.
const MAX_PER_P99: f64 = 4.0;

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

    /// How often players were told what.
    pub fn notices(&self) -> String {
        self.report["notices"].to_string()
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
        let lost = [
            "/sessions_lost",
            "/sessions_anew",
            "/unresolved_moves",
            "/set_back_moves",
            "/worlds/rolled_back_ticks",
        ]
        .map(|pointer| (pointer, self.count(pointer)));
        assert!(lost.iter().all(|(_, count)| *count == 0), "{lost:?}; {}", self.more());
        assert_eq!(self.count("/players"), self.players, "{}", self.more());
    }

    /// And nobody was without the game for long: what is done by will can wait until it costs nothing.
    pub fn cost_nobody_anything(&self) {
        self.nobody_lost_anything();
        self.nobody_waited_long();
    }

    pub fn nobody_waited_long(&self) {
        let too_long = self.waits_that_are_too_long();
        assert!(too_long.is_empty(), "{too_long}; {}", self.more());
    }

    /// The bounds are for a machine that others use as well; the goal is printed beside the figures.
    fn waits_that_are_too_long(&self) -> String {
        let bounds = [("p99", self.gap_ms), ("max", MAX_PER_P99 * self.gap_ms)];
        let too_long =
            bounds.into_iter().filter(|(quantile, bound_ms)| self.wait_ms(quantile) > *bound_ms);
        let in_words = |(quantile, bound_ms)| {
            let wait_ms = self.wait_ms(quantile);
            format!(
                "longest wait per player, {quantile}: {wait_ms:.0} ms, more than {bound_ms} ms (FRAY_CLUSTER_GAP_MS)"
            )
        };
        too_long.map(in_words).collect::<Vec<_>>().join(", ")
    }

    /// Longest waits per player.
    fn wait_ms(&self, quantile: &str) -> f64 {
        self.number(&format!("/largest_gap_ms/{quantile}"))
    }

    /// And no stream even broke.
    pub fn nobody_noticed(&self) {
        self.nobody_lost_anything();
        assert_eq!(self.count("/disconnects"), 0, "{}", self.more());
    }

    /// Of any player.
    pub fn largest_gap_ms(&self) -> f64 {
        self.wait_ms("max")
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
        let wait = |quantile| self.wait_ms(quantile);
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

#[cfg(test)]
mod tests {
    use super::Found;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_scene_by_will_fails_when_players_wait_for_too_long() {
        let is_accepted = |p99: f64, max: f64| {
            let report = json!({ "largest_gap_ms": { "p99": p99, "max": max } });
            let found = Found { report, players: 1, took: Duration::ZERO, gap_ms: 1_000.0 };
            found.waits_that_are_too_long().is_empty()
        };
        assert!(is_accepted(1_000.0, 4_000.0));
        assert!(!is_accepted(1_001.0, 1_001.0), "most of them");
        assert!(!is_accepted(100.0, 4_001.0), "one of them");
    }
}
