//! The other doors: WebSocket, gRPC-Web, health, reflection, the page, the admin port, and the process's end.

#[path = "support/process.rs"]
mod process;
#[path = "support/program.rs"]
mod program;
mod support;

use bytes::Bytes;
use fray_proto::replica::Replica;
use fray_proto::v1::play_request::Message as Request;
use fray_proto::v1::play_response::Message as Response;
use fray_proto::v1::{self, PlayRequest, PlayResponse};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use process::{Process, get};
use program::signal;
use prost::Message as _;
use std::process::Command;
use support::{Net, flags, hello, hello_with_ticket, hello_with_token};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

type Socket = WebSocketStream<DuplexStream>;

/// Opens a WebSocket with these subprotocols, from a page of this origin.
async fn socket(
    net: &Net,
    protocols: &str,
    origin: Option<&str>,
) -> Result<Socket, tungstenite::Error> {
    let mut request = "ws://localhost/ws".into_client_request().expect("a request");
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", protocols.parse().expect("a header"));
    if let Some(origin) = origin {
        headers.insert("origin", origin.parse().expect("a header"));
    }
    let (socket, response) = tokio_tungstenite::client_async(request, net.pipe()).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "fray.v1");
    Ok(socket)
}

async fn send(socket: &mut Socket, message: Request) {
    let bytes = PlayRequest { message: Some(message) }.encode_to_vec();
    socket.send(Message::Binary(bytes.into())).await.expect("sent");
}

