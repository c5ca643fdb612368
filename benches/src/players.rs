//! All players, in one thread: each counts what it gets and sends a move each tick.

use self::stalls::Stalls;
use self::stream::{Gaps, Stream, Tally};
use crate::ROOM_PLAYERS;
use crate::clock::{now_us, since_us};
use crate::cost::{cpu_ns, rss_bytes};
use crate::http2::{Connection, Event};
use crate::moves::{MoveBytes, hello, ping};
use crate::replica::Kept;
use crate::ships::TOLD;
use anyhow::{Context as _, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

pub mod stalls;
mod stream;

/// Between two acknowledgements of a player who makes no moves.
const PINGS_EVERY_US: u32 = 4_000_000;
const READ_BYTES: usize = 256 * 1024;
/// How many players come at once, each 10 ms.
const ARRIVALS_AT_ONCE: usize = 64;
const ARRIVALS_EVERY_US: u32 = 10_000;
/// So many may have come and seen nothing yet, of those who only look on.
const NEWCOMERS_MAX: usize = 2_000;
/// One player of so many keeps all that it is told, and looks whether it fits: somewhere in the middle of those of a connection.
const KEPT_EVERY: usize = 100;
const KEPT_PLACE: usize = 37;
/// Where players are scattered, those of a connection make their moves in so many parts, spread over the period.
const SCATTERED_PARTS: usize = 10;

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

/// What players say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Says {
    /// A move each tick.
    Moves,
    /// An acknowledgement every four seconds.
    Pings,
    /// Nothing.
    Nothing,
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
    /// A room's players are on many connections, and those of a connection make their moves at different times; or else on one or two, and
    /// all at once.
    pub is_scattered: bool,
    /// What they say.
    pub says: Says,
    /// Ticks a second.
    pub rate_hz: u32,
    /// Write a line when the window begins.
    pub announces: bool,
    /// After the last one came.
    pub warm_up: Duration,
    /// Then it is measured for so long.
    pub window: Duration,
    /// Whether some stop reading.
    pub stalls: Option<Stalls>,
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
    /// How many they have in the end, on average.
    pub ships_mean: f64,
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
    /// While some read nothing, and while all read, in turns.
    pub phases: Vec<stalls::Phase>,
}

struct Link {
    socket: TcpStream,
    connection: Connection,
    written: usize,
    streams: std::ops::Range<usize>,
    due_us: u32,
    /// Which part of them makes its moves next.
    part: usize,
    is_open: bool,
    /// It is not read just now.
    is_stalled: bool,
}

struct Crowd {
    plan: Plan,
    poll: Poll,
    links: Vec<Link>,
    streams: Vec<Stream>,
    /// How many of them have come.
    arrived: usize,
    moves: MoveBytes,
    noise: u64,
    is_measured: bool,
    gaps: Gaps,
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
        streams: std::iter::repeat_with(Stream::default).take(plan.players).collect(),
        arrived: 0,
        moves,
        noise: 1,
        is_measured: false,
        gaps: Gaps::none(),
        receipts_us: Vec::new(),
        figures: Figures { rss_before_bytes, ..Figures::default() },
    };
    let mut next = now_us();
    let connections = plan.players.div_ceil(plan.streams_per_connection);
    // Scattered, all are there before the first player comes.
    for _ in 0..if plan.is_scattered { connections } else { 0 } {
        crowd.connect()?;
    }
    while crowd.arrived < plan.players {
        if plan.kind != Kind::Fray || crowd.newcomers() + ARRIVALS_AT_ONCE <= plan.newcomers_max() {
            crowd.arrive()?;
        }
        next = next.wrapping_add(ARRIVALS_EVERY_US);
        crowd.run_until(next)?;
    }
    crowd.run_for(plan.warm_up)?;
    if plan.announces {
        println!("{{}}");
    }
    let began = Sample::take(plan.pid)?;
    match plan.stalls {
        None => crowd.measure()?,
        Some(stalls) => crowd.take_turns(stalls)?,
    }
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

impl Plan {
    /// Whose place it is who comes as the nth.
    fn index(&self, nth: usize) -> usize {
        if !self.is_scattered {
            return nth;
        }
        // The last connection may have fewer places; the others are filled by then.
        let shared = self.streams_per_connection;
        let (whole, rest) = (self.players / shared, self.players % shared);
        let in_all = rest * (whole + 1);
        let (place, link) = if nth < in_all {
            (nth / (whole + 1), nth % (whole + 1))
        } else {
            (rest + (nth - in_all) / whole, (nth - in_all) % whole)
        };
        link * shared + place
    }

    fn parts(&self) -> usize {
        if self.is_scattered { SCATTERED_PARTS } else { 1 }
    }

    fn period_us(&self) -> u32 {
        if self.says == Says::Moves { 1_000_000 / self.rate_hz.max(1) } else { PINGS_EVERY_US }
    }

