//! Keys on the wire: what others see of them, and servers that share them.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fray_proto::v1::JoinRequest;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use std::process::Command;
use support::certificates::Folder;
use support::{Net, hello_with_ticket, reason};
use tonic::Code;

/// The public keys, as anybody gets them, and for how long they may be kept.
async fn jwks(net: &Net) -> (JwkSet, String) {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(net.pipe())).await.expect("HTTP/1.1");
    net.spawn_client(async { drop(connection.await) });
    let request = Request::get("/.well-known/jwks.json").header("host", "fray");
    let request = request.body(Empty::<&[u8]>::new()).expect("a request");
    let answer = sender.send_request(request).await.expect("answered");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    let age = answer.headers()[header::CACHE_CONTROL].to_str().expect("text").to_owned();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (serde_json::from_slice(&body).expect("a JWKS"), age)
}

/// Makes keys as an operator does.
fn new_key(folder: &Folder) {
    let made = Command::new(env!("CARGO_BIN_EXE_fray-server"))
        .args(["keys", "new"])
        .arg(folder.path("keys"))
        .output()
        .expect("it runs");
    let path = String::from_utf8(made.stdout).expect("text");
    assert!(made.status.success() && std::path::Path::new(path.trim()).is_file(), "{path}");
}

fn sharing(folder: &Folder) -> Net {
    let path = |name: &str| folder.path(name).display().to_string();
    folder.write("session.key", "0123456789abcdef0123456789abcdef\n");
    Net::new(&[
        "--ticket-keys",
        &path("keys"),
        "--session-key",
        &path("session.key"),
        "--jwks-max-age",
        "90s",
    ])
}

#[tokio::test(start_paused = true)]
async fn whoever_fetches_the_public_keys_can_verify_tickets() {
    let folder = Folder::new();
    new_key(&folder);
    let net = sharing(&folder);
    let (keys, age) = jwks(&net).await;
    assert_eq!(age, "public, max-age=90");
    let ticket = net.ticket("Ada").await;
    let kid = jsonwebtoken::decode_header(&ticket).expect("a header").kid.expect("a key id");
    let key = DecodingKey::from_jwk(keys.find(&kid).expect("it is there")).expect("a key");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["play"]);
    let said = jsonwebtoken::decode::<Value>(&ticket, &key, &validation).expect("verified").claims;
    let route = STANDARD.decode(said["route"].as_str().expect("text")).expect("base64");
    assert!(String::from_utf8(route).is_ok_and(|route| route.contains(':')));
    assert_eq!((&said["iss"], &said["aud"]), (&json!("fray"), &json!("play")));

    // A server without any files has a key, too.
    let alone = Net::new(&[]);
    let (keys, age) = jwks(&alone).await;
    assert_eq!((keys.keys.len(), age.as_str()), (1, "public, max-age=60"));
}

#[tokio::test(start_paused = true)]
async fn servers_with_the_same_files_believe_each_other_and_others_do_not() {
    let folder = Folder::new();
    new_key(&folder);
    let (one, other, stranger) = (sharing(&folder), sharing(&folder), Net::new(&[]));
    let ticket = one.ticket("Ada").await;
    // It gets past the other's keys: that its room is elsewhere is the next question.
    let status = other.open(hello_with_ticket(&ticket)).await.err().expect("not here");
    assert_ne!(status.code(), Code::Unauthenticated, "{status}");
    let status = stranger.open(hello_with_ticket(&ticket)).await.err().expect("refused");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unauthenticated, "TICKET_INVALID")
    );

    let request = JoinRequest { request_id: "0123456789abcdef".into(), ..Default::default() };
    let joined = async |net: &Net| {
        let joined = net.lobby().await.join(request.clone()).await.expect("joined");
        joined.into_inner().player_id
    };
    assert_eq!(joined(&one).await, joined(&other).await, "the same request, the same player");
    assert_ne!(joined(&one).await, joined(&stranger).await);
}

#[tokio::test(start_paused = true)]
async fn forged_tickets_open_no_stream() {
    let net = Net::new(&[]);
    let ticket = net.ticket("Ada").await;
    let parts: Vec<&str> = ticket.split('.').collect();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = part(&json!({"alg": "none", "typ": "JWT"}));
    let kid = jsonwebtoken::decode_header(&ticket).expect("a header").kid.expect("a key id");
    let (keys, _) = jwks(&net).await;
    let hmac = part(&json!({"alg": "HS256", "kid": kid}));
    let message = format!("{hmac}.{}", parts[1]);
    let public = serde_json::to_string(&keys).expect("JSON");
    let secret = jsonwebtoken::EncodingKey::from_secret(public.as_bytes());
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).expect("signed");
    for forged in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{message}.{signature}"),
        format!("{}.{}.", parts[0], parts[1]),
        "no ticket".into(),
    ] {
        let status = net.open(hello_with_ticket(&forged)).await.err().expect("refused");
        let said = (status.code(), reason(&status));
        assert_eq!(said, (Code::Unauthenticated, "TICKET_INVALID".to_owned()), "{forged}");
    }
    net.open(hello_with_ticket(&ticket)).await.expect("the true one does");
}

#[test]
fn files_that_are_no_keys_are_clear_errors_at_the_start() {
    let folder = Folder::new();
    let short = folder.write("short.key", "too short");
    let starts = |flag: &str, path: &std::path::Path| {
        let ended = Command::new(env!("CARGO_BIN_EXE_fray-server"))
            .args(support::flags::FREE_PORTS)
            .arg(flag)
            .arg(path)
            .output()
            .expect("it runs");
        assert_eq!(ended.status.code(), Some(1));
        String::from_utf8(ended.stderr).expect("text")
    };
    let said = starts("--session-key", &short);
    assert!(said.contains("--session-key") && said.contains("at least 32 bytes"), "{said}");
    let said = starts("--ticket-keys", &folder.path("nowhere"));
    assert!(said.contains("--ticket-keys") && said.contains("nowhere"), "{said}");
}
