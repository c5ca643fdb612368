//! A session and a room that exchange messages by hand, in virtual time, over a way of a given length.

use super::room::{Faults, Room, Stream, encode};
use fray_bot::client::{Config, Controls, Counters, Event, SendError, Session};
use fray_proto::v1::{self, play_request::Message as Request};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub const TICK_MS: u64 = 50;

/// A client and a server, and what is under way between them.
pub struct Pair {
    pub session: Session,
    pub room: Room,
    pub stream: Option<Stream>,
    pub up: VecDeque<(u64, v1::PlayRequest)>,
    pub down: VecDeque<(u64, v1::PlayResponse)>,
    pub way_ms: u64,
    pub ticket: String,
    pub start: Instant,
    pub ms: u64,
    pub events: Vec<Event>,
    pub counters: Counters,
}

impl Pair {
    pub fn new(faults: Faults, way_ms: u64) -> Self {
        let mut room = Room::new(faults);
        let ticket = room.join();
        let config =
            Config { entity_ticks_apart: Some(fray_bot::arena::ROCK), ..Config::default() };
        let mut pair = Self {
            session: Session::new(config),
            room,
            stream: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            way_ms,
            ticket,
            start: tokio::time::Instant::now().into_std(),
            ms: 0,
            events: Vec::new(),
            counters: Counters::default(),
        };
        pair.open();
        pair
    }

    pub fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    pub fn open(&mut self) {
        self.session.open(&self.ticket);
    }

    /// The stream breaks; what is under way is lost.
    pub fn cut(&mut self) {
        self.up.clear();
        self.down.clear();
        if let Some(stream) = self.stream.take() {
            self.room.drop_stream(&stream);
        }
        self.session.handle_closed();
    }

    /// The room moves to another server; what is under way is lost. The player follows.
    pub fn follow(&mut self) {
        self.up.clear();
        self.down.clear();
        let stream = self.stream.take().expect("a stream is open");
        self.room.moves(&stream);
        let redirect = v1::Redirect { epoch: self.room.epoch, ..v1::Redirect::default() };
        let message = Some(v1::play_response::Message::Redirect(redirect));
        let event = self.session.handle_response(v1::PlayResponse { message }, 0, self.now());
        self.events.push(event.expect("a stream may end so"));
        self.session.handle_moved();
        self.open();
    }

    pub fn steer(&mut self, axis_x: i32) -> Result<u32, SendError> {
        let now = self.now();
        self.session.send(Controls { axis_x, axis_y: 127, ..Controls::default() }, now, now)
    }

    /// Lets time pass, a millisecond at a time.
    pub fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
        self.counters += self.session.take_counters();
    }

    pub fn step(&mut self) {
        self.ms += 1;
        self.room.now_ms = self.ms;
        let now = self.now();
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now).expect("the server is alive");
        }
        while let Some(request) = self.session.poll_request(now) {
            self.up.push_back((self.ms + self.way_ms, request));
        }
        while self.up.front().is_some_and(|(at, _)| *at <= self.ms) {
            let (_, request) = self.up.pop_front().expect("just seen");
            self.serve(request);
        }
        if self.ms.is_multiple_of(TICK_MS) {
            self.room.step();
            if let Some(update) = self.stream.as_mut().and_then(|s| self.room.update(s)) {
                self.down.push_back((self.ms + self.way_ms, update));
            }
        }
        while self.down.front().is_some_and(|(at, _)| *at <= self.ms) {
            let (_, response) = self.down.pop_front().expect("just seen");
            let bytes = encode(&response);
            let event = self.session.handle_message(bytes, 5, now);
            self.events.push(event.expect("the server keeps to the rules"));
        }
    }

    pub fn serve(&mut self, request: v1::PlayRequest) {
        match (&mut self.stream, &request.message) {
            (None, Some(Request::Hello(hello))) => {
                let (stream, welcome) = self.room.open(hello).expect("a known ticket");
                self.stream = Some(stream);
                self.down.push_back((self.ms + self.way_ms, welcome));
            }
            (Some(stream), _) => self.room.receive(stream, request),
            (None, _) => panic!("the first message is not Hello"),
        }
    }

    pub fn requests(&self) -> &[Request] {
        &self.stream.as_ref().expect("a stream is open").requests
    }
}

/// Plays for a while with a move every 230 ms.
pub fn play(pair: &mut Pair, moves: i32) {
    for n in 0..moves {
        pair.steer(n * 37 % 127).expect("there is room for a move");
        pair.pass(230);
    }
    pair.pass(3 * pair.way_ms + 200);
}
