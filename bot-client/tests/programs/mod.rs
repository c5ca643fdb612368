//! Real programs that tests start, and what is asked of them over HTTP.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses a part of it"
)]

#[path = "../../../server/tests/support/program.rs"]
mod installed;

pub use installed::{program, signal};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// `GET path`: the status and the body.
pub async fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(ANSWER_TIMEOUT, answer).await??;
    let cut = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let cut = cut.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&answer[..cut]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = &answer[cut + 4..];
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { whole(body)? } else { body.to_vec() };
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body))
}

/// A body that came in chunks: each is its length in hex, a line's end, so many bytes, a line's end.
fn whole(mut chunks: &[u8]) -> std::io::Result<Vec<u8>> {
    let broken = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|two| two == b"\r\n").ok_or_else(broken)?;
        let length = std::str::from_utf8(&chunks[..line]).map_err(|_| broken())?;
        let length = usize::from_str_radix(length.trim(), 16).map_err(|_| broken())?;
        if length == 0 {
            return Ok(body);
        }
        let begin = line + 2;
        body.extend_from_slice(chunks.get(begin..begin + length).ok_or_else(broken)?);
        chunks = chunks.get(begin + length + 2..).ok_or_else(broken)?;
    }
}
