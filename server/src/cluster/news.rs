//! What operators are told of rooms that move or are lost, where somebody passes it on. Nobody who tells waits.

use crate::room::RoomId;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

/// The most news that wait to be passed on; what comes beyond is counted and dropped. A drain tells of each of its rooms.
pub const NEWS_WAITING_MAX: usize = 1024;

/// Something that happened to rooms of this server, or of one that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// This server gives its rooms away and ends.
    DrainBegan {
        /// Rooms that it has.
        rooms: u32,
        /// Players in them.
        players: u32,
    },
    /// It has given away what it could.
    DrainEnded {
        /// Rooms that play on elsewhere.
        moved: u32,
        /// Rooms that wait in the store.
        parked: u32,
        /// Rooms that came to neither.
        failed: u32,
        /// How long it took.
        took_ms: u64,
    },
    /// A room plays on elsewhere.
    RoomMoved {
        /// Which.
        room: RoomId,
        /// The server that has it now, by its name.
        to: String,
        /// Players in it.
        players: u32,
        /// How long it stood still.
        gap_ms: u64,
    },
    /// A room whose server was gone plays here, from a checkpoint.
    RoomRestored {
        /// Which.
        room: RoomId,
        /// How old the checkpoint is: what was played since is lost.
        age_ms: u64,
    },
    /// Nobody runs a room any more.
    RoomLost {
        /// Which.
        room: RoomId,
        /// Why, as its players are told.
        why: String,
    },
}

/// Tells news. Cheap to clone; the default tells nobody.
#[derive(Clone, Debug, Default)]
pub struct NewsSender(Option<(mpsc::Sender<News>, Counter)>);

impl NewsSender {
    /// Tells; never waits.
    pub fn tell(&self, news: News) {
        if let Some((queue, dropped)) = &self.0
            && queue.try_send(news).is_err()
        {
            dropped.inc();
        }
    }
}

/// Where news come out.
#[derive(Debug)]
pub struct NewsReceiver(mpsc::Receiver<News>);

impl NewsReceiver {
    /// The next; `None`: there will be no more.
    pub async fn next(&mut self) -> Option<News> {
        self.0.recv().await
    }

    /// The next, if there is one already.
    pub fn next_waiting(&mut self) -> Option<News> {
        self.0.try_recv().ok()
    }
}

/// A queue of news, and what counts those that it had no place for.
pub fn queue(dropped: Counter) -> (NewsSender, NewsReceiver) {
    let (send, receive) = mpsc::channel(NEWS_WAITING_MAX);
    (NewsSender(Some((send, dropped))), NewsReceiver(receive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_that_find_no_place_are_counted_and_nobody_waits() {
        let dropped = Counter::default();
        let (sender, mut receiver) = queue(dropped.clone());
        let began = |rooms| News::DrainBegan { rooms, players: 0 };
        for rooms in 0..NEWS_WAITING_MAX as u32 + 3 {
            sender.tell(began(rooms));
        }
        assert_eq!(dropped.get(), 3);
        assert_eq!(receiver.next().await, Some(began(0)), "the oldest come first");
        drop(sender);
        NewsSender::default().tell(began(0));
    }
}
