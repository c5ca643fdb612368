//! Who gets in where operators change something.

use super::{Net, calls, logged};
use bytes::Bytes;
use clap::Parser as _;
use fray_proto::v1;
use fray_proto::v1::admin_client::AdminClient;
use fray_server::config::Config;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use std::collections::BTreeSet;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
};

fn drain_request() -> http::request::Builder {
    http::Request::post("http://127.0.0.1/fray.v1.Admin/Drain")
}

/// `DrainRequest` as gRPC frames it.
fn framed() -> Full<Bytes> {
    let message = v1::DrainRequest { off: false }.encode_to_vec();
    assert!(message.is_empty());
    Full::new(Bytes::from_static(&[0; 5]))
}

#[tokio::test(start_paused = true)]
async fn a_page_cannot_tell_a_server_on_its_reader_s_machine_anything() {
    let net = Net::new(&[]);
    // Simple requests, as any page may send them anywhere, and what a page could send where it was let in.
    for content_type in ["text/plain", "application/grpc", "application/grpc-web+proto"] {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(net.control_pipe()))
                .await
                .expect("HTTP");
        net.spawn_client(async move { drop(connection.await) });
        let request =
            drain_request().header("host", "127.0.0.1").header("content-type", content_type);
        let answer = sender.send_request(request.body(framed()).expect("a request")).await;
        assert_eq!(answer.expect("answered").status(), 403, "{content_type}");
    }
    for (name, value) in [("origin", "http://127.0.0.1"), ("content-type", "text/plain")] {
        let pipe = TokioIo::new(net.control_pipe());
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), pipe)
                .await
                .expect("HTTP/2");
        net.spawn_client(async move { drop(connection.await) });
        let mut request = drain_request().body(framed()).expect("a request");
        request.headers_mut().insert("content-type", "application/grpc".parse().expect("a header"));
        request.headers_mut().insert(name, value.parse().expect("a header"));
        let answer = sender.send_request(request).await.expect("answered");
        assert_eq!(answer.status(), 403, "{name}");
        answer.into_body().collect().await.expect("whole");
    }
    assert!(!net.parts.health().is_drained());
    net.admin().await.drain(v1::DrainRequest { off: false }).await.expect("told");
    assert!(net.parts.health().is_drained(), "gRPC it takes");
}

async fn services(channel: Channel) -> BTreeSet<String> {
    let mut client = ServerReflectionClient::new(channel);
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await;
    let answer = answers.expect("answers").into_inner().message().await.expect("sound");
    match answer.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => {
            list.service.into_iter().map(|service| service.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn operators_verbs_are_there_and_nowhere_else() {
    let net = Net::new(&[]);
    let mut elsewhere = AdminClient::new(net.connect().await);
    let refused = elsewhere.drain(v1::DrainRequest { off: false }).await.expect_err("not here");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    assert!(!net.parts.health().is_drained());

    let reflection = "grpc.reflection.v1.ServerReflection";
    let named =
        |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(services(net.control_channel().await).await, named(&["fray.v1.Admin", reflection]));
    let players =
        ["fray.v1.Lobby", "fray.v1.Play", "fray.v1.Replays", "grpc.health.v1.Health", reflection];
    assert_eq!(services(net.connect().await).await, named(&players));
}

#[test]
fn unless_told_otherwise_only_this_machine_reaches_them() {
    let default = Config::parse_from(["fray-server"]).control.control;
    assert!(default.ip().is_loopback());
    // Also of a server that everybody reaches.
    let flags = ["fray-server", "--listen", "0.0.0.0:7777", "--admin", "0.0.0.0:7780"];
    assert_eq!(Config::parse_from(flags).control.control, default);
}

#[tokio::test]
async fn the_log_says_from_where_a_server_was_told() {
    logged();
    let config = crate::support::flags::config(&[]);
    let app = fray_server::Server::builder().config(config).build().await.expect("a server");
    let address = app.control_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::task::JoinSet::from_iter([app.run(async {
        let _ = stopped.await;
    })]);
    let mut admin = AdminClient::connect(format!("http://{address}")).await.expect("connected");
    admin.drain(v1::DrainRequest { off: false }).await.expect("told");
    // Other tests' calls come from nowhere.
    let calls = calls(|fields| fields["peer"] != "unknown");
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(
        (&calls[0]["fields"]["verb"], &calls[0]["level"]),
        (&"Drain".into(), &"WARN".into())
    );
    let peer = calls[0]["fields"]["peer"].as_str().expect("an address");
    let peer: std::net::SocketAddr = peer.parse().expect("an address");
    assert!(peer.ip().is_loopback() && peer.port() != address.port(), "{peer}");
    stop.send(()).expect("it runs");
    assert!(server.join_all().await.iter().all(Result::is_ok), "it ends in order, and in time");
}
