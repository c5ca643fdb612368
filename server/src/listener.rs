//! Accepts connections and serves a router on them: HTTP/1.1 and HTTP/2, with TLS or without, upgrades to WebSocket.
//!
//! tonic's own server cannot upgrade, so this is hyper's accept loop, with a limit on everything that a peer can make large.

use crate::telemetry::spawn_named;
use crate::tls::Acceptor;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::gauge::Gauge;
use std::io::Cursor;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a peer may send before it is read, per stream: moves are small. (What Play reads ahead has a bound of its own, in
/// `rpc/requests.rs`.) A connection takes as much for each of its streams,
/// so that those whose reader stalls cannot use up what the others need.
const STREAM_WINDOW_BYTES: u32 = 16 * 1024;
/// How much larger a connection's window is than those of its streams together, which are what bounds it. h2 gives small
/// frames that wait a budget of half the connection's window, and ends a connection that uses it up.
const SMALL_FRAMES_FACTOR: u32 = 8;
/// What may wait in memory to be sent, per stream.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const HTTP1_BUFFER_BYTES_MAX: usize = 32 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that does not answer pings is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// What an HTTP/2 connection begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a connection may take to finish once the server ends; whoever takes no bytes is cut off then.
const LINGER: Duration = Duration::from_secs(2);
/// After an accept that failed (no more file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {0}: {1}")]
pub struct Error(SocketAddr, std::io::Error);

/// Limits that are configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    pub(crate) connections_max: usize,
    pub(crate) streams_per_connection_max: u32,
}

/// A bound socket, before it is known what is served on it.
pub(crate) struct Bound {
    socket: TcpListener,
    address: SocketAddr,
}

impl Bound {
    pub(crate) async fn to(address: SocketAddr) -> Result<Self, Error> {
        let failed = |error| Error(address, error);
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A bound socket and what is served on it.
pub(crate) struct Listener {
    bound: Bound,
    router: Router,
    tuning: Tuning,
    /// `None`: cleartext.
    tls: Option<Arc<Acceptor>>,
    /// How many connections are open.
    open: Gauge,
}

impl Listener {
    pub(crate) fn new(
        bound: Bound,
        router: Router,
        tuning: Tuning,
        tls: Option<Arc<Acceptor>>,
        open: Gauge,
    ) -> Self {
        Self { bound, router, tuning, tls, open }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.bound.address
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves until `stop`, then lets every connection finish what it has begun.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let builder = Arc::new(http(self.tuning));
        let permits = Arc::new(Semaphore::new(self.tuning.connections_max));
        let connections = TaskTracker::new();
        loop {
            // The permit comes before the connection: what cannot be served waits in the kernel's backlog.
            let accepted = stop.run_until_cancelled(accept(&self.bound.socket, &permits)).await;
            let Some((stream, permit)) = accepted else {
                break;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY cannot be set");
            }
            let router = self.router.clone();
            let (builder, stop, tls) = (Arc::clone(&builder), stop.clone(), self.tls.clone());
            let permit = Permit::counted(permit, &self.open, stream.peer_addr().ok());
            let permit = Some(Arc::new(permit));
            spawn_named(&connections, "connection", async move {
                if let Some(tls) = tls {
                    secured(&builder, &tls, stream, router, permit, stop).await;
                } else if stop.run_until_cancelled(speaks(&stream)).await == Some(true) {
                    connection(&builder, stream, router, permit, stop).await;
                }
            });
        }
        connections.close();
        connections.wait().await;
    }
}

async fn accept(
    socket: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let permit = Arc::clone(permits).acquire_owned().await;
        match (socket.accept().await, permit) {
            (Ok((stream, _)), Ok(permit)) => return (stream, permit),
            (Err(error), _) => tracing::warn!(%error, "a connection cannot be accepted"),
            (_, Err(_)) => tracing::error!("the limit of connections is gone"),
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

pub(crate) fn http(tuning: Tuning) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(connection_window_bytes(tuning.streams_per_connection_max))
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_concurrent_streams(tuning.streams_per_connection_max)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

fn connection_window_bytes(streams: u32) -> u32 {
    // HTTP/2 has no larger ones.
    STREAM_WINDOW_BYTES
        .saturating_mul(SMALL_FRAMES_FACTOR)
        .saturating_mul(streams)
        .min(i32::MAX as u32)
}

/// What allows a connection to be there, and counts it. It goes with every request, so that it outlives an upgrade; and with it
/// goes the peer's address, as axum's `ConnectInfo`.
#[derive(Debug)]
pub struct Permit {
    _held: OwnedSemaphorePermit,
    open: Gauge,
    peer: Option<SocketAddr>,
}

impl Permit {
    fn counted(permit: OwnedSemaphorePermit, open: &Gauge, peer: Option<SocketAddr>) -> Self {
        open.inc();
        Self { _held: permit, open: open.clone(), peer }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Whether the peer says in time which HTTP it speaks; afterwards HTTP's own timeouts hold.
async fn speaks(stream: &TcpStream) -> bool {
    const LOOK_AGAIN: Duration = Duration::from_millis(5);
    let mut begin = [0; HTTP2_PREFACE.len()];
    let spoken = async {
        loop {
            match stream.peek(&mut begin).await {
                Ok(0) | Err(_) => return false,
                Ok(n) if n < begin.len() && HTTP2_PREFACE.starts_with(&begin[..n]) => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Ok(_) => return true,
            }
        }
    };
    tokio::time::timeout(HEADER_TIMEOUT, spoken).await.unwrap_or(false)
}

/// Serves one connection with TLS: the handshake, then as any other.
pub(crate) async fn secured(
    builder: &auto::Builder<TokioExecutor>,
    tls: &Acceptor,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    permit: Option<Arc<Permit>>,
    stop: CancellationToken,
) {
    // Whatever failed was counted there.
    let Some(Ok(stream)) = stop.run_until_cancelled(tls.accept(stream)).await else { return };
    let (mut read, write) = tokio::io::split(stream);
    let Some(Some(begin)) = stop.run_until_cancelled(begins(&mut read)).await else { return };
    let stream = tokio::io::join(Cursor::new(begin).chain(read), write);
    connection(builder, stream, router, permit, stop).await;
}

/// What the peer says first, if it says in time which HTTP it speaks. Within TLS there is no looking ahead.
async fn begins(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut begin = Vec::with_capacity(HTTP2_PREFACE.len());
    let spoken = async {
        while begin.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&begin) {
            let wanted = (HTTP2_PREFACE.len() - begin.len()) as u64;
            match (&mut *stream).take(wanted).read_buf(&mut begin).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    };
    let in_time = tokio::time::timeout(HEADER_TIMEOUT, spoken).await.unwrap_or(false);
    in_time.then_some(begin)
}

/// Serves one connection until it ends, or until what it had begun at `stop` is finished, or has had its time.
pub(crate) async fn connection(
    builder: &auto::Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    permit: Option<Arc<Permit>>,
    stop: CancellationToken,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some(permit) = &permit {
            if let Some(peer) = permit.peer {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            request.extensions_mut().insert(Arc::clone(permit));
        }
        tower::Service::call(&mut router.clone(), request)
    });
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(LINGER, serving).await {
                Ok(served) => served,
                Err(_) => return tracing::debug!("a connection did not finish in time"),
            }
        }
    };
    if let Err(error) = served {
        // The peer's doing, nearly always: it must not be able to fill the log.
        tracing::debug!(%error, "a connection broke");
    }
}
