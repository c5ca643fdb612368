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
        self.hear();
        let mut bytes = BytesMut::new();
        Header { first_tick: self.tick + 1, ..header.clone() }.put(&mut bytes);
        let (hash, state) = (self.game.state_hash(), self.game.checkpoint());
        if !Checkpoint::put(self.tick, hash, &state, &mut bytes) {
            return Err(Error::Failed);
        }
        let sessions = self.seats.iter().filter_map(|(player, seat)| seat.session(*player));
        Sessions::put(self.tick, self.next_player, sessions, &mut bytes);
        let moves = self.seats.iter().flat_map(|(player, seat)| {
            let player = *player;
            seat.unapplied().map(move |waiting| (player, waiting))
        });
        let moves = moves.collect();
        let barred = self.barred.list(self.tick);
        Ok(Packed { tick: self.tick, bytes: bytes.freeze(), moves, barred })
    }

    /// A room that goes on from what came, with a log that was begun from it.
    pub(in crate::room) fn arrived(arrival: Arrival, settings: Settings, log: TickLog) -> Self {
        let Arrival { header, tick, game, sessions, moves, barred, restored, .. } = arrival;
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
        if restored.is_some() {
            core.let_go();
        }
        core
    }

    /// The streams of a room that was restored broke with its last owner: controls are let go, and the grace period begins.
    fn let_go(&mut self) {
        let until_tick = self.tick.saturating_add(self.settings.ticks(self.settings.grace));
        for (player, seat) in &mut self.seats {
            if matches!(seat.presence, Presence::Expected { .. }) {
                seat.enter(Presence::Dropped { until_tick }, self.tick);
                self.log.connected(*player, false);
                self.game.set_connected(*player, false);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::arena::Arena;
    use crate::game::{Controls, GameFactory, Profile, Setup, Steering};
    use crate::room::handle::{Attached, Claim};
    use proptest::prelude::*;
    use tokio::time::Instant;

    fn settings() -> Settings {
        let s = Duration::from_secs;
        Settings {
            tick_rate_hz: 20,
            grace: s(5),
            idle_timeout: s(15),
            reservation: s(30),
            empty_ttl: s(600),
            catch_up_ticks_max: 4,
            checkpoint_every: s(10),
            chunk_every: s(1),
            incident_lateness: s(1),
        }
    }

    fn games() -> Vec<Arc<dyn GameFactory>> {
        vec![Arc::new(Arena::default())]
    }

    fn header() -> Header {
        let game = Arena::default();
        Header {
            game: game.name().into(),
            sim_version: game.sim_version(),
            tick_rate_hz: 20,
            capacity: 8,
            room: "abc".into(),
            epoch: 3,
            first_tick: 1,
            ..Header::default()
        }
    }

    /// What its next owner makes of it.
    fn unpacked(packed: Packed) -> Core {
        let arrival = Arrival::parse(&games(), 20, &packed.bytes).expect("a room");
        assert_eq!(arrival.tick, packed.tick);
        let arrival = Arrival { moves: packed.moves, barred: packed.barred, ..arrival };
        Core::arrived(arrival, settings(), TickLog::off())
    }

    fn attach(core: &mut Core, player: usize) -> Attached {
        let player_id = format!("p{player}");
        let token_hash = [player as u8; 32];
        core.attach(Claim::Ticket { player_id, token_hash }).expect("its seat")
    }

    #[test]
    fn controls_are_let_go_in_a_room_that_was_restored_and_hold_in_one_that_moved() {
        let mut core = Core::new(
            Arena::default().create(&Setup { seed: 1, tick_rate_hz: 20, capacity: 8 }),
            settings(),
            8,
            TickLog::off(),
        );
        core.reserve("p0".into(), Profile::default()).expect("a seat");
        let stream = attach(&mut core, 0);
        let steering = Steering { axis_x: 0, axis_y: 127, aim: None };
        let controls = Controls { steering, ..Controls::default() };
        let sent = Move { sequence: 1, controls, arrived: Instant::now(), trace: None };
        stream.attachment.enqueue(sent);
        core.tick(Instant::now());
        let mut packed =
            [core.pack(&header()).expect("packed"), core.pack(&header()).expect("packed")]
                .into_iter()
                .map(|packed| Arrival::parse(&games(), 20, &packed.bytes).expect("a room"));
        let (moved, restored) = (packed.next().expect("one"), packed.next().expect("two"));
        let restored = Arrival { restored: Some(Duration::from_secs(1)), ..restored };
        let mut moved = Core::arrived(moved, settings(), TickLog::off());
        let mut restored = Core::arrived(restored, settings(), TickLog::off());
        assert!(matches!(moved.seats[&1].presence, Presence::Expected { .. }));
        assert!(matches!(restored.seats[&1].presence, Presence::Dropped { .. }));
        for _ in 0..10 {
            core.tick(Instant::now());
            moved.tick(Instant::now());
            restored.tick(Instant::now());
        }
        assert_eq!(moved.game().state_hash(), core.game().state_hash());
        assert_ne!(restored.game().state_hash(), core.game().state_hash());
    }

    proptest! {
        #[test]
        fn a_room_that_was_packed_up_goes_on_exactly_as_it_would_have(
            seed: u64,
            plays in proptest::collection::vec((0..3_usize, -127..=127_i32, 0..4_u32), 1..60),
            packed_at in 0..60_usize,
            later in proptest::collection::vec((0..3_usize, -127..=127_i32, 0..4_u32), 1..40),
        ) {
            let setup = Setup { seed, tick_rate_hz: 20, capacity: 8 };
            let game = Arena::default().create(&setup);
            let mut stays = Core::new(game, settings(), 8, TickLog::off());
            let mut sequences = [0_u32; 3];
            let mut streams = Vec::new();
            for player in 0..3 {
                let profile = Profile { name: format!("P{player}"), hue: 9 };
                stays.reserve(format!("p{player}"), profile).expect("a seat");
                streams.push(attach(&mut stays, player));
            }
            let send = |streams: &[Attached], sequences: &mut [u32; 3], play: &(usize, i32, u32)| {
                let (player, axis_x, buttons) = *play;
                sequences[player] += 1;
                let steering = Steering { axis_x, axis_y: 100, aim: None };
                let controls = Controls { steering, buttons, ..Controls::default() };
                let (sequence, arrived) = (sequences[player], Instant::now());
                let sent = Move { sequence, controls, arrived, trace: None };
                streams[player].attachment.enqueue(sent);
            };
            let mut goes = None;
            for (number, play) in plays.iter().enumerate() {
                send(&streams, &mut sequences, play);
                if number == packed_at % plays.len() {
                    // With that move still waiting.
                    goes = Some(unpacked(stays.pack(&header()).expect("packed")));
                    break;
                }
                stays.tick(Instant::now());
            }
            let mut goes = goes.expect("packed on the way");
            prop_assert_eq!(goes.game().state_hash(), stays.game().state_hash());
            prop_assert_eq!(goes.tick_count(), stays.tick_count());
            // Here the streams were not even interrupted; there they come again after a tick.
            let mut there = Vec::new();
            for (number, play) in later.iter().enumerate() {
                let (one, other) = (stays.tick(Instant::now()).0, goes.tick(Instant::now()).0);
                prop_assert_eq!(goes.game().state_hash(), stays.game().state_hash());
                for (one, other) in one.players.iter().zip(&other.players) {
                    prop_assert_eq!(one.ack.input_ack, other.ack.input_ack);
                    prop_assert_eq!(one.ack.applied_hash, other.ack.applied_hash);
                }
                if number == 0 {
                    there = (0..3).map(|player| attach(&mut goes, player)).collect();
                }
                let mut copy = sequences;
                send(&streams, &mut sequences, play);
                send(&there, &mut copy, play);
            }
        }
    }
}
