//! Who players are, by an identity provider's word.

mod support;

use fray_proto::v1::{JoinRequest, JoinResponse};
use fray_server::keys::provider::{Current, KeyAddress};
use fray_server::telemetry::Metrics;
use fray_server::tls::{Acceptor, Certificate};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use support::certificates::{Authority, Folder};
use support::provider::{AUDIENCE, ISSUER, Idp};
use support::{Net, hello, hello_with_ticket, reason};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// Ends a hang; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that trusts this provider, by a file.
fn trusting(idp: &Idp, folder: &Folder, more: &[&str]) -> Net {
    let file = folder.write("jwks.json", idp.jwks());
    let file = file.display().to_string();
    let flags = ["--id-issuer", ISSUER, "--id-audience", AUDIENCE, "--id-jwks", &file];
    Net::new(&[&flags[..], more].concat())
}

async fn join(net: &Net, request: JoinRequest) -> Result<JoinResponse, Status> {
    Ok(net.lobby().await.join(request).await?.into_inner())
}

fn showing(token: &str) -> JoinRequest {
    JoinRequest { id_token: token.into(), ..JoinRequest::default() }
}

fn refusal(joined: Result<JoinResponse, Status>) -> (Code, String) {
    let status = joined.expect_err("refused");
    (status.code(), reason(&status))
}

