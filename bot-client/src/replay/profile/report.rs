//! What a profile says, as text and for programs.

use super::super::clock;
use super::super::open::Recording;
use super::super::summary::printable;
use super::load::Window;
use super::measure::{Alone, InTurn};
use super::phases::{PHASE_NAMES, PHASES};
use super::stacks::Profile;
use super::verdict::{Comparison, ms};
use fray_server::game::Input;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The most of a function's name that is shown to people.
const NAME_CHARS_MAX: usize = 100;

/// On what it was measured.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    pub(super) is_debug: bool,
    pub(super) cores: Option<usize>,
    /// How many wanted to compute during the last minute; this process among them.
    pub(super) load: Option<f64>,
}

impl Conditions {
    pub(super) fn now() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| text.split(' ').next()?.parse().ok());
        let cores = std::thread::available_parallelism().ok().map(usize::from);
        Self { is_debug: cfg!(debug_assertions), cores, load }
    }

    /// What should make one doubt the figures.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_debug {
            warnings.push(
                "this is a debug build: its times and its shares are not those of a server"
                    .to_owned(),
            );
        }
        if let (Some(cores), Some(load)) = (self.cores, self.load)
            && load > cores as f64
        {
            warnings.push(format!(
                "the load is {load:.1} on {cores} cores: others computed, too; trust the ratio, and p50"
            ));
        }
        warnings
    }
}

/// All there is to say.
pub(super) struct Report<'a> {
    pub(super) recording: &'a Recording,
    pub(super) window: &'a Window,
    pub(super) in_turn: &'a InTurn,
    pub(super) alone: &'a Alone,
    /// An error: there is none, and why.
    pub(super) profile: Result<Profile, String>,
    pub(super) conditions: Conditions,
}

