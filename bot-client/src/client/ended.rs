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
            4000 => return None,
            4001..4017 => Code::from(i32::from(code) - 4000),
            // Not the server's own words: something on the way.
            _ => return Some(Self::broken(format!("closed with {code}: {text}"))),
        };
        let (reason, message) = text.split_once(": ").unwrap_or((text, text));
        Some(Self { code, reason: reason.to_owned(), message: message.to_owned() })
    }

    /// What to count it under: the status's name and the reason.
    pub fn label(&self) -> String {
        let code = Self::named(self.code);
        if self.reason.is_empty() { code.to_owned() } else { format!("{code}/{}", self.reason) }
    }

    /// A status's name, as gRPC writes it.
    pub(super) fn named(code: Code) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_carry_the_status() {
        assert_eq!(Ended::from_close(4000, ""), None);
        let ended = Ended::from_close(4010, "TAKEN_OVER: another stream").expect("an error");
        assert_eq!((ended.code, ended.label().as_str()), (Code::Aborted, "ABORTED/TAKEN_OVER"));
        let cut = Ended::from_close(1006, "").expect("an error");
        assert_eq!(cut.label(), "UNAVAILABLE");
        // A proxy's good-bye is none of the server's.
        assert_eq!(Ended::from_close(1000, "bye: x").expect("an error").label(), "UNAVAILABLE");
    }
}
