//! Why a request is refused, or a stream ends.

use crate::room;

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
    /// The session is over, or never was.
    #[error("there is no such session, or no more")]
    SessionNotFound,
    /// Another stream of the player is there now.
    #[error("another stream took this session over")]
    TakenOver,
    /// Too many moves wait.
    #[error("more than 64 moves wait to be applied")]
    MoveFlood,
    /// Nothing was heard of the client.
    #[error("nothing was heard for too long")]
    IdleTimeout,
    /// The server goes away.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Browsers cannot play over gRPC-Web.
    #[error("gRPC-Web cannot carry Play: open a WebSocket at /ws")]
    UseWebSocket,
    /// The client's half of the stream broke: nobody is left to be told.
    #[error("the client's stream broke: {0}")]
    Broken(String),
    /// A message beyond the limit.
    #[error("the message is too large")]
    TooLarge,
    /// The call took longer than its deadline.
    #[error("the deadline has passed")]
    DeadlineExceeded,
    /// What came is no message, or too large; with the gRPC status code that the transport gave it.
    #[error("{1}")]
    Transport(i32, String),
}

impl Error {
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
            Self::SessionNotFound => "SESSION_NOT_FOUND",
            Self::TakenOver => "TAKEN_OVER",
            Self::MoveFlood => "MOVE_FLOOD",
            Self::IdleTimeout => "IDLE_TIMEOUT",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::UseWebSocket => "USE_WEBSOCKET",
            Self::Broken(_) => "STREAM_BROKEN",
            Self::TooLarge => "MESSAGE_TOO_LARGE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
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
            room::Error::Overloaded => Self::Overloaded,
            room::Error::RoomsExhausted => Self::RoomsExhausted,
            room::Error::Failed => Self::RoomFailed,
        }
    }
}
