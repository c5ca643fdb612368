//! The servers of a fleet, as an operator sees them.

use super::{Net, because, join, refusal};
use fray_proto::v1;
use fray_proto::v1::JoinRequest;
use fray_server::cluster::memory::MemoryDirectory;
use fray_server::session::directory::{Directory as _, InstanceId, ServerRecord};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::Code;

fn record(instance: &InstanceId, name: &str) -> ServerRecord {
    ServerRecord {
        instance: instance.clone(),
        name: name.into(),
        route: "10.0.0.1:7777".into(),
        peer: "10.0.0.1:7782".into(),
        release: "1.2".into(),
        game: "arena".into(),
        sim_version: 1,
        sim_versions: Vec::new(),
        rooms_max: 9,
        room_capacity_max: 8,
        is_draining: true,
        players: BTreeMap::from([(fray_server::room::RoomId::parse("abc").expect("an id"), 3)]),
        electorate: Vec::new(),
        renewal_age_ms: 0,
        zone: String::new(),
        node: String::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn all_servers_of_the_directory_are_listed_in_pages_with_the_age_of_their_records() {
    let net = Net::new(&[]);
    let directory = &net.parts.sessions().fleet.directory;
    let mut admin = net.admin().await;
    let none = admin.list_servers(v1::ListServersRequest::default()).await.expect("listed");
    assert!(none.into_inner().servers.is_empty(), "nobody announced any");

    let others: Vec<_> = (0..4).map(|_| MemoryDirectory::alone().me().clone()).collect();
    for instance in &others {
        directory.announce(record(instance, "other")).await.expect("announced");
    }
    tokio::time::advance(Duration::from_millis(2500)).await;
    directory.announce(record(directory.me(), "me")).await.expect("announced");
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListServersRequest { page_size: 2, page_token };
        let page = admin.list_servers(request).await.expect("listed").into_inner();
        assert!(page.servers.len() <= 2 && page.reaches_directory);
        listed.extend(page.servers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut expected: Vec<_> =
        others.iter().chain([directory.me()]).map(ToString::to_string).collect();
    expected.sort_unstable();
    let ids: Vec<_> = listed.iter().map(|server| server.instance_id.clone()).collect();
    assert_eq!(ids, expected);
    for server in &listed {
        let is_me = server.instance_id == directory.me().as_str();
        assert_eq!((server.is_asked, server.name == "me"), (is_me, is_me));
        assert_eq!(server.since_renewal_ms >= 2500, !is_me, "{server:?}");
        assert_eq!((server.rooms, server.rooms_max, server.players), (1, 9, 3));
        assert!(server.draining && server.release == "1.2" && server.peer == "10.0.0.1:7782");
    }
    for request in [
        v1::ListServersRequest { page_size: -1, ..Default::default() },
        v1::ListServersRequest { page_token: "nonsense".into(), ..Default::default() },
    ] {
        let refused = admin.list_servers(request).await.expect_err("refused");
        assert_eq!(refusal(&refused), because(Code::InvalidArgument, "INVALID_ARGUMENT"));
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_server_that_is_known_and_meant_is_forgotten() {
    let net = Net::new(&[]);
    let directory = &net.parts.sessions().fleet.directory;
    let mut admin = net.admin().await;
    let others: Vec<_> = (0..2).map(|_| MemoryDirectory::alone().me().clone()).collect();
    for instance in &others {
        directory.announce(record(instance, "twin")).await.expect("announced");
    }
    let mut refused = async |server: &str| {
        let request = v1::ForgetServerRequest { server: server.into() };
        refusal(&admin.forget_server(request).await.expect_err("refused"))
    };
    assert_eq!(refused("").await, because(Code::InvalidArgument, "INVALID_ARGUMENT"));
    assert_eq!(refused("twin").await, because(Code::InvalidArgument, "INVALID_ARGUMENT"));
    assert_eq!(refused("nobody").await, because(Code::NotFound, "SERVER_NOT_FOUND"));
    assert_eq!(refused("00000000000000aa").await, because(Code::NotFound, "SERVER_NOT_FOUND"));
    // It is a server alone, and can ask nobody.
    let one = others[0].as_str();
    assert_eq!(refused(one).await, because(Code::FailedPrecondition, "SERVER_ALIVE"));
    assert_eq!(directory.servers().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn rooms_are_given_away_only_to_servers_that_are_meant_and_there() {
    let net = Net::new(&[]);
    let mut admin = net.admin().await;
    let mut told = async |request: v1::RebalanceRequest| {
        let told = admin.rebalance(request).await;
        told.map(|told| told.into_inner().rooms).map_err(|status| refusal(&status))
    };
    assert_eq!(told(v1::RebalanceRequest::default()).await, Ok(Vec::new()), "nothing has to go");
    let many = vec!["abc".to_owned(); 65];
    for request in [
        v1::RebalanceRequest { room_ids: many, ..Default::default() },
        v1::RebalanceRequest { rooms_max: 65, ..Default::default() },
        v1::RebalanceRequest { server: "one".into(), ..Default::default() },
    ] {
        assert_eq!(told(request).await, Err(because(Code::InvalidArgument, "INVALID_ARGUMENT")));
    }
    let nowhere = v1::RebalanceRequest { room_ids: vec!["abc".into()], ..Default::default() };
    assert_eq!(told(nowhere).await, Err(because(Code::NotFound, "ROOM_NOT_FOUND")));
    let seat = join(&net, JoinRequest::default()).await.expect("a seat");
    let room_ids = vec![seat.room.expect("a room").room_id];
    let to_nobody =
        v1::RebalanceRequest { room_ids: room_ids.clone(), server: "nobody".into(), rooms_max: 0 };
    assert_eq!(told(to_nobody).await, Err(because(Code::NotFound, "SERVER_NOT_FOUND")));
    let rooms = told(v1::RebalanceRequest { room_ids, ..Default::default() }).await;
    let rooms = rooms.expect("told");
    assert_eq!((rooms.len(), rooms[0].server.as_str()), (1, ""), "{rooms:?}");
    assert_eq!(rooms[0].reason, "this server is alone");
}
