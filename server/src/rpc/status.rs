//! Every error's gRPC status, with details that a client can act on.

use crate::session::{Error, Sessions};
use axum::extract::State;
use axum::response::Response;
use std::collections::HashMap;
use std::sync::Arc;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of our reasons.
const DOMAIN: &str = "fray.v1";

/// The status of an error. `UNAVAILABLE` and `INTERNAL` are kept for what is the server's own trouble: proxies take a
/// server out of rotation for them.
pub fn code(error: &Error) -> Code {
    match error {
        Error::Invalid { .. } | Error::HelloExpected => Code::InvalidArgument,
        Error::HelloTimeout
        | Error::IdleTimeout
        | Error::UploadTimeout(_)
        | Error::DeadlineExceeded => Code::DeadlineExceeded,
        Error::TicketMissing
        | Error::TicketInvalid(_)
        | Error::IdTokenMissing
        | Error::IdTokenInvalid(_)
        | Error::PeerTokenInvalid => Code::Unauthenticated,
        Error::Kicked => Code::PermissionDenied,
        Error::ProtocolUnsupported(_)
        | Error::SimVersionUnsupported(_)
        | Error::ServerAlive(_)
        | Error::WrongServer { .. } => Code::FailedPrecondition,
        Error::RoomLost(_)
        | Error::RoomNotFound
        | Error::SessionNotFound
        | Error::ServerNotFound
        | Error::RecordingNotFound => Code::NotFound,
        Error::RecordingDamaged { .. } => Code::DataLoss,
        Error::RoomFull
        | Error::RoomsExhausted
        | Error::Overloaded
        | Error::AddressLimit
        | Error::MoveFlood
        | Error::RecordingTooLarge(_)
        | Error::TooLarge => Code::ResourceExhausted,
        Error::RoomExists | Error::RoomEnded | Error::RoomFailed | Error::TakenOver => {
            Code::Aborted
        }
        Error::Passed(passed) => Code::from_i32(passed.code),
        Error::Internal => Code::Internal,
        Error::ShuttingDown
        | Error::Parked(_)
        | Error::Draining
        | Error::OwnerUnreachable
        | Error::RoomMoved
        | Error::DirectoryAway
        | Error::LeaseLost => Code::Unavailable,
        Error::UseWebSocket => Code::Unimplemented,
        Error::Broken(_) => Code::Cancelled,
        Error::Transport(code, _) => Code::from_i32(*code),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        if let Error::Passed(passed) = error {
            let code = Code::from_i32(passed.code);
            return Self::with_details(code, passed.message, passed.details);
        }
        let mut metadata = HashMap::new();
        match &error {
            Error::Invalid { field, .. } => {
                metadata.insert("field".to_owned(), (*field).to_owned());
            }
            Error::ProtocolUnsupported(_) => {
                let version = fray_proto::PROTOCOL_VERSION.to_string();
                metadata.insert("min".to_owned(), version.clone());
                metadata.insert("max".to_owned(), version);
            }
            Error::RecordingDamaged { offset } => {
                metadata.insert("offset".to_owned(), offset.to_string());
            }
            Error::WrongServer { room } => {
                metadata.insert("room".to_owned(), room.clone());
            }
            Error::UseWebSocket => {
                metadata.insert("path".to_owned(), "/ws".to_owned());
            }
            _ => {}
        }
        let mut details = ErrorDetails::new();
        details.set_error_info(error.reason(), DOMAIN, metadata);
        if let Error::Invalid { field, problem } = &error {
            details.add_bad_request_violation(*field, *problem);
        }
        Status::with_error_details(code(&error), error.to_string(), details)
    }
}

/// What the transport says about a client's half of a stream.
pub(super) fn from_transport(status: &Status) -> Error {
    match status.code() {
        // A message that cannot be decoded is the client's mistake, though tonic calls it ours.
        Code::Internal if status.message().contains("decode") => {
            Error::Transport(Code::InvalidArgument as i32, "the message cannot be decoded".into())
        }
        Code::OutOfRange | Code::ResourceExhausted => Error::TooLarge,

        Code::Unimplemented => {
            Error::Transport(Code::Unimplemented as i32, status.message().into())
        }
        _ => Error::Broken(status.message().into()),
    }
}

/// What tonic says INTERNAL of, though it is the client's mistake: a request that cannot be decoded, that has no message or not all of
/// it, or one that is compressed.
const SENDERS_MISTAKES: [&str; 5] =
    ["decode", "decoding", "Missing%20request%20message", "compression%20flag", "compressed-flag"];

/// Has the mistakes of unary requests said and counted as such: proxies must not take the server for broken because of them.
pub(super) async fn blame_the_sender(
    State(sessions): State<Arc<Sessions>>,
    response: Response,
) -> Response {
    let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let message = text("grpc-message").unwrap_or_default();
    let error = match text("grpc-status") {
        Some("13") if SENDERS_MISTAKES.iter().any(|mistake| message.contains(mistake)) => {
            let text = "the message cannot be decoded".to_owned();
            Error::Transport(Code::InvalidArgument as i32, text)
        }
        // None of ours says it.
        Some("11") => Error::TooLarge,
        _ => return response,
    };
    sessions.metrics.refused(error.reason());
    Status::from(error).into_http()
}
