//! Counts calls: when they begin, and with which status they end.
//!
//! It stands where all is gRPC already and every status is final: inside of gRPC-Web's translation, outside of the services.

use crate::telemetry::metrics::rpc::{Call, Calls, OTHER};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Code;

/// All that can be called here, and whether the answer is one message.
const METHODS: &[(&str, bool)] = &[
    ("fray.v1.Admin/GetServer", true),
    ("fray.v1.Admin/ListRooms", true),
    ("fray.v1.Admin/ListPlayers", true),
    ("fray.v1.Admin/Drain", true),
    ("fray.v1.Admin/CloseRoom", true),
    ("fray.v1.Admin/Kick", true),
    ("fray.v1.Admin/ListServers", true),
    ("fray.v1.Admin/ForgetServer", true),
    ("fray.v1.Admin/Rebalance", true),
    ("fray.v1.Lobby/Join", true),
    ("fray.v1.Lobby/ListRooms", true),
    ("fray.v1.Lobby/WatchRooms", false),
    ("fray.v1.Peer/Probe", true),
    ("fray.v1.Peer/Events", false),
    ("fray.v1.Peer/Transfer", true),
    ("fray.v1.Play/Play", false),
    ("fray.v1.Play/Watch", false),
    ("fray.v1.Replays/List", true),
    ("fray.v1.Replays/Timeline", true),
    ("fray.v1.Replays/Download", false),
    ("fray.v1.Replays/Verify", true),
    ("grpc.health.v1.Health/Check", true),
    ("grpc.health.v1.Health/Watch", false),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", false),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", false),
];

/// Which method a path calls, and whether the answer is one message.
pub(super) fn called(path: &str) -> (&'static str, bool) {
    let called = path.strip_prefix('/');
    let known = METHODS.iter().find(|(method, _)| Some(*method) == called);
    known.copied().unwrap_or((OTHER, false))
}

/// Makes the series of all methods.
pub(super) fn expect_all(calls: &Calls) {
    for (method, _) in METHODS {
        calls.expect(method);
    }
}

/// The layer.
pub(super) async fn measure(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    let (method, is_unary) = called(request.uri().path());
    // Dropped with this future if the client goes away before there is an answer.
    let call = calls.begin(method, is_unary);
    let response = next.run(request).await;
    match status(response.headers()) {
        Some(status) => {
            call.end(status);
            response
        }
        None => response.map(|body| axum::body::Body::new(Measured { body, call: Some(call) })),
    }
}

/// The status that ends a call, if these headers or trailers say it.
fn status(headers: &HeaderMap) -> Option<i32> {
    let value = headers.get("grpc-status")?;
    Some(Code::from_bytes(value.as_bytes()) as i32)
}

/// A body that notes how it ends. One that is dropped before its trailers was cancelled.
struct Measured {
    body: axum::body::Body,
    call: Option<Call>,
}

impl Measured {
    fn end(&mut self, status: i32) {
        if let Some(call) = self.call.take() {
            call.end(status);
        }
    }
}

impl hyper::body::Body for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &next {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(status(trailers).unwrap_or(Code::Unknown as i32));
                }
            }
            // What the client then sees has no status.
            Some(Err(_)) | None => self.end(Code::Unknown as i32),
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use std::collections::BTreeMap;

    #[test]
    fn every_method_that_is_served_is_known() {
        let sets = [
            fray_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut served = BTreeMap::new();
        for set in sets {
            let set = prost_types::FileDescriptorSet::decode(set).expect("a descriptor set");
            for file in &set.file {
                for service in &file.service {
                    for method in &service.method {
                        let name =
                            format!("{}.{}/{}", file.package(), service.name(), method.name());
                        served.insert(name, !method.server_streaming());
                    }
                }
            }
        }
        let known: BTreeMap<_, _> =
            METHODS.iter().map(|(name, is_unary)| ((*name).to_owned(), *is_unary)).collect();
        assert_eq!(known, served);
    }
}
