//! What a tick does, without a clock or a task.

mod travel;

pub(super) use travel::Packed;

use super::barred::{BARRED_FOR, Barred};
use super::handle::{Attached, Claim, Command, Who};
use super::inbox::{Inbox, Word};
use super::log::TickLog;
use super::seat::{MOVES_PER_TICK_MAX, Occupant, Presence, Seat};
use super::{Error, Settings};
use crate::game::{Game, Profile, Published};
use crate::replication::frame::{GLOBAL_CELL, PRIVATE_VALUES_MAX};
use crate::replication::{Encoder, Grid, PlayerFrame, TickFrame, TracedCell};
use crate::store::EndReason;
use crate::telemetry::metrics::Wait;
use crate::telemetry::traces::{AppliedMove, Phases};
use fray_proto::trace::TracedMove;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a seat that was left is still shown, so that its stream can say good-bye.
const LEFT_SHOWN_S: u32 = 2;

/// The most sampled moves of a tick that are traced to their end.
const TRACED_MOVES_PER_TICK_MAX: usize = 64;

/// How much of what was said between two ticks the next one has room for without asking for memory: a flood is not kept.
const WORDS_KEPT: usize = 1024;

/// A room's state: the game, the seats, and what was published last.
pub struct Core {
    settings: Settings,
    capacity: u32,
    game: Box<dyn Game>,
    encoder: Encoder,
    /// By player number. Ordered: inputs reach the game in this order.
    seats: BTreeMap<u32, Seat>,
    next_player: u32,
    inbox: Arc<Inbox>,
    /// What is taken out of it, and nothing between ticks.
    words: Vec<Word>,
    barred: Barred,
    tick: u32,
    empty_since_tick: u32,
    published: Published,
    private: Vec<i32>,
    log: TickLog,
    /// Sampled moves that the last tick applied.
    traced: Vec<AppliedMove>,
    /// Room for the next tick's [`TickReport::waits`]: given back, so that ticks need not allocate it.
    waits: Vec<Wait>,
}

/// What a tick did, for the metrics, and when, for its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickReport {
    /// When its parts were over.
    pub phases: Phases,
    /// Moves applied, refused ones included.
    pub moves_applied: u64,
    /// Moves that the game refused.
    pub moves_refused: u64,
    /// How long each of the moves had waited.
    pub waits: Vec<Wait>,
    /// The most moves that waited for any one player.
    pub queue_depth_max: usize,
    /// Sampled moves whose spans are not written, because there were too many in one tick.
    pub traces_cut: u64,
    /// Bytes of cells' deltas that were encoded.
    pub encoded_bytes: u64,
    /// Entities in the world.
    pub entities: usize,
}

impl TickReport {
    /// Of a tick that begins now.
    fn at(now: Instant, waits: Vec<Wait>) -> Self {
        Self {
            phases: Phases { drained: now, stepped: now, replicated: now },
            moves_applied: 0,
            moves_refused: 0,
            entities: 0,
            queue_depth_max: 0,
            waits,
            traces_cut: 0,
            encoded_bytes: 0,
        }
    }
}

impl Core {
    /// A room around a game that has not begun, with a log that was begun from it.
    pub fn new(game: Box<dyn Game>, settings: Settings, capacity: u32, log: TickLog) -> Self {
        let grid = Grid::of(game.as_ref());
        Self {
            encoder: Encoder::new(grid, settings.tick_rate_hz),
            settings,
            capacity,
            game,
            seats: BTreeMap::new(),
            next_player: 1,
            inbox: Arc::default(),
            words: Vec::new(),
            barred: Barred::default(),
            tick: 0,
            empty_since_tick: 0,
            published: Published::default(),
            private: Vec::new(),
            log,
            traced: Vec::new(),
            waits: Vec::new(),
        }
    }

    /// One tick: inputs in a fixed order, the game's step, and what everybody may see of it. [`Self::note`] comes after it.
    pub fn tick(&mut self, now: Instant) -> (Arc<TickFrame>, TickReport) {
        self.tick += 1;
        self.hear();
        self.settle_presence();
        let mut report = TickReport::at(now, std::mem::take(&mut self.waits));
        self.apply_moves(now, &mut report);
        let drained = Instant::now();
        self.game.step();
        let stepped = Instant::now();
        self.publish();
        let players = self.player_frames();
        let spectator_view = self.game.view(None);
        let traced = self.traced_cells();
        let published = &self.published;
        let frame = self.encoder.encode(self.tick, published, players, spectator_view, traced);
        let replicated = Instant::now();
        report.phases = Phases { drained, stepped, replicated };
        report.encoded_bytes = frame.delta_bytes();
        report.entities = self.published.local.len();
        (frame, report)
    }

