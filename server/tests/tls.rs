//! TLS: who is let in, who is cut off, and certificates that change under a game that goes on. All in memory and in virtual
//! time, but for the last.

mod support;

use fray_proto::v1::{self, JoinRequest, PlayRequest};
use fray_server::telemetry::Metrics;
use fray_server::tls::{self, Acceptor, Certificate, Connector, HANDSHAKE_TIMEOUT, HandshakeError};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use support::certificates::{Authority, Folder, Leaf};
use support::{Net, Player, hello_with_ticket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const NAME: &str = "fray.example.com";

/// Files of a server, and the authorities behind them.
struct Files {
    folder: Folder,
    servers: Authority,
    clients: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            folder: Folder::new(),
            servers: Authority::new("servers' authority"),
            clients: Authority::new("clients' authority"),
        };
        files.servers.signs(&[NAME]).write(&files.folder, "server");
        files.folder.write("clients.pem", &files.clients.pem());
        files
    }

    fn flags(&self, mutual: bool) -> Vec<String> {
        let path = |name: &str| self.folder.path(name).display().to_string();
        let mut flags =
            vec!["--tls-cert".into(), path("server.pem"), "--tls-key".into(), path("server.key")];
        if mutual {
            flags.extend(["--tls-client-ca".into(), path("clients.pem")]);
        }
        flags
    }

    fn net(&self, mutual: bool) -> Net {
        let flags = self.flags(mutual);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Net::new(&flags)
    }

    fn certificate(&self) -> Certificate {
        Certificate { chain: self.folder.path("server.pem"), key: self.folder.path("server.key") }
    }

    /// Somebody who trusts this server's authority, and shows a certificate if there is one.
    fn client(&self, own: Option<&Leaf>, protocol: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.servers.pem().as_bytes());
        roots.add(root.expect("a certificate")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let cert = CertificateDer::from_pem_slice(own.cert.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes());
                let chain = vec![cert.expect("a certificate")];
                builder.with_client_auth_cert(chain, key.expect("a key")).expect("they fit")
            }
        };
        config.alpn_protocols = vec![protocol.into()];
        config
    }
}

async fn handshake(
    config: ClientConfig,
    pipe: DuplexStream,
) -> io::Result<TlsStream<DuplexStream>> {
    let name = ServerName::try_from(NAME).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, pipe).await
}

/// A channel through TLS.
async fn channel(net: &Net, config: ClientConfig) -> tonic::transport::Channel {
    let mut stream = Some(handshake(config, net.pipe()).await);
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.take().unwrap_or(Err(io::ErrorKind::NotConnected.into()));
        async { stream.map(TokioIo::new) }
    });
    tonic::transport::Endpoint::from_static("http://memory").connect_with_connector_lazy(connector)
}

async fn ticket(channel: &tonic::transport::Channel) -> String {
    let mut lobby = v1::lobby_client::LobbyClient::new(channel.clone());
    lobby.join(JoinRequest::default()).await.expect("joined").into_inner().ticket
}

fn failures(metrics: &Metrics, error: HandshakeError) -> bool {
    let sample = format!("fray_tls_handshakes_failed_total{{reason=\"{}\"}} 1", error.reason());
    metrics.render().lines().any(|line| line == sample)
}

/// How a connection ends for somebody who has sent this.
async fn sent(net: &Net, bytes: &[u8]) -> Vec<u8> {
    let mut pipe = net.pipe();
    pipe.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    // An alert, or nothing; then it is over.
    let _ = pipe.read_to_end(&mut answer).await;
    answer
}

#[tokio::test(start_paused = true)]
async fn grpc_the_page_and_websockets_come_through_tls() {
    let files = Files::new();
    let net = files.net(false);
    let mut lobby =
        v1::lobby_client::LobbyClient::new(channel(&net, files.client(None, "h2")).await);
    let joined = lobby.join(JoinRequest::default()).await.expect("joined").into_inner();
    let channel = channel(&net, files.client(None, "h2")).await;
    let mut player =
        net.open_over(channel, hello_with_ticket(&joined.ticket)).await.expect("seated");
    player.steer(100, 100).await;
    player.until_all_is_acked().await;

    let stream = handshake(files.client(None, "http/1.1"), net.pipe()).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    net.spawn_client(async { drop(connection.await) });
    for path in ["/", "/.well-known/jwks.json"] {
        let request = Request::get(path).header("host", NAME).body(Empty::<&[u8]>::new());
        let answer = sender.send_request(request.expect("a request")).await.expect("answered");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.into_body().collect().await.expect("a body");
    }

    let ticket = lobby.join(JoinRequest::default()).await.expect("joined").into_inner().ticket;
    let stream = handshake(files.client(None, "http/1.1"), net.pipe()).await.expect("TLS");
    let request = ClientRequestBuilder::new("ws://localhost/ws".parse().expect("an address"));
    let request = request
        .with_sub_protocol("fray.v1")
        .with_sub_protocol(format!("ticket.{ticket}"))
        .with_header("origin", "https://localhost");
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("opened");
    let hello = PlayRequest { message: Some(v1::play_request::Message::Hello(support::hello())) };
    let hello = Message::Binary(hello.encode_to_vec().into());
    socket.send(hello).await.expect("sent");
    let welcome = socket.next().await.expect("an answer").expect("sound").into_data();
    let welcome = v1::PlayResponse::decode(welcome).expect("a message");
    assert!(matches!(welcome.message, Some(v1::play_response::Message::Welcome(_))));
}

