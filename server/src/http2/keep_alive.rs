//! Whether the peer is there, and whether it wants anything.

use crate::seldom::Seldom;
use futures_util::FutureExt as _;
use h2::{Ping, PingPong};
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A peer that does not answer pings is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a connection may be without any stream, in such intervals: five minutes.
const IDLE_INTERVALS_MAX: u32 = 15;

pub(super) struct KeepAlive {
    ping_pong: PingPong,
    due: Seldom<Sleep>,
    is_waiting: bool,
    idle_intervals: u32,
}

/// What is to be done about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Fine,
    /// It wants nothing: it is to be told to go.
    Idle,
    Gone,
}

impl KeepAlive {
    pub(super) fn new(ping_pong: PingPong) -> Self {
        let due = Seldom::new(Box::pin(tokio::time::sleep(KEEP_ALIVE_INTERVAL)));
        Self { ping_pong, due, is_waiting: false, idle_intervals: 0 }
    }

    /// Whether the peer was told to go because it wanted nothing.
    pub(super) fn found_idle(&self) -> bool {
        self.idle_intervals >= IDLE_INTERVALS_MAX
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>, is_idle: bool) -> Beat {
        if self.is_waiting && self.ping_pong.poll_pong(context).is_ready() {
            self.is_waiting = false;
        }
        if !is_idle {
            self.idle_intervals = 0;
        }
        let mut beat = Beat::Fine;
        // Looked at until it waits again: what was not looked at since it was changed wakes nobody.
        while self.due.poll_unpin(context).is_ready() {
            if self.is_waiting {
                tracing::debug!("a peer does not answer pings");
                return Beat::Gone;
            }
            self.idle_intervals += u32::from(is_idle);
            let next = Instant::now() + KEEP_ALIVE_INTERVAL;
            self.due.renew(|due| due.reset(next));
            if self.idle_intervals == IDLE_INTERVALS_MAX {
                beat = Beat::Idle;
            } else if self.idle_intervals > IDLE_INTERVALS_MAX {
                tracing::debug!("an idle peer was told to go, and stays");
                return Beat::Gone;
            }
            // It fails only while another is on its way.
            self.is_waiting = self.ping_pong.send_ping(Ping::opaque()).is_ok();
        }
        beat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;
    use tokio::io::duplex;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What is to be done about a peer, and after how many seconds, within an hour.
    async fn beats(answers: bool, is_idle: bool) -> Vec<(Beat, u64)> {
        let (near, far) = duplex(1 << 16);
        let (server, client) =
            tokio::join!(h2::server::handshake(near), h2::client::handshake(far));
        let mut server: h2::server::Connection<_, bytes::Bytes> = server.expect("begun");
        let (_requests, client) = client.expect("begun");
        // Its own side of the connection answers pings, for as long as somebody polls it.
        let mut polled = JoinSet::new();
        let _held = if answers {
            polled.spawn(async move { drop(client.await) });
            None
        } else {
            Some(client)
        };
        let began = Instant::now();
        let mut keep_alive = KeepAlive::new(server.ping_pong().expect("the first"));
        let mut beats = Vec::new();
        let looked_at = poll_fn(|context| {
            assert!(server.poll_closed(context).is_pending());
            let beat = keep_alive.poll(context, is_idle);
            if beat != Beat::Fine {
                beats.push((beat, began.elapsed().as_secs()));
            }
            if beat == Beat::Gone { Poll::Ready(()) } else { Poll::Pending }
        });
        let ended = timeout(HOUR, looked_at).await;
        assert_eq!(ended.is_ok(), beats.last().is_some_and(|(beat, _)| *beat == Beat::Gone));
        beats
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_and_has_a_stream_stays() {
        assert!(beats(true, false).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_is_gone_whatever_it_has() {
        for is_idle in [false, true] {
            assert_eq!(beats(false, is_idle).await, [(Beat::Gone, 40)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_wants_nothing_is_told_to_go_once_and_then_is_gone() {
        assert_eq!(beats(true, true).await, [(Beat::Idle, 300), (Beat::Gone, 320)]);
    }
}
