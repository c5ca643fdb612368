//! Logs of real games, for tests of stores and readers: what a room would hand over, without a room.
#![allow(dead_code, reason = "each test uses its own part")]

pub(crate) mod sim_disk;

use bytes::BytesMut;
use fray_server::game::arena::{Arena, ArenaOptions};
use fray_server::game::{Controls, Game, GameFactory, Input, Profile, Setup, Steering};
use fray_server::replay::{Games, Report, verify};
use fray_server::store::{
    Checkpoint, Chunk, End, EndReason, Header, InputRef, Reader, Record, TickDraft,
};
use std::io::Read;
use std::sync::Arc;

pub(crate) const TICK_RATE_HZ: u32 = 20;

/// A small world, so that its checkpoints are small.
pub(crate) fn arena() -> Arena {
    let options = ArenaOptions { position_bits: 18, rocks: 4, pickups: 2, ..Default::default() };
    Arena { options }
}

pub(crate) fn header(room: &str, epoch: u64, started_at_ms: u64) -> Header {
    Header {
        game: arena().name().into(),
        sim_version: arena().sim_version(),
        seed: 7,
        configuration: arena().configuration(),
        tick_rate_hz: TICK_RATE_HZ,
        capacity: 8,
        room: room.into(),
        room_name: format!("the room {room}"),
        code: "SECRET".into(),
        epoch,
        first_tick: 1,
        started_at_ms,
        incident: String::new(),
        server: "a test".into(),
    }
}

/// How often what goes into the log, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    pub(crate) hash: u32,
    pub(crate) checkpoint: u32,
    pub(crate) chunk: u32,
}

/// A game that is played and logged.
pub(crate) struct Play {
    game: Box<dyn Game>,
    rhythm: Rhythm,
    players: u32,
    tick: u32,
    draft: TickDraft,
    records: BytesMut,
    has_checkpoint: bool,
    first_tick: u32,
}

impl Play {
    pub(crate) fn new(seed: u64, players: u32, rhythm: Rhythm) -> Self {
        let setup = Setup { seed, tick_rate_hz: TICK_RATE_HZ, capacity: 64 };
        let mut play = Self {
            game: arena().create(&setup),
            rhythm,
            players,
            tick: 0,
            draft: TickDraft::default(),
            records: BytesMut::new(),
            has_checkpoint: false,
            first_tick: 1,
        };
        play.checkpoint();
        play
    }

    pub(crate) fn tick(&self) -> u32 {
        self.tick
    }

    /// Gives up what was not handed over, and goes on with a checkpoint, as a room does after a refusal.
    pub(crate) fn begin_anew(&mut self) {
        self.records.clear();
        self.first_tick = self.tick + 1;
        self.checkpoint();
    }

    /// Plays until a chunk is whole.
    pub(crate) fn next_chunk(&mut self) -> Chunk {
        loop {
            self.play();
            if self.tick.is_multiple_of(self.rhythm.checkpoint) {
                let chunk = self.seal(false);
                self.checkpoint();
                return chunk;
            }
            if self.tick.is_multiple_of(self.rhythm.chunk) {
                return self.seal(false);
            }
        }
    }

    /// Plays a tick more, and ends.
    pub(crate) fn last_chunk(&mut self, reason: EndReason) -> Chunk {
        self.play();
        End { tick: self.tick, reason }.put(&mut self.records);
        self.seal(true)
    }

    pub(crate) fn chunks(&mut self, count: usize) -> Vec<Chunk> {
        (0..count).map(|_| self.next_chunk()).collect()
    }

    fn checkpoint(&mut self) {
        let state = self.game.checkpoint();
        Checkpoint::put(self.tick, self.game.state_hash(), &state, &mut self.records);
        self.has_checkpoint = true;
    }

    fn seal(&mut self, has_end: bool) -> Chunk {
        let first_tick = std::mem::replace(&mut self.first_tick, self.tick + 1);
        Chunk {
            records: self.records.split().freeze(),
            has_checkpoint: std::mem::take(&mut self.has_checkpoint),
            first_tick,
            last_tick: self.tick,
            has_end,
        }
    }

    fn play(&mut self) {
        self.tick += 1;
        for player in 1..=self.players {
            let noise = noise(self.tick, player);
            if self.tick == player {
                let name = format!("pilot {player}");
                self.feed(&Input::Join { player, profile: Profile { name, hue: player as u16 } });
            }
            if self.tick <= player {
                continue;
            }
            match noise % 97 {
                0 => self.feed(&Input::Connected { player, connected: false }),
                1 => self.feed(&Input::Connected { player, connected: true }),
                2..=40 => {
                    let byte = |shift: u32| i32::from((noise >> shift) as u8 as i8).max(-127);
                    let steering = Steering {
                        axis_x: byte(8),
                        axis_y: byte(16).abs(),
                        aim: (noise & 1 << 24 != 0).then_some((noise >> 32) as u16),
                    };
                    let buttons = u32::from(noise & 6 << 24 != 0);
                    let controls = Controls { steering, buttons, ..Controls::default() };
                    self.feed(&Input::Controls { player, controls });
                }
                _ => {}
            }
        }
        self.game.step();
        let hash = self.tick.is_multiple_of(self.rhythm.hash).then(|| self.game.state_hash());
        self.draft.finish(self.tick, hash, false, &mut self.records);
    }

    fn feed(&mut self, input: &Input) {
        self.draft.input(InputRef::from(input));
        let _ = input.feed(self.game.as_mut());
    }
}

/// A number that depends on a tick and a player alone (Marsaglia's xorshift, from a mixed start).
pub(crate) fn noise(tick: u32, player: u32) -> u64 {
    let mut x = (u64::from(tick) << 32 | u64::from(player)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..4 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}

/// Numbers one after the other, from a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Less than `below`.
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let mixed = (self.0 >> 29 ^ self.0 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        mixed % below.max(1)
    }
}

pub(crate) fn verified(from: impl Read) -> Report {
    let games: Vec<Arc<dyn GameFactory>> = vec![Arc::new(arena())];
    verify(Games(&games), from, u32::MAX, || false).expect("an answer")
}

/// All that can be read of a recording.
pub(crate) fn records(from: impl Read) -> Vec<Record> {
    let mut reader = Reader::new(from);
    std::iter::from_fn(|| reader.next_record().expect("not damaged")).collect()
}

/// Its ticks.
pub(crate) fn ticks(records: &[Record]) -> Vec<u32> {
    let tick = |record: &Record| match record {
        Record::Tick(tick) => Some(tick.tick),
        _ => None,
    };
    records.iter().filter_map(tick).collect()
}
