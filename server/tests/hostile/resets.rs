//! Streams that are opened and given up.

use crate::attacker::{Scene, breath};
use crate::frames::{
    DATA, END_STREAM, ENHANCE_YOUR_CALM, Frame, REFUSED_STREAM, RST_STREAM, Wire, frame, get,
    headers, initial_window, message, request, reset, window_update,
};
use crate::support::hello;
use fray_proto::v1::PlayRequest;
use fray_proto::v1::play_request::Message as Request;
use prost::Message as _;
use std::time::Duration;

const JOIN: &str = "/fray.v1.Lobby/Join";
const PLAY: &str = "/fray.v1.Play/Play";
/// What the server lets a connection have open.
const STREAMS: u32 = 200;

/// The ids of so many streams, after those of the first `before`.
fn streams(before: u32, count: u32) -> impl Iterator<Item = u32> {
    (before..before + count).map(|number| number * 2 + 1)
}

fn opened_and_given_up(stream: u32) -> Vec<u8> {
    [headers(stream, &request(JOIN), 0), reset(stream)].concat()
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_given_up_before_anybody_looked_end_the_connection() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    let burst: Vec<u8> = streams(0, 100).flat_map(opened_and_given_up).collect();
    wire.send(&burst).await;
    assert_eq!(wire.end().await, Some(ENHANCE_YOUR_CALM));
    scene.until("it is counted", |scene| scene.ended("flood") == 1).await;
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn so_do_those_that_are_given_up_one_by_one() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    let mut opened = 0;
    for stream in streams(0, 10_000) {
        if !wire.send(&opened_and_given_up(stream)).await {
            break;
        }
        opened += 1;
        // So each is looked at, and has its task.
        breath().await;
    }
    assert!((500..700).contains(&opened), "2 × {STREAMS} + 100, and a few a second: {opened}");
    assert_eq!(wire.end().await, Some(ENHANCE_YOUR_CALM));
    scene.until("it is counted", |scene| scene.ended("flood") == 1).await;
    assert!(scene.count("fray_streams_given_up_total") >= 500);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn clients_of_a_proxy_who_give_up_do_not_cost_the_others_its_connection() {
    let scene = Scene::new(&["--trusted-hops", "1"]).await;
    let mut wire = scene.wire().await;
    for burst in 0..20 {
        let burst: Vec<u8> = streams(burst * 500, 500).flat_map(opened_and_given_up).collect();
        assert!(wire.send(&burst).await);
        breath().await;
    }
    // One after the other, too.
    for stream in streams(20 * 500, 1000) {
        assert!(wire.send(&opened_and_given_up(stream)).await);
        breath().await;
    }
    assert!(wire.answers().await, "the connection is there for the others");
    assert_eq!(scene.ended("flood"), 0);
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn nor_do_those_who_give_up_all_at_once() {
    let scene = Scene::new(&["--trusted-hops", "1"]).await;
    // More than h2 allows before somebody looks, and all of it is there when the server first reads.
    let burst: Vec<u8> = streams(0, 10_000).flat_map(opened_and_given_up).collect();
    let mut wire = Wire::begun(scene.net.pipe_of(burst.len() * 2)).await;
    assert!(wire.send(&burst).await);
    assert!(wire.answers().await, "the connection is there for the others");
    assert_eq!(scene.ended("flood"), 0);
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_none_end_a_clients_connection_and_no_proxys() {
    for (flags, ends) in [(&[][..], true), (&["--trusted-hops", "1"][..], false)] {
        let scene = Scene::new(flags).await;
        let mut wire = scene.wire().await;
        let mut is_open = true;
        for stream in streams(0, 3000) {
            // No such character may be in a path; nginx and Envoy let it through.
            is_open = is_open && wire.send(&headers(stream, &get("/?<"), END_STREAM)).await;
            if stream % 64 == 1 {
                breath().await;
            }
        }
        if ends {
            assert_eq!(wire.end().await, Some(ENHANCE_YOUR_CALM));
        } else {
            assert!(wire.answers().await);
        }
        drop(wire);
        scene.until("it is counted", |scene| scene.ended("flood") == u64::from(ends)).await;
        scene.stays_as_before().await;
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_streams_that_are_opened_and_abandoned_each_end_in_time() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    let waves = 10_000 / STREAMS;
    for wave in 0..waves {
        let opened: Vec<u8> = streams(wave * STREAMS, STREAMS)
            .flat_map(|stream| headers(stream, &request(PLAY), 0))
            .collect();
        assert!(wire.send(&opened).await);
        // Nothing more is said; each is ended with a status.
        for _ in 0..STREAMS {
            wire.until(Frame::ends_its_stream).await.expect("an end");
        }
    }
    assert_eq!(scene.refused("HELLO_TIMEOUT"), 10_000);
    assert!(wire.answers().await, "they were no more at once than it may have");
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_could_take_are_not_counted_when_they_are_given_up() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    assert!(wire.send(&initial_window(1)).await);
    for wave in 0..3 {
        let of_wave = || streams(wave * (STREAMS - 1), STREAMS - 1);
        // Requests that go on, for a page that has more than a byte.
        let opened: Vec<u8> = of_wave().flat_map(|stream| headers(stream, &get("/"), 0)).collect();
        assert!(wire.send(&opened).await);
        for _ in of_wave() {
            let begun = wire.until(|frame| frame.kind == DATA || frame.kind == RST_STREAM).await;
            assert_eq!(begun.expect("an answer").kind, DATA, "none is refused: wave {wave}");
        }
        let given_up: Vec<u8> = of_wave().flat_map(reset).collect();
        assert!(wire.send(&given_up).await);
        assert!(wire.answers().await);
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn streams_beyond_the_limit_are_refused_and_too_many_of_them_end_the_connection() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    let opened: Vec<u8> =
        streams(0, STREAMS + 10).flat_map(|stream| headers(stream, &request(PLAY), 0)).collect();
    assert!(wire.send(&opened).await);
    for _ in 0..10 {
        let refused = wire.until(|frame| frame.kind == RST_STREAM).await.expect("refused");
        assert_eq!(refused.code(), REFUSED_STREAM);
        assert!(refused.stream > STREAMS * 2);
    }
    for stream in streams(STREAMS + 10, 3000) {
        if !wire.send(&headers(stream, &request(PLAY), 0)).await {
            break;
        }
    }
    assert_eq!(wire.end().await, Some(ENHANCE_YOUR_CALM));
    scene.until("it is counted", |scene| scene.ended("flood") == 1).await;
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn players_who_come_and_go_for_hours_keep_their_connection() {
    let scene = Scene::new(&["--allow-guests"]).await;
    let mut wire = scene.wire().await;
    let hello = PlayRequest { message: Some(Request::Hello(hello())) }.encode_to_vec();
    for stream in streams(0, 2000) {
        let opened = [headers(stream, &request(PLAY), 0), message(stream, &hello, 0)].concat();
        assert!(wire.send(&[opened, window_update(0, 1 << 16)].concat()).await);
        let answered = wire.until(|frame| frame.stream == stream && frame.kind == DATA).await;
        answered.expect("a Welcome");
        assert!(wire.send(&reset(stream)).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(wire.answers().await);
    assert!(wire.send(&frame(DATA, END_STREAM, 3999, &[])).await);
    drop(wire);
    scene.stays_as_before().await;
}
