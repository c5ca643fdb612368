//! A recorded game: the arena, played by inputs that are made from tick and player alone, and its log.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

use bytes::BytesMut;
use fray_server::game::arena::{Arena, ArenaOptions};
use fray_server::game::{
    Controls, Entity, Game, GameFactory, Input, Motions, Profile, Published, Refusal, RestoreError,
    Setup, Steering, View, WorldLimits,
};
use fray_server::store::{
    Checkpoint, Chunk, End, EndReason, Header, InputRef, MemoryStore, Store, TickDraft, Writer,
};
use std::sync::{Arc, Mutex};

pub const PLAYERS: u32 = 8;
/// Ticks between two checkpoints.
pub const CHECKPOINT_TICKS: u32 = 100;
/// Ticks of one chunk.
pub const CHUNK_TICKS: u32 = 20;
const SEED: u64 = 0x5eed;

/// What the game was after a tick.
#[derive(Clone, Debug)]
pub struct State {
    pub hash: u64,
    pub local: Vec<Entity>,
    pub global: Vec<Entity>,
    pub view: View,
}

/// A game that is recorded as it is played.
pub struct Recorded {
    pub header: Header,
    pub chunks: Vec<Chunk>,
    /// Of every tick; the first is that of tick 0.
    pub states: Vec<State>,
    /// How often a player joined and left.
    pub joins: Vec<(u32, u32)>,
    /// Only so that a recorded game can be shared by tests.
    game: Mutex<Box<dyn Game>>,
    draft: TickDraft,
    /// Instead of the true one, in this tick.
    pub lie_about_hash_of: Option<u32>,
    present: [bool; PLAYERS as usize + 1],
}

pub fn factory() -> Arena {
    let options = ArenaOptions {
        position_bits: 18,
        rocks: 12,
        pickups: 8,
        round_s: 20,
        ..ArenaOptions::default()
    };
    Arena { options }
}

impl Recorded {
    pub fn new(room: &str, tick_rate_hz: u32) -> Self {
        let factory = factory();
        let setup = Setup { seed: SEED, tick_rate_hz, capacity: PLAYERS };
        let game = factory.create(&setup);
        let header = Header {
            game: factory.name().into(),
            sim_version: factory.sim_version(),
            seed: SEED,
            tick_rate_hz,
            capacity: PLAYERS,
            room: room.into(),
            room_name: format!("The {room}"),
            epoch: 1,
            first_tick: 1,
            started_at_ms: 1_000,
            server: "test".into(),
            ..Header::default()
        };
        Self {
            states: vec![state(game.as_ref())],
            header,
            chunks: Vec::new(),
            joins: Vec::new(),
            game: Mutex::new(game),
            draft: TickDraft::default(),
            lie_about_hash_of: None,
            present: [false; PLAYERS as usize + 1],
        }
    }

    /// A game of so many ticks, with its end.
    pub fn finished(room: &str, ticks: u32) -> Self {
        let mut recorded = Self::new(room, 20);
        recorded.play(ticks);
        recorded.end(EndReason::RoomOver);
        recorded
    }

    pub fn last_tick(&self) -> u32 {
        self.states.len() as u32 - 1
    }

    fn game(&mut self) -> &mut dyn Game {
        self.game.get_mut().expect("no panic").as_mut()
    }

    /// Plays so many ticks more.
    pub fn play(&mut self, ticks: u32) {
        let to = self.last_tick() + ticks;
        while self.last_tick() < to {
            let first_tick = self.last_tick() + 1;
            let mut records = BytesMut::new();
            let has_checkpoint = self.last_tick().is_multiple_of(CHECKPOINT_TICKS);
            if has_checkpoint {
                let (tick, hash) = (self.last_tick(), self.game().state_hash());
                Checkpoint::put(tick, hash, &self.game().checkpoint(), &mut records);
            }
            let chunk_ends = (self.last_tick() / CHUNK_TICKS + 1) * CHUNK_TICKS;
            for tick in first_tick..=to.min(chunk_ends) {
                self.tick(tick, &mut records);
            }
            self.chunks.push(Chunk {
                records: records.freeze(),
                has_checkpoint,
                first_tick,
                last_tick: self.last_tick(),
                has_end: false,
            });
        }
    }

    fn tick(&mut self, tick: u32, out: &mut BytesMut) {
        for input in self.inputs(tick) {
            self.draft.input(InputRef::from(&input));
            input.feed(self.game()).expect("an acceptable input");
        }
        self.game().step();
        let mut marks = Vec::new();
        self.game().marks(&mut marks);
        for mark in &marks {
            self.draft.mark(mark);
        }
        let mut hash = self.game().state_hash();
        if self.lie_about_hash_of == Some(tick) {
            hash ^= 1;
        }
        let kept = tick.is_multiple_of(10) || self.lie_about_hash_of == Some(tick);
        self.draft.finish(tick, kept.then_some(hash), false, out);
        let state = state(self.game());
        self.states.push(state);
    }

