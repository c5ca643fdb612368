//! One call: its request's body, and how its answer leaves.

use axum::body::Body;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Response, header};
use hyper::body::{Body as _, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

/// How many pieces of an answer are written before the others of its connection have their turn.
const PIECES_AT_ONCE_MAX: usize = 32;

/// What a request carries.
pub(super) struct RequestBody {
    stream: RecvStream,
    window: Window,
}

impl RequestBody {
    pub(super) fn new(stream: RecvStream, window: Window) -> Self {
        Self { stream, window }
    }
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.stream.poll_data(context)) {
            Some(Ok(data)) => {
                // Whoever reads it bounds what it keeps.
                let released = self.stream.flow_control().release_capacity(data.len());
                Poll::Ready(Some(released.map(|()| Frame::data(data))))
            }
            // A peer that gives the stream up has not finished its request: whoever reads it is told.
            Some(Err(error)) => {
                self.window.0.store(GONE, Ordering::Relaxed);
                Poll::Ready(Some(Err(error)))
            }
            None => match ready!(self.stream.poll_trailers(context)) {
                Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
                Err(error) => {
                    self.window.0.store(GONE, Ordering::Relaxed);
                    Poll::Ready(Some(Err(error)))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

const SHUT: u8 = 0;
const OPEN: u8 = 1;
const GONE: u8 = 2;

/// Goes with a request: whether the peer takes any more of the answer. A body that is marked with [`Attentive`] and asks this before
/// it gives data is polled even while the peer takes nothing, so that it can go on reading what the peer sends.
#[derive(Clone, Debug)]
pub struct Window(Arc<AtomicU8>);

impl Window {
    pub(super) fn open() -> Self {
        Self(Arc::new(AtomicU8::new(OPEN)))
    }

    /// Whether data may be given now.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OPEN
    }

    /// Whether the peer has given the stream up, or the connection is gone: nobody will read an answer.
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == GONE
    }

    fn set(&self, is_open: bool) {
        if !self.is_gone() {
            self.0.store(if is_open { OPEN } else { SHUT }, Ordering::Relaxed);
        }
    }
}

/// Marks a response whose body looks at its [`Window`].
#[derive(Clone, Copy, Debug)]
pub struct Attentive;

/// An answer on its way to the peer.
pub(super) struct Answer {
    send: SendStream<Bytes>,
    body: Body,
    window: Window,
    is_attentive: bool,
    is_open: bool,
}

impl Answer {
    /// Sends the head; `None` if that is all, or the peer has gone.
    pub(super) fn begin(
        mut respond: SendResponse<Bytes>,
        response: Response<Body>,
        window: Window,
    ) -> Option<Self> {
        let (mut head, body) = response.into_parts();
        if !head.headers.contains_key(header::DATE)
            && let Ok(now) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()))
        {
            head.headers.insert(header::DATE, now);
        }
        if let Some(length) = SizeHint::exact(&body.size_hint())
            && !head.headers.contains_key(header::CONTENT_LENGTH)
        {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let is_attentive = head.extensions.get::<Attentive>().is_some();
        let is_all = body.is_end_stream();
        let send = respond.send_response(Response::from_parts(head, ()), is_all).ok()?;
        let mut answer = Self { send, body, window, is_attentive, is_open: false };
        answer.ask_for_capacity();
        (!is_all).then_some(answer)
    }

    /// Whether it may last, and is best woken together with the others of its connection.
    pub(super) fn is_attentive(&self) -> bool {
        self.is_attentive
    }

    /// Writes what there is; ready when there will be no more.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..PIECES_AT_ONCE_MAX {
            if !self.is_open {
                match self.send.poll_capacity(context) {
                    Poll::Ready(Some(Ok(0))) => continue,
                    Poll::Ready(Some(Ok(_))) => self.is_open = true,
                    // The stream has gone.
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending if self.is_attentive => {}
                    Poll::Pending => return Poll::Pending,
                }
                self.window.set(self.is_open);
            }
            let piece = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(piece) => piece,
                // Who reads its request hears there that the peer has given up.
                Poll::Pending if self.window.is_gone() => return Poll::Ready(()),
                Poll::Pending if self.is_attentive => return Poll::Pending,
                Poll::Pending => return self.send.poll_reset(context).map(drop),
            };
            if !self.write(piece) {
                return Poll::Ready(());
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// For one byte: what h2 assigns beyond that to a stream, the others of its connection cannot have.
    fn ask_for_capacity(&mut self) {
        self.send.reserve_capacity(1);
        self.is_open = self.send.capacity() > 0;
        self.window.set(self.is_open);
    }

    /// Says whether there is more to come.
    fn write(&mut self, piece: Option<Result<Frame<Bytes>, axum::Error>>) -> bool {
        let frame = match piece {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(%error, "an answer breaks off");
                self.send.send_reset(Reason::INTERNAL_ERROR);
                return false;
            }
            None => {
                // The peer may have gone.
                let _ = self.send.send_data(Bytes::new(), true);
                return false;
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let is_last = self.body.is_end_stream();
                if self.send.send_data(data, is_last).is_err() || is_last {
                    return false;
                }
                self.ask_for_capacity();
                true
            }
            Err(frame) => {
                if self.is_open {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    // The peer may have gone.
                    let _ = self.send.send_trailers(trailers);
                } else {
                    // It would wait behind what the peer does not take.
                    self.send.send_reset(Reason::CANCEL);
                }
                false
            }
        }
    }
}
