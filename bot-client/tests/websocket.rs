//! Goal: a WebSocket carries the same stream, and its close codes the same statuses. Method: the real client over a pipe
//! in memory, against a bare WebSocket.

mod support;

use fray_bot::client::Ended;
use fray_bot::client::transport::{Link, websocket_over};
use fray_proto::v1;
use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use support::room::encode;
use tokio::io::{DuplexStream, duplex};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response as Upgraded};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use v1::play_request::Message as Sent;

/// Both ends of a WebSocket, and the subprotocols that the client offered.
async fn websocket(
    serve: impl AsyncFnOnce(WebSocketStream<DuplexStream>),
    play: impl AsyncFnOnce(Link),
) -> String {
    let (client, server) = duplex(1 << 16);
    let mut offered = String::new();
    let serving = async {
        #[expect(clippy::result_large_err, reason = "the signature is the library's")]
        let callback = |request: &Upgrade, mut response: Upgraded| {
            let protocols = request.headers()["sec-websocket-protocol"].to_str();
            protocols.expect("it is text").clone_into(&mut offered);
            let chosen = "fray.v1".parse().expect("it is text");
            response.headers_mut().insert("sec-websocket-protocol", chosen);
            Ok(response)
        };
        let socket = accept_hdr_async(server, callback).await.expect("a handshake");
        serve(socket).await;
    };
    let playing = async {
        let uri = "ws://in.memory/ws".parse().expect("an address");
        play(websocket_over(client, uri, "a.b.c").await.expect("a handshake")).await;
    };
    tokio::join!(serving, playing);
    offered
}

#[tokio::test(start_paused = true)]
async fn one_binary_message_is_one_message_and_the_ticket_a_subprotocol() {
    let pong = v1::Pong { echo: 1, tick: 7 };
    let pong = v1::PlayResponse { message: Some(v1::play_response::Message::Pong(pong)) };
    let bytes = encode(&pong);
    let ping = v1::Ping { seen_tick: 3, echo: 1 };
    let ping = v1::PlayRequest { message: Some(Sent::Ping(ping)) };
    let offered = websocket(
        async |mut socket| {
            let frame = socket.next().await.expect("a frame").expect("no error");
            assert_eq!(v1::PlayRequest::decode(frame.into_data()).expect("a request"), ping);
            socket.send(Frame::Binary(bytes.clone())).await.expect("the client reads");
            let close = CloseFrame { code: 4010.into(), reason: "KICKED: go".into() };
            socket.close(Some(close)).await.expect("the client reads");
        },
        async |mut link| {
            link.requests.send(ping.clone()).await.expect("the server reads");
            let message = link.messages.next().await.expect("a message").expect("no error");
            assert_eq!((message.bytes.as_ref(), message.framing), (bytes.as_ref(), 2));
            let ended = link.messages.next().await.expect("an end").expect_err("an error");
            assert_eq!(ended.label(), "ABORTED/KICKED");
            assert!(link.messages.next().await.is_none());
        },
    )
    .await;
    assert_eq!(offered, "fray.v1, ticket.a.b.c");
}

#[tokio::test(start_paused = true)]
async fn close_code_4000_is_a_good_end_and_silence_is_not() {
    websocket(
        async |mut socket| {
            let close = CloseFrame { code: 4000.into(), reason: "".into() };
            socket.close(Some(close)).await.expect("the client reads");
        },
        async |mut link| assert!(link.messages.next().await.is_none()),
    )
    .await;
    websocket(
        async |socket| drop(socket),
        async |mut link| {
            let ended = link.messages.next().await.expect("an end").expect_err("an error");
            assert_eq!(ended.label(), Ended::broken("").label());
        },
    )
    .await;
}
