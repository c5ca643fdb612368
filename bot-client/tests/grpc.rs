//! Goal: gRPC carries the stream as it is: bytes counted to the last one, leaving told apart from breaking, statuses with
//! their reasons. Method: the real client over a pipe in memory, against a small service.

mod support;

use fray_bot::client::transport::GrpcServer;
use fray_bot::client::{Controls, Event, Options, Player};
use fray_proto::v1;
use fray_proto::v1::lobby_server::{Lobby, LobbyServer};
use fray_proto::v1::play_server::{Play, PlayServer};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::room::{Faults, Room, encode};
use tokio::io::duplex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::util::MapRequestLayer;
use v1::play_request::Message as Sent;

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the service saw of a stream.
#[derive(Debug, PartialEq)]
enum Seen {
    Authorization(String),
    Message(Box<Sent>),
    /// The end of the requests as tonic tells it; it takes a client's reset for one, too.
    End,
    /// A reset of the stream, as HTTP/2 tells it.
    Reset,
}

/// Answers Hello with Welcome and every move with an update; ends as it is told.
struct Service {
    seen: mpsc::Sender<Seen>,
    end_with: Option<Status>,
    /// Outlives the response, which goes as soon as the client resets the stream.
    work: Mutex<JoinSet<()>>,
}

#[tonic::async_trait]
impl Play for Service {
    type PlayStream = Responses<v1::PlayResponse>;
    type WatchStream = Responses<v1::WatchResponse>;

    async fn play(
        &self,
        request: Request<Streaming<v1::PlayRequest>>,
    ) -> Result<Response<Self::PlayStream>, Status> {
        let seen = self.seen.clone();
        let end_with = self.end_with.clone();
        if let Some(bearer) = request.metadata().get("authorization") {
            let bearer = bearer.to_str().expect("it is text").to_owned();
            seen.send(Seen::Authorization(bearer)).await.expect("the test listens");
        }
        let mut room = Room::new(Faults::default());
        let ticket = room.join();
        let hello = v1::Hello { ticket, ..v1::Hello::default() };
        let (mut stream, welcome) = room.open(&hello).expect("its own ticket");
        let (answers, responses) = mpsc::channel(16);
        let mut requests = request.into_inner();
        // Nothing is answered, not even headers, before the client's first message.
        let first = requests.message().await?.and_then(|m| m.message).expect("a Hello");
        seen.send(Seen::Message(Box::new(first))).await.expect("the test listens");
        answers.send(Ok(welcome)).await.expect("there is room");
        self.work.lock().expect("nobody panicked").spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let message = request.message.clone().expect("a message");
                let is_move = matches!(message, Sent::Move(_));
                let _ = seen.send(Seen::Message(Box::new(message))).await;
                room.receive(&mut stream, request);
                if is_move && let Some(status) = &end_with {
                    let _ = answers.send(Err(status.clone())).await;
                    return;
                }
                room.step();
                if let Some(update) = room.update(&mut stream) {
                    let _ = answers.send(Ok(update)).await;
                }
            }
            let _ = seen.send(Seen::End).await;
        });
        let responses = stream::unfold(responses, |mut responses| async {
            responses.recv().await.map(|item| (item, responses))
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tonic::async_trait]
impl Lobby for Service {
    type WatchRoomsStream = Responses<v1::WatchRoomsResponse>;

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        assert!(!request.into_inner().request_id.is_empty());
        let room = Some(v1::Room { room_id: "fake".into(), ..v1::Room::default() });
        let ticket = "header.claims.signature".to_owned();
        Ok(Response::new(v1::JoinResponse { ticket, room, ..v1::JoinResponse::default() }))
    }

    async fn list_rooms(
        &self,
        _: Request<v1::ListRoomsRequest>,
    ) -> Result<Response<v1::ListRoomsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn watch_rooms(
        &self,
        _: Request<v1::WatchRoomsRequest>,
    ) -> Result<Response<Self::WatchRoomsStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// A client and a service with one pipe between them.
async fn grpc(end_with: Option<Status>) -> (GrpcServer, mpsc::Receiver<Seen>, JoinSet<()>) {
    let (client, server) = duplex(1 << 16);
    let (seen, sees) = mpsc::channel(64);
    let wire = seen.clone();
    let play = Service { seen: seen.clone(), end_with, work: Mutex::default() };
    let lobby = Service { seen, end_with: None, work: Mutex::default() };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let notes_resets = MapRequestLayer::new(move |request: http::Request<Body>| {
            let wire = wire.clone();
            request.map(|body| {
                Body::new(body.map_err(move |status| {
                    let _ = wire.try_send(Seen::Reset);
                    status
                }))
            })
        });
        let router = Server::builder()
            .layer(notes_resets)
            .add_service(PlayServer::new(play))
            .add_service(LobbyServer::new(lobby));
        let incoming = stream::once(async { std::io::Result::Ok(server) }).chain(stream::pending());
        let _ = router.serve_with_incoming(incoming).await;
    });
    let client = Mutex::new(Some(client));
    let connector = tower::service_fn(move |_| {
        let client = client.lock().expect("nobody panicked").take();
        async move { client.map(TokioIo::new).ok_or_else(|| std::io::Error::other("one is all")) }
    });
    let endpoint = Endpoint::from_static("http://in.memory");
    let channel = endpoint.connect_with_connector(connector).await.expect("the pipe is open");
    (GrpcServer::new(channel), sees, tasks)
}

