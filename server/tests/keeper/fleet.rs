//! Servers that share a directory in memory, from which each can be cut off, and which ask each other.

use super::support::Net;
use fray_server::cluster::endpoints::EndpointsView;
use fray_server::cluster::fate::{Fates, SharedWitness};
use fray_server::cluster::keeper::{Card, Keeper, Parts};
use fray_server::cluster::lease::Standing;
use fray_server::cluster::memory::MemoryDirectory;
use fray_server::cluster::news::NewsSender;
use fray_server::cluster::probe::{Probe, ProbeOutcome};
use fray_server::room::registry::NewRoom;
use fray_server::room::{Handle, RoomId};
use fray_server::session::directory::{
    Directory, DirectoryError, Held, InstanceId, Revision, RoomRecord, ServerRecord, code_hash,
};
use fray_server::store::MemoryStore;
use fray_server::telemetry::metrics::claims::Claims;
use fray_server::telemetry::metrics::directory::Directory as Metrics;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Lets virtual time go on until it is so.
pub(crate) async fn soon(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 20 s: {what}");
}

/// A server's access to the directory, which can be cut off: then reads are of what was known last.
pub(crate) struct Cuttable {
    inner: MemoryDirectory,
    is_cut: AtomicBool,
    /// It is answered, and hears of nothing.
    is_deaf: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// When a renewal was last answered.
    renewed: Option<Instant>,
    /// Since when it has heard of others again.
    hears_since: Instant,
    rooms: Vec<Held<RoomRecord>>,
    servers: Vec<Held<ServerRecord>>,
    /// Whose record it does not see, though it is there.
    overlooked: Option<InstanceId>,
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

impl Cuttable {
    fn new(inner: MemoryDirectory) -> Self {
        let state = State {
            renewed: None,
            hears_since: Instant::now(),
            rooms: Vec::new(),
            servers: Vec::new(),
            overlooked: None,
        };
        let (is_cut, is_deaf) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { inner, is_cut, is_deaf, state: Mutex::new(state) }
    }

