//! HTTP/1.1 and the WebSocket door of a whole server: no panic anywhere, and every connection ends once its peer says no more.
//!
//! The first byte says what comes: any bytes; any bytes after a good handshake; a good handshake and good frames with any messages
//! of `Play` in them. Above 127 the peer says no more at once. The second byte says into what pieces it is cut.
#![no_main]

use fray_fuzz::cuts::{cut, parts};
use fray_fuzz::door::{Closes, Door};
use fray_proto::v1;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:7777\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: fray.v1\r\n\r\n";

thread_local! {
    // Never dropped: at the process's end there is nothing left to end it in.
    static DOOR: &'static Door = Box::leak(Box::new(Door::behind(0, good_socket())));
}

/// A player who is let in: if that is not so, nothing of what follows is tried.
fn good_socket() -> Vec<u8> {
    let hello = v1::Hello { protocol_version: fray_proto::PROTOCOL_VERSION, ..Default::default() };
    let hello = v1::PlayRequest { message: Some(v1::play_request::Message::Hello(hello)) };
    [HANDSHAKE, &frame(&hello.encode_to_vec())].concat()
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, rest)) = input.split_first() else { return };
    let closes = if how > 127 { Closes::AtOnce } else { Closes::AfterAnswers };
    let answer = DOOR.with(|door| match how % 3 {
        0 => door.serve(&cut(rest).0, closes),
        1 => {
            let mut pieces = cut(rest).0;
            pieces.insert(0, HANDSHAKE);
            door.serve(&pieces, closes)
        }
        _ => {
            let mut frames: Vec<_> = parts(rest).map(frame).collect();
            frames.insert(0, HANDSHAKE.to_vec());
            door.serve(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>(), closes)
        }
    });
    if how % 3 > 0 && closes == Closes::AfterAnswers {
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "the handshake is good");
    }
});

/// A binary message in one frame, masked with nothing.
fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match message.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(message);
    frame
}
