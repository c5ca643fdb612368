//! Playing, looking on and recordings, as one thing to wait for.

use super::model::Way;
use super::watcher::Watcher;
use crate::client::connection::Connection;
use crate::client::{Controls, Ended, Event, Player, SendError, Session};
use crate::replay::Playback;
use tokio::time::Instant;

/// Where one sits.
#[derive(Debug)]
pub enum Seat {
    /// In a ship.
    Player(Box<Player>),
    /// In front of it.
    Watcher(Box<Watcher>),
    /// In front of what has been.
    Recording(Box<Playback>),
}

impl Seat {
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Ended> {
        match self {
            Self::Player(player) => player.next().await,
            Self::Watcher(watcher) => watcher.next().await,
            Self::Recording(playback) => playback.next().await,
        }
    }

    pub(super) fn session(&self) -> &Session {
        match self {
            Self::Player(player) => player.session(),
            Self::Watcher(watcher) => &watcher.session,
            Self::Recording(playback) => &playback.session,
        }
    }

    pub(super) fn session_mut(&mut self) -> &mut Session {
        match self {
            Self::Player(player) => player.session_mut(),
            Self::Watcher(watcher) => &mut watcher.session,
            Self::Recording(playback) => &mut playback.session,
        }
    }

    /// Spectators have no controls.
    pub(super) fn steer(&mut self, controls: Controls) -> Result<(), SendError> {
        match self {
            Self::Player(player) => player.steer(controls).map(|_| ()),
            Self::Watcher(_) | Self::Recording(_) => Ok(()),
        }
    }

    /// Leaves gracefully: wait for the end of [`Seat::next`].
    pub(super) fn leave(&mut self) {
        match self {
            Self::Player(player) => player.leave(),
            Self::Watcher(watcher) => watcher.leave(),
            Self::Recording(playback) => playback.leave(),
        }
    }

    /// What the picture takes for the time: a recording can stand still.
    pub(super) fn time(&self, now: Instant) -> std::time::Instant {
        match self {
            Self::Player(_) | Self::Watcher(_) => now.into_std(),
            Self::Recording(playback) => playback.time(now),
        }
    }

    /// Where the way to the server stands.
    pub(super) fn way(&self) -> Way {
        let of = |connection: &Connection| Way {
            is_frozen: connection.is_frozen(),
            is_busy: connection.is_busy(),
            grace_left: None,
        };
        match self {
            Self::Player(player) => {
                Way { grace_left: player.grace_left(), ..of(player.connection()) }
            }
            Self::Watcher(watcher) => of(watcher.connection()),
            Self::Recording(_) => Way::default(),
        }
    }
}
