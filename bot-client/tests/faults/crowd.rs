//! Players that go on whatever happens, as people would: they resume, and when they are told that their room is gone they
//! look for another. Each keeps a diary.

use super::oracle::Oracle;
use fray_bot::client::transport::{GrpcServer, Server};
use fray_bot::client::{Controls, Ended, Event, Options, Player};
use fray_proto::v1::{self, JoinRequest, join_request};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

/// What a player wrote down.
#[derive(Clone, Debug)]
pub enum Entry {
    Welcomed {
        room: String,
        epoch: u64,
        server: String,
        resumed: bool,
    },
    /// The stream broke; the player goes on trying.
    Disconnected(String),
    /// An attempt failed; the player goes on trying.
    Failed(String),
    /// It is over, and why.
    Told(String),
    Notice(v1::notice::Kind),
}

#[derive(Default)]
pub struct Diary {
    pub entries: Vec<(Option<Instant>, Entry)>,
    pub updates: Vec<Instant>,
    pub room: String,
    pub server: String,
    pub desyncs: u64,
    pub lost_moves: u64,
}

impl Diary {
    fn write(&mut self, entry: Entry) {
        self.entries.push((Some(Instant::now()), entry));
    }

    /// The longest time without an update from `from` to `to`, both counted as updates.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let within = self.updates.iter().copied().filter(|at| (from..=to).contains(at));
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in within.chain([to]) {
            longest = longest.max(at - last);
            last = at;
        }
        longest
    }

    /// What was written since then.
    pub fn since(&self, from: Instant) -> Vec<Entry> {
        let later = self.entries.iter().filter(|(at, _)| at.is_some_and(|at| at >= from));
        later.map(|(_, entry)| entry.clone()).collect()
    }

    /// The first update after `from`.
    pub fn next_update(&self, from: Instant) -> Option<Instant> {
        self.updates.iter().copied().find(|at| *at > from)
    }
}

/// Players that are watched together.
pub struct Crowd {
    /// Who they are, for people.
    pub name: &'static str,
    pub oracle: Arc<Oracle>,
    diaries: Vec<Arc<Mutex<Diary>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// One who is to come.
pub struct Guest {
    /// How it reaches the fleet.
    pub way: Arc<dyn Server>,
    /// Where it wants to play.
    pub room: String,
}

impl Crowd {
    /// So many players in so many new rooms, all on the same way to the fleet.
    pub async fn gather(name: &'static str, players: usize, rooms: usize, url: &str) -> Self {
        let way = || Arc::new(GrpcServer::at(url).expect("an address"));
        let mut ids = Vec::new();
        for number in 0..rooms {
            ids.push(make_room(way().as_ref(), &format!("Room {number}")).await);
        }
        let guests = (0..players).map(|number| {
            let room = ids[number % rooms].clone();
            Guest { way: way(), room }
        });
        Self::of(name, guests.collect(), Arc::default(), &Options::default())
    }

    /// These.
    pub fn of(
        name: &'static str,
        guests: Vec<Guest>,
        oracle: Arc<Oracle>,
        options: &Options,
    ) -> Self {
        let (stop, tasks) = (CancellationToken::new(), JoinSet::new());
        let mut crowd = Self { name, oracle, diaries: Vec::new(), stop, tasks };
        for Guest { way, room } in guests {
            let diary = Arc::new(Mutex::new(Diary::default()));
            crowd.diaries.push(Arc::clone(&diary));
            let (oracle, stop) = (Arc::clone(&crowd.oracle), crowd.stop.clone());
            let options = options.clone();
            crowd.tasks.spawn(async move {
                stop.run_until_cancelled(live(way, room, &options, &diary, &oracle)).await;
            });
        }
        crowd
    }

    /// The rooms that they are in, each with its server.
    pub fn rooms(&self) -> BTreeMap<String, String> {
        let diaries = self.diaries();
        diaries.iter().map(|diary| (diary.room.clone(), diary.server.clone())).collect()
    }

    /// Those on servers of which this is true.
    pub fn where_server(&self, is_meant: impl Fn(&str) -> bool) -> Vec<usize> {
        let diaries = self.diaries();
        let there = diaries.iter().enumerate().filter(|(_, diary)| is_meant(&diary.server));
        there.map(|(player, _)| player).collect()
    }

