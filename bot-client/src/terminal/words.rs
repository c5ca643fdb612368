//! What players are told: one line, never a raw error.

use crate::client::Ended;
use std::time::Duration;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// While the server is cut off from the others, and waits to learn whether the room is still its own.
pub(super) const FROZEN: &str = "The room stands still. It goes on as soon as its server may.";
/// While the server has too much to do.
pub(super) const BUSY: &str = "The server has too much to do just now. Trying again…";

/// Before the room moves to another server.
pub(super) const WILL_MOVE: &str = "The room moves to another server in a moment.";
/// While it does so, if that takes long enough to be noticed.
pub(super) const MOVING: &str = "The room moves to another server…";

/// After the room's server was lost: how old the state is that the room went on from.
pub(super) fn restored(age: Duration) -> String {
    let ago = match age.as_secs() {
        0 => "a moment ago".to_owned(),
        s @ 1..120 => format!("{s} s ago"),
        s @ 120..7200 => format!("{} min ago", s / 60),
        s => format!("{} h ago", s / 3600),
    };
    // It has to fit beside the panel of a narrow terminal.
    format!("The room lost its server: restored to {ago}.")
}

/// While the stream is broken, with what is left of the grace period.
pub(super) fn reconnecting(left: Duration) -> String {
    match left.as_secs_f64().ceil() as u64 {
        0 => "Reconnecting… your ship may be gone by now".to_owned(),
        s => format!("Reconnecting… your ship holds course for {s} s"),
    }
}

/// Why it is over.
pub(super) fn ended(ended: &Ended) -> String {
    let known = match ended.reason.as_str() {
        "TAKEN_OVER" => "You fly this ship from somewhere else now.",
        "SESSION_NOT_FOUND" => "Your ship waited as long as it could, and is gone. Fly again!",
        "ROOM_NOT_FOUND" => "That room is no more.",
        "ROOM_ENDED" => "The room has ended.",
        "ROOM_FAILED" => "Something in the room broke, and it had to end.",
        "ROOM_LOST" => "The server that ran this room is gone; the room with it.",
        "ROOM_FULL" => "That room is full.",
        "ROOMS_EXHAUSTED" => "The server has no place for another room just now.",
        "KICKED" => "An operator removed you from the room.",
        "PROTOCOL_UNSUPPORTED" => {
            "This program and the server do not understand each other: update the older one."
        }
        "TICKET_INVALID" | "TICKET_MISSING" => "Your seat was given away meanwhile. Try again.",
        "INVALID_ARGUMENT" => "The server did not like that name, room or code.",
        "SHUTTING_DOWN" => "The server is going away. Try again in a moment.",
        "" | "UNREACHABLE" => "The server does not answer. Is it there, and is --url right?",
        _ => "The server ended the game. Try again.",
    };
    known.to_owned()
}

/// Text from elsewhere without anything that could command a terminal.
pub fn printable(text: &str) -> String {
    let is_plain = |c: &char| !c.is_control() && c.width().is_some_and(|width| width > 0);
    text.chars().filter(is_plain).collect()
}

/// At most so many columns of it.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut fitted = String::new();
    for c in text.chars() {
        if fitted.width() + c.width().unwrap_or(0) + 1 > columns {
            break;
        }
        fitted.push(c);
    }
    fitted.push('…');
    fitted
}

/// Minutes and seconds.
pub(super) fn clock(seconds: u32) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_command_the_terminal() {
        assert_eq!(printable("\x1b[2Jeve\r\u{200b}\u{7f}"), "[2Jeve");
    }

    #[test]
    fn a_restored_room_says_from_when_it_goes_on() {
        let ends = [(400, "a moment ago."), (7900, "to 7 s ago."), (125_000, "to 2 min ago.")];
        for (ms, end) in ends {
            let text = restored(Duration::from_millis(ms));
            assert!(text.ends_with(end), "{text}");
        }
    }

    #[test]
    fn long_names_are_cut_by_columns_not_letters() {
        assert_eq!(fitted("short", 5), "short");
        assert_eq!(fitted("longer", 5), "long…");
        assert_eq!(fitted("漢字漢字", 5), "漢字…");
    }
}
