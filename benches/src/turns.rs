//! A server of ships on one core, its players on another, and what both say of it.

use crate::cost::rss_bytes;
use crate::players::{Figures, Says};
use crate::serve::Report;
use crate::{MUX_STREAMS, TICK_RATE_HZ};
use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use serde_json::{Map, Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
/// The server is asked so long before the players' window ends: while all of them are there.
const ASKED_BEFORE: Duration = Duration::from_millis(500);

/// A server, ended with this.
pub struct World {
    process: Child,
    address: String,
    lines_in: ChildStdin,
    lines_out: BufReader<ChildStdout>,
}

/// Has bare timers run beside the rooms.
const TIMERS: &str = "--timers";

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `world` or `counted`.
    pub program: &'static str,
    /// What rooms are like: flags of these programs.
    pub scene: Vec<String>,
    /// Fray's own flags.
    pub flags: Vec<String>,
}

impl Setting {
    /// Rooms for so many players each, at so many ticks a second.
    pub fn new(room_players: usize, rate_hz: u32) -> Self {
        Self { program: "world", scene: vec![TIMERS.to_owned()], flags: Vec::new() }
            .flag("room-capacity", &room_players)
            .flag("tick-rate", &rate_hz)
    }

    /// With nothing beside the rooms.
    #[must_use]
    pub fn without_timers(mut self) -> Self {
        self.scene.retain(|flag| flag != TIMERS);
        self
    }

    /// With another flag of Fray's.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &impl ToString) -> Self {
        self.flags.extend([format!("--{name}"), value.to_string()]);
        self
    }

    /// With rooms that are another way.
    #[must_use]
    pub fn scene(mut self, name: &str, value: &impl ToString) -> Self {
        self.scene.extend([format!("--{name}"), value.to_string()]);
        self
    }
}

/// Who plays.
#[derive(Clone, Copy, Debug)]
pub struct Players {
    /// How many.
    pub count: usize,
    /// How many of them share a connection.
    pub streams: usize,
    /// What they say.
    pub says: Says,
    /// Ticks a second.
    pub rate_hz: u32,
    /// Seconds after the last one came.
    pub warm_up_s: u64,
    /// Seconds that are measured.
    pub window_s: u64,
    /// Such a share stops reading for as long, and that so often, in turns with windows in which all read.
    pub stalls: Option<(f64, u64)>,
}

impl Players {
    /// So many who make a move each tick, 20 times a second.
    pub fn new(count: usize, streams: usize, window_s: u64) -> Self {
        let (says, rate_hz) = (Says::Moves, TICK_RATE_HZ);
        Self { count, streams, says, rate_hz, warm_up_s: 3, window_s, stalls: None }
    }

    /// All that is measured.
    fn duration(&self) -> Duration {
        let turn_s = |rounds| rounds * (2 * self.window_s + self.warm_up_s);
        Duration::from_secs(self.stalls.map_or(self.window_s, |(_, rounds)| turn_s(rounds)))
    }
}

/// What was measured.
pub struct Turn {
    /// By the players.
    pub figures: Figures,
    /// By the server, when the window began,
    pub began: Report,
    /// and shortly before it ended.
    pub ended: Report,
}

impl World {
    /// Starts one.
    pub fn start(setting: &Setting) -> anyhow::Result<Self> {
        let program = setting.program;
        let mut command = Command::new(beside(program)?);
        command.args(["--core", SERVER_CORE]).args(&setting.scene).arg("--");
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--control", "127.0.0.1:0", "--allow-guests", "--log", "error"]);
        command.args(["--rooms-max", "10000", "--connections-max", "100000"]);
        command.args(&setting.flags).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("{program} does not start"))?;
        let lines_in = process.stdin.take().context("its input is piped")?;
        let lines_out = process.stdout.take().context("its output is piped")?;
        let mut world = Self {
            process,
            address: String::new(),
            lines_in,
            lines_out: BufReader::new(lines_out),
        };
        world.address = world.line()?;
        Ok(world)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.lines_out.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the server ended");
        }
        Ok(line.trim().to_owned())
    }

    /// How it did since it was last asked.
    pub fn report(&mut self) -> anyhow::Result<Report> {
        self.lines_in.write_all(b"\n")?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    /// Memory that it holds now.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        Ok(rss_bytes(self.process.id())?)
    }

    /// Lets them play.
    pub fn play(&mut self, players: Players) -> anyhow::Result<Turn> {
        let says = players.says.to_possible_value().context("all of them have names")?;
        let mut load = Command::new(beside("load")?);
        if let Some((share, rounds)) = players.stalls {
            load.args(["--stall", &share.to_string(), "--stalls", &rounds.to_string()]);
        }
        let mut load = load
            .args(["--announce", "--core", LOAD_CORE, "--kind", "fray", "--says", says.get_name()])
            .args(["--address", &self.address, "--pid", &self.process.id().to_string()])
            .args(["--players", &players.count.to_string()])
            .args(["--streams", &players.streams.to_string()])
            .args(["--rate", &players.rate_hz.to_string()])
            .args(["--warm-up", &players.warm_up_s.to_string()])
            .args(["--window", &players.window_s.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(load.stdout.take().context("its output is piped")?).lines();
        // The window begins.
        lines.next().context("the players ended")??;
        let began = self.report()?;
        pause(players.duration().saturating_sub(ASKED_BEFORE));
        let ended = self.report()?;
        let line = lines.next();
        let status = load.wait()?;
        if !status.success() {
            bail!("the players ended with {status}");
        }
        let figures: Figures = serde_json::from_str(&line.context("the players say nothing")??)?;
        if figures.ended > 0 {
            bail!("{} of the players' streams ended", figures.ended);
        }
        Ok(Turn { figures, began, ended })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits for something that another process does.
#[expect(clippy::disallowed_methods, reason = "there are no tasks here: it measures, in real time")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A program that was built with this one.
fn beside(program: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    Ok(here.parent().context("a program is in a folder")?.join(program))
}

/// The one in the middle, or between the two in the middle.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(figures.len().wrapping_sub(1) / 2), at(figures.len() / 2))
}

/// Where and with what it was measured.
pub fn conditions() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let revision = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let revision = revision.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    json!({
        "revision": revision.unwrap_or_default(),
        "processor": model.map_or("unknown", |(_, name)| name),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_before": read("/proc/loadavg").trim(),
        "tick_rate_hz": TICK_RATE_HZ,
        "mux_streams": MUX_STREAMS,
    })
}

/// What was written there before, if anything was.
pub fn read(path: &Path) -> Map<String, Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Writes figures where others find them.
pub fn write(path: &Path, figures: &Map<String, Value>) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(figures)? + "\n")?;
    println!("{}", path.display());
    Ok(())
}
