//! `fray.v1.Play`: streams whose responses are ready-framed bytes.
//!
//! tonic's codec would copy every update through a buffer per stream. Here the response's body is our own: the bytes that
//! replication made leave as they are, and the same task reads the player's moves.

use super::framing::Messages;
use crate::http2::{Answers, Direct, Piece, RequestBody};
use crate::session::lobby::RoomChoice;
use crate::session::play::{self, Entry};
use crate::session::watch_past::{self, Past};
use crate::session::{Error, Lobby};
use crate::turn::Turn;
use crate::wire;
use axum::BoxError;
use bytes::Bytes;
use fray_proto::v1;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message as _;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Code, Status};

/// The service.
#[derive(Clone)]
pub struct Service {
    lobby: Arc<Lobby>,
    /// It answers other servers.
    is_for_peers: bool,
}

impl Service {
    /// Before this lobby.
    pub fn new(lobby: Arc<Lobby>) -> Self {
        Self { lobby, is_for_peers: false }
    }

    /// The same for other servers: what they carry here goes no further.
    pub fn for_peers(lobby: Arc<Lobby>) -> Self {
        Self { lobby, is_for_peers: true }
    }

    fn entry(&self, door: &'static str, headers: &HeaderMap) -> Entry {
        Entry {
            door,
            ticket: bearer(headers),
            trace: super::trace::peer(headers),
            passed_on: self.is_for_peers,
            parse: wire::incoming,
        }
    }

    fn play(&self, request: Request<Body>) -> Response<Body> {
        if request.extensions().get::<OverGrpcWeb>().is_some() {
            self.lobby.sessions().metrics.refused(Error::UseWebSocket.reason());
            return Status::from(Error::UseWebSocket).into_http();
        }
        let entry = self.entry("grpc", request.headers());
        let direct = request.extensions().get::<Direct>().cloned();
        let taken = direct.and_then(|direct| Some((direct.take_request()?, direct)));
        let (source, direct) = match taken {
            Some((request, direct)) => (Source::Direct(request), Some(direct)),
            None => (Source::Layered(request.into_body()), None),
        };
        let messages = Messages::new(source, wire::INCOMING_BYTES_MAX);
        let moves = Moves { messages, has_begun: false, is_gone: false };
        let play = play::play(Arc::clone(&self.lobby), entry, moves);
        let body = PlayBody { play, is_over: false };
        answer(match direct {
            Some(direct) => Body::new(direct.answer(Box::new(body))),
            None => Body::new(body),
        })
    }

    async fn watch(self, request: Request<Body>) -> Response<Body> {
        let sessions = Arc::clone(self.lobby.sessions());
        let entry = self.entry("watch", request.headers());
        let mut messages = Messages::new(request.into_body(), wire::INCOMING_BYTES_MAX);
        let first = timeout(sessions.limits.hello_timeout, messages.next()).await;
        let request = match first {
            Ok(Some(Ok(message))) => v1::WatchRequest::decode(message.clone())
                .map(|request| (message, request))
                .map_err(|_| undecodable()),
            Ok(Some(Err(error))) => Err(error),
            Ok(None) => Err(Error::HelloExpected),
            Err(_) => Err(Error::HelloTimeout),
        };
        let (message, request) = match request {
            Ok(request) => request,
            Err(error) => {
                sessions.metrics.refused(error.reason());
                return Status::from(error).into_http();
            }
        };
        // A room that plays on another server has its recording there.
        let is_elsewhere = !self.is_for_peers && self.lobby.plays_elsewhere(&request.recording);
        if !request.recording.is_empty() && !is_elsewhere {
            let outgoing = watch_past::watch(sessions, past(request));
            return respond(outgoing.map(|item| item.map(wire::frame_watch)));
        }
        if is_elsewhere {
            // Whether its code fits is for that server to say.
            let outgoing = play::watch_elsewhere(self.lobby, entry, message, request.recording);
            return respond(outgoing.map(|item| item.map(wire::frame_watch)));
        }
        let room = match (request.room_id, request.code) {
            (id, _) if !id.is_empty() => RoomChoice::Id(id),
            (_, code) if !code.is_empty() => RoomChoice::Code(code),
            _ => RoomChoice::Any,
        };
        let outgoing = play::watch(self.lobby, entry, message, room, request.player);
        respond(outgoing.map(|item| item.map(wire::frame_watch)))
    }
}

