//! HTTP/2 and gRPC at the players' door of a whole server: no panic anywhere, and every connection ends once its peer says no more.
//!
//! The first byte says what comes after HTTP/2's preface: any bytes; or good frames that call methods with any messages. The second
//! byte says into what pieces it is cut. Above 127 the first means that the peer says no more at once.
#![no_main]

use fray_fuzz::cuts::{cut, parts};
use fray_fuzz::door::{Closes, Door, framed};
use libfuzzer_sys::fuzz_target;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PATHS: &[&str] = &[
    "/fray.v1.Play/Play",
    "/fray.v1.Lobby/Join",
    "/fray.v1.Play/Watch",
    "/fray.v1.Lobby/ListRooms",
    "/fray.v1.Lobby/WatchRooms",
    "/fray.v1.Replays/List",
    "/fray.v1.Replays/Timeline",
    "/fray.v1.Replays/Download",
    "/fray.v1.Replays/Verify",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

thread_local! {
    // Never dropped: at the process's end there is nothing left to end it in.
    static DOOR: &'static Door = Box::leak(Box::new(Door::new()));
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, rest)) = input.split_first() else { return };
    let closes = if how > 127 { Closes::AtOnce } else { Closes::AfterAnswers };
    DOOR.with(|door| match how % 2 {
        0 => {
            let mut pieces = cut(rest).0;
            pieces.insert(0, PREFACE);
            door.serve(&pieces, closes);
        }
        _ => {
            let mut bytes = [PREFACE, SETTINGS].concat();
            for (number, call) in parts(rest).take(16).enumerate() {
                put_call(&mut bytes, 1 + 2 * number as u32, call);
            }
            door.serve(&[&bytes], closes);
        }
    });
});

/// A call on a stream of its own: its first byte says which, the second whether its bytes are framed messages already, and whether
/// more may come; the rest is its message.
fn put_call(out: &mut Vec<u8>, stream: u32, call: &[u8]) {
    let [which, flags, message @ ..] = call else { return };
    let path = PATHS[usize::from(*which) % PATHS.len()];
    let mut head = vec![0x83, 0x86]; // POST, http
    for (name, value) in [
        (":path", path),
        (":authority", "a"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        // A literal that is not remembered.
        head.extend([0, name.len() as u8]);
        head.extend(name.as_bytes());
        head.push(value.len() as u8);
        head.extend(value.as_bytes());
    }
    put_frame(out, 1, 4, stream, &head);
    let body = if flags & 1 == 1 { message.to_vec() } else { framed(message) };
    for piece in body.chunks(16 * 1024) {
        put_frame(out, 0, 0, stream, piece);
    }
    if flags & 2 == 0 {
        put_frame(out, 0, 1, stream, &[]);
    }
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}
