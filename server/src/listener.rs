//! Accepts connections and serves a router on them: HTTP/1.1 and HTTP/2, with TLS or without, upgrades to WebSocket.
//!
//! tonic's own server cannot upgrade, so this is an accept loop of our own, with a limit on everything that a peer can make large. HTTP/1.1 is hyper's,
//! HTTP/2 is `http2/`.

mod patient;

use crate::addresses::{Addresses, Place};
use crate::http2::{self, LINGER};
use crate::intake::Intake;
use crate::telemetry::metrics::connections::{Connections, Ended};
use crate::telemetry::spawn_named;
use crate::tls::Acceptor;
use axum::Router;
use axum::extract::ConnectInfo;
use http::Extensions;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use patient::Patient;
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

const HTTP1_BUFFER_BYTES_MAX: usize = 32 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// What an HTTP/2 connection begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What the kernel takes of a player's updates that it cannot send yet. It would take megabytes, and so hide for minutes that nobody
/// reads: whoever then reads again gets the past.
const UNSENT_BYTES_MAX: u32 = 16 * 1024;
/// The same of a connection that hundreds share.
const PROXY_UNSENT_BYTES_MAX: u32 = 1024 * 1024;
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
    /// Of one address; 0: as many as it likes.
    pub(crate) connections_per_address_max: u32,
    pub(crate) streams_per_connection_max: u32,
    /// Who is at the other end of connections.
    pub(crate) peer: http2::Peer,
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
    counts: Connections,
}

