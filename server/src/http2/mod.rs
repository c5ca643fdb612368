//! HTTP/2 connections: each is one task, with all of its streams in it.
//!
//! A game's streams are woken together, once a tick. Where each stream is a task of its own, as in hyper, each of them wakes the
//! connection's task, which writes what there is: a hundred players behind an edge cost a hundred wake-ups and writes. Here a
//! tick wakes the connection once; it polls the streams that have something to say, and what they said leaves in one write.
//! And streams that last read what their peer sends even while it takes nothing ([`Direct`]).
//!
//! The protocol itself is the `h2` crate's.

mod call;
mod calls;
mod direct;
mod wakeup;
mod whole;

pub use call::RequestBody;
pub use direct::{Answers, Direct, Piece, StandIn};

use crate::seldom::Seldom;
use crate::turn::Turn;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use call::{Answer, Lasting};
use calls::{Calls, Polled};
use direct::Layered;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::{Extensions, Request};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::sync::CancellationToken;
use wakeup::{Due, Wakeup};
use whole::Whole;

/// What a peer may send before it is read, per stream: moves are small, and are read at once. A connection takes as much for
/// each of its streams, so that those whose reader stalls cannot use up what the others need.
const STREAM_WINDOW_BYTES: u32 = 16 * 1024;
/// How much larger a connection's window is than those of its streams together, which are what bounds it. h2 gives small
/// frames that wait a budget of half the connection's window, and ends a connection that uses it up.
const SMALL_FRAMES_FACTOR: u32 = 8;
/// What may wait in memory to be sent, per stream.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How long a connection's beginning may take.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that does not answer pings is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a connection may be without any stream, in such intervals: five minutes.
const IDLE_INTERVALS_MAX: u32 = 15;
/// How long a connection may take to finish once the server ends; whoever takes no bytes is cut off then.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// What is agreed on with each peer.
#[derive(Clone, Debug)]
pub(crate) struct Settings(Builder);

impl Settings {
    pub(crate) fn new(streams_per_connection_max: u32) -> Self {
        let mut builder = Builder::new();
        // HTTP/2 has no larger windows.
        let connection_window_bytes = STREAM_WINDOW_BYTES
            .saturating_mul(SMALL_FRAMES_FACTOR)
            .saturating_mul(streams_per_connection_max)
            .min(i32::MAX as u32);
        builder
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(connection_window_bytes)
            .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
            .max_concurrent_streams(streams_per_connection_max)
            .max_header_list_size(HEADER_BYTES_MAX);
        Self(builder)
    }
}

/// A call from its request to the end of its answer; it cannot fail as far as the connection is concerned.
enum Call {
    /// Until it is answered. What is answered by another task is answered when this ends.
    Asked(BoxFuture<'static, Option<Lasting>>),
    /// Here and not in a box of its own: it is looked at tick after tick.
    Lasts(Lasting),
}

impl Polled for Call {
    fn poll(&mut self, turn: &mut Turn<'_>) -> Poll<()> {
        if let Self::Asked(asked) = self {
            match ready!(asked.poll_unpin(&mut turn.context)) {
                Some(lasting) => *self = Self::Lasts(lasting),
                None => return Poll::Ready(()),
            }
        }
        let Self::Lasts(lasting) = self else { return Poll::Pending };
        lasting.poll(turn)
    }
}

/// Serves one connection until it ends, or until what it had begun at `stop` is finished, or has had its time. `with` goes with
/// every request.
pub(crate) async fn serve(
    settings: &Settings,
    io: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    with: Extensions,
    stop: CancellationToken,
) -> Result<(), h2::Error> {
    // In boxes: each is kept only while it is needed, and is not copied with the task.
    let handshake = Box::pin(settings.0.handshake::<_, Bytes>(Whole(io)));
    let Ok(connection) = timeout(PREFACE_TIMEOUT, handshake).await else {
        tracing::debug!("a connection did not begin in time");
        return Ok(());
    };
    let wakeup = Wakeup::new();
    let mut driver = Driver::new(connection?, router, with, wakeup.of_calls());
    let mut stopped = Seldom::new(Box::pin(async move { stop.cancelled().await }));
    let served = poll_fn(|context| {
        wakeup.rounds(context, |mut due| {
            let stops = due.transport.as_mut().map(|context| stopped.poll_unpin(context));
            if stops.is_some_and(|stops| stops.is_ready()) {
                return Poll::Ready(None);
            }
            driver.poll(due).map(Some)
        })
    });
    if let Some(served) = served.await {
        return served;
    }
    driver.connection.graceful_shutdown();
    let ending = poll_fn(|context| wakeup.rounds(context, |due| driver.poll(due)));
    timeout(LINGER, ending).await.unwrap_or_else(|_| {
        tracing::debug!("a connection did not finish in time");
        Ok(())
    })
}

struct Driver<T> {
    connection: Connection<T, Bytes>,
    router: Router,
    with: Extensions,
    calls: Calls<Call>,
    keep_alive: Option<KeepAlive>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn new(
        mut connection: Connection<T, Bytes>,
        router: Router,
        with: Extensions,
        of_calls: Waker,
    ) -> Box<Self> {
        let keep_alive = connection.ping_pong().map(KeepAlive::new);
        Box::new(Self { connection, router, with, calls: Calls::new(of_calls), keep_alive })
    }

