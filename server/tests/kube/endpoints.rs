//! The watch of a Service's EndpointSlices.

use crate::cluster::on_cluster;
use fray_server::cluster::kube::Options;
use fray_server::cluster::kube::annotations::Load;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[test]
fn a_server_hears_who_comes_who_ends_and_who_is_gone() {
    on_cluster(async |cluster| {
        let service = cluster.name.clone();
        cluster
            .write_slice(
                &service,
                json!([{"addresses": ["10.9.0.1"], "zone": "a", "conditions": {"ready": true}}]),
            )
            .await;
        let options = Options { service: Some(service.clone()), ..Options::default() };
        let mut kube = cluster.kube(options, Load::default()).await;
        kube.until("one", |known| known.zone("10.9.0.1:1") == "a").await;
        assert!(kube.endpoints.is_current() && kube.endpoints.is_leaving("10.9.0.2:1"));

        let ending = json!({"ready": true, "serving": true, "terminating": true});
        cluster
            .write_slice(
                &service,
                json!([{"addresses": ["10.9.0.1"], "conditions": ending}, {"addresses": ["10.9.0.2"]}]),
            )
            .await;
        kube.until("two", |known| !known.is_leaving("10.9.0.2:1")).await;
        assert!(kube.endpoints.is_leaving("10.9.0.1:1"), "it is told to end");

        cluster.write_slice(&service, json!([{"addresses": ["10.9.0.2"]}])).await;
        kube.until("gone", |known| known.servers.as_ref().is_some_and(|all| all.len() == 1)).await;
        assert!(kube.endpoints.is_leaving("10.9.0.1:1"));

        cluster.remove_slice(&service).await;
        kube.until("none", |known| known.servers.as_ref().is_some_and(BTreeMap::is_empty)).await;
        assert!(kube.endpoints.is_current());
        kube.end().await;
    });
}

#[test]
fn a_service_that_nobody_is_in_is_heard_of_too() {
    on_cluster(async |cluster| {
        let options = Options { edge_service: Some(cluster.name.clone()), ..Options::default() };
        let mut kube = cluster.kube(options, Load::default()).await;
        kube.until("no edges", |known| known.edges.as_ref().is_some_and(BTreeSet::is_empty)).await;
        assert_eq!(kube.endpoints.now().servers, None, "nobody asked");
        let (starts, ends) =
            (json!({"ready": false}), json!({"ready": false, "terminating": true}));
        let edges = json!([
            {"addresses": ["10.9.1.1"]},
            {"addresses": ["10.9.1.2"], "conditions": starts},
            {"addresses": ["10.9.1.3"], "conditions": ends},
        ]);
        cluster.write_slice(&cluster.name, edges).await;
        let wanted = [[10, 9, 1, 1], [10, 9, 1, 2]].map(IpAddr::from);
        kube.until("edges", |known| known.edges == Some(wanted.into())).await;
        kube.end().await;
    });
}
