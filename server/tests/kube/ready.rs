//! A whole server that waits for its edges.

use crate::cluster::{on_cluster, until};
use clap::Parser as _;
use fray_server::Server;
use fray_server::config::Config;
use serde_json::json;
use std::net::{IpAddr, UdpSocket};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

async fn ask(client: &mut HealthClient<Channel>, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.into() };
    client.check(request).await.expect("an answer").into_inner().status()
}

/// The address of this machine by which it is seen from elsewhere; nothing is sent for it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nobody has these addresses but in a private network: what counts is by which way they would be asked.
    let ways = ["192.0.2.1:9", "10.0.0.1:9"];
    let found = ways.iter().filter_map(|way| {
        socket.connect(way).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    found.into_iter().find(|address| !address.is_loopback())
}

#[test]
fn a_server_takes_rooms_once_every_edge_has_asked_for_its_health() {
    on_cluster(async |cluster| {
        let edge = format!("{}-edge", cluster.name);
        let Some(own) = own_address() else {
            return eprintln!("SKIPPED: this machine has no address that an endpoint may have");
        };
        // The one edge is this test.
        cluster.write_slice(&edge, json!([{"addresses": [own.to_string()]}])).await;
        let config = Config::parse_from([
            "fray-server",
            "--listen",
            "0.0.0.0:0",
            "--admin",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--kube",
            "--pod-name",
            &cluster.name,
            "--kube-edge-service",
            &edge,
            "--edge-wait",
            "1h",
        ]);
        let app = Server::builder().config(config).build().await.expect("a server");
        let address = format!("http://{own}:{}", app.listen_addr().port());
        let stop = CancellationToken::new();
        let (running, talk) = (app.run(stop.clone().cancelled_owned()), async {
            let channel = Channel::from_shared(address).expect("an address").connect().await;
            let client = HealthClient::new(channel.expect("it listens"));
            let ask = async |service: &str| ask(&mut client.clone(), service).await;
            // As a kubelet does: that is not an edge's.
            for _ in 0..20 {
                assert_eq!(ask("").await, ServingStatus::NotServing);
                assert_eq!(ask("fray.v1.Lobby").await, ServingStatus::NotServing);
            }
            assert_eq!(ask("live").await, ServingStatus::Serving);
            assert_eq!(ask("fray.v1.Play").await, ServingStatus::Serving);
            until("readiness", async || (ask("").await == ServingStatus::Serving).then_some(()))
                .await;
            assert_eq!(ask("fray.v1.Lobby").await, ServingStatus::Serving);
            stop.cancel();
        });
        let (ended, ()) = tokio::join!(running, talk);
        ended.expect("it ends in order");
    });
}
