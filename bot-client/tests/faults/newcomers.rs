//! Players who come while something is broken: they want a new room, one that they know, or any.

use super::crowd::{Diary, Entry, note};
use super::fault::{GOAL, PATIENCE};
use super::oracle::Oracle;
use fray_bot::client::transport::{GrpcServer, Server};
use fray_bot::client::{Options, Player};
use fray_proto::v1::{CreateRoom, JoinRequest, join_request};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Between one newcomer and the next of its kind.
const PAUSE: Duration = Duration::from_millis(400);
/// Whoever has seen so many updates has seen that it plays.
const UPDATES_ENOUGH: usize = 5;
/// How long the good-bye may take.
const LEAVING_MAX: Duration = Duration::from_secs(2);
/// What a client is told that tries for as long as clients try.
pub const UNREACHABLE: &str = "UNAVAILABLE/UNREACHABLE";
pub const DIRECTORY_AWAY: &str = "UNAVAILABLE/DIRECTORY_AWAY";
pub const ROOM_LOST: &str = "NOT_FOUND/ROOM_LOST";

/// What a newcomer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    New,
    Known,
    Any,
}

/// What became of one.
#[derive(Clone, Debug)]
pub struct Visit {
    pub wish: Wish,
    pub began: Instant,
    /// What went wrong on the way, and was tried again.
    pub failures: Vec<String>,
    /// When it was welcomed, or told that nothing helps.
    pub ended: Instant,
    /// Why it did not get in.
    pub refused: Option<String>,
}

impl Visit {
    pub fn is_seated(&self) -> bool {
        self.refused.is_none()
    }

    pub fn waited(&self) -> Duration {
        self.ended - self.began
    }
}

/// One after the other, of each kind.
pub struct Newcomers {
    visits: Arc<Mutex<Vec<Visit>>>,
    /// Nobody comes any more.
    enough: CancellationToken,
    tasks: JoinSet<()>,
}

impl Newcomers {
    /// From now on they come this way; those who know a room know one of these.
    pub fn come(url: &str, rooms: &Arc<[String]>, oracle: &Arc<Oracle>) -> Self {
        let (visits, enough) = (Arc::<Mutex<Vec<Visit>>>::default(), CancellationToken::new());
        let (mut tasks, next) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for wish in [Wish::New, Wish::Known, Wish::Any] {
            let way: Arc<dyn Server> = Arc::new(GrpcServer::at(url).expect("an address"));
            let (rooms, next, oracle) = (Arc::clone(rooms), Arc::clone(&next), Arc::clone(oracle));
            let (visits, enough) = (Arc::clone(&visits), enough.clone());
            tasks.spawn(async move {
                while !enough.is_cancelled() {
                    let room = match wish {
                        Wish::New => Some(join_request::Room::Create(CreateRoom::default())),
                        Wish::Known => {
                            let room = &rooms[next.fetch_add(1, Ordering::Relaxed) % rooms.len()];
                            Some(join_request::Room::RoomId(room.clone()))
                        }
                        Wish::Any => None,
                    };
                    let visit = timeout(PATIENCE, visit(Arc::clone(&way), wish, room, &oracle));
                    let visit = visit.await.unwrap_or_else(|_| panic!("{wish:?}: no end"));
                    visits.lock().unwrap_or_else(PoisonError::into_inner).push(visit);
                    enough.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                }
            });
        }
        Self { visits, enough, tasks }
    }

