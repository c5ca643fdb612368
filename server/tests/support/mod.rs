//! A server and its clients over streams in memory, with virtual time: no sockets, no ports, no waiting.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

pub mod captured;
pub mod certificates;
pub mod flags;
pub mod provider;
pub mod recorded;

use clap::Parser as _;
use fray_proto::hash::applied_hash;
use fray_proto::replica::Replica;
use fray_proto::v1::admin_client::AdminClient;
use fray_proto::v1::lobby_client::LobbyClient;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::play_request::Message as Request;
use fray_proto::v1::play_response::Message as Response;
use fray_proto::v1::replays_client::ReplaysClient;
use fray_proto::v1::{self, PlayRequest};
use fray_server::app::Parts;
use fray_server::config::Config;
use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use fray_server::store::{MemoryStore, Store};
use fray_server::telemetry::Telemetry;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};
use tonic_types::StatusExt as _;

/// A server without sockets.
pub struct Net {
    pub parts: Arc<Parts>,
    connections: TaskTracker,
    clients: TaskTracker,
}

impl Net {
    /// A server for the arena, with these flags.
    pub fn new(flags: &[&str]) -> Self {
        Self::with_game(flags, Arc::new(Arena::default()))
    }

    pub fn with_game(flags: &[&str], game: Arc<dyn GameFactory>) -> Self {
        let net = Self::assembled(flags, game);
        net.parts.health().bound();
        net
    }

    /// One that has not yet said that it is ready.
    pub fn unbound(flags: &[&str]) -> Self {
        Self::assembled(flags, Arc::new(Arena::default()))
    }

    fn assembled(flags: &[&str], game: Arc<dyn GameFactory>) -> Self {
        let flags = ["fray-server", "--seed", "7"].iter().chain(flags);
        let config = Config::parse_from(flags);
        let store = Arc::new(MemoryStore::new(1 << 26));
        let parts = Parts::with_store(&config, game, store, 0).expect("a server");
        Self {
            parts: Arc::new(parts),
            connections: TaskTracker::new(),
            clients: TaskTracker::new(),
        }
    }

    /// The same with a store that others have, too.
    pub fn sharing(flags: &[&str], store: Arc<dyn Store>) -> Self {
        let mut config = Config::parse_from(["fray-server", "--seed", "7"].iter().chain(flags));
        config.fleet.store_nats = true;
        let game = Arc::new(Arena::default());
        let parts = Parts::with_store(&config, game, store, 0).expect("a server");
        Self {
            parts: Arc::new(parts),
            connections: TaskTracker::new(),
            clients: TaskTracker::new(),
        }
    }

    /// A server that counts and traces there.
    pub fn with_telemetry(flags: &[&str], telemetry: &Telemetry) -> Self {
        let config = Config::parse_from(["fray-server", "--seed", "7"].iter().chain(flags));
        let store = Arc::new(MemoryStore::new(1 << 26));
        let game = Arc::new(Arena::default());
        let parts = Parts::assemble(&config, game, store, 0, telemetry).expect("a server");
        parts.health().bound();
        Self {
            parts: Arc::new(parts),
            connections: TaskTracker::new(),
            clients: TaskTracker::new(),
        }
    }

    /// A server that keeps these recordings. Without threads for them, time may be virtual: nothing happens elsewhere.
    pub fn with_recordings(store: Arc<dyn Store>, replay_threads: usize) -> Self {
        Self::with_recordings_of(Arc::new(Arena::default()), store, replay_threads)
    }

    pub fn with_recordings_of(
        game: Arc<dyn GameFactory>,
        store: Arc<dyn Store>,
        replay_threads: usize,
    ) -> Self {
        let config = Config::parse_from(["fray-server", "--seed", "7"]);
        let parts = Parts::with_store(&config, game, store, replay_threads).expect("a server");
        parts.health().bound();
        Self {
            parts: Arc::new(parts),
            connections: TaskTracker::new(),
            clients: TaskTracker::new(),
        }
    }

