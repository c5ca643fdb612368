//! A TCP proxy that makes the way to a server long, uneven, narrow, or all of these.
//!
//! The delay is one way, and applies to each direction: with 80 ms a round trip takes 160 ms longer. Bytes keep their order, as
//! TCP's do. What is under way is bounded: past the limit the proxy stops reading, so that both ends feel it as they would
//! feel a full network.

mod shaper;

pub use shaper::{Shape, Shaper};

use bytes::{Bytes, BytesMut};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks under way in one direction, however small they are.
const CHUNKS_MAX: usize = 4096;

/// A proxy's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// What each direction is like.
    pub shape: Shape,
    /// The most bytes under way in one direction of one connection.
    pub buffer_bytes_max: usize,
    /// Where the jitter's random numbers start.
    pub seed: u64,
}

/// Forwards every connection to `to`, until `stop` is cancelled.
pub async fn run(
    listener: TcpListener,
    to: String,
    config: Config,
    stop: CancellationToken,
) -> io::Result<()> {
    let config = Arc::new(config);
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                // Out of descriptors, or a client that was gone before it came in: the next one may do better.
                let Ok((near, _)) = accepted else { continue };
                number += 1;
                connections.spawn(connect(near, to.clone(), Arc::clone(&config), number));
            }
        }
    }
}

/// Where a listener really listens; for port 0.
pub fn address(listener: &TcpListener) -> io::Result<SocketAddr> {
    listener.local_addr()
}

async fn connect(near: TcpStream, to: String, config: Arc<Config>, number: u64) {
    let Ok(far) = TcpStream::connect(&to).await else {
        return;
    };
    if near.set_nodelay(true).is_ok() && far.set_nodelay(true).is_ok() {
        // A broken side ends the other one; there is nobody to tell.
        let _ = forward(near, far, &config, number).await;
    }
}

/// Forwards both directions until both have ended, or one broke.
pub async fn forward(
    near: impl AsyncRead + AsyncWrite,
    far: impl AsyncRead + AsyncWrite,
    config: &Config,
    number: u64,
) -> io::Result<()> {
    let (near_read, near_write) = split(near);
    let (far_read, far_write) = split(far);
    let now = Instant::now().into_std();
    let seed = config.seed.wrapping_add(2 * number);
    let up = Shaper::new(config.shape.clone(), seed, now);
    let down = Shaper::new(config.shape.clone(), seed + 1, now);
    tokio::try_join!(
        one_way(near_read, far_write, up, config.buffer_bytes_max),
        one_way(far_read, near_write, down, config.buffer_bytes_max),
    )?;
    Ok(())
}

struct Chunk {
    bytes: Bytes,
    release_at: Instant,
    /// Its share of the buffer; free again when it is written.
    _room: OwnedSemaphorePermit,
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut shaper: Shaper,
    buffer_bytes_max: usize,
) -> io::Result<()> {
    let buffer_bytes_max = buffer_bytes_max.max(CHUNK_BYTES);
    let room = Arc::new(Semaphore::new(buffer_bytes_max));
    let (sender, mut receiver) = mpsc::channel::<Chunk>(CHUNKS_MAX);
    let reading = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK_BYTES);
            let mut limited = (&mut from).take(CHUNK_BYTES as u64);
            let length = limited.read_buf(&mut buffer).await?;
            if length == 0 {
                return io::Result::Ok(());
            }
            let permits = u32::try_from(length).map_err(io::Error::other)?;
            let permit = Arc::clone(&room).acquire_many_owned(permits).await;
            let room = permit.map_err(io::Error::other)?;
            let now = Instant::now().into_std();
            let release_at = Instant::from_std(shaper.release_at(length, now));
            let chunk = Chunk { bytes: buffer.split().freeze(), release_at, _room: room };
            if sender.send(chunk).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some(chunk) = receiver.recv().await {
            sleep_until(chunk.release_at).await;
            to.write_all(&chunk.bytes).await?;
            to.flush().await?;
        }
        // The end travels as slowly as everything before it.
        to.shutdown().await
    };
    tokio::try_join!(reading, writing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    // Goal: bytes arrive complete, in order and late, and a reader that does not read stops the writer. Method: pipes in
    // memory under paused time.
    use super::*;
    use std::time::Duration;
    use tokio::io::duplex;
    use tokio::time::timeout;

    fn config(shape: Shape) -> Config {
        Config { shape, buffer_bytes_max: 64 * 1024, seed: 1 }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_complete_in_order_and_late() {
        let (mut client, near) = duplex(1 << 16);
        let (far, mut server) = duplex(1 << 16);
        let delay = Duration::from_millis(80);
        let jitter = Duration::from_millis(20);
        let config = config(Shape { delay, jitter, ..Shape::default() });
        let started = Instant::now();
        let talk = async {
            for n in 0..100_u8 {
                client.write_all(&[n; 7]).await.expect("the proxy reads");
            }
            client.shutdown().await.expect("the proxy reads");
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.expect("the proxy writes");
            assert!(started.elapsed() >= Duration::from_millis(60));
            let sent: Vec<u8> = (0..100).flat_map(|n| [n; 7]).collect();
            assert_eq!(received, sent);
            server.shutdown().await.expect("the proxy reads");
        };
        let (result, ()) = tokio::join!(forward(near, far, &config, 1), talk);
        result.expect("both sides ended properly");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_stops_the_writer() {
        let (mut client, near) = duplex(1024);
        let (far, _server) = duplex(1024);
        let config = config(Shape::default());
        let mut written = 0;
        let flood = async {
            while timeout(Duration::from_secs(5), client.write_all(&[0; 1024])).await.is_ok() {
                written += 1024;
            }
        };
        tokio::select! {
            _ = forward(near, far, &config, 1) => unreachable!("nobody ended it"),
            () = flood => {}
        }
        assert!(written <= config.buffer_bytes_max + 2 * CHUNK_BYTES + 4096, "{written}");
    }
}
