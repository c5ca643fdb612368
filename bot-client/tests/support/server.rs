//! The room behind the client's `Server` trait: streams in memory, ticks by tokio's clock.

use super::room::{Faults, RATE_HZ, Room, Stream, encode};
use bytes::Bytes;
use fray_bot::client::Ended;
use fray_bot::client::transport::{Answer, Link, Message, Server};
use fray_proto::v1;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::PollSender;
use v1::play_request::Message as Request;

/// Messages on their way to a client that does not read.
const QUEUED_MAX: usize = 4;

/// A server in memory. Its room ticks while [`FakeServer::run`] is polled.
#[derive(Clone)]
pub struct FakeServer {
    room: Arc<Mutex<Room>>,
    ticks: watch::Sender<u32>,
    streams: Arc<Mutex<JoinSet<()>>>,
    /// What `join` answers instead of a seat.
    pub refuse: Option<Ended>,
    /// No tick happens in this span of time, and the missed ones follow at once.
    pub pause: Option<(Duration, Duration)>,
}

impl FakeServer {
    pub fn new(faults: Faults) -> Self {
        Self {
            room: Arc::new(Mutex::new(Room::new(faults))),
            ticks: watch::channel(0).0,
            streams: Arc::default(),
            refuse: None,
            pause: None,
        }
    }

    pub fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().expect("no test panics while it holds the room")
    }

    /// Ticks for ever.
    pub async fn run(&self) {
        let started = Instant::now();
        let mut ticker = interval(Duration::from_secs(1) / RATE_HZ);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            ticker.tick().await;
            if let Some((from, to)) = self.pause
                && (from..to).contains(&started.elapsed())
            {
                sleep_until(started + to).await;
            }
            let tick = {
                let mut room = self.room();
                room.now_ms = started.elapsed().as_millis() as u64;
                room.step();
                room.tick
            };
            self.ticks.send_replace(tick);
            // Let the streams see this tick before the next one, also when it catches up.
            tokio::task::yield_now().await;
        }
    }
}

impl Server for FakeServer {
    fn join(&self, request: v1::JoinRequest) -> Answer<v1::JoinResponse> {
        if let Some(refuse) = self.refuse.clone() {
            return Box::pin(async { Err(refuse) });
        }
        let ticket = match request.resume_token.as_str() {
            "" => self.room().join(),
            token => token.replace("token", "ticket"),
        };
        let room = Some(v1::Room { room_id: "fake".into(), ..v1::Room::default() });
        Box::pin(async { Ok(v1::JoinResponse { ticket, room, ..v1::JoinResponse::default() }) })
    }

    fn play(&self, _ticket: &str) -> Answer<Link> {
        let (requests, incoming) = mpsc::channel(16);
        let (outgoing, messages) = mpsc::channel::<Bytes>(QUEUED_MAX);
        let server = self.clone();
        let mut streams = self.streams.lock().expect("no test panics while it holds the streams");
        streams.spawn(async move { server.serve(incoming, outgoing).await });
        let gone = |_| Ended::broken("the fake server is gone");
        let requests = Box::pin(PollSender::new(requests).sink_map_err(gone));
        let messages = stream::unfold(messages, |mut messages| async {
            let bytes = messages.recv().await?;
            Some((Ok(Message { bytes, framing: 5 }), messages))
        });
        Box::pin(async { Ok(Link { requests, messages: messages.boxed() }) })
    }
}

impl FakeServer {
    async fn serve(&self, mut incoming: mpsc::Receiver<v1::PlayRequest>, out: mpsc::Sender<Bytes>) {
        let Some(v1::PlayRequest { message: Some(Request::Hello(hello)) }) = incoming.recv().await
        else {
            return;
        };
        let opened = self.room().open(&hello);
        let Some((mut stream, welcome)) = opened else {
            return;
        };
        if out.send(encode(&welcome)).await.is_err() {
            return;
        }
        let mut ticks = self.ticks.subscribe();
        loop {
            tokio::select! {
                biased;
                request = incoming.recv() => match request {
                    Some(request) => self.room().receive(&mut stream, request),
                    None if has_left(&stream) => {
                        let last = self.room().update(&mut stream);
                        if let Some(last) = last {
                            let _ = out.send(encode(&last)).await;
                        }
                        if stream.ended {
                            return;
                        }
                        if ticks.changed().await.is_err() {
                            return;
                        }
                    }
                    None => return self.room().drop_stream(&stream),
                },
                // A reader that does not read is waited for here; the next update then spans what it missed.
                (changed, permit) = async { (ticks.changed().await, out.reserve().await) } => {
                    let (Ok(()), Ok(permit)) = (changed, permit) else {
                        return self.room().drop_stream(&stream);
                    };
                    if let Some(update) = self.room().update(&mut stream) {
                        permit.send(encode(&update));
                    }
                    if stream.ended {
                        return;
                    }
                }
            }
        }
    }
}

fn has_left(stream: &Stream) -> bool {
    matches!(stream.requests.last(), Some(Request::Leave(_)))
}