    /// The sampled moves that the tick applied, in the order of the frame's [`TracedCell`]s.
    pub fn take_traced(&mut self) -> Vec<AppliedMove> {
        std::mem::take(&mut self.traced)
    }

    /// Takes back what [`TickReport::waits`] was gathered in.
    pub fn reuse(&mut self, mut waits: Vec<Wait>) {
        waits.clear();
        self.waits = waits;
    }

    /// Writes the tick that was made into the log. Apart from [`Self::tick`], so that players need not wait for it.
    pub fn note(&mut self) {
        let sessions = self.seats.iter().filter_map(|(player, seat)| seat.session(*player));
        self.log.tick(self.tick, self.game.as_ref(), self.next_player, sessions);
    }

    /// The game's rules panicked, in a tick or between two: the log says so, and ends.
    pub fn note_panic(&mut self, tick: u32) {
        self.log.broken(tick);
        self.log.end(EndReason::Panicked);
    }

    /// The room's log.
    pub fn log(&mut self) -> &mut TickLog {
        &mut self.log
    }

    /// Answers a request, between ticks.
    pub(super) fn handle(&mut self, command: Command) {
        // Whoever asked may be gone by now; then nobody wants the answer.
        match command {
            // The task keeps it; the game does not hear of it.
            // The task's own business.
            Command::Report(_) | Command::Freeze(_) | Command::End(_) | Command::Depart(_) => {}
            Command::Reserve { player_id, profile, reply } => {
                let _ = reply.send(self.reserve(player_id, profile));
            }
            Command::Attach { claim, reply } => {
                let _ = reply.send(self.attach(claim));
            }
            Command::Find { token_hash, reply } => {
                let _ = reply.send(self.find(token_hash));
            }
            Command::Occupants { reply } => {
                let _ = reply.send(Ok(self.occupants().collect()));
            }
            Command::Kick { who, reply } => {
                let _ = reply.send(self.kick(&who));
            }
        }
    }

    /// Seats taken, reserved ones included.
    pub fn players(&self) -> u32 {
        self.seats.values().filter(|seat| seat.is_taken()).count() as u32
    }

    /// Whether nobody has been here for as long as a room waits.
    pub fn is_over(&self) -> bool {
        self.seats.is_empty()
            && self.tick - self.empty_since_tick >= self.settings.ticks(self.settings.empty_ttl)
    }

    /// Ticks made.
    pub fn tick_count(&self) -> u32 {
        self.tick
    }

    /// The game, for tests and for its checkpoint.
    pub fn game(&self) -> &dyn Game {
        self.game.as_ref()
    }

    fn reserve(&mut self, player_id: String, profile: Profile) -> Result<(), Error> {
        let until_tick = self.tick.saturating_add(self.settings.ticks(self.settings.reservation));
        if self.barred.has_player(&player_id, self.tick) {
            return Err(Error::Kicked);
        }
        if let Some((_, seat)) = self.seat_by_player(&player_id) {
            if let Presence::Reserved { until_tick: until } = &mut seat.presence {
                *until = until_tick;
                self.log.sessions_changed();
            }
            return Ok(());
        }
        if self.players() >= self.capacity {
            return Err(Error::Full);
        }
        self.seats
            .insert(self.next_player, Seat::reserved(player_id, profile, self.tick, until_tick));
        self.next_player += 1;
        self.log.sessions_changed();
        Ok(())
    }

