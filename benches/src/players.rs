//! All players, in one thread: each counts what it gets and sends a move each tick.

use crate::TICK_RATE_HZ;
use crate::clock::{now_us, since_us};
use crate::cost::{cpu_ns, rss_bytes};
use crate::http2::{Connection, Event};
use crate::moves::{MoveBytes, hello};
use crate::replica::Kept;
use crate::ships::TOLD;
use anyhow::{Context as _, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

/// Between two moves of a player.
const PERIOD_US: u32 = 1_000_000 / TICK_RATE_HZ;
const READ_BYTES: usize = 256 * 1024;
/// How many players come at once, each 10 ms.
const ARRIVALS_AT_ONCE: usize = 64;
const ARRIVALS_EVERY_US: u32 = 10_000;
/// One player of so many keeps all that it is told, and looks whether it fits.
const KEPT_EVERY: usize = 100;
/// Gaps are counted in tenths of a millisecond, up to a second.
const GAP_BINS: usize = 10_000;
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Fray.
    Fray,
    /// tonic, as it comes.
    Naive,
    /// Bare TCP.
    Raw,
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the server is.
    pub address: SocketAddr,
    /// Which.
    pub kind: Kind,
    /// Its process.
    pub pid: u32,
    /// How many players come.
    pub players: usize,
    /// How many of them share a connection.
    pub streams_per_connection: usize,
    /// After the last one came.
    pub warm_up: Duration,
    /// Then it is measured for so long.
    pub window: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Players that were there all the time.
    pub players: usize,
    /// Players whose streams ended.
    pub ended: usize,
    /// Updates that came in the window.
    pub updates: u64,
    /// Their bytes, as messages.
    pub update_bytes: u64,
    /// Moves that were sent.
    pub moves: u64,
    /// Moves for which the server had left no window.
    pub moves_withheld: u64,
    /// Between two updates of a player.
    pub gap_p50_ms: f64,
    /// The same.
    pub gap_p99_ms: f64,
    /// From the beginning of a tick until whoever keeps a replica has the update.
    pub receipt_p50_ms: f64,
    /// The same.
    pub receipt_p99_ms: f64,
    /// Replicas that were kept.
    pub replicas: usize,
    /// Updates that did not fit.
    pub desyncs: u64,
    /// The fewest ships that any of them has in the end.
    pub ships_min: usize,
    /// The server's time on its core, for each update.
    pub cpu_us_per_update: f64,
    /// The server's share of its core.
    pub server_busy: f64,
    /// The players' share of theirs.
    pub load_busy: f64,
    /// The server's memory before anybody came.
    pub rss_before_bytes: u64,
    /// The server's memory at the end.
    pub rss_bytes: u64,
}

struct Link {
    socket: TcpStream,
    connection: Connection,
    written: usize,
    streams: std::ops::Range<usize>,
    due_us: u32,
    is_open: bool,
}

#[derive(Default)]
struct Stream {
    prefix: [u8; 5],
    prefix_filled: usize,
    /// Bytes of the message that are still to come.
    missing: usize,
    head: [u8; 16],
    head_filled: usize,
    sequence: u32,
    seen_tick: u32,
    window_used: i64,
    updated_us: Option<u32>,
    is_ended: bool,
    turn: i8,
    thrust: i8,
    kept: Option<Box<Kept>>,
}

struct Crowd {
    plan: Plan,
    poll: Poll,
    links: Vec<Link>,
    streams: Vec<Stream>,
    moves: MoveBytes,
    noise: u64,
    is_measured: bool,
    gaps: Vec<u32>,
    receipts_us: Vec<u32>,
    figures: Figures,
}

/// Plays, and measures.
pub fn play(plan: Plan) -> anyhow::Result<Figures> {
    let moves = if plan.kind == Kind::Fray { MoveBytes::of_fray() } else { MoveBytes::plain() };
    let rss_before_bytes = rss_bytes(plan.pid)?;
    let mut crowd = Crowd {
        plan,
        poll: Poll::new()?,
        links: Vec::new(),
        streams: Vec::new(),
        moves,
        noise: 1,
        is_measured: false,
        gaps: vec![0; GAP_BINS],
        receipts_us: Vec::new(),
        figures: Figures { rss_before_bytes, ..Figures::default() },
    };
    let mut next = now_us();
    while crowd.streams.len() < plan.players {
        crowd.arrive()?;
        next = next.wrapping_add(ARRIVALS_EVERY_US);
        crowd.run_until(next)?;
    }
    crowd.run_for(plan.warm_up)?;
    let began = Sample::take(plan.pid)?;
    crowd.is_measured = true;
    crowd.run_for(plan.window)?;
    crowd.is_measured = false;
    let ended = Sample::take(plan.pid)?;
    crowd.report(&began, &ended)
}

