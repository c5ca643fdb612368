//! A naive server: a room broadcasts its whole state, and each stream encodes it for itself. tonic as it comes, with `TCP_NODELAY`.

// Naive as it is: nobody owns its tasks.
#![allow(clippy::disallowed_methods)]

use clap::Parser;
use fray_bench::naive::naive_server::{Naive, NaiveServer};
use fray_bench::naive::{NaiveMove, State};
use fray_bench::{ROOM_PLAYERS, TICK_RATE_HZ, flight, pin};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_stream::{
    Stream, StreamExt as _, wrappers::BroadcastStream, wrappers::TcpListenerStream,
};
use tonic::{Request, Response, Status, Streaming};

/// How many states wait for a stream that does not read.
const STATES_WAITING: usize = 16;
/// How many moves wait for their tick.
const MOVES_WAITING: usize = 1024;

#[derive(Parser)]
struct Args {
    /// Which core it runs on.
    #[arg(long)]
    core: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    pin(args.core)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", socket.local_addr()?);
        let accepted = TcpListenerStream::new(socket).map(|stream| {
            stream.inspect(|stream| {
                let _ = stream.set_nodelay(true);
            })
        });
        let service = NaiveServer::new(Rooms::default());
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(accepted).await?;
        Ok(())
    })
}

/// The newest room, and how many are in it.
#[derive(Default)]
struct Rooms(Mutex<Option<(Room, usize)>>);

#[derive(Clone)]
struct Room {
    moves: mpsc::Sender<(usize, NaiveMove)>,
    states: broadcast::Sender<State>,
}

impl Room {
    fn open(index: usize) -> Self {
        let (moves, waiting) = mpsc::channel(MOVES_WAITING);
        let states = broadcast::Sender::new(STATES_WAITING);
        tokio::spawn(run(index, waiting, states.clone()));
        Self { moves, states }
    }
}

async fn run(
    index: usize,
    mut moves: mpsc::Receiver<(usize, NaiveMove)>,
    states: broadcast::Sender<State>,
) {
    let period = Duration::from_secs(1) / TICK_RATE_HZ;
    // Not all rooms at the same moment.
    tokio::time::sleep(period * (index as u32 * 7 % 50) / 50).await;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut room = flight::Flight::new(ROOM_PLAYERS);
    loop {
        ticks.tick().await;
        while let Ok((ship, made)) = moves.try_recv() {
            room.steer(ship, &made);
        }
        // Nobody may be there.
        let _ = states.send(room.step());
    }
}

#[tonic::async_trait]
impl Naive for Rooms {
    type PlayStream = Pin<Box<dyn Stream<Item = Result<State, Status>> + Send>>;

    async fn play(
        &self,
        request: Request<Streaming<NaiveMove>>,
    ) -> Result<Response<Self::PlayStream>, Status> {
        let (room, ship) = {
            let mut newest = self.0.lock().map_err(|_| Status::internal("broken"))?;
            let (index, place) = match newest.as_ref() {
                Some((_, place)) => (place / ROOM_PLAYERS, *place),
                None => (0, 0),
            };
            if place.is_multiple_of(ROOM_PLAYERS) {
                *newest = Some((Room::open(index), place));
            }
            let (room, count) = newest.as_mut().ok_or_else(|| Status::internal("no room"))?;
            *count += 1;
            (room.clone(), place % ROOM_PLAYERS)
        };
        let mut moves = request.into_inner();
        let states = room.states.subscribe();
        tokio::spawn(async move {
            while let Ok(Some(made)) = moves.message().await {
                if room.moves.send((ship, made)).await.is_err() {
                    return;
                }
            }
        });
        // Who does not keep up misses some.
        let states = BroadcastStream::new(states).filter_map(Result::ok).map(Ok);
        Ok(Response::new(Box::pin(states)))
    }
}
