//! What is known of the room, kept also while the stream is broken. Events and the time go in; [`Model::scene`] and the
//! numbers of the panel come out.

use super::camera::Camera;
use super::feed::Feed;
use super::history::{History, Pose, fractional_tick};
use super::lens::Lens;
use super::meter::Meter;
use super::people::{People, Person};
use super::scene::{self, Scene};
use super::things;
use super::words::{self, printable};
use crate::arena;
use crate::client::{Event, Session};
use fray_proto::v1;
use fray_proto::v1::notice::Kind;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a notice is shown.
const NOTICE: Duration = Duration::from_secs(6);
/// Nobody needs to know of a move that is over before this.
const MOVE_SHOWN_AFTER: Duration = Duration::from_millis(500);
/// What takes longer is no move any more: the new server may be gone, too.
const MOVE_LONGEST: Duration = Duration::from_secs(5);

/// How the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// Not there yet; whether an attempt failed.
    Opening(bool),
    Open,
    Broken(Instant),
    /// The room is on its way to another server, and the player with it.
    Moving(Instant),
    Leaving,
}

/// Where the way to the server stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    /// The server says that the room stands still.
    pub(super) is_frozen: bool,
    /// The server says that there is too much to do.
    pub(super) is_busy: bool,
    /// While the stream is lost: how long the ship waits for certain.
    pub(super) grace_left: Option<Duration>,
}

/// What is said of a recording.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// Where it is.
    pub(super) status: String,
    /// What it is.
    pub(super) about: Vec<String>,
    /// Why it goes no further.
    pub(super) trouble: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Model {
    stream: Stream,
    pub(super) way: Way,
    pub(super) welcome: Option<v1::Welcome>,
    history: Option<History>,
    pub(super) people: People,
    /// The own player as last seen: it goes from the room before the stream ends.
    pub(super) own: Option<Person>,
    pub(super) feed: Feed,
    pub(super) meter: Meter,
    pub(super) private: Vec<i32>,
    pub(super) round_trip: Option<Duration>,
    /// How many of each kind, for games that are not known.
    pub(super) kinds: BTreeMap<u32, usize>,
    notice: Option<(String, Instant)>,
    camera: Camera,
    /// Whose surroundings a spectator sees; 0: the best player's.
    pub(super) target: i32,
    /// None: it happens now.
    pub(super) recorded: Option<Recorded>,
}

impl Model {
    /// Before anything is known. A spectator looks at player `target`.
    pub(super) fn new(target: i32) -> Self {
        Self {
            stream: Stream::Opening(false),
            way: Way::default(),
            welcome: None,
            history: None,
            people: People::default(),
            own: None,
            feed: Feed::default(),
            meter: Meter::default(),
            private: Vec::new(),
            round_trip: None,
            kinds: BTreeMap::new(),
            notice: None,
            camera: Camera::default(),
            target,
            recorded: None,
        }
    }

    /// Takes in what happened; the session holds the details.
    pub(super) fn handle(&mut self, event: &Event, session: &Session, now: Instant) {
        match event {
            Event::Welcomed { .. } => self.welcomed(session, now),
            Event::Updated(update) => {
                self.meter.note(update, now);
                self.camera.was_corrected |= update.correction.is_some();
                self.updated(session, now);
            }
            Event::Notice(notice) => {
                let text = match notice.kind() {
                    Kind::RoomMoving => words::WILL_MOVE.to_owned(),
                    _ => printable(&notice.text),
                };
                self.notice = Some((text, now));
            }
            Event::Moved(_) if self.stream == Stream::Open => {
                self.stream = Stream::Moving(now);
                // It happens now.
                self.notice = None;
                self.meter.restart();
            }
            Event::Disconnected(_) if self.stream == Stream::Open => {
                self.stream = Stream::Broken(now);
                self.meter.restart();
            }
            Event::AttemptFailed(_) if self.welcome.is_none() => {
                self.stream = Stream::Opening(true);
            }
            _ => {}
        }
    }