/// Both sides' time.
struct Sample {
    at_us: u32,
    server_ns: u64,
    load_ns: u64,
}

impl Sample {
    fn take(pid: u32) -> anyhow::Result<Self> {
        let load_ns = cpu_ns(std::process::id())?;
        Ok(Self { at_us: now_us(), server_ns: cpu_ns(pid).context("the server is gone")?, load_ns })
    }
}

impl Crowd {
    /// A few more players.
    fn arrive(&mut self) -> anyhow::Result<()> {
        let until = (self.streams.len() + ARRIVALS_AT_ONCE).min(self.plan.players);
        while self.streams.len() < until {
            let shared = self.plan.streams_per_connection;
            if self.streams.len().is_multiple_of(shared) {
                self.connect()?;
            }
            let index = self.streams.len();
            let mut stream = Stream::default();
            if index.is_multiple_of(KEPT_EVERY) {
                stream.kept = Some(Box::new(Kept::new(self.plan.kind)));
            }
            let link = self.links.last_mut().context("a connection was made")?;
            let id = stream_id(index - link.streams.start);
            link.streams.end = index + 1;
            match self.plan.kind {
                Kind::Fray => {
                    let name = if stream.kept.is_some() { TOLD } else { "bench" };
                    let path = "/fray.v1.Play/Play";
                    link.connection.open(id, path, &hello(name));
                }
                Kind::Naive => link.connection.open(id, "/fray.bench.Naive/Play", &[]),
                Kind::Raw => {
                    let first = self.moves.with(0, 0, 0, 0);
                    link.connection.data(id, &mut stream.window_used, first);
                }
            }
            self.streams.push(stream);
            flush(link);
        }
        Ok(())
    }

    fn connect(&mut self) -> anyhow::Result<()> {
        // Blocking: it is there before the next one is asked for.
        let socket = std::net::TcpStream::connect(self.plan.address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        let token = Token(self.links.len());
        self.poll.registry().register(
            &mut socket,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let is_raw = self.plan.kind == Kind::Raw;
        let connection = if is_raw { Connection::bare() } else { Connection::default() };
        // Moves of all connections are spread over the period.
        let connections = self.plan.players.div_ceil(self.plan.streams_per_connection) as u64;
        let phase = (self.links.len() as u64 * u64::from(PERIOD_US) / connections) as u32;
        let due_us = now_us().wrapping_add(phase);
        let streams = self.streams.len()..self.streams.len();
        self.links.push(Link { socket, connection, written: 0, streams, due_us, is_open: true });
        Ok(())
    }

    fn run_for(&mut self, time: Duration) -> anyhow::Result<()> {
        self.run_until(now_us().wrapping_add(time.as_micros() as u32))
    }

    fn run_until(&mut self, until_us: u32) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let now = now_us();
            let left = until_us.wrapping_sub(now) as i32;
            if left <= 0 {
                return Ok(());
            }
            let next = self.send_moves(now);
            let pause = next.min(left).max(0) as u64;
            match self.poll.poll(&mut events, Some(Duration::from_micros(pause))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                let index = event.token().0;
                if event.is_readable() {
                    self.receive(index, &mut buffer)?;
                }
                flush(&mut self.links[index]);
            }
        }
    }

