//! The edge in the traces of those who call, seen in the real Jaeger.

use crate::envoy::{Edge, values};
use crate::http::Client;
use crate::jaeger_support::{Jaeger, Span};
use crate::tickets::Issuer;
use crate::upstream::Upstream;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traced(server: &Upstream, jaeger: &Jaeger, percent: u32, trusts: bool) -> Value {
    let mut values = values(&[server.address], &Issuer::jwks(&[&Issuer::new("one")]));
    let collector = jaeger.endpoint().replace("http://", "");
    values["edge"]["tracing"] =
        json!({ "collector": collector, "samplingPercent": percent, "trustClients": trusts });
    values
}

/// The context that the server was sent.
async fn sent(client: &mut Client, sampled: &str) -> (String, String, String) {
    let parent = format!("00-{TRACE}-1111111111111111-{sampled}");
    let reply = client.call("/fray.v1.Lobby/Join", &[("traceparent", &parent)]).await;
    let echo = reply.echo();
    let context = echo["headers"]["traceparent"].as_str().expect("a context").to_owned();
    let parts: Vec<&str> = context.split('-').collect();
    (parts[1].into(), parts[2].into(), parts[3].into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_believed_finds_the_edge_in_its_trace() {
    let Some(jaeger) = Jaeger::start().await else { return };
    let server = Upstream::start("v1").await;
    let Some(edge) = Edge::start(&traced(&server, &jaeger, 0, true)).await else { return };
    edge.healthy("lobby-v1", 1).await;
    let mut client = Client::connect(edge.address).await;
    assert_eq!(sent(&mut client, "00").await.2, "00", "who wants no trace gets none");
    let (trace, parent, sampled) = sent(&mut client, "01").await;
    assert_eq!((trace.as_str(), sampled.as_str()), (TRACE, "01"));
    let spans = jaeger.trace(TRACE, |spans| spans.len() >= 2).await;
    assert!(spans.iter().all(|span: &Span| span.service == "fray-edge"), "{spans:?}");
    // The client's span is not here, so whoever has no parent in the trace is its child.
    let entry =
        spans.iter().find(|span| spans.iter().all(|other| span.parent.as_ref() != Some(&other.id)));
    let exit = spans.iter().find(|span| span.id == parent).expect("the server's parent");
    assert_eq!(exit.parent.as_ref(), Some(&entry.expect("the first").id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_believed_forces_no_trace() {
    let Some(jaeger) = Jaeger::start().await else { return };
    let server = Upstream::start("v1").await;
    for (percent, sampled) in [(0, "00"), (100, "01")] {
        let Some(edge) = Edge::start(&traced(&server, &jaeger, percent, false)).await else {
            return;
        };
        edge.healthy("lobby-v1", 1).await;
        let mut client = Client::connect(edge.address).await;
        for claimed in ["00", "01"] {
            let (trace, _, decided) = sent(&mut client, claimed).await;
            assert_ne!(trace, TRACE);
            assert_eq!(decided, sampled, "at {percent} %");
        }
    }
}
