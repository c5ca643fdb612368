//! A server that an operator has drained, and that takes players again.

use super::support::hello_with_token;
use super::{Net, because, create, into, join, refusal, room_id};
use fray_proto::v1::{self, JoinRequest};
use fray_server::session::directory::ServerRecord;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const NAMES: [&str; 4] = ["", "fray.v1.Lobby", "fray.v1.Play", "live"];

async fn serving(net: &Net) -> [bool; 4] {
    let mut client = HealthClient::new(net.connect().await);
    let mut answers = [false; 4];
    for (answer, service) in answers.iter_mut().zip(NAMES) {
        let request = HealthCheckRequest { service: service.into() };
        let status = client.check(request).await.expect("known").into_inner().status();
        *answer = status == ServingStatus::Serving;
    }
    answers
}

async fn drain(net: &Net, off: bool) -> v1::DrainResponse {
    net.admin().await.drain(v1::DrainRequest { off }).await.expect("told").into_inner()
}

#[tokio::test(start_paused = true)]
async fn a_drained_server_takes_nobody_new_and_lets_those_play_who_are_there() {
    let net = Net::new(&["--allow-guests"]);
    let mut ada = net.player("Ada").await;
    let room_id = room_id(&ada);
    let bob = net.player("Bob").await;
    let token = bob.welcome.resume_token.clone();
    // Its seat waits for it.
    let given = join(&net, into(&room_id, "")).await.expect("joined").ticket;
    drop(bob);

    let said = drain(&net, false).await;
    assert!(said.draining && said.changed, "{said:?}");
    assert_eq!((said.rooms, said.players), (1, 3));
    assert_eq!(serving(&net).await, [false, false, true, true], "{NAMES:?}");
    assert!(net.parts.sessions().metrics.render().contains("\nfray_drained 1\n"));

    for request in [JoinRequest::default(), into(&room_id, ""), create("New", false)] {
        let refused = join(&net, request).await.expect_err("refused");
        assert_eq!(refusal(&refused), because(Code::Unavailable, "DRAINING"));
    }
    let guest = net.open(super::support::hello()).await.err().expect("refused");
    assert_eq!(refusal(&guest), because(Code::Unavailable, "DRAINING"));

    // Who has a seat comes and goes as before, and whoever looks on may.
    let back = net.open(hello_with_token(&token)).await.expect("comes back");
    assert!(back.welcome.resumed);
    let rejoin = JoinRequest { resume_token: token, ..Default::default() };
    join(&net, rejoin).await.expect("a fresh ticket");
    net.open(super::hello_with_ticket(&given)).await.expect("its seat was given before");
    let look = v1::WatchRequest { room_id: room_id.clone(), ..Default::default() };
    net.watch(look).await.expect("looks on");
    let from = ada.updates.len();
    ada.steer(100, 100).await;
    ada.until_all_is_acked().await;
    ada.until("it plays on", |ada| ada.updates.len() > from + 40).await;
}

#[tokio::test(start_paused = true)]
async fn draining_can_be_repeated_and_taken_back() {
    let net = Net::new(&[]);
    assert!(!drain(&net, true).await.changed, "it is not drained");
    assert!(drain(&net, false).await.changed);
    let again = drain(&net, false).await;
    assert!(again.draining && !again.changed);
    let said = net.admin().await.get_server(v1::GetServerRequest {}).await.expect("said");
    let said = said.into_inner();
    assert!(said.draining && !said.shutting_down);

    let back = drain(&net, true).await;
    assert!(!back.draining && back.changed);
    assert_eq!(serving(&net).await, [true; 4]);
    join(&net, JoinRequest::default()).await.expect("joined");
}

#[tokio::test(start_paused = true)]
async fn a_drained_server_that_is_ended_goes_as_any_other() {
    let net = Net::new(&[]);
    let mut ada = net.player("Ada").await;
    drain(&net, false).await;
    net.parts.health().draining();
    net.parts.sessions().drain();
    let ended = ada.raw.end().await.expect_err("told");
    assert_eq!(refusal(&ended), because(Code::Unavailable, "SHUTTING_DOWN"));
    // Nor does taking it back make it take players.
    assert!(!drain(&net, true).await.draining);
    assert_eq!(serving(&net).await, [false, false, true, true]);
    let refused = join(&net, JoinRequest::default()).await.expect_err("refused");
    assert_eq!(refusal(&refused), because(Code::Unavailable, "SHUTTING_DOWN"));
    let said = net.admin().await.get_server(v1::GetServerRequest {}).await.expect("said");
    assert!(said.into_inner().shutting_down);
}

#[tokio::test(start_paused = true)]
async fn a_server_with_a_record_says_how_old_its_lease_is() {
    let net = Net::new(&[]);
    let fleet = &net.parts.sessions().fleet;
    let mut admin = net.admin().await;
    let mut age = async || {
        admin.get_server(v1::GetServerRequest {}).await.expect("said").into_inner().lease_age_ms
    };
    assert_eq!(age().await, None, "nobody announced it");
    let record = ServerRecord {
        instance: fleet.directory.me().clone(),
        name: String::new(),
        route: String::new(),
        peer: String::new(),
        release: fleet.release.clone(),
        game: "arena".into(),
        sim_version: 1,
        sim_versions: Vec::new(),
        rooms_max: 1,
        room_capacity_max: 1,
        is_draining: false,
        players: std::collections::BTreeMap::new(),
        electorate: Vec::new(),
        renewal_age_ms: 0,
        zone: String::new(),
        node: String::new(),
    };
    fleet.directory.announce(record).await.expect("announced");
    tokio::time::advance(std::time::Duration::from_millis(1500)).await;
    assert!((1500..1600).contains(&age().await.expect("a lease")));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_not_every_edge_knows_seats_nobody_and_its_rooms_can_be_reached() {
    let net = Net::new(&["--allow-guests"]);
    net.parts.health().set_awaits_edges(true);
    assert_eq!(serving(&net).await, [false, false, true, true], "{NAMES:?}");
    assert!(net.parts.sessions().metrics.render().contains("\nfray_edges_pending 1\n"));
    for request in [JoinRequest::default(), create("New", false)] {
        let refused = join(&net, request).await.expect_err("refused");
        assert_eq!(refusal(&refused), because(Code::Unavailable, "DRAINING"));
    }
    net.parts.health().set_awaits_edges(false);
    assert_eq!(serving(&net).await, [true; 4]);
    join(&net, JoinRequest::default()).await.expect("a seat");
}
