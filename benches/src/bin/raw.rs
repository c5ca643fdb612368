//! Bare TCP: the same bytes as the naive server's, in frames of the same size, and nothing else. What is left is the floor.

// It measures, in real time.
#![allow(clippy::disallowed_methods)]

use clap::Parser;
use fray_bench::flight::Flight;
use fray_bench::http2::{Connection, Event, frame};
use fray_bench::{ROOM_PLAYERS, TICK_RATE_HZ, pin};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use prost::Message as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 64 * 1024;
/// More does not wait for a player who does not read.
const WAITING_BYTES_MAX: usize = 4 << 20;

#[derive(Parser)]
struct Args {
    /// Which core it runs on.
    #[arg(long)]
    core: usize,
}

struct Link {
    socket: TcpStream,
    connection: Connection,
    out: Vec<u8>,
    written: usize,
    /// Of each of its streams: which player it is.
    players: Vec<usize>,
}

struct Room {
    flight: Flight,
    due: Instant,
    /// Connection and stream of each player.
    players: Vec<(usize, u32)>,
}

fn main() -> anyhow::Result<()> {
    pin(Args::parse().core)?;
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    println!("{}", listener.local_addr()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let (mut links, mut rooms, mut players) = (Vec::<Link>::new(), Vec::<Room>::new(), 0);
    let period = Duration::from_secs(1) / TICK_RATE_HZ;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let now = Instant::now();
        let next = rooms.iter().map(|room| room.due).min().unwrap_or(now + period);
        match poll.poll(&mut events, Some(next.saturating_duration_since(now))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut socket, Token(links.len()), both)?;
                    let connection = Connection::bare();
                    let (out, written, players) = (Vec::new(), 0, Vec::new());
                    links.push(Link { socket, connection, out, written, players });
                }
                continue;
            }
            let index = event.token().0;
            let link = &mut links[index];
            if event.is_readable() {
                let mut begun = Vec::new();
                link.receive(&mut buffer, |stream, known| {
                    if stream as usize / 2 >= known + begun.len() {
                        begun.push(stream);
                    }
                });
                for stream in begun {
                    if players % ROOM_PLAYERS == 0 {
                        let phase = period * (rooms.len() as u32 * 7 % 50) / 50;
                        let flight = Flight::new(ROOM_PLAYERS);
                        let due = Instant::now() + phase;
                        rooms.push(Room { flight, due, players: Vec::new() });
                    }
                    if let Some(room) = rooms.last_mut() {
                        room.players.push((index, stream));
                    }
                    link.players.push(players);
                    players += 1;
                }
            }
            link.flush();
        }
        let now = Instant::now();
        for room in rooms.iter_mut().filter(|room| room.due <= now) {
            room.due += period;
            let state = room.flight.step();
            let mut message = vec![0];
            message.extend((state.encoded_len() as u32).to_be_bytes());
            state.encode(&mut message)?;
            for (index, stream) in &room.players {
                let link = &mut links[*index];
                if link.out.len() < WAITING_BYTES_MAX {
                    frame(&mut link.out, 0, 0, *stream, &message);
                }
            }
            // Those of a connection leave together.
            for (index, _) in &room.players {
                links[*index].flush();
            }
        }
    }
}

impl Link {
    fn receive(&mut self, buffer: &mut [u8], mut heard: impl FnMut(u32, usize)) {
        let known = self.players.len();
        loop {
            match self.socket.read(buffer) {
                Ok(count @ 1..) => {
                    let event = |event: Event<'_>| {
                        if let Event::Data(stream, _) = event {
                            heard(stream, known);
                        }
                    };
                    self.connection.read(&buffer[..count], event, |_, _| {});
                    if count < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    fn flush(&mut self) {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        self.out.clear();
        self.written = 0;
    }
}