    /// As if its record were one that cannot be read, or the word of it had been lost.
    pub(crate) fn overlook(&self, server: &InstanceId) {
        self.state.lock().expect("sound").overlooked = Some(server.clone());
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Whether what it sees is what it saw last.
    fn is_old(&self) -> bool {
        self.is_cut() || self.is_deaf.load(Ordering::Relaxed)
    }

    fn cut(&self, is_cut: bool) {
        let mut state = self.state.lock().expect("sound");
        if is_cut {
            (state.rooms, state.servers) = (self.inner.rooms(), self.inner.servers());
        } else {
            state.hears_since = Instant::now();
        }
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }

    async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, DirectoryError>> + Send,
    ) -> Result<T, DirectoryError> {
        if self.is_cut() {
            sleep(REQUEST_TIMEOUT).await;
            return Err(DirectoryError::Away);
        }
        request.await
    }
}

impl Directory for Cuttable {
    fn me(&self) -> &InstanceId {
        self.inner.me()
    }
    fn room(&self, room: &RoomId) -> Option<Held<RoomRecord>> {
        self.rooms().into_iter().find(|held| held.record.room == *room)
    }
    fn rooms(&self) -> Vec<Held<RoomRecord>> {
        if self.is_old() {
            return self.state.lock().expect("sound").rooms.clone();
        }
        self.inner.rooms()
    }
    fn server(&self, instance: &InstanceId) -> Option<Held<ServerRecord>> {
        self.servers().into_iter().find(|held| held.record.instance == *instance)
    }
    fn servers(&self) -> Vec<Held<ServerRecord>> {
        if self.is_old() {
            return self.state.lock().expect("sound").servers.clone();
        }
        let mut servers = self.inner.servers();
        let overlooked = self.state.lock().expect("sound").overlooked.clone();
        servers.retain(|held| Some(&held.record.instance) != overlooked.as_ref());
        servers
    }
    fn silence(&self, instance: &InstanceId) -> Option<Duration> {
        if self.is_old() {
            return self.server(instance).map(|_| Duration::ZERO);
        }
        self.server(instance)?;
        let heard_for = self.state.lock().expect("sound").hears_since.elapsed();
        self.inner.silence(instance).map(|silence| silence.min(heard_for))
    }
    fn is_reachable(&self) -> bool {
        let renewed = self.state.lock().expect("sound").renewed;
        renewed.is_some_and(|renewed| renewed.elapsed() < Duration::from_secs(3))
    }
    fn is_settled(&self) -> bool {
        true
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes()
    }
    fn read(
        &self,
        room: &RoomId,
    ) -> BoxFuture<'_, Result<Option<Held<RoomRecord>>, DirectoryError>> {
        let room = room.clone();
        Box::pin(async move { self.ask(self.inner.read(&room)).await })
    }
    fn has_record(&self, server: &InstanceId) -> BoxFuture<'_, Result<bool, DirectoryError>> {
        let server = server.clone();
        Box::pin(async move { self.ask(self.inner.has_record(&server)).await })
    }
    fn create(&self, record: RoomRecord) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        Box::pin(self.ask(self.inner.create(record)))
    }
    fn swap(
        &self,
        record: RoomRecord,
        old: Revision,
    ) -> BoxFuture<'_, Result<Revision, DirectoryError>> {
        Box::pin(self.ask(self.inner.swap(record, old)))
    }
    fn remove(&self, room: &RoomId, old: Revision) -> BoxFuture<'_, Result<(), DirectoryError>> {
        let room = room.clone();
        Box::pin(async move { self.ask(self.inner.remove(&room, old)).await })
    }
    fn announce(&self, record: ServerRecord) -> BoxFuture<'_, Result<(), DirectoryError>> {
        Box::pin(async move {
            self.ask(self.inner.announce(record)).await?;
            self.state.lock().expect("sound").renewed = Some(Instant::now());
            Ok(())
        })
    }
    fn withdraw(&self) -> BoxFuture<'_, Result<(), DirectoryError>> {
        Box::pin(self.ask(self.inner.withdraw()))
    }
    fn dismiss(
        &self,
        server: &InstanceId,
        old: Revision,
    ) -> BoxFuture<'_, Result<(), DirectoryError>> {
        let server = server.clone();
        Box::pin(async move { self.ask(self.inner.dismiss(&server, old)).await })
    }
}

/// What others get who ask a server.
struct Face {
    directory: Arc<Cuttable>,
    rooms: Arc<fray_server::room::Registry>,
    is_dead: AtomicBool,
    is_cut: AtomicBool,
    refuses: AtomicBool,
    /// Which part of the network it is in: others do not reach it.
    part: AtomicUsize,
}

type Faces = Arc<Mutex<BTreeMap<String, Arc<Face>>>>;

/// One server's way to ask.
struct Asks {
    me: String,
    faces: Faces,
}

impl Probe for Asks {
    fn probe<'a>(&'a self, peer: &'a str, room: Option<&'a RoomId>) -> BoxFuture<'a, ProbeOutcome> {
        let faces = self.faces.lock().expect("sound");
        let (asker, asked) = (faces.get(&self.me).cloned(), faces.get(peer).cloned());
        drop(faces);
        Box::pin(async move {
            let is_cut = |face: &Option<Arc<Face>>| {
                face.as_ref().is_none_or(|face| face.is_cut.load(Ordering::Relaxed))
            };
            let part = |face: &Option<Arc<Face>>| {
                face.as_ref().map(|face| face.part.load(Ordering::Relaxed))
            };
            if is_cut(&asker) || is_cut(&asked) || part(&asker) != part(&asked) {
                // For as long as whoever asks likes to wait.
                return std::future::pending().await;
            }
            let asked = asked.expect("it is there");
            sleep(Duration::from_millis(2)).await;
            if asked.is_dead.load(Ordering::Relaxed) || asked.refuses.load(Ordering::Relaxed) {
                return ProbeOutcome::Refused;
            }
            let room = room.and_then(|room| asked.rooms.get(room));
            ProbeOutcome::Answered {
                instance: asked.directory.me().clone(),
                reaches_directory: asked.directory.is_reachable(),
                plays_room: room.is_some(),
                epoch: room.map_or(0, |room| room.info().epoch),
            }
        })
    }
}