fn past(request: v1::WatchRequest) -> Result<Past, Error> {
    let past = Past::of(&request.recording, request.code)?.at_speed(request.speed_percent)?;
    Ok(past.from_tick(request.from_tick).still(request.still).following(request.player))
}

impl NamedService for Service {
    const NAME: &'static str = "fray.v1.Play";
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/fray.v1.Play/Play" => service.play(request),
                "/fray.v1.Play/Watch" => service.watch(request).await,
                _ => Status::unimplemented("there is no such method").into_http(),
            })
        })
    }
}

fn undecodable() -> Error {
    Error::Transport(Code::InvalidArgument as i32, "the message cannot be decoded".into())
}

/// A player's answers: what the session writes, as it is. Nothing is copied, boxed or queued on the way of an update from here to
/// the connection.
struct PlayBody {
    play: play::Play<Moves>,
    is_over: bool,
}

impl Answers for PlayBody {
    fn poll_next(&mut self, turn: &mut Turn<'_>, may_write: bool) -> Poll<Piece> {
        Poll::Ready(match self.play.poll_next_if(turn, may_write) {
            Poll::Ready(Some(Ok(outgoing))) => Piece::Data(wire::frame_play(outgoing)),
            Poll::Ready(Some(Err(error))) => Piece::Trailers(trailers(&error.into())),
            Poll::Ready(None) => Piece::Trailers(trailers(&Status::new(Code::Ok, ""))),
            Poll::Pending if self.play.incoming().is_some_and(|moves| moves.is_gone) => Piece::Gone,
            Poll::Pending => return Poll::Pending,
        })
    }

    fn reads(&self) -> bool {
        self.play.incoming().is_some()
    }
}

impl hyper::body::Body for PlayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_next(&mut Turn::whole(context), true));
        self.is_over = !matches!(piece, Piece::Data(_));
        Poll::Ready(match piece {
            Piece::Data(data) => Some(Ok(Frame::data(data))),
            Piece::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Piece::Gone => None,
        })
    }
}

/// A request's bytes: straight from the connection, or what the layers made of them.
enum Source {
    Direct(RequestBody),
    Layered(Body),
}

impl hyper::body::Body for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Direct(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Layered(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }
}

/// What a player sends. Once it plays, a stream that breaks ends without an error: nobody would read it.
struct Moves {
    messages: Messages<Source>,
    has_begun: bool,
    /// The peer has given the stream up.
    is_gone: bool,
}

impl Stream for Moves {
    type Item = Result<Bytes, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        let next = ready!(self.messages.poll_next_unpin(context));
        if self.has_begun && matches!(next, Some(Err(Error::Broken(_)))) {
            self.is_gone = true;
            return Poll::Pending;
        }
        self.has_begun = true;
        Poll::Ready(next)
    }
}

/// How a call ended.
fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Its text would not fit into a header; the code always does.
        trailers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    }
    trailers
}

/// A response whose body is these bytes, and whose trailers say how it ended. `None` is skipped.
fn respond(
    items: impl Stream<Item = Result<Option<Bytes>, Error>> + Send + 'static,
) -> Response<Body> {
    let body = async_stream::stream! {
        let mut items = std::pin::pin!(items);
        let mut status = Status::new(Code::Ok, "");
        while let Some(item) = items.next().await {
            match item {
                Ok(Some(bytes)) => yield Ok::<_, Status>(Frame::data(bytes)),
                Ok(None) => {}
                Err(error) => {
                    status = error.into();
                    break;
                }
            }
        }
        yield Ok(Frame::trailers(trailers(&status)));
    };
    answer(Body::new(StreamBody::new(body)))
}

fn answer(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The ticket in `authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

/// Says of a request that it came as gRPC-Web.
#[derive(Clone, Copy)]
struct OverGrpcWeb;

/// Marks gRPC-Web requests before they are translated: it cannot carry Play, and the answer should say so.
pub(super) async fn mark_grpc_web(
    mut request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let kind = request.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web")) {
        request.extensions_mut().insert(OverGrpcWeb);
    }
    next.run(request).await
}

/// The deadline that the client set, as `grpc-timeout` says it: up to 8 digits and a unit.
pub(super) fn grpc_timeout(metadata: &MetadataMap) -> Option<Duration> {
    let value = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let count: u64 = Some(digits).filter(|digits| digits.len() <= 8)?.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}
