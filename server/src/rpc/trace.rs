//! Spans of calls, as OpenTelemetry's conventions for RPC have them. Streams have none of their own: see `telemetry/traces`.

use super::measure;
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

/// Probes and reflection are not traced: they would be most of all calls.
const TRACED_PACKAGE: &str = "fray.v1.";

/// What the caller says of its trace.
pub(super) fn peer(headers: &HeaderMap) -> Peer {
    let said = headers.get("traceparent").and_then(|header| header.to_str().ok());
    match said.and_then(TraceContext::from_traceparent) {
        None => Peer::Silent,
        Some((context, true)) => Peer::Sampled(context),
        Some((_, false)) => Peer::Unsampled,
    }
}

/// Gives each call that has an answer, and so an end, a span.
pub(super) async fn calls(
    State(traces): State<Arc<Traces>>,
    request: Request,
    next: Next,
) -> Response {
    let (method, is_unary) = measure::called(request.uri().path());
    let is_ours = is_unary && method.starts_with(TRACED_PACKAGE);
    let peer = peer(request.headers());
    if !is_ours || !traces.is_on() || peer == Peer::Unsampled {
        return next.run(request).await;
    }
    let span = tracing::info_span!(
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
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
