//! A collector of traces behind TLS: spans get there if it is trusted, and otherwise are counted as failed.

mod support;

use bytes::Bytes;
use clap::Parser as _;
use fray_server::config::Config;
use fray_server::telemetry::Metrics;
use fray_server::telemetry::traces::export::Counts;
use fray_server::tls::{Acceptor, Certificate};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry::trace::{Span as _, Tracer as _};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use support::certificates::{Authority, Folder};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Ends a hang; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);
/// An empty message, as gRPC frames it.
const EMPTY: &[u8] = &[0; 5];

/// Takes whatever is sent to it, and says to which path.
async fn collects(
    listener: TcpListener,
    acceptor: Arc<Acceptor>,
    paths: tokio::sync::mpsc::Sender<String>,
) {
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        let Ok(stream) = acceptor.accept(stream).await else { continue };
        let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
            let paths = paths.clone();
            async move {
                let path = request.uri().path().to_owned();
                request.into_body().collect().await.expect("a whole request");
                paths.send(path).await.expect("the test listens");
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                let frames = [Frame::data(Bytes::from_static(EMPTY)), Frame::trailers(trailers)];
                let body = frames.map(Ok::<_, Infallible>);
                let body = StreamBody::new(futures_util::stream::iter(body));
                let response = Response::builder().header("content-type", "application/grpc");
                Ok::<_, Infallible>(response.body(body).expect("a response"))
            }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_tls_is_verified_by_the_authority_that_is_named() {
    let folder = Folder::new();
    let authority = Authority::new("an authority");
    let [chain, key] = authority.signs(&["localhost"]).write(&folder, "collector");
    let right = folder.write("right.pem", &authority.pem());
    let wrong = folder.write("wrong.pem", &Authority::new("another").pem());
    let metrics = Arc::new(Metrics::default());
    let (acceptor, _) =
        Acceptor::open(&Certificate { chain, key }, None, &metrics).expect("a collector");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let (paths, mut asked) = tokio::sync::mpsc::channel(16);
    let mut serving = JoinSet::new();
    serving.spawn(collects(listener, acceptor, paths));

    let sends = async |authority: &std::path::Path| {
        let authority = authority.display().to_string();
        let flags = ["fray-server", "--otlp-endpoint", &url, "--otlp-certificate", &authority];
        let config = Config::parse_from(flags);
        let counts = Counts::default();
        let complain = |what: &str| panic!("{what}");
        let traces = config.traces.start("fray-server", "a".into(), None, &counts, complain);
        traces.tracer().expect("it traces").start("a span").end();
        let flushing = tokio::task::spawn_blocking(move || traces.shut_down(PATIENCE));
        tokio::time::timeout(PATIENCE, flushing).await.expect("in time").expect("no panic");
        (counts.exported.get(), counts.failed.get())
    };
    assert_eq!(sends(&right).await, (1, 0));
    let path = asked.recv().await.expect("it was asked");
    assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_eq!(sends(&wrong).await, (0, 1), "counted, and nothing worse");
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_means_no_traces_and_is_said() {
    let folder = Folder::new();
    let nowhere = folder.path("nowhere").display().to_string();
    let start = |flags: &[&str]| {
        let config = Config::parse_from(["fray-server"].iter().chain(flags));
        let mut said = String::new();
        let counts = Counts::default();
        let complain = |what: &str| said.push_str(what);
        let traces = config.traces.start("fray-server", "a".into(), None, &counts, complain);
        (traces.is_on(), said)
    };
    let flags = ["--otlp-endpoint", "https://localhost:1", "--otlp-certificate", &nowhere];
    let (is_on, said) = start(&flags);
    assert!(!is_on && said.contains("nowhere") && said.contains("nothing is traced"), "{said}");
    // Without TLS nobody asks for it.
    let flags = ["--otlp-endpoint", "http://localhost:1", "--otlp-certificate", &nowhere];
    assert_eq!(start(&flags), (true, String::new()));
}
