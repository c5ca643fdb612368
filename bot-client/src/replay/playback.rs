//! A recording as something to look at: what a spectator's stream would bring, at any speed, from any tick on.

use super::clock;
use super::engine::{Answer, Engine, Request};
use super::open::Recording;
use crate::client::{Config, Ended, Event, Session};
use anyhow::{Context as _, ensure};
use fray_proto::PROTOCOL_VERSION;
use fray_proto::update::GRPC_PREFIX_BYTES;
use fray_proto::v1::{self, play_response::Message};
use fray_server::game::{GameFactory, Motion};
use fray_server::replay::Games;
use fray_server::replication::{Splicer, TickFrame};
use fray_server::store::Header;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Speeds to choose from, in quarters of real time.
const SPEEDS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Real time among them.
const NORMAL: usize = 2;

/// What somebody who looks at a recording asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Stand still, or go on.
    Pause,
    /// So many seconds on, or back.
    Seconds(i32),
    /// So many ticks on, or back; and stand still.
    Ticks(i32),
    /// To the beginning.
    First,
    /// To the end.
    Last,
    /// Twice as fast.
    Faster,
    /// Half as fast.
    Slower,
}

/// A recording that is being looked at. Like a [`crate::client::Player`], it does everything in its `next`, which may be
/// cancelled.
#[derive(Debug)]
pub struct Playback {
    name: String,
    header: Header,
    ticks: [u32; 2],
    /// There is more after the last of these ticks, which nobody wants to see.
    is_limited: bool,
    /// Whose surroundings; 0: where the game looks.
    player: u32,
    engine: Engine,
    splicer: Splicer,
    pub(crate) session: Session,
    /// Came with a welcome, and is told after it.
    frame: Option<Arc<TickFrame>>,
    time: Time,
    tick: u32,
    /// Where a request on its way leads to.
    goal: Option<u32>,
    /// Why it goes no further.
    over: Option<String>,
    has_left: bool,
}

/// The recording's own clock: the picture and the stream go by it.
#[derive(Debug)]
struct Time {
    real: Instant,
    shown: std::time::Instant,
    speed: usize,
    is_paused: bool,
    /// A tick and when it was due; all others are due at a distance from it.
    origin: (u32, std::time::Instant),
    period: Duration,
}

impl Playback {
    /// Opens a recording of one of these games, to be looked at between two ticks.
    pub(super) fn open(
        games: Vec<Arc<dyn GameFactory>>,
        recording: Recording,
        from: Option<u32>,
        until: Option<u32>,
        player: u32,
    ) -> anyhow::Result<Self> {
        let scan = recording.scan(until.unwrap_or(u32::MAX))?;
        let (first, last) = (scan.first_tick(), scan.last_tick);
        let header = *scan.header.clone().context("there is no whole header")?;
        Games(&games).of(&header)?;
        ensure!(
            (first..=last).contains(&from.unwrap_or(first)) && first <= last,
            "{} has the ticks {first} to {last}",
            recording.name
        );
        let name = recording.name.clone();
        let engine = Engine::start(games, recording)?;
        let mut playback = Self {
            name,
            ticks: [first, last],
            is_limited: scan.limit.is_some(),
            player,
            engine,
            splicer: Splicer::default(),
            session: Session::new(Config::default()),
            frame: None,
            time: Time::new(header.tick_rate_hz, Instant::now()),
            tick: first,
            goal: None,
            over: None,
            has_left: false,
            header,
        };
        playback.seek(i64::from(from.unwrap_or(first)));
        Ok(playback)
    }

    /// Does what somebody asks for.
    pub(crate) fn control(&mut self, control: Control) {
        let now = Instant::now();
        let here = i64::from(self.goal.unwrap_or(self.tick));
        let [first, last] = self.ticks.map(i64::from);
        match control {
            Control::Pause => self.time.pause(!self.time.is_paused, now),
            Control::Seconds(seconds) => {
                self.seek(here + i64::from(seconds) * i64::from(self.header.tick_rate_hz));
            }
            Control::Ticks(ticks) => {
                self.time.pause(true, now);
                if ticks == 1 && self.goal.is_none() && self.over.is_none() && here < last {
                    self.time.due(self.tick + 1, now);
                } else {
                    self.seek(here + i64::from(ticks));
                }
            }
            Control::First => self.seek(first),
            Control::Last => self.seek(last),
            Control::Faster => self.time.go(self.time.speed + 1, now),
            Control::Slower => self.time.go(self.time.speed.saturating_sub(1), now),
        }
    }

