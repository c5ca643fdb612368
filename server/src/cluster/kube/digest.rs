//! News as Events: few of them, however much happens. Pure.
//!
//! The first rooms of a burst get an Event each; the rest are counted, and summed up at its end. The API would otherwise be
//! asked once for each room of a drain, and drop what is too much.

use crate::cluster::news::News;
use std::time::Duration;
use tokio::time::Instant;

/// The most rooms of a burst that get an Event each.
pub const ROOMS_PER_BURST_MAX: u32 = 10;
/// How long a burst lasts, from its first room on.
pub const BURST: Duration = Duration::from_secs(10);
/// The most characters of text from elsewhere in an Event; the API takes 1 kB.
const TEXT_CHARS_MAX: usize = 200;

/// An Event that is to be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Of what kind: a word for machines.
    pub reason: &'static str,
    /// What was done: another one.
    pub action: &'static str,
    /// What happened, for people.
    pub note: String,
    /// Somebody should look.
    pub is_warning: bool,
    /// The one room that it is about.
    pub room: Option<String>,
}

/// Rooms that got no Event of their own.
#[derive(Debug, Default)]
struct Rest {
    moved: u32,
    players: u64,
    gap_ms_max: u64,
    restored: u32,
    age_ms_max: u64,
    lost: u32,
}

/// Makes Events of news.
#[derive(Debug, Default)]
pub struct Digest {
    burst: Option<(Instant, u32)>,
    rest: Rest,
}

impl Digest {
    /// What to post of these news now.
    pub fn take(&mut self, news: News, now: Instant) -> Vec<Post> {
        let mut posts = if self.due().is_some_and(|due| due <= now) { self.end() } else { vec![] };
        match &news {
            News::DrainBegan { .. } => posts.push(post(news)),
            News::DrainEnded { .. } => {
                posts.extend(self.end());
                posts.push(post(news));
            }
            News::RoomMoved { .. } | News::RoomRestored { .. } | News::RoomLost { .. } => {
                let (_, rooms) = self.burst.get_or_insert((now, 0));
                if *rooms < ROOMS_PER_BURST_MAX {
                    *rooms += 1;
                    posts.push(post(news));
                } else {
                    self.rest.count(&news);
                }
            }
        }
        posts
    }

    /// When the burst is over that is under way.
    pub fn due(&self) -> Option<Instant> {
        self.burst.map(|(began, _)| began + BURST)
    }

    /// Ends the burst: what to post of it still.
    pub fn end(&mut self) -> Vec<Post> {
        self.burst = None;
        std::mem::take(&mut self.rest).posts()
    }
}

impl Rest {
    fn count(&mut self, news: &News) {
        match news {
            News::RoomMoved { players, gap_ms, .. } => {
                self.moved += 1;
                self.players += u64::from(*players);
                self.gap_ms_max = self.gap_ms_max.max(*gap_ms);
            }
            News::RoomRestored { age_ms, .. } => {
                self.restored += 1;
                self.age_ms_max = self.age_ms_max.max(*age_ms);
            }
            News::RoomLost { .. } => self.lost += 1,
            News::DrainBegan { .. } | News::DrainEnded { .. } => {}
        }
    }

    fn posts(self) -> Vec<Post> {
        let Self { moved, players, gap_ms_max, restored, age_ms_max, lost } = self;
        let mut posts = Vec::new();
        if moved > 0 {
            let note = format!(
                "{moved} more rooms with {players} players play on elsewhere; the longest stood still for {gap_ms_max} ms"
            );
            posts.push(of_rooms("RoomsMoved", "Handover", note, false));
        }
        if restored > 0 {
            let note = format!(
                "{restored} more rooms play again, from checkpoints; the oldest was {} old",
                seconds(age_ms_max)
            );
            posts.push(of_rooms("RoomsRestored", "Restore", note, true));
        }
        if lost > 0 {
            let note = format!("{lost} more rooms are lost");
            posts.push(of_rooms("RoomsLost", "Claim", note, true));
        }
        posts
    }
}

fn of_rooms(reason: &'static str, action: &'static str, note: String, is_warning: bool) -> Post {
    Post { reason, action, note, is_warning, room: None }
}