    pub async fn replays(&self) -> ReplaysClient<Channel> {
        ReplaysClient::new(self.connect().await)
    }

    /// Opens a spectator's stream and takes its Welcome.
    pub async fn watch(&self, request: v1::WatchRequest) -> Result<Watcher, Status> {
        let mut client = PlayClient::new(self.connect().await);
        let mut responses = client.watch(request).await?.into_inner();
        match responses.message().await?.and_then(|message| message.message) {
            Some(v1::watch_response::Message::Welcome(welcome)) => Ok(Watcher {
                replica: Replica::for_welcome(&welcome).expect("a sound world"),
                welcome,
                responses,
            }),
            other => panic!("a Welcome is expected, not {other:?}"),
        }
    }

    /// The client's side of a connection: it may be stuck with what its test does not take.
    pub fn spawn_client(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.clients.spawn(task);
    }

    /// The server's side of a connection.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.connections.spawn(task);
    }

    /// Waits until all connections have ended.
    pub async fn all_served(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    /// A connection as bytes.
    pub fn pipe(&self) -> DuplexStream {
        self.pipe_of(64 * 1024)
    }

    /// The same, with so much under way to each side.
    pub fn pipe_of(&self, bytes: usize) -> DuplexStream {
        let (client, server) = tokio::io::duplex(bytes);
        let parts = Arc::clone(&self.parts);
        self.connections.spawn(async move { parts.serve(server).await });
        client
    }

    /// A new connection to it.
    pub async fn connect(&self) -> Channel {
        channel(self.pipe()).await
    }

    /// The same, with so little under way to each stream before it is read.
    pub async fn connect_with(&self, stream_window_bytes: u32) -> Channel {
        let endpoint = Endpoint::from_static("http://memory");
        let endpoint = endpoint.initial_stream_window_size(stream_window_bytes);
        over(endpoint.initial_connection_window_size(64 << 20), self.pipe()).await
    }

    /// A connection to where operators change something, as bytes.
    pub fn control_pipe(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let parts = Arc::clone(&self.parts);
        self.connections.spawn(async move { parts.serve_control(server).await });
        client
    }

    pub async fn control_channel(&self) -> Channel {
        channel(self.control_pipe()).await
    }

    pub async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.control_channel().await)
    }

    pub async fn lobby(&self) -> LobbyClient<Channel> {
        LobbyClient::new(self.connect().await)
    }

    /// Joins any room and opens a stream.
    pub async fn player(&self, name: &str) -> Player {
        let ticket = self.ticket(name).await;
        self.open(hello_with_ticket(&ticket)).await.expect("seated")
    }

    pub async fn ticket(&self, name: &str) -> String {
        let request = v1::JoinRequest { player_name: name.into(), ..Default::default() };
        self.lobby().await.join(request).await.expect("joined").into_inner().ticket
    }

    /// Opens a stream that begins with this Hello, and takes its Welcome.
    pub async fn open(&self, hello: v1::Hello) -> Result<Player, Status> {
        self.open_over(self.connect().await, hello).await
    }

    /// The same over a connection that is there.
    pub async fn open_over(&self, channel: Channel, hello: v1::Hello) -> Result<Player, Status> {
        let mut raw = Raw::over(channel).await;
        raw.send(Request::Hello(hello)).await;
        match raw.next().await? {
            Some(Response::Welcome(welcome)) => Ok(Player::new(raw, welcome)),
            other => panic!("a Welcome is expected, not {other:?}"),
        }
    }

    /// The response to a stream that says Hello and then neither anything more nor that it is done.
    pub async fn silent_stream(&self) -> tonic::body::Body {
        use futures_util::StreamExt as _;
        use http_body_util::StreamBody;
        use prost::Message as _;
        use tower::{Service as _, ServiceExt as _};
        let first = v1::PlayRequest { message: Some(Request::Hello(hello())) };
        let mut framed = vec![0];
        framed.extend((first.encoded_len() as u32).to_be_bytes());
        framed.extend(first.encode_to_vec());
        let hello = tokio_stream::once(Ok::<_, tonic::Status>(hyper::body::Frame::data(
            bytes::Bytes::from(framed),
        )));
        let body =
            tonic::body::Body::new(StreamBody::new(hello.chain(futures_util::stream::pending())));
        let request = http::Request::post("/fray.v1.Play/Play").body(body).expect("a request");
        let mut service = fray_server::rpc::play::Service::new(self.parts.lobby().clone());
        service.ready().await.expect("ready").call(request).await.expect("answered").into_body()
    }

    /// A stream on which nothing was said yet.
    pub async fn raw(&self) -> Raw {
        Raw::over(self.connect().await).await
    }
}

