//! How streams and calls end.

use super::transport::explain;
use std::fmt;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The client's own reason.
const MISBEHAVED: &str = "SERVER_MISBEHAVED";

/// Why a stream or a call ended: a gRPC status and the server's reason for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Ended {
    /// The status.
    pub code: Code,
    /// The server's reason, such as `SESSION_NOT_FOUND`; empty when something on the way ended it.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Ended {
    /// Something on the way broke, or the server is not there.
    pub fn broken(message: impl Into<String>) -> Self {
        Self { code: Code::Unavailable, reason: String::new(), message: message.into() }
    }

    /// The server does not keep to the rules of the stream.
    pub fn misbehaved(message: impl Into<String>) -> Self {
        let reason = MISBEHAVED.to_owned();
        Self { code: Code::Internal, reason, message: message.into() }
    }

    /// Whether the client ended it because the server broke the rules of the stream.
    pub fn is_misbehaviour(&self) -> bool {
        self.reason == MISBEHAVED
    }

    /// The client waited for too long.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self { code: Code::DeadlineExceeded, reason: String::new(), message: message.into() }
    }

    /// A close code of the WebSocket: 4000 + gRPC status, and as text the reason, maybe followed by ": " and more.
    pub fn from_close(code: u16, text: &str) -> Option<Self> {
        let code = match code {
            4000 | 1000 => return None,
            4001..4017 => Code::from(i32::from(code) - 4000),
            _ => Code::Unavailable,
        };
        let (reason, message) = text.split_once(": ").unwrap_or((text, text));
        Some(Self { code, reason: reason.to_owned(), message: message.to_owned() })
    }

    /// What to count it under: the status's name and the reason.
    pub fn label(&self) -> String {
        let code = code_name(self.code);
        if self.reason.is_empty() { code.to_owned() } else { format!("{code}/{}", self.reason) }
    }

    /// Whether a new stream may go on with the session.
    pub fn is_resumable(&self) -> bool {
        match self.code {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Unauthenticated => true,
            // With a reason the server means it; without one it is something on the way.
            Code::Internal | Code::ResourceExhausted => self.reason.is_empty(),
            _ => false,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.label(), self.message)
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        if let Some(message) = std::error::Error::source(&status).and_then(explain) {
            return Self { code: status.code(), reason, message };
        }
        let mut message = status.message().to_owned();
        let mut source = std::error::Error::source(&status);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                message = format!("{message}: {cause_text}");
            }
            source = cause.source();
        }
        Self { code: status.code(), reason, message }
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_carry_the_status() {
        assert_eq!(Ended::from_close(4000, ""), None);
        let ended = Ended::from_close(4010, "TAKEN_OVER: another stream").expect("an error");
        assert_eq!((ended.code, ended.label().as_str()), (Code::Aborted, "ABORTED/TAKEN_OVER"));
        assert!(!ended.is_resumable());
        assert!(Ended::from_close(1006, "").expect("an error").is_resumable());
    }
}
