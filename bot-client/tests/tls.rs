//! Goal: through TLS everything is as without it, and who is not trusted is told apart from who is not there. Method: a real
//! server on a real socket, with certificates made here; the client library, and the program.

#[path = "../../server/tests/support/certificates.rs"]
mod certificates;
#[path = "../../server/tests/support/flags.rs"]
mod flags;

use certificates::{Authority, Folder, Leaf};
use fray_bot::client::transport::{Channels, GrpcServer, Server as _, Trust, WebSocketServer};
use fray_bot::client::{Controls, Event, Options, Player};
use fray_proto::v1;
use fray_server::Server;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Ends a hang; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server with this certificate, and where it is.
struct Running {
    url: String,
    folder: Folder,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), fray_server::Error>>,
}

impl Running {
    async fn start(leaf: &Leaf, authority: &Authority, more: &[&str]) -> Self {
        let folder = Folder::new();
        let [cert, key] = leaf.write(&folder, "server").map(|path| path.display().to_string());
        let ca = folder.write("ca.pem", &authority.pem()).display().to_string();
        let more: Vec<&str> =
            more.iter().map(|&flag| if flag == "CA" { &ca } else { flag }).collect();
        let more = [&["--tls-cert", &cert, "--tls-key", &key], &more[..]].concat();
        let server = Server::builder().config(flags::config(&more));
        let app = server.build().await.expect("a server");
        assert!(app.url().starts_with("https://"), "it says what it speaks");
        let url = format!("https://localhost:{}", app.listen_addr().port());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(app.run(stop.clone().cancelled_owned()));
        Self { url, folder, stop, tasks }
    }

    fn trust(&self) -> Trust {
        Trust::of_file(&self.folder.path("ca.pem")).expect("an authority")
    }

    fn grpc(&self, trust: &Trust) -> GrpcServer {
        Channels::trusting(&self.url, 1, trust).expect("an address").next(0)
    }

    fn websocket(&self, lobby: GrpcServer, trust: &Trust) -> WebSocketServer {
        WebSocketServer::new(&self.url, lobby).expect("an address").trusting(trust.clone())
    }

    /// The program, with this server's authority; what it says and whether it is content.
    async fn bot(&self, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fray-bot"));
        command.args(args).arg("--ca").arg(self.folder.path("ca.pem"));
        let ran = tokio::task::spawn_blocking(move || command.output()).await;
        let ran = ran.expect("no panic").expect("it runs");
        let said = [ran.stdout, ran.stderr].concat();
        (ran.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.expect("it ran").expect("no panic").expect("in order");
    }
}

async fn plays(server: Arc<dyn fray_bot::client::transport::Server>) {
    let played = async {
        let mut player = Player::join(server, v1::JoinRequest::default(), Options::default())
            .await
            .expect("seated");
        let mut updates = 0;
        while let Some(event) = player.next().await.expect("it goes on") {
            if matches!(event, Event::Updated(_)) {
                updates += 1;
                if updates < 20 {
                    let controls = Controls { axis_x: 1, ..Controls::default() };
                    player.steer(controls).expect("room for it");
                } else if updates == 20 {
                    player.leave();
                }
            }
        }
        assert!(updates >= 20, "{updates}");
    };
    tokio::time::timeout(PATIENCE, played).await.expect("it is played");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_bots_and_recordings_come_through_tls() {
    let authority = Authority::new("a test's authority");
    let server = Running::start(&authority.signs(&["localhost"]), &authority, &[]).await;
    let trust = server.trust();
    plays(Arc::new(server.grpc(&trust))).await;
    plays(Arc::new(server.websocket(server.grpc(&trust), &trust))).await;

    let url = server.url.clone();
    for transport in ["grpc", "ws"] {
        let args = ["swarm", "--url", &url, "-n", "3", "--ramp", "100ms", "--duration", "1s"];
        let (is_content, said) =
            server.bot(&[&args[..], &["--transport", transport]].concat()).await;
        assert!(is_content, "{said}");
    }
    let (_, said) = server.bot(&["replay", &url]).await;
    assert!(said.contains("--recording says which one"), "it has come so far: {said}");
    server.end().await;
}

/// What is said by a client over gRPC, one over a WebSocket, and the program.
async fn said(server: &Running, trust: &Trust) -> Vec<String> {
    let grpc = server.grpc(trust);
    let join = grpc.join(v1::JoinRequest::default()).await.expect_err("not trusted").to_string();
    let open = server.websocket(grpc, trust).play("a.b.c").await;
    let open = open.expect_err("not trusted").to_string();
    let (is_content, program) = server.bot(&["replay", &server.url]).await;
    assert!(!is_content);
    vec![join, open, program]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_good_is_refused_in_words() {
    let authority = Authority::new("a test's authority");
    let expired = authority.signs_expired(&["localhost"]);
    let other_name = authority.signs(&["other.example.com"]);
    let foreign = Authority::new("somebody").signs(&["localhost"]);
    for (leaf, words) in [
        (expired, "the server's certificate has expired"),
        (other_name, "the server's certificate is for another name"),
        (foreign, "nobody who is trusted has signed the server's certificate"),
    ] {
        let server = Running::start(&leaf, &authority, &[]).await;
        for said in said(&server, &server.trust()).await {
            assert!(said.contains(words), "{said}");
        }
        server.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_no_tls_or_wants_certificates_says_so() {
    let authority = Authority::new("a test's authority");
    let leaf = authority.signs(&["localhost"]);
    let server = Running::start(&leaf, &authority, &["--tls-client-ca", "CA"]).await;
    let trust = server.trust();
    let refused = server.websocket(server.grpc(&trust), &trust).play("a.b.c").await;
    let said = refused.expect_err("it has no certificate").to_string();
    assert!(said.contains("only clients with a certificate"), "{said}");
    server.end().await;

    let app = Server::builder().config(flags::config(&[])).build().await.expect("a server");
    let url = format!("https://localhost:{}", app.listen_addr().port());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(app.run(stop.clone().cancelled_owned()));
    let grpc = Channels::trusting(&url, 1, &trust).expect("an address").next(0);
    let said = grpc.join(v1::JoinRequest::default()).await.expect_err("no TLS").to_string();
    assert!(said.contains("UNAVAILABLE"), "{said}");
    stop.cancel();
    tasks.join_next().await.expect("it ran").expect("no panic").expect("in order");
}

#[test]
fn a_file_that_is_no_authority_is_a_clear_error() {
    let folder = Folder::new();
    let empty = folder.write("empty.pem", "");
    for path in [empty, folder.path("nowhere")] {
        let ran = Command::new(env!("CARGO_BIN_EXE_fray-bot"))
            .args(["replay", "https://localhost:1", "--ca"])
            .arg(&path)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success() && said.contains("--ca"), "{said}");
    }
}
