//! HTTP/2 connections: each is one task, with all of its streams in it.
//!
//! A game's streams are woken together, once a tick. Where each stream is a task of its own, as in hyper, each of them wakes the
//! connection's task, which writes what there is: a hundred players behind an edge cost a hundred wake-ups and writes. Here a
//! tick wakes the connection once; it polls the streams that have something to say, and what they said leaves in one write.
//! And streams that last read what their peer sends even while it takes nothing ([`Direct`]).
//!
//! The protocol itself is the `h2` crate's.

mod abandoned;
mod call;
mod calls;
mod direct;
mod keep_alive;
mod wakeup;
mod whole;

pub use call::RequestBody;
pub use direct::{Answers, Direct, Piece, StandIn};

use crate::intake::Intake;
use crate::seldom::Seldom;
use crate::telemetry::metrics::connections::{Connections, Ended};
use crate::turn::Turn;
use abandoned::Abandoned;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use call::{Answer, End, Lasting};
use calls::{Calls, Polled};
use direct::Layered;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Extensions, Request};
use keep_alive::{Beat, KeepAlive};
use prometheus_client::metrics::counter::Counter;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, timeout};
use tokio_util::sync::CancellationToken;
use wakeup::{Due, Wakeup};
use whole::{Ration, Whole};

/// What a peer may send before it is read, per stream: moves are small, and are read at once. A connection takes as much for
/// each of its streams, so that those whose reader stalls cannot use up what the others need.
const STREAM_WINDOW_BYTES: u32 = 16 * 1024;
/// How much larger a connection's window is than those of its streams together, which are what bounds it. h2 gives small
/// frames that wait a budget of half the connection's window, and ends a connection that uses it up.
const SMALL_FRAMES_FACTOR: u32 = 8;
/// What may wait in memory to be sent, per stream.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Of a request, unpacked and with 32 for each header. Who sends four times as much, or more `CONTINUATION` frames than that takes, is
/// cut off.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// The same from a proxy, which may let in 60 KiB (Envoy does) and adds its own: what one of its clients sends must not cost the
/// others the connection.
const PROXY_HEADER_BYTES_MAX: u32 = 96 * 1024;
/// How many streams may be given up before they were looked at. A ration of what is read holds fewer of a proxy's, whose clients may all
/// give up at once.
const RESETS_PENDING_MAX: usize = 20;
const PROXY_RESETS_PENDING_MAX: usize = 8 * 1024;
/// How much small frames that nobody read may cost a connection in its whole life: of a proxy's connection without end, since what was under way
/// to streams that are over is never given back. Of those that are open, each has its window.
const PROXY_SMALL_FRAMES_MAX: usize = usize::MAX;
/// How many streams may break the rules of HTTP/2 before the connection ends, in its whole life. Of a proxy's connection each may be
/// another client's.
const BROKEN_STREAMS_MAX: usize = 1024;
/// For how long frames may come that were on their way to a stream that was given up here; so many streams are remembered as may be open.
const RESET_REMEMBERED: Duration = Duration::from_secs(2);
/// How long a connection's beginning may take.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may take nothing of an answer, unless it goes on playing meanwhile.
const ANSWER_STALLED_MAX: Duration = Duration::from_secs(30);
/// From when on an answer lasts.
const LASTS_FROM: Duration = Duration::from_secs(1);
/// How long a connection may take to finish once the server ends; whoever takes no bytes is cut off then.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Somebody who pays for what it does with its own connection.
    Client,
    /// A proxy or another server: a connection carries streams of many, and what one of them does must not end those of others.
    Proxy,
}

/// What is agreed on with each peer.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    builder: Builder,
    peer: Peer,
    streams_per_connection_max: u32,
}

