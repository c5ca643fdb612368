//! Two releases of the real server behind one edge: who gets which, and stays there.

use crate::balance::{CANARY_JOINS, is_a_fifth};
use crate::envoy::PATIENCE;
use crate::fleet::by_ticket_relayed;
use crate::gate::{Gate, opened, route_of};
use crate::nats::Nats;
use crate::servers::Fleet;
use crate::tickets::read;
use fray_proto::v1::JoinRequest;
use fray_proto::v1::lobby_client::LobbyClient;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::time::{Instant, sleep};

const JOINERS: u32 = 8;
/// Streams that are opened, of each release.
const OPENED: usize = 30;
/// Rooms are as few as that, so that the machine has time for joins.
const CAPACITY: &str = "250";

/// Many ask at once, each for any room.
async fn joined(gate: &Gate) -> Vec<String> {
    let joiners = (0..JOINERS).map(async |_| {
        let mut lobby = LobbyClient::new(gate.channel().await);
        let mut tickets = Vec::new();
        for _ in 0..CANARY_JOINS / JOINERS {
            let request_id = format!("{:032x}", rand::random::<u128>());
            let request = JoinRequest { request_id, ..JoinRequest::default() };
            tickets.push(lobby.join(request).await.expect("a seat").into_inner().ticket);
        }
        tickets
    });
    join_all(joiners).await.concat()
}

/// To which release's servers Envoy sent how many of the calls, by its own log.
async fn sent(gate: &Gate) -> BTreeMap<String, u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = gate.edge.log_text();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut sent = BTreeMap::new();
        for line in lines {
            if line["type"] == "DownstreamEnd" && line["path"] == "/fray.v1.Lobby/Join" {
                let cluster = line["cluster"].as_str().expect("a cluster");
                let release = cluster.trim_start_matches("lobby-").to_owned();
                *sent.entry(release).or_default() += 1;
            }
        }
        if sent.values().sum::<u32>() == CANARY_JOINS {
            return sent;
        }
        assert!(Instant::now() < deadline, "not all are in the log: {sent:?}");
        sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_gets_its_share_of_the_players_and_each_plays_where_its_ticket_says() {
    let Some(nats) = Nats::start() else { return };
    let flags = |release| ["--release", release, "--room-capacity", CAPACITY];
    let (old, new) = (flags("v1"), flags("v2"));
    let fleet = Fleet::at_nats(&nats.url(), &[&old[..], &old, &new, &new]).await;
    let release = |at: usize| if at < 2 { "v1" } else { "v2" };
    let all = fleet.addresses();
    let Some(gate) = Gate::before(&all, |values| {
        values["edge"]["versions"] = json!([
            { "name": "v1", "weight": 80, "addresses": &all[..2] },
            { "name": "v2", "weight": 20, "addresses": &all[2..] },
        ]);
    })
    .await
    else {
        return;
    };

    let tickets = joined(&gate).await;
    let mut of_release: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for ticket in &tickets {
        let version = read(ticket)["version"].as_str().expect("a release").to_owned();
        let at = all.iter().position(|address| address.to_string() == route_of(ticket));
        assert_eq!(version, release(at.expect("one of them")), "where it leads is what it says");
        of_release.entry(version).or_default().push(ticket);
    }
    let shares: BTreeMap<String, u32> = of_release
        .iter()
        .map(|(release, tickets)| (release.clone(), u32::try_from(tickets.len()).expect("few")))
        .collect();
    assert_eq!(sent(&gate).await, shares, "whoever is sent to a release is seated there");
    println!("{shares:?}");
    assert!(is_a_fifth(shares["v2"]), "{shares:?}");

    let doors = gate.doors();
    for (release, tickets) in &of_release {
        let mut servers = BTreeMap::<String, u32>::new();
        for (at, ticket) in tickets.iter().rev().take(OPENED).enumerate() {
            let welcome = opened(doors[at % 2].as_ref(), ticket).await.expect("a stream");
            let owner = fleet.at(&route_of(ticket));
            assert_eq!((&welcome.server_version, &welcome.server), (release, &owner.name));
            *servers.entry(welcome.server).or_default() += 1;
        }
        println!("{release}: {servers:?}");
    }
    let relayed: Vec<u64> = fleet.servers.iter().map(by_ticket_relayed).collect();
    assert_eq!(relayed, [0; 4], "each came straight to its room's server");
    fleet.stop().await;
}
