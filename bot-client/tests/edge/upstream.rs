//! A server that believes every ticket and says what it was sent: so tests see what the edge does, and nothing else.
//!
//! Whatever the path, it answers with one message: a JSON object with its address, its version, the path and the request's
//! headers. Calls end then; streams stay open until the client ends them, silent, or saying `tick` every `x-speak-every-ms`.

use crate::http::{Body, frame, full, grpc_trailers};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Requests to these end with their first answer.
const CALLS: [&str; 6] = [
    "/fray.v1.Lobby/Join",
    "/fray.v1.Lobby/ListRooms",
    "/fray.v1.Replays/List",
    "/fray.v1.Replays/Timeline",
    "/",
    "/replay",
];

/// Ends, with all its connections, when it is dropped.
pub struct Upstream {
    pub address: SocketAddr,
    pub does: Arc<Does>,
    serving: JoinSet<()>,
}

/// What it does; tests change it while it runs.
#[derive(Default)]
pub struct Does {
    version: String,
    address: String,
    /// As health says it.
    pub takes_rooms: AtomicBool,
    pub serves_rooms: AtomicBool,
    /// Answers everything with UNAVAILABLE.
    pub is_unavailable: AtomicBool,
    /// Answers nothing.
    pub hangs: AtomicBool,
    /// What is served as its keys.
    pub jwks: Mutex<String>,
    seen: Mutex<Vec<Value>>,
    sockets: Mutex<JoinSet<()>>,
}

impl Does {
    /// What it was asked, but for health and keys.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Upstream {
    pub async fn start(version: &str) -> Self {
        Self::serve(version, None).await
    }

    pub async fn serve(version: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let does = Arc::new(Does {
            version: version.into(),
            address: address.to_string(),
            takes_rooms: true.into(),
            serves_rooms: true.into(),
            ..Does::default()
        });
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&does), tls));
        Self { address, does, serving }
    }

    /// Ends, and does not listen any more when this returns.
    pub async fn stop(mut self) {
        self.serving.shutdown().await;
    }
}

async fn accept(listener: TcpListener, does: Arc<Does>, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).expect("a socket");
        let (does, tls) = (Arc::clone(&does), tls.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&does), request));
            let builder = auto::Builder::new(TokioExecutor::new());
            // How a connection ends is the other side's matter.
            if let Some(tls) = tls {
                let Ok(socket) = tls.accept(socket).await else { return };
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(socket), service).await;
            } else {
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(socket), service).await;
            }
        });
    }
}

async fn answer(does: Arc<Does>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if path == "/grpc.health.v1.Health/Check" {
        return Ok(health(&does, request).await);
    }
    if path == "/.well-known/jwks.json" {
        return Ok(Response::new(full(does.jwks.lock().expect("no panic").clone())));
    }
    let headers = request.headers().iter();
    let headers: Value = headers
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let echo = json!({
        "server": does.address, "version": does.version, "path": path,
        "query": request.uri().query(), "headers": headers,
    });
    does.seen.lock().expect("no panic").push(echo.clone());
    if does.hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    if path == "/ws" {
        return Ok(upgrade(&does, request, echo));
    }
    let is_grpc = path.starts_with("/fray.v1.");
    if does.is_unavailable.load(Ordering::Relaxed) {
        let refused = Response::builder().header("content-type", "application/grpc");
        return Ok(refused.header("grpc-status", "14").body(full("")).expect("a response"));
    }
    let speak_every = headers["x-speak-every-ms"].as_str().and_then(|ms| ms.parse().ok());
    let first = if is_grpc { frame(echo.to_string()) } else { event(&echo.to_string()) };
    let kind = if is_grpc { "application/grpc" } else { "text/event-stream" };
    let response = Response::builder().status(StatusCode::OK).header("content-type", kind);
    let is_call = CALLS.contains(&path.as_str());
    let more = if is_call { stream::empty().boxed() } else { ticks(request, is_grpc, speak_every) };
    let last = is_grpc.then(|| Frame::trailers(grpc_trailers("0")));
    let messages = stream::iter([Frame::data(first)]).chain(more).chain(stream::iter(last));
    let body = StreamBody::new(messages.map(Ok::<_, Infallible>)).boxed_unsync();
    Ok(response.body(body).expect("a response"))
}

fn event(text: &str) -> Bytes {
    format!("data: {text}\n\n").into()
}

/// What a stream says until the client ends it. A request that is over when it comes (all but Play's) does not end anything.
fn ticks(
    request: Request<Incoming>,
    is_grpc: bool,
    speak_every: Option<u64>,
) -> stream::BoxStream<'static, Frame<Bytes>> {
    let is_two_way =
        request.uri().path().ends_with("/Play") || request.uri().path().ends_with("/Verify");
    let over = async move {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        if !is_two_way {
            std::future::pending::<()>().await;
        }
    };
    let tick = if is_grpc { frame("tick") } else { event("tick") };
    let ticks = stream::unfold((), move |()| {
        let tick = tick.clone();
        async move {
            match speak_every {
                Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                None => std::future::pending().await,
            }
            Some((Frame::data(tick), ()))
        }
    });
    ticks.take_until(over).boxed()
}

async fn health(does: &Does, request: Request<Incoming>) -> Response<Body> {
    let asked = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let asked = String::from_utf8_lossy(&asked.unwrap_or_default()).into_owned();
    let is_well = if asked.ends_with("fray.v1.Lobby") {
        does.takes_rooms.load(Ordering::Relaxed)
    } else {
        assert!(asked.ends_with("fray.v1.Play"), "nobody asks for {asked}");
        does.serves_rooms.load(Ordering::Relaxed)
    };
    // HealthCheckResponse { status: SERVING or NOT_SERVING }
    let status = Bytes::from(vec![0x08, if is_well { 1 } else { 2 }]);
    let frames = [Frame::data(frame(status)), Frame::trailers(grpc_trailers("0"))];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>))).boxed_unsync();
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body).expect("a response")
}

/// A WebSocket that says the same, and then gives back what it gets.
fn upgrade(does: &Does, mut request: Request<Incoming>, echo: Value) -> Response<Body> {
    let key = request.headers().get("sec-websocket-key").map(|key| key.as_bytes().to_owned());
    let Some(key) = key else {
        return Response::builder()
            .status(StatusCode::BAD_REQUEST)
            .body(full(""))
            .expect("a response");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    does.sockets.lock().expect("no panic").spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
        let _ = socket.send(Message::text(echo.to_string())).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-protocol", "fray.v1")
        .header("sec-websocket-accept", derive_accept_key(&key))
        .body(full(""))
        .expect("a response")
}
