//! What is bad and comes by the edge: it ends there, or the server answers it; whoever plays keeps its stream, and the servers their
//! connections with the edge, on which everybody's streams are.

use crate::envoy::{Edge, PATIENCE, values};
use crate::frames::{
    CONTINUATION, DATA, Frame, HEADERS, PRIORITY, RST_STREAM, SETTINGS, Wire, frame, header,
    headers, ping, reset, window_update,
};
use crate::gate::{asks, new_room, until, with_ticket};
use crate::http::socket;
use crate::servers::{Fleet, Running};
use fray_bot::client::transport::GrpcServer;
use fray_bot::client::{Controls, Ended, Event, Options, Player};
use fray_proto::v1::join_request::Room;
use fray_proto::v1::lobby_client::LobbyClient;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::play_request::Message;
use fray_proto::v1::{Hello, Move, Ping, PlayRequest};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const PLAY: &str = "/fray.v1.Play/Play";
const JOIN: &str = "/fray.v1.Lobby/Join";
/// So many connections are tried beside each other.
const AT_ONCE: usize = 20;
/// What the edge lets a player's connection have open.
const STREAMS: u32 = 32;

/// A server behind the edge, and somebody who plays there meanwhile.
struct Scene {
    fleet: Fleet,
    edge: Edge,
    is_over: CancellationToken,
    playing: JoinSet<u64>,
}

impl Scene {
    async fn new(flags: &[&str], edge: serde_json::Value) -> Option<Self> {
        let flags = [&["--trusted-hops", "1"], flags].concat();
        let fleet = Fleet::of(1, &flags).await;
        let mut values = values(&fleet.addresses(), "");
        for (name, value) in edge.as_object().expect("values") {
            values["edge"][name] = value.clone();
        }
        let edge = Edge::start(&values).await?;
        edge.healthy("servers", 1).await;
        edge.healthy("lobby-v1", 1).await;
        let door = GrpcServer::at(&format!("http://{}", edge.address)).expect("an address");
        let player = Player::join(Arc::new(door), new_room("Peace", false), Options::default());
        let mut player = player.await.expect("a stream");
        until(&mut player, "an update", |_, event| matches!(event, Event::Updated(_))).await;
        let is_over = CancellationToken::new();
        let mut playing = JoinSet::new();
        playing.spawn(plays(player, is_over.clone()));
        Some(Self { fleet, edge, is_over, playing })
    }

    fn server(&self) -> &Running {
        &self.fleet.servers[0]
    }

    /// A series of the server's metrics.
    fn count(&self, series: &str) -> u64 {
        let text = self.server().telemetry.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        value.parse::<f64>().expect("a number") as u64
    }

    fn refused(&self, reason: &str) -> u64 {
        self.count(&format!("fray_refusals_total{{reason=\"{reason}\"}}"))
    }

