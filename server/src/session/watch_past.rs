//! A stream that looks back: a recording, played again at the speed that was asked for.
//!
//! Every update is a job on the replays' threads, asked for when the last one was taken: a slow reader slows the replay, and
//! nothing queues.

use super::message::{Outgoing, Welcome};
use super::play::{Counted, ms, note};
use super::{Error, Sessions};
use crate::replay::frames::{Shown, Then};
use crate::replay::pool::{Admitted, Stop};
use crate::replay::{Games, Playback};
use crate::room::RoomInfo;
use crate::store::{Name, Progress};
use crate::telemetry::metrics::labels::Door;
use async_stream::stream;
use bytes::Bytes;
use futures_util::Stream;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::MissedTickBehavior;

/// A replay brings at most this many updates a second, however fast it goes: each then spans several ticks.
const UPDATES_PER_S_MAX: u64 = 20;
/// The slowest and the fastest that a replay goes.
const SPEED_PERCENT: std::ops::RangeInclusive<u32> = 25..=1600;

/// What to look at.
#[derive(Clone)]
pub struct Past {
    name: Name,
    code: String,
    from_tick: u32,
    speed_percent: u32,
    is_still: bool,
    followed_player: u32,
}

/// Without the code: whoever has it may look.
impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Past")
            .field("name", &self.name)
            .field("from_tick", &self.from_tick)
            .field("speed_percent", &self.speed_percent)
            .field("is_still", &self.is_still)
            .field("followed_player", &self.followed_player)
            .finish_non_exhaustive()
    }
}

impl Past {
    /// A recording from its first tick on; `code` is the room's, if it was a private one.
    pub fn of(name: &str, code: String) -> Result<Self, Error> {
        let name = Name::parse(name);
        let name = name.ok_or(Error::Invalid { field: "recording", problem: "not a name" })?;
        let (from_tick, followed_player) = (0, 0);
        Ok(Self { name, code, from_tick, speed_percent: 100, is_still: false, followed_player })
    }

    /// From this tick on; the first or the last if it is before or after them.
    #[must_use]
    pub fn from_tick(self, from_tick: u32) -> Self {
        Self { from_tick, ..self }
    }

    /// How fast; 0: as it was played.
    pub fn at_speed(self, speed_percent: u32) -> Result<Self, Error> {
        match speed_percent {
            0 => Ok(self),
            _ if SPEED_PERCENT.contains(&speed_percent) => Ok(Self { speed_percent, ..self }),
            _ => Err(Error::Invalid { field: "speed_percent", problem: "not in 25 to 1600" }),
        }
    }

    /// Only one state.
    #[must_use]
    pub fn still(self, is_still: bool) -> Self {
        Self { is_still, ..self }
    }

    /// Whose surroundings; 0: the game chooses.
    #[must_use]
    pub fn following(self, followed_player: u32) -> Self {
        Self { followed_player, ..self }
    }
}

/// A stream that shows the past: Welcome, then updates from nothing on. Ending without an error is ending with OK.
pub fn watch(
    sessions: Arc<Sessions>,
    past: Result<Past, Error>,
) -> impl Stream<Item = Result<Outgoing, Error>> + Send + 'static {
    stream! {
        let _open = sessions.streams.token();
        let is_still = past.as_ref().is_ok_and(|past| past.is_still);
        let opened = match past {
            Ok(past) => tokio::select! {
                biased;
                () = sessions.drained() => Err(Error::ShuttingDown),
                opened = open(&sessions, past) => opened,
            },
            Err(error) => Err(error),
        };
        let (welcome, mut show) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                yield Err(note(&sessions, error));
                return;
            }
        };
        sessions.metrics.streams.get_or_create(&Door { door: "replay" }).inc();
        let _counted = Counted::new(&sessions.metrics.replays);
        yield Ok(Outgoing::Welcome(Box::new(welcome)));
        if let Some(first) = show.first.take() {
            yield Ok(written(&sessions, first));
        }
        if is_still {
            return;
        }
        let mut due = tokio::time::interval(show.pace.every);
        // Whoever reads slowly sees everything later, and never more at once.
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        due.reset();
        loop {
            let next = tokio::select! {
                biased;
                () = sessions.drained() => {
                    yield Ok(Outgoing::ShuttingDown);
                    Err(Error::ShuttingDown)
                }
                next = async {
                    due.tick().await;
                    show.next(&sessions).await
                } => next,
            };
            match next {
                Ok((update, ended)) => {
                    if let Some(update) = update {
                        yield Ok(written(&sessions, update));
                    }
                    match ended {
                        None => {}
                        Some(Ok(())) => return,
                        Some(Err(error)) => {
                            yield Err(note(&sessions, error));
                            return;
                        }
                    }
                }
                Err(error) => {
                    yield Err(note(&sessions, error));
                    return;
                }
            }
        }
    }
}

fn written(sessions: &Sessions, update: Bytes) -> Outgoing {
    sessions.metrics.updates.inc();
    sessions.metrics.update_bytes.inc_by(update.len() as u64);
    Outgoing::Update(update)
}