    /// Looks at another player from now on.
    pub(crate) fn follow(&mut self, player: u32) {
        self.player = player;
        if self.time.is_paused {
            self.seek(i64::from(self.goal.unwrap_or(self.tick)));
        }
    }

    pub(crate) fn leave(&mut self) {
        self.has_left = true;
    }

    /// The recording's time at this moment: it stands still with the picture.
    pub(crate) fn time(&self, now: Instant) -> std::time::Instant {
        self.time.at(now)
    }

    /// Where it is, in one line.
    pub(crate) fn status(&self) -> String {
        let rate_hz = self.header.tick_rate_hz;
        let [first, last] = self.ticks;
        let here = self.goal.unwrap_or(self.tick);
        let mark = if self.over.is_some() || self.time.is_paused { "paused" } else { "playing" };
        let speed = f64::from(SPEEDS[self.time.speed]) / 4.0;
        let filled = u64::from(here.saturating_sub(first)) * 12 / u64::from((last - first).max(1));
        let bar: String = (0..=12).map(|i| if i == filled { '●' } else { '─' }).collect();
        let [now, end] = [here, last].map(|tick| clock(tick, rate_hz));
        format!("{mark} {now} {bar} {end} · tick {here} · ×{speed}")
    }

    /// What must be said of it, if anything.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.over.as_deref()
    }

    /// What it is.
    pub(crate) fn about(&self) -> Vec<String> {
        let header = &self.header;
        let mut about = vec![self.name.clone(), super::summary::started(header)];
        about.push(format!("{} {} at {} Hz", header.game, header.sim_version, header.tick_rate_hz));
        if !header.incident.is_empty() {
            about.push(header.incident.clone());
        }
        about
    }

    fn seek(&mut self, tick: i64) {
        let [first, last] = self.ticks;
        let tick = tick.clamp(i64::from(first), i64::from(last)) as u32;
        if self.engine.ask(Request::Seek(tick, self.player)) {
            self.goal = Some(tick);
            self.over = None;
        }
    }

    /// What comes next; `None` after [`Self::leave`].
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Ended> {
        loop {
            if self.has_left {
                return Ok(None);
            }
            if let Some(frame) = self.frame.take() {
                if let Some(event) = self.update(&frame)? {
                    return Ok(Some(event));
                }
                continue;
            }
            if self.engine.is_idle() {
                self.wait().await;
                if !self.engine.ask(Request::Next(self.player)) {
                    return Err(Ended::misbehaved("the recording cannot be played any more"));
                }
            }
            match self.engine.answer().await {
                Answer::Skipped => {}
                Answer::Over(why) => {
                    self.goal = None;
                    self.time.pause(true, Instant::now());
                    self.over = Some(why);
                }
                Answer::Frame { frame, is_fresh: false } => self.frame = Some(frame),
                Answer::Frame { frame, is_fresh: true } => {
                    let welcome = self.welcome(&frame)?;
                    self.frame = Some(frame);
                    return Ok(Some(welcome));
                }
            }
        }
    }

    /// Until the next tick is due; forever if there is none.
    async fn wait(&mut self) {
        if self.over.is_some() {
            return pending().await;
        }
        if self.is_limited && self.tick >= self.ticks[1] {
            self.time.pause(true, Instant::now());
            return pending().await;
        }
        match self.time.until(self.tick + 1, Instant::now()) {
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
    }

    fn welcome(&mut self, frame: &TickFrame) -> Result<Event, Ended> {
        let now = self.time.at(Instant::now());
        self.splicer = Splicer::default();
        self.session = Session::new(Config::default());
        self.session.open("");
        // There is nobody to greet.
        self.session.poll_request(now);
        self.time.origin = (frame.tick, now);
        let welcome = Message::Welcome(welcome(&self.header, frame));
        self.handle(v1::PlayResponse { message: Some(welcome) }, 0)
    }

    fn update(&mut self, frame: &TickFrame) -> Result<Option<Event>, Ended> {
        self.tick = frame.tick;
        self.goal = self.goal.filter(|goal| *goal != frame.tick && !self.engine.is_idle());
        let Some(update) = self.splicer.update(frame, None, frame.spectator_view) else {
            return Ok(None);
        };
        let bytes = update.len();
        let message: Result<v1::PlayResponse, _> =
            prost::Message::decode(update.slice(GRPC_PREFIX_BYTES..));
        let message = message.map_err(|error| Ended::misbehaved(error.to_string()))?;
        self.handle(message, bytes).map(Some)
    }

    fn handle(&mut self, message: v1::PlayResponse, bytes: usize) -> Result<Event, Ended> {
        let now = self.time.at(Instant::now());
        let event = self.session.handle_response(message, bytes, now);
        event.map_err(|violation| Ended::misbehaved(violation.to_string()))
    }
}

