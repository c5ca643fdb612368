//! Spans of calls, as OpenTelemetry's conventions for RPC have them. Streams have none of their own: see `telemetry/traces`.

use crate::telemetry::Traces;
use crate::telemetry::metrics::rpc::status_name;
use crate::telemetry::traces::{Peer, names};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use fray_proto::trace::TraceContext;
use http::HeaderMap;
use std::sync::Arc;
use tonic::Code;
use tracing::{Instrument as _, field};

/// Calls that have an answer, and so an end. What is not here is a stream, or not ours.
const CALLS: &[(&str, &str)] = &[
    ("fray.v1.Lobby", "Join"),
    ("fray.v1.Lobby", "ListRooms"),
    ("fray.v1.Replays", "List"),
    ("fray.v1.Replays", "Timeline"),
    ("fray.v1.Replays", "Verify"),
];

/// What the caller says of its trace.
pub(super) fn peer(headers: &HeaderMap) -> Peer {
    let said = headers.get("traceparent").and_then(|header| header.to_str().ok());
    match said.and_then(TraceContext::from_traceparent) {
        None => Peer::Silent,
        Some((context, true)) => Peer::Sampled(context),
        Some((_, false)) => Peer::Unsampled,
    }
}

/// Gives each call a span.
pub(super) async fn calls(
    State(traces): State<Arc<Traces>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let call =
        CALLS.iter().find(|(service, method)| path.split_once('/') == Some((service, method)));
    let peer = peer(request.headers());
    let is_wanted = traces.is_on() && peer != Peer::Unsampled;
    let (true, Some((service, method))) = (is_wanted, call) else {
        return next.run(request).await;
    };
    let span = tracing::info_span!(
        "call",
        otel.name = %format_args!("{service}/{method}"),
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = %format_args!("{service}/{method}"),
        rpc.response.status_code = field::Empty,
        otel.status_code = field::Empty,
    );
    traces.adopt(&span, peer);
    let response = next.run(request).instrument(span.clone()).await;
    // A call that is refused has its status in the headers; what succeeds says so after its message.
    let status = response.headers().get("grpc-status");
    let code = status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
    span.record(names::RPC_STATUS, status_name(code as i32));
    // Of a server's span, only what is the server's own fault is an error.
    if matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    ) {
        span.record("otel.status_code", "ERROR");
    }
    response
}