    /// The other servers seat in the order of arrival. Fray seats whoever comes at once in several rooms at a time, and a room's players would
    /// be on more connections than theirs.
    fn newcomers_max(&self) -> usize {
        if self.says == Says::Moves { ROOM_PLAYERS } else { NEWCOMERS_MAX }
    }
}

impl Crowd {
    /// Who came last and has seen nothing yet.
    fn newcomers(&self) -> usize {
        let last = (0..self.arrived).rev().take(NEWCOMERS_MAX);
        let last = last.map(|nth| &self.streams[self.plan.index(nth)]);
        last.filter(|stream| !stream.is_ended && stream.updated_us.is_none()).count()
    }

    fn measure(&mut self) -> anyhow::Result<()> {
        self.is_measured = true;
        self.run_for(self.plan.window)?;
        self.is_measured = false;
        Ok(())
    }

    /// A few more players.
    fn arrive(&mut self) -> anyhow::Result<()> {
        for nth in self.arrived..(self.arrived + ARRIVALS_AT_ONCE).min(self.plan.players) {
            let index = self.plan.index(nth);
            let which = index / self.plan.streams_per_connection;
            if which == self.links.len() {
                self.connect()?;
            }
            self.arrived = nth + 1;
            let stream = &mut self.streams[index];
            if index % KEPT_EVERY == KEPT_PLACE % self.plan.streams_per_connection {
                stream.kept = Some(Box::new(Kept::new(self.plan.kind)));
            }
            let link = self.links.get_mut(which).context("a connection was made")?;
            let id = stream_id(index - link.streams.start);
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
            flush(link);
        }
        Ok(())
    }

    fn connect(&mut self) -> anyhow::Result<()> {
        let address = self.plan.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if self.plan.stalls.is_some() {
            stalls::as_over_a_network(&socket)?;
        }
        // Blocking: it is there before the next one is asked for.
        socket.connect(&address.into())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket.into());
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
        let phase =
            (self.links.len() as u64 * u64::from(self.plan.period_us()) / connections) as u32;
        let due_us = now_us().wrapping_add(phase);
        let begin = self.links.len() * self.plan.streams_per_connection;
        let streams = begin..(begin + self.plan.streams_per_connection).min(self.plan.players);
        self.links.push(Link {
            socket,
            connection,
            written: 0,
            streams,
            due_us,
            part: 0,
            is_open: true,
            is_stalled: false,
        });
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
                    self.receive(index, &mut buffer);
                }
                flush(&mut self.links[index]);
            }
        }
    }

    /// Sends what is due; says in how many microseconds more is.
    fn send_moves(&mut self, now: u32) -> i32 {
        let period_us = self.plan.period_us();
        let parts = self.plan.parts();
        let mut next = period_us as i32;
        if self.plan.says == Says::Nothing {
            return next;
        }
        for link in &mut self.links {
            let wait = link.due_us.wrapping_sub(now) as i32;
            if wait > 0 {
                next = next.min(wait);
                continue;
            }
            link.due_us = link.due_us.wrapping_add(period_us / parts as u32);
            let part = link.part;
            link.part = (part + 1) % parts;
            if !link.is_open {
                continue;
            }
            let first = link.streams.start;
            for (offset, stream) in self.streams[link.streams.clone()].iter_mut().enumerate() {
                // Nobody moves before it has seen something.
                if offset % parts != part || stream.is_ended || stream.updated_us.is_none() {
                    continue;
                }
                let id = stream_id(first + offset - link.streams.start);
                if self.plan.says == Says::Pings {
                    let bytes = ping(stream.seen_tick);
                    link.connection.data(id, &mut stream.window_used, &bytes);
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

    fn receive(&mut self, index: usize, buffer: &mut [u8]) {
        let link = &mut self.links[index];
        while !link.is_stalled {
            match link.socket.read(buffer) {
                Ok(0) => {
                    link.is_open = false;
                    self.streams[link.streams.clone()].iter_mut().for_each(|s| s.is_ended = true);
                    return;
                }
                Ok(count) => {
                    let now = now_us();
                    let kind = self.plan.kind;
                    let mut tally = Tally {
                        is_measured: self.is_measured,
                        gaps: &mut self.gaps,
                        receipts_us: &mut self.receipts_us,
                        figures: &mut self.figures,
                    };
                    let streams = std::cell::RefCell::new(&mut self.streams[link.streams.clone()]);
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
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    link.is_open = false;
                    self.streams[link.streams.clone()].iter_mut().for_each(|s| s.is_ended = true);
                    return;
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
        let (gap_p50_ms, gap_p99_ms) = (self.gaps.ms(0.5), self.gaps.ms(0.99));
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
            ships_mean: kept.clone().map(|kept| kept.ships).sum::<usize>() as f64
                / kept.clone().count().max(1) as f64,
            ships_min: kept.map(|kept| kept.ships).min().unwrap_or_default(),
            cpu_us_per_update: server_us / self.figures.updates as f64,
            server_busy: server_us / wall_us,
            load_busy: load_us / wall_us,
            rss_bytes: rss_bytes(self.plan.pid)?,
            ..self.figures
        })
    }
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
