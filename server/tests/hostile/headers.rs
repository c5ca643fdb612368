//! Headers that are too large, or become too large when they are unpacked.

use crate::attacker::Scene;
use crate::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, HEADERS, NEWEST, RST_STREAM,
    frame, header, headers, kept_header, request,
};

const LIST: &str = "/fray.v1.Lobby/ListRooms";
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// A request's headers in as many frames as they take.
fn in_frames(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut pieces: Vec<_> = block.chunks(FRAME_BYTES_MAX).collect();
    let last = pieces.pop().expect("not empty");
    let Some((first, middle)) = pieces.split_first() else {
        return headers(stream, last, END_STREAM);
    };
    let mut bytes = frame(HEADERS, END_STREAM, stream, first);
    bytes.extend(middle.iter().flat_map(|piece| frame(CONTINUATION, 0, stream, piece)));
    bytes.extend(frame(CONTINUATION, END_HEADERS, stream, last));
    bytes
}

fn of(bytes: usize) -> Vec<u8> {
    let mut block = request(LIST);
    while block.len() < bytes {
        block.extend(header("x-much", &vec![b'a'; (bytes - block.len()).min(5000)]));
    }
    block
}

#[tokio::test(start_paused = true)]
async fn headers_that_are_too_large_are_refused_and_those_that_are_far_too_large_end_the_connection()
 {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    let ends = |stream: u32| {
        move |frame: &Frame| {
            frame.stream == stream && (frame.kind == RST_STREAM || frame.ends_its_stream())
        }
    };
    assert!(wire.send(&in_frames(1, &of(8 * 1024))).await);
    let answer = wire.until(|frame| frame.stream == 1).await.expect("an answer");
    assert_eq!(answer.kind, HEADERS);
    for (stream, bytes) in [(3, 17 * 1024), (5, 24 * 1024)] {
        assert!(wire.send(&in_frames(stream, &of(bytes))).await);
        wire.until(ends(stream)).await.expect("refused");
    }
    assert!(wire.answers().await);
    wire.send(&in_frames(7, &of(200 * 1024))).await;
    let code = wire.end().await.expect("an end that is explained");
    assert!(code == ENHANCE_YOUR_CALM || code == crate::frames::COMPRESSION_ERROR, "{code}");
    scene.until("it is counted", |scene| scene.ended("flood") + scene.ended("protocol") == 1).await;
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_proxy_lets_through_does_not_cost_its_other_clients_the_connection() {
    let scene = Scene::new(&["--trusted-hops", "1"]).await;
    let mut wire = scene.wire().await;
    // Envoy takes 60 KiB unless told otherwise, and adds its own.
    for (number, kib) in [8, 17, 24, 33, 40, 55, 64].into_iter().enumerate() {
        let stream = number as u32 * 2 + 1;
        assert!(wire.send(&in_frames(stream, &of(kib * 1024))).await);
        wire.until(|frame| frame.stream == stream).await.expect("an answer");
        assert!(wire.answers().await, "after {kib} KiB");
    }
    drop(wire);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn a_bomb_of_headers_ends_the_connection_before_it_is_unpacked() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    // 4,000 bytes in the table, and then one byte for each 4,000 more: 64 MB in a frame.
    let bomb = [request(LIST), kept_header("x", &[b'a'; 3900]), vec![NEWEST; 12_000]].concat();
    wire.send(&headers(1, &bomb, END_STREAM)).await;
    assert_eq!(wire.end().await, Some(ENHANCE_YOUR_CALM));
    scene.until("it is counted", |scene| scene.ended("flood") == 1).await;
    // Small ones, again and again: each is refused, and the connection may stay.
    let mut wire = scene.wire().await;
    assert!(
        wire.send(&headers(
            1,
            &[request(LIST), kept_header("x", &[b'a'; 3900])].concat(),
            END_STREAM
        ))
        .await
    );
    for number in 1..500 {
        let stream = number * 2 + 1;
        let small = headers(stream, &[request(LIST), vec![NEWEST; 8]].concat(), END_STREAM);
        assert!(wire.send(&small).await);
        wire.until(|frame| frame.stream == stream).await.expect("an answer");
    }
    drop(wire);
    scene.stays_as_before().await;
}
