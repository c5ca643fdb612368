//! As much of HTTP/2 (RFC 9113) as a client needs that opens streams once and then counts what comes: so little that the players
//! cost less than the servers. Header blocks are written by hand and not read.

/// What a connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a server may send ahead, per stream and per connection: players take everything, so the windows are not what is measured.
const STREAM_WINDOW_BYTES: u32 = 1 << 30;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// A frame's header.
pub const FRAME_HEADER_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 3;

/// What came for one of the streams.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes of its messages.
    Data(u32, &'a [u8]),
    /// The server ended it.
    Ended(u32),
    /// The server ends the connection.
    GoAway,
}

/// A client's half of a connection: what is to be written, and what is left of a frame that was cut.
#[derive(Debug)]
pub struct Connection {
    /// To be written.
    pub out: Vec<u8>,
    rest: Vec<u8>,
    taken: u32,
    /// What may be sent in all; each stream has a window of its own.
    window: i64,
    stream_window: i64,
    /// How many streams the server allows at once, if it has said so.
    pub streams_max: Option<u32>,
}

impl Default for Connection {
    fn default() -> Self {
        let mut out = PREFACE.to_vec();
        let mut settings = SETTINGS_INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend(STREAM_WINDOW_BYTES.to_be_bytes());
        frame(&mut out, SETTINGS, 0, 0, &settings);
        frame(&mut out, WINDOW_UPDATE, 0, 0, &(CONNECTION_WINDOW_BYTES - 65_535).to_be_bytes());
        Self {
            out,
            rest: Vec::new(),
            taken: 0,
            window: 65_535,
            stream_window: 65_535,
            streams_max: None,
        }
    }
}

impl Connection {
    /// Only frames: nothing is agreed on, and there are no windows.
    pub fn bare() -> Self {
        let window = i64::MAX / 2;
        Self { out: Vec::new(), window, stream_window: window, ..Self::default() }
    }

    /// Opens a stream for a gRPC call and writes its first message.
    pub fn open(&mut self, stream: u32, path: &str, first: &[u8]) {
        let mut block = vec![0x83, 0x86]; // POST, http: of the static table
        literal(&mut block, 4, path); // :path
        literal(&mut block, 1, "bench"); // :authority
        block.extend([0x0f, 31 - 15]); // content-type
        string(&mut block, "application/grpc");
        block.push(0);
        string(&mut block, "te");
        string(&mut block, "trailers");
        frame(&mut self.out, HEADERS, END_HEADERS, stream, &block);
        if !first.is_empty() {
            frame(&mut self.out, DATA, 0, stream, first);
            self.window -= first.len() as i64;
        }
    }

    /// Writes data that fits into the windows, as `stream_window` has it; says whether it did.
    pub fn data(&mut self, stream: u32, stream_used: &mut i64, bytes: &[u8]) -> bool {
        let length = bytes.len() as i64;
        if length > self.window || *stream_used + length > self.stream_window {
            return false;
        }
        self.window -= length;
        *stream_used += length;
        frame(&mut self.out, DATA, 0, stream, bytes);
        true
    }

    /// Takes what was read. `freed` hears what the server gives back of a stream's window.
    pub fn read(
        &mut self,
        bytes: &[u8],
        mut event: impl FnMut(Event<'_>),
        mut freed: impl FnMut(u32, u32),
    ) {
        let mut rest = std::mem::take(&mut self.rest);
        let mut bytes = bytes;
        if !rest.is_empty() {
            // Only the frame that was cut is copied.
            while let Some(missing) = missing_bytes(&rest).filter(|_| !bytes.is_empty()) {
                let (more, left) = bytes.split_at(missing.min(bytes.len()));
                rest.extend_from_slice(more);
                bytes = left;
            }
            if missing_bytes(&rest).is_none() {
                self.take(&rest, &mut event, &mut freed);
                rest.clear();
            }
        }
        while let Some(length) = whole_frame(bytes) {
            let (one, left) = bytes.split_at(length);
            self.take(one, &mut event, &mut freed);
            bytes = left;
        }
        rest.extend_from_slice(bytes);
        self.rest = rest;
        if self.taken > CONNECTION_WINDOW_BYTES / 4 {
            let taken = std::mem::take(&mut self.taken);
            frame(&mut self.out, WINDOW_UPDATE, 0, 0, &taken.to_be_bytes());
        }
    }

    fn take(
        &mut self,
        frame_bytes: &[u8],
        event: &mut impl FnMut(Event<'_>),
        freed: &mut impl FnMut(u32, u32),
    ) {
        let (kind, flags) = (frame_bytes[3], frame_bytes[4]);
        let stream = number(&frame_bytes[5..9]) & 0x7fff_ffff;
        let payload = &frame_bytes[FRAME_HEADER_BYTES..];
        match kind {
            DATA => {
                self.taken += payload.len() as u32;
                event(Event::Data(stream, payload));
                if flags & END_STREAM != 0 {
                    event(Event::Ended(stream));
                }
            }
            HEADERS if flags & END_STREAM != 0 => event(Event::Ended(stream)),
            RST_STREAM => event(Event::Ended(stream)),
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let value = number(&setting[2..]);
                    match u16::from_be_bytes([setting[0], setting[1]]) {
                        SETTINGS_INITIAL_WINDOW_SIZE => self.stream_window = i64::from(value),
                        SETTINGS_MAX_CONCURRENT_STREAMS => self.streams_max = Some(value),
                        _ => {}
                    }
                }
                frame(&mut self.out, SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, payload),
            GOAWAY => event(Event::GoAway),
            WINDOW_UPDATE if payload.len() == 4 => {
                let more = number(payload) & 0x7fff_ffff;
                if stream == 0 { self.window += i64::from(more) } else { freed(stream, more) }
            }
            _ => {}
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// How long the frame at the beginning is, if all of it is there.
fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let length = FRAME_HEADER_BYTES + number(bytes.get(..3)?) as usize;
    (bytes.len() >= length.max(FRAME_HEADER_BYTES)).then_some(length)
}

/// How much is missing of a frame that was cut, as far as it is known.
fn missing_bytes(rest: &[u8]) -> Option<usize> {
    if rest.len() < FRAME_HEADER_BYTES {
        return Some(FRAME_HEADER_BYTES - rest.len());
    }
    let length = FRAME_HEADER_BYTES + number(&rest[..3]) as usize;
    Some(length - rest.len()).filter(|missing| *missing > 0)
}

/// Appends a frame.
pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A field whose name is in the static table, not to be indexed.
fn literal(block: &mut Vec<u8>, name: u8, value: &str) {
    block.push(name);
    string(block, value);
}

fn string(block: &mut Vec<u8>, value: &str) {
    // Shorter than 127 bytes, all of them.
    block.push(value.len() as u8);
    block.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let mut bytes = Vec::new();
        frame(&mut bytes, SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
        frame(&mut bytes, DATA, 0, 1, b"hello");
        frame(&mut bytes, WINDOW_UPDATE, 0, 1, &5_u32.to_be_bytes());
        frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 1, b"x");
        for size in 1..=bytes.len() {
            let mut connection = Connection::default();
            let (mut seen, mut windows) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(size) {
                connection.read(
                    piece,
                    |event| seen.push(format!("{event:?}")),
                    |stream, more| windows.push((stream, more)),
                );
            }
            assert_eq!(seen, ["Data(1, [104, 101, 108, 108, 111])", "Ended(1)"], "{size}");
            assert_eq!((windows, connection.stream_window), (vec![(1, 5)], 65_536));
        }
    }
}