async fn channel(pipe: DuplexStream) -> Channel {
    over(Endpoint::from_static("http://memory"), pipe).await
}

async fn over(endpoint: Endpoint, pipe: DuplexStream) -> Channel {
    let mut pipe = Some(pipe);
    let connector = tower::service_fn(move |_: Uri| {
        let pipe = pipe.take().ok_or(std::io::ErrorKind::NotConnected);
        async { Ok::<_, std::io::Error>(TokioIo::new(pipe?)) }
    });
    endpoint.connect_with_connector(connector).await.expect("memory can be connected to")
}

pub fn hello() -> v1::Hello {
    v1::Hello { protocol_version: fray_proto::PROTOCOL_VERSION, ..Default::default() }
}

pub fn hello_with_ticket(ticket: &str) -> v1::Hello {
    v1::Hello { ticket: ticket.into(), ..hello() }
}

pub fn hello_with_token(token: &str) -> v1::Hello {
    v1::Hello { resume_token: token.into(), ..hello() }
}

/// The reason in a status's details.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// A stream as it is on the wire.
pub struct Raw {
    // Dropped first: a stream that is dropped is cut off, not half-closed.
    pub responses: Streaming<v1::PlayResponse>,
    pub requests: Option<mpsc::Sender<PlayRequest>>,
}

impl Raw {
    pub async fn over(channel: Channel) -> Self {
        let (requests, outgoing) = mpsc::channel(256);
        let mut client = PlayClient::new(channel);
        let response = client.play(ReceiverStream::new(outgoing)).await.expect("streams open");
        Self { requests: Some(requests), responses: response.into_inner() }
    }

    pub async fn send(&mut self, message: Request) {
        let requests = self.requests.as_ref().expect("still open");
        // Whether the server still listens shows in what it answers.
        let _ = requests.send(PlayRequest { message: Some(message) }).await;
    }

    /// The next message; `None` when the stream ended with OK.
    pub async fn next(&mut self) -> Result<Option<Response>, Status> {
        let next = tokio::time::timeout(Duration::from_secs(600), self.responses.message()).await;
        let message = next.expect("an answer within ten virtual minutes")?;
        Ok(message.and_then(|message| message.message))
    }

    /// How the stream ends.
    pub async fn end(&mut self) -> Result<(), Status> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}

/// A spectator that keeps a replica.
pub struct Watcher {
    pub responses: Streaming<v1::WatchResponse>,
    pub welcome: v1::Welcome,
    pub replica: Replica,
}

impl Watcher {
    /// The next update, applied; `None`: ended with OK.
    pub async fn update(&mut self) -> Result<Option<v1::Update>, Status> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(600), self.responses.message());
            let Some(message) = next.await.expect("an answer in time")? else { return Ok(None) };
            if let Some(v1::watch_response::Message::Update(update)) = message.message {
                self.replica.apply(&update).expect("an update that fits");
                return Ok(Some(update));
            }
        }
    }

    /// The ticks of all updates to come, and how it ends.
    pub async fn ticks(&mut self) -> (Vec<u32>, Result<(), Status>) {
        let mut ticks = Vec::new();
        loop {
            match self.update().await {
                Ok(Some(update)) => ticks.push(update.tick),
                Ok(None) => return (ticks, Ok(())),
                Err(status) => return (ticks, Err(status)),
            }
        }
    }
}