/// How fast a replay goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// Between two updates.
    every: Duration,
    /// In each.
    ticks: u32,
}

impl Pace {
    fn new(tick_rate_hz: u32, speed_percent: u32) -> Self {
        let ticks_in_100_s = u64::from(tick_rate_hz) * u64::from(speed_percent);
        let ticks = ticks_in_100_s.div_ceil(UPDATES_PER_S_MAX * 100).max(1);
        let nanos = ticks * 100_000_000_000 / ticks_in_100_s.max(1);
        Self { every: Duration::from_nanos(nanos), ticks: ticks as u32 }
    }
}

type Source = Playback<Box<dyn Read + Send>>;

/// A replay that is open.
struct Show {
    /// None while it is on the replays' threads.
    playback: Option<Source>,
    first: Option<Bytes>,
    pace: Pace,
    /// Tells when there is more of a log that still grows.
    progress: Option<watch::Receiver<Progress>>,
    admitted: Admitted,
    _one: OwnedSemaphorePermit,
}

async fn open(sessions: &Sessions, past: Past) -> Result<(Welcome, Show), Error> {
    let Past { name, code, from_tick, speed_percent, followed_player, .. } = past;
    if sessions.is_draining() {
        return Err(Error::ShuttingDown);
    }
    let replays = &sessions.replays;
    let one = replays.stream()?;
    let mut admitted = replays.admit()?;
    let recording = replays.find(&mut admitted, name.clone(), &code).await?;
    let first_tick = recording.header.first_tick;
    // A log may hold no tick yet.
    let tick = from_tick.min(recording.last_tick).max(first_tick);
    let store = Arc::clone(&replays.store);
    let games = replays.games().to_vec();
    let sought = admitted.run(move |stop: &Stop| {
        // Asked for before anything is read: what comes in between is told, too.
        let progress = store.progress(&name);
        let from = store.read(&name, tick).map_err(Error::of_store)?;
        let playback = Playback::open(Games(&games), from, tick, followed_player, || stop.is_set());
        let mut playback = playback.map_err(|error| Error::of_replay(error, 0))?;
        let first = playback.show();
        Ok::<_, Error>((playback, first, progress))
    });
    let (playback, first, progress) = sought.await??;
    let (header, grid) = playback.header().ok_or(Error::RecordingNotFound)?;
    let game = Games(replays.games()).of(header).map_err(|error| Error::of_replay(error, 0))?;
    let welcome = Welcome {
        room: Arc::new(RoomInfo::recorded(header, game.as_ref())),
        epoch: header.epoch,
        first_tick: header.first_tick,
        tick_rate_hz: header.tick_rate_hz,
        world: grid.world,
        motions: grid.motions,
        staleness_window_ms: ms(sessions.limits.staleness_window),
        heartbeat_ms: ms(sessions.limits.heartbeat),
        idle_timeout_ms: ms(sessions.limits.idle_timeout),
        grace_ms: ms(sessions.rooms.settings().grace),
        server: sessions.server_name.clone(),
        release: sessions.fleet.release.clone(),
        restored: None,
        player: None,
    };
    let pace = Pace::new(header.tick_rate_hz, speed_percent);
    Ok((welcome, Show { playback: Some(playback), first, pace, progress, admitted, _one: one }))
}

impl Show {
    /// The next update, when there is one; and how it ends after it, if it does.
    async fn next(
        &mut self,
        sessions: &Sessions,
    ) -> Result<(Option<Bytes>, Option<Result<(), Error>>), Error> {
        loop {
            // Before reading on, so that what comes after it is told.
            let progress = self.progress.as_mut();
            let has_ended = progress.is_none_or(|progress| progress.borrow_and_update().has_ended);
            let (offset, Shown { update, ticks, then }) = self.advance().await?;
            sessions.metrics.replayed_ticks.inc_by(u64::from(ticks));
            match then {
                Then::GoesOn => return Ok((update, None)),
                Then::Failed(error) => {
                    return Ok((update, Some(Err(Error::of_replay(error, offset)))));
                }
                Then::Waits if has_ended => return Ok((update, Some(Ok(())))),
                Then::Waits if update.is_some() => return Ok((update, None)),
                Then::Waits => match &mut self.progress {
                    Some(progress) => {
                        if progress.changed().await.is_err() {
                            self.progress = None;
                        }
                    }
                    None => return Ok((None, Some(Ok(())))),
                },
            }
        }
    }

    /// One update's worth of ticks, on the replays' threads; and where in the recording that came to.
    async fn advance(&mut self) -> Result<(u64, Shown), Error> {
        // It is missing only if an earlier job did not bring it back; then the stream has ended.
        let Some(mut playback) = self.playback.take() else { return Err(Error::RoomFailed) };
        let ticks = self.pace.ticks;
        let job = move |stop: &Stop| {
            let shown = playback.advance(ticks, || stop.is_set());
            (playback, shown)
        };
        let (playback, shown) = self.admitted.run(job).await?;
        let offset = playback.offset();
        self.playback = Some(playback);
        Ok((offset, shown))
    }
}