    fn inputs(&mut self, tick: u32) -> Vec<Input> {
        let mut inputs = Vec::new();
        for player in 1..=PLAYERS {
            let noise = noise(tick, player);
            let is_there = &mut self.present[player as usize];
            if (tick + player * 7).is_multiple_of(60) && !*is_there {
                *is_there = true;
                self.joins.push((tick, player));
                let profile =
                    Profile { name: format!("pilot {player}"), hue: (player * 20) as u16 };
                inputs.push(Input::Join { player, profile });
            }
            if !*is_there {
                continue;
            }
            match noise % 1009 {
                0 => {
                    *is_there = false;
                    inputs.push(Input::Leave { player });
                }
                1 => inputs.push(Input::Connected { player, connected: false }),
                2..=6 => inputs.push(Input::Connected { player, connected: true }),
                7..=200 => {
                    let byte = |shift: u32| i32::from((noise >> shift) as u8 as i8).max(-127);
                    let controls = Controls {
                        steering: Steering {
                            axis_x: byte(8),
                            axis_y: byte(16).abs(),
                            aim: (noise & 1 << 24 != 0).then_some((noise >> 32) as u16),
                        },
                        buttons: u32::from(noise & 6 << 24 != 0),
                        ..Controls::default()
                    };
                    inputs.push(Input::Controls { player, controls });
                }
                _ => {}
            }
        }
        inputs
    }

    /// Ends the log.
    pub fn end(&mut self, reason: EndReason) {
        let tick = self.last_tick();
        let mut records = BytesMut::new();
        End { tick, reason }.put(&mut records);
        self.chunks.push(Chunk {
            records: records.freeze(),
            has_checkpoint: false,
            first_tick: tick + 1,
            last_tick: tick,
            has_end: true,
        });
    }

    /// As a file.
    pub fn file(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        self.header.put(&mut out);
        self.chunks.iter().for_each(|chunk| out.extend_from_slice(&chunk.records));
        out.to_vec()
    }

    /// Into a store; the log runs for as long as the writer is kept.
    pub fn write(&self, store: &dyn Store) -> Box<dyn Writer> {
        let mut writer = store.writer(self.header.clone()).expect("a writer");
        for chunk in &self.chunks {
            writer.append(chunk.clone()).expect("taken");
        }
        writer
    }
}

/// A store that holds these, all finished.
pub fn store_of(all: &[&Recorded]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new(64 << 20));
    for recorded in all {
        drop(recorded.write(store.as_ref()));
    }
    store
}

fn state(game: &dyn Game) -> State {
    let mut shown = Published::default();
    game.publish(&mut shown);
    State {
        hash: game.state_hash(),
        local: shown.local,
        global: shown.global,
        view: game.view(None),
    }
}

/// The arena, with something that happens before each of its steps.
pub struct Hooked(pub Arc<dyn Fn() + Send + Sync>);

struct HookedGame(Box<dyn Game>, Arc<dyn Fn() + Send + Sync>);

impl GameFactory for Hooked {
    fn name(&self) -> &'static str {
        factory().name()
    }

    fn sim_version(&self) -> u32 {
        factory().sim_version()
    }

    fn create(&self, setup: &Setup) -> Box<dyn Game> {
        Box::new(HookedGame(factory().create(setup), Arc::clone(&self.0)))
    }

    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        Ok(Box::new(HookedGame(factory().restore(checkpoint)?, Arc::clone(&self.0))))
    }
}

impl Game for HookedGame {
    fn world(&self) -> WorldLimits {
        self.0.world()
    }

    fn motions(&self) -> Motions {
        self.0.motions()
    }

    fn join(&mut self, player: u32, profile: &Profile) -> u32 {
        self.0.join(player, profile)
    }

    fn leave(&mut self, player: u32) {
        self.0.leave(player);
    }

    fn set_connected(&mut self, player: u32, connected: bool) {
        self.0.set_connected(player, connected);
    }

    fn apply(&mut self, player: u32, controls: &Controls) -> Result<(), Refusal> {
        self.0.apply(player, controls)
    }

    fn step(&mut self) {
        (self.1)();
        self.0.step();
    }

    fn publish(&self, out: &mut Published) {
        self.0.publish(out);
    }

    fn view(&self, player: Option<u32>) -> View {
        self.0.view(player)
    }

    fn private(&self, player: u32, out: &mut Vec<i32>) {
        self.0.private(player, out);
    }

    fn checkpoint(&self) -> Vec<u8> {
        self.0.checkpoint()
    }
}

/// A number that depends on a tick and a player alone (Marsaglia's xorshift, from a mixed start).
fn noise(tick: u32, player: u32) -> u64 {
    let mut x = (u64::from(tick) << 32 | u64::from(player)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..4 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}
