//! Connections of which nothing comes, or not enough.

use crate::attacker::Scene;
use crate::frames::{
    ACK, GOAWAY, HEADERS, NO_ERROR, PING, PREFACE, Wire, frame, headers, message, request,
};
use crate::process::Process;
use crate::support::hello;
use fray_proto::v1::PlayRequest;
use fray_proto::v1::play_request::Message as Request;
use prost::Message as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const JOIN: &str = "/fray.v1.Lobby/Join";

/// Sends a byte now and then, until the server ends the connection; what it said, and after how many seconds that was.
async fn trickle(mut pipe: DuplexStream, bytes: &[u8], every: Duration) -> (Vec<u8>, u64) {
    let began = Instant::now();
    let mut said = Vec::new();
    for byte in bytes.iter().chain(std::iter::repeat(&b'a')) {
        if pipe.write_all(&[*byte]).await.is_err() {
            // What it said before is still there.
            let _ = pipe.read_to_end(&mut said).await;
            break;
        }
        if let Ok(Ok(0) | Err(_)) = timeout(every, pipe.read_buf(&mut said)).await {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(3600), "it is never cut off");
    }
    (said, began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_too_little_is_cut_off_after_five_seconds() {
    let scene = Scene::new(&[]).await;
    // Half-open: the other end is there and says nothing. Then some, who know how it begins.
    for begin in [&b""[..], b"P", &PREFACE[..23]] {
        let before = scene.ended("silent");
        let mut pipe = scene.net.pipe();
        pipe.write_all(begin).await.expect("sent");
        let began = Instant::now();
        let _ = pipe.read_to_end(&mut Vec::new()).await;
        assert_eq!(began.elapsed().as_secs(), 5);
        scene.until("it is counted", |scene| scene.ended("silent") == before + 1).await;
    }
    let (_, seconds) = trickle(scene.net.pipe(), PREFACE, Duration::from_secs(1)).await;
    assert_eq!(seconds, 5);
    scene.until("it is counted", |scene| scene.ended("silent") == 4).await;
    scene.stays_as_before().await;
}

/// In real time: only a real socket is looked into before anything is read of it.
#[tokio::test]
async fn so_is_who_says_as_little_on_a_socket() {
    let server = Process::start(&[]);
    let ended = "fray_connections_ended_total{reason=\"silent\"}";
    let silent = async |begin: &[u8]| {
        let mut socket = TcpStream::connect(server.players).await.expect("listening");
        socket.write_all(begin).await.expect("sent");
        let gone = timeout(Duration::from_secs(60), socket.read_to_end(&mut Vec::new())).await;
        let _ = gone.expect("it is cut off");
    };
    tokio::join!(silent(b""), silent(b"P"), silent(&PREFACE[..23]));
    server.until(ended, |count| count == 3).await;
}

#[tokio::test(start_paused = true)]
async fn headers_over_http1_that_trickle_in_are_cut_off() {
    let scene = Scene::new(&[]).await;
    let head = b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ";
    let (_, seconds) = trickle(scene.net.pipe(), head, Duration::from_millis(200)).await;
    assert!(seconds <= 10, "{seconds}");
    scene.until("it is counted", |scene| scene.ended("slow") == 1).await;
    // After one that was answered, nothing, and then a little.
    for next in [&b""[..], b"GET"] {
        let before = scene.ended("slow") + scene.ended("closed");
        let mut pipe = scene.net.pipe();
        let first = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: a\r\n\r\n";
        pipe.write_all(&[first, next].concat()).await.expect("sent");
        let mut said = Vec::new();
        let began = Instant::now();
        let _ = pipe.read_to_end(&mut said).await;
        assert!(said.starts_with(b"HTTP/1.1 200") && began.elapsed().as_secs() <= 10);
        let now = |scene: &Scene| scene.ended("slow") + scene.ended("closed");
        scene.until("it is counted", |scene| now(scene) == before + 1).await;
    }
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_do_not_arrive_are_answered_all_the_same() {
    let scene = Scene::new(&[]).await;
    let head = format!(
        "POST {JOIN} HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: 100000\r\n\r\n"
    );
    let mut pipe = scene.net.pipe();
    pipe.write_all(head.as_bytes()).await.expect("sent");
    // A message that says how long it is, and does not come to its end.
    let begun = &[0, 0, 0, 16, 0];
    let (said, seconds) = trickle(pipe, begun, Duration::from_millis(500)).await;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("grpc-status: 4"), "{said}");
    assert!(
        seconds < 120,
        "{seconds}: the headers, ten seconds, and the connection is of no use any more"
    );

    let mut wire = scene.wire().await;
    for stream in (1..400).step_by(2) {
        // A message that says that it is longer.
        let begun = [headers(stream, &request(JOIN), 0), frame(0, 0, stream, &[0, 0, 0, 0, 9, 1])];
        assert!(wire.send(&begun.concat()).await);
    }
    for _ in 0..200 {
        let end = wire.until(|said| said.kind == HEADERS && said.ends_its_stream()).await;
        end.expect("answered");
    }
    assert_eq!(scene.refused("UPLOAD_TIMEOUT"), 201);
    assert!(wire.answers().await);
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn headers_over_http2_that_never_end_are_cut_off_with_those_who_answer_no_pings() {
    let scene = Scene::new(&[]).await;
    for begin in [Vec::new(), frame(HEADERS, 0, 1, &request(JOIN))] {
        let before = scene.ended("no_pong");
        let mut wire = scene.wire().await;
        assert!(wire.send(&begin).await);
        let began = Instant::now();
        wire.end().await;
        assert_eq!(began.elapsed().as_secs(), 40, "a ping after 20 s, and 20 s more");
        scene.until("it is counted", |scene| scene.ended("no_pong") == before + 1).await;
    }
    scene.stays_as_before().await;
}

/// Answers pings until the connection ends, or for so long; how it ended, and when.
async fn answer_pings(
    wire: &mut Wire<DuplexStream>,
    within: Duration,
) -> Option<(Option<u32>, u64)> {
    let began = Instant::now();
    let mut code = None;
    let ended = timeout(within, async {
        while let Some(said) = wire.next().await {
            if said.kind == PING && said.flags & ACK == 0 {
                wire.send(&frame(PING, ACK, 0, &said.payload)).await;
            }
            if said.kind == GOAWAY {
                code = Some(said.code());
            }
        }
    });
    let ended = ended.await;
    ended.ok().map(|()| (code, began.elapsed().as_secs()))
}

#[tokio::test(start_paused = true)]
async fn who_answers_pings_and_wants_nothing_is_sent_away_after_five_minutes() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    let ended = answer_pings(&mut wire, Duration::from_secs(600)).await;
    assert_eq!(ended, Some((Some(NO_ERROR), 300)));
    scene.until("it is counted", |scene| scene.ended("idle") == 1).await;
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn who_has_a_stream_stays() {
    let scene = Scene::new(&["--allow-guests"]).await;
    let mut wire = scene.wire().await;
    let first = PlayRequest { message: Some(Request::Hello(hello())) }.encode_to_vec();
    let opened = [headers(1, &request("/fray.v1.Play/Play"), 0), message(1, &first, 0)].concat();
    assert!(wire.send(&opened).await);
    for _ in 0..100 {
        // It says that it is there, and takes what it is sent.
        let still = PlayRequest { message: Some(Request::Ping(fray_proto::v1::Ping::default())) };
        assert!(wire.send(&message(1, &still.encode_to_vec(), 0)).await);
        assert!(wire.send(&crate::frames::window_update(1, 1 << 20)).await);
        assert!(wire.send(&crate::frames::window_update(0, 1 << 20)).await);
        assert_eq!(answer_pings(&mut wire, Duration::from_secs(10)).await, None);
    }
    assert!(wire.answers().await);
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn who_was_sent_away_and_stays_is_cut_off() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    let began = Instant::now();
    // Answers the server's own pings, and not the one that asks whether the good-bye has arrived.
    while let Some(said) = wire.next().await {
        if said.kind == PING && said.flags & ACK == 0 && began.elapsed() < Duration::from_secs(295)
        {
            wire.send(&frame(PING, ACK, 0, &said.payload)).await;
        }
    }
    assert!(began.elapsed() <= Duration::from_secs(341), "{:?}", began.elapsed());
    scene.until("it is counted", |scene| scene.ended("idle") == 1).await;
    sleep(Duration::from_secs(1)).await;
    scene.stays_as_before().await;
}