async fn player(server: GrpcServer) -> Player {
    let request = v1::JoinRequest::default();
    Player::join(Arc::new(server), request, Options::default()).await.expect("it is let in")
}

#[tokio::test(start_paused = true)]
async fn leaving_is_a_half_close_and_bytes_are_counted_with_their_prefix() {
    let (server, mut sees, _tasks) = grpc(None).await;
    let mut player = player(server).await;
    let bearer = "Bearer header.claims.signature".to_owned();
    assert_eq!(sees.recv().await, Some(Seen::Authorization(bearer)));
    player.steer(Controls { axis_x: 5, ..Controls::default() }).expect("there is room");
    let update = loop {
        if let Some(Event::Updated(update)) = player.next().await.expect("all is well") {
            break update;
        }
    };
    // The same room makes the same update here.
    let mut room = Room::new(Faults::default());
    let ticket = room.join();
    let hello = v1::Hello { ticket, ..v1::Hello::default() };
    let (mut stream, _) = room.open(&hello).expect("its own ticket");
    let message = v1::Move { sequence: 1, axis_x: 5, ..v1::Move::default() };
    room.receive(&mut stream, v1::PlayRequest { message: Some(Sent::Move(message)) });
    room.step();
    let same = room.update(&mut stream).expect("one is due");
    assert_eq!(update.wire_bytes, encode(&same).len() + 5);
    player.leave();
    while player.next().await.expect("all is well").is_some() {}
    let mut before = None;
    loop {
        let seen = sees.recv().await.expect("the end comes");
        assert_ne!(seen, Seen::Reset);
        if seen == Seen::End {
            break;
        }
        before = Some(seen);
    }
    assert_eq!(before, Some(Seen::Message(Box::new(Sent::Leave(v1::Leave {})))));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_off_is_a_reset_and_no_good_bye() {
    let (server, mut sees, _tasks) = grpc(None).await;
    let mut player = player(server).await;
    player.cut_off(Duration::from_secs(1));
    while sees.recv().await.expect("the end comes") != Seen::Reset {}
    drop(player);
}

#[tokio::test(start_paused = true)]
async fn a_status_carries_its_reason() {
    let details = ErrorDetails::with_error_info("TAKEN_OVER", "fray.v1", HashMap::new());
    let status = Status::with_error_details(Code::Aborted, "another stream", details);
    let (server, _sees, _tasks) = grpc(Some(status)).await;
    let mut player = player(server).await;
    player.steer(Controls::default()).expect("there is room");
    let ended = loop {
        match player.next().await {
            Ok(event) => assert!(event.is_some()),
            Err(ended) => break ended,
        }
    };
    assert_eq!((ended.code, ended.label().as_str()), (Code::Aborted, "ABORTED/TAKEN_OVER"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_tried_again_until_it_is_given_up() {
    let endpoint = Endpoint::from_static("http://in.memory");
    let nowhere = tower::service_fn(|_| async {
        Err::<TokioIo<tokio::io::DuplexStream>, _>(std::io::Error::other("refused"))
    });
    let server = GrpcServer::new(endpoint.connect_with_connector_lazy(nowhere));
    let mut player = Player::new(Arc::new(server), v1::JoinRequest::default(), Options::default());
    let started = tokio::time::Instant::now();
    let mut attempts = 0;
    let ended = loop {
        match player.next().await {
            Ok(Some(Event::AttemptFailed(ended))) => {
                assert_eq!(ended.code, Code::Unavailable);
                attempts += 1;
            }
            Ok(event) => panic!("{event:?}"),
            Err(ended) => break ended,
        }
    };
    assert_eq!(ended.label(), "UNAVAILABLE/UNREACHABLE");
    assert!((15..100).contains(&attempts), "{attempts}");
    assert!(started.elapsed() >= Duration::from_secs(30));
}
