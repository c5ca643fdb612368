//! How a room's state leaves, and arrives.

use super::super::handle::Move;
use super::super::log::TickLog;
use super::super::travel::{Arrival, BarredPlayer};
use super::super::{Error, Settings};
use super::{Core, Presence, Seat};
use crate::replication::TickFrame;
use crate::store::{Checkpoint, Header, Sessions};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;

/// For how long the controls of a player hold whose stream is on its way here. Afterwards its stream counts as broken.
const EXPECTED_FOR: Duration = Duration::from_secs(2);

/// All that [`super::super::travel::Departure`] says of the state.
pub(in crate::room) struct Packed {
    pub(in crate::room) tick: u32,
    pub(in crate::room) bytes: Bytes,
    pub(in crate::room) moves: Vec<(u32, Move)>,
    pub(in crate::room) barred: Vec<BarredPlayer>,
}

impl Core {
    /// A copy of everything, after the tick that was made last. `header` is this owner's.
    pub(in crate::room) fn pack(&mut self, header: &Header) -> Result<Packed, Error> {
        let mut bytes = BytesMut::new();
        Header { first_tick: self.tick + 1, ..header.clone() }.put(&mut bytes);
        let (hash, state) = (self.game.state_hash(), self.game.checkpoint());
        if !Checkpoint::put(self.tick, hash, &state, &mut bytes) {
            return Err(Error::Failed);
        }
        let sessions = self.seats.iter().filter_map(|(player, seat)| seat.session(*player));
        Sessions::put(self.tick, self.next_player, sessions, &mut bytes);
        let moves = self.seats.iter_mut().flat_map(|(player, seat)| {
            let player = *player;
            seat.unapplied().map(move |waiting| (player, waiting))
        });
        let moves = moves.collect();
        let barred = self.barred.list(self.tick);
        Ok(Packed { tick: self.tick, bytes: bytes.freeze(), moves, barred })
    }

    /// A room that goes on from what came, with a log that was begun from it.
    pub(in crate::room) fn arrived(arrival: Arrival, settings: Settings, log: TickLog) -> Self {
        let Arrival { header, tick, game, sessions, moves, barred, .. } = arrival;
        let mut core = Self::new(game, settings, header.capacity, log);
        core.tick = tick;
        core.empty_since_tick = tick;
        core.next_player = sessions.next_player.max(1);
        let expected_until = tick.saturating_add(core.settings.ticks(EXPECTED_FOR));
        for session in sessions.sessions {
            core.next_player = core.next_player.max(session.player.saturating_add(1));
            core.seats.insert(session.player, Seat::arrived(session, tick, expected_until));
        }
        for (player, waiting) in moves {
            if let Some(seat) = core.seats.get_mut(&player) {
                seat.expect(waiting);
            }
        }
        for BarredPlayer { player_id, token_hash, until_tick } in barred {
            core.barred.add(player_id, token_hash, until_tick);
        }
        core
    }

    /// What everybody may see after the tick that was made last, for a room that has just arrived.
    pub(in crate::room) fn show(&mut self) -> Arc<TickFrame> {
        self.publish();
        let players = self.player_frames();
        let spectator_view = self.game.view(None);
        self.encoder.encode(self.tick, &self.published, players, spectator_view, Vec::new())
    }

    /// Whose stream did not come in time: it counts as broken from now on.
    pub(super) fn is_overdue(seat: &Seat, tick: u32) -> bool {
        matches!(seat.presence, Presence::Expected { until_tick } if tick >= until_tick)
    }
}