/// A player that keeps a replica and checks everything that can be checked.
pub struct Player {
    pub raw: Raw,
    pub welcome: v1::Welcome,
    pub replica: Replica,
    pub sent: Vec<v1::Move>,
    pub ack: v1::MoveAck,
    pub refusals: Vec<v1::Refusal>,
    /// Of each update applied: its tick, and how many ticks it spans.
    pub updates: Vec<(u32, u32)>,
    pub acks_updates: bool,
}

impl Player {
    fn new(raw: Raw, welcome: v1::Welcome) -> Self {
        Self {
            replica: Replica::for_welcome(&welcome).expect("a sound world"),
            raw,
            sent: Vec::new(),
            ack: v1::MoveAck {
                input_ack: welcome.last_applied_sequence,
                applied_count: welcome.applied_count,
                applied_hash: welcome.applied_hash,
                arrival_margin_ms: 0,
            },
            welcome,
            refusals: Vec::new(),
            updates: Vec::new(),
            acks_updates: true,
        }
    }

    /// Sends the next move.
    pub async fn steer(&mut self, axis_x: i32, axis_y: i32) {
        self.steer_traced(axis_x, axis_y, None).await;
    }

    /// The same, with the context of a span.
    pub async fn steer_traced(
        &mut self,
        axis_x: i32,
        axis_y: i32,
        trace: Option<v1::TraceContext>,
    ) {
        let sequence = self.welcome.last_applied_sequence + self.sent.len() as u32 + 1;
        let message = v1::Move {
            sequence,
            axis_x,
            axis_y,
            seen_tick: self.replica.tick(),
            trace,
            ..Default::default()
        };
        self.sent.push(message.clone());
        self.raw.send(Request::Move(message)).await;
    }

    /// The next update, applied and checked; other messages are passed over. `None`: ended with OK.
    pub async fn update(&mut self) -> Result<Option<v1::Update>, Status> {
        loop {
            match self.raw.next().await? {
                None => return Ok(None),
                Some(Response::Update(update)) => {
                    self.take(&update).await;
                    return Ok(Some(update));
                }
                Some(_) => {}
            }
        }
    }

    async fn take(&mut self, update: &v1::Update) {
        let held = self.replica.tick();
        self.replica.apply(update).expect("an update that fits");
        self.updates.push((update.tick, if held == 0 { 1 } else { update.tick - held }));
        self.refusals.extend_from_slice(&update.refusals);
        if let Some(ack) = update.move_ack {
            self.ack = ack;
        }
        if self.acks_updates {
            self.raw.send(Request::Ping(v1::Ping { seen_tick: update.tick, echo: 0 })).await;
        }
    }

    /// Takes updates until something holds.
    pub async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..5000 {
            if holds(self) {
                return;
            }
            let update = self.update().await.expect("the stream goes on");
            assert!(update.is_some(), "the stream ended before: {what}");
        }
        panic!("it never came to be: {what}");
    }

    /// Takes updates until all moves are acknowledged, then compares what was applied with what was sent.
    pub async fn until_all_is_acked(&mut self) {
        let last = self.welcome.last_applied_sequence + self.sent.len() as u32;
        self.until("all moves are acknowledged", |player| player.ack.input_ack >= last).await;
        assert_eq!(self.ack.applied_count, last, "every move was applied exactly once");
        assert_eq!(self.ack.applied_hash, self.expected_hash(), "as it was sent");
    }

    /// The applied hash that this player's moves should have.
    pub fn expected_hash(&self) -> u32 {
        self.sent
            .iter()
            .fold(self.welcome.applied_hash, |hash, message| applied_hash(hash, &message.into()))
    }

    /// Half-closes, takes what still comes, and says how it ended.
    pub async fn leave(&mut self) -> Result<(), Status> {
        self.raw.requests = None;
        self.acks_updates = false;
        loop {
            match self.raw.next().await? {
                None => return Ok(()),
                Some(Response::Update(update)) => self.take(&update).await,
                Some(_) => {}
            }
        }
    }
}
