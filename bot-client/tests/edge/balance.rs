//! Who is asked: versions, servers that drain, retries, limits.

use crate::envoy::{Edge, values};
use crate::http::Client;
use crate::tickets::Issuer;
use crate::upstream::Upstream;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

/// How many join where a release's share is counted.
pub const CANARY_JOINS: u32 = 2000;

/// Whether so many of [`CANARY_JOINS`] are a share of 20 %. 400 are expected; by the binomial distribution less than 310 or more than
/// 492 come out once in three million runs.
pub fn is_a_fifth(joins: u32) -> bool {
    (310..=492).contains(&joins)
}

const JOIN: &str = "/fray.v1.Lobby/Join";
const UNAVAILABLE: i32 = 14;
const RESOURCE_EXHAUSTED: i32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_are_shared_out_by_weight_and_streams_reach_the_version_of_their_ticket() {
    let issuer = Issuer::new("one");
    let old = [Upstream::start("v1").await, Upstream::start("v1").await];
    let new = Upstream::start("v2").await;
    let all = [old[0].address, old[1].address, new.address];
    let mut values = values(&all, &Issuer::jwks(&[&issuer]));
    values["edge"]["versions"] = json!([
        { "name": "v1", "weight": 80, "addresses": &all[..2] },
        { "name": "v2", "weight": 20, "addresses": &all[2..] },
    ]);
    let Some(edge) = Edge::start(&values).await else { return };
    edge.healthy("lobby-v1", 2).await;
    edge.healthy("lobby-v2", 1).await;
    edge.healthy("servers", 3).await;
    let mut client = Client::connect(edge.address).await;
    let mut joined: BTreeMap<String, u32> = BTreeMap::new();
    for n in 0..CANARY_JOINS {
        let echo = client.call(JOIN, &[]).await.echo();
        let version = echo["version"].as_str().expect("a version").to_owned();
        // A stream for every fourth of them, to the server that answered.
        if n % 4 == 0 {
            let server: SocketAddr =
                echo["server"].as_str().and_then(|at| at.parse().ok()).expect("an address");
            let bearer = issuer.bearer(server);
            let mut stream =
                client.open("/fray.v1.Play/Watch", &[("authorization", &bearer)]).await;
            let reached = stream.echo().await;
            assert_eq!(
                (&reached["version"], &reached["server"]),
                (&echo["version"], &echo["server"])
            );
        }
        *joined.entry(version).or_default() += 1;
    }
    assert!(is_a_fifth(joined["v2"]), "{joined:?}");
    assert_eq!(joined.values().sum::<u32>(), CANARY_JOINS);

    for version in ["v1", "v2"] {
        for _ in 0..20 {
            let echo = client.call(JOIN, &[("x-canary", version)]).await.echo();
            assert_eq!(echo["version"], version, "testers choose");
        }
    }
    assert_eq!(client.call(JOIN, &[("x-canary", "v3")]).await.grpc(), Some(0), "or nobody does");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drains_gets_no_new_rooms_and_its_players_may_return() {
    let issuer = Issuer::new("one");
    let servers = [Upstream::start("v1").await, Upstream::start("v1").await];
    let addresses = servers.each_ref().map(|server| server.address);
    let values = values(&addresses, &Issuer::jwks(&[&issuer]));
    let Some(edge) = Edge::start(&values).await else { return };
    edge.healthy("lobby-v1", 2).await;
    edge.healthy("servers", 2).await;
    let mut client = Client::connect(edge.address).await;
    let returns = async |client: &mut Client| {
        let bearer = issuer.bearer(addresses[0]);
        let mut stream = client.open("/fray.v1.Play/Watch", &[("authorization", &bearer)]).await;
        assert_eq!(stream.echo().await["server"], addresses[0].to_string());
    };
    servers[0].does.takes_rooms.store(false, Relaxed);
    edge.healthy("lobby-v1", 1).await;
    for _ in 0..50 {
        let echo = client.call(JOIN, &[]).await.echo();
        assert_eq!(echo["server"], addresses[1].to_string());
    }
    returns(&mut client).await;
    // Even where its health says nothing good at all.
    servers[0].does.serves_rooms.store(false, Relaxed);
    edge.healthy("servers", 1).await;
    returns(&mut client).await;
    // Where none takes rooms, for want of a directory perhaps, rooms that there are can still be joined: somebody is asked.
    servers[1].does.takes_rooms.store(false, Relaxed);
    edge.healthy("lobby-v1", 0).await;
    for _ in 0..50 {
        assert_eq!(client.call(JOIN, &[]).await.grpc(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_tried_elsewhere_and_a_stream_never_is() {
    let issuer = Issuer::new("one");
    let [good, busy, dies] =
        [Upstream::start("v1").await, Upstream::start("v1").await, Upstream::start("v1").await];
    let addresses = [good.address, busy.address, dies.address];
    let mut values = values(&addresses, &Issuer::jwks(&[&issuer]));
    // Nobody hears of the end by asking for health.
    values["edge"]["health"] = json!({ "interval": "3600s" });
    let Some(edge) = Edge::start(&values).await else { return };
    edge.healthy("lobby-v1", 3).await;
    edge.healthy("servers", 3).await;
    busy.does.is_unavailable.store(true, Relaxed);
    let dead = dies.address;
    dies.stop().await;
    let mut client = Client::connect(edge.address).await;
    for _ in 0..60 {
        let reply = client.call(JOIN, &[]).await;
        assert_eq!(reply.grpc(), Some(0), "{reply:?}");
        assert_eq!(reply.echo()["server"], good.address.to_string());
    }
    assert!(!busy.does.seen().is_empty(), "it was asked, too");
    let (good_seen, busy_seen) = (good.does.seen().len(), busy.does.seen().len());
    for server in [busy.address, dead] {
        for path in ["/fray.v1.Play/Play", "/fray.v1.Play/Watch", "/fray.v1.Replays/Download"] {
            let reply = client.call(path, &[("authorization", &issuer.bearer(server))]).await;
            assert_eq!(reply.grpc(), Some(UNAVAILABLE), "{path}");
        }
    }
    assert_eq!((good.does.seen().len(), busy.does.seen().len()), (good_seen, busy_seen + 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_can_join_only_so_often_and_takes_nothing_from_others() {
    let (issuer, server) = (Issuer::new("one"), Upstream::start("v1").await);
    let mut values = values(&[server.address], &Issuer::jwks(&[&issuer]));
    // Refilled once a second, and a test must not depend on when: nothing to speak of comes back.
    values["edge"]["limits"]["join"]["address"] = json!({ "burst": 10, "perSecond": 1 });
    // A proxy before the edge says who asks.
    values["edge"]["trustedHops"] = json!(1);
    let Some(edge) = Edge::start(&values).await else { return };
    let mut client = Client::connect(edge.address).await;
    for address in ["192.0.2.1", "192.0.2.2"] {
        // What the client itself says stands before what the proxy adds.
        let mut answers = BTreeMap::new();
        for n in 0..200 {
            let forwarded = format!("198.51.100.{n}, {address}");
            let reply = client.call(JOIN, &[("x-forwarded-for", &forwarded)]).await;
            *answers.entry(reply.grpc().expect("a status")).or_default() += 1;
        }
        let (ok, refused): (u32, u32) = (answers[&0], answers[&RESOURCE_EXHAUSTED]);
        assert!(ok >= 10 && refused > 100 && ok + refused == 200, "{address}: {answers:?}");
        let forwarded = [("x-forwarded-for", address)];
        let reply = client.call("/fray.v1.Lobby/ListRooms", &forwarded).await;
        assert_eq!(reply.grpc(), Some(0), "only joins are counted");
    }
    let more = client.call(JOIN, &[("x-forwarded-for", "192.0.2.3")]).await;
    assert_eq!(more.grpc(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_found_by_name() {
    let (issuer, server) = (Issuer::new("one"), Upstream::start("v1").await);
    let mut values = values(&[], &Issuer::jwks(&[&issuer]));
    values["edge"]["servers"] = json!({ "dns": "localhost", "port": server.address.port(), "addresses": [], "dnsRefresh": "1s" });
    values["edge"]["versions"] = json!([{ "name": "v1", "weight": 1, "dns": "localhost" }]);
    let Some(edge) = Edge::start(&values).await else { return };
    edge.healthy("servers", 1).await;
    edge.healthy("lobby-v1", 1).await;
    let mut client = Client::connect(edge.address).await;
    assert_eq!(client.call(JOIN, &[]).await.echo()["server"], server.address.to_string());
    let bearer = issuer.bearer(server.address);
    let mut stream = client.open("/fray.v1.Play/Watch", &[("authorization", &bearer)]).await;
    assert_eq!(stream.echo().await["server"], server.address.to_string());
}
