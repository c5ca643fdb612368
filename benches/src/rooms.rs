//! Rooms without a server around them: rules, players who play, encoded ticks.

use crate::TICK_RATE_HZ;
use crate::http2::FRAME_HEADER_BYTES;
use crate::ships::{Scene, Ships};
use fray_proto::model::Steering;
use fray_proto::update::MoveAck;
use fray_server::game::arena::BUTTON_FIRE;
use fray_server::game::{Controls, Game, GameFactory, Profile, Published, Setup, View};
use fray_server::replication::{Encoder, Grid, PlayerFrame, Splicer, TickFrame};
use serde::Serialize;
use std::sync::Arc;

/// Ticks before anything is measured.
const WARM_UP_TICKS: u32 = 100;

/// How often ships get another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// About every half second, as in the benchmark of the whole.
    Some,
    /// Every tick.
    All,
}

/// Both.
pub const WAYS: [Ways; 2] = [Ways::Some, Ways::All];

/// A game with players in it, who play.
pub struct Room {
    /// Its rules.
    pub game: Box<dyn Game>,
    players: u32,
    ways: Ways,
    tick: u32,
    noise: u64,
}

impl Room {
    /// So many players; ships have their speed by now.
    pub fn new(factory: &dyn GameFactory, players: u32, ways: Ways) -> Self {
        let setup = Setup { seed: 1, tick_rate_hz: TICK_RATE_HZ, capacity: players };
        let mut game = factory.create(&setup);
        for player in 1..=players {
            game.join(player, &Profile::default());
        }
        let mut room = Self { game, players, ways, tick: 0, noise: 1 };
        for _ in 0..WARM_UP_TICKS {
            room.steer();
            room.step();
        }
        room
    }

    /// Ships of the benchmark.
    pub fn ships(players: u32, ways: Ways) -> Self {
        Self::new(&Ships(Scene::default()), players, ways)
    }

    /// Players choose their ways.
    pub fn steer(&mut self) {
        for player in 1..=self.players {
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 7;
            self.noise ^= self.noise << 17;
            let noise = self.noise >> 32;
            if self.ways == Ways::Some && !noise.is_multiple_of(10) {
                continue;
            }
            let way = |noise: u64| (noise % 3) as i32 - 1;
            let (axis_x, axis_y) = (127 * way(noise / 10), 127 * way(noise / 30));
            let steering = Steering { axis_x, axis_y, aim: None };
            let buttons = if (noise / 90).is_multiple_of(4) { BUTTON_FIRE } else { 0 };
            // A refusal is an answer, too.
            let _ = self.game.apply(player, &Controls { steering, buttons, ..Controls::default() });
        }
    }

    /// A tick of the rules.
    pub fn step(&mut self) {
        self.tick += 1;
        self.game.step();
    }

    /// What there is to be seen.
    pub fn published(&self) -> Published {
        let mut published = Published::default();
        self.game.publish(&mut published);
        published.put_in_order();
        published
    }

    /// How many can be seen.
    pub fn entities(&self) -> usize {
        self.published().local.len()
    }

    /// What encodes its ticks.
    pub fn encoder(&self) -> Encoder {
        Encoder::new(Grid::of(self.game.as_ref()), TICK_RATE_HZ)
    }

    fn player_frames(&self) -> Vec<PlayerFrame> {
        let frame = |player| PlayerFrame {
            player,
            generation: 1,
            left: false,
            ack: MoveAck {
                input_ack: self.tick,
                applied_count: self.tick,
                applied_hash: self.noise as u32,
                arrival_margin_ms: player % 50,
            },
            refusals: Vec::new(),
            private: ([0; _], 0),
            view: self.game.view(Some(player)),
        };
        (1..=self.players).map(frame).collect()
    }

    /// The next tick, as it is encoded.
    pub fn play_on(&mut self) -> (u32, Published, Vec<PlayerFrame>, View) {
        self.steer();
        self.step();
        (self.tick, self.published(), self.player_frames(), self.game.view(None))
    }

    /// The next tick, encoded.
    pub fn next_frame(&mut self, encoder: &mut Encoder) -> Arc<TickFrame> {
        let (tick, published, players, view) = self.play_on();
        encoder.encode(tick, &published, players, view, Vec::new())
    }
}

/// What players' updates are made of, each tick; of the ticks after the first.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Bytes {
    /// Of an update: all of it, with what gRPC and HTTP/2 put before it.
    pub whole: f64,
    /// What all players share of it.
    pub cells: f64,
    /// Entities that it is about.
    pub entities: f64,
    /// `whole` for each of them.
    pub per_entity: f64,
}

impl Bytes {
    /// So many ticks of a room.
    pub fn count(mut room: Room, ticks: u32) -> Self {
        let mut encoder = room.encoder();
        let mut splicers: Vec<Splicer> = (0..room.players).map(|_| Splicer::default()).collect();
        let (mut updates, mut whole, mut cells, mut entities) = (0, 0, 0, 0);
        for tick in 0..=ticks {
            let frame = room.next_frame(&mut encoder);
            let all = 0..=frame.grid().world.cells() as u32;
            for (player, splicer) in frame.players.iter().zip(&mut splicers) {
                let update = splicer.update(&frame, Some(player), player.view);
                let counts = splicer.take_counts();
                if let Some(update) = update.filter(|_| tick > 0) {
                    updates += 1;
                    whole += update.len() + FRAME_HEADER_BYTES;
                    cells += counts.spliced_bytes;
                    // Of the cells that it has, which is somewhat more than it looks at.
                    let held = all.clone().filter(|cell| splicer.holds(*cell));
                    entities += held.map(|cell| frame.entities(cell).len()).sum::<usize>();
                }
            }
        }
        let each = |sum: u64| sum as f64 / f64::from(updates);
        Self {
            whole: each(whole as u64),
            cells: each(cells),
            entities: each(entities as u64),
            per_entity: whole as f64 / entities as f64,
        }
    }
}