    /// One round: reads, and writes what was queued; then the streams, which may queue more.
    fn poll(&mut self, mut due: Due<'_>) -> Poll<Result<(), h2::Error>> {
        if let Some(mut context) = due.transport.take() {
            loop {
                match self.connection.poll_accept(&mut context) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let asked = ask(self.router.clone(), self.with.clone(), request, respond);
                        self.calls.push(Call::Asked(asked.boxed()));
                        // It has not been looked at yet, and so cannot ask for it.
                        due.calls = true;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            if let Some(keep_alive) = &mut self.keep_alive {
                match keep_alive.poll(&mut context, self.calls.is_empty()) {
                    Beat::Fine => {}
                    Beat::Idle => self.connection.graceful_shutdown(),
                    Beat::Gone => return Poll::Ready(Ok(())),
                }
            }
        }
        if due.calls {
            // They share a task, but each has a right to what the runtime allows a task: what bounds them is how often each is
            // polled, once in a round.
            let calls = unconstrained(async { self.calls.poll() });
            let _ = pin!(calls).poll(&mut Context::from_waker(Waker::noop()));
        }
        Poll::Pending
    }
}

/// Has a request answered. Whoever answers has a task of its own, so that what takes its time does not hold up the players of
/// the same connection; an answer that lasts is given back, for the connection's own task.
async fn ask(
    router: Router,
    with: Extensions,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<Lasting> {
    let (head, body) = request.into_parts();
    let direct = Direct::new(RequestBody::new(body));
    let mut request = Request::from_parts(head, Body::new(Layered(direct.clone())));
    request.extensions_mut().extend(with);
    request.extensions_mut().insert(direct.clone());
    let answering = async move {
        let mut router = router;
        let response = tower::Service::call(&mut router, request);
        tokio::select! {
            Ok::<_, Infallible>(response) = response => Some((response, respond)),
            // The peer does not want it any more.
            _ = poll_fn(|context| respond.poll_reset(context)) => None,
        }
    };
    let (response, respond) = spawned("call", answering).await??;
    if let Some(answers) = direct.take_answers() {
        return Lasting::begin(respond, response, answers, direct);
    }
    let mut answer = Answer::begin(respond, response)?;
    spawned("answer", async move { poll_fn(|context| answer.poll(context)).await }).await;
    None
}

/// In a task of its own, which ends with whoever waits for it. `None`: it panicked, which is logged.
async fn spawned<T: Send + 'static>(
    name: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let mut task = JoinSet::new();
    task.spawn(work);
    match task.join_next().await? {
        Ok(done) => Some(done),
        Err(error) => {
            if error.is_panic() {
                tracing::error!(task = name, "a task panicked");
            }
            None
        }
    }
}

/// Whether the peer is there, and whether it wants anything.
struct KeepAlive {
    ping_pong: PingPong,
    due: Seldom<Sleep>,
    is_waiting: bool,
    idle_intervals: u32,
}

enum Beat {
    Fine,
    Idle,
    Gone,
}

impl KeepAlive {
    fn new(ping_pong: PingPong) -> Self {
        let due = Seldom::new(Box::pin(tokio::time::sleep(KEEP_ALIVE_INTERVAL)));
        Self { ping_pong, due, is_waiting: false, idle_intervals: 0 }
    }

    fn poll(&mut self, context: &mut Context<'_>, is_idle: bool) -> Beat {
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
            }
            // It fails only while another is on its way.
            self.is_waiting = self.ping_pong.send_ping(Ping::opaque()).is_ok();
        }
        beat
    }
}
