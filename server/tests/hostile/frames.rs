//! HTTP/2, written by hand: frames that no client library would send.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each user uses a part of it")]

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Ends a hang; with virtual time, no test waits for it.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a `RST_STREAM`, or of a `GOAWAY`.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    pub fn ends_its_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

pub fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"are you?")
}

pub fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

pub fn initial_window(bytes: u32) -> Vec<u8> {
    let mut setting = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    setting.extend(bytes.to_be_bytes());
    frame(SETTINGS, 0, 0, &setting)
}

/// An integer of HPACK after a prefix of so many bits, which are zero.
fn integer(prefix_bits: u32, value: usize) -> Vec<u8> {
    let most = (1 << prefix_bits) - 1;
    if value < most {
        return vec![value as u8];
    }
    let (mut bytes, mut rest) = (vec![most as u8], value - most);
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes
}

fn text(text: &[u8]) -> Vec<u8> {
    [integer(7, text.len()), text.to_vec()].concat()
}

/// A header that is written out, and kept nowhere.
pub fn header(name: &str, value: &[u8]) -> Vec<u8> {
    [vec![0], text(name.as_bytes()), text(value)].concat()
}

/// A header that goes into the table, as its newest entry.
pub fn kept_header(name: &str, value: &[u8]) -> Vec<u8> {
    [vec![0x40], text(name.as_bytes()), text(value)].concat()
}

/// The newest entry of the table.
pub const NEWEST: u8 = 0x80 + 62;

/// The header block of a request by gRPC.
pub fn request(path: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` are in the static table, as is the name `:path`.
    let mut block = vec![0x83, 0x86, 0x04];
    block.extend(text(path.as_bytes()));
    block.extend(header("content-type", b"application/grpc"));
    block.extend(header("te", b"trailers"));
    block
}

/// The same, of a page.
pub fn get(path: &str) -> Vec<u8> {
    [vec![0x82, 0x86, 0x04], text(path.as_bytes())].concat()
}

pub fn headers(stream: u32, block: &[u8], flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, block)
}

/// A message of gRPC, in a frame.
pub fn message(stream: u32, message: &[u8], flags: u8) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
    framed.extend(message);
    frame(DATA, flags, stream, &framed)
}

/// How many frames of the server's may wait to be looked at: more than any of the floods has answered.
const HEARD_MAX: usize = 1 << 17;

/// A connection.
pub struct Wire<T> {
    write: WriteHalf<T>,
    heard: mpsc::Receiver<Frame>,
    _reader: JoinSet<()>,
}

impl<T: AsyncRead + AsyncWrite + Send + 'static> Wire<T> {
    /// With nothing said yet.
    pub fn new(io: T) -> Self {
        let (mut read, write) = tokio::io::split(io);
        let (hears, heard) = mpsc::channel(HEARD_MAX);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            let mut head = [0; 9];
            while read.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let mut payload = vec![0; length];
                if read.read_exact(&mut payload).await.is_err() {
                    return;
                }
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                let (kind, flags) = (head[3], head[4]);
                if hears.send(Frame { kind, flags, stream, payload }).await.is_err() {
                    return;
                }
            }
        });
        Self { write, heard, _reader: reader }
    }

    /// After the preface and settings that say nothing; the server's are acknowledged.
    pub async fn begun(io: T) -> Self {
        let mut wire = Self::new(io);
        let settings = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, ACK, 0, &[])];
        assert!(wire.send(&settings.concat()).await);
        wire
    }

    /// Whether the server still takes it.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = timeout(PATIENCE, self.write.write_all(bytes)).await;
        sent.expect("the server reads or ends").is_ok()
    }

    /// What the server says next; `None`: it has ended the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.heard.recv()).await.expect("the server says something or ends")
    }

    /// What the server said so far and nobody asked for.
    pub fn said(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }

    /// The next frame of which this holds; pings are answered until then.
    pub async fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let said = self.next().await?;
            if is_it(&said) {
                return Some(said);
            }
            if said.kind == PING && said.flags & ACK == 0 {
                self.send(&frame(PING, ACK, 0, &said.payload)).await;
            }
        }
    }

    /// The code of the last `GOAWAY` before the connection ended, if there was any.
    pub async fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }

    /// Whether the server still answers.
    pub async fn answers(&mut self) -> bool {
        let is_pong = |frame: &Frame| frame.kind == PING && frame.flags == ACK;
        self.send(&ping()).await && self.until(is_pong).await.is_some()
    }
}
