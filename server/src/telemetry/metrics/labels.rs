//! What tells the series of one metric apart. Each label has few values that are known beforehand: none is a player, a
//! room, an address, or anything else that a peer could make up.

use prometheus_client::encoding::EncodeLabelSet;

/// Why something was refused, or a stream ended: the reasons of the wire's `ErrorInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// As in `ErrorInfo.reason`.
    pub reason: &'static str,
}

/// What is read from files again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Source {
    /// "`ticket_keys`", "`id_keys`" or "tls".
    pub source: &'static str,
}

/// By which door something came in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Door {
    /// "grpc", "websocket", "watch", "replay" or "events".
    pub door: &'static str,
}

/// How a recording came out that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Verdict {
    /// "same", "differs", "damaged" or "panicked".
    pub verdict: &'static str,
}

/// Which method was called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Method {
    /// As OpenTelemetry's `rpc.method`, for example "fray.v1.Lobby/Join".
    pub rpc_method: &'static str,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// As in [`Method`].
    pub rpc_method: &'static str,
    /// The gRPC status by name, for example "`NOT_FOUND`".
    pub grpc_status: &'static str,
}

/// Where an exemplar leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TraceLabel {
    /// 32 hexadecimal digits, as Jaeger shows it.
    pub trace_id: String,
}

/// What runs here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Build {
    /// The version of the software.
    pub version: &'static str,
    /// Which sources it is built from.
    pub revision: &'static str,
    /// The game.
    pub game: &'static str,
    /// The version of its rules.
    pub sim_version: u32,
}
