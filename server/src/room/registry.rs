//! All rooms of this process. For look-up only: what happens in a room is its task's business.

use super::clock::Clock;
use super::core::Core;
use super::handle::{Handle, RoomInfo};
use super::log::TickLog;
use super::recorder::{Budget, Recorder};
use super::task::{self, Beginning};
use super::travel::{Arrival, ArrivalError, supported};
use super::{Error, Permit, RoomId, Settings};
use crate::game::{GameFactory, Setup};
use crate::store::{Header, Store};
use crate::telemetry::{Metrics, Telemetry, Traces, spawn_named};
use dashmap::DashMap;
use rand::RngExt as _;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xxhash_rust::xxh3::xxh3_64;

/// What a new room is to be.
#[derive(Clone, Debug, Default)]
pub struct NewRoom {
    /// What people see; empty: made up.
    pub name: String,
    /// Not listed, joined by code.
    pub private: bool,
    /// The most players; 0: the server's limit.
    pub capacity: u32,
}

/// A room that is about to be opened.
#[derive(Clone)]
pub struct Draft {
    /// Which room.
    pub id: RoomId,
    /// What people see.
    pub name: String,
    /// The most players.
    pub capacity: u32,
    /// Of a private room.
    pub code: Option<String>,
    /// Counts the room's owners.
    pub epoch: u64,
}

/// Where rooms write what they play.
#[derive(Clone)]
pub struct Recording {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What wrote it, for people.
    pub server: String,
    /// Whether they do.
    pub is_on: bool,
}

/// Is told of each room that is not here any more.
pub type OnEnd = Box<dyn Fn(&RoomId) + Send + Sync>;

/// The rooms, and the tasks that run them.
pub struct Registry {
    settings: Settings,
    /// Of new rooms.
    factory: Arc<dyn GameFactory>,
    /// All that rooms from elsewhere may play, the first for new rooms, too.
    games: Vec<Arc<dyn GameFactory>>,
    rooms: Arc<DashMap<RoomId, Handle>>,
    rooms_max: usize,
    /// One at a time opens a room, so that the limit holds.
    opening: Mutex<()>,
    capacity_max: u32,
    seed: Option<u64>,
    recording: Recording,
    incidents: Arc<Budget>,
    tasks: TaskTracker,
    stop: CancellationToken,
    permit: Arc<Permit>,
    changes: watch::Sender<u64>,
    on_end: Arc<OnceLock<OnEnd>>,
    /// Rooms that ended here, and may go on elsewhere.
    unfinished: Arc<Mutex<BTreeSet<RoomId>>>,
    /// Rooms that ended in order since this server ends.
    over: Arc<Mutex<BTreeSet<RoomId>>>,
    /// Rooms with players are not over when this server ends.
    goes_on: CancellationToken,
    metrics: Arc<Metrics>,
    traces: Arc<Traces>,
}

impl Registry {
    /// No rooms yet. New ones play the first of `games`, of which there is one at least; those that come from elsewhere any.
    /// With a `seed`, all games start from it; without, each from a random one.
    pub fn new(
        games: Vec<Arc<dyn GameFactory>>,
        settings: Settings,
        rooms_max: usize,
        capacity_max: u32,
        seed: Option<u64>,
        recording: Recording,
        telemetry: &Telemetry,
    ) -> Self {
        Self {
            settings,
            factory: Arc::clone(&games[0]),
            games,
            rooms: Arc::new(DashMap::new()),
            rooms_max,
            opening: Mutex::new(()),
            capacity_max,
            seed,
            recording,
            incidents: Arc::new(Budget::new(tokio::time::Instant::now())),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            permit: Arc::new(Permit::unlimited()),
            changes: watch::Sender::new(0),
            on_end: Arc::default(),
            unfinished: Arc::default(),
            over: Arc::default(),
            goes_on: CancellationToken::new(),
            metrics: Arc::clone(&telemetry.metrics),
            traces: Arc::clone(&telemetry.traces),
        }
    }

    /// How rooms run.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Until when rooms may tick.
    pub fn permit(&self) -> &Arc<Permit> {
        &self.permit
    }