/// Servers that know each other.
pub(crate) struct Fleet {
    servers: Vec<Server>,
    directory: MemoryDirectory,
}

impl Fleet {
    pub(crate) fn new(count: usize) -> Self {
        Self::with_store(count, None)
    }

    /// Servers that keep what rooms play in one place.
    pub(crate) fn sharing(count: usize) -> Self {
        Self::with_store(count, Some(&MemoryStore::new(1 << 30)))
    }

    fn with_store(count: usize, store: Option<&MemoryStore>) -> Self {
        let directory = MemoryDirectory::alone();
        let faces = Faces::default();
        let server = |number| Server::new(number, &directory, &faces, store);
        Self { servers: (0..count).map(server).collect(), directory }
    }

    pub(crate) fn server(&self, number: usize) -> Server {
        self.servers[number].clone()
    }

    /// One that has a record, and that nobody can ask.
    pub(crate) async fn add_silent_server(&self) {
        let access = self.directory.another();
        let one = self.servers[0].parts_record();
        let record = ServerRecord { instance: access.me().clone(), peer: "nowhere".into(), ..one };
        access.announce(record).await.expect("announced");
    }
}

#[derive(Clone)]
pub(crate) struct Server {
    number: usize,
    pub(crate) net: Arc<Net>,
    pub(crate) directory: Arc<Cuttable>,
    pub(crate) fates: Arc<Fates>,
    face: Arc<Face>,
    witness: SharedWitness,
    probe: Arc<Asks>,
    standing: Arc<Mutex<Option<watch::Receiver<Standing>>>>,
}

impl Server {
    fn new(
        number: usize,
        directory: &MemoryDirectory,
        faces: &Faces,
        store: Option<&MemoryStore>,
    ) -> Self {
        // Rooms without players are to stay.
        let flags = ["--room-ttl", "1h"];
        let net = Arc::new(match store {
            None => Net::unbound(&flags),
            Some(store) => Net::sharing(&flags, Arc::new(store.clone())),
        });
        net.parts.health().bound();
        let directory = Arc::new(Cuttable::new(directory.another()));
        let face = Arc::new(Face {
            directory: Arc::clone(&directory),
            rooms: Arc::clone(&net.parts.sessions().rooms),
            is_dead: AtomicBool::default(),
            is_cut: AtomicBool::default(),
            refuses: AtomicBool::default(),
            part: AtomicUsize::default(),
        });
        let me = number.to_string();
        faces.lock().expect("sound").insert(me.clone(), Arc::clone(&face));
        let probe = Arc::new(Asks { me, faces: Arc::clone(faces) });
        let witness = SharedWitness::default();
        let metrics = Arc::clone(&net.parts.sessions().metrics);
        let (of_directory, of_probe) = (Arc::clone(&directory), Arc::clone(&probe));
        let fates =
            Fates::new(of_directory, of_probe, witness.clone(), metrics, NewsSender::default());
        let (fates, standing) = (Arc::new(fates), Arc::default());
        if store.is_some() {
            let heir = Arc::downgrade(net.parts.sessions());
            fates.set_heir(heir);
        }
        Self { number, net, directory, fates, face, witness, probe, standing }
    }

