//! What one address may have.

use crate::frames::{DATA, Wire, header, headers, message, request, reset};
use crate::process::Process;
use crate::support::{Net, hello, reason};
use fray_proto::v1::PlayRequest;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::play_request::Message as Request;
use prost::Message as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

const OPEN: &str = "fray_connections";
const REFUSED: &str = "fray_connections_refused_total{reason=\"address\"}";

#[tokio::test]
async fn an_address_has_so_many_connections_and_the_others_are_closed_at_once() {
    let server = Process::start(&["--connections-per-address-max", "3"]);
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::begun(TcpStream::connect(server.players).await.expect("open")).await;
        assert!(wire.answers().await);
        wires.push(wire);
    }
    for refused in 1..=2 {
        let mut fourth = TcpStream::connect(server.players).await.expect("the kernel accepts");
        assert!(
            matches!(fourth.read(&mut [0; 1]).await, Ok(0) | Err(_)),
            "closed, and nothing said"
        );
        server.until(REFUSED, |count| count == refused).await;
    }
    for wire in &mut wires {
        assert!(wire.answers().await, "those who are there stay");
    }
    drop(wires.pop());
    server.until(OPEN, |count| count == 2).await;
    let mut next = Wire::begun(TcpStream::connect(server.players).await.expect("open")).await;
    assert!(next.answers().await, "who goes leaves a place");
}

#[tokio::test]
async fn a_server_for_this_machine_alone_and_operators_are_not_limited() {
    let server = Process::start(&[]);
    let mut wires = Vec::new();
    for _ in 0..300 {
        wires.push(TcpStream::connect(server.players).await.expect("open"));
    }
    server.until(OPEN, |count| count == 300).await;
    assert_eq!(server.count(REFUSED), 0);
}

/// A stream by a proxy that says of whom it is. It ends with its requests: a client of this kind gives nothing up while they may come.
async fn played(
    net: &Net,
    forwarded_for: &str,
) -> Result<(tonic::Streaming<fray_proto::v1::PlayResponse>, mpsc::Sender<PlayRequest>), Status> {
    let mut client = PlayClient::new(net.connect().await);
    let first = PlayRequest { message: Some(Request::Hello(hello())) };
    let (requests, lasting) = mpsc::channel(1);
    requests.try_send(first).expect("room for it");
    let mut request = tonic::Request::new(ReceiverStream::new(lasting));
    request.metadata_mut().insert("x-forwarded-for", forwarded_for.parse().expect("a header"));
    let mut stream = client.play(request).await?.into_inner();
    stream.message().await?;
    Ok((stream, requests))
}

const BEHIND_ONE: [&str; 5] =
    ["--allow-guests", "--trusted-hops", "1", "--streams-per-address-max", "2"];

#[tokio::test(start_paused = true)]
async fn behind_a_proxy_it_has_so_many_streams_by_what_the_proxy_says() {
    let net = Net::new(&BEHIND_ONE);
    let metrics = &net.parts.sessions().metrics;
    let refusals = || {
        let text = metrics.render();
        text.contains("fray_refusals_total{reason=\"ADDRESS_LIMIT\"} 1\n")
    };
    let first = played(&net, "192.0.2.1").await.expect("seated");
    // What a client writes itself comes before what the proxy adds.
    let _second = played(&net, "10.1.2.3, 192.0.2.1").await.expect("seated");
    let status = played(&net, "10.9.9.9, 192.0.2.1").await.expect_err("one too many");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "ADDRESS_LIMIT")
    );
    assert!(refusals());
    let _other = played(&net, "192.0.2.2").await.expect("another has its own");
    drop(first);
    for _ in 0..1000 {
        if played(&net, "192.0.2.1").await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("who goes leaves a place");
}

#[tokio::test(start_paused = true)]
async fn websockets_are_counted_with_streams_for_as_long_as_they_last() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    let net = Net::new(&BEHIND_ONE);
    let open = async || {
        let mut request = "ws://localhost/ws".into_client_request().expect("a request");
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", "fray.v1".parse().expect("a header"));
        headers.insert("x-forwarded-for", "192.0.2.1".parse().expect("a header"));
        tokio_tungstenite::client_async(request, net.pipe()).await
    };
    let (_one, _) = open().await.expect("opened");
    let _two = played(&net, "192.0.2.1").await.expect("seated");
    let refused = open().await.expect_err("one too many");
    assert!(refused.to_string().contains("429"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn streams_that_break_off_leave_their_places() {
    let net = Net::new(&BEHIND_ONE);
    let mut wire = Wire::begun(net.pipe()).await;
    let first = PlayRequest { message: Some(Request::Hello(hello())) }.encode_to_vec();
    for stream in (1..200).step_by(2) {
        let block =
            [request("/fray.v1.Play/Play"), header("x-forwarded-for", b"192.0.2.1")].concat();
        assert!(
            wire.send(&[headers(stream, &block, 0), message(stream, &first, 0)].concat()).await
        );
        wire.until(|said| said.stream == stream && said.kind == DATA).await.expect("a Welcome");
        assert!(wire.send(&reset(stream)).await && wire.answers().await);
    }
}