    /// Sends what is due; says in how many microseconds more is.
    fn send_moves(&mut self, now: u32) -> i32 {
        let mut next = PERIOD_US as i32;
        for link in &mut self.links {
            let wait = link.due_us.wrapping_sub(now) as i32;
            if wait > 0 {
                next = next.min(wait);
                continue;
            }
            link.due_us = link.due_us.wrapping_add(PERIOD_US);
            if !link.is_open {
                continue;
            }
            let first = link.streams.start;
            for (offset, stream) in self.streams[link.streams.clone()].iter_mut().enumerate() {
                // Nobody moves before it has seen something.
                if stream.is_ended || stream.updated_us.is_none() {
                    continue;
                }
                self.noise ^= self.noise << 13;
                self.noise ^= self.noise >> 7;
                self.noise ^= self.noise << 17;
                let noise = (self.noise >> 16) as u32;
                // Each about every half second.
                if noise.is_multiple_of(10) {
                    stream.turn = (noise / 10 % 3) as i8 - 1;
                }
                if (noise / 30).is_multiple_of(10) {
                    stream.thrust = (noise / 300 % 2) as i8;
                }
                let sequence = stream.sequence + 1;
                let bytes = self.moves.with(sequence, stream.seen_tick, stream.turn, stream.thrust);
                let id = stream_id(first + offset - link.streams.start);
                if link.connection.data(id, &mut stream.window_used, bytes) {
                    stream.sequence = sequence;
                    self.figures.moves += u64::from(self.is_measured);
                } else {
                    self.figures.moves_withheld += u64::from(self.is_measured);
                }
            }
            flush(link);
        }
        next
    }

    fn receive(&mut self, index: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        let link = &mut self.links[index];
        loop {
            match link.socket.read(buffer) {
                Ok(0) => {
                    link.is_open = false;
                    self.streams[link.streams.clone()].iter_mut().for_each(|s| s.is_ended = true);
                    return Ok(());
                }
                Ok(count) => {
                    let now = now_us();
                    let (first, kind) = (link.streams.start, self.plan.kind);
                    let mut tally = Tally {
                        is_measured: self.is_measured,
                        gaps: &mut self.gaps,
                        receipts_us: &mut self.receipts_us,
                        figures: &mut self.figures,
                    };
                    let streams = std::cell::RefCell::new(&mut self.streams[link.streams.clone()]);
                    let _ = first;
                    link.connection.read(
                        &buffer[..count],
                        |event| match event {
                            Event::Data(id, bytes) => {
                                if let Some(stream) = streams.borrow_mut().get_mut(place(id)) {
                                    stream.take(bytes, kind, now, &mut tally);
                                }
                            }
                            Event::Ended(id) => {
                                if let Some(stream) = streams.borrow_mut().get_mut(place(id)) {
                                    stream.is_ended = true;
                                }
                            }
                            Event::GoAway => {}
                        },
                        |id, more| {
                            if let Some(stream) = streams.borrow_mut().get_mut(place(id)) {
                                stream.window_used -= i64::from(more);
                            }
                        },
                    );
                    if count < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    link.is_open = false;
                    self.streams[link.streams.clone()].iter_mut().for_each(|s| s.is_ended = true);
                    return Ok(());
                }
            }
        }
    }

    fn report(mut self, began: &Sample, ended: &Sample) -> anyhow::Result<Figures> {
        ensure!(self.figures.updates > 0, "not one update came in the window");
        let wall_us = f64::from(since_us(began.at_us, ended.at_us));
        let server_us = (ended.server_ns - began.server_ns) as f64 / 1000.0;
        let load_us = (ended.load_ns - began.load_ns) as f64 / 1000.0;
        self.receipts_us.sort_unstable();
        let receipt_ms = |share: f64| {
            let last = self.receipts_us.len().saturating_sub(1);
            let index = (last as f64 * share) as usize;
            self.receipts_us.get(index).map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        let kept = self.streams.iter().filter_map(|stream| stream.kept.as_ref());
        let (gap_p50_ms, gap_p99_ms) = (gap_ms(&self.gaps, 0.5), gap_ms(&self.gaps, 0.99));
        let ended_streams = self.streams.iter().filter(|stream| stream.is_ended).count();
        Ok(Figures {
            players: self.streams.len() - ended_streams,
            ended: ended_streams,
            gap_p50_ms,
            gap_p99_ms,
            receipt_p50_ms: receipt_ms(0.5),
            receipt_p99_ms: receipt_ms(0.99),
            replicas: kept.clone().count(),
            desyncs: kept.clone().map(|kept| kept.desyncs).sum(),
            ships_min: kept.map(|kept| kept.ships).min().unwrap_or_default(),
            cpu_us_per_update: server_us / self.figures.updates as f64,
            server_busy: server_us / wall_us,
            load_busy: load_us / wall_us,
            rss_bytes: rss_bytes(self.plan.pid)?,
            ..self.figures
        })
    }
}

/// What is counted while messages are taken.
struct Tally<'a> {
    is_measured: bool,
    gaps: &'a mut [u32],
    receipts_us: &'a mut Vec<u32>,
    figures: &'a mut Figures,
}

