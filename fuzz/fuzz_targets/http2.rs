//! HTTP/2 and gRPC at the players' door of a whole server: no panic anywhere, and every connection ends once its peer says no more.
//!
//! The first byte says what comes after HTTP/2's preface: any bytes; or good frames that call methods with any messages. The second
//! byte says into what pieces it is cut. The first one's second bit chooses the server that is behind a proxy, and above 127 it means that
//! the peer says no more at once.
#![no_main]

use fray_fuzz::cuts::{cut, parts};
use fray_fuzz::door::{Closes, Door, framed};
use fray_proto::v1;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

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

/// What a call may bring beside what it must.
const HEADERS: [&str; 8] = [
    "authorization",
    "grpc-timeout",
    "traceparent",
    "tracestate",
    "x-forwarded-for",
    "grpc-encoding",
    "content-length",
    "fray-request-id",
];

thread_local! {
    // Never dropped: at the process's end there is nothing left to end it in. The second is behind a proxy.
    static DOORS: [&'static Door; 2] =
        [0, 1].map(|hops| &*Box::leak(Box::new(Door::behind(hops, good_stream()))));
}

/// A player who is let in: if that is not so, nothing of what follows is tried.
fn good_stream() -> Vec<u8> {
    let hello = v1::Hello { protocol_version: fray_proto::PROTOCOL_VERSION, ..Default::default() };
    let hello = v1::PlayRequest { message: Some(v1::play_request::Message::Hello(hello)) };
    let mut bytes = [PREFACE, SETTINGS].concat();
    put_call(&mut bytes, 1, &[&[0, 0][..], &hello.encode_to_vec()].concat());
    bytes
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, rest)) = input.split_first() else { return };
    let closes = if how > 127 { Closes::AtOnce } else { Closes::AfterAnswers };
    let door = DOORS.with(|doors| doors[usize::from(how / 2 % 2)]);
    match how % 2 {
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
    }
});

/// A call on a stream of its own: its first byte says which, the second whether its bytes are framed messages already, whether
/// more may come, and whether there is a header more, which the third chooses, of as many bytes as the fourth says; the rest is its
/// message.
fn put_call(out: &mut Vec<u8>, stream: u32, call: &[u8]) {
    let [which, flags, rest @ ..] = call else { return };
    let (more, message) = match rest {
        [header, length, rest @ ..] if flags & 4 == 4 => {
            let length = usize::from(*length).min(rest.len()).min(126);
            let (value, message) = rest.split_at(length);
            (Some((HEADERS[usize::from(*header) % HEADERS.len()], value)), message)
        }
        _ => (None, rest),
    };
    let path = PATHS[usize::from(*which) % PATHS.len()];
    let mut head = vec![0x83, 0x86]; // POST, http
    let must = [
        (":path", path),
        (":authority", "a"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in must.map(|(name, value)| (name, value.as_bytes())).into_iter().chain(more)
    {
        // A literal that is not remembered.
        head.extend([0, name.len() as u8]);
        head.extend(name.as_bytes());
        head.push(value.len() as u8);
        head.extend(value);
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
