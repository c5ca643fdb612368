//! A room that exists only as messages, and somebody who looks at it.

use super::super::model::Model;
use super::super::view;
use crate::arena;
use crate::client::{Config, Ended, Event, Session};
use fray_proto::cell::encode_keyframe;
use fray_proto::model::{Entity, World};
use fray_proto::v1::{self, cell_update::Encoding, play_response::Message};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::time::{Duration, Instant};

pub(super) const HAPPENING: u32 = 18;
pub(super) const OWN: u32 = 10;

/// A room, and somebody who looks at it.
pub(super) struct Room {
    pub(super) world: World,
    pub(super) game: &'static str,
    pub(super) player: u32,
    pub(super) tick: u32,
    pub(super) local: Vec<Entity>,
    pub(super) global: Vec<Entity>,
    pub(super) private: Vec<i32>,
    pub(super) restored_age_ms: Option<u64>,
    pub(super) session: Session,
    pub(super) model: Model,
    pub(super) now: Instant,
}

impl Room {
    pub(super) fn of(game: &'static str, position_bits: u32, player: u32) -> Self {
        let mut room = Self {
            world: World { position_bits, cell_bits: position_bits, unit_bits: 8 },
            game,
            player,
            tick: 100,
            local: Vec::new(),
            global: Vec::new(),
            private: Vec::new(),
            restored_age_ms: None,
            session: Session::new(Config::default()),
            model: Model::new(0),
            now: tokio::time::Instant::now().into_std(),
        };
        room.welcome();
        room
    }

    /// Three players; the first is the own one, in the world's corner.
    pub(super) fn arena(player: u32) -> Self {
        let mut room = Self::of("arena", 20, player);
        room.local = vec![
            ship(OWN, 1, [0, 0]),
            ship(OWN + 1, 2, [4000, 40]),
            ship(OWN + 2, 3, [2000, 2000]),
        ];
        room.global = vec![
            entry(1, "ada", 50, OWN),
            entry(2, "bob", 120, OWN + 1),
            entry(3, "eve", 7, OWN + 2),
            entity(4, arena::ROUND, [3, 1, 100 + 20 * 95, 0, 0, 0, 0, 0]),
        ];
        room.update();
        room
    }

    pub(super) fn welcome(&mut self) {
        self.session.open("");
        self.session.poll_request(self.now);
        let welcome = v1::Welcome {
            protocol_min: 1,
            protocol_max: 1,
            game: self.game.to_owned(),
            tick_rate_hz: 20,
            world: Some(v1::World {
                position_bits: self.world.position_bits,
                cell_bits: self.world.cell_bits,
                unit_bits: self.world.unit_bits,
            }),
            player: self.player,
            entity: if self.player == 0 { 0 } else { OWN },
            grace_ms: 30_000,
            idle_timeout_ms: 10_000,
            heartbeat_ms: 1000,
            staleness_window_ms: 1000,
            restored_age_ms: self.restored_age_ms,
            room: Some(v1::Room { name: "Cobalt arena".to_owned(), ..v1::Room::default() }),
            ..v1::Welcome::default()
        };
        self.receive(Message::Welcome(welcome));
    }

    /// The next tick, as keyframes.
    pub(super) fn update(&mut self) {
        self.tick += 1;
        self.now += Duration::from_millis(50);
        let cells = [(0, &self.global), (1, &self.local)].map(|(cell, entities)| {
            let mut bytes = Vec::new();
            encode_keyframe(entities, cell, self.world, &mut bytes);
            v1::CellUpdate {
                place: cell * 128 + self.tick % 128,
                encoding: Some(Encoding::Keyframe(bytes.into())),
                checksum: None,
                traced_moves: vec![],
            }
        });
        let update = v1::Update {
            tick: self.tick,
            base_tick: Some(0),
            cells_added: vec![0, 1],
            private: Some(v1::Private { values: self.private.clone() }),
            cells: cells.into(),
            ..v1::Update::default()
        };
        self.receive(Message::Update(update));
    }

    pub(super) fn receive(&mut self, message: Message) {
        let response = v1::PlayResponse { message: Some(message) };
        let event = self.session.handle_response(response, 100, self.now);
        let event = event.expect("the server keeps to the rules");
        assert!(!matches!(event, Event::Broken { .. }), "{event:?}");
        self.model.handle(&event, &self.session, self.now);
    }

    pub(super) fn disconnect(&mut self) {
        self.session.handle_closed();
        let event = Event::Disconnected(Ended::broken("a test"));
        self.model.handle(&event, &self.session, self.now);
    }

    pub(super) fn moves(&mut self) {
        self.session.handle_moved();
        let event = Event::Moved(Ended::broken("a test"));
        self.model.handle(&event, &self.session, self.now);
    }

    /// The terminal's lines.
    pub(super) fn lines(&mut self, columns: u16, lines: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("in memory");
        let draw = |frame: &mut ratatui::Frame<'_>| {
            view::render(frame, &mut self.model, &mut self.session, false, self.now);
        };
        terminal.draw(draw).expect("in memory");
        let buffer = terminal.backend().buffer();
        let symbols = |line: &[ratatui::buffer::Cell]| {
            line.iter().map(ratatui::buffer::Cell::symbol).collect()
        };
        buffer.content.chunks(usize::from(columns)).map(symbols).collect()
    }

    /// The same as one text.
    pub(super) fn screen(&mut self) -> String {
        self.lines(80, 24).join("\n")
    }
}

pub(super) fn entity(id: u32, kind: u32, attributes: [i32; 8]) -> Entity {
    Entity { id, kind, attributes, ..Entity::default() }
}

pub(super) fn ship(id: u32, number: i32, units: [i32; 2]) -> Entity {
    Entity {
        position: units.map(|u| u << 8),
        ..entity(id, arena::SHIP, [number, 72, 0, 0, 0, 0, 0, 0])
    }
}

pub(super) fn entry(number: i32, name: &str, score: i32, ship: u32) -> Entity {
    Entity {
        payload: Some(name.as_bytes().into()),
        ..entity(
            number as u32,
            arena::PLAYER,
            [number, ship as i32, score, 0, 0, number * 90, 3, 0],
        )
    }
}
