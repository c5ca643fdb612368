//! The access log: begin and end of everything, and no secret.

use crate::envoy::{Edge, values};
use crate::http::{Client, End};
use crate::streams::websocket;
use crate::tickets::Issuer;
use crate::upstream::Upstream;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_logged_when_they_begin_meanwhile_and_when_they_end_without_their_tickets() {
    let (issuer, server) = (Issuer::new("one"), Upstream::start("v1").await);
    let mut values = values(&[server.address], &Issuer::jwks(&[&issuer]));
    values["edge"]["accessLog"] = json!({ "every": "0.2s" });
    let Some(edge) = Edge::start(&values).await else { return };
    edge.healthy("lobby-v1", 1).await;
    let ticket = issuer.ticket(server.address);
    let bearer = format!("Bearer {ticket}");
    let mut client = Client::connect(edge.address).await;
    // Before all others, so that it would be there when they are.
    client.ask("GET", "/healthz", &[]).await;
    let path = format!("/fray.v1.Play/Play?ticket={ticket}");
    let mut stream = client.open(&path, &[("authorization", &bearer)]).await;
    stream.echo().await;
    let is = |kind: &'static str, path: &'static str| {
        move |line: &Value| line["type"] == kind && line["path"] == path
    };
    edge.logged(is("DownstreamStart", "/fray.v1.Play/Play")).await;
    let meanwhile = edge.logged(is("DownstreamPeriodic", "/fray.v1.Play/Play")).await;
    assert_eq!(meanwhile["server"], server.address.to_string());
    assert_eq!(stream.finish().await, End::Status(Some(0)));
    let end = edge.logged(is("DownstreamEnd", "/fray.v1.Play/Play")).await;
    assert_eq!((&end["room"], &end["player"]), (&json!("r1"), &json!("p1")));
    assert_eq!((&end["client"], &end["status"]), (&json!("127.0.0.1"), &json!(200)));
    assert!(end["duration_ms"].is_number() && end["sent_bytes"].is_number(), "{end}");

    // Refused ones, and those of browsers, are no exception.
    let (head, _) = ticket.rsplit_once('.').expect("three parts");
    let refused = [("authorization", format!("Bearer {head}.AAAA"))];
    client.call("/fray.v1.Play/Watch", &[(refused[0].0, &refused[0].1)]).await;
    edge.logged(is("DownstreamEnd", "/fray.v1.Play/Watch")).await;
    drop(websocket(&edge, &ticket).await);
    edge.logged(is("DownstreamEnd", "/ws")).await;
    client.ask("GET", &format!("/?ticket={ticket}"), &[]).await;
    edge.logged(is("DownstreamEnd", "/")).await;

    let text = edge.log_text();
    for part in ticket.split('.') {
        assert!(!text.contains(part), "a part of the ticket: {text}");
    }
    assert!(!text.contains("healthz"), "those who probe would fill it");
    let said = std::fs::read_to_string(edge.folder.join("envoy.log")).expect("the log");
    assert!(!said.contains(&ticket));
}