    async fn until(&self, series: &str, holds: impl Fn(u64) -> bool) {
        let came = timeout(PATIENCE, async {
            while !holds(self.count(series)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        came.await.unwrap_or_else(|_| panic!("{series} stays {}", self.count(series)));
    }

    async fn wire(&self) -> Wire<TcpStream> {
        Wire::begun(socket(self.edge.address).await).await
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.edge.address));
        endpoint.expect("an address").connect().await.expect("connected")
    }

    async fn ticket(&self) -> String {
        let joined = LobbyClient::new(self.channel().await).join(new_room("War", false)).await;
        joined.expect("a ticket").into_inner().ticket
    }

    /// The player's stream went on all the time, and nothing is left of all others.
    async fn stays_as_before(mut self) {
        self.until("fray_rpc_in_flight{rpc_method=\"fray.v1.Play/Play\"}", |streams| streams == 1)
            .await;
        for how in ["flood", "protocol", "garbage"] {
            let ended = self.count(&format!("fray_connections_ended_total{{reason=\"{how}\"}}"));
            assert_eq!(ended, 0, "{how}: what a client does costs no connection of the edge's");
        }
        self.is_over.cancel();
        let played = self.playing.join_next().await.expect("a task").expect("it went on");
        assert!(played > 0, "updates came, and moves were acknowledged");
        self.fleet.stop().await;
    }
}

/// Until all is over; then once more. Says how many updates came.
async fn plays(mut player: Player, is_over: CancellationToken) -> u64 {
    let (mut updates, mut after) = (0, 0);
    while after < 20 || player.session().unacknowledged() > 0 {
        let event = timeout(PATIENCE, player.next()).await.expect("something comes");
        match event.expect("the session lives").expect("it goes on") {
            Event::Updated(_) => updates += 1,
            Event::Pong { .. } | Event::Notice(_) => continue,
            other => panic!("its stream is as it was: {other:?}"),
        }
        after += u64::from(is_over.is_cancelled());
        if updates % 10 == 0 && after < 20 {
            let controls = Controls { axis_x: updates as i32 % 100, ..Controls::default() };
            player.steer(controls).expect("room for it");
        }
    }
    updates
}

/// The header block of a request that the edge lets through.
fn request(path: &str, ticket: Option<&str>) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` are in the static table.
    let mut block = vec![0x83, 0x86];
    block.extend(header(":path", path.as_bytes()));
    block.extend(header(":authority", b"localhost"));
    block.extend(header("content-type", b"application/grpc"));
    block.extend(header("te", b"trailers"));
    if let Some(ticket) = ticket {
        block.extend(header("authorization", format!("Bearer {ticket}").as_bytes()));
    }
    block
}

/// Sends this many times; whether the connection is still there.
async fn floods(scene: &Scene, begin: &[u8], again: &[u8]) -> bool {
    let mut wire = scene.wire().await;
    assert!(wire.send(begin).await);
    let burst = again.repeat(200);
    for _ in 0..250 {
        if !wire.send(&burst).await {
            return false;
        }
        // What it hears is not kept.
        wire.said();
    }
    wire.answers().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_at_the_edge_and_nobody_elses_stream_does() {
    let Some(scene) = Scene::new(&[], json!({})).await else { return };
    let ticket = scene.ticket().await;
    let open = headers(1, &request(PLAY, Some(&ticket)), 0);
    let many_headers = frame(HEADERS, 0, 1, &request(PLAY, Some(&ticket)));
    let priority = frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]);
    let ends = [
        ("empty frames", open.clone(), frame(DATA, 0, 1, &[])),
        ("priorities", open.clone(), priority),
        ("windows that grow", open.clone(), window_update(1, 1)),
        ("continuations", many_headers.clone(), frame(CONTINUATION, 0, 1, &[])),
        ("headers without an end", many_headers, frame(CONTINUATION, 0, 1, &header("a", b"b"))),
    ];
    for (what, begin, again) in ends {
        assert!(!floods(&scene, &begin, &again).await, "{what} end the connection");
    }
    for again in [ping(), frame(SETTINGS, 0, 0, &[])] {
        // Each is answered, unless the answers are taken too slowly: then it has ended, and may not be heard of again.
        floods(&scene, &open, &again).await;
    }
    let flooded = ["http2.inbound_empty_frames_flood", "http2.inbound_priority_frames_flood"];
    for counter in flooded {
        scene.edge.until(counter, |ended| ended > 0).await;
    }
    scene.stays_as_before().await;
}

/// What a proxy may let through, and h2 does not: it would end the connection on which everybody's streams are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_are_no_text_cost_nobody_a_stream() {
    let Some(scene) = Scene::new(&[], json!({})).await else { return };
    let ticket = format!("Bearer {}", scene.ticket().await);
    let usual: [(&str, &[u8]); 7] = [
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", PLAY.as_bytes()),
        (":authority", b"localhost"),
        ("content-type", b"application/grpc"),
        ("te", b"trailers"),
        ("authorization", ticket.as_bytes()),
    ];
    let mut others: Vec<(&str, Vec<u8>)> = Vec::new();
    for byte in (0..=b' ').chain(b"\"(),/:;<=>?@[\\]{}\x7f\x80\xc3\xff".iter().copied()) {
        let within = |begin: &[u8]| [begin, &[byte]].concat();
        others.extend([
            (":path", within(b"/?")),
            (":path", within(b"/fray.v1.Play/Play?a=")),
            (":path", within(b"/fray.v1.Play/Play")),
            (":path", within(b"/#")),
            (":method", within(b"PO")),
            (":scheme", within(b"htt")),
            (":authority", within(b"localhost")),
            ("x-value", within(b"a")),
        ]);
    }
    let tried = others.len();
    let tries = others.iter().map(|(name, value)| {
        let mut block = Vec::new();
        for (known, usual) in usual {
            block.extend(header(known, if known == *name { value } else { usual }));
        }
        if !name.starts_with(':') {
            block.extend(header(name, value));
            // The same as a name.
            block.extend(header(&String::from_utf8_lossy(value), b"a"));
        }
        let scene = &scene;
        async move {
            let mut wire = scene.wire().await;
            assert!(wire.send(&headers(1, &block, 0)).await);
            // It is refused, or the stream or the connection with the edge ends, or it waits for its Hello.
            let _ =
                timeout(Duration::from_millis(500), wire.until(|frame| frame.stream == 1)).await;
        }
    });
    let tries = futures_util::stream::iter(tries);
    futures_util::StreamExt::for_each_concurrent(tries, AT_ONCE, |one| one).await;
    assert!(tried > 400, "{tried}");
    scene.stays_as_before().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_streams_that_are_given_up_or_left_alone_leave_nothing() {
    let Some(scene) = Scene::new(&[], json!({})).await else { return };
    let ticket = scene.ticket().await;
    let block = request(PLAY, Some(&ticket));

    // Opened and given up at once: the edge ends connections of which nothing else comes.
    let (mut opened, mut connections) = (0, 0);
    while opened < 10_000 {
        let mut wire = scene.wire().await;
        connections += 1;
        for number in 0..2500 {
            let stream = number * 2 + 1;
            let given_up = [headers(stream, &block, 0), reset(stream)].concat();
            if opened == 10_000 || !wire.send(&given_up).await {
                break;
            }
            opened += 1;
            if opened % 100 == 0 && !wire.answers().await {
                break;
            }
        }
    }
    assert!(connections > 5, "{connections} connections had to be opened");
    let ended = "http.players.downstream_rq_too_many_premature_resets";
    scene.edge.until(ended, |ended| ended > 0).await;

    // Opened and left alone; then their connections break.
    for _ in 0..32 {
        let mut wires = Vec::new();
        for _ in 0..10 {
            let mut wire = scene.wire().await;
            let streams: Vec<u8> =
                (0..STREAMS).flat_map(|number| headers(number * 2 + 1, &block, 0)).collect();
            assert!(wire.send(&streams).await && wire.answers().await);
            wires.push(wire);
        }
    }
    // And left alone for as long as a Hello may take: each has its status.
    let mut wire = scene.wire().await;
    let streams: Vec<u8> =
        (0..STREAMS).flat_map(|number| headers(number * 2 + 1, &block, 0)).collect();
    assert!(wire.send(&streams).await);
    let before = scene.refused("HELLO_TIMEOUT");
    for _ in 0..STREAMS {
        let ended = |frame: &Frame| frame.ends_its_stream();
        wire.until(ended).await.expect("it is answered");
    }
    assert!(scene.refused("HELLO_TIMEOUT") >= before + u64::from(STREAMS));
    assert!(wire.answers().await, "nobody is cut off for that");
    drop(wire);
    scene.stays_as_before().await;
}

/// How a stream ends that begins with these messages.
async fn end_of(scene: &Scene, ticket: &str, messages: Vec<Message>) -> Ended {
    let messages = messages.into_iter().map(|message| PlayRequest { message: Some(message) });
    let lasting = tokio_stream::iter(messages).chain(tokio_stream::pending());
    let mut play = PlayClient::new(scene.channel().await);
    let ends = async {
        let mut answers = play.play(with_ticket(ticket, lasting)).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let ended = timeout(PATIENCE, ends).await.expect("it ends");
    ended.expect_err("with an error").into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_has_its_status_through_the_edge_too_and_is_counted() {
    let Some(scene) = Scene::new(&[], json!({})).await else { return };
    let ticket = scene.ticket().await;
    let hello = |change: fn(&mut Hello)| {
        let mut hello =
            Hello { protocol_version: fray_proto::PROTOCOL_VERSION, ..Hello::default() };
        change(&mut hello);
        Message::Hello(hello)
    };
    let a_move = |change: fn(&mut Move)| {
        let mut a_move = Move { sequence: 1, ..Move::default() };
        change(&mut a_move);
        Message::Move(a_move)
    };
    let invalid = Code::InvalidArgument;
    let exhausted = Code::ResourceExhausted;
    let cases = [
        (vec![], Code::DeadlineExceeded, "HELLO_TIMEOUT"),
        (vec![Message::Ping(Ping::default())], invalid, "HELLO_EXPECTED"),
        (vec![a_move(|_| {})], invalid, "HELLO_EXPECTED"),
        (
            vec![hello(|hello| hello.protocol_version = 99)],
            Code::FailedPrecondition,
            "PROTOCOL_UNSUPPORTED",
        ),
        (
            vec![hello(|hello| hello.ticket = "what".into())],
            Code::Unauthenticated,
            "TICKET_INVALID",
        ),
        (
            vec![hello(|hello| hello.resume_token = "what".into())],
            Code::NotFound,
            "SESSION_NOT_FOUND",
        ),
        (
            vec![hello(|hello| hello.player_name = "a".repeat(17 * 1024))],
            exhausted,
            "MESSAGE_TOO_LARGE",
        ),
        (
            vec![hello(|_| {}), a_move(|a_move| a_move.axis_x = i32::MAX)],
            invalid,
            "INVALID_ARGUMENT",
        ),
        (vec![hello(|_| {}), a_move(|a_move| a_move.sequence = u32::MAX)], exhausted, "MOVE_FLOOD"),
        (
            vec![hello(|_| {}), a_move(|a_move| a_move.payload = vec![0; 17 * 1024])],
            exhausted,
            "MESSAGE_TOO_LARGE",
        ),
    ];
    for (messages, code, reason) in cases {
        let before = scene.refused(reason);
        let ended = end_of(&scene, &ticket, messages).await;
        assert_eq!((ended.code, ended.reason.as_str()), (code, reason), "{}", ended.message);
        assert_eq!(scene.refused(reason), before + 1, "{reason} is counted");
    }
    let (claims, signature) = ticket.rsplit_once('.').expect("three parts");
    let forged = format!("{claims}.{}", signature.chars().rev().collect::<String>());
    for ticket in ["what", &forged] {
        let ended = end_of(&scene, ticket, vec![hello(|_| {})]).await;
        assert_eq!(ended.code, Code::Unauthenticated, "the edge says so itself");
    }
    let before = scene.refused("ROOM_NOT_FOUND");
    let nowhere = asks(Room::RoomId("nosuchroom".into()));
    let status = LobbyClient::new(scene.channel().await).join(nowhere).await;
    assert_eq!(status.expect_err("no such room").code(), Code::NotFound);
    assert_eq!(scene.refused("ROOM_NOT_FOUND"), before + 1);
    scene.stays_as_before().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_streams_whatever_it_says_of_itself() {
    let Some(scene) = Scene::new(&["--streams-per-address-max", "4"], json!({})).await else {
        return;
    };
    let ticket = scene.ticket().await;
    let mut wire = scene.wire().await;
    // The player has one, by the same address.
    for number in 0..6u32 {
        let claimed = header("x-forwarded-for", format!("192.0.2.{number}").as_bytes());
        let block = [request(PLAY, Some(&ticket)), claimed].concat();
        assert!(wire.send(&headers(number * 2 + 1, &block, 0)).await);
    }
    scene.until("fray_refusals_total{reason=\"ADDRESS_LIMIT\"}", |refused| refused == 3).await;
    for _ in 0..3 {
        wire.until(Frame::ends_its_stream).await.expect("refused");
    }
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_connections_of_which_nothing_comes_end_at_the_edge() {
    let quick = json!({ "timeouts": { "requestHeaders": "1s", "connectionIdle": "1s" } });
    let Some(scene) = Scene::new(&[], quick).await else { return };
    let address = scene.edge.address;
    let garbage: Vec<u8> = (0..5000u32).map(|number| (number * 7919 % 251) as u8).collect();
    let too_long = [b"GET /".to_vec(), vec![b'a'; 100_000]].concat();
    let slow = b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ".to_vec();
    let begun = b"PRI * HTTP/2.0\r\n\r\nS".to_vec();
    for begin in [garbage, too_long, slow, begun, Vec::new()] {
        let mut said_nothing_more = socket(address).await;
        let _ = said_nothing_more.write_all(&begin).await;
        let ends = async {
            while !matches!(said_nothing_more.read(&mut [0; 4096]).await, Ok(0) | Err(_)) {}
        };
        timeout(PATIENCE, ends).await.expect("it is cut off");
    }
    // Headers of which a byte comes now and then.
    let mut slow = socket(address).await;
    let _ = slow.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    let trickles = async {
        loop {
            let mut answer = [0; 4096];
            let read = timeout(std::time::Duration::from_millis(100), slow.read(&mut answer));
            if matches!(read.await, Ok(Ok(0) | Err(_))) || slow.write_all(b"a").await.is_err() {
                return;
            }
        }
    };
    timeout(PATIENCE, trickles).await.expect("it is cut off");
    // A request that is half there: the edge passes it on, and the server answers it.
    let mut wire = scene.wire().await;
    let half = [headers(1, &request(JOIN, None), 0), frame(DATA, 0, 1, &[0, 0, 0, 0, 9, 1])];
    assert!(wire.send(&half.concat()).await);
    let answered = wire.until(|said| said.ends_its_stream() || said.kind == RST_STREAM).await;
    assert_ne!(answered.expect("answered").kind, RST_STREAM);
    scene.until("fray_refusals_total{reason=\"UPLOAD_TIMEOUT\"}", |refused| refused == 1).await;
    drop(wire);
    scene.stays_as_before().await;
}