    fn welcomed(&mut self, session: &Session, now: Instant) {
        let (Some(welcome), Some(replica)) = (session.welcome(), session.replica()) else {
            return;
        };
        if self.stream != Stream::Leaving {
            self.stream = Stream::Open;
        }
        let (world, rate_hz) = (replica.world(), welcome.tick_rate_hz);
        match &mut self.history {
            Some(history) if history.world() == world => history.restart(),
            history => *history = Some(History::new(world, rate_hz)),
        }
        self.meter.restart();
        if let Some(age_ms) = welcome.restored_age_ms {
            self.notice = Some((words::restored(Duration::from_millis(age_ms)), now));
        }
        self.welcome = Some(welcome.clone());
    }

    fn updated(&mut self, session: &Session, now: Instant) {
        let (Some(replica), Some(history)) = (session.replica(), &mut self.history) else {
            return;
        };
        history.push(replica.tick(), replica.entities().cloned(), now);
        self.private = session.private().to_vec();
        self.round_trip = session.round_trip();
        if self.is_arena() {
            let before = std::mem::take(&mut self.people);
            self.people = before.become_those_of(replica.globals());
            let own = self.own_number();
            if let Some(person) = self.people.person(own) {
                self.own = Some(person.clone());
            }
            self.feed.note(replica.globals(), &self.people, own, replica.world(), now);
        } else {
            self.kinds.clear();
            for entity in replica.entities() {
                *self.kinds.entry(entity.kind).or_default() += 1;
            }
        }
    }

    /// The player asked to leave.
    pub(super) fn leave(&mut self) {
        self.stream = Stream::Leaving;
    }

    /// The scene for a picture of so many dots.
    pub(super) fn scene(
        &mut self,
        session: &mut Session,
        dots: [u16; 2],
        now: Instant,
    ) -> Option<Scene> {
        let history = self.history.as_ref()?;
        let poses = history.poses(now);
        let world = history.world();
        let own = self.own_pose(session, &poses, now);
        let looked_at = own.as_ref().or_else(|| self.watched(&poses));
        if let Some(pose) = looked_at {
            let (centre, watched) = (pose.position, pose.attributes[0]);
            self.camera.centre = centre;
            self.camera.watched = watched;
        }
        let lens = Lens::new(world, self.camera.centre, dots);
        if !self.is_arena() {
            let own = self.welcome.as_ref().map(|welcome| welcome.entity);
            return Some(things::things(&lens, &poses, own));
        }
        let from = scene::Arena {
            poses: &poses,
            people: &self.people,
            bursts: self.feed.bursts(),
            own: own.as_ref(),
            now,
        };
        Some(scene::arena(&lens, &from))
    }

    /// The own entity where it will be once the server has the moves that are under way.
    fn own_pose(&mut self, session: &mut Session, poses: &[Pose], now: Instant) -> Option<Pose> {
        let welcome = self.welcome.as_ref()?;
        let (history, rate_hz) = (self.history.as_ref()?, welcome.tick_rate_hz);
        let world = history.world();
        // A dead ship is in no new state, whatever is predicted.
        let alive = history.newest(welcome.entity).is_some();
        let predicted = if alive && self.is_arena() && session.is_open() {
            let ahead = session.round_trip().unwrap_or_default();
            let line = session.tick_line();
            let part = line.map_or(0.0, |line| fractional_tick(line, rate_hz, now + ahead).fract());
            session.predict(now).map(|entity| Pose::of(entity, part, world))
        } else {
            None
        };
        let is_predicted = predicted.is_some();
        let shown = || poses.iter().find(|pose| pose.id == welcome.entity).cloned();
        let own = predicted.or_else(|| if alive { shown() } else { None });
        self.camera.settle(own, is_predicted, world, rate_hz, now)
    }