#[tokio::test(start_paused = true)]
async fn where_client_certificates_are_asked_for_only_the_right_ones_come_in() {
    let files = Files::new();
    let net = files.net(true);
    let metrics = &net.parts.sessions().metrics;
    let joined = async |own: Option<&Leaf>| {
        // The client has finished its part before the server looks at the certificate: the answer comes with what it reads next.
        let channel = channel(&net, files.client(own, "h2")).await;
        v1::lobby_client::LobbyClient::new(channel).join(JoinRequest::default()).await
    };
    let right = files.clients.signs(&["edge"]);
    joined(Some(&right)).await.expect("joined");
    assert!(
        !metrics.render().contains("fray_tls_handshakes_failed_total{reason=\"no_certificate\"} 1")
    );

    joined(None).await.expect_err("it has shown none");
    assert!(failures(metrics, HandshakeError::NoCertificate), "{}", metrics.render());
    let wrong = Authority::new("somebody").signs(&["edge"]);
    joined(Some(&wrong)).await.expect_err("nobody knows who signed it");
    assert!(failures(metrics, HandshakeError::BadCertificate), "{}", metrics.render());
    joined(Some(&right)).await.expect("others are not disturbed");

    let mut silent = handshake(files.client(None, "h2"), net.pipe()).await.expect("its own part");
    let said = silent.read_u8().await.expect_err("cut off").to_string();
    assert!(said.contains("CertificateRequired"), "the client is told why: {said}");
}

#[tokio::test(start_paused = true)]
async fn peers_that_say_nothing_or_garbage_are_cut_off_and_harm_nobody() {
    let files = Files::new();
    let net = files.net(false);
    let channel = channel(&net, files.client(None, "h2")).await;
    let ticket = ticket(&channel).await;
    let mut player = net.open_over(channel, hello_with_ticket(&ticket)).await.expect("seated");
    player.update().await.expect("it plays");
    let metrics = &net.parts.sessions().metrics;

    let mischief = async {
        let begun = tokio::time::Instant::now();
        let mut silent = net.pipe();
        let ended = silent.read(&mut [0; 64]).await;
        assert!(ended.is_ok_and(|bytes| bytes == 0), "cut off without a word");
        assert!(begun.elapsed() >= HANDSHAKE_TIMEOUT && begun.elapsed() < 2 * HANDSHAKE_TIMEOUT);
        assert!(failures(metrics, HandshakeError::Timeout), "{}", metrics.render());

        sent(&net, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(failures(metrics, HandshakeError::NotTls), "{}", metrics.render());
        drop(net.pipe());

        // The beginning of a handshake record that says that it is long, and a handshake message that is too long.
        sent(&net, b"\x16\x03\x01\xff\xff").await;
        let long = [b"\x16\x03\x01\x40\x00\x01\xff\xff\xff".as_slice(), &[0; 0x4000 - 4]].concat();
        sent(&net, &long).await;
        // A byte now and then does not keep a handshake alive.
        let begun = tokio::time::Instant::now();
        let mut slow = net.pipe();
        for byte in b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03".iter().cycle() {
            if slow.write_u8(*byte).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(begun.elapsed() < 3 * HANDSHAKE_TIMEOUT, "it is cut off");
        }
        // Nor does one who shakes hands and then says nothing, or only the beginning of something, keep his place.
        for said in [b"".as_slice(), b"PRI * HT"] {
            let stream = handshake(files.client(None, "h2"), net.pipe()).await;
            let mut stream = stream.expect("its hands were shaken");
            stream.write_all(said).await.expect("sent");
            let begun = tokio::time::Instant::now();
            let _ = stream.read(&mut [0; 64]).await;
            assert!(begun.elapsed() < Duration::from_secs(10), "cut off");
        }
    };
    let plays_on = async {
        loop {
            player.update().await.expect("it plays on");
        }
    };
    tokio::select! {
        () = mischief => {}
        () = plays_on => {}
    }
    player.steer(50, 50).await;
    player.until_all_is_acked().await;
}

