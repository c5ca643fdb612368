//! What a room shows to pages that only look on: its name and state, who comes and goes, the score board. `docs/SSE.md` has the
//! format.
//!
//! A picture is made when somebody looks, at most every 450 ms, and shared by all who do; nothing is made or kept while
//! nobody looks. What a [`Reader`] is told is the difference between the last picture that it saw and the newest one.

mod picture;

pub use picture::{Event, LISTED_MAX};

use super::play::{Counted, end_reason};
use super::{Error, Sessions};
use crate::room::{Handle, RoomId};
use picture::Picture;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many may look on at this server at once.
pub const READERS_MAX: usize = 2048;
/// How many may look on at one room.
pub const READERS_PER_ROOM_MAX: usize = 256;
/// How often a reader looks: of each kind, it gets at most one event at a look.
pub const EVERY: Duration = Duration::from_millis(500);
/// A picture younger than this is good for whoever looks; shorter than [`EVERY`], so that nobody sees one twice.
const FRESH: Duration = Duration::from_millis(450);

/// All who look on.
pub struct Onlookers {
    open: Mutex<Open>,
    /// How many there are.
    count: Gauge,
}

#[derive(Default)]
struct Open {
    readers: usize,
    /// By room and epoch: a room that comes back is another one.
    rooms: HashMap<(RoomId, u64), (usize, Arc<Shown>)>,
}

impl Onlookers {
    /// Nobody yet.
    pub fn new(sessions: &Sessions) -> Self {
        Self { open: Mutex::default(), count: sessions.metrics.onlookers.clone() }
    }

    /// One more, at a public room. [`Error::Overloaded`]: there are as many as may.
    pub fn look_on(self: &Arc<Self>, room: Handle) -> Result<Reader, Error> {
        let key = (room.info().id.clone(), room.info().epoch);
        let mut open = self.open();
        if open.readers >= READERS_MAX {
            return Err(Error::Overloaded);
        }
        let shown = || Arc::new(Shown { room, latest: Mutex::default() });
        let (readers, shown) = open.rooms.entry(key.clone()).or_insert_with(|| (0, shown()));
        if *readers >= READERS_PER_ROOM_MAX {
            return Err(Error::Overloaded);
        }
        *readers += 1;
        let shown = Arc::clone(shown);
        open.readers += 1;
        drop(open);
        let counted = Counted::new(&self.count);
        let place = Place { onlookers: Arc::clone(self), key, _counted: counted };
        Ok(Reader { shown, seen: None, _place: place })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing panics while it is held.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of those who may look on, for as long as this lives.
struct Place {
    onlookers: Arc<Onlookers>,
    key: (RoomId, u64),
    _counted: Counted,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.onlookers.open();
        open.readers -= 1;
        if let Some((readers, _)) = open.rooms.get_mut(&self.key) {
            *readers -= 1;
            if *readers == 0 {
                open.rooms.remove(&self.key);
            }
        }
    }
}

/// A room that somebody looks at.
struct Shown {
    room: Handle,
    latest: Mutex<Option<(Instant, Arc<Picture>)>>,
}

impl Shown {
    fn newest(&self, now: Instant) -> Arc<Picture> {
        // A picture is whole before it is put here.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, picture)) = latest.as_ref()
            && now.saturating_duration_since(*made) < FRESH
        {
            return Arc::clone(picture);
        }
        let last = latest.take().map(|(_, picture)| picture);
        let picture = Arc::new(Picture::of(&self.room, last.as_deref()));
        *latest = Some((now, Arc::clone(&picture)));
        picture
    }
}

/// Somebody who looks on.
pub struct Reader {
    shown: Arc<Shown>,
    seen: Option<Arc<Picture>>,
    _place: Place,
}

impl Reader {
    /// What is new since the last look, at most one event of each kind; at the first look, the room and its score board.
    pub fn look(&mut self, now: Instant) -> Vec<Event> {
        let newest = self.shown.newest(now);
        let news = newest.since(self.seen.as_deref());
        self.seen = Some(newest);
        news
    }

    /// Why the room is over, if it is.
    pub fn ended(&self) -> Option<Error> {
        self.shown.room.has_ended().then(|| end_reason(&self.shown.room))
    }
}
