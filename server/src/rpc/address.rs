//! How many streams an address has that last.

use crate::addresses::{Addresses, Place, forwarded};
use crate::session::{Error, Sessions};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Frame, SizeHint};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What lasts as long as its client likes. Of the paths that gRPC does not have, those that begin so.
const LASTING: [&str; 6] = [
    "/fray.v1.Play/Play",
    "/fray.v1.Play/Watch",
    "/fray.v1.Lobby/WatchRooms",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
const LASTING_PAGES: [&str; 2] = ["/ws", "/rooms/"];

/// What is counted.
pub struct Streams {
    sessions: Arc<Sessions>,
    addresses: Arc<Addresses>,
    /// How many proxies are believed.
    trusted_hops: u32,
}

impl Streams {
    /// Of each address so many, as [`Addresses`] counts them.
    pub fn new(sessions: &Arc<Sessions>, each_max: u32, trusted_hops: u32) -> Arc<Self> {
        let addresses = Addresses::new(each_max);
        Arc::new(Self { sessions: Arc::clone(sessions), addresses, trusted_hops })
    }

    fn address(&self, request: &Request) -> Option<IpAddr> {
        if self.trusted_hops > 0 {
            return forwarded(request.headers(), self.trusted_hops);
        }
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
        Some(peer.0.ip())
    }
}

/// Refuses streams that are too many for their address. A WebSocket takes its place with it.
pub async fn limited(
    State(streams): State<Arc<Streams>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_page = LASTING_PAGES.iter().any(|page| path.starts_with(page));
    if !streams.addresses.are_counted() || !(is_page || LASTING.contains(&path)) {
        return next.run(request).await;
    }
    let Some(place) = streams.addresses.place(streams.address(&request)) else {
        streams.sessions.metrics.refused(Error::AddressLimit.reason());
        if is_page {
            let text = Error::AddressLimit.to_string();
            return (StatusCode::TOO_MANY_REQUESTS, text).into_response();
        }
        return tonic::Status::from(Error::AddressLimit).into_http();
    };
    let place = Arc::new(place);
    request.extensions_mut().insert(Arc::clone(&place));
    let response = next.run(request).await;
    response.map(|body| Body::new(Held { body, _place: place }))
}

/// An answer that has a place for as long as it lasts.
struct Held {
    body: Body,
    _place: Arc<Place>,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
