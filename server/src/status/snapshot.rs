//! The numbers of the page at one moment.

use crate::room::Handle;
use crate::room::vitals::{Distribution, Reading};
use crate::session::Sessions;
use crate::telemetry::Health;
use crate::telemetry::metrics::labels::Door;
use serde::Serialize;
use std::cmp::Reverse;
use std::time::Duration;
use tokio::time::Instant;

/// How many rooms are shown, the worst first; of the others it is said how many there are.
pub const ROOMS_SHOWN_MAX: usize = 50;
/// The doors by which streams come.
const DOORS: [&str; 4] = ["grpc", "websocket", "watch", "replay"];
/// A room that has made no tick for this long does not tick.
const SILENT_MS: u64 = 5000;
/// What happened since a look longer ago than this is not "per second": the mean would hide the last second.
const RATE_OVER_MAX: Duration = Duration::from_secs(3);

/// How a server does. Times end in their unit; `null`: not known (yet).
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The server's name.
    pub server: String,
    /// Its version.
    pub version: &'static str,
    /// Since its start.
    pub uptime_s: u64,
    /// What probes are told.
    pub health: States,
    /// Over all rooms.
    pub totals: Totals,
    /// Rooms, the worst first, at most [`ROOMS_SHOWN_MAX`].
    pub rooms: Vec<Row>,
    /// How many rooms are not among them.
    pub rooms_left_out: usize,
}

/// What probes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "one for each probe")]
pub struct States {
    /// Ticks advance.
    pub live: bool,
    /// Takes rooms.
    pub ready: bool,
    /// Rooms that exist can be reached.
    pub serving: bool,
    /// Takes no new rooms: an operator said so.
    pub drained: bool,
    /// About to end.
    pub draining: bool,
}

/// Over all rooms. What is "per second" is of the last one.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// Rooms.
    pub rooms: usize,
    /// Open streams of players.
    pub players: i64,
    /// Open streams of spectators.
    pub spectators: i64,
    /// Open streams of recordings.
    pub replays: i64,
    /// Streams opened since the start, by door.
    pub streams_opened: Streams,
    /// Ticks made.
    pub ticks_per_s: u64,
    /// Moves applied.
    pub moves_per_s: u64,
    /// Updates written: since the last look, by whomever; `None` if that is over 3 s ago.
    pub updates_per_s: Option<u64>,
    /// Their bytes, likewise.
    pub update_bytes_per_s: Option<u64>,
    /// One tick in a hundred takes longer, or begins later: see [`Distribution::p99_us`].
    pub tick_duration_p99_us: Option<u64>,
    /// See above.
    pub tick_lateness_p99_us: Option<u64>,
    /// The worst of all rooms.
    pub staleness_max_ms: u32,
    /// Ticks given up, in the rooms that run.
    pub skipped_ticks: u64,
    /// Memory of the process.
    pub rss_bytes: Option<u64>,
}

/// Streams opened since the start.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the names of the doors")]
pub struct Streams {
    pub grpc: u64,
    pub websocket: u64,
    pub watch: u64,
    pub replay: u64,
}

/// A room. A private one's code is not here: whoever has it may enter.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "as in `room::vitals::Reading`")]
pub struct Row {
    pub id: String,
    pub name: String,
    pub is_private: bool,
    /// Has not ticked for 5 s.
    pub is_silent: bool,
    /// Seats taken, reserved ones included.
    pub players: u32,
    pub capacity: u32,
    pub tick: u32,
    pub since_tick_ms: u64,
    pub ticks_per_s: u32,
    pub moves_per_s: u32,
    pub entities: u32,
    pub skipped_ticks: u64,
    pub tick_duration_us: u32,
    pub tick_duration_max_us: u32,
    pub tick_lateness_us: u32,
    pub tick_lateness_max_us: u32,
    pub staleness_max_ms: u32,
}

/// Looks, and remembers what it saw last, for what is per second.
pub(super) struct Sampler {
    since: Instant,
    last: Option<(Instant, u64, u64)>,
}

impl Sampler {
    pub(super) fn new(since: Instant) -> Self {
        Self { since, last: None }
    }

