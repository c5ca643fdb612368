//! Under what conditions a run took place: without them its numbers cannot be compared.

use super::plan::Plan;
use fray_proto::v1;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// How much of a text from the server is kept.
const TEXT_CHARS_MAX: usize = 100;

/// How many rooms are named.
const ROOMS_NAMED_MAX: usize = 16;

/// See the module. The names of the fields are those of the JSON; what is not known is absent or null there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Conditions {
    /// When the run began, in UTC, as RFC 3339 has it.
    pub started_at: String,
    /// The version of these bots.
    pub bot_version: String,
    /// "debug" or "release".
    pub bot_build: String,
    /// The command line, without the program.
    pub flags: String,
    /// "grpc" or "ws".
    pub transport: String,
    /// How many players were to play.
    pub players: u64,
    /// Over how many rooms they were spread; `None`: the server chose.
    pub rooms: Option<u64>,
    /// Over how long they were started.
    pub ramp_s: f64,
    /// For how long they were to play after that; `None`: until told.
    pub duration_s: Option<f64>,
    /// Moves per second and player; `None`: as people do.
    pub rate_hz: Option<f64>,
    /// Where the random numbers started.
    pub seed: u64,
    /// The share of the players that stopped reading.
    pub stall: f64,
    /// The share of the players that dropped their streams.
    pub churn: f64,
    /// What the server told; `None`: nobody got in.
    pub server: Option<ServerTold>,
    /// The machine of the bots.
    pub machine: Machine,
}

impl Conditions {
    pub(super) fn of(plan: &Plan, server: Option<ServerTold>, started: SystemTime) -> Self {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self {
            started_at: humantime::format_rfc3339_seconds(started).to_string(),
            bot_version: env!("CARGO_PKG_VERSION").to_owned(),
            bot_build: build.to_owned(),
            players: plan.players as u64,
            rooms: plan.rooms.map(|rooms| rooms as u64),
            ramp_s: plan.ramp.as_secs_f64(),
            duration_s: plan.duration.as_ref().map(Duration::as_secs_f64),
            rate_hz: plan.rate_hz,
            seed: plan.seed,
            stall: plan.stall,
            churn: plan.churn,
            server,
            ..Self::default()
        }
    }
}

/// What a server tells in its welcome, as far as it belongs to the conditions of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServerTold {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The game.
    pub game: String,
    /// The version of the game's rules.
    pub sim_version: u32,
    /// The versions of the protocol that it speaks.
    pub protocol_min: u32,
    /// The highest.
    pub protocol_max: u32,
    /// Ticks per second.
    pub tick_rate_hz: u32,
    /// How far a client may be behind.
    pub staleness_window_ms: u32,
    /// How often it lets hear from itself.
    pub heartbeat_ms: u32,
    /// After which silence a stream is given up.
    pub idle_timeout_ms: u32,
    /// How long a player without a stream keeps its place.
    pub grace_ms: u32,
    /// The names of the rooms that players were in; not all when there are many.
    pub rooms: BTreeSet<String>,
}

impl ServerTold {
    pub(super) fn of(welcome: &v1::Welcome) -> Self {
        Self {
            name: shortened(&welcome.server),
            version: shortened(&welcome.server_version),
            game: shortened(&welcome.game),
            sim_version: welcome.sim_version,
            protocol_min: welcome.protocol_min,
            protocol_max: welcome.protocol_max,
            tick_rate_hz: welcome.tick_rate_hz,
            staleness_window_ms: welcome.staleness_window_ms,
            heartbeat_ms: welcome.heartbeat_ms,
            idle_timeout_ms: welcome.idle_timeout_ms,
            grace_ms: welcome.grace_ms,
            rooms: welcome.room.iter().map(|room| shortened(&room.name)).collect(),
        }
    }

    /// Takes over the names of rooms that another player was in.
    pub(super) fn add_rooms(&mut self, other: &Self) {
        for room in &other.rooms {
            if self.rooms.len() < ROOMS_NAMED_MAX && !self.rooms.contains(room) {
                self.rooms.insert(room.clone());
            }
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// The machine that the bots ran on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    /// The operating system and the instruction set.
    pub system: String,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The processor's name.
    pub cpu: Option<String>,
    /// How many threads can run at once here.
    pub cores: Option<u64>,
    /// All memory.
    pub memory_bytes: Option<u64>,
    /// Processes that wanted to run, on average over a minute, before the run.
    pub load_before: Option<f64>,
    /// The same after it.
    pub load_after: Option<f64>,
}

impl Machine {
    /// Asks the system, before a run.
    pub fn look() -> Self {
        let cores = std::thread::available_parallelism().ok();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernel: kernel.map(|release| release.trim().to_owned()),
            cpu: proc::cpu(),
            cores: cores.map(|cores| cores.get() as u64),
            memory_bytes: proc::memory_bytes(),
            load_before: proc::load(),
            load_after: None,
        }
    }

    /// Asks again after it.
    #[must_use]
    pub fn look_again(self) -> Self {
        Self { load_after: proc::load(), ..self }
    }
}

#[cfg(target_os = "linux")]
mod proc {
    use procfs::{CpuInfo, Current as _, LoadAverage, Meminfo};

    pub(super) fn cpu() -> Option<String> {
        CpuInfo::current().ok()?.model_name(0).map(str::to_owned)
    }

    pub(super) fn memory_bytes() -> Option<u64> {
        Some(Meminfo::current().ok()?.mem_total)
    }

    pub(super) fn load() -> Option<f64> {
        let load = f64::from(LoadAverage::current().ok()?.one);
        Some((load * 100.0).round() / 100.0)
    }
}

#[cfg(not(target_os = "linux"))]
mod proc {
    pub(super) fn cpu() -> Option<String> {
        None
    }

    pub(super) fn memory_bytes() -> Option<u64> {
        None
    }

    pub(super) fn load() -> Option<f64> {
        None
    }
}

/// A command line as it may be shown: what stands before the `@` of an address is a secret.
pub fn shown_flags(arguments: impl Iterator<Item = String>) -> String {
    arguments.map(|argument| without_credentials(&argument)).collect::<Vec<_>>().join(" ")
}

fn without_credentials(argument: &str) -> String {
    let Some((scheme, rest)) = argument.split_once("://") else {
        return argument.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_an_address_are_not_shown() {
        let flags = ["swarm", "--url=https://me:s3cret@host:1/a@b", "--json", "a@b.json"];
        let shown = shown_flags(flags.into_iter().map(str::to_owned));
        assert_eq!(shown, "swarm --url=https://***@host:1/a@b --json a@b.json");
    }

    #[test]
    fn what_a_server_says_of_itself_is_bounded() {
        let long = "x".repeat(100_000);
        let room = |name: String| Some(v1::Room { name, ..v1::Room::default() });
        let welcome = |n: usize| v1::Welcome {
            server: long.clone(),
            room: room(format!("{n:03}{long}")),
            ..v1::Welcome::default()
        };
        let mut told = ServerTold::of(&welcome(0));
        (1..1000).for_each(|n| told.add_rooms(&ServerTold::of(&welcome(n))));
        assert_eq!((told.name.len(), told.rooms.len()), (100, ROOMS_NAMED_MAX));
        assert!(told.rooms.iter().all(|name| name.len() == 100));
    }
}
