//! The room, without a clock.

use super::seat::Seat;
use fray_proto::cell::{self, Rules};
use fray_proto::hash::cell_checksum;
use fray_proto::model::{Entity, Motion, Motions, Steering, World, advance, steer};
use fray_proto::v1;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use v1::cell_update::Encoding;
use v1::play_request::Message as Request;
use v1::play_response::Message as Response;

pub const RATE_HZ: u32 = 20;
pub const WINDOW_MS: u32 = 1000;
const WINDOW_TICKS: u32 = WINDOW_MS * RATE_HZ / 1000;
const WORLD: World = World { position_bits: 20, cell_bits: 20, unit_bits: 8 };
const CELL: u32 = 1;
const HISTORY: usize = 100;

/// What the room does wrong. Numbers of moves are sequences; every fault happens once per player.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// This move is acknowledged but not applied.
    pub drop_move: Option<u32>,
    /// This move is applied twice.
    pub double_move: Option<u32>,
    /// In this tick a bit of the ships' cell is flipped on its way to everybody.
    pub flip_bit_at: Option<u32>,
    /// In this tick a happening comes without the checksums noticing it in time: the ship is moved on the server only.
    pub shift_silently_at: Option<u32>,
    /// Whoever resumes gets another's seat.
    pub forget_players: bool,
    /// Whoever resumes has this many points less.
    pub points_lost_on_resume: i32,
}

/// One room; a copy of it is a checkpoint.
#[derive(Clone, Debug)]
pub struct Room {
    pub faults: Faults,
    pub epoch: u64,
    /// What it tells those who come back: that it was restored.
    pub restored_age_ms: Option<u64>,
    pub tick: u32,
    /// The clock, as far as the room knows one: for margins of arrival.
    pub now_ms: u64,
    motions: Motions,
    /// Players whose controls stay as they are when their next stream begins.
    held: BTreeSet<u32>,
    seats: BTreeMap<u32, Seat>,
    history: VecDeque<(u32, Vec<v1::CellUpdate>)>,
    before: [Vec<Entity>; 2],
}

/// One player's stream in it.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub player: u32,
    generation: u32,
    base: u32,
    pub seen_tick: u32,
    acked: v1::MoveAck,
    pub ended: bool,
    pub requests: Vec<Request>,
}

impl Room {
    pub fn new(faults: Faults) -> Self {
        let mut motions = Motions::default();
        let ship = Motion {
            turn_rate: 125,
            acceleration: 700,
            speed_max: 4000,
            drag_shift: 7,
            ..Motion::default()
        };
        motions.set(fray_bot::arena::SHIP, ship);
        let before = Default::default();
        Self {
            faults,
            epoch: 1,
            restored_age_ms: None,
            tick: 0,
            now_ms: 0,
            motions,
            held: BTreeSet::new(),
            seats: BTreeMap::new(),
            history: VecDeque::new(),
            before,
        }
    }

    /// Reserves a seat.
    pub fn join(&mut self) -> String {
        let player = self.seats.len() as u32 + 1;
        let ship = Entity {
            id: 1000 + player,
            kind: fray_bot::arena::SHIP,
            position: [player as i32 * 50_000 % WORLD.size(), 70_000],
            attributes: [player as i32, 100, 0, 0, 0, 0, 0, 0],
            ..Entity::default()
        };
        self.seats.insert(player, Seat { ship, next: 1, score: 100, ..Seat::default() });
        format!("ticket-{player}")
    }

    pub fn score_of(&self, player: u32) -> i32 {
        self.seats[&player].score
    }

    pub fn applied_count(&self, player: u32) -> u32 {
        self.seats[&player].ack.applied_count
    }