/// The server's certificate, as a new connection sees it.
async fn shown(files: &Files, net: &Net) -> Vec<u8> {
    let stream = handshake(files.client(None, "h2"), net.pipe()).await.expect("TLS");
    let chain = stream.get_ref().1.peer_certificates().expect("shown");
    chain[0].to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_is_for_new_connections_and_streams_live_on() {
    let files = Files::new();
    let net = files.net(false);
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    net.parts.keep_credentials(&tracker, &stop);
    let channel = channel(&net, files.client(None, "h2")).await;
    let ticket = ticket(&channel).await;
    let mut player = net.open_over(channel, hello_with_ticket(&ticket)).await.expect("seated");
    let before = shown(&files, &net).await;
    let plays_for_12_s = async |player: &mut Player| {
        for _ in 0..12 {
            player.steer(1, 1).await;
            let until = player.replica.tick() + 20;
            player.until("a second", |player| player.replica.tick() >= until).await;
        }
        player.until_all_is_acked().await;
    };

    // The new certificate without its key: half of what somebody is writing.
    let new = files.servers.signs(&[NAME]);
    files.folder.write("server.pem", &new.cert);
    plays_for_12_s(&mut player).await;
    assert_eq!(shown(&files, &net).await, before, "what was good stays");
    let failed = "fray_reload_failures_total{source=\"tls\"} 1";
    let text = net.parts.sessions().metrics.render();
    assert!(text.lines().any(|line| line == failed), "{text}");
    files.folder.write("server.key", &new.key);
    plays_for_12_s(&mut player).await;
    let after = shown(&files, &net).await;
    assert_ne!(after, before);
    files.folder.write("server.pem", "nonsense");
    plays_for_12_s(&mut player).await;
    assert_eq!(shown(&files, &net).await, after);
    player.leave().await.expect("left in order: the same stream all the time");
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test(start_paused = true)]
async fn servers_connect_to_each_other_with_both_certificates_verified() {
    let files = Files::new();
    let metrics = Arc::new(Metrics::default());
    files.folder.write("servers.pem", &files.servers.pem());
    let authority = |name: &str| tls::Authority(files.folder.path(name));
    let ca = Some(files.folder.path("servers.pem"));
    let (acceptor, _) = Acceptor::open(&files.certificate(), ca, &metrics).expect("an acceptor");
    let shake = async |connector: &Connector, name: &str| {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let ours = async {
            let mut stream = connector.connect(name, here).await?;
            stream.read_u8().await
        };
        let theirs = async {
            let mut stream = acceptor.accept(there).await?;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
            stream.write_u8(7).await.expect("sent");
            stream.flush().await.expect("sent");
            Ok::<_, HandshakeError>(stream)
        };
        let (ours, theirs) = tokio::join!(ours, theirs);
        (ours.ok(), theirs.err())
    };
    let own = files.certificate();
    let (connector, mut files_of_it) =
        Connector::open(&authority("servers.pem"), Some(&own)).expect("a connector");
    assert_eq!(shake(&connector, NAME).await, (Some(7), None));
    assert_eq!(shake(&connector, "other.example.com").await, (None, Some(HandshakeError::Refused)));
    let (nameless, _) = Connector::open(&authority("servers.pem"), None).expect("a connector");
    assert_eq!(shake(&nameless, NAME).await, (None, Some(HandshakeError::NoCertificate)));
    let (stranger, _) =
        Connector::open(&authority("clients.pem"), Some(&own)).expect("a connector");
    assert_eq!(shake(&stranger, NAME).await, (None, Some(HandshakeError::Refused)));

    // The connector's files change, too: here to a certificate that the other side does not know.
    assert!(files_of_it.reload_now().is_ok_and(|changed| !changed));
    files.clients.signs(&["a"]).write(&files.folder, "server");
    assert!(files_of_it.reload_now().is_ok_and(|changed| changed));
    assert_eq!(shake(&connector, NAME).await, (None, Some(HandshakeError::BadCertificate)));
}

#[tokio::test]
async fn files_that_are_no_certificates_are_clear_errors_at_the_start() {
    let files = Files::new();
    let other = Authority::new("somebody").signs(&[NAME]);
    let metrics = Arc::new(Metrics::default());
    let opened = |chain: PathBuf, key: PathBuf, ca: Option<PathBuf>| {
        let opened = Acceptor::open(&Certificate { chain, key }, ca, &metrics);
        opened.map(|_| ()).map_err(|error| error.to_string())
    };
    let [cert, key] = ["server.pem", "server.key"].map(|name| files.folder.path(name));
    assert_eq!(opened(cert.clone(), key.clone(), None), Ok(()));
    let empty = files.folder.write("empty.pem", "");
    let [_, foreign] = other.write(&files.folder, "other");
    for (said, part) in [
        (opened(files.folder.path("nowhere"), key.clone(), None), "nowhere"),
        (opened(empty.clone(), key.clone(), None), "there is no certificate"),
        (opened(cert.clone(), cert.clone(), None), "no private key"),
        (opened(cert.clone(), foreign, None), "KeyMismatch"),
        (opened(cert, key, Some(empty)), "there is no certificate"),
    ] {
        let said = said.expect_err("it cannot be used");
        assert!(said.contains(part), "{said}");
    }
}