#[tokio::test(start_paused = true)]
async fn whoever_shows_an_id_token_is_that_player_everywhere_and_each_time() {
    let (folder, idp) = (Folder::new(), Idp::new("k1"));
    let net = trusting(&idp, &folder, &[]);
    let first = join(&net, showing(&idp.token("ada", 60))).await.expect("joined");
    assert!(first.player_id.starts_with("id-") && first.player_id.len() == 35, "{first:?}");
    let again = join(&net, showing(&idp.token("ada", 60))).await.expect("joined");
    assert_eq!(first.player_id, again.player_id);
    let bob = join(&net, showing(&idp.token("bob", 60))).await.expect("joined");
    assert_ne!(first.player_id, bob.player_id);
    let player = net.open(hello_with_ticket(&first.ticket)).await.expect("seated");
    assert_eq!(player.welcome.player_id, first.player_id);
    // Another server, another day.
    let other = trusting(&idp, &folder, &[]);
    let there = join(&other, showing(&idp.token("ada", 60))).await.expect("joined");
    assert_eq!(first.player_id, there.player_id);
    let guest = join(&net, JoinRequest::default()).await.expect("guests are let in");
    assert!(guest.player_id.starts_with("guest-"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_good_makes_no_guest_of_its_bearer() {
    let (folder, idp) = (Folder::new(), Idp::new("k1"));
    let net = trusting(&idp, &folder, &[]);
    let invalid = (Code::Unauthenticated, "ID_TOKEN_INVALID".to_owned());
    for token in [
        idp.token("ada", -120),
        Idp::new("k1").token("ada", 60),
        Idp::new("k2").token("ada", 60),
        "a.b.c".into(),
        "A".repeat(12_000),
    ] {
        assert_eq!(refusal(join(&net, showing(&token)).await), invalid, "{token}");
    }
    let nobody = Net::new(&[]);
    assert_eq!(refusal(join(&nobody, showing(&idp.token("ada", 60))).await), invalid);
}

#[tokio::test(start_paused = true)]
async fn where_a_token_is_required_nobody_comes_in_without_one() {
    let (folder, idp) = (Folder::new(), Idp::new("k1"));
    let net = trusting(&idp, &folder, &["--require-id-token"]);
    let missing = (Code::Unauthenticated, "ID_TOKEN_MISSING".to_owned());
    assert_eq!(refusal(join(&net, JoinRequest::default()).await), missing);
    let looking = JoinRequest { spectate: true, ..JoinRequest::default() };
    assert_eq!(refusal(join(&net, looking).await), missing);
    let refused = net.open(hello()).await.err().expect("no ticket");
    assert_eq!(reason(&refused), "TICKET_MISSING", "this door is shut, too");

    let joined = join(&net, showing(&idp.token("ada", 60))).await.expect("joined");
    let player = net.open(hello_with_ticket(&joined.ticket)).await.expect("seated");
    // Whoever was let in comes back by what he was given then: his ID token may be long expired.
    let resume_token = player.welcome.resume_token.clone();
    drop(player);
    let request = JoinRequest { resume_token, ..JoinRequest::default() };
    assert_eq!(join(&net, request).await.expect("rejoined").player_id, joined.player_id);
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_another_ones_seat_by_repeating_his_request() {
    let (folder, idp) = (Folder::new(), Idp::new("k1"));
    let net = trusting(&idp, &folder, &[]);
    let request_id = "0123456789abcdef";
    let request = |token: &str| JoinRequest { request_id: request_id.into(), ..showing(token) };
    let ada = join(&net, request(&idp.token("ada", 60))).await.expect("joined");
    let again = join(&net, request(&idp.token("ada", 50))).await.expect("joined");
    assert_eq!((&ada.player_id, &ada.room), (&again.player_id, &again.room));
    let bob = join(&net, request(&idp.token("bob", 60))).await.expect("joined");
    assert_ne!(ada.player_id, bob.player_id);
    let guest = join(&net, request("")).await.expect("joined");
    assert!(guest.player_id.starts_with("guest-"), "{}", guest.player_id);
    let made_up = format!("{} {request_id}", ada.player_id);
    let guest = JoinRequest { request_id: made_up, ..JoinRequest::default() };
    assert!(join(&net, guest).await.expect("joined").player_id.starts_with("guest-"));
}

#[tokio::test(start_paused = true)]
async fn a_file_of_keys_is_read_again_and_what_was_good_stays() {
    let (folder, old, new) = (Folder::new(), Idp::new("old"), Idp::new("new"));
    let net = trusting(&old, &folder, &[]);
    let (tracker, stop) = (tokio_util::task::TaskTracker::new(), CancellationToken::new());
    net.parts.keep_credentials(&tracker, &stop);
    let look = async || tokio::time::sleep(Duration::from_secs(11)).await;
    folder.write("jwks.json", "{\"keys\": [");
    look().await;
    join(&net, showing(&old.token("ada", 60))).await.expect("joined");
    let failed = "fray_reload_failures_total{source=\"id_keys\"} 1";
    assert!(net.parts.sessions().metrics.render().lines().any(|line| line == failed));
    folder.write("jwks.json", new.jwks());
    look().await;
    join(&net, showing(&new.token("ada", 60))).await.expect("joined");
    join(&net, showing(&old.token("ada", 60))).await.expect_err("its key is gone");
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

/// Answers one request with this.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

/// Waits until there are keys that have brought another answer.
async fn brought(keys: &mut Current) {
    let changed = tokio::time::timeout(PATIENCE, keys.changed()).await;
    changed.expect("in time").expect("somebody brings them");
}

#[tokio::test]
async fn keys_are_fetched_when_they_are_wanted_and_no_answer_does_harm() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    let (old, new) = (Idp::new("old"), Idp::new("new"));
    let endless = [ok(""), vec![b'['; 1 << 20]].concat();
    let mut answers = VecDeque::from([
        ok(old.jwks()),
        b"HTTP/1.1 500 Oh\r\nconnection: close\r\n\r\n".to_vec(),
        b"HTTP/1.1 302 There\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n"
            .to_vec(),
        endless,
        ok("{}"),
        b"nonsense".to_vec(),
        ok(new.jwks()),
    ]);
    let mut serving = JoinSet::new();
    let (asked, mut asks) = tokio::sync::mpsc::channel(16);
    serving.spawn(async move {
        while let Some(next) = answers.pop_front() {
            let (stream, _) = listener.accept().await.expect("accepted");
            answer(stream, &next).await;
            asked.send(()).await.expect("the test listens");
        }
    });
    let metrics = Arc::new(Metrics::default());
    let (mut keys, wanted, address) = KeyAddress::new(&url).expect("an address");
    let stop = CancellationToken::new();
    serving.spawn(address.keep(Arc::clone(&metrics), stop.clone()));
    brought(&mut keys).await;
    assert!(asks.recv().await.is_some());
    for _ in 0..5 {
        wanted.notify_one();
        assert!(asks.recv().await.is_some());
    }
    wanted.notify_one();
    brought(&mut keys).await;
    let text = metrics.render();
    let failed = "fray_reload_failures_total{source=\"id_keys\"} ";
    let failed = text.lines().find_map(|line| line.strip_prefix(failed)?.parse().ok());
    assert!(failed.is_some_and(|failed: u32| failed >= 5), "each of them was counted: {text}");
    assert!(format!("{:?}", keys.borrow()).contains("new"));
    stop.cancel();
    while serving.join_next().await.is_some() {}
}

/// The system's authorities are a variable of the process, so this needs one.
#[tokio::test]
async fn a_provider_behind_tls_is_verified_by_the_systems_authorities() {
    let (folder, idp) = (Folder::new(), Idp::new("k1"));
    let authority = Authority::new("an authority");
    let [chain, key] = authority.signs(&["localhost"]).write(&folder, "provider");
    let ca = folder.write("ca.pem", &authority.pem());
    let metrics = Arc::new(Metrics::default());
    let (acceptor, _) =
        Acceptor::open(&Certificate { chain, key }, None, &metrics).expect("a provider");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let jwks = ok(idp.jwks());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, &jwks).await;
            }
        }
    });
    let starts = |authorities: &std::path::Path| {
        let mut server = Command::new(env!("CARGO_BIN_EXE_fray-server"))
            .args(support::flags::FREE_PORTS)
            .args(["--id-issuer", ISSUER, "--id-audience", AUDIENCE, "--id-jwks"])
            .arg(format!("https://localhost:{port}/keys"))
            .env("SSL_CERT_FILE", authorities)
            .env_remove("SSL_CERT_DIR")
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let stderr = server.stderr.take().expect("piped");
        (server, BufReader::new(stderr).lines())
    };
    // The address at which it plays, and one line more, by which time it has tried.
    let (mut server, mut lines) = starts(&ca);
    let url = tokio::task::spawn_blocking(move || {
        let line = lines.find_map(|line| Some(line.ok()?.split_once("play at ")?.1.to_owned()));
        let url = line.expect("it says where").split(' ').next().expect("an address").to_owned();
        (url, lines)
    });
    let (url, _lines) = url.await.expect("no panic");
    let channel = tonic::transport::Endpoint::from_shared(url).expect("an address");
    let channel = channel.connect().await.expect("connected");
    let mut lobby = fray_proto::v1::lobby_client::LobbyClient::new(channel);
    let joined = lobby.join(showing(&idp.token("ada", 60))).await.expect("joined").into_inner();
    assert!(joined.player_id.starts_with("id-"));
    server.kill().expect("killed");
    server.wait().expect("ended");

    let other = folder.write("other.pem", &Authority::new("another").pem());
    let (mut server, mut lines) = starts(&other);
    let said = tokio::task::spawn_blocking(move || {
        lines.find_map(|line| line.ok().filter(|line| line.contains("provider's keys")))
    });
    let said = said.await.expect("no panic").expect("it complains");
    assert!(said.contains("UnknownIssuer"), "{said}");
    server.kill().expect("killed");
    server.wait().expect("ended");
}
