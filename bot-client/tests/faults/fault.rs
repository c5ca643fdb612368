//! Something that breaks, and what players say about it.

use super::crowd::{Crowd, Diary, Entry};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What a player may have to wait, at the most, on a machine with nothing else to do. The test waits for longer, since
/// machines are shared, and says how long it was.
pub const GOAL: Duration = Duration::from_secs(10);
pub const PATIENCE: Duration = Duration::from_secs(40);
/// A stream that goes on has no gap as long as this, even on a busy machine.
const UNNOTICED: Duration = Duration::from_secs(3);
/// What comes of something comes within this.
const AFTERMATH: Duration = Duration::from_secs(10);
/// How long one looks at what was settled.
const AFTERWARDS: Duration = Duration::from_secs(5);

pub struct Fault {
    pub what: &'static str,
    pub at: Instant,
}

impl Fault {
    pub fn begins(what: &'static str) -> Self {
        println!("--- {what}");
        Self { what, at: Instant::now() }
    }

    /// The players who are on a server.
    pub fn players_of(&self, crowd: &Crowd, server: &str) -> Vec<usize> {
        let players = crowd.where_server(|there| there == server);
        assert!(!players.is_empty(), "{}: nobody is on {server}", self.what);
        players
    }

    fn say(&self, crowd: &Crowd, waited: impl Iterator<Item = Duration>) {
        let waited: Vec<_> = waited.collect();
        let longest = waited.iter().max().copied().unwrap_or_default();
        println!(
            "{}, {}: {} affected, at the longest {:.1} s, {} {GOAL:?}",
            self.what,
            crowd.name,
            waited.len(),
            longest.as_secs_f64(),
            if longest <= GOAL { "within" } else { "OVER" },
        );
    }

    /// Streams break, sessions do not.
    pub async fn everybody_plays_on_as_themselves(&self, crowd: &Crowd) {
        let at = self.at;
        let resumed = |diary: &Diary| {
            let entries = diary.since(at);
            entries.iter().any(|entry| matches!(entry, Entry::Welcomed { resumed: true, .. }))
                && plays(diary)
        };
        crowd.until(self.what, PATIENCE, resumed).await;
        let now = Instant::now();
        let gaps: Vec<_> = crowd.diaries().iter().map(|diary| diary.longest_gap(at, now)).collect();
        self.say(crowd, gaps.into_iter());
        for diary in crowd.diaries() {
            let told = diary.since(at).into_iter().find(|entry| matches!(entry, Entry::Told(_)));
            assert!(told.is_none(), "{}: {told:?}", self.what);
        }
    }

    /// Waits for what comes of it.
    pub async fn has_its_time(&self) {
        sleep(AFTERMATH).await;
    }

    /// For a while, it stays as it is: others, and those who come, look at it.
    pub async fn is_looked_at(&self) {
        sleep(AFTERWARDS).await;
    }

    pub fn nobody_notices(&self, crowd: &Crowd) {
        self.others_do_not_notice(crowd, &[]);
    }

    pub fn others_do_not_notice(&self, crowd: &Crowd, affected: &[usize]) {
        let now = Instant::now();
        let mut others = 0;
        for (player, diary) in crowd.diaries().iter().enumerate() {
            if affected.contains(&player) {
                continue;
            }
            others += 1;
            let entries = diary.since(self.at);
            let (what, whose, server) = (self.what, crowd.name, &diary.server);
            assert!(
                entries.is_empty(),
                "{what}, {whose}: player {player} on {server}: {entries:?}"
            );
            let gap = diary.longest_gap(self.at, now);
            assert!(gap < UNNOTICED, "{what}, {whose}: player {player} waited {gap:?}");
        }
        println!("{}, {}: {others} notice nothing", self.what, crowd.name);
    }

    /// Each of them has an update of its old room or of a new one, after it was told that the old one is gone.
    pub async fn all_play_or_are_told(&self, crowd: &Crowd, affected: &[usize]) {
        let mut settled = vec![None; affected.len()];
        let deadline = self.at + PATIENCE;
        while settled.iter().any(Option::is_none) {
            for (place, &player) in settled.iter_mut().zip(affected) {
                if place.is_none() {
                    *place = self.settled(&crowd.diaries()[player]);
                }
            }
            if Instant::now() > deadline {
                let diaries = crowd.diaries();
                let unsettled = affected.iter().zip(&settled).filter(|(_, place)| place.is_none());
                let silent: Vec<Vec<_>> = unsettled
                    .map(|(&player, _)| diaries[player].entries.iter().rev().take(8).collect())
                    .collect();
                panic!(
                    "{}, {}: nobody tells {} players: {silent:#?}",
                    self.what,
                    crowd.name,
                    silent.len()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
        let settled: Vec<_> = settled.into_iter().flatten().collect();
        self.say(crowd, settled.iter().map(|settled| settled.after));
        for why in settled.into_iter().filter_map(|settled| settled.told) {
            assert!(why.ends_with("ROOM_LOST"), "{}: told {why}", self.what);
        }
        crowd.until("everybody plays somewhere", PATIENCE, plays).await;
    }

    fn settled(&self, diary: &Diary) -> Option<Settled> {
        let since = diary.since(self.at);
        let told = since.iter().find_map(|entry| match entry {
            Entry::Told(why) => Some(why.clone()),
            _ => None,
        });
        let is_back =
            since.iter().any(|entry| matches!(entry, Entry::Welcomed { resumed: true, .. }));
        (told.is_some() || is_back).then(|| Settled { after: self.at.elapsed(), told })
    }
}

/// A player knows what became of its room.
#[derive(Clone)]
struct Settled {
    after: Duration,
    /// That it is gone; else the player is back in it.
    told: Option<String>,
}

fn plays(diary: &Diary) -> bool {
    diary.updates.last().is_some_and(|last| last.elapsed() < Duration::from_secs(1))
}