impl Time {
    fn new(tick_rate_hz: u32, now: Instant) -> Self {
        Self {
            real: now,
            shown: now.into_std(),
            speed: NORMAL,
            is_paused: false,
            origin: (0, now.into_std()),
            period: Duration::from_nanos(1_000_000_000 / u64::from(tick_rate_hz.max(1))),
        }
    }

    fn at(&self, now: Instant) -> std::time::Instant {
        if self.is_paused {
            return self.shown;
        }
        let real = now.saturating_duration_since(self.real);
        self.shown + real * SPEEDS[self.speed] / SPEEDS[NORMAL]
    }

    /// From now on it goes otherwise.
    fn settle(&mut self, now: Instant) {
        self.shown = self.at(now);
        self.real = now;
    }

    fn pause(&mut self, is_paused: bool, now: Instant) {
        self.settle(now);
        self.is_paused = is_paused;
    }

    fn go(&mut self, speed: usize, now: Instant) {
        self.settle(now);
        self.speed = speed.min(SPEEDS.len() - 1);
    }

    fn due_at(&self, tick: u32) -> std::time::Instant {
        self.origin.1 + self.period * tick.saturating_sub(self.origin.0)
    }

    /// Moves the clock on to where a tick is due.
    fn due(&mut self, tick: u32, now: Instant) {
        self.settle(now);
        self.shown = self.shown.max(self.due_at(tick));
    }

    /// When a tick is due; `None` while the clock stands still before it.
    fn until(&self, tick: u32, now: Instant) -> Option<Instant> {
        let left = self.due_at(tick).saturating_duration_since(self.at(now));
        if left.is_zero() {
            return Some(now);
        }
        (!self.is_paused).then(|| now + left * SPEEDS[NORMAL] / SPEEDS[self.speed])
    }
}

/// What a spectator of the room would be told first.
fn welcome(header: &Header, frame: &TickFrame) -> v1::Welcome {
    let grid = frame.grid();
    let motion = |(kind, motion): (u32, Motion)| v1::Motion {
        kind,
        turn_rate: motion.turn_rate as u32,
        acceleration: motion.acceleration as u32,
        speed_max: motion.speed_max as u32,
        drag_shift: motion.drag_shift,
        launch_speed: motion.launch_speed as u32,
        launch_distance: motion.launch_distance as u32,
    };
    v1::Welcome {
        protocol_min: PROTOCOL_VERSION,
        protocol_max: PROTOCOL_VERSION,
        game: header.game.clone(),
        sim_version: header.sim_version,
        tick_rate_hz: header.tick_rate_hz,
        world: Some(v1::World {
            position_bits: grid.world.position_bits,
            cell_bits: grid.world.cell_bits,
            unit_bits: grid.world.unit_bits,
        }),
        motions: grid.motions.iter().map(motion).collect(),
        epoch: header.epoch,
        first_tick: header.first_tick,
        server: header.server.clone(),
        room: Some(v1::Room {
            room_id: header.room.clone(),
            name: header.room_name.clone(),
            game: header.game.clone(),
            capacity: header.capacity,
            ..v1::Room::default()
        }),
        ..v1::Welcome::default()
    }
}
