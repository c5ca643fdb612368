//! Streams that last, and are polled by their connection's task itself.
//!
//! Between a connection and a service are layers, and each wraps the body: a box and a jump for each of them, at each tick and for
//! each move, and the memory that they lie in is cold each time. A stream of which there are thousands goes past them: the service
//! takes the request's bytes, and leaves what answers, here; only how the stream ended goes through the layers, which count it.

use super::call::RequestBody;
use crate::turn::Turn;
use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// What answers a request for as long as its stream lasts.
pub trait Answers: Send {
    /// What comes next. While `may_write` is false the peer takes nothing: then there is no [`Piece::Data`], but what the peer sends
    /// is read all the same.
    fn poll_next(&mut self, turn: &mut Turn<'_>, may_write: bool) -> Poll<Piece>;

    /// Whether it reads the request just now, and so hears that the peer has gone.
    fn reads(&self) -> bool;
}

/// A piece of an answer.
#[derive(Debug)]
pub enum Piece {
    /// Some bytes.
    Data(Bytes),
    /// The end, and how it ended.
    Trailers(HeaderMap),
    /// The peer has gone: nobody wants an end.
    Gone,
}

/// Goes with each request that came by HTTP/2.
#[derive(Clone)]
pub struct Direct(Arc<Mutex<Slot>>);

struct Slot {
    request: Option<RequestBody>,
    /// Nobody reads it through the layers any more.
    is_unread: bool,
    /// Its answer lasts.
    is_long: bool,
    answers: Option<Box<dyn Answers>>,
    trailers: Option<Box<HeaderMap>>,
}

impl Direct {
    pub(super) fn new(request: RequestBody) -> Self {
        let slot = Slot {
            request: Some(request),
            is_unread: false,
            is_long: false,
            answers: None,
            trailers: None,
        };
        Self(Arc::new(Mutex::new(slot)))
    }

    /// The request's bytes, past what the layers made of them. Once.
    pub fn take_request(&self) -> Option<RequestBody> {
        self.slot().request.take()
    }

    /// Has the connection's task poll this. What is given back is to be answered with.
    pub fn answer(self, answers: Box<dyn Answers>) -> StandIn {
        self.slot().answers = Some(answers);
        StandIn(self)
    }

    /// What nobody reads h2 is not to keep for as long as the answer lasts. Where the answer is short, the request stays: so h2 sees what is wrong
    /// with its end.
    pub(super) fn lasts(&self) {
        let mut slot = self.slot();
        slot.is_long = true;
        drop(slot.let_go_if_unread());
    }

    pub(super) fn take_answers(&self) -> Option<Box<dyn Answers>> {
        self.slot().answers.take()
    }

    /// What the stand-in says next.
    pub(super) fn end(&self, trailers: HeaderMap) {
        self.slot().trailers = Some(Box::new(trailers));
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn let_go_if_unread(&mut self) -> Option<RequestBody> {
        self.request.take_if(|_| self.is_unread && self.is_long)
    }
}

/// What the layers see of a request's bytes.
pub(super) struct Layered(pub(super) Direct);

impl Drop for Layered {
    fn drop(&mut self) {
        let mut slot = self.0.slot();
        slot.is_unread = true;
        drop(slot.let_go_if_unread());
    }
}

impl Body for Layered {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match &mut self.0.slot().request {
            Some(request) => Pin::new(request).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.slot().request.as_ref().is_none_or(Body::is_end_stream)
    }
}

/// What the layers see of an answer that goes past them: how it ended.
pub struct StandIn(Direct);

impl Body for StandIn {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Who polls it without having ended it has not understood; there is nobody to wake.
        let trailers = self.0.slot().trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))))
    }
}