    /// Takes in the first message of a stream.
    pub fn open(&mut self, hello: &v1::Hello) -> Option<(Stream, v1::PlayResponse)> {
        let resumed = !hello.resume_token.is_empty();
        let name = if resumed { &hello.resume_token } else { &hello.ticket };
        let mut player: u32 = name.rsplit('-').next()?.parse().ok()?;
        if resumed && self.faults.forget_players {
            player = self.join().rsplit('-').next()?.parse().ok()?;
        }
        let points_lost = self.faults.points_lost_on_resume;
        let seat = self.seats.get_mut(&player).filter(|seat| !seat.gone)?;
        if resumed {
            seat.score -= points_lost;
        }
        seat.connected = true;
        seat.generation += 1;
        seat.inbox.clear();
        if !self.held.remove(&player) {
            seat.steering = Steering::default();
        }
        let constants = |(kind, motion): (u32, Motion)| v1::Motion {
            kind,
            turn_rate: motion.turn_rate as u32,
            acceleration: motion.acceleration as u32,
            speed_max: motion.speed_max as u32,
            drag_shift: motion.drag_shift,
            ..v1::Motion::default()
        };
        let welcome = v1::Welcome {
            protocol_min: 1,
            protocol_max: 1,
            game: "arena".into(),
            tick_rate_hz: RATE_HZ,
            world: Some(v1::World { position_bits: 20, cell_bits: 20, unit_bits: 8 }),
            motions: self.motions.iter().map(constants).collect(),
            player_id: format!("player-{player}"),
            player,
            entity: seat.ship.id,
            last_applied_sequence: seat.ack.input_ack,
            applied_count: seat.ack.applied_count,
            applied_hash: seat.ack.applied_hash,
            staleness_window_ms: WINDOW_MS,
            heartbeat_ms: 1000,
            idle_timeout_ms: 5000,
            grace_ms: 30_000,
            resume_token: format!("token-{player}"),
            resumed,
            epoch: self.epoch,
            restored_age_ms: self.restored_age_ms.filter(|_| resumed),
            ..v1::Welcome::default()
        };
        let (generation, acked) = (seat.generation, seat.ack);
        let stream = Stream { player, generation, acked, ..Stream::default() };
        Some((stream, v1::PlayResponse { message: Some(Response::Welcome(welcome)) }))
    }

    /// Takes in a further message.
    pub fn receive(&mut self, stream: &mut Stream, request: v1::PlayRequest) {
        let Some(message) = request.message else {
            return;
        };
        stream.requests.push(message.clone());
        match message {
            Request::Move(message) => {
                stream.seen_tick = message.seen_tick;
                let now_ms = self.now_ms;
                if let Some(seat) = self.seat_of(stream) {
                    assert!(seat.inbox.len() < 64, "more than 64 moves unapplied");
                    seat.inbox.push_back((now_ms, message));
                }
            }
            Request::Ping(ping) => stream.seen_tick = ping.seen_tick,
            Request::Resync(_) => stream.base = 0,
            Request::Leave(_) => {
                if let Some(seat) = self.seat_of(stream) {
                    seat.leaves = true;
                }
            }
            Request::Hello(_) => panic!("a second Hello"),
        }
    }

    /// The stream broke.
    pub fn drop_stream(&mut self, stream: &Stream) {
        if let Some(seat) = self.seat_of(stream) {
            seat.connected = false;
            seat.inbox.clear();
            seat.steering = Steering::default();
        }
    }

    /// It is on another server from now on, and holds the player's controls until the next stream.
    pub fn moves(&mut self, stream: &Stream) {
        self.epoch += 1;
        if let Some(seat) = self.seat_of(stream) {
            seat.inbox.clear();
        }
        self.held.insert(stream.player);
    }

    fn seat_of(&mut self, stream: &Stream) -> Option<&mut Seat> {
        let seat = self.seats.get_mut(&stream.player)?;
        (seat.generation == stream.generation).then_some(seat)
    }