impl Settings {
    pub(crate) fn new(streams_per_connection_max: u32, peer: Peer) -> Self {
        let mut builder = Builder::new();
        // HTTP/2 has no larger windows.
        let connection_window_bytes = STREAM_WINDOW_BYTES
            .saturating_mul(SMALL_FRAMES_FACTOR)
            .saturating_mul(streams_per_connection_max)
            .min(i32::MAX as u32);
        let (header_bytes_max, resets_pending_max, broken_streams_max) = match peer {
            Peer::Client => (HEADER_BYTES_MAX, RESETS_PENDING_MAX, Some(BROKEN_STREAMS_MAX)),
            Peer::Proxy => (PROXY_HEADER_BYTES_MAX, PROXY_RESETS_PENDING_MAX, None),
        };
        builder
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(connection_window_bytes)
            .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
            .max_concurrent_streams(streams_per_connection_max)
            .max_header_list_size(header_bytes_max)
            .max_pending_accept_reset_streams(resets_pending_max)
            .max_local_error_reset_streams(broken_streams_max)
            .max_concurrent_reset_streams(streams_per_connection_max as usize)
            .reset_stream_duration(RESET_REMEMBERED);
        if peer == Peer::Proxy {
            builder.data_frame_budget(PROXY_SMALL_FRAMES_MAX);
        }
        Self { builder, peer, streams_per_connection_max }
    }
}

/// A call from its request to the end of its answer; it cannot fail as far as the connection is concerned.
enum Call {
    /// Until it is answered. What is answered by another task is answered when this ends.
    Asked(BoxFuture<'static, Result<Lasting, End>>),
    /// Here and not in a box of its own: it is looked at tick after tick.
    Lasts(Lasting),
}

impl Polled for Call {
    type Output = End;

    fn poll(&mut self, turn: &mut Turn<'_>) -> Poll<End> {
        if let Self::Asked(asked) = self {
            match ready!(asked.poll_unpin(&mut turn.context)) {
                Ok(lasting) => *self = Self::Lasts(lasting),
                Err(end) => return Poll::Ready(end),
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
    counts: &Connections,
    stop: CancellationToken,
) -> Ended {
    let ration = Ration::new();
    // In boxes: each is kept only while it is needed, and is not copied with the task.
    let handshake = settings.builder.handshake::<_, Bytes>(Whole::new(io, ration.clone()));
    let connection = match timeout(PREFACE_TIMEOUT, Box::pin(handshake)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return ended_by(&error),
        Err(_) => return Ended::Silent,
    };
    let abandoned = Abandoned::new(settings.streams_per_connection_max, counts.given_up.clone());
    let wakeup = Wakeup::new();
    let mut driver = Box::new(Driver {
        connection,
        router,
        with,
        calls: Calls::new(wakeup.of_calls()),
        keep_alive: None,
        ration,
        intake: Intake::new(),
        abandoned,
        not_taken: counts.not_taken.clone(),
        is_proxy: settings.peer == Peer::Proxy,
    });
    driver.keep_alive = driver.connection.ping_pong().map(KeepAlive::new);
    let mut stopped = Seldom::new(Box::pin(async move { stop.cancelled().await }));
    let served = poll_fn(|context| {
        wakeup.rounds(context, |mut due| {
            let stops = due.transport.as_mut().map(|context| stopped.poll_unpin(context));
            if stops.is_some_and(|stops| stops.is_ready()) {
                return Poll::Ready(Err(Ended::Shutdown));
            }
            driver.poll(due)
        })
    });
    let why = match served.await {
        Ok(ended) => return ended,
        Err(why) => why,
    };
    match why {
        Ended::Flood => driver.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
        _ => driver.connection.graceful_shutdown(),
    }
    wakeup.look();
    let ending = poll_fn(|context| wakeup.rounds(context, |due| driver.poll(due)));
    // Whoever takes no bytes is not waited for.
    let _ = timeout(LINGER, ending).await;
    why
}

/// What an error of h2 says of the connection's end.
fn ended_by(error: &h2::Error) -> Ended {
    tracing::debug!(%error, "a connection broke");
    if error.is_io() || error.is_remote() {
        return Ended::Gone;
    }
    match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => Ended::Flood,
        Some(Reason::NO_ERROR) => Ended::Closed,
        _ => Ended::Protocol,
    }
}

struct Driver<T> {
    connection: Connection<T, Bytes>,
    router: Router,
    with: Extensions,
    calls: Calls<Call>,
    keep_alive: Option<KeepAlive>,
    ration: Ration,
    intake: Intake,
    abandoned: Abandoned,
    not_taken: Counter,
    is_proxy: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// One round: reads, and writes what was queued; then the streams, which may queue more. `Err`: why it has to be ended.
    fn poll(&mut self, mut due: Due<'_>) -> Poll<Result<Ended, Ended>> {
        if let Some(mut context) = due.transport.take() {
            let read_bytes = self.ration.renew();
            // Of a proxy, each may be another client's.
            if !self.is_proxy && self.intake.is_too_much_with(read_bytes) {
                return Poll::Ready(Err(Ended::Flood));
            }
            loop {
                match self.connection.poll_accept(&mut context) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let (router, with) = (self.router.clone(), self.with.clone());
                        let asked = ask(router, self.not_taken.clone(), with, request, respond);
                        self.calls.push(Call::Asked(asked.boxed()));
                        // It has not been looked at yet, and so cannot ask for it.
                        due.calls = true;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Ok(ended_by(&error))),
                    Poll::Ready(None) => return Poll::Ready(Ok(self.ended_in_order())),
                    Poll::Pending => break,
                }
            }
            if let Some(keep_alive) = &mut self.keep_alive {
                match keep_alive.poll(&mut context, self.calls.is_empty()) {
                    Beat::Fine => {}
                    Beat::Idle => self.connection.graceful_shutdown(),
                    Beat::Gone if keep_alive.found_idle() => return Poll::Ready(Ok(Ended::Idle)),
                    Beat::Gone => return Poll::Ready(Ok(Ended::NoPong)),
                }
            }
        }
        let mut given_up = 0;
        if due.calls {
            // They share a task, but each has a right to what the runtime allows a task: what bounds them is how often each is
            // polled, once in a round.
            let calls = unconstrained(async {
                self.calls.poll(|end| given_up += u32::from(end == End::GivenUp));
            });
            let _ = pin!(calls).poll(&mut Context::from_waker(Waker::noop()));
        }
        if given_up > 0 && self.abandoned.is_too_much_with(given_up) && !self.is_proxy {
            return Poll::Ready(Err(Ended::Flood));
        }
        Poll::Pending
    }