impl Listener {
    pub(crate) fn new(
        bound: Bound,
        router: Router,
        tuning: Tuning,
        tls: Option<Arc<Acceptor>>,
        counts: Connections,
    ) -> Self {
        Self { bound, router, tuning, tls, counts }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.bound.address
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves until `stop`, then lets every connection finish what it has begun.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let server = Arc::new(server(self.tuning, self.counts.clone()));
        let permits = Arc::new(Semaphore::new(self.tuning.connections_max));
        let addresses = Addresses::new(self.tuning.connections_per_address_max);
        let connections = TaskTracker::new();
        loop {
            // The permit comes before the connection: what cannot be served waits in the kernel's backlog.
            let accepted = stop.run_until_cancelled(accept(&self.bound.socket, &permits)).await;
            let Some((stream, peer, permit)) = accepted else {
                break;
            };
            let Some(place) = addresses.place(Some(peer.ip())) else {
                self.counts.refused_by_address();
                continue;
            };
            if let Err(error) = tune(&stream, self.tuning.peer) {
                tracing::debug!(%error, "a socket's options cannot be set");
            }
            let router = self.router.clone();
            let (server, stop, tls) = (Arc::clone(&server), stop.clone(), self.tls.clone());
            let permit = Permit::counted(Some((permit, place)), &self.counts, Some(peer));
            spawn_named(&connections, "connection", async move {
                if let Some(tls) = tls {
                    // In a box: those without TLS do not need the room for it.
                    Box::pin(secured(&server, &tls, stream, router, permit, stop)).await;
                } else {
                    let speaks = stop.run_until_cancelled(speaks(&stream)).await;
                    let ended = match speaks.unwrap_or(Err(Ended::Shutdown)) {
                        Ok(is_http2) => {
                            connection(&server, is_http2, stream, router, permit, stop).await
                        }
                        Err(ended) => ended,
                    };
                    server.counts.ended(ended);
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
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let permit = Arc::clone(permits).acquire_owned().await;
        match (socket.accept().await, permit) {
            (Ok((stream, peer)), Ok(permit)) => return (stream, peer, permit),
            (Err(error), _) => tracing::warn!(%error, "a connection cannot be accepted"),
            (_, Err(_)) => tracing::error!("the limit of connections is gone"),
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// What is written leaves at once, and the kernel keeps little that cannot leave: a player who reads slowly then gets what is new.
fn tune(stream: &TcpStream, peer: http2::Peer) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let unsent_bytes_max = match peer {
        http2::Peer::Client => UNSENT_BYTES_MAX,
        http2::Peer::Proxy => PROXY_UNSENT_BYTES_MAX,
    };
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(unsent_bytes_max)?;
    Ok(())
}

/// How both versions are spoken, and what is counted.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    one: http1::Builder,
    two: http2::Settings,
    peer: http2::Peer,
    counts: Connections,
}

pub(crate) fn server(tuning: Tuning, counts: Connections) -> Server {
    let mut one = http1::Builder::new();
    one.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX);
    let two = http2::Settings::new(tuning.streams_per_connection_max, tuning.peer);
    Server { one, two, peer: tuning.peer, counts }
}

/// What allows a connection to be there, and counts it. It goes with every request, so that it outlives an upgrade; and with it
/// goes the peer's address, as axum's `ConnectInfo`.
#[derive(Debug)]
pub struct Permit {
    _held: Option<(OwnedSemaphorePermit, Place)>,
    counts: Connections,
    peer: Option<SocketAddr>,
}

impl Permit {
    fn counted(
        held: Option<(OwnedSemaphorePermit, Place)>,
        counts: &Connections,
        peer: Option<SocketAddr>,
    ) -> Arc<Self> {
        counts.open.inc();
        Arc::new(Self { _held: held, counts: counts.clone(), peer })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counts.open.dec();
    }
}

/// Whether the peer speaks HTTP/2, if it says in time what it speaks; afterwards HTTP's own timeouts hold.
async fn speaks(stream: &TcpStream) -> Result<bool, Ended> {
    const LOOK_AGAIN: Duration = Duration::from_millis(5);
    let mut begin = [0; HTTP2_PREFACE.len()];
    let spoken = async {
        loop {
            match stream.peek(&mut begin).await {
                Ok(0) | Err(_) => return Err(Ended::Gone),
                Ok(n) if n < begin.len() && HTTP2_PREFACE.starts_with(&begin[..n]) => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Ok(_) => return Ok(begin == HTTP2_PREFACE),
            }
        }
    };
    tokio::time::timeout(HEADER_TIMEOUT, spoken).await.unwrap_or(Err(Ended::Silent))
}

/// Serves one connection with TLS: the handshake, then as any other.
pub(crate) async fn secured(
    server: &Server,
    tls: &Acceptor,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    permit: Arc<Permit>,
    stop: CancellationToken,
) {
    match stop.run_until_cancelled(tls.accept(stream)).await {
        Some(Ok(stream)) => unknown(server, stream, router, permit, stop).await,
        // Why is counted there.
        Some(Err(_)) => server.counts.ended(Ended::Tls),
        None => server.counts.ended(Ended::Shutdown),
    }
}

/// Serves one connection of which it is not known what it speaks, and that cannot be looked into ahead.
pub(crate) async fn unknown(
    server: &Server,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    permit: Arc<Permit>,
    stop: CancellationToken,
) {
    let (mut read, write) = tokio::io::split(stream);
    let begins = stop.run_until_cancelled(begins(&mut read)).await;
    let ended = match begins.unwrap_or(Err(Ended::Shutdown)) {
        Ok(begin) => {
            let is_http2 = begin == HTTP2_PREFACE;
            let stream = tokio::io::join(Cursor::new(begin).chain(read), write);
            connection(server, is_http2, stream, router, permit, stop).await
        }
        Err(ended) => ended,
    };
    server.counts.ended(ended);
}

/// A connection without a socket: see [`Parts::serve`](crate::app::Parts::serve).
pub(crate) fn without_address(server: &Server) -> Arc<Permit> {
    Permit::counted(None, &server.counts, None)
}

/// What the peer says first, if it says in time which HTTP it speaks. Within TLS there is no looking ahead.
async fn begins(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Ended> {
    let mut begin = Vec::with_capacity(HTTP2_PREFACE.len());
    let spoken = async {
        while begin.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&begin) {
            let wanted = (HTTP2_PREFACE.len() - begin.len()) as u64;
            match (&mut *stream).take(wanted).read_buf(&mut begin).await {
                Ok(0) | Err(_) => return Err(Ended::Gone),
                Ok(_) => {}
            }
        }
        Ok(())
    };
    let spoken = tokio::time::timeout(HEADER_TIMEOUT, spoken).await;
    spoken.unwrap_or(Err(Ended::Silent)).map(|()| begin)
}

/// Serves one connection until it ends, or until what it had begun at `stop` is finished, or has had its time.
async fn connection(
    server: &Server,
    is_http2: bool,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    permit: Arc<Permit>,
    stop: CancellationToken,
) -> Ended {
    let mut with = Extensions::new();
    if let Some(peer) = permit.peer {
        with.insert(ConnectInfo(peer));
    }
    with.insert(permit);
    if is_http2 {
        http2::serve(&server.two, stream, router, with, &server.counts, stop).await
    } else {
        // A proxy's connection is used by one client after the other.
        let intake = (server.peer == http2::Peer::Client).then(Intake::new);
        let (stream, failed) = Patient::new(stream, intake);
        let ended = Box::pin(http1(&server.one, stream, router, with, stop)).await;
        failed.get().copied().unwrap_or(ended)
    }
}

async fn http1(
    builder: &http1::Builder,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    with: Extensions,
    stop: CancellationToken,
) -> Ended {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().extend(with.clone());
        tower::Service::call(&mut router.clone(), request)
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut serving = pin!(serving);
    tokio::select! {
        served = serving.as_mut() => {
            return match served {
                Ok(()) => Ended::Closed,
                Err(error) => http1_ended_by(&error),
            };
        }
        () = stop.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    // Whoever does not finish in time is cut off.
    let _ = tokio::time::timeout(LINGER, serving).await;
    Ended::Shutdown
}

fn http1_ended_by(error: &hyper::Error) -> Ended {
    // The peer's doing, nearly always: it must not be able to fill the log.
    tracing::debug!(%error, "a connection broke");
    if error.is_timeout() {
        Ended::Slow
    } else if error.is_parse() {
        Ended::Garbage
    } else {
        Ended::Gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_keeps_little_that_a_player_does_not_take() {
        let bound = Bound::to(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let permits = Arc::new(Semaphore::new(1));
        let connecting = TcpStream::connect(bound.address());
        let (player, (stream, ..)) = tokio::join!(connecting, accept(&bound.socket, &permits));
        let player = player.expect("connected");
        tune(&stream, http2::Peer::Client).expect("options");
        // In pieces, as updates are: one large one would be taken whole.
        let mut taken_bytes = 0;
        while let Ok(bytes) = stream.try_write(&[7; 1024]) {
            taken_bytes += bytes;
        }
        let socket = socket2::SockRef::from(&player);
        let received_bytes_max = socket.recv_buffer_size().expect("an option");
        let most_bytes = received_bytes_max + 4 * UNSENT_BYTES_MAX as usize;
        assert!(taken_bytes < most_bytes, "{taken_bytes} of {most_bytes}");
    }
}
