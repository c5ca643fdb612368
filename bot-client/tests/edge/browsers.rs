//! What pages may do: gRPC-Web, and whose pages.

use crate::certificates::{Authority, with_tls};
use crate::envoy::{Edge, folder, values};
use crate::http::{Client, Reply, frame, full, tls};
use crate::tickets::Issuer;
use crate::upstream::Upstream;
use hyper::Request;
use serde_json::{Value, json};

const OURS: &str = "https://play.example.com";
const THEIRS: &str = "https://evil.example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_listed_origins_call_over_grpc_web_through_tls() {
    let (authority, issuer) = (Authority::new(), Issuer::new("one"));
    let server = Upstream::start("v1").await;
    let folder = folder();
    authority.mount(&folder.join("tls"), "localhost", 1);
    let mut values = with_tls(values(&[server.address], &Issuer::jwks(&[&issuer])));
    values["edge"]["origins"] = json!([OURS]);
    let Some(edge) = Edge::start_in(folder, &values).await else { return };
    edge.healthy("lobby-v1", 1).await;
    let trusted = [authority.certificate()];
    // After a refusal Envoy closes the connection.
    let ask = async |request: hyper::http::request::Builder, body: &[u8]| {
        let (socket, _) = tls(edge.address, &trusted, "http/1.1").await;
        let mut client = Client::over_http1(socket, edge.address).await;
        let request = request.header("host", "localhost").body(full(body.to_vec()));
        let answer = client.send(request.expect("a request")).await.expect("an answer");
        Reply::of(answer).await
    };

    // What a browser asks first, also where a ticket is needed. It is answered here.
    for path in ["/fray.v1.Lobby/ListRooms", "/fray.v1.Play/Watch"] {
        for (origin, is_allowed) in [(OURS, true), (THEIRS, false), ("null", false)] {
            let preflight = Request::options(path)
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization,content-type,x-grpc-web");
            let reply = ask(preflight, b"").await;
            let allowed = reply.header("access-control-allow-origin");
            assert_eq!(allowed, is_allowed.then_some(origin), "{path}, {origin}: {reply:?}");
            if is_allowed {
                let headers = reply.header("access-control-allow-headers").unwrap_or_default();
                for header in ["authorization", "content-type", "x-grpc-web", "grpc-timeout"] {
                    assert!(headers.split(',').any(|allowed| allowed == header), "{header}");
                }
                assert!(
                    reply
                        .header("access-control-allow-methods")
                        .is_some_and(|m| m.contains("POST"))
                );
            }
        }
    }
    assert_eq!(server.does.seen(), [Value::Null; 0], "no server was bothered");

    let call = |path: &str| {
        let kind = "application/grpc-web+proto";
        Request::post(path)
            .header("origin", OURS)
            .header("content-type", kind)
            .header("x-grpc-web", "1")
    };
    let reply = ask(call("/fray.v1.Lobby/ListRooms"), &frame("")).await;
    assert_eq!(reply.header("content-type"), Some("application/grpc-web+proto"));
    assert_eq!(reply.header("access-control-allow-origin"), Some(OURS));
    let exposed = reply.header("access-control-expose-headers").unwrap_or_default();
    assert!(exposed.contains("grpc-status") && exposed.contains("grpc-message"));
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.contains("/fray.v1.Lobby/ListRooms"), "{text}");
    assert!(text.ends_with("grpc-status:0\r\n"), "the trailers are in the body: {text}");

    // Refusals are gRPC's, too.
    let reply = ask(call("/fray.v1.Play/Watch"), &frame("")).await;
    assert_eq!((reply.status, reply.grpc()), (401, Some(16)), "{reply:?}");
    // Half of a conversation is none.
    let bearer = issuer.bearer(server.address);
    let play = call("/fray.v1.Play/Play").header("authorization", &bearer);
    let reply = ask(play, &frame("")).await;
    assert_eq!(reply.grpc(), Some(12), "UNIMPLEMENTED: {reply:?}");
    assert!(reply.grpc_message().contains("/ws"), "{reply:?}");
}