    /// The replica was always what the server said, and every move was applied once.
    pub fn lost_nothing(&self) {
        for diary in self.diaries() {
            let lost = (diary.desyncs, diary.lost_moves);
            assert_eq!(lost, (0, 0), "{}: {:?}", self.name, diary.entries);
        }
    }

    pub fn diaries(&self) -> Vec<MutexGuard<'_, Diary>> {
        self.diaries.iter().map(|diary| locked(diary)).collect()
    }

    /// Waits until this holds of every player.
    pub async fn until(&self, what: &str, patience: Duration, holds: impl Fn(&Diary) -> bool) {
        let met = async {
            loop {
                if self.diaries().iter().all(|diary| holds(diary)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(patience, met).await.is_err() {
            let missing: Vec<_> = self
                .diaries()
                .iter()
                .filter(|diary| !holds(diary))
                .map(|diary| {
                    format!(
                        "{} at {}: {:?}",
                        diary.room,
                        diary.server,
                        diary.entries.iter().rev().take(6).collect::<Vec<_>>()
                    )
                })
                .collect();
            panic!("{what}, {}: {} players not so: {missing:#?}", self.name, missing.len());
        }
    }

    pub async fn go_home(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no player panics");
        }
    }
}

fn locked(diary: &Mutex<Diary>) -> MutexGuard<'_, Diary> {
    diary.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new room, as whoever wants one asks for it. Its id.
pub async fn make_room(way: &dyn Server, name: &str) -> String {
    let create = v1::CreateRoom { name: name.to_owned(), ..v1::CreateRoom::default() };
    let request = JoinRequest {
        request_id: format!("{:032x}", rand::random::<u128>()),
        room: Some(join_request::Room::Create(create)),
        ..JoinRequest::default()
    };
    way.join(request).await.expect("a new room").room.expect("a room").room_id
}

/// One player after the other: whoever is told that it is over comes again, to any room.
async fn live(
    way: Arc<dyn Server>,
    room: String,
    options: &Options,
    diary: &Mutex<Diary>,
    oracle: &Oracle,
) {
    let mut wanted = Some(join_request::Room::RoomId(room));
    loop {
        let request = JoinRequest { room: wanted.take(), ..JoinRequest::default() };
        let mut player = Player::new(Arc::clone(&way), request, options.clone());
        let ended = play(&mut player, diary, oracle).await;
        let lost_moves = player.session_mut().take_counters().lost_moves;
        {
            let mut diary = locked(diary);
            diary.lost_moves += lost_moves;
            diary.write(Entry::Told(ended.label()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn play(player: &mut Player, diary: &Mutex<Diary>, oracle: &Oracle) -> Ended {
    let mut moves = interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            event = player.next() => match event {
                Ok(Some(event)) => note(player, &event, diary, oracle),
                Ok(None) => return Ended::broken("it left"),
                Err(ended) => return ended,
            },
            _ = moves.tick() => {
                let axis_x = rand::random_range(-127..=127);
                // While there is no stream there are no moves.
                let _ = player.steer(Controls { axis_x, axis_y: 100, ..Controls::default() });
            }
        }
    }
}

/// Writes down what a player is told, and shows the oracle what it sees.
pub fn note(player: &mut Player, event: &Event, diary: &Mutex<Diary>, oracle: &Oracle) {
    let mut diary = locked(diary);
    match event {
        Event::Welcomed { resumed } => {
            let Some(welcome) = player.session().welcome() else { return };
            let room = welcome.room.clone().unwrap_or_default().room_id;
            diary.room.clone_from(&room);
            diary.server.clone_from(&welcome.server);
            let (epoch, server) = (welcome.epoch, welcome.server.clone());
            oracle.welcomed(&room, epoch, &server);
            diary.write(Entry::Welcomed { room, epoch, server, resumed: *resumed });
        }
        Event::Updated(_) => {
            diary.updates.push(Instant::now());
            let session = player.session();
            if let Some((welcome, replica)) = session.welcome().zip(session.replica()) {
                oracle.saw(&diary.room, welcome.epoch, replica);
            }
            let counters = player.session_mut().take_counters();
            diary.desyncs += counters.desyncs;
            diary.lost_moves += counters.lost_moves;
        }
        Event::Disconnected(ended) => diary.write(Entry::Disconnected(ended.label())),
        Event::AttemptFailed(ended) => diary.write(Entry::Failed(ended.label())),
        Event::Notice(notice) => diary.write(Entry::Notice(notice.kind())),
        _ => {}
    }
}
