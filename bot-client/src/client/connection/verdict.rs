//! What a failure means: the two tables of `docs/CONNECTION.md`.

use super::Ended;
use tonic::Code;

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try the same once more.
    Again,
    /// The ticket is of no use: ask for another, at once.
    Elsewhere,
    /// The same after a pause, for it happens to many players at once.
    Spread,
    /// There is too much: wait for longer.
    Busy,
    /// Nothing helps.
    Over,
}

/// Reasons by which a server says that the room may stand still: its grace periods do, too.
pub(super) const STANDS_STILL: [&str; 3] = ["LEASE_LOST", "OWNER_UNREACHABLE", "DIRECTORY_AWAY"];

/// The reason by which a stream ends whose room is on another server now.
pub(super) const ROOM_MOVED: &str = "ROOM_MOVED";

impl Verdict {
    /// What the end of a stream means.
    pub(super) fn of_stream(ended: &Ended, has_session: bool) -> Self {
        let reason = ended.reason.as_str();
        match ended.code {
            Code::Ok | Code::Cancelled | Code::DeadlineExceeded => Self::Again,
            Code::Unavailable | Code::Unknown | Code::Internal if reason.is_empty() => Self::Again,
            Code::Unavailable if reason == ROOM_MOVED => Self::Elsewhere,
            Code::Unavailable => Self::Spread,
            Code::Unauthenticated => Self::Elsewhere,
            Code::FailedPrecondition if matches!(reason, "" | "WRONG_SERVER") => Self::Elsewhere,
            Code::ResourceExhausted => exhausted(reason, has_session),
            _ => Self::Over,
        }
    }

    /// What a refusal of `Join` means.
    pub(super) fn of_refusal(ended: &Ended, has_session: bool) -> Self {
        let reason = ended.reason.as_str();
        match ended.code {
            Code::Unavailable if reason == "SHUTTING_DOWN" => Self::Spread,
            Code::Ok | Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable => Self::Again,
            Code::Unknown | Code::Internal if reason.is_empty() => Self::Again,
            Code::FailedPrecondition if matches!(reason, "" | "WRONG_SERVER") => Self::Again,
            Code::ResourceExhausted => exhausted(reason, has_session),
            _ => Self::Over,
        }
    }
}

fn exhausted(reason: &str, has_session: bool) -> Verdict {
    match reason {
        "MESSAGE_TOO_LARGE" => Verdict::Over,
        // Whoever has no seat yet may want another room rather than wait for this one.
        "ROOM_FULL" | "ROOMS_EXHAUSTED" if !has_session => Verdict::Over,
        _ => Verdict::Busy,
    }
}
