//! Why a request is refused, or a stream ends.

use crate::replay::{self, pool};
use crate::room;
use crate::store::{self, ReadError};

/// Each has one reason on the wire; [`crate::rpc::status`] gives each its gRPC status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field that cannot be.
    #[error("{field}: {problem}")]
    Invalid {
        /// Its name on the wire.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The stream began with something else.
    #[error("the first message must be Hello, and only the first")]
    HelloExpected,
    /// The stream did not begin in time.
    #[error("no Hello came in time")]
    HelloTimeout,
    /// Only players with a ticket are seated here.
    #[error("a ticket is needed: call fray.v1.Lobby/Join first")]
    TicketMissing,
    /// The ticket is not ours, or too old.
    #[error("the ticket is not valid: {0}")]
    TicketInvalid(&'static str),
    /// The client speaks another version of the stream's rules.
    #[error("protocol version {0} is not spoken here")]
    ProtocolUnsupported(u32),
    /// No such room.
    #[error("there is no such room")]
    RoomNotFound,
    /// The room is over.
    #[error("the room has ended")]
    RoomEnded,
    /// The room broke.
    #[error("the room failed")]
    RoomFailed,
    /// All seats are taken.
    #[error("the room is full")]
    RoomFull,
    /// No more rooms here.
    #[error("the server has all the rooms that it takes")]
    RoomsExhausted,
    /// Too many requests at once.
    #[error("too many requests at once, try again")]
    Overloaded,
    /// As many streams as one address may have.
    #[error("there are too many streams of this address")]
    AddressLimit,
    /// The session is over, or never was.
    #[error("there is no such session, or no more")]
    SessionNotFound,
    /// Another stream of the player is there now.
    #[error("another stream took this session over")]
    TakenOver,
    /// Too many moves wait, or more of whatever came than anybody needs.
    #[error("more than 64 moves wait to be applied, or far more came than a player has to say")]
    MoveFlood,
    /// Nothing was heard of the client.
    #[error("nothing was heard for too long")]
    IdleTimeout,
    /// The server goes away.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The server goes away, and the room waits for another.
    #[error("the server is shutting down, and {0}")]
    Parked(&'static str),
    /// An operator has the server drained.
    #[error("the server takes no new players just now: try another")]
    Draining,
    /// Browsers cannot play over gRPC-Web.
    #[error("gRPC-Web cannot carry Play: open a WebSocket at /ws")]
    UseWebSocket,
    /// The client's half of the stream broke: nobody is left to be told.
    #[error("the client's stream broke: {0}")]
    Broken(String),
    /// A message beyond the limit.
    #[error("the message is too large")]
    TooLarge,
    /// The room is on another server.
    #[error("the room is on another server: call fray.v1.Lobby/Join")]
    WrongServer {
        /// The room.
        room: String,
    },
    /// A room of this id is there already; never seen outside.
    #[error("there is such a room already")]
    RoomExists,
    /// The room was here, and is on another server now.
    #[error("the room has moved to another server")]
    RoomMoved,
    /// Nobody runs the room any more.
    #[error("the room is lost: {0}")]
    RoomLost(String),
    /// The room's server cannot be asked.
    #[error("the room's server does not answer")]
    OwnerUnreachable,
    /// No new rooms just now.
    #[error("the directory of rooms does not answer: no new rooms just now")]
    DirectoryAway,
    /// The room may not be this server's any more.
    #[error("this server is cut off from the directory, and must not run the room any longer")]
    LeaseLost,
    /// An operator ended the session.
    #[error("an operator ended the session")]
    Kicked,
    /// Only players with an ID token are seated here.
    #[error("an ID token is needed")]
    IdTokenMissing,
    /// The ID token is not one of the provider's, or too old.
    #[error("the ID token is not valid: {0}")]
    IdTokenInvalid(&'static str),
    /// What calls is no server of this fleet.
    #[error("only servers of this fleet may call this")]
    PeerTokenInvalid,
    /// The directory has no such server.
    #[error("the directory has no server of that instance or name")]
    ServerNotFound,
    /// A server that is to be forgotten may run rooms.
    #[error("the server may be alive: {0}")]
    ServerAlive(&'static str),
    /// No such recording, or whoever asks may not know of it.
    #[error("there is no such recording, or not any more; of a private room, its code is needed")]
    RecordingNotFound,
    /// A recording that cannot be played here, and why.
    #[error("the recording cannot be played here: {0}")]
    SimVersionUnsupported(String),
    /// The server's own copy of a recording is not as it was written.
    #[error("the recording is damaged at offset {offset}")]
    RecordingDamaged {
        /// Where.
        offset: u64,
    },
    /// A recording that is longer than what is taken.
    #[error("the recording is too large: more than {0}")]
    RecordingTooLarge(String),
    /// An upload that does not come to its end.
    #[error("the upload takes too long: {0}")]
    UploadTimeout(&'static str),
    /// The call took longer than its deadline.
    #[error("the deadline has passed")]
    DeadlineExceeded,
    /// What another server answered, passed on as it is.
    #[error("{}", .0.message)]
    Passed(Box<Passed>),
    /// A mistake of the server's own.
    #[error("the server made a mistake")]
    Internal,
    /// What came is no message, or too large; with the gRPC status code that the transport gave it.
    #[error("{1}")]
    Transport(i32, String),
}

/// Another server's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The gRPC status code.
    pub code: i32,
    /// One of [`Error::REASONS`].
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `google.rpc.Status`, encoded.
    pub details: bytes::Bytes,
}

impl Passed {
    /// The reason as one of ours; those of a newer server are one.
    pub fn known_reason(reason: &str) -> &'static str {
        Error::REASONS.iter().find(|known| **known == reason).copied().unwrap_or("INTERNAL")
    }
}

impl Error {
    /// All that [`Self::reason`] says.
    pub const REASONS: &[&str] = &[
        "INVALID_ARGUMENT",
        "HELLO_EXPECTED",
        "HELLO_TIMEOUT",
        "TICKET_MISSING",
        "TICKET_INVALID",
        "PROTOCOL_UNSUPPORTED",
        "ROOM_NOT_FOUND",
        "ROOM_ENDED",
        "ROOM_FAILED",
        "ROOM_FULL",
        "ROOMS_EXHAUSTED",
        "OVERLOADED",
        "ADDRESS_LIMIT",
        "SESSION_NOT_FOUND",
        "TAKEN_OVER",
        "MOVE_FLOOD",
        "IDLE_TIMEOUT",
        "SHUTTING_DOWN",
        "DRAINING",
        "USE_WEBSOCKET",
        "STREAM_BROKEN",
        "MESSAGE_TOO_LARGE",
        "WRONG_SERVER",
        "ROOM_EXISTS",
        "ROOM_MOVED",
        "ROOM_LOST",
        "OWNER_UNREACHABLE",
        "DIRECTORY_AWAY",
        "LEASE_LOST",
        "KICKED",
        "ID_TOKEN_MISSING",
        "ID_TOKEN_INVALID",
        "PEER_TOKEN_INVALID",
        "SERVER_NOT_FOUND",
        "SERVER_ALIVE",
        "RECORDING_NOT_FOUND",
        "SIM_VERSION_UNSUPPORTED",
        "RECORDING_DAMAGED",
        "RECORDING_TOO_LARGE",
        "UPLOAD_TIMEOUT",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "MALFORMED_MESSAGE",
    ];

    /// The reason on the wire and in the metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "INVALID_ARGUMENT",
            Self::HelloExpected => "HELLO_EXPECTED",
            Self::HelloTimeout => "HELLO_TIMEOUT",
            Self::TicketMissing => "TICKET_MISSING",
            Self::TicketInvalid(_) => "TICKET_INVALID",
            Self::ProtocolUnsupported(_) => "PROTOCOL_UNSUPPORTED",
            Self::RoomNotFound => "ROOM_NOT_FOUND",
            Self::RoomEnded => "ROOM_ENDED",
            Self::RoomFailed => "ROOM_FAILED",
            Self::RoomFull => "ROOM_FULL",
            Self::RoomsExhausted => "ROOMS_EXHAUSTED",
            Self::Overloaded => "OVERLOADED",
            Self::AddressLimit => "ADDRESS_LIMIT",
            Self::SessionNotFound => "SESSION_NOT_FOUND",
            Self::TakenOver => "TAKEN_OVER",
            Self::MoveFlood => "MOVE_FLOOD",
            Self::IdleTimeout => "IDLE_TIMEOUT",
            Self::ShuttingDown | Self::Parked(_) => "SHUTTING_DOWN",
            Self::Draining => "DRAINING",
            Self::UseWebSocket => "USE_WEBSOCKET",
            Self::Broken(_) => "STREAM_BROKEN",
            Self::TooLarge => "MESSAGE_TOO_LARGE",
            Self::WrongServer { .. } => "WRONG_SERVER",
            Self::RoomExists => "ROOM_EXISTS",
            Self::RoomMoved => "ROOM_MOVED",
            Self::RoomLost(_) => "ROOM_LOST",
            Self::OwnerUnreachable => "OWNER_UNREACHABLE",
            Self::DirectoryAway => "DIRECTORY_AWAY",
            Self::LeaseLost => "LEASE_LOST",
            Self::Kicked => "KICKED",
            Self::IdTokenMissing => "ID_TOKEN_MISSING",
            Self::IdTokenInvalid(_) => "ID_TOKEN_INVALID",
            Self::PeerTokenInvalid => "PEER_TOKEN_INVALID",
            Self::ServerNotFound => "SERVER_NOT_FOUND",
            Self::ServerAlive(_) => "SERVER_ALIVE",
            Self::RecordingNotFound => "RECORDING_NOT_FOUND",
            Self::SimVersionUnsupported(_) => "SIM_VERSION_UNSUPPORTED",
            Self::RecordingDamaged { .. } => "RECORDING_DAMAGED",
            Self::RecordingTooLarge(_) => "RECORDING_TOO_LARGE",
            Self::UploadTimeout(_) => "UPLOAD_TIMEOUT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Passed(passed) => passed.reason,
            Self::Internal => "INTERNAL",
            Self::Transport(..) => "MALFORMED_MESSAGE",
        }
    }
}

impl From<room::Error> for Error {
    fn from(error: room::Error) -> Self {
        match error {
            room::Error::Full => Self::RoomFull,
            room::Error::SessionNotFound => Self::SessionNotFound,
            room::Error::Ended => Self::RoomNotFound,
            room::Error::Exists => Self::RoomExists,
            room::Error::Kicked => Self::Kicked,
            room::Error::Overloaded => Self::Overloaded,
            room::Error::RoomsExhausted => Self::RoomsExhausted,
            room::Error::Failed => Self::RoomFailed,
            room::Error::Moved => Self::RoomMoved,
            room::Error::Disowned => Self::OwnerUnreachable,
        }
    }
}

impl From<pool::Error> for Error {
    fn from(error: pool::Error) -> Self {
        match error {
            pool::Error::Overloaded => Self::Overloaded,
            pool::Error::Closed => Self::ShuttingDown,
            pool::Error::Panicked(_) => Self::Internal,
        }
    }
}

impl Error {
    /// What a recording of this server's own means to whoever asked for it, when it cannot be read on from `offset`.
    pub(super) fn of_read(error: ReadError, offset: u64) -> Self {
        match error {
            ReadError::Damaged { offset, .. } => Self::RecordingDamaged { offset },
            ReadError::Newer(_) => Self::SimVersionUnsupported(error.to_string()),
            // The oldest part of a log may be let go while it is read.
            ReadError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::RecordingNotFound
            }
            ReadError::Io(error) => {
                tracing::error!(%error, "a recording cannot be read");
                Self::RecordingDamaged { offset }
            }
        }
    }

    /// The same, of the store itself.
    pub(super) fn of_store(error: store::Error) -> Self {
        match error {
            store::Error::Read(error) => Self::of_read(error, 0),
            store::Error::Io(error) => Self::of_read(error.into(), 0),
            _ => Self::RecordingNotFound,
        }
    }

    /// The same, of playing it.
    pub(super) fn of_replay(error: replay::Error, offset: u64) -> Self {
        match error {
            replay::Error::Read(error) => Self::of_read(error, offset),
            replay::Error::Checkpoint { offset, .. } => Self::RecordingDamaged { offset },
            replay::Error::Unsupported { .. } => Self::SimVersionUnsupported(error.to_string()),
            replay::Error::Panicked { .. } => Self::RoomFailed,
            replay::Error::Stopped => Self::ShuttingDown,
            // It is not what was played: nothing of it may be shown.
            replay::Error::Differs { .. } | replay::Error::NoPanic { .. } => {
                tracing::error!(%error, "a recording does not come out the same");
                Self::RecordingDamaged { offset }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_known_beforehand() {
        // Read from the match itself: a reason that is new there is missed here.
        let source = include_str!("error.rs");
        let arms = source.lines().filter_map(|line| line.trim().strip_prefix("Self::"));
        let said: Vec<_> =
            arms.filter_map(|arm| arm.split_once(" => \"")?.1.split('"').next()).collect();
        assert!(said.len() > 20 && said.contains(&Error::Internal.reason()), "{said:?}");
        assert_eq!(said, Error::REASONS);
    }
}
