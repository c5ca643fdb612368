//! Uploads that are played again.

use super::support::Net;
use super::support::recorded::{Hooked, store_of};
use super::{RECORDED, download, is, net, pieces, verify, whole};
use bytes::{Bytes, BytesMut};
use fray_proto::v1::verify_response::Verdict;
use fray_proto::v1::{self, ReplaysListRequest, VerifyRequest};
use fray_server::store::{Checkpoint, Header, InputRef, Reader, Record, TickDraft};
use futures_util::StreamExt as _;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

/// The file with one of its ticks changed: somebody leaves in it.
fn forged(file: &[u8], forged_tick: u32) -> Vec<u8> {
    let mut reader = Reader::new(file);
    let mut out = BytesMut::new();
    while let Some(record) = reader.next_record().expect("sound") {
        match record {
            Record::Header(header) => header.put(&mut out),
            Record::Checkpoint(c) => {
                Checkpoint::put(c.tick, c.hash, &c.state, &mut out);
            }
            Record::Tick(tick) if tick.tick == forged_tick => {
                let mut draft = TickDraft::default();
                tick.inputs().for_each(|input| draft.input(InputRef::from(&input)));
                draft.input(InputRef::Leave(RECORDED.joins[0].1));
                draft.finish(tick.tick, tick.hash, tick.is_broken, &mut out);
            }
            Record::Tick(tick) => tick.put(&mut out),
            Record::End(end) => end.put(&mut out),
            Record::Sessions(_) | Record::Unknown => {}
        }
    }
    out.to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_verdict_says_what_is_wrong_and_where() {
    let net = net();
    let file = RECORDED.file();
    // Checkpoints are made every 100 ticks, hashes every 10.
    let answer = verify(&net, &forged(&file, 255)).await.expect("an answer");
    assert_eq!((answer.verdict(), answer.tick), (Verdict::Differs, 260));
    assert_eq!(answer.recorded_hash, RECORDED.states[260].hash);
    assert_ne!(answer.recorded_hash, answer.replayed_hash);

    let mut damaged = file.clone();
    let middle = file.len() / 2;
    damaged[middle] ^= 4;
    let answer = verify(&net, &damaged).await.expect("an answer");
    assert_eq!(answer.verdict(), Verdict::Damaged);
    assert!(answer.offset <= middle as u64 && answer.offset > 0 && !answer.detail.is_empty());

    let answer = verify(&net, &file[..middle]).await.expect("an answer");
    assert_eq!((answer.verdict(), answer.incomplete), (Verdict::Same, true));
    assert!(answer.last_tick > 0 && answer.last_tick < 400);

    for nothing in [&b""[..], b"not a recording at all, whatever anybody says of it"] {
        let answer = verify(&net, nothing).await.expect("an answer");
        assert_eq!(answer.verdict(), Verdict::Damaged);
    }
}

#[tokio::test(start_paused = true)]
async fn a_game_that_panics_is_a_verdict() {
    let steps = AtomicU32::new(0);
    let bomb = Hooked(Arc::new(move || {
        assert!(steps.fetch_add(1, Ordering::Relaxed) < 30, "a bomb in a test");
    }));
    let net = Net::with_recordings_of(Arc::new(bomb), store_of(&[]), 0);
    let answer = verify(&net, &RECORDED.file()).await.expect("an answer");
    assert_eq!((answer.verdict(), answer.tick), (Verdict::Panicked, 31));
    assert!(answer.detail.contains("a bomb in a test"), "{}", answer.detail);
}

#[tokio::test(start_paused = true)]
async fn other_rules_are_not_verified() {
    let net = net();
    let with = |header: Header| {
        let mut out = BytesMut::new();
        header.put(&mut out);
        RECORDED.chunks.iter().for_each(|chunk| out.extend_from_slice(&chunk.records));
        out.to_vec()
    };
    let other_game = Header { game: "chess".into(), ..RECORDED.header.clone() };
    let other_rules =
        Header { sim_version: RECORDED.header.sim_version + 1, ..RECORDED.header.clone() };
    for header in [other_game, other_rules] {
        let refused = verify(&net, &with(header)).await.expect_err("refused");
        is(&refused, Code::FailedPrecondition, "SIM_VERSION_UNSUPPORTED");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_too_large_is_refused_as_soon_as_it_is() {
    let net = net();
    let endless = futures_util::stream::repeat(VerifyRequest { data: vec![0; 60_000].into() });
    let sent = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&sent);
    let upload = endless.inspect(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let refused = net.replays().await.verify(upload).await.expect_err("refused");
    is(&refused, Code::ResourceExhausted, "RECORDING_TOO_LARGE");
    assert!(sent.load(Ordering::Relaxed) < 300, "16 MiB, and what was on its way");

    let one = tokio_stream::iter([VerifyRequest { data: vec![0; 200_000].into() }]);
    let refused = net.replays().await.verify(one).await.expect_err("refused");
    is(&refused, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
}

#[tokio::test(start_paused = true)]
async fn a_silent_uploader_is_told_after_ten_seconds() {
    let net = net();
    for first in [None, Some(VerifyRequest { data: vec![1; 10].into() })] {
        let (send, upload) = mpsc::channel(4);
        if let Some(first) = first {
            send.send(first).await.expect("sent");
        }
        let begun = Instant::now();
        let refused =
            net.replays().await.verify(ReceiverStream::new(upload)).await.expect_err("refused");
        is(&refused, Code::DeadlineExceeded, "UPLOAD_TIMEOUT");
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(11), "{took:?}");
        drop(send);
    }
}

/// An upload of so many bytes every second, for ever.
fn drip(bytes: usize) -> impl futures_util::Stream<Item = VerifyRequest> {
    futures_util::stream::unfold((), move |()| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((VerifyRequest { data: vec![0; bytes].into() }, ()))
    })
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_drips_is_told_in_time_too() {
    let net = net();
    // Messages without bytes are silence; with a byte each, they end after a minute.
    for (bytes, seconds) in [(0, 10), (1, 60)] {
        let begun = Instant::now();
        let refused = net.replays().await.verify(drip(bytes)).await.expect_err("refused");
        is(&refused, Code::DeadlineExceeded, "UPLOAD_TIMEOUT");
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
}

/// A call over gRPC-Web, as a browser makes it; the body of the answer as text, trailers included.
async fn over_grpc_web(
    net: &Net,
    method: &str,
    timeout: Option<&str>,
    messages: impl futures_util::Stream<Item = Vec<u8>> + Send + Sync + 'static,
) -> (http::HeaderMap, Vec<u8>) {
    let body = messages.map(|message| {
        let mut framed = vec![0];
        framed.extend((message.len() as u32).to_be_bytes());
        framed.extend(message);
        Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(framed.into()))
    });
    let body = BodyExt::boxed(StreamBody::<_>::new(body));
    let mut request = http::Request::post(format!("/fray.v1.Replays/{method}"))
        .header("host", "localhost")
        .header("content-type", "application/grpc-web+proto");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    let io = TokioIo::new(net.pipe());
    let (mut sender, connection) = hyper::client::conn::http1::handshake::<
        _,
        http_body_util::combinators::BoxBody<Bytes, _>,
    >(io)
    .await
    .expect("HTTP/1.1");
    let answered = async {
        let response = sender.send_request(request.body(body).expect("a request")).await;
        let (head, body) = response.expect("a response").into_parts();
        (head.headers, body.collect().await.expect("a body").to_bytes().to_vec())
    };
    // The server may close the connection under a request that it has answered early.
    let connection = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answered => answer,
        () = connection => unreachable!("it waits"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_clients_deadline_is_kept() {
    let net = net();
    let begun = Instant::now();
    let messages = drip(1).map(|message| message.encode_to_vec());
    let (headers, body) = over_grpc_web(&net, "Verify", Some("3S"), messages).await;
    assert_eq!(begun.elapsed().as_secs(), 3);
    let text = format!("{headers:?} {}", String::from_utf8_lossy(&body));
    assert!(text.contains("\"grpc-status\": \"4\"") || text.contains("grpc-status:4"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn browsers_list_fetch_and_verify_over_grpc_web() {
    let net = net();
    let once = |message: Vec<u8>| futures_util::stream::once(std::future::ready(message));
    let first = |body: &[u8]| {
        let length = u32::from_be_bytes([body[1], body[2], body[3], body[4]]) as usize;
        body[5..5 + length].to_vec()
    };
    let list = ReplaysListRequest::default().encode_to_vec();
    let (_, body) = over_grpc_web(&net, "List", None, once(list)).await;
    let listed = v1::ReplaysListResponse::decode(&*first(&body)).expect("a message");
    assert_eq!(listed.recordings.len(), 1);
    let (_, body) =
        over_grpc_web(&net, "Download", None, once(whole("past").encode_to_vec())).await;
    assert!(v1::DownloadResponse::decode(&*first(&body)).expect("a message").data.len() > 1000);
    assert!(String::from_utf8_lossy(&body).contains("grpc-status:0"));
    let upload: Vec<_> = pieces(&RECORDED.file()).iter().map(Message::encode_to_vec).collect();
    let (_, body) = over_grpc_web(&net, "Verify", None, tokio_stream::iter(upload)).await;
    let answer = v1::VerifyResponse::decode(&*first(&body)).expect("a message");
    assert_eq!(answer.verdict(), Verdict::Same);
}

#[tokio::test(start_paused = true)]
async fn uploads_are_told_that_the_server_goes_away() {
    let net = net();
    let mut replays = net.replays().await;
    let told = replays.verify(drip(1));
    let drain = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        net.parts.sessions().drain();
    };
    let (told, ()) = tokio::join!(told, drain);
    is(&told.expect_err("told"), Code::Unavailable, "SHUTTING_DOWN");
    let refused = net.replays().await.list(ReplaysListRequest::default()).await;
    is(&refused.expect_err("told"), Code::Unavailable, "SHUTTING_DOWN");
    let refused = download(&net, whole("past")).await.expect_err("told");
    is(&refused, Code::Unavailable, "SHUTTING_DOWN");
}

#[tokio::test(start_paused = true)]
async fn the_ninth_upload_is_refused_at_once() {
    let net = net();
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut replays = net.replays().await;
        open.spawn(async move { replays.verify(drip(1)).await });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    let refused = verify(&net, &RECORDED.file()).await.expect_err("refused");
    is(&refused, Code::ResourceExhausted, "OVERLOADED");
    assert!(begun.elapsed() < Duration::from_secs(1));
    open.shutdown().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    verify(&net, &RECORDED.file()).await.expect("taken again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_uploads_at_once_are_all_answered() {
    let net = Net::with_recordings(store_of(&[&RECORDED]), 1);
    let file = Arc::new(RECORDED.file());
    let mut all = tokio::task::JoinSet::new();
    let clients = [net.replays().await, net.replays().await];
    for index in 0..200 {
        let (mut replays, file) = (clients[index % 2].clone(), Arc::clone(&file));
        all.spawn(async move { replays.verify(tokio_stream::iter(pieces(&file))).await });
    }
    let (mut same, mut refused) = (0, 0);
    let answers = tokio::time::timeout(Duration::from_secs(120), all.join_all()).await;
    for answer in answers.expect("none hangs") {
        match answer {
            Ok(answer) => {
                assert_eq!(answer.into_inner().verdict(), Verdict::Same);
                same += 1;
            }
            Err(status) => {
                is(&status, Code::ResourceExhausted, "OVERLOADED");
                refused += 1;
            }
        }
    }
    assert_eq!(same + refused, 200);
    assert!(same >= 8, "{same} verdicts, {refused} refusals");
}

/// A game that counts its steps and never has enough of them, and shows whether it is still there.
fn endless() -> (Hooked, Arc<AtomicU32>) {
    let steps = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&steps);
    let hook = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        std::thread::park_timeout(Duration::from_millis(20));
    };
    (Hooked(Arc::new(hook)), steps)
}

async fn until_true(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_gives_up_in_the_middle_of_a_verification_stops_it() {
    for has_deadline in [false, true] {
        let (game, steps) = endless();
        let hook = Arc::clone(&game.0);
        let net = Net::with_recordings_of(Arc::new(game), store_of(&[]), 1);
        let held_before = Arc::strong_count(&hook);
        if has_deadline {
            let upload: Vec<_> =
                pieces(&RECORDED.file()).iter().map(Message::encode_to_vec).collect();
            let upload = tokio_stream::iter(upload);
            let (headers, body) = over_grpc_web(&net, "Verify", Some("1500m"), upload).await;
            let text = format!("{headers:?} {}", String::from_utf8_lossy(&body));
            assert!(text.contains("\"4\"") || text.contains("grpc-status:4"), "{text}");
        } else {
            let mut replays = net.replays().await;
            tokio::select! {
                () = until_true(|| steps.load(Ordering::SeqCst) > 5) => {}
                answer = replays.verify(tokio_stream::iter(pieces(&RECORDED.file()))) => {
                    panic!("it is not that fast: {answer:?}");
                }
            }
        }
        // The game is let go: nobody holds its hook any more but the factory.
        let gone = until_true(|| Arc::strong_count(&hook) == held_before);
        tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the job is gone");
        let stopped_at = steps.load(Ordering::SeqCst);
        assert!((1..300).contains(&stopped_at), "{stopped_at}: it would have taken 400");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(steps.load(Ordering::SeqCst), stopped_at, "nothing goes on");
    }
}

#[tokio::test]
async fn closing_ends_a_verification_in_the_middle() {
    let (game, steps) = endless();
    let net = Net::with_recordings_of(Arc::new(game), store_of(&[]), 1);
    let mut replays = net.replays().await;
    let verifying = replays.verify(tokio_stream::iter(pieces(&RECORDED.file())));
    let closing = async {
        until_true(|| steps.load(Ordering::SeqCst) > 5).await;
        let closed = net.parts.sessions().replays.close();
        tokio::time::timeout(Duration::from_secs(5), closed).await.expect("the threads end");
    };
    let (answer, ()) = tokio::join!(verifying, closing);
    is(&answer.expect_err("told"), Code::Unavailable, "SHUTTING_DOWN");
}

#[tokio::test(start_paused = true)]
async fn operators_see_what_was_verified_and_refused() {
    let net = net();
    verify(&net, &RECORDED.file()).await.expect("an answer");
    verify(&net, b"nonsense").await.expect("an answer");
    download(&net, whole("nowhere")).await.expect_err("unknown");
    let text = net.parts.sessions().metrics.render();
    for line in [
        "fray_verifications_total{verdict=\"same\"} 1",
        "fray_verifications_total{verdict=\"damaged\"} 1",
        "fray_replayed_ticks_total 400",
        "fray_replay_jobs_waiting 0",
        "fray_refusals_total{reason=\"RECORDING_NOT_FOUND\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