    fn ended_in_order(&self) -> Ended {
        let is_idle = self.keep_alive.as_ref().is_some_and(KeepAlive::found_idle);
        if is_idle { Ended::Idle } else { Ended::Closed }
    }
}

/// Has a request answered. Whoever answers has a task of its own, so that what takes its time does not hold up the players of
/// the same connection; an answer that lasts is given back, for the connection's own task.
async fn ask(
    router: Router,
    not_taken: Counter,
    with: Extensions,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<Lasting, End> {
    let (head, body) = request.into_parts();
    let has_whole_request = body.is_end_stream();
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
    let answered = spawned("call", answering).await.ok_or(End::Answered)?;
    let (response, respond) = answered.ok_or(End::GivenUp)?;
    if let Some(answers) = direct.take_answers() {
        return Lasting::begin(respond, response, answers, direct);
    }
    let answer = Answer::begin(respond, response, has_whole_request)?;
    let written = spawned("answer", written(answer, not_taken, direct.clone())).await;
    // As late as this: as long as the request is there, h2 looks whether the rest of it is right.
    drop(direct);
    Err(written.unwrap_or(End::Answered))
}

/// Until it is written, or its peer took nothing of it for too long. (Streams that last look to that themselves.)
async fn written(mut answer: Answer, not_taken: Counter, direct: Direct) -> End {
    let mut held_up: Option<(u64, Pin<Box<Sleep>>)> = None;
    let mut short: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if let Poll::Ready(end) = answer.poll(context) {
            return Poll::Ready(end);
        }
        let short = short.get_or_insert_with(|| Box::pin(tokio::time::sleep(LASTS_FROM)));
        if !short.is_elapsed() && short.poll_unpin(context).is_ready() {
            direct.lasts();
        }
        let Some(pieces) = answer.held_up_after() else {
            held_up = None;
            return Poll::Pending;
        };
        let (_, deadline) = match &mut held_up {
            Some(since) if since.0 == pieces => since,
            since => since.insert((pieces, Box::pin(tokio::time::sleep(ANSWER_STALLED_MAX)))),
        };
        ready!(deadline.poll_unpin(context));
        not_taken.inc();
        answer.cut_off();
        Poll::Ready(End::Answered)
    })
    .await
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