    /// The ship that a spectator follows: the one asked for, else the one before while it flies, else the best in sight.
    fn watched<'a>(&self, poses: &'a [Pose]) -> Option<&'a Pose> {
        if !self.is_spectator() {
            return None;
        }
        let ship_of = |number: i32| {
            let of = move |pose: &&Pose| pose.kind == arena::SHIP && pose.attributes[0] == number;
            poses.iter().find(of)
        };
        if self.target != 0 {
            return ship_of(self.target);
        }
        let best = || self.people.ranked.iter().find_map(|person| ship_of(person.number));
        ship_of(self.camera.watched).or_else(best)
    }

    /// The number of the player after the one that is watched.
    pub(super) fn next_target(&self) -> i32 {
        let numbers = || self.people.ranked.iter().map(|person| person.number);
        let watched = self.watched_number();
        let next = numbers().filter(|number| *number > watched).min();
        next.or_else(|| numbers().min()).unwrap_or(0)
    }

    /// Whose ship a spectator sees.
    pub(super) fn watched_number(&self) -> i32 {
        if self.target == 0 { self.camera.watched } else { self.target }
    }

    pub(super) fn is_arena(&self) -> bool {
        self.welcome.as_ref().is_some_and(|welcome| welcome.game == "arena")
    }

    pub(super) fn is_spectator(&self) -> bool {
        self.welcome.as_ref().is_some_and(|welcome| welcome.player == 0)
    }

    /// The own player's number; 0 for spectators.
    pub(super) fn own_number(&self) -> i32 {
        self.welcome.as_ref().map_or(0, |welcome| welcome.player as i32)
    }

    /// The own ship's hull, while it flies.
    pub(super) fn hull(&self) -> Option<i32> {
        let id = self.welcome.as_ref()?.entity;
        Some(self.history.as_ref()?.newest(id)?.attributes[1])
    }

    /// The newest tick, and how many there are in a second.
    pub(super) fn tick(&self) -> Option<(u32, u32)> {
        let tick = self.history.as_ref()?.newest_tick()?;
        Some((tick, self.welcome.as_ref()?.tick_rate_hz.max(1)))
    }

    /// What must be said in one line, if anything.
    pub(super) fn banner(&self, now: Instant) -> Option<String> {
        if let Some(trouble) = self.recorded.as_ref().and_then(|r| r.trouble.as_ref()) {
            return Some(printable(trouble));
        }
        let grace = self.welcome.as_ref().map_or(0, |welcome| welcome.grace_ms);
        let stream = match self.stream {
            Stream::Moving(since) if now.saturating_duration_since(since) < MOVE_SHOWN_AFTER => {
                Stream::Open
            }
            Stream::Moving(since) if now.saturating_duration_since(since) >= MOVE_LONGEST => {
                Stream::Broken(since)
            }
            stream => stream,
        };
        match stream {
            Stream::Opening(false) if self.recorded.is_some() => return None,
            Stream::Opening(false) => return Some("Looking for a room…".to_owned()),
            Stream::Opening(true) if self.way.is_busy => return Some(words::BUSY.to_owned()),
            Stream::Opening(true) => {
                return Some("The server does not answer. Trying again…".to_owned());
            }
            Stream::Leaving => return Some("Leaving…".to_owned()),
            Stream::Open | Stream::Broken(_) | Stream::Moving(_) if self.way.is_frozen => {
                return Some(words::FROZEN.to_owned());
            }
            Stream::Broken(_) | Stream::Moving(_) if self.way.is_busy => {
                return Some(words::BUSY.to_owned());
            }
            Stream::Moving(_) => return Some(words::MOVING.to_owned()),
            Stream::Broken(_) if self.is_spectator() => return Some("Reconnecting…".to_owned()),
            Stream::Broken(since) => {
                let left = Duration::from_millis(grace.into()).saturating_sub(now - since);
                return Some(words::reconnecting(self.way.grace_left.unwrap_or(left)));
            }
            Stream::Open => {}
        }
        if let Some((text, at)) = &self.notice
            && now.saturating_duration_since(*at) < NOTICE
        {
            return Some(text.clone());
        }
        let respawn = self.private.get(1).copied().filter(|tick| *tick > 0 && self.is_arena())?;
        let (tick, rate_hz) = self.tick()?;
        let left = f64::from((respawn as u32).saturating_sub(tick)) / f64::from(rate_hz);
        Some(format!("Your ship is destroyed. A new one in {left:.1} s"))
    }
}