    pub(super) fn look(&mut self, sessions: &Sessions, health: &Health, now: Instant) -> Snapshot {
        let (mut took, mut late) = (Distribution::default(), Distribution::default());
        let mut all: Vec<(Handle, Reading)> = Vec::new();
        for room in sessions.rooms.all() {
            let vitals = &room.info().vitals;
            vitals.add_to(&mut took, &mut late);
            let reading = vitals.read(room.info().players());
            all.push((room, reading));
        }
        let metrics = &sessions.metrics;
        let (updates, bytes) = (metrics.updates.get(), metrics.update_bytes.get());
        let rates =
            self.last.replace((now, updates, bytes)).and_then(|(at, updates_then, then)| {
                let over = now.saturating_duration_since(at);
                let ms = u64::try_from(over.as_millis()).ok().filter(|_| over <= RATE_OVER_MAX)?;
                let per_s = |more: u64| more.saturating_mul(1000).checked_div(ms);
                Some((per_s(updates - updates_then)?, per_s(bytes - then)?))
            });
        let opened = DOORS.map(|door| metrics.streams.get_or_create(&Door { door }).get());
        let [grpc, websocket, watch, replay] = opened;
        let totals = Totals {
            rooms: all.len(),
            players: metrics.players.get(),
            spectators: metrics.spectators.get(),
            replays: metrics.replays.get(),
            streams_opened: Streams { grpc, websocket, watch, replay },
            ticks_per_s: all.iter().map(|(_, room)| u64::from(room.ticks_per_s)).sum(),
            moves_per_s: all.iter().map(|(_, room)| u64::from(room.moves_per_s)).sum(),
            updates_per_s: rates.map(|(updates, _)| updates),
            update_bytes_per_s: rates.map(|(_, bytes)| bytes),
            tick_duration_p99_us: took.p99_us(),
            tick_lateness_p99_us: late.p99_us(),
            staleness_max_ms: all.iter().map(|(_, room)| room.staleness_max_ms).max().unwrap_or(0),
            skipped_ticks: all.iter().map(|(_, room)| room.skipped_ticks).sum(),
            rss_bytes: rss_bytes(),
        };
        all.sort_by_cached_key(|(room, reading)| {
            (Reverse(badness(reading)), room.info().id.clone())
        });
        let rooms_left_out = all.len().saturating_sub(ROOMS_SHOWN_MAX);
        Snapshot {
            server: sessions.server_name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: now.saturating_duration_since(self.since).as_secs(),
            health: States {
                live: health.is_live(),
                ready: health.takes_rooms(),
                serving: health.serves_rooms(),
                drained: health.is_drained(),
                draining: health.is_draining(),
            },
            totals,
            rooms: all
                .iter()
                .take(ROOMS_SHOWN_MAX)
                .map(|(room, reading)| row(room, reading))
                .collect(),
            rooms_left_out,
        }
    }
}

/// Those that do not tick before all; then by what their players feel, in doublings, so that the order does not change all
/// the time.
fn badness(reading: &Reading) -> (bool, u32) {
    let late_ms = reading.late_max_us.saturating_add(reading.took_max_us) / 1000;
    (reading.since_tick_ms >= SILENT_MS, late_ms.max(reading.staleness_max_ms).max(1).ilog2())
}

fn row(room: &Handle, reading: &Reading) -> Row {
    let info = room.info();
    Row {
        id: info.id.to_string(),
        name: info.name.clone(),
        is_private: info.code.is_some(),
        is_silent: reading.since_tick_ms >= SILENT_MS,
        players: info.players(),
        capacity: info.capacity,
        tick: reading.tick,
        since_tick_ms: reading.since_tick_ms,
        ticks_per_s: reading.ticks_per_s,
        moves_per_s: reading.moves_per_s,
        entities: reading.entities,
        skipped_ticks: reading.skipped_ticks,
        tick_duration_us: reading.took_us,
        tick_duration_max_us: reading.took_max_us,
        tick_lateness_us: reading.late_us,
        tick_lateness_max_us: reading.late_max_us,
        staleness_max_ms: reading.staleness_max_ms,
    }
}

/// What the kernel says; other systems than Linux say nothing.
#[cfg(target_os = "linux")]
fn rss_bytes() -> Option<u64> {
    let pages =
        procfs::process::Process::myself().and_then(|process| process.statm()).ok()?.resident;
    Some(pages * procfs::page_size())
}

#[cfg(not(target_os = "linux"))]
fn rss_bytes() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_room_is_one_that_does_not_tick_and_then_the_latest() {
        let well = Reading { late_max_us: 1000, took_max_us: 900, ..Reading::default() };
        let slow = Reading { took_max_us: 300_000, ..well };
        // Its tick took over an hour; no number has room for that.
        let hung = Reading { late_max_us: u32::MAX, took_max_us: u32::MAX, ..well };
        let silent = Reading { since_tick_ms: SILENT_MS, ..Reading::default() };
        let sorted = [well, slow, hung, silent].map(|reading| badness(&reading));
        assert!(sorted.is_sorted_by(|a, b| a < b), "{sorted:?}");
    }
}