fn post(news: News) -> Post {
    match news {
        News::DrainBegan { rooms, players } => {
            let note = format!("gives away {rooms} rooms with {players} players");
            of_rooms("DrainBegan", "Drain", note, false)
        }
        News::DrainEnded { moved, parked, failed, took_ms } => {
            let note = format!(
                "{moved} rooms play on elsewhere, {parked} wait in the store, {failed} came to neither; it took {}",
                seconds(took_ms)
            );
            of_rooms("DrainEnded", "Drain", note, parked + failed > 0)
        }
        News::RoomMoved { room, to, players, gap_ms } => {
            let to = short(&to);
            let note = format!(
                "room {room} plays on at {to} with {players} players; it stood still for {gap_ms} ms"
            );
            let post = of_rooms("RoomMoved", "Handover", note, false);
            Post { room: Some(room.to_string()), ..post }
        }
        News::RoomRestored { room, age_ms } => {
            let note = format!(
                "room {room} plays again as it was {} ago: what was played since is lost",
                seconds(age_ms)
            );
            let post = of_rooms("RoomRestored", "Restore", note, true);
            Post { room: Some(room.to_string()), ..post }
        }
        News::RoomLost { room, why } => {
            let note = format!("room {room} is lost: {}", short(&why));
            Post { room: Some(room.to_string()), ..of_rooms("RoomLost", "Claim", note, true) }
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::RoomId;

    fn moved(n: u32) -> News {
        let room = RoomId::parse(&format!("room{n}")).expect("an id");
        News::RoomMoved { room, to: "fray-1".into(), players: 2, gap_ms: u64::from(n) }
    }

    fn reasons(posts: &[Post]) -> Vec<&'static str> {
        posts.iter().map(|post| post.reason).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_of_many_rooms_is_few_events_and_no_room_is_forgotten() {
        let (mut digest, now) = (Digest::default(), Instant::now());
        let mut posts = digest.take(News::DrainBegan { rooms: 200, players: 400 }, now);
        for n in 0..200 {
            posts.extend(digest.take(moved(n), now));
        }
        let ended = News::DrainEnded { moved: 200, parked: 0, failed: 0, took_ms: 2345 };
        posts.extend(digest.take(ended, now));
        let mut wanted = vec!["DrainBegan"];
        wanted.extend(["RoomMoved"; ROOMS_PER_BURST_MAX as usize]);
        wanted.extend(["RoomsMoved", "DrainEnded"]);
        assert_eq!(reasons(&posts), wanted);
        let sum = &posts[posts.len() - 2].note;
        assert!(sum.contains("190 more rooms with 380 players"), "{sum}");
        assert!(sum.contains("199 ms"), "{sum}");
        let end = &posts[posts.len() - 1];
        assert!(end.note.contains("2.3 s") && !end.is_warning, "{end:?}");
        assert_eq!(digest.due(), None, "the burst is over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_ends_by_itself_and_the_next_room_begins_another() {
        let mut digest = Digest::default();
        let lost = |n| {
            let room = RoomId::parse(&format!("room{n}")).expect("an id");
            News::RoomLost { room, why: "the server that ran it is gone".into() }
        };
        let posted: usize = (0..12).map(|n| digest.take(lost(n), Instant::now()).len()).sum();
        assert_eq!(posted, ROOMS_PER_BURST_MAX as usize);
        let due = digest.due().expect("a burst is under way");
        assert_eq!(due, Instant::now() + BURST);
        tokio::time::advance(BURST).await;
        let posts = digest.take(lost(12), Instant::now());
        assert_eq!(reasons(&posts), ["RoomsLost", "RoomLost"], "the sum comes first");
        assert_eq!(posts[0].note, "2 more rooms are lost");
        assert!(digest.end().is_empty());
    }

    #[test]
    fn what_players_lose_is_a_warning_and_names_the_room() {
        let room = RoomId::parse("room1").expect("an id");
        let restored = post(News::RoomRestored { room: room.clone(), age_ms: 7100 });
        assert!(restored.is_warning && restored.note.contains("7.1 s ago"), "{restored:?}");
        assert_eq!(restored.room.as_deref(), Some("room1"));
        let lost = post(News::RoomLost { room, why: "x".repeat(5000) });
        assert!(lost.is_warning && lost.note.len() < 1000);
        let ended = post(News::DrainEnded { moved: 1, parked: 0, failed: 1, took_ms: 1 });
        assert!(ended.is_warning);
    }
}