impl Report<'_> {
    pub(super) fn comparison(&self) -> Comparison {
        let ticks = self.window.ticks.iter().map(|work| work.tick);
        let ticks: Vec<(u32, u64)> = ticks.zip(self.in_turn.ticks_ns.iter().copied()).collect();
        Comparison::new(&ticks, self.window.index, self.window.header.tick_rate_hz)
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let work = self.window.work();
        let header = &self.window.header;
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<12}{value}");
        };
        line("recording", &printable(&self.recording.name));
        line(
            "game",
            &format!("{}, rules of version {}", printable(&header.game), header.sim_version),
        );
        line("server", &printable(&header.server));
        line("tick", &format!("{} ({})", work.tick, clock(work.tick, header.tick_rate_hz)));
        let inputs = counted(&work.inputs);
        let kinds = inputs.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{n} {kind}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        line("inputs", if kinds.is_empty() { "none" } else { &kinds });
        let [players, local, global] = self.alone.counts;
        line("entities", &format!("{local} local, {global} global; {players} players"));
        let Conditions { is_debug, cores, load } = &self.conditions;
        let build = if *is_debug { "debug" } else { "release" };
        let cores = cores.map_or_else(String::new, |cores| format!(", {cores} cores"));
        let load = load.map_or_else(String::new, |load| format!(", load {load:.2}"));
        line(
            "measured",
            &format!(
                "{} times alone, {} times with its neighbours; {build} build{cores}{load}",
                self.alone.repetitions(),
                self.in_turn.passes
            ),
        );
        for warning in self.conditions.warnings() {
            line("WARNING", &warning);
        }
        self.phases(&mut text);
        self.neighbours(&mut text);
        let _ = writeln!(text, "\n{}", self.comparison().sentence());
        self.hottest(&mut text);
        text
    }

    fn phases(&self, text: &mut String) {
        let work = self.window.work();
        let _ = writeln!(text, "\n{:<12}{:>12}{:>12}{:>12}", "alone", "p50", "p99", "max");
        let names = PHASE_NAMES.into_iter().chain(["whole"]);
        for (name, times) in names.zip(&self.alone.times) {
            let [p50, p99, max] = percentiles(times).map(ms);
            let note = match (name, work.has_hash, work.has_checkpoint) {
                ("log", _, true) => "  (with a checkpoint)",
                ("log", true, false) => "  (with the state's hash)",
                _ => "",
            };
            let _ = writeln!(text, "{name:<12}{p50:>12}{p99:>12}{max:>12}{note}");
        }
    }

    fn neighbours(&self, text: &mut String) {
        let compared = self.comparison();
        let ticks = &self.window.ticks;
        let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else { return };
        let _ = writeln!(
            text,
            "\nin turn     {} here, the median of {} neighbours ({} to {}) is {}; {} of them take less",
            ms(compared.tick_ns),
            compared.neighbours,
            first.tick,
            last.tick,
            ms(compared.median_ns),
            compared.lighter
        );
        let heaviest = compared.heaviest.iter().map(|(tick, ns)| {
            format!("tick {tick} with {} ({:.1} ×)", ms(*ns), compared.ratio_of(*ns))
        });
        let heaviest = heaviest.collect::<Vec<_>>().join(", ");
        if !heaviest.is_empty() {
            let _ = writeln!(text, "heaviest    {heaviest}");
        }
    }

    fn hottest(&self, text: &mut String) {
        let profile = match &self.profile {
            Ok(profile) => profile,
            Err(why) => {
                let _ = writeln!(text, "\n{why}");
                return;
            }
        };
        let parts = (0..PHASES).map(|phase| {
            format!(
                "{} {:.0} %",
                PHASE_NAMES[phase],
                percent(profile.phases[phase], profile.samples)
            )
        });
        let parts = parts.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "\n{} samples: {parts}", profile.samples);
        let _ =
            writeln!(text, "{:>7} {:>7}  FUNCTION, with what was inlined into it", "OWN", "ALL");
        for (name, own, all) in &profile.hottest {
            let [own, all] = [own, all].map(|part| percent(*part, profile.samples));
            let _ = writeln!(text, "{own:>5.1} % {all:>5.1} %  {}", clipped(&printable(name)));
        }
    }

    pub(super) fn json(&self) -> Value {
        let work = self.window.work();
        let header = &self.window.header;
        let compared = self.comparison();
        let [players, local, global] = self.alone.counts;
        let inputs: Value = counted(&work.inputs)
            .into_iter()
            .map(|(kind, n)| (kind.to_owned(), json!(n)))
            .collect();
        let times: Value = PHASE_NAMES
            .into_iter()
            .chain(["whole"])
            .zip(&self.alone.times)
            .map(|(name, times)| {
                let [p50, p99, max] = percentiles(times);
                (name.to_owned(), json!({ "p50_ns": p50, "p99_ns": p99, "max_ns": max }))
            })
            .collect();
        let heaviest: Vec<Value> =
            compared.heaviest.iter().map(|(tick, ns)| json!({ "tick": tick, "ns": ns })).collect();
        let profile = self.profile.as_ref().map_or_else(
            |why| json!({ "missing": why }),
            |profile| {
                let hottest: Vec<Value> = profile
                    .hottest
                    .iter()
                    .map(|(name, own, all)| json!({ "function": name, "own": own, "all": all }))
                    .collect();
                let phases = PHASE_NAMES.into_iter().zip(profile.phases);
                let phases: Value = phases.map(|(name, n)| (name.to_owned(), json!(n))).collect();
                json!({ "samples": profile.samples, "phases": phases, "hottest": hottest })
            },
        );
        json!({
            "recording": self.recording.name,
            "game": header.game,
            "sim_version": header.sim_version,
            "server": header.server,
            "tick": work.tick,
            "tick_rate_hz": header.tick_rate_hz,
            "inputs": inputs,
            "players": players,
            "entities": { "local": local, "global": global },
            "has_hash": work.has_hash,
            "has_checkpoint": work.has_checkpoint,
            "conditions": {
                "debug_build": self.conditions.is_debug,
                "cores": self.conditions.cores,
                "load": self.conditions.load,
                "warnings": self.conditions.warnings(),
            },
            "repetitions": self.alone.repetitions(),
            "alone": times,
            "in_turn": {
                "passes": self.in_turn.passes,
                "ns": compared.tick_ns,
                "neighbours": compared.neighbours,
                "median_ns": compared.median_ns,
                "ratio": compared.ratio(),
                "lighter": compared.lighter,
                "heaviest": heaviest,
                "suspect": compared.suspect.map(|(tick, _)| tick),
            },
            "verdict": compared.verdict().word(),
            "line": compared.sentence(),
            "profile": profile,
        })
    }
}

/// Without the middle of a long name: its end says where it is.
fn clipped(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME_CHARS_MAX {
        return name.to_owned();
    }
    let half = NAME_CHARS_MAX / 2;
    let begin: String = name.chars().take(half).collect();
    let end: String = name.chars().skip(count - half).collect();
    format!("{begin} … {end}")
}

/// Inputs by kind.
pub(super) fn counted(inputs: &[Input]) -> [(&'static str, usize); 5] {
    let mut kinds =
        [("moves", 0), ("joins", 0), ("leaves", 0), ("streams lost", 0), ("streams back", 0)];
    for input in inputs {
        let kind = match input {
            Input::Controls { .. } => 0,
            Input::Join { .. } => 1,
            Input::Leave { .. } => 2,
            Input::Connected { connected: false, .. } => 3,
            Input::Connected { connected: true, .. } => 4,
        };
        kinds[kind].1 += 1;
    }
    kinds
}

/// p50, p99 and the longest, ns.
fn percentiles(times: &hdrhistogram::Histogram<u64>) -> [u64; 3] {
    [times.value_at_quantile(0.5), times.value_at_quantile(0.99), times.max()]
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}
