//! What a recording is, and whether it comes out the same.

use super::open::{Recording, Scan};
use super::{ReplayArgs, clock, exit_code};
use anyhow::{Context as _, ensure};
use fray_server::replay::{Games, Report, Verdict, verify};
use fray_server::store::{EndReason, Header};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{Read as _, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A recording that was played again.
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) scan: Scan,
    pub(super) report: Report,
    took: Duration,
}

/// Plays one again, and tells everything of it.
pub(super) fn verify_one(
    games: Games<'_>,
    recording: &Recording,
    args: &ReplayArgs,
    out: &mut dyn Write,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<ExitCode> {
    let checked = Checked::new(games, recording, args.until, is_stopped)?;
    if args.json {
        writeln!(out, "{:#}", checked.json())?;
    } else {
        writeln!(out, "{}{}", checked.text(), checked.verdict())?;
    }
    Ok(exit_code(checked.is_same()))
}

impl Checked {
    /// Plays it again, up to this tick.
    pub(super) fn new(
        games: Games<'_>,
        recording: &Recording,
        until: Option<u32>,
        is_stopped: &dyn Fn() -> bool,
    ) -> anyhow::Result<Self> {
        let scan = recording.scan(until.unwrap_or(u32::MAX))?;
        let first = scan.first_tick();
        ensure!(
            until.is_none_or(|until| until >= first),
            "{} begins with tick {first}",
            recording.name
        );
        let from = recording.open()?.take(scan.limit.unwrap_or(u64::MAX));
        let began = Instant::now();
        let report = verify(games, from, u32::MAX, is_stopped);
        let report = report.with_context(|| recording.name.clone())?;
        let took = began.elapsed();
        Ok(Self { name: recording.name.clone(), bytes: recording.bytes()?, scan, report, took })
    }

    /// Whether nothing is wrong; an end that is missing is not.
    pub(super) fn is_same(&self) -> bool {
        matches!(self.report.verdict, Verdict::Same { .. })
    }

    /// The verdict in one word.
    pub(super) fn word(&self) -> &'static str {
        match &self.report.verdict {
            Verdict::Same { .. } if self.is_incomplete() => "SAME so far, INCOMPLETE",
            Verdict::Same { .. } if self.report.gaps > 0 => "SAME, with gaps",
            Verdict::Same { .. } => "SAME",
            Verdict::Differs { .. } => "DIFFERS",
            Verdict::Damaged { .. } => "DAMAGED",
            Verdict::Panicked { .. } => "PANICKED",
        }
    }

    /// The log was cut off, and not by who asked.
    fn is_incomplete(&self) -> bool {
        self.report.end.is_none() && self.scan.limit.is_none()
    }

    /// The verdict in one line.
    pub(super) fn verdict(&self) -> String {
        let report = &self.report;
        let last = report.last_tick;
        let mut compared =
            format!("{} ticks, {} hashes compared", report.ticks, report.hashes_compared);
        if report.gaps > 0 {
            let _ = write!(compared, ", but ticks are MISSING in {} places", report.gaps);
        }
        match &report.verdict {
            Verdict::Same { panicked: Some(message) } => {
                format!("SAME: panics in tick {} as recorded: {message}", last.saturating_add(1))
            }
            Verdict::Same { panicked: None } if self.scan.limit.is_some() => {
                format!("SAME up to tick {last}: {compared}")
            }
            Verdict::Same { panicked: None } if self.is_incomplete() => {
                let mut line =
                    format!("SAME so far: {compared}; INCOMPLETE (it breaks off after tick {last}");
                if self.scan.tail_bytes > 0 {
                    let _ = write!(line, ", {} bytes into the next record", self.scan.tail_bytes);
                }
                line + ")"
            }
            Verdict::Same { panicked: None } => format!("SAME: {compared}"),
            Verdict::Differs { tick, recorded, replayed } if recorded == replayed => {
                format!(
                    "DIFFERS at tick {tick}: the recorded game panicked in it, and this one does not"
                )
            }
            Verdict::Differs { tick, recorded, replayed } => {
                format!(
                    "DIFFERS at tick {tick}: recorded hash {recorded:016x}, replayed {replayed:016x}"
                )
            }
            Verdict::Damaged { offset, problem } => {
                format!("DAMAGED at offset {offset}: {problem}; the same up to tick {last}")
            }
            Verdict::Panicked { tick, message } => {
                format!("PANICKED in tick {tick}, and the recorded game did not: {message}")
            }
        }
    }

    fn seconds(&self) -> f64 {
        f64::from(self.report.ticks) / f64::from(self.scan.tick_rate_hz())
    }

    /// How many times faster than it was played.
    fn speed(&self) -> f64 {
        self.seconds() / self.took.as_secs_f64().max(1e-6)
    }

    fn bytes_per_player_minute(&self) -> Option<f64> {
        let minutes = self.report.player_ticks as f64 / f64::from(self.scan.tick_rate_hz()) / 60.0;
        (minutes > 0.0).then(|| self.bytes as f64 / minutes)
    }

    /// One line for each thing that is known.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "{name:<14}{value}");
            }
        };
        line("recording", &self.name);
        let report = &self.report;
        if let Some(header) = &report.header {
            let (first, last, rate_hz) = (header.first_tick, report.last_tick, header.tick_rate_hz);
            line("game", &format!("{}, rules of version {}", header.game, header.sim_version));
            line("configuration", &printable(&header.configuration));
            line("seed", &header.seed.to_string());
            let room = format!("{} ({})", printable(&header.room_name), printable(&header.room));
            line(
                "room",
                &format!("{room}, for {} players, epoch {}", header.capacity, header.epoch),
            );
            line("server", &printable(&header.server));
            line("started", &started(header));
            let [from, to] = [first, last].map(|tick| clock(tick, rate_hz));
            line("ticks", &format!("{first} to {last} ({from} to {to}) at {rate_hz} Hz"));
            line("incident", &printable(&header.incident));
        }
        line("inputs", &format!("{} joins, {} moves", report.joins, report.moves));
        let each = self.bytes_per_player_minute();
        let each = each.map(|each| format!(", {each:.0} per player and minute"));
        line("bytes", &format!("{}{}", self.bytes, each.unwrap_or_default()));
        let gaps = if report.gaps > 0 { report.gaps.to_string() } else { String::new() };
        line("gaps", &gaps);
        line("end", self.end());
        let took = self.took.as_secs_f64();
        line("played again", &format!("in {took:.2} s, {:.0} × real time", self.speed()));
        text
    }

    fn end(&self) -> &'static str {
        if self.scan.limit.is_some() {
            return "not looked for";
        }
        match (self.report.end, &self.report.verdict) {
            (Some(EndReason::RoomOver), _) => "the room was over",
            (Some(EndReason::Moved), _) => "the room moved to another server",
            (Some(EndReason::ShutDown), _) => "the server shut down",
            (Some(EndReason::Panicked), _) => "the rules panicked",
            (Some(EndReason::Cut), _) => "it is a part of a longer log",
            (Some(EndReason::Other), _) => "for a reason that is not known here",
            (None, Verdict::Same { .. }) => "INCOMPLETE",
            (None, _) => "not come to",
        }
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let report = &self.report;
        let verdict = match &report.verdict {
            Verdict::Same { panicked } => json!({ "is": "SAME", "panic": panicked }),
            Verdict::Differs { tick, recorded, replayed } => json!({
                "is": "DIFFERS",
                "tick": tick,
                "recorded_hash": format!("{recorded:016x}"),
                "replayed_hash": format!("{replayed:016x}"),
            }),
            Verdict::Damaged { offset, problem } => {
                json!({ "is": "DAMAGED", "offset": offset, "problem": problem })
            }
            Verdict::Panicked { tick, message } => {
                json!({ "is": "PANICKED", "tick": tick, "panic": message })
            }
        };
        let header = report.header.as_ref().map(|header| {
            json!({
                "game": header.game,
                "sim_version": header.sim_version,
                "configuration": header.configuration,
                "seed": header.seed,
                "room": header.room,
                "room_name": header.room_name,
                "capacity": header.capacity,
                "epoch": header.epoch,
                "server": header.server,
                "started_at": started(header),
                "started_at_ms": header.started_at_ms,
                "tick_rate_hz": header.tick_rate_hz,
                "incident": header.incident,
            })
        });
        json!({
            "recording": self.name,
            "is_same": self.is_same(),
            "verdict": verdict,
            "line": self.verdict(),
            "header": header,
            "first_tick": self.scan.first_tick(),
            "last_tick": report.last_tick,
            "ticks": report.ticks,
            "joins": report.joins,
            "moves": report.moves,
            "bytes": self.bytes,
            "bytes_per_player_minute": self.bytes_per_player_minute(),
            "end": report.end.map(|_| self.end()),
            "incomplete": self.is_same() && self.is_incomplete(),
            "gaps": report.gaps,
            "hashes_compared": report.hashes_compared,
            "seconds": self.took.as_secs_f64(),
            "times_real_time": self.speed(),
        })
    }
}

/// Text from a file without anything that could command a terminal.
pub(super) fn printable(text: &str) -> String {
    crate::terminal::printable(text)
}

/// When the room was opened.
pub(super) fn started(header: &Header) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(header.started_at_ms));
    // The formatter knows no year after 9999.
    let is_shown = header.started_at_ms < 253_402_300_800_000;
    at.filter(|_| is_shown)
        .map_or_else(String::new, |at| humantime::format_rfc3339_seconds(at).to_string())
}