    /// Those who are on their way arrive, or are told; nobody else comes.
    pub async fn end(mut self) -> Visits {
        self.enough.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("every newcomer comes to an end");
        }
        Visits(std::mem::take(&mut *self.visits.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// One newcomer: it comes, looks at a few updates, and leaves.
async fn visit(
    way: Arc<dyn Server>,
    wish: Wish,
    room: Option<join_request::Room>,
    oracle: &Oracle,
) -> Visit {
    let (began, diary) = (Instant::now(), Mutex::new(Diary::default()));
    let request = JoinRequest { room, ..JoinRequest::default() };
    let mut player = Player::new(way, request, Options::default());
    let mut seated = None;
    let refused = loop {
        match player.next().await {
            Ok(Some(event)) => note(&mut player, &event, &diary, oracle),
            Ok(None) => break None,
            // What happens to it later happens to everybody who is there.
            Err(ended) => break seated.is_none().then(|| ended.label()),
        }
        let diary = diary.lock().unwrap_or_else(PoisonError::into_inner);
        if seated.is_none() && !diary.room.is_empty() {
            seated = Some(Instant::now());
        }
        if diary.updates.len() >= UPDATES_ENOUGH {
            break None;
        }
    };
    let ended = seated.unwrap_or_else(Instant::now);
    if refused.is_none() {
        player.leave();
        // If nobody says good-bye, the seat is free after the grace period.
        let _ =
            timeout(LEAVING_MAX, async { while let Ok(Some(_)) = player.next().await {} }).await;
    }
    let entries = diary.into_inner().unwrap_or_else(PoisonError::into_inner).entries;
    let failures = entries.into_iter().filter_map(|(at, entry)| match entry {
        Entry::Failed(why) if at.is_some_and(|at| at <= ended) => Some(why),
        _ => None,
    });
    Visit { wish, began, failures: failures.collect(), ended, refused }
}

/// What became of all of them.
pub struct Visits(pub Vec<Visit>);

impl Visits {
    fn of(&self, wish: Wish) -> impl Iterator<Item = &Visit> {
        self.0.iter().filter(move |visit| visit.wish == wish)
    }

    /// Says how many came, how long it took them, and what they met on the way. Nobody is to wait for longer than the goal,
    /// but for those who have to.
    fn say(&self, what: &str, has_to_wait: Option<Wish>) {
        for wish in [Wish::New, Wish::Known, Wish::Any] {
            let seated: Vec<_> = self.of(wish).filter(|visit| visit.is_seated()).collect();
            let longest = seated.iter().map(|visit| visit.waited()).max().unwrap_or_default();
            let verdict = match has_to_wait {
                Some(waits) if waits == wish => "as it has to be".to_owned(),
                _ if longest <= GOAL => format!("within {GOAL:?}"),
                _ => format!("OVER {GOAL:?}"),
            };
            let mut line = format!(
                "{what}, newcomers, {wish:?}: {} seated, at the longest {:.1} s, {verdict}",
                seated.len(),
                longest.as_secs_f64()
            );
            for (label, how_many) in counted(self.of(wish).flat_map(|visit| &visit.failures)) {
                let _ = write!(line, "; {how_many} x {label} and tried again");
            }
            for (label, how_many) in counted(self.of(wish).filter_map(|v| v.refused.as_ref())) {
                let _ = write!(line, "; {how_many} refused with {label}");
            }
            println!("{line}");
        }
    }

    /// Everybody gets in; who wants a certain room, or is told that it is lost, if rooms were lost.
    pub fn all_get_in(&self, what: &str, may_be_lost: bool) {
        self.say(what, None);
        for wish in [Wish::New, Wish::Known, Wish::Any] {
            let seated = self.of(wish).filter(|visit| visit.is_seated()).count();
            assert!(seated > 0, "{what}: {wish:?}: nobody got in");
        }
        for visit in &self.0 {
            let is_told = may_be_lost
                && visit.wish == Wish::Known
                && visit.refused.as_deref() == Some(ROOM_LOST);
            assert!(visit.is_seated() || is_told, "{what}: {visit:?}");
        }
    }

    /// The directory was away for everybody from `from` to `until`: known rooms are as good as ever; new ones are refused for
    /// that reason, and are made once it is back.
    pub fn only_new_rooms_wait(&self, what: &str, from: Instant, until: Instant) {
        self.say(what, Some(Wish::New));
        let began_within = |visit: &&Visit| visit.began > from && visit.began < until;
        for wish in [Wish::Known, Wish::Any] {
            for visit in self.of(wish) {
                assert!(visit.is_seated() && visit.failures.is_empty(), "{what}: {visit:?}");
            }
            let came = self.of(wish).filter(began_within).filter(|visit| visit.ended < until);
            assert!(came.count() > 0, "{what}: {wish:?}: nobody came while the directory was away");
        }
        let mut refusals = 0;
        for visit in self.of(Wish::New) {
            // Whoever tries for as long as clients try, in vain, gives up; soon after it is back, nobody does any more.
            let is_vain = visit.began < until && visit.ended < until + GOAL;
            let gave_up = visit.refused.as_deref() == Some(UNREACHABLE) && is_vain;
            assert!(visit.is_seated() || gave_up, "{what}: {visit:?}");
            let are_right = visit.failures.iter().all(|why| why == DIRECTORY_AWAY);
            assert!(are_right, "{what}: {visit:?}");
            if visit.began > from && visit.began < until {
                assert!(
                    !visit.failures.is_empty() && !visit.is_made_before(until),
                    "{what}: {visit:?}"
                );
            }
            refusals += visit.failures.len();
        }
        assert!(refusals > 0, "{what}: no new room was refused");
        let made = self.of(Wish::New).filter(|visit| visit.is_seated() && visit.ended > until);
        let waited: Vec<_> = made.map(|visit| visit.ended - visit.began.max(until)).collect();
        let longest = waited.iter().max().unwrap_or_else(|| panic!("{what}: no new room since"));
        println!(
            "{what}: new rooms again, {:.1} s after it was back at the latest",
            longest.as_secs_f64()
        );
    }
}

impl Visit {
    fn is_made_before(&self, until: Instant) -> bool {
        self.is_seated() && self.ended < until
    }
}

fn counted<'a>(labels: impl Iterator<Item = &'a String>) -> BTreeMap<&'a String, usize> {
    let mut counts = BTreeMap::new();
    for label in labels {
        *counts.entry(label).or_default() += 1;
    }
    counts
}
