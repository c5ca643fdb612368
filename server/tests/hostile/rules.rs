//! What HTTP/2 forbids.

use crate::attacker::Scene;
use crate::frames::{
    CONTINUATION, DATA, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, HEADERS, PING,
    PROTOCOL_ERROR, RST_STREAM, SETTINGS, frame, header, headers, message, request, reset,
    window_update,
};

const PLAY: &str = "/fray.v1.Play/Play";

#[tokio::test(start_paused = true)]
async fn what_no_connection_may_send_ends_it() {
    let scene = Scene::new(&[]).await;
    let open = headers(1, &request(PLAY), 0);
    // The length alone: nobody waits for the rest.
    let mut too_large = frame(DATA, 0, 1, &[]);
    too_large[..3].copy_from_slice(&[0xff, 0xff, 0xff]);
    let cases = [
        ("a window beyond what there is", window_update(0, i32::MAX as u32), FLOW_CONTROL_ERROR),
        ("a window that grows by nothing", window_update(0, 0), PROTOCOL_ERROR),
        ("an end of a stream that never was", reset(5), PROTOCOL_ERROR),
        ("an end of the connection as of a stream", reset(0), PROTOCOL_ERROR),
        ("data for the connection", frame(DATA, 0, 0, b"a"), PROTOCOL_ERROR),
        ("data for a stream that never was", frame(DATA, 0, 7, b"a"), PROTOCOL_ERROR),
        ("a stream of the server's own", headers(2, &request(PLAY), 0), PROTOCOL_ERROR),
        ("a continuation of nothing", frame(CONTINUATION, 4, 1, &[]), PROTOCOL_ERROR),
        (
            "something between headers",
            {
                let begun = frame(HEADERS, 0, 3, &request(PLAY));
                [begun, frame(PING, 0, 0, &[0; 8])].concat()
            },
            PROTOCOL_ERROR,
        ),
        ("a push", frame(5, 4, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
        ("a frame that is too large", too_large, FRAME_SIZE_ERROR),
        ("settings that are cut off", frame(SETTINGS, 0, 0, &[0; 5]), PROTOCOL_ERROR),
        ("an acknowledgement that nobody waits for", frame(SETTINGS, 1, 0, &[]), PROTOCOL_ERROR),
        (
            "a table beyond what was agreed on",
            headers(3, &[0x3f, 0xff, 0xff, 0x7f], 0),
            PROTOCOL_ERROR,
        ),
        ("an entry that is not in the table", headers(3, &[0xff, 0x7f], 0), PROTOCOL_ERROR),
        // Of a stream alone it would be enough; no proxy passes it on.
        (
            "a name in capitals",
            headers(3, &[request(PLAY), header("Bad", b"x")].concat(), 0),
            PROTOCOL_ERROR,
        ),
    ];
    for (number, (what, bytes, code)) in cases.into_iter().enumerate() {
        let mut wire = scene.wire().await;
        assert!(wire.send(&open).await);
        wire.send(&bytes).await;
        assert_eq!(wire.end().await, Some(code), "{what}");
        scene.until(what, |scene| scene.ended("protocol") == number as u64 + 1).await;
    }
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn what_no_stream_may_send_ends_that_stream_alone() {
    let scene = Scene::new(&[]).await;
    let mut wire = scene.wire().await;
    let beyond_its_length = {
        let block = [request(PLAY), header("content-length", b"3")].concat();
        [headers(7, &block, 0), message(7, &[0; 10], 0)].concat()
    };
    let cases = [
        ("a window beyond what there is", 1, {
            [headers(1, &request(PLAY), 0), window_update(1, i32::MAX as u32)].concat()
        }),
        ("a header of HTTP/1.1", 3, {
            headers(3, &[request(PLAY), header("connection", b"close")].concat(), 0)
        }),
        ("no path", 5, headers(5, &[0x83, 0x86], 0)),
        ("more than it said", 7, beyond_its_length),
        ("a second path", 11, headers(11, &[request(PLAY), request(PLAY)].concat(), END_STREAM)),
    ];
    for (what, stream, bytes) in cases {
        assert!(wire.send(&bytes).await, "{what}");
        let is_end = |frame: &crate::frames::Frame| {
            frame.stream == stream && (frame.kind == RST_STREAM || frame.ends_its_stream())
        };
        wire.until(is_end).await.unwrap_or_else(|| panic!("{what}: its stream ends"));
        assert!(wire.answers().await, "{what}");
    }
    drop(wire);
    scene.stays_as_before().await;
}