    /// One tick.
    pub fn step(&mut self) {
        self.tick += 1;
        let motion = self.motions.of(fray_bot::arena::SHIP);
        for seat in self.seats.values_mut().filter(|seat| seat.connected) {
            seat.apply_moves(&self.faults, self.now_ms);
            steer(&mut seat.ship, seat.steering, motion);
            advance(&mut seat.ship, motion, WORLD);
            if seat.leaves && seat.inbox.is_empty() {
                seat.gone = true;
                seat.connected = false;
            }
        }
        if self.faults.shift_silently_at == Some(self.tick)
            && let Some(seat) = self.seats.values_mut().next()
        {
            seat.ship.position[0] ^= 1;
        }
        let after = [self.globals(), self.ships()];
        let rules = Rules { world: WORLD, motions: &self.motions };
        let mut deltas = Vec::new();
        for index in [0, CELL] {
            let (before, after) = (&self.before[index as usize], &after[index as usize]);
            let mut bytes = Vec::new();
            let is_silent = self.faults.shift_silently_at == Some(self.tick) && index == CELL;
            if is_silent || !cell::encode_delta(before, after, index, rules, &mut bytes) {
                bytes.clear();
                cell::encode_empty_delta(&mut bytes);
            }
            if self.faults.flip_bit_at == Some(self.tick) && index == CELL {
                // The last byte is a small residual, not a length: the cell stays readable and becomes wrong.
                if let Some(last) = bytes.last_mut() {
                    *last ^= 2;
                }
            }
            deltas.push(v1::CellUpdate {
                place: index * 128 + self.tick % 128,
                checksum: Some(cell_checksum(index, after)),
                encoding: Some(Encoding::Delta(bytes.into())),
                traced_moves: vec![],
            });
        }
        self.before = after;
        self.history.push_back((self.tick, deltas));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    fn ships(&self) -> Vec<Entity> {
        let present = self.seats.values().filter(|seat| seat.generation > 0 && !seat.gone);
        present.map(|seat| seat.ship.clone()).collect()
    }

    fn globals(&self) -> Vec<Entity> {
        let round = Entity { id: 1, kind: fray_bot::arena::ROUND, ..Entity::default() };
        let entries = self.seats.iter().map(|(player, seat)| Entity {
            id: 1 + player,
            kind: fray_bot::arena::PLAYER,
            attributes: [*player as i32, seat.ship.id as i32, seat.score, 0, 0, 0, 0, 0],
            ..Entity::default()
        });
        std::iter::once(round).chain(entries).collect()
    }

    /// The update for a stream, if one is due. `None` in the second place: the stream goes on.
    pub fn update(&mut self, stream: &mut Stream) -> Option<v1::PlayResponse> {
        let (tick, base) = (self.tick, stream.base);
        let (gone, ack) = self.seat_of(stream).map(|seat| (seat.gone, seat.ack))?;
        if base >= tick || stream.ended {
            return None;
        }
        if base >= stream.seen_tick + WINDOW_TICKS && base > 0 && !gone {
            return None;
        }
        let oldest = self.history.front().map_or(0, |(tick, _)| *tick);
        let is_fresh = base == 0 || base + 1 < oldest;
        let cells = if is_fresh {
            [0, CELL].map(|index| self.keyframe(index)).to_vec()
        } else {
            let missed = self.history.iter().filter(|(tick, _)| *tick > base);
            missed.flat_map(|(_, deltas)| deltas.clone()).collect()
        };
        let view_checksum = [0, CELL].iter().fold(0_u32, |sum, index| {
            sum.wrapping_add(cell_checksum(*index, &self.before[*index as usize]))
        });
        let update = v1::Update {
            tick,
            base_tick: Some(if is_fresh { 0 } else { base }),
            move_ack: (ack != stream.acked).then_some(ack),
            cells_added: if is_fresh { vec![0, CELL] } else { Vec::new() },
            view_checksum: tick.is_multiple_of(RATE_HZ).then_some(view_checksum),
            cells,
            ..v1::Update::default()
        };
        stream.base = tick;
        stream.acked = ack;
        stream.ended = gone;
        Some(v1::PlayResponse { message: Some(Response::Update(update)) })
    }

    fn keyframe(&self, index: u32) -> v1::CellUpdate {
        let mut bytes = Vec::new();
        cell::encode_keyframe(&self.before[index as usize], index, WORLD, &mut bytes);
        v1::CellUpdate {
            place: index * 128 + self.tick % 128,
            encoding: Some(Encoding::Keyframe(bytes.into())),
            checksum: None,
            traced_moves: vec![],
        }
    }
}

/// What a message is on the wire.
pub fn encode(response: &v1::PlayResponse) -> bytes::Bytes {
    response.encode_to_vec().into()
}