impl Stream {
    /// Takes bytes of messages, wherever they are cut.
    fn take(&mut self, mut bytes: &[u8], kind: Kind, now: u32, tally: &mut Tally<'_>) {
        while !bytes.is_empty() {
            if self.missing == 0 {
                let wanted = (self.prefix.len() - self.prefix_filled).min(bytes.len());
                self.prefix[self.prefix_filled..][..wanted].copy_from_slice(&bytes[..wanted]);
                self.prefix_filled += wanted;
                bytes = &bytes[wanted..];
                if self.prefix_filled < self.prefix.len() {
                    return;
                }
                let [_, a, b, c, d] = self.prefix;
                self.missing = (u32::from_be_bytes([a, b, c, d]) as usize).min(MESSAGE_BYTES_MAX);
                self.head_filled = 0;
            }
            let (part, rest) = bytes.split_at(self.missing.min(bytes.len()));
            let wanted = (self.head.len() - self.head_filled).min(part.len());
            self.head[self.head_filled..][..wanted].copy_from_slice(&part[..wanted]);
            self.head_filled += wanted;
            if let Some(kept) = &mut self.kept {
                kept.message.extend_from_slice(part);
            }
            self.missing -= part.len();
            bytes = rest;
            if self.missing == 0 {
                self.prefix_filled = 0;
                self.finish(kind, now, tally);
            }
        }
    }

    fn finish(&mut self, kind: Kind, now: u32, tally: &mut Tally<'_>) {
        let length = self.prefix[1..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let head = &self.head[..self.head_filled];
        let tick = if kind == Kind::Fray { tick_of_update(head) } else { tick_of_state(head) };
        let made_us = self.kept.as_mut().and_then(|kept| kept.take());
        let Some(tick) = tick else { return };
        self.seen_tick = tick;
        let before = self.updated_us.replace(now);
        if !tally.is_measured {
            return;
        }
        tally.figures.updates += 1;
        tally.figures.update_bytes += length;
        if let Some(before) = before {
            let bin = since_us(before, now) as usize / 100;
            tally.gaps[bin.min(GAP_BINS - 1)] += 1;
        }
        if let Some(made_us) = made_us {
            tally.receipts_us.push(since_us(made_us, now));
        }
    }
}

/// Of a message that is an update: its tick.
fn tick_of_update(head: &[u8]) -> Option<u32> {
    let [0x12, rest @ ..] = head else { return None };
    let (_, rest) = varint(rest)?;
    tick_of_state(rest)
}

/// Of one whose first field is its tick.
fn tick_of_state(head: &[u8]) -> Option<u32> {
    let [0x08, rest @ ..] = head else { return None };
    varint(rest).map(|(tick, _)| tick)
}

fn varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let value =
        bytes[..length].iter().rev().fold(0_u32, |sum, byte| sum << 7 | u32::from(byte & 0x7f));
    Some((value, &bytes[length..]))
}

fn gap_ms(gaps: &[u32], share: f64) -> f64 {
    let all: u64 = gaps.iter().map(|count| u64::from(*count)).sum();
    let wanted = (all as f64 * share) as u64;
    let mut sum = 0;
    let bin = gaps.iter().position(|count| {
        sum += u64::from(*count);
        sum > wanted
    });
    bin.unwrap_or(GAP_BINS) as f64 / 10.0
}

/// The number of a connection's stream.
fn stream_id(place: usize) -> u32 {
    2 * place as u32 + 1
}

fn place(stream_id: u32) -> usize {
    (stream_id / 2) as usize
}

fn flush(link: &mut Link) {
    while link.is_open && link.written < link.connection.out.len() {
        match link.socket.write(&link.connection.out[link.written..]) {
            Ok(count) => link.written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever reads sees the end.
            Err(_) => link.is_open = false,
        }
    }
    link.connection.out.clear();
    link.written = 0;
}