    fn attach(&mut self, claim: Claim) -> Result<Attached, Error> {
        let tick = self.tick;
        let tick_rate_hz = self.settings.tick_rate_hz;
        let inbox = Arc::clone(&self.inbox);
        let mut has_new_token = false;
        let (player, seat) = match claim {
            Claim::Ticket { player_id, .. } if self.barred.has_player(&player_id, tick) => {
                return Err(Error::Kicked);
            }
            Claim::Token(hash) if self.barred.has_token(&hash, tick) => return Err(Error::Kicked),
            Claim::Ticket { player_id, token_hash } => {
                let (player, seat) =
                    self.seat_by_player(&player_id).ok_or(Error::SessionNotFound)?;
                seat.admit(tick, tick_rate_hz)?;
                has_new_token = seat.token_hash.replace(token_hash) != Some(token_hash);
                (player, seat)
            }
            Claim::Token(hash) => {
                let (player, seat) = self.seat_by_token(hash).ok_or(Error::SessionNotFound)?;
                seat.admit(tick, tick_rate_hz)?;
                (player, seat)
            }
        };
        tracing::debug!(player, tick, "a stream takes its seat");
        let resumed = seat.generation > 0;
        let took_over = seat.presence == Presence::Playing;
        let profile = (!resumed).then(|| seat.profile.clone());
        let attachment = seat.attach(player, &inbox, tick);
        // The game hears of it between two ticks: an input of the tick to come.
        if let Some(profile) = profile {
            self.log.join(player, &profile);
            let entity = self.game.join(player, &profile);
            self.seat(player)?.entity = entity;
        } else {
            self.log.connected(player, true);
            self.game.set_connected(player, true);
        }
        if has_new_token {
            self.log.sessions_changed();
        }
        let seat = self.seat(player)?;
        Ok(Attached {
            attachment,
            player,
            player_id: seat.player_id.clone(),
            entity: seat.entity,
            generation: seat.generation,
            ack: seat.ack,
            resumed,
            took_over,
            tick,
        })
    }

    fn find(&mut self, token_hash: [u8; 32]) -> Result<String, Error> {
        if self.barred.has_token(&token_hash, self.tick) {
            return Err(Error::Kicked);
        }
        let seat = self.seat_by_token(token_hash).map(|(_, seat)| seat.player_id.clone());
        seat.ok_or(Error::SessionNotFound)
    }

    fn occupants(&self) -> impl Iterator<Item = Occupant> {
        let taken = self.seats.iter().filter(|(_, seat)| seat.is_taken());
        taken.map(|(player, seat)| Occupant {
            player: *player,
            player_id: seat.player_id.clone(),
            name: seat.profile.name.clone(),
            presence: seat.presence.clone(),
            in_state: Duration::from_secs(u64::from(self.tick - seat.since_tick))
                / self.settings.tick_rate_hz,
            streams: seat.generation,
        })
    }

    /// The player is gone for good, between two ticks: an input of the tick to come.
    fn kick(&mut self, who: &Who) -> Result<Occupant, Error> {
        let occupant = self.occupants().find(|occupant| match who {
            Who::Number(player) => occupant.player == *player,
            Who::Id(player_id) => occupant.player_id == *player_id,
        });
        let occupant = occupant.ok_or(Error::SessionNotFound)?;
        let player = occupant.player;
        let seat = self.seats.remove(&player).ok_or(Error::SessionNotFound)?;
        // The stream learns it from what it holds itself: it may look after the seat is long gone.
        if let Some(attachment) = &seat.attachment {
            attachment.kick();
        }
        let until_tick = self.tick.saturating_add(self.settings.ticks(BARRED_FOR));
        self.barred.add(seat.player_id, seat.token_hash, until_tick);
        // Of who never came the game does not know.
        if seat.generation > 0 {
            self.log.leave(player);
            self.game.leave(player);
        } else {
            self.log.sessions_changed();
        }
        Ok(occupant)
    }

    fn seat(&mut self, player: u32) -> Result<&mut Seat, Error> {
        self.seats.get_mut(&player).ok_or(Error::SessionNotFound)
    }

    fn seat_by_player(&mut self, player_id: &str) -> Option<(u32, &mut Seat)> {
        self.taken_seats().find(|(_, seat)| seat.player_id == player_id)
    }

    fn seat_by_token(&mut self, hash: [u8; 32]) -> Option<(u32, &mut Seat)> {
        self.taken_seats().find(|(_, seat)| seat.token_hash == Some(hash))
    }

    fn taken_seats(&mut self) -> impl Iterator<Item = (u32, &mut Seat)> {
        let seats = self.seats.iter_mut().filter(|(_, seat)| seat.is_taken());
        seats.map(|(player, seat)| (*player, seat))
    }

    /// What the streams have brought goes to their seats.
    fn hear(&mut self) {
        self.inbox.take(&mut self.words);
        for word in self.words.drain(..) {
            // Who was kicked has none.
            if let Some(seat) = self.seats.get_mut(&word.player) {
                seat.hear(word);
            }
        }
        self.words.shrink_to(WORDS_KEPT);
    }

