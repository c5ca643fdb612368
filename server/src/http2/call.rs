//! One call: its request's body, and how its answer leaves.

use super::direct::{Answers, Direct, Piece};
use crate::turn::Turn;
use axum::body::Body;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::{Body as _, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

/// How many pieces of an answer are written before the others of its connection have their turn.
const PIECES_AT_ONCE_MAX: usize = 32;

/// What a request carries.
pub struct RequestBody(RecvStream);

impl RequestBody {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self(stream)
    }
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        Poll::Ready(match ready!(self.0.poll_data(context)) {
            Some(data) => Some(data.and_then(|data| {
                // Whoever reads it bounds what it keeps.
                self.0.flow_control().release_capacity(data.len())?;
                Ok(Frame::data(data))
            })),
            // A peer that gives the stream up has not finished its request: whoever reads it is told.
            None => {
                ready!(self.0.poll_trailers(context)).map(|t| t.map(Frame::trailers)).transpose()
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// By the peer, before it had its answer.
    GivenUp,
}

/// Sends an answer's head; an end if that is all, or the peer has gone.
fn begin(
    mut respond: SendResponse<Bytes>,
    response: Response<Body>,
) -> Result<(SendStream<Bytes>, Body), End> {
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
    let is_all = body.is_end_stream();
    let sent = respond.send_response(Response::from_parts(head, ()), is_all);
    let send = sent.map_err(|_| End::GivenUp)?;
    if is_all { Err(End::Answered) } else { Ok((send, body)) }
}

/// Whether the peer takes data now. Asked for one byte: what h2 assigns beyond that to a stream, the others of its connection
/// cannot have.
fn takes_data(send: &mut SendStream<Bytes>) -> bool {
    send.reserve_capacity(1);
    send.capacity() > 0
}

/// The same, once it does; `None`: the stream has gone.
fn poll_takes_data(send: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<Option<()>> {
    loop {
        match ready!(send.poll_capacity(context)) {
            Some(Ok(0)) => {}
            Some(Ok(_)) => return Poll::Ready(Some(())),
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
}

/// How a call ends of which nothing more comes.
fn end(send: &mut SendStream<Bytes>, context: &mut Context<'_>) -> End {
    if send.poll_reset(context).is_ready() { End::GivenUp } else { End::Answered }
}

/// An answer on its way to the peer, written by a task of its own.
pub(super) struct Answer {
    send: SendStream<Bytes>,
    body: Body,
    is_open: bool,
    pieces: u64,
    has_whole_request: bool,
    /// All of it is handed over, but for its end.
    is_over: bool,
}

impl Answer {
    /// Sends its head. `has_whole_request`: the request was over before it was answered.
    pub(super) fn begin(
        respond: SendResponse<Bytes>,
        response: Response<Body>,
        has_whole_request: bool,
    ) -> Result<Self, End> {
        let (mut send, body) = begin(respond, response)?;
        let is_open = takes_data(&mut send);
        Ok(Self { send, body, is_open, pieces: 0, has_whole_request, is_over: false })
    }

    /// How many pieces its peer was ready to take, if it is not ready to take another.
    pub(super) fn held_up_after(&self) -> Option<u64> {
        (!self.is_open).then_some(self.pieces)
    }

    /// Nobody waits for the rest.
    pub(super) fn cut_off(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }

    /// Writes what there is; ready when there will be no more.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        for _ in 0..PIECES_AT_ONCE_MAX {
            if !self.is_open {
                if ready!(poll_takes_data(&mut self.send, context)).is_none() {
                    return Poll::Ready(End::GivenUp);
                }
                self.is_open = true;
            }
            if self.is_over {
                return Poll::Ready(self.finish());
            }
            let Poll::Ready(piece) = Pin::new(&mut self.body).poll_frame(context) else {
                return self.send.poll_reset(context).map(|_| End::GivenUp);
            };
            self.pieces += 1;
            if let Some(end) = self.write(piece, context) {
                return Poll::Ready(end);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// An end: there is no more to come.
    fn write(
        &mut self,
        piece: Option<Result<Frame<Bytes>, axum::Error>>,
        context: &mut Context<'_>,
    ) -> Option<End> {
        let frame = match piece {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let end = end(&mut self.send, context);
                tracing::debug!(%error, "an answer breaks off");
                self.send.send_reset(Reason::INTERNAL_ERROR);
                return Some(end);
            }
            None => return Some(self.finish()),
        };
        let mut is_last = !frame.is_data() || self.body.is_end_stream();
        let sent = match frame.into_data() {
            Ok(data) => {
                // What the peer has no window for stays with h2. If the request is not over either, h2 (0.4.20) would reset the stream
                // once all is sent; and if the peer gives it up before that, h2 counts it as open for as long as the connection is
                // there. So this goes on until the peer takes all of it.
                self.is_over = is_last;
                is_last &= self.has_whole_request || data.len() <= self.send.capacity();
                self.send.send_data(data, is_last)
            }
            Err(frame) => self.send.send_trailers(frame.into_trailers().unwrap_or_default()),
        };
        if sent.is_err() {
            return Some(End::GivenUp);
        }
        if is_last {
            return Some(End::Answered);
        }
        self.is_open = takes_data(&mut self.send);
        None
    }

    fn finish(&mut self) -> End {
        let sent = self.send.send_data(Bytes::new(), true);
        if sent.is_ok() { End::Answered } else { End::GivenUp }
    }
}

/// A stream that lasts: written, and read, by its connection's task, together with the others that a tick has woken.
pub(super) struct Lasting {
    send: SendStream<Bytes>,
    answers: Box<dyn Answers>,
    direct: Direct,
    /// What the layers made of the stand-in.
    body: Body,
    is_open: bool,
}

impl Lasting {
    pub(super) fn begin(
        respond: SendResponse<Bytes>,
        response: Response<Body>,
        answers: Box<dyn Answers>,
        direct: Direct,
    ) -> Result<Self, End> {
        let (mut send, body) = begin(respond, response)?;
        let is_open = takes_data(&mut send);
        Ok(Self { send, answers, direct, body, is_open })
    }

    /// Reads what came, and writes what there is; ready when there will be no more.
    pub(super) fn poll(&mut self, turn: &mut Turn<'_>) -> Poll<End> {
        for _ in 0..PIECES_AT_ONCE_MAX {
            if !self.is_open
                && let Poll::Ready(takes) = poll_takes_data(&mut self.send, &mut turn.context)
            {
                self.is_open = takes.is_some();
                if !self.is_open {
                    return Poll::Ready(End::GivenUp);
                }
            }
            match self.answers.poll_next(turn, self.is_open) {
                Poll::Ready(Piece::Data(data)) => {
                    if self.send.send_data(data, false).is_err() {
                        return Poll::Ready(End::GivenUp);
                    }
                    self.is_open = takes_data(&mut self.send);
                }
                Poll::Ready(Piece::Trailers(trailers)) => {
                    return Poll::Ready(self.end(trailers, &mut turn.context));
                }
                Poll::Ready(Piece::Gone) => return Poll::Ready(End::GivenUp),
                Poll::Pending if self.answers.reads() => return Poll::Pending,
                Poll::Pending => {
                    return self.send.poll_reset(&mut turn.context).map(|_| End::GivenUp);
                }
            }
        }
        turn.context.waker().wake_by_ref();
        Poll::Pending
    }

    fn end(&mut self, trailers: HeaderMap, context: &mut Context<'_>) -> End {
        let end = end(&mut self.send, context);
        self.direct.end(trailers);
        let last = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(last))) = last else { return end };
        if self.is_open {
            // The peer may have gone.
            let _ = self.send.send_trailers(last.into_trailers().unwrap_or_default());
        } else {
            // They would wait behind what the peer does not take.
            self.send.send_reset(Reason::CANCEL);
        }
        end
    }
}
