//! Peers that take nothing of what they asked for.

use crate::attacker::Scene;
use crate::frames::{
    ACK, CANCEL, DATA, END_STREAM, PING, RST_STREAM, Wire, frame, get, headers, initial_window,
    message, request,
};
use crate::support::hello;
use fray_proto::v1::PlayRequest;
use fray_proto::v1::play_request::Message as Request;
use prost::Message as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;

/// Answers pings, and takes nothing else, until the connection ends or this holds.
async fn sits(wire: &mut Wire<DuplexStream>, mut until: impl FnMut(&crate::frames::Frame) -> bool) {
    while let Some(said) = wire.next().await {
        if said.kind == PING && said.flags & ACK == 0 {
            wire.send(&frame(PING, ACK, 0, &said.payload)).await;
        }
        if until(&said) {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn players_and_those_who_look_on_and_take_nothing_are_given_up() {
    let scene = Scene::new(&["--allow-guests", "--idle-timeout", "5s", "--grace", "1s"]).await;
    let mut wire = scene.wire().await;
    assert!(wire.send(&initial_window(0)).await);
    let first = PlayRequest { message: Some(Request::Hello(hello())) }.encode_to_vec();
    for stream in (1..40).step_by(2) {
        let opened =
            [headers(stream, &request("/fray.v1.Play/Play"), 0), message(stream, &first, 0)];
        assert!(wire.send(&opened.concat()).await);
    }
    for stream in (41..80).step_by(2) {
        let watch = headers(stream, &request("/fray.v1.Play/Watch"), 0);
        assert!(wire.send(&[watch, message(stream, &[], END_STREAM)].concat()).await);
    }
    scene.until("they are there", |scene| scene.count("fray_players") == 21).await;
    let mut given_up = 0;
    sits(&mut wire, |said| {
        assert!(said.kind != DATA, "nothing was asked for");
        given_up += u32::from(said.kind == RST_STREAM);
        given_up == 40
    })
    .await;
    scene.until("nobody is left", |scene| scene.count("fray_spectators") == 0).await;
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_does_not_hold_its_connection_for_ever() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    assert!(wire.send(&initial_window(0)).await);
    for stream in (1..100).step_by(2) {
        assert!(wire.send(&headers(stream, &get("/"), END_STREAM)).await);
    }
    let (began, mut cut_off) = (Instant::now(), 0);
    sits(&mut wire, |said| {
        cut_off += u32::from(said.kind == RST_STREAM && said.code() == CANCEL);
        cut_off == 50
    })
    .await;
    assert_eq!((cut_off, began.elapsed().as_secs()), (50, 30));
    assert_eq!(scene.count("fray_answers_not_taken_total"), 50);
    sits(&mut wire, |_| false).await;
    scene.until("it is counted", |scene| scene.ended("idle") == 1).await;
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn over_http1_too() {
    let scene = Scene::new(&[]).await;
    let mut pipe = scene.net.pipe();
    // The page does not fit into the pipe.
    pipe.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    scene.until("it is cut off", |scene| scene.ended("stalled") == 1).await;
    let mut answer = Vec::new();
    let _ = pipe.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_little_by_little_gets_it_all() {
    let scene = Scene::new(&[]).await;
    let mut pipe = scene.net.pipe();
    pipe.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("sent");
    let (mut answer, mut piece) = (0, [0; 4096]);
    loop {
        match pipe.read(&mut piece).await.expect("not cut off") {
            0 => break,
            n => answer += n,
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert!(answer > 128 * 1024, "{answer}");
    scene.until("it is counted", |scene| scene.ended("closed") >= 1).await;
    scene.stays_as_before().await;
}