    /// Streams that broke, grace periods and reservations that ran out, players that left. All counted in ticks.
    fn settle_presence(&mut self) {
        let tick = self.tick;
        let grace_ticks = self.settings.ticks(self.settings.grace);
        let patience_ticks = self.settings.ticks(self.settings.idle_timeout);
        let shown_ticks = self.settings.tick_rate_hz * LEFT_SHOWN_S;
        let (game, log) = (&mut self.game, &mut self.log);
        self.seats.retain(|player, seat| {
            match seat.presence {
                Presence::Playing if seat.has_lost_its_stream(tick, patience_ticks) => {
                    seat.detach();
                    let until_tick = tick.saturating_add(grace_ticks);
                    seat.enter(Presence::Dropped { until_tick }, tick);
                    log.connected(*player, false);
                    game.set_connected(*player, false);
                }
                Presence::Playing if seat.has_finished() => {
                    log.leave(*player);
                    game.leave(*player);
                    let until_tick = tick.saturating_add(shown_ticks);
                    seat.enter(Presence::Left { until_tick }, tick);
                }
                Presence::Expected { .. } if Self::is_overdue(seat, tick) => {
                    seat.detach();
                    let until_tick = tick.saturating_add(grace_ticks);
                    seat.enter(Presence::Dropped { until_tick }, tick);
                    log.connected(*player, false);
                    game.set_connected(*player, false);
                }
                Presence::Dropped { until_tick } if tick >= until_tick => {
                    log.leave(*player);
                    game.leave(*player);
                    return false;
                }
                Presence::Reserved { until_tick } | Presence::Left { until_tick }
                    if tick >= until_tick =>
                {
                    return false;
                }
                _ => {}
            }
            true
        });
        if !self.seats.is_empty() {
            self.empty_since_tick = tick;
        }
    }

    fn apply_moves(&mut self, now: Instant, report: &mut TickReport) {
        self.traced.clear();
        for (player, seat) in &mut self.seats {
            seat.forget_old_refusals(self.tick);
            if !seat.applies_moves() {
                continue;
            }
            report.queue_depth_max = report.queue_depth_max.max(seat.moves_waiting());
            for _ in 0..MOVES_PER_TICK_MAX {
                let Some(mut next) = seat.next_move() else { break };
                self.log.controls(*player, &next.controls);
                let refusal = self.game.apply(*player, &next.controls).err();
                seat.applied(&next, refusal, self.tick, now);
                let took = now.saturating_duration_since(next.arrived);
                if next.trace.is_some() && self.traced.len() == TRACED_MOVES_PER_TICK_MAX {
                    next.trace = None;
                    report.traces_cut += 1;
                }
                let trace = next.trace.as_ref().map(|trace| trace.send_context());
                report.waits.push(Wait { took, trace });
                report.moves_applied += 1;
                report.moves_refused += u64::from(refusal.is_some());
                if let Some(trace) = next.trace.take() {
                    self.traced.push(AppliedMove {
                        trace,
                        player: *player,
                        sequence: next.sequence,
                        refused: refusal.is_some(),
                        arrived: next.arrived,
                    });
                }
            }
        }
    }

    /// Where this tick's sampled moves took effect: the cells of those who made them.
    fn traced_cells(&self) -> Vec<TracedCell> {
        let world = self.encoder.grid().world;
        let cell_of = |player: u32| {
            let entity = self.seats.get(&player).map_or(0, |seat| seat.entity);
            let local = &self.published.local;
            let found = local.binary_search_by_key(&entity, |shown| shown.id);
            // Who is dead just now is in no cell: everybody may know.
            found.map_or(GLOBAL_CELL, |index| world.cell_of(local[index].position))
        };
        let traced = self.traced.iter().map(|applied| {
            let context = applied.trace.send_context();
            let (player, sequence) = (applied.player, applied.sequence);
            TracedCell::new(cell_of(player), TracedMove { context, player, sequence })
        });
        traced.collect()
    }

    fn publish(&mut self) {
        self.published.local.clear();
        self.published.global.clear();
        self.game.publish(&mut self.published);
        self.published.put_in_order();
    }

    fn player_frames(&mut self) -> Vec<PlayerFrame> {
        let mut frames = Vec::with_capacity(self.seats.len());
        for (player, seat) in &self.seats {
            if matches!(seat.presence, Presence::Reserved { .. }) {
                continue;
            }
            self.private.clear();
            self.game.private(*player, &mut self.private);
            let count = self.private.len().min(PRIVATE_VALUES_MAX);
            let mut private = [0; PRIVATE_VALUES_MAX];
            private[..count].copy_from_slice(&self.private[..count]);
            frames.push(PlayerFrame {
                player: *player,
                generation: seat.generation,
                left: matches!(seat.presence, Presence::Left { .. }),
                ack: seat.ack,
                refusals: seat.refusals.iter().copied().collect(),
                private: (private, count),
                view: self.game.view(Some(*player)),
            });
        }
        frames
    }
}