    /// Cuts it off from the directory.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.directory.cut(is_cut);
    }

    /// Lets it hear of no change, though it is answered: its view stays as it was when it was cut off.
    pub(crate) fn deafen(&self) {
        self.directory.is_deaf.store(true, Ordering::Relaxed);
    }

    pub(crate) fn cut_from_peers(&self, is_cut: bool) {
        self.face.is_cut.store(is_cut, Ordering::Relaxed);
    }

    /// Only servers of the same part can ask each other.
    pub(crate) fn move_to_part(&self, part: usize) {
        self.face.part.store(part, Ordering::Relaxed);
    }

    /// Whoever asks it finds that nothing listens, though it lives.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.face.refuses.store(refuses, Ordering::Relaxed);
    }

    pub(crate) fn standing(&self) -> Standing {
        let standing = self.standing.lock().expect("sound");
        *standing.as_ref().expect("its keeper runs").borrow()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.net.parts.sessions().metrics.directory
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.net.parts.sessions().metrics.claims
    }

    /// Starts its keeper.
    pub(crate) fn run(&self) -> Running {
        let sessions = self.net.parts.sessions();
        let keeper = Keeper::new(Parts {
            directory: Arc::clone(&self.directory) as _,
            rooms: Arc::clone(&sessions.rooms),
            probe: Arc::clone(&self.probe) as _,
            witness: self.witness.clone(),
            fates: Arc::clone(&self.fates),
            card: Card {
                name: format!("server {}", self.number),
                route: String::new(),
                peer: self.number.to_string(),
                release: "1".into(),
                zone: String::new(),
                node: String::new(),
            },
            token_key: sessions.token_key.clone(),
            health: Arc::clone(self.net.parts.health()),
            metrics: Arc::clone(&sessions.metrics),
            endpoints: EndpointsView::default(),
            news: NewsSender::default(),
        });
        *self.standing.lock().expect("sound") = Some(keeper.standing());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let task = tasks.spawn(keeper.run(stop.clone()));
        tasks.close();
        Running { server: self.clone(), tasks, stop, task }
    }

    /// Opens a room as the lobby does.
    pub(crate) async fn open(&self, id: &str) -> Handle {
        self.open_room(id, 1, false).await
    }

    pub(crate) async fn open_private(&self, id: &str, epoch: u64) -> Handle {
        self.open_room(id, epoch, true).await
    }

    async fn open_room(&self, id: &str, epoch: u64, private: bool) -> Handle {
        let sessions = self.net.parts.sessions();
        let id = RoomId::parse(id).expect("an id");
        let new = NewRoom { private, ..NewRoom::default() };
        let mut draft = sessions.rooms.draft(new, id.clone());
        draft.epoch = epoch;
        let code = draft.code.as_ref();
        let record = RoomRecord {
            code_hash: code.map(|code| code_hash(&sessions.token_key, code)),
            name: draft.name.clone(),
            capacity: draft.capacity,
            ..self.record(id.as_str(), epoch)
        };
        self.directory.create(record).await.expect("created");
        sessions.rooms.open(draft).expect("opened")
    }

    pub(crate) fn record(&self, id: &str, epoch: u64) -> RoomRecord {
        let (game, sim_version) = self.net.parts.sessions().rooms.game();
        RoomRecord {
            room: RoomId::parse(id).expect("an id"),
            owner: self.directory.me().clone(),
            epoch,
            followers: Vec::new(),
            game: game.to_owned(),
            sim_version,
            name: String::new(),
            capacity: 8,
            code_hash: None,
            lost: None,
            parked: false,
            parked_whole: false,
        }
    }

    fn parts_record(&self) -> ServerRecord {
        ServerRecord {
            instance: self.directory.me().clone(),
            name: String::new(),
            route: String::new(),
            peer: String::new(),
            release: String::new(),
            game: String::new(),
            sim_version: 1,
            sim_versions: Vec::new(),
            rooms_max: 0,
            room_capacity_max: 0,
            is_draining: false,
            players: BTreeMap::new(),
            electorate: Vec::new(),
            renewal_age_ms: 0,
            zone: String::new(),
            node: String::new(),
        }
    }
}

/// A keeper that runs; dropping it changes nothing.
pub(crate) struct Running {
    server: Server,
    tasks: TaskTracker,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// In order: the rooms first.
    pub(crate) async fn stop(self) {
        self.server.net.parts.sessions().rooms.close().await;
        self.stop.cancel();
        timeout(Duration::from_secs(10), self.tasks.wait()).await.expect("it ends");
    }

    /// As a process that is killed: nothing is written any more, and nothing listens.
    pub(crate) fn die(self) {
        self.server.face.is_dead.store(true, Ordering::Relaxed);
        self.stop_at_once();
    }

    /// As a machine without power: nothing is written any more, and nothing answers.
    pub(crate) fn vanish(self) {
        self.server.cut_from_peers(true);
        self.stop_at_once();
    }

    fn stop_at_once(self) {
        self.server.directory.cut(true);
        self.task.abort();
    }
}
