//! A client that sees everything: statuses, headers, trailers, and how a stream ends.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;

pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// Ends a hang; nothing is measured with it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What goes through it, or any socket.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A gRPC message.
pub fn frame(message: impl Into<Bytes>) -> Bytes {
    let message = message.into();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
    framed.extend(message);
    framed.into()
}

pub fn grpc_trailers(status: &str) -> HeaderMap {
    HeaderMap::from_iter([(
        "grpc-status".parse().expect("a name"),
        status.parse().expect("a value"),
    )])
}

/// A connection on which nothing waits for more.
pub async fn socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).await.expect("a connection");
    socket.set_nodelay(true).expect("a socket");
    socket
}

/// A TLS client that trusts these certificates, and the certificate that the server showed.
pub async fn tls(
    address: SocketAddr,
    trusted: &[CertificateDer<'static>],
    alpn: &str,
) -> (tokio_rustls::client::TlsStream<TcpStream>, CertificateDer<'static>) {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.into()];
    let socket = socket(address).await;
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    let tls = tls.expect("TLS with a certificate that is trusted");
    let (_, session) = tls.get_ref();
    assert_eq!(session.alpn_protocol(), Some(alpn.as_bytes()));
    let shown = session.peer_certificates().expect("a certificate")[0].clone().into_owned();
    (tls, shown)
}

/// One connection.
pub struct Client {
    sender: Sender,
    authority: String,
    _driver: JoinSet<()>,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Client {
    /// HTTP/2 without TLS.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over_http2(socket(address).await, address).await
    }

    pub async fn over_http2(socket: impl Socket + 'static, address: SocketAddr) -> Self {
        let mut driver = JoinSet::new();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await;
        let (sender, connection) = handshake.expect("HTTP/2");
        driver.spawn(async move { drop(connection.await) });
        Self { sender: Sender::Http2(sender), authority: address.to_string(), _driver: driver }
    }

    pub async fn over_http1(socket: impl Socket + 'static, address: SocketAddr) -> Self {
        let mut driver = JoinSet::new();
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.expect("HTTP/1.1");
        driver.spawn(async move { drop(connection.await) });
        Self { sender: Sender::Http1(sender), authority: address.to_string(), _driver: driver }
    }

    /// Sends a request; the answer's body is still to come.
    pub async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let answer = async {
            match &mut self.sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        timeout(ANSWER_TIMEOUT, answer).await.expect("an answer in time")
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Request<Body> {
        let uri = match self.sender {
            Sender::Http1(_) => path.to_owned(),
            Sender::Http2(_) => format!("http://{}{path}", self.authority),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if matches!(self.sender, Sender::Http1(_)) {
            request = request.header("host", &self.authority);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body).expect("a request")
    }

    /// A request with an answer that ends.
    pub async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let request = self.request(method, path, headers, full(""));
        Reply::of(self.send(request).await.expect("an answer")).await
    }

    /// The same with gRPC's header and an empty message.
    pub async fn call(&mut self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let headers =
            [headers, &[("content-type", "application/grpc"), ("te", "trailers")]].concat();
        let request = self.request("POST", path, &headers, full(frame("")));
        Reply::of(self.send(request).await.expect("an answer")).await
    }

    /// Opens a stream, which stays open on this side.
    pub async fn open(&mut self, path: &str, headers: &[(&str, &str)]) -> Open {
        let (sender, receiver) = mpsc::channel(16);
        let is_grpc = path.starts_with("/fray.v1.");
        let kind = if is_grpc { "application/grpc" } else { "text/plain" };
        let headers = [headers, &[("content-type", kind)]].concat();
        let body = StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync();
        let (method, body) = if is_grpc { ("POST", body) } else { ("GET", full("")) };
        let request = self.request(method, path, &headers, body);
        let response = self.send(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let rest = BytesMut::new();
        Open { headers: head.headers, requests: Some(sender), body, rest, is_grpc, trailers: None }
    }
}

/// An answer that is complete.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Reply {
    pub async fn of(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = timeout(ANSWER_TIMEOUT, body.collect()).await;
        let body = body.expect("an end in time").expect("a whole answer");
        let trailers = body.trailers().cloned().unwrap_or_default();
        Self { status: head.status.into(), headers: head.headers, body: body.to_bytes(), trailers }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The gRPC status: alone, or after messages.
    pub fn grpc(&self) -> Option<i32> {
        grpc_status(&self.headers).or_else(|| grpc_status(&self.trailers))
    }

    pub fn grpc_message(&self) -> &str {
        self.header("grpc-message").unwrap_or_default()
    }

    /// What the upstream says that it was sent.
    pub fn echo(&self) -> Value {
        serde_json::from_slice(self.body.get(5..).unwrap_or_default())
            .unwrap_or_else(|_| panic!("no echo: {self:?}"))
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A stream that is open.
pub struct Open {
    pub headers: HeaderMap,
    requests: Option<mpsc::Sender<Result<Frame<Bytes>, Infallible>>>,
    body: Incoming,
    rest: BytesMut,
    is_grpc: bool,
    trailers: Option<HeaderMap>,
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// In order, with this gRPC status, if it is gRPC's.
    Status(Option<i32>),
    /// Without trailers, or in the middle of something.
    Cut,
}

impl Open {
    /// Bytes as they come, for what is neither gRPC nor an event.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        let frame = timeout(ANSWER_TIMEOUT, self.body.frame()).await.expect("in time");
        frame?.ok()?.into_data().ok()
    }

    /// The next message, or the end.
    pub async fn next(&mut self) -> Result<Bytes, End> {
        loop {
            if let Some(message) = self.take() {
                return Ok(message);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest.extend(data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                None if self.is_grpc && self.trailers.is_none() => {
                    let status = grpc_status(&self.headers);
                    return Err(status.map_or(End::Cut, |status| End::Status(Some(status))));
                }
                None => return Err(End::Status(self.trailers.as_ref().and_then(grpc_status))),
                Some(Err(_)) => return Err(End::Cut),
            }
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        if self.is_grpc {
            let length = self.rest.get(1..5)?.try_into().expect("four bytes");
            let length = u32::from_be_bytes(length) as usize;
            (self.rest.len() >= 5 + length).then(|| {
                self.rest.advance(5);
                self.rest.split_to(length).freeze()
            })
        } else {
            let end = self.rest.windows(2).position(|two| two == b"\n\n")?;
            let event = self.rest.split_to(end + 2).freeze();
            let begin = if event.starts_with(b"data: ") { b"data: ".len() } else { 0 };
            Some(event.slice(begin..end))
        }
    }

    /// What the upstream says that it was sent: its first message.
    pub async fn echo(&mut self) -> Value {
        let first = timeout(ANSWER_TIMEOUT, self.next()).await.expect("in time");
        serde_json::from_slice(&first.expect("a message")).expect("an echo")
    }

    /// Says something upwards.
    pub async fn say(&mut self) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(Ok(Frame::data(frame("move")))).await;
        }
    }

    /// Ends this side, and waits for the other.
    pub async fn finish(mut self) -> End {
        self.requests = None;
        timeout(ANSWER_TIMEOUT, self.end()).await.expect("an end in time")
    }

    /// Waits for the end.
    pub async fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }
}