/// The next message, or the code and text of the close frame.
async fn receive(socket: &mut Socket) -> Result<Response, (u16, String)> {
    loop {
        match socket.next().await.expect("not just gone").expect("sound") {
            Message::Binary(bytes) => {
                let response = PlayResponse::decode(bytes).expect("a message");
                return Ok(response.message.expect("one that is known"));
            }
            Message::Close(frame) => {
                let frame = frame.expect("with a reason");
                return Err((frame.code.into(), frame.reason.to_string()));
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_websocket_carries_the_same_stream() {
    let net = Net::new(&["--allow-guests", "false"]);
    let ticket = net.ticket("Ada").await;
    let protocols = format!("fray.v1, ticket.{ticket}");
    let mut socket = socket(&net, &protocols, Some("http://localhost")).await.expect("opened");
    send(&mut socket, Request::Hello(hello())).await;
    let Ok(Response::Welcome(welcome)) = receive(&mut socket).await else {
        panic!("a Welcome is expected")
    };
    let mut replica = Replica::for_welcome(&welcome).expect("a sound world");
    send(&mut socket, Request::Move(v1::Move { sequence: 1, axis_y: 127, ..Default::default() }))
        .await;
    let mut acknowledged = 0;
    for _ in 0..30 {
        if let Ok(Response::Update(update)) = receive(&mut socket).await {
            replica.apply(&update).expect("fits");
            acknowledged = update.move_ack.map_or(acknowledged, |ack| ack.input_ack);
            send(&mut socket, Request::Ping(v1::Ping { seen_tick: update.tick, echo: 0 })).await;
        }
    }
    assert_eq!(acknowledged, 1);
    assert!(replica.checksums_checked() > 3);
    send(&mut socket, Request::Leave(v1::Leave {})).await;
    let (code, _) = loop {
        if let Err(closed) = receive(&mut socket).await {
            break closed;
        }
    };
    assert_eq!(code, 4000, "OK");
}

#[tokio::test(start_paused = true)]
async fn a_websocket_that_just_closes_can_be_resumed_over_grpc() {
    let net = Net::new(&["--allow-guests"]);
    let mut socket = socket(&net, "fray.v1", None).await.expect("opened");
    send(&mut socket, Request::Hello(hello())).await;
    let Ok(Response::Welcome(welcome)) = receive(&mut socket).await else {
        panic!("a Welcome is expected")
    };
    socket.close(None).await.expect("closed");
    let back = net.open(hello_with_token(&welcome.resume_token)).await.expect("comes back");
    assert!(back.welcome.resumed);
    assert_eq!(back.welcome.entity, welcome.entity);
}

#[tokio::test(start_paused = true)]
async fn a_websocket_ends_with_the_status_as_its_close_code() {
    let net = Net::new(&["--allow-guests", "false"]);
    let mut socket = socket(&net, "fray.v1", None).await.expect("opened");
    send(&mut socket, Request::Hello(hello_with_ticket("forged"))).await;
    let (code, reason) = receive(&mut socket).await.expect_err("refused");
    assert_eq!(code, 4000 + Code::Unauthenticated as u16);
    assert!(reason.starts_with("TICKET_INVALID"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn garbage_on_a_websocket_is_an_invalid_argument() {
    let net = Net::new(&["--allow-guests"]);
    for garbage in
        [Message::Binary(Bytes::from_static(b"\xff\xff\xff")), Message::Text("hello".into())]
    {
        let mut socket = socket(&net, "fray.v1", None).await.expect("opened");
        socket.send(garbage).await.expect("sent");
        let (code, _) = receive(&mut socket).await.expect_err("refused");
        assert_eq!(code, 4000 + Code::InvalidArgument as u16);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_far_more_than_moves_take_by_websocket_is_sent_away() {
    let net = Net::new(&["--allow-guests"]);
    let mut socket = socket(&net, "fray.v1", None).await.expect("opened");
    send(&mut socket, Request::Hello(hello())).await;
    let Ok(Response::Welcome(_)) = receive(&mut socket).await else {
        panic!("a Welcome is expected")
    };
    // Pongs that nobody asked for: they are no messages, and are not answered.
    let pong = [&[0x8a, 0xfd, 0, 0, 0, 0][..], &[7; 125]].concat();
    let burst = pong.repeat(500);
    let (mut reader, mut writer) = tokio::io::split(socket.into_inner());
    let flood = async {
        let mut sent_bytes = 0;
        while sent_bytes < 200 << 20 && writer.write_all(&burst).await.is_ok() {
            sent_bytes += burst.len();
        }
        sent_bytes
    };
    let heard = async {
        let mut said = Vec::new();
        let _ = reader.read_to_end(&mut said).await;
        String::from_utf8_lossy(&said).into_owned()
    };
    let (sent_bytes, said) = tokio::join!(flood, heard);
    assert!((60 << 20..200 << 20).contains(&sent_bytes), "{sent_bytes} bytes were taken");
    assert!(said.contains("MOVE_FLOOD"), "why is said in the end");
    let metrics = net.parts.sessions().metrics.render();
    assert!(metrics.contains("fray_refusals_total{reason=\"MOVE_FLOOD\"} 1"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_origins_get_no_websocket() {
    let net = Net::new(&["--allow-origin", "https://play.example.com"]);
    let refused =
        socket(&net, "fray.v1", Some("https://evil.example.com")).await.expect_err("refused");
    let tungstenite::Error::Http(response) = refused else { panic!("{refused}") };
    assert_eq!(response.status(), 403);
    socket(&net, "fray.v1", Some("https://play.example.com")).await.expect("allowed");
}

/// One HTTP/1.1 request.
async fn request(net: &Net, request: http::Request<Full<Bytes>>) -> http::Response<Bytes> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(net.pipe())).await.expect("connected");
    let answered = async {
        let response = sender.send_request(request).await.expect("answered");
        let (head, body) = response.into_parts();
        http::Response::from_parts(head, body.collect().await.expect("whole").to_bytes())
    };
    tokio::select! {
        response = answered => response,
        broken = connection => panic!("{broken:?}"),
    }
}

fn grpc_web(path: &str, message: &impl prost::Message) -> http::Request<Full<Bytes>> {
    let bytes = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend((bytes.len() as u32).to_be_bytes());
    framed.extend(bytes);
    let request = http::Request::post(path).header("host", "localhost");
    request
        .header("content-type", "application/grpc-web+proto")
        .body(Full::new(framed.into()))
        .expect("a request")
}

/// What a browser asks before a page of this origin may call.
async fn preflight(net: &Net, origin: &str) -> http::Response<Bytes> {
    let asked = http::Request::options("/fray.v1.Play/Watch")
        .header("host", "localhost")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-grpc-web")
        .body(Full::default())
        .expect("a request");
    request(net, asked).await
}

#[tokio::test(start_paused = true)]
async fn pages_of_listed_origins_may_send_tickets() {
    let net = Net::new(&["--allow-origin", "https://play.example.com"]);
    let let_in = preflight(&net, "https://play.example.com").await;
    let headers = &let_in.headers()["access-control-allow-headers"];
    // A `*` would be for all headers but this one.
    assert!(headers.to_str().expect("text").contains("authorization"), "{headers:?}");
    let stranger = preflight(&net, "https://evil.example.com").await;
    assert!(stranger.headers().get("access-control-allow-origin").is_none());
}

#[tokio::test(start_paused = true)]
async fn grpc_web_joins_but_is_sent_to_the_websocket_for_playing() {
    let net = Net::new(&[]);
    let joined = request(&net, grpc_web("/fray.v1.Lobby/Join", &v1::JoinRequest::default())).await;
    let body = joined.body();
    let length = u32::from_be_bytes([body[1], body[2], body[3], body[4]]) as usize;
    let answer = v1::JoinResponse::decode(&body[5..5 + length]).expect("a message");
    assert!(!answer.ticket.is_empty());
    assert!(String::from_utf8_lossy(&body[5 + length..]).contains("grpc-status:0"));

    let refused = request(&net, grpc_web("/fray.v1.Play/Play", &PlayRequest::default())).await;
    let in_header = refused.headers().get("grpc-status").map(|status| status.as_bytes() == b"12");
    let text = format!("{:?} {}", refused.headers(), String::from_utf8_lossy(refused.body()));
    assert!(in_header.unwrap_or(text.contains("grpc-status:12")), "UNIMPLEMENTED: {text}");
    assert!(text.contains("/ws"), "names the WebSocket: {text}");
}

#[tokio::test(start_paused = true)]
async fn the_page_allows_only_its_own_script() {
    let net = Net::new(&[]);
    let page = http::Request::get("/")
        .header("host", "localhost")
        .body(Full::default())
        .expect("a request");
    let page = request(&net, page).await;
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(
        page.body().starts_with(b"<!doctype html>") || page.body().starts_with(b"<!DOCTYPE html>")
    );
}

#[tokio::test(start_paused = true)]
async fn health_tells_readiness_from_reachability() {
    let net = Net::unbound(&[]);
    let mut client = HealthClient::new(net.connect().await);
    let mut status = async |service: &str| {
        let request = HealthCheckRequest { service: service.into() };
        client.check(request).await.map(|answer| answer.into_inner().status())
    };
    let names = ["", "fray.v1.Lobby", "fray.v1.Play", "live"];
    for name in names {
        assert_eq!(
            status(name).await.expect("known"),
            ServingStatus::NotServing,
            "{name} before the listeners are bound"
        );
    }
    net.parts.health().bound();
    for name in names {
        assert_eq!(status(name).await.expect("known"), ServingStatus::Serving, "{name}");
    }
    net.parts.health().draining();
    for (name, expected) in names.into_iter().zip([false, false, true, true]) {
        let expected = if expected { ServingStatus::Serving } else { ServingStatus::NotServing };
        assert_eq!(status(name).await.expect("known"), expected, "{name} while draining");
    }
    assert_eq!(status("what").await.expect_err("unknown").code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn reflection_lists_the_services_in_both_versions() {
    let net = Net::new(&[]);
    let listed = {
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::v1::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        };
        let mut client = ServerReflectionClient::new(net.connect().await);
        let request = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let mut answers = client
            .server_reflection_info(tokio_stream::once(request))
            .await
            .expect("answers")
            .into_inner();
        match answers.message().await.expect("sound").and_then(|answer| answer.message_response) {
            Some(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|s| s.name).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(
        listed.contains(&"fray.v1.Play".to_owned()) && listed.contains(&"fray.v1.Lobby".to_owned()),
        "{listed:?}"
    );
    let listed = {
        use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::v1alpha::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        };
        let mut client = ServerReflectionClient::new(net.connect().await);
        let symbol = MessageRequest::FileContainingSymbol("fray.v1.Play".into());
        let request =
            ServerReflectionRequest { message_request: Some(symbol), ..Default::default() };
        let mut answers = client
            .server_reflection_info(tokio_stream::once(request))
            .await
            .expect("answers")
            .into_inner();
        answers
            .message()
            .await
            .expect("sound")
            .and_then(|answer| answer.message_response)
            .map(|answer| matches!(answer, MessageResponse::FileDescriptorResponse(_)))
    };
    assert_eq!(listed, Some(true));
}

#[tokio::test]
async fn everybody_is_told_when_the_server_ends_and_nobody_holds_it_up() {
    let config = flags::config(&["--allow-guests"]);
    let app = fray_server::Server::builder().config(config).build().await.expect("a server");
    let address = app.listen_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::task::JoinSet::from_iter([app.run(async {
        let _ = stopped.await;
    })]);

    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut request = format!("ws://{address}/ws").into_client_request().expect("a request");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", "fray.v1".parse().expect("a header"));
        let stream = tokio::net::TcpStream::connect(address).await.expect("listening");
        let (mut socket, _) =
            tokio_tungstenite::client_async(request, stream).await.expect("opened");
        let hello = PlayRequest { message: Some(Request::Hello(hello())) }.encode_to_vec();
        socket.send(Message::Binary(hello.into())).await.expect("sent");
        sockets.push(socket);
    }
    for socket in &mut sockets {
        assert!(socket.next().await.is_some_and(|message| message.is_ok()), "a Welcome");
    }
    // A client that watches the server's health, as load balancers do, and one that says nothing at all.
    let channel = tonic::transport::Endpoint::new(format!("http://{address}")).expect("an address");
    let mut health = HealthClient::new(channel.connect().await.expect("connected"));
    let request = HealthCheckRequest { service: "fray.v1.Lobby".into() };
    let mut watched = health.watch(request).await.expect("watched").into_inner();
    assert_eq!(
        watched.message().await.expect("sound").map(|answer| answer.status()),
        Some(ServingStatus::Serving)
    );
    let _silent = tokio::net::TcpStream::connect(address).await.expect("listening");

    stop.send(()).expect("it runs");
    assert_eq!(
        watched.message().await.expect("sound").map(|answer| answer.status()),
        Some(ServingStatus::NotServing)
    );
    for socket in &mut sockets {
        let closed = loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => break frame,
                Some(Ok(_)) => {}
                other => panic!("a close frame is expected, not {other:?}"),
            }
        };
        assert_eq!(closed.map(|frame| frame.code.into()), Some(4000 + Code::Unavailable as u16));
    }
    assert!(server.join_all().await.iter().all(Result::is_ok), "it ends in order, and in time");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_decoded_is_the_sender_s_mistake() {
    let net = Net::new(&[]);
    let large = [&[0, 0, 0, 0x44, 0][..], &vec![0; 0x4400]].concat();
    let bodies = [
        (&b"\0\0\0\0\x03\xff\xff\xff"[..], "3", "MALFORMED_MESSAGE"),
        (b"", "3", "MALFORMED_MESSAGE"),
        (b"\0\0\0\0\x03\xff", "3", "MALFORMED_MESSAGE"),
        (b"\x01\0\0\0\0", "3", "MALFORMED_MESSAGE"),
        (b"\x07\0\0\0\0", "3", "MALFORMED_MESSAGE"),
        (&large, "8", "MESSAGE_TOO_LARGE"),
    ];
    for (body, code, reason) in bodies {
        let counted = || {
            let metrics = net.parts.sessions().metrics.render();
            let series = format!("fray_refusals_total{{reason=\"{reason}\"}} ");
            let count = metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
            count.unwrap_or(0_u64)
        };
        let before = counted();
        let mut request = grpc_web("/fray.v1.Lobby/Join", &v1::JoinRequest::default());
        *request.body_mut() = Full::new(Bytes::copy_from_slice(body));
        let refused = self::request(&net, request).await;
        let text = format!("{:?} {}", refused.headers(), String::from_utf8_lossy(refused.body()));
        assert!(
            text.contains(&format!("grpc-status\": \"{code}\""))
                || text.contains(&format!("grpc-status:{code}")),
            "{text}"
        );
        assert_eq!(counted(), before + 1, "{reason} is counted: {text}");
    }
}

#[test]
fn the_process_ends_in_order_on_sigterm_and_answers_probes_until_then() {
    let server = Process::start(&[]);
    let (players, operators) = (server.players, server.operators);
    assert!(get(operators, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(operators, "/readyz").starts_with("HTTP/1.1 200"));
    let metrics = get(operators, "/metrics");
    for name in [
        "fray_rooms",
        "fray_players",
        "fray_tick_duration_seconds",
        "fray_tick_lateness_seconds",
        "fray_update_bytes_total",
    ] {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }
    assert!(get(players, "/").starts_with("HTTP/1.1 200"));

    signal(server.id(), "TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn an_address_that_is_taken_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = Command::new(env!("CARGO_BIN_EXE_fray-server"))
        .args(["--listen", &address, "--admin", "127.0.0.1:0", "--control", "127.0.0.1:0"])
        .output()
        .expect("started");
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
}
