//! What the server writes to the cluster: annotations of its pod, and Events.

use crate::cluster::{Cluster, on_cluster, until};
use fray_server::cluster::kube::Options;
use fray_server::cluster::kube::annotations::Load;
use fray_server::cluster::news::News;
use fray_server::room::RoomId;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::json;

#[test]
fn the_pod_says_how_dear_its_deletion_is_and_whether_it_may_be_evicted() {
    on_cluster(async |cluster| {
        cluster.make_pod().await;
        let options = Options { pod: cluster.name.clone(), annotates: true, ..Options::default() };
        let load = Load { players: 37, rooms: 4, places_elsewhere: 3 };
        let kube = cluster.kube(options, load).await;
        let annotations = until("annotations", async || {
            let pod = cluster.pods().get(&cluster.name).await.expect("it is there");
            pod.metadata.annotations.filter(|annotations| !annotations.is_empty())
        })
        .await;
        assert_eq!(annotations["controller.kubernetes.io/pod-deletion-cost"], "32");
        assert_eq!(annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"], "false");
        kube.end().await;
    });
}

async fn events(cluster: &Cluster) -> Vec<Event> {
    let about = format!("regarding.name={}", cluster.name);
    let about = ListParams::default().fields(&about);
    let mut events = cluster.api::<Event>().list(&about).await.expect("Events").items;
    events.retain(|event| event.reporting_controller.as_deref() == Some("fray.dev/server"));
    events.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    events
}

#[test]
fn a_drain_is_told_in_few_events_that_kubectl_finds_at_the_pod() {
    on_cluster(async |cluster| {
        let uid = cluster.make_pod().await;
        let service = cluster.name.clone();
        let pod = json!({"kind": "Pod", "name": cluster.name, "uid": uid});
        cluster.write_slice(&service, json!([{"addresses": ["10.9.0.1"], "targetRef": pod}])).await;
        let options = Options {
            pod: cluster.name.clone(),
            service: Some(service),
            posts_events: true,
            ..Options::default()
        };
        let mut kube = cluster.kube(options, Load::default()).await;
        kube.until("the pod", |known| known.servers.as_ref().is_some_and(|all| all.len() == 1))
            .await;
        kube.news.tell(News::DrainBegan { rooms: 30, players: 60 });
        for n in 0..30 {
            let room = RoomId::parse(&format!("room{n}")).expect("an id");
            kube.news.tell(News::RoomMoved { room, to: "fray-1".into(), players: 2, gap_ms: n });
        }
        kube.news.tell(News::DrainEnded { moved: 30, parked: 0, failed: 0, took_ms: 1500 });
        // The server ends at once: what was told is posted all the same.
        let metrics = std::sync::Arc::clone(&kube.metrics);
        kube.end().await;
        assert_eq!(metrics.kube.news_dropped.get(), 0);

        let events = events(cluster).await;
        let count = |reason: &str| {
            events.iter().filter(|event| event.reason.as_deref() == Some(reason)).count()
        };
        assert_eq!(
            ["DrainBegan", "RoomMoved", "RoomsMoved", "DrainEnded"].map(count),
            [1, 10, 1, 1],
            "{events:?}"
        );
        for event in &events {
            let regarding = event.regarding.as_ref().expect("about the pod");
            assert_eq!(regarding.uid.as_ref(), Some(&uid));
            assert_eq!(event.type_.as_deref(), Some("Normal"));
        }
        let note = events.last().and_then(|event| event.note.clone()).expect("a note");
        assert!(note.starts_with("30 rooms play on elsewhere"), "{note}");
    });
}
