//! Frames that are allowed, and of which nobody needs so many.

use crate::attacker::{Scene, breath};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, ENHANCE_YOUR_CALM, HEADERS, PRIORITY, SETTINGS, frame, header,
    headers, message, ping, request, reset, window_update,
};

const PLAY: &str = "/fray.v1.Play/Play";
/// What h2 keeps of one before it ends the connection.
const EMPTY_FRAMES_MAX: usize = 100;

/// Sends this again and again, and ticks go by; whether the connection is open afterwards.
async fn flooded(scene: &Scene, begin: &[u8], again: &[u8], times: usize) -> bool {
    let mut wire = scene.wire().await;
    assert!(wire.send(begin).await);
    let burst = again.repeat(500);
    for _ in 0..times / 500 {
        if !wire.send(&burst).await {
            return false;
        }
        breath().await;
        // What it hears is not kept.
        wire.said();
    }
    wire.answers().await
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_at_once_costs_nobody_anything() {
    let scene = Scene::new(&[]).await;
    let priority = frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]);
    let unknown = frame(0xfa, 0xff, 0, &[7; 100]);
    for flood in [ping(), frame(SETTINGS, 0, 0, &[]), priority, unknown, window_update(0, 1)] {
        assert!(flooded(&scene, &[], &flood, 50_000).await, "{flood:?}");
    }
    // Of a stream that is there.
    let open = headers(1, &request(PLAY), 0);
    assert!(flooded(&scene, &open, &window_update(1, 1), 50_000).await);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_on_and_on_is_sent_away_and_a_proxy_is_not() {
    // Types that nobody knows: they are read over, as they have to be.
    let unknown = frame(0xfa, 0, 0, &[7; 16_000]);
    // Time goes by meanwhile, and some comes back.
    let much = 200 << 20;
    for (flags, ends, most) in
        [(&[][..], true, much), (&["--trusted-hops", "1"][..], false, 80 << 20)]
    {
        let scene = Scene::new(flags).await;
        let mut wire = scene.wire().await;
        let mut sent_bytes = 0;
        while sent_bytes < most && wire.send(&unknown).await {
            sent_bytes += unknown.len();
        }
        assert!(sent_bytes > 64 << 20, "{sent_bytes}");
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
async fn who_does_not_read_what_it_asked_for_is_not_heard_any_more() {
    let scene = Scene::new(&[]).await;
    for flood in [ping(), frame(SETTINGS, 0, 0, &[])] {
        let before = scene.ended("no_pong");
        let mut pipe = scene.net.pipe();
        let mut sent = 0;
        {
            use crate::frames::PREFACE;
            use tokio::io::AsyncWriteExt as _;
            pipe.write_all(PREFACE).await.expect("sent");
            pipe.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("sent");
            // Until the server takes no more of it, and then ends the connection, which is an error here.
            while pipe.write_all(&flood.repeat(100)).await.is_ok() {
                sent += flood.len() * 100;
            }
        }
        // What fits into both directions of the pipe, and what the server keeps.
        assert!(sent < 1 << 19, "{sent} bytes were taken");
        scene.until("it is cut off", |scene| scene.ended("no_pong") == before + 1).await;
    }
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn empty_frames_end_the_connection() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    assert!(wire.send(&headers(1, &request(PLAY), 0)).await);
    wire.send(&frame(DATA, 0, 1, &[]).repeat(EMPTY_FRAMES_MAX + 1)).await;
    assert_eq!(wire.end().await, Some(ENHANCE_YOUR_CALM));
    scene.until("it is counted", |scene| scene.ended("flood") == 1).await;
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn small_frames_that_nobody_reads_are_bounded() {
    let scene = Scene::new(&["--streams-per-connection-max", "1"]).await;
    let mut wire = scene.wire().await;
    // Of one message, so that it is read; then others, which nobody does before the call ends.
    let join = headers(1, &request("/fray.v1.Lobby/Join"), 0);
    assert!(wire.send(&[join, message(1, &[], 0)].concat()).await);
    let mut sent = 0;
    while sent < 1 << 20 && wire.send(&frame(DATA, 0, 1, &[0]).repeat(100)).await {
        sent += 100;
    }
    assert!(sent < 1 << 17, "after {sent} frames it has ended or is not heard");
    drop(wire);
    scene.stays_as_before().await;
}

/// Each of a byte, and more than h2 would let a client have: of a proxy they come from many.
#[tokio::test(start_paused = true)]
async fn small_frames_by_way_of_a_proxy_do_not_cost_the_others_its_connection() {
    let scene = Scene::new(&["--trusted-hops", "1"]).await;
    let mut wire = scene.wire().await;
    let small = |stream| frame(DATA, 0, stream, &[0]).repeat(1000);
    let mut sent = 0;
    let mut streams = (1..).step_by(2);
    while sent < 100_000 {
        // Who looks on has said all after one message; who asked for nothing that exists has had its answer.
        for path in ["/fray.v1.Play/Watch", "/fray.v1.Nothing/AtAll"] {
            let stream = streams.next().expect("without end");
            let open = [headers(stream, &request(path), 0), message(stream, &[], 0)].concat();
            assert!(wire.send(&open).await);
            breath().await;
            for _ in 0..16 {
                assert!(wire.send(&small(stream)).await, "after {sent}");
                sent += 1000;
                breath().await;
                wire.said();
            }
            assert!(wire.send(&reset(stream)).await);
        }
    }
    assert!(wire.answers().await, "the connection is there for the others");
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn continuations_without_an_end_end_the_connection() {
    let scene = Scene::new(&[]).await;
    let small = header("a", b"b");
    for piece in [Vec::new(), small.clone(), small.repeat(3000)] {
        let before = scene.ended("flood") + scene.ended("protocol");
        let mut wire = scene.wire().await;
        assert!(wire.send(&frame(HEADERS, 0, 1, &request(PLAY))).await);
        let mut sent = 0;
        while sent < 1000 && wire.send(&frame(CONTINUATION, 0, 1, &piece)).await {
            sent += 1;
            breath().await;
        }
        assert!(sent < 20, "{sent} were taken");
        assert_eq!(wire.end().await, Some(ENHANCE_YOUR_CALM));
        let now = |scene: &Scene| scene.ended("flood") + scene.ended("protocol");
        scene.until("it is counted", |scene| now(scene) == before + 1).await;
    }
    // And one that has an end, after no more than fit.
    let mut wire = scene.wire().await;
    let open = [
        frame(HEADERS, 0, 1, &request(PLAY)),
        frame(CONTINUATION, 0, 1, &small),
        frame(CONTINUATION, END_HEADERS, 1, &small),
    ];
    assert!(wire.send(&open.concat()).await && wire.answers().await);
    drop(wire);
    scene.stays_as_before().await;
}
