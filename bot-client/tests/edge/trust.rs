//! What the edge believes: good tickets, and nothing else that comes from outside.

use crate::envoy::{Edge, PATIENCE, values};
use crate::http::{Client, Reply, full, socket};
use crate::tickets::{Issuer, claims, now_s, unsigned};
use crate::upstream::Upstream;
use hyper::Request;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What goes by ticket, over gRPC.
const TICKETED: [&str; 3] =
    ["/fray.v1.Play/Play", "/fray.v1.Play/Watch", "/fray.v1.Replays/Download"];
const UNAUTHENTICATED: i32 = 16;
const UNAVAILABLE: i32 = 14;
const UNIMPLEMENTED: i32 = 12;

fn with(server: SocketAddr, key: &str, value: Value) -> Value {
    let mut claims = claims(server);
    claims[key] = value;
    claims
}

/// Each of them is wrong in one way only.
fn bad_tickets(issuer: &Issuer, server: SocketAddr) -> Vec<(&'static str, String)> {
    let good = issuer.ticket(server);
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (header, _) = signed.split_once('.').expect("three parts");
    let other = issuer.sign(&with(server, "room", json!("r2")));
    let other_claims = other.split('.').nth(1).expect("three parts");
    let mut none = unsigned(&json!({ "alg": "none", "typ": "JWT" }), &claims(server));
    let none_without_dot = none.trim_end_matches('.').to_owned();
    none.push_str("AAAA");
    let hmac = EncodingKey::from_secret(issuer.public());
    let confused =
        jsonwebtoken::encode(&Header::default(), &claims(server), &hmac).expect("a token");
    vec![
        ("no ticket at all", String::new()),
        ("not a ticket", "hello".into()),
        ("another's claims under a good signature", format!("{header}.{other_claims}.{signature}")),
        ("a signature that was changed", format!("{signed}.{}", signature.to_ascii_uppercase())),
        ("no signature", format!("{signed}.")),
        ("alg none", unsigned(&json!({ "alg": "none", "typ": "JWT" }), &claims(server))),
        ("alg none, and something for a signature", none),
        ("alg none, two parts", none_without_dot),
        ("the public key as a shared secret", confused),
        ("a foreign key of the same name", Issuer::new("one").ticket(server)),
        ("a foreign key of another name", Issuer::new("two").ticket(server)),
        ("expired a minute ago", issuer.sign(&with(server, "exp", json!(now_s() - 60)))),
        ("not yet", issuer.sign(&with(server, "nbf", json!(now_s() + 60)))),
        ("for another audience", issuer.sign(&with(server, "aud", json!("admin")))),
        ("for no audience", issuer.sign(&with(server, "aud", json!("")))),
        ("of another issuer", issuer.sign(&with(server, "iss", json!("freight")))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_is_wrong_in_any_way_opens_nothing() {
    let (issuer, server) = (Issuer::new("one"), Upstream::start("v1").await);
    let values = values(&[server.address], &Issuer::jwks(&[&issuer]));
    let Some(edge) = Edge::start(&values).await else { return };
    let mut client = Client::connect(edge.address).await;
    for (what, ticket) in bad_tickets(&issuer, server.address) {
        for path in TICKETED {
            let bearer = format!("Bearer {ticket}");
            let headers = [("authorization", bearer.as_str())];
            let headers = if ticket.is_empty() { &headers[..0] } else { &headers };
            let reply = client.call(path, headers).await;
            assert_eq!(reply.grpc(), Some(UNAUTHENTICATED), "{path}, {what}: {reply:?}");
        }
        let status = handshake(&edge, &format!("ticket.{ticket}"), "").await.status;
        assert_eq!(status, 401, "/ws, {what}");
    }
    // A good one, where tickets do not belong.
    let good = issuer.ticket(server.address);
    for headers in [("authorization", good.as_str()), ("x-ticket", &good), ("cookie", &good)] {
        let reply = client.call(TICKETED[0], &[headers]).await;
        assert_eq!(reply.grpc(), Some(UNAUTHENTICATED), "{reply:?}");
    }
    for query in ["access_token", "ticket"] {
        let path = format!("{}?{query}={good}", TICKETED[0]);
        let reply = client.call(&path, &[]).await;
        assert_eq!(reply.grpc(), Some(UNAUTHENTICATED), "{query}");
        assert_eq!(handshake(&edge, "x", &format!("?{query}={good}")).await.status, 401, "{query}");
    }
    assert_eq!(server.does.seen(), [Value::Null; 0], "none of them came through");
    let bearer = issuer.bearer(server.address);
    let mut stream = client.open(TICKETED[1], &[("authorization", &bearer)]).await;
    assert_eq!(stream.echo().await["path"], TICKETED[1], "a good one does");
}

/// A WebSocket's handshake with this as the second subprotocol.
async fn handshake(edge: &Edge, protocol: &str, query: &str) -> Reply {
    let socket = socket(edge.address).await;
    let mut client = Client::over_http1(socket, edge.address).await;
    let request = Request::builder()
        .uri(format!("/ws{query}"))
        .header("host", edge.address.to_string())
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", format!("fray.v1, {protocol}"));
    Reply::of(client.send(request.body(full("")).expect("a request")).await.expect("an answer"))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_to_the_server_that_its_ticket_names_whatever_else_is_said() {
    let issuer = Issuer::new("one");
    let servers =
        [Upstream::start("v1").await, Upstream::start("v1").await, Upstream::start("v1").await];
    let addresses = servers.each_ref().map(|server| server.address);
    let values = values(&addresses, &Issuer::jwks(&[&issuer]));
    let Some(edge) = Edge::start(&values).await else { return };
    edge.healthy("servers", 3).await;
    let mut client = Client::connect(edge.address).await;
    let elsewhere = |at: usize| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(addresses[(at + 1) % 3].to_string())
    };
    for round in 0..10 {
        for (at, server) in addresses.iter().enumerate() {
            let (bearer, forged) = (issuer.bearer(*server), elsewhere(at));
            let path = TICKETED[round % TICKETED.len()];
            let headers = [
                ("authorization", bearer.as_str()),
                ("x-room-route", &forged),
                ("x-room", "r666"),
                ("x-player", "somebody"),
                ("x-fray-version", "v666"),
                ("x-fray-hop", "1"),
            ];
            let mut stream = client.open(path, &headers).await;
            let echo = stream.echo().await;
            assert_eq!(echo["server"], server.to_string(), "{path}");
            let saw = &echo["headers"];
            assert_eq!((&saw["x-room"], &saw["x-player"]), (&json!("r1"), &json!("p1")));
            assert_eq!(saw["x-fray-version"], "v1");
            assert_eq!(saw["x-fray-hop"], Value::Null);
            assert_eq!(saw["authorization"], bearer, "the server checks it, too");
            assert_eq!(stream.headers.get("x-room-route"), None, "nobody is told of addresses");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_names_a_server_or_a_player_where_no_ticket_is_asked_for() {
    use base64::Engine as _;
    let issuer = Issuer::new("one");
    let servers = [Upstream::start("v1").await, Upstream::start("v1").await];
    let addresses = servers.each_ref().map(|server| server.address);
    let values = values(&addresses, &Issuer::jwks(&[&issuer]));
    let Some(edge) = Edge::start(&values).await else { return };
    edge.healthy("lobby-v1", 2).await;
    let mut client = Client::connect(edge.address).await;
    let route = base64::engine::general_purpose::STANDARD.encode(addresses[0].to_string());
    let headers = [
        ("x-room-route", route.as_str()),
        ("x-room", "r666"),
        ("x-player", "somebody"),
        ("x-fray-player", "somebody"),
        ("x-forwarded-for", "10.1.1.1"),
        ("x-envoy-original-dst-host", "127.0.0.1:1"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let mut reached = [0; 2];
    for _ in 0..100 {
        let reply = client.call("/fray.v1.Lobby/Join", &headers).await;
        let echo = reply.echo();
        reached[usize::from(echo["server"] == addresses[1].to_string())] += 1;
        for (name, _) in &headers {
            let is_kept = *name == "x-forwarded-for";
            assert_eq!(!echo["headers"][*name].is_null(), is_kept, "{name}: {echo}");
        }
        // Whoever connects from this machine has, for Envoy, any of its addresses.
        let forwarded = echo["headers"]["x-forwarded-for"].as_str().expect("a header");
        let (claimed, seen) = forwarded.rsplit_once(',').expect("two");
        assert_eq!(claimed, "10.1.1.1");
        assert!(seen != claimed && seen.parse::<std::net::IpAddr>().is_ok(), "{forwarded}");
        assert_eq!(reply.header("x-room-route"), None);
    }
    assert!(reached.iter().all(|reached| *reached > 10), "shared out: {reached:?}");
}

/// Envoy takes a route that it cannot read for none. Then the server, which checks, is the last to say no; but nobody is told
/// which server it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_without_a_route_tells_nobody_of_addresses() {
    let (issuer, server) = (Issuer::new("one"), Upstream::start("v1").await);
    let values = values(&[server.address], &Issuer::jwks(&[&issuer]));
    let Some(edge) = Edge::start(&values).await else { return };
    edge.healthy("servers", 1).await;
    let mut client = Client::connect(edge.address).await;
    for route in [json!("garbage"), json!(""), json!(7), Value::Null] {
        let bearer = format!("Bearer {}", issuer.sign(&with(server.address, "route", route)));
        let headers = [("authorization", bearer.as_str()), ("x-room-route", "Zm9yZ2Vk")];
        let mut stream = client.open(TICKETED[1], &headers).await;
        assert_ne!(stream.echo().await["headers"]["x-room-route"], "Zm9yZ2Vk");
        assert_eq!(stream.headers.get("x-room-route"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_for_a_server_that_is_gone_is_unavailable_and_reaches_no_other() {
    let issuer = Issuer::new("one");
    let [lives, dies] = [Upstream::start("v1").await, Upstream::start("v1").await];
    let (address, unknown) = (dies.address, "10.255.255.1:7777".parse().expect("an address"));
    let values = values(&[lives.address, address], &Issuer::jwks(&[&issuer]));
    let Some(edge) = Edge::start(&values).await else { return };
    edge.healthy("servers", 2).await;
    let mut client = Client::connect(edge.address).await;
    dies.stop().await;
    for is_known in [false, true] {
        // At first Envoy has not heard of its end.
        if is_known {
            edge.healthy("servers", 1).await;
        }
        for server in [address, unknown] {
            for path in TICKETED {
                let reply = client.call(path, &[("authorization", &issuer.bearer(server))]).await;
                assert_eq!(reply.grpc(), Some(UNAVAILABLE), "{path}, {server}: {reply:?}");
            }
            let protocol = format!("ticket.{}", issuer.ticket(server));
            assert_eq!(handshake(&edge, &protocol, "").await.status, 503);
        }
    }
    assert_eq!(lives.does.seen(), [Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_keys_are_fetched_from_them_and_a_new_one_is_found_in_time() {
    let [first, second] = [Issuer::new("one"), Issuer::new("two")];
    let server = Upstream::start("v1").await;
    let publish =
        |issuers: &[&Issuer]| *server.does.jwks.lock().expect("no panic") = Issuer::jwks(issuers);
    publish(&[&first]);
    let mut values = values(&[server.address], "");
    values["edge"]["tickets"]["jwksCache"] = json!("1s");
    let Some(edge) = Edge::start(&values).await else { return };
    let mut client = Client::connect(edge.address).await;
    let mut opens = async |issuer: &Issuer| {
        let bearer = issuer.bearer(server.address);
        let headers = [("authorization", bearer.as_str())];
        client.call("/fray.v1.Play/Play", &headers).await.grpc() != Some(UNAUTHENTICATED)
    };
    assert!(opens(&first).await);
    assert!(!opens(&second).await);
    publish(&[&first, &second]);
    let deadline = Instant::now() + PATIENCE;
    while !opens(&second).await {
        assert!(Instant::now() < deadline, "the new key is never found");
    }
    assert!(opens(&first).await, "the old one is good for as long as it is published");
    publish(&[&second]);
    while opens(&first).await {
        assert!(Instant::now() < deadline, "the old key is never forgotten");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_in_the_table_is_not_there() {
    let server = Upstream::start("v1").await;
    let issuer = Issuer::new("one");
    let values = values(&[server.address], &Issuer::jwks(&[&issuer]));
    let Some(edge) = Edge::start(&values).await else { return };
    let mut client = Client::connect(edge.address).await;
    let bearer = issuer.bearer(server.address);
    let headers = [("authorization", bearer.as_str())];
    for path in [
        "/fray.v1.Peer/Relay",
        "/fray.v1.Admin/Drain",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
        "/fray.v1.Play/Play/",
        "/fray.v1.Play//Play",
        "/fray.v1.play/Play",
    ] {
        assert_eq!(client.call(path, &headers).await.grpc(), Some(UNIMPLEMENTED), "{path}");
    }
    for path in [
        "/stats",
        "/quitquitquit",
        "/metrics",
        "/status",
        "/rooms/a/b/events",
        "/rooms//events",
        "/ws/",
    ] {
        assert_eq!(client.ask("GET", path, &headers).await.status, 404, "{path}");
    }
    assert_eq!(client.ask("GET", "/healthz", &[]).await.status, 200);
    assert_eq!(server.does.seen(), [Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_own_port_is_open_on_loopback_alone() {
    let server = Upstream::start("v1").await;
    let mut values = values(&[server.address], &Issuer::jwks(&[&Issuer::new("one")]));
    values["edge"]["listen"]["address"] = json!("0.0.0.0");
    let Some(edge) = Edge::start(&values).await else { return };
    // All of 127.0.0.0/8 is this machine; a port that is open on all addresses is open there.
    let elsewhere = |port| TcpStream::connect(("127.0.0.2", port));
    assert!(elsewhere(edge.address.port()).await.is_ok(), "players' port is open on all");
    assert!(elsewhere(edge.admin.port()).await.is_err());
    assert!(TcpStream::connect(edge.admin).await.is_ok());
}