    /// Where rooms write what they play.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.recording.store
    }

    /// The room of this id.
    pub fn get(&self, id: &RoomId) -> Option<Handle> {
        self.rooms.get(id).map(|room| room.clone()).filter(|room| !room.has_ended())
    }

    /// Whether a room is here, even if it has ended and its task is not over.
    pub fn has(&self, id: &RoomId) -> bool {
        self.rooms.contains_key(id)
    }

    /// The private room with this code.
    pub fn by_code(&self, code: &str) -> Option<Handle> {
        let has_code = |room: &Handle| {
            room.info().code.as_deref().is_some_and(|c| c.eq_ignore_ascii_case(code))
        };
        self.all().into_iter().find(has_code)
    }

    /// All rooms, in the order of their ids.
    pub fn all(&self) -> Vec<Handle> {
        let mut rooms: Vec<Handle> = self.rooms.iter().map(|room| room.clone()).collect();
        rooms.retain(|room| !room.has_ended());
        rooms.sort_unstable_by(|a, b| a.info().id.cmp(&b.info().id));
        rooms
    }

    /// The public rooms, in the order of their ids.
    pub fn public(&self) -> Vec<Handle> {
        let mut rooms = self.all();
        rooms.retain(|room| room.info().code.is_none());
        rooms
    }

    /// What a new room will be. It is not there yet: first the directory must know of it.
    pub fn draft(&self, new: NewRoom, id: RoomId) -> Draft {
        let name = if new.name.is_empty() {
            format!("{} {}", made_up_name(&id), self.factory.name())
        } else {
            new.name
        };
        let capacity =
            if new.capacity == 0 { self.capacity_max } else { new.capacity.min(self.capacity_max) };
        let code = new
            .private
            .then(|| random_text(&mut rand::rng(), b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 8));
        Draft { id, name, capacity, code, epoch: 1 }
    }

    /// The game that rooms play here, and the version of its rules.
    pub fn game(&self) -> (&'static str, u32) {
        (self.factory.name(), self.factory.sim_version())
    }

    /// All versions of its rules that rooms may play here.
    pub fn sim_versions(&self) -> Vec<u32> {
        let same = self.games.iter().filter(|game| game.name() == self.factory.name());
        same.map(|game| game.sim_version()).collect()
    }

    /// The games that rooms may play here.
    pub fn games(&self) -> &[Arc<dyn GameFactory>] {
        &self.games
    }

    /// The most rooms, and the most players of each.
    pub fn limits(&self) -> (usize, u32) {
        (self.rooms_max, self.capacity_max)
    }

    /// Changes whenever a room opens or ends.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tells of each room that is not here any more; of the first who asks.
    pub fn tell_of_ends(&self, on_end: OnEnd) {
        let _ = self.on_end.set(on_end);
    }

    /// Whether one more room fits.
    pub fn has_place(&self) -> bool {
        self.rooms.len() < self.rooms_max
    }

    /// Opens a room and starts its task.
    pub fn open(&self, draft: Draft) -> Result<Handle, Error> {
        let _one_at_a_time = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.rooms.contains_key(&draft.id) {
            return Err(Error::Exists);
        }
        if !self.has_place() {
            return Err(Error::RoomsExhausted);
        }
        let Draft { id, name, capacity, code, epoch } = draft;
        let mut random = rand::rng();
        let info = RoomInfo::new(id.clone(), epoch, name, capacity, code, self.factory.as_ref());

        let seed = self.seed.unwrap_or_else(|| random.random());
        let setup = Setup { seed, tick_rate_hz: self.settings.tick_rate_hz, capacity };
        let header = self.header(&info, &setup);
        let core = self.core(&setup)?;
        let handle = self.begin(info, core, header, Beginning::First)?;
        let is_private = handle.info().code.is_some();
        tracing::info!(room = %id, name = handle.info().name, is_private, capacity, seed, "room opened");
        Ok(handle)
    }

    /// Reads a room that comes from another server, without its epoch.
    pub fn parse(&self, bytes: &[u8]) -> Result<Arrival, ArrivalError> {
        Arrival::parse(&self.games, self.settings.tick_rate_hz, bytes)
    }

    /// Goes on with a room that has come from elsewhere. It must be this server's by then: its first tick comes at once.
    pub fn adopt(&self, arrival: Arrival) -> Result<Handle, Error> {
        let _one_at_a_time = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let id = arrival.room()?;
        if self.rooms.contains_key(&id) {
            return Err(Error::Exists);
        }
        let game = supported(&self.games, self.settings.tick_rate_hz, &arrival.header);
        let game = game.map_err(|_| Error::Failed)?;
        let info = RoomInfo::arrived(&arrival, id.clone(), game.as_ref());
        let header = Header {
            epoch: arrival.epoch,
            first_tick: arrival.tick + 1,
            configuration: game.configuration(),
            server: self.recording.server.clone(),
            ..arrival.header.clone()
        };
        let tick = arrival.tick;
        let arrived = || {
            let rhythm = self.settings.rhythm();
            let sessions = &arrival.sessions;
            let log = if self.recording.is_on {
                let refs = sessions.sessions.iter().map(Into::into);
                TickLog::resume(rhythm, tick, arrival.game.as_ref(), sessions.next_player, refs)
            } else {
                TickLog::off()
            };
            Core::arrived(arrival, self.settings.clone(), log)
        };
        let core = catch_unwind(AssertUnwindSafe(arrived)).map_err(|_| Error::Failed)?;
        let handle = self.begin(info, core, header, Beginning::Arrived)?;
        let epoch = handle.info().epoch;
        tracing::info!(room = %id, epoch, tick, players = handle.info().players(), "room came from elsewhere");
        Ok(handle)
    }

    /// Starts a room's task and lists it.
    fn begin(
        &self,
        info: RoomInfo,
        core: Core,
        header: Header,
        beginning: Beginning,
    ) -> Result<Handle, Error> {
        let id = info.id.clone();
        let phase = xxh3_64(id.as_str().as_bytes()) as u32;
        let now = tokio::time::Instant::now();
        let (rate, catch_up) = (self.settings.tick_rate_hz, self.settings.catch_up_ticks_max);
        let clock = match beginning {
            Beginning::First => Clock::new(now, rate, phase, catch_up),
            Beginning::Arrived => Clock::resumed(now, rate, phase, catch_up),
        };
        let parts = task::Parts {
            core,
            clock,
            recorder: self.recorder(id.clone(), header.clone()),
            metrics: Arc::clone(&self.metrics),
            traces: Arc::clone(&self.traces),
            settings: self.settings.clone(),
            permit: Arc::clone(&self.permit),
            goes_on: self.goes_on.clone(),
            header,
        };
        let begun = task::room(info, parts, beginning, self.stop.clone());
        let (handle, task) = begun.ok_or(Error::Failed)?;
        self.rooms.insert(id, handle.clone());
        self.metrics.rooms.inc();
        self.changes.send_modify(|changes| *changes += 1);
        // Whatever ends the task, the room is taken out of the registry.
        let entry = Entry {
            rooms: Arc::clone(&self.rooms),
            info: Arc::clone(handle.info()),
            metrics: Arc::clone(&self.metrics),
            changes: self.changes.clone(),
            on_end: Arc::clone(&self.on_end),
            unfinished: Arc::clone(&self.unfinished),
            over: Arc::clone(&self.over),
            stop: self.stop.clone(),
        };
        spawn_named(&self.tasks, "room", async move {
            let _entry = entry;
            task.await;
        });
        Ok(handle)
    }

    /// The game and the log of a new room. A game whose rules panic at once harms nobody but who asked for it.
    fn core(&self, setup: &Setup) -> Result<Core, Error> {
        let create = || {
            let game = self.factory.create(setup);
            let rhythm = self.settings.rhythm();
            let is_on = self.recording.is_on;
            let log = if is_on { TickLog::begin(rhythm, game.as_ref()) } else { TickLog::off() };
            Core::new(game, self.settings.clone(), setup.capacity, log)
        };
        catch_unwind(AssertUnwindSafe(create)).map_err(|_| Error::Failed)
    }

    fn header(&self, info: &RoomInfo, setup: &Setup) -> Header {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Header {
            game: info.game.to_owned(),
            sim_version: info.sim_version,
            seed: setup.seed,
            configuration: self.factory.configuration(),
            tick_rate_hz: setup.tick_rate_hz,
            capacity: setup.capacity,
            room: info.id.to_string(),
            room_name: info.name.clone(),
            code: info.code.clone().unwrap_or_default(),
            epoch: info.epoch,
            first_tick: 1,
            started_at_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            incident: String::new(),
            server: self.recording.server.clone(),
        }
    }

    /// A room whose log cannot be written plays all the same.
    fn recorder(&self, id: RoomId, header: Header) -> Recorder {
        let writer = self.recording.is_on.then(|| self.recording.store.writer(header));
        let writer = writer.and_then(|writer| {
            let failed = |error: &_| {
                tracing::error!(room = %id, %error, "the room will not be recorded");
            };
            writer.inspect_err(failed).ok()
        });
        let tick_rate_hz = self.settings.tick_rate_hz;
        let budget = Arc::clone(&self.incidents);
        Recorder::new(id, tick_rate_hz, writer, Arc::clone(&self.metrics), budget)
    }

    /// Rooms with players are not over when this server ends: others go on from their logs, which get no end.
    pub fn leave_unfinished(&self) {
        self.goes_on.cancel();
    }

    /// Rooms that ended here, and of which it was not known whether another server has them; or that had players when this server
    /// ended. Each is named once.
    pub fn take_unfinished(&self) -> BTreeSet<RoomId> {
        // Nothing panics while it is held.
        std::mem::take(&mut *self.unfinished.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rooms that ended in order since this server ends.
    pub fn over(&self) -> BTreeSet<RoomId> {
        // Nothing panics while it is held.
        self.over.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Rooms whose tasks have ended, and which are not taken out yet.
    pub fn ending(&self) -> Vec<RoomId> {
        let ending = self.rooms.iter().filter(|room| room.has_ended());
        ending.map(|room| room.info().id.clone()).collect()
    }

    /// Whether this server's rooms end, since it ends.
    pub fn is_closing(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Ends all rooms and waits for their tasks.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

struct Entry {
    rooms: Arc<DashMap<RoomId, Handle>>,
    info: Arc<RoomInfo>,
    metrics: Arc<Metrics>,
    changes: watch::Sender<u64>,
    on_end: Arc<OnceLock<OnEnd>>,
    unfinished: Arc<Mutex<BTreeSet<RoomId>>>,
    over: Arc<Mutex<BTreeSet<RoomId>>>,
    stop: CancellationToken,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let has_players = self.stop.is_cancelled() && self.info.players() > 0;
        if has_players || self.info.has_unknown_owner.get().is_some() {
            // First this, then it is gone: whoever misses it looks here.
            let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
            unfinished.insert(self.info.id.clone());
        } else if self.stop.is_cancelled() {
            let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            over.insert(self.info.id.clone());
        }
        self.rooms.remove(&self.info.id);
        if let Some(on_end) = self.on_end.get() {
            on_end(&self.info.id);
        }
        self.metrics.rooms.dec();
        if self.info.ended.get().is_none() {
            self.metrics.rooms_failed.inc();
        }
        self.changes.send_modify(|changes| *changes += 1);
    }
}

fn random_text(random: &mut impl rand::Rng, alphabet: &[u8], length: usize) -> String {
    (0..length).map(|_| char::from(alphabet[random.random_range(0..alphabet.len())])).collect()
}

fn made_up_name(id: &RoomId) -> &'static str {
    const NAMES: [&str; 16] = [
        "Amber", "Basalt", "Cobalt", "Drift", "Ember", "Fathom", "Garnet", "Halo", "Indigo",
        "Juniper", "Krypton", "Lumen", "Meteor", "Nimbus", "Onyx", "Pulsar",
    ];
    NAMES[xxh3_64(id.as_str().as_bytes()) as usize % NAMES.len()]
}
