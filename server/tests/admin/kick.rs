//! Players who are removed.

use super::support::{hello_with_ticket, hello_with_token};
use super::{Net, because, create, into, join, plays, refusal, room_id};
use fray_proto::v1;
use fray_proto::v1::JoinRequest;
use fray_proto::v1::admin_player::State;
use fray_proto::v1::kick_request::Who;
use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use fray_server::replay::{Games, Verdict, verify};
use fray_server::room::barred::BARRED_FOR;
use fray_server::store::Name;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

async fn kick(net: &Net, room_id: &str, who: Who) -> Result<v1::KickResponse, Status> {
    let request = v1::KickRequest { room_id: room_id.into(), who: Some(who) };
    Ok(net.admin().await.kick(request).await?.into_inner())
}

fn kicked() -> (Code, String) {
    because(Code::PermissionDenied, "KICKED")
}

#[tokio::test(start_paused = true)]
async fn who_is_kicked_is_told_and_cannot_come_back_by_any_way() {
    let net = Net::new(&[]);
    let mut bob = plays(&net, create("Duel", false)).await;
    let room_id = room_id(&bob);
    let request = into(&room_id, "a request id of Ada's own");
    let ticket = join(&net, request.clone()).await.expect("joined").ticket;
    let mut ada = net.open(hello_with_ticket(&ticket)).await.expect("seated");
    ada.steer(100, 0).await;
    ada.until_all_is_acked().await;
    bob.until("both play", |bob| bob.replica.tick() >= ada.replica.tick()).await;

    let answer = kick(&net, &room_id, Who::Player(ada.welcome.player)).await.expect("kicked");
    assert_eq!(u64::from(answer.barred_for_s), BARRED_FOR.as_secs());
    let was = answer.player.expect("who it was");
    assert_eq!((was.player, &was.player_id), (ada.welcome.player, &ada.welcome.player_id));
    assert_eq!(was.state(), State::Playing);
    assert_eq!(refusal(&ada.raw.end().await.expect_err("told")), kicked());

    // With its token, its ticket, a fresh ticket for its session, or the same request as before.
    let token = ada.welcome.resume_token.clone();
    let resumed = net.open(hello_with_token(&token)).await.err().expect("refused");
    assert_eq!(refusal(&resumed), kicked());
    let seated = net.open(hello_with_ticket(&ticket)).await.err().expect("refused");
    assert_eq!(refusal(&seated), kicked());
    let rejoin = JoinRequest { resume_token: token, ..Default::default() };
    assert_eq!(refusal(&join(&net, rejoin).await.expect_err("refused")), kicked());
    assert_eq!(refusal(&join(&net, request.clone()).await.expect_err("refused")), kicked());

    // Nobody else noticed; its ship is gone.
    let from = bob.updates.len();
    bob.until("it goes on", |bob| bob.updates.len() > from + 40).await;
    assert!(bob.updates.iter().all(|(_, span)| *span == 1), "{:?}", bob.updates);
    let is_hers =
        |entity: &&fray_proto::model::Entity| entity.attributes[0] == ada.welcome.player as i32;
    let entries = bob.replica.globals().iter().filter(|entity| entity.kind == 16).filter(is_hers);
    assert_eq!(entries.count(), 0, "she is on no board");
    let again = kick(&net, &room_id, Who::Player(ada.welcome.player)).await.expect_err("gone");
    assert_eq!(refusal(&again), because(Code::NotFound, "SESSION_NOT_FOUND"));

    // But any other room takes her.
    let elsewhere =
        JoinRequest { room: None, request_id: "another request of hers".into(), ..request };
    join(&net, elsewhere).await.expect("joined");
}

#[tokio::test(start_paused = true)]
async fn a_kicked_player_may_come_again_when_its_time_is_over() {
    let net = Net::new(&["--room-ttl", "1h"]);
    let request =
        JoinRequest { request_id: "a request id of Ada's own".into(), ..create("Duel", false) };
    let joined = join(&net, request).await.expect("joined");
    let room_id = joined.room.expect("a room").room_id;
    kick(&net, &room_id, Who::PlayerId(joined.player_id.clone())).await.expect("kicked");
    let again = into(&room_id, "a request id of Ada's own");
    let almost = BARRED_FOR.saturating_sub(Duration::from_secs(2));
    tokio::time::sleep(almost).await;
    assert_eq!(refusal(&join(&net, again.clone()).await.expect_err("not yet")), kicked());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let back = join(&net, again).await.expect("joined");
    assert_eq!(back.player_id, joined.player_id);
}

#[tokio::test(start_paused = true)]
async fn who_is_kicked_from_one_room_and_wants_any_gets_another() {
    let net = Net::new(&[]);
    let request_id = "a request id of Ada's own".to_owned();
    let any = JoinRequest { request_id, ..Default::default() };
    let _bob = net.player("Bob").await;
    let joined = join(&net, any.clone()).await.expect("joined");
    let room_id = joined.room.expect("a room").room_id;
    kick(&net, &room_id, Who::PlayerId(joined.player_id.clone())).await.expect("kicked");
    // The request is forgotten after a minute; its player is the same all the same.
    tokio::time::sleep(Duration::from_secs(70)).await;
    let elsewhere = join(&net, any).await.expect("joined");
    assert_eq!(elsewhere.player_id, joined.player_id);
    assert_ne!(elsewhere.room.expect("a room").room_id, room_id);
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_free_again_at_once_whether_its_player_came_or_not() {
    let net = Net::new(&["--room-capacity", "1"]);
    let reserved = join(&net, create("Duel", false)).await.expect("joined");
    let room_id = reserved.room.expect("a room").room_id;
    let answer = kick(&net, &room_id, Who::Player(1)).await.expect("kicked");
    assert_eq!(answer.player.expect("who it was").state(), State::Reserved);
    let seated = net.open(hello_with_ticket(&reserved.ticket)).await.err().expect("refused");
    assert_eq!(refusal(&seated), kicked());

    let bob = plays(&net, into(&room_id, "")).await;
    drop(bob);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = kick(&net, &room_id, Who::Player(2)).await.expect("kicked");
    assert_eq!(answer.player.expect("who it was").state(), State::Dropped);
    plays(&net, into(&room_id, "")).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_nothing_is_told_when_it_reads_again() {
    let net = Net::new(&["--allow-guests"]);
    let mut response = net.silent_stream().await;
    // Nobody polls its stream any more once the Welcome is taken: it is asleep until somebody does.
    assert!(response.frame().await.is_some_and(|frame| frame.is_ok()));
    let room = net.parts.sessions().rooms.all().remove(0);
    kick(&net, room.info().id.as_str(), Who::Player(1)).await.expect("kicked");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let frame = Arc::clone(&room.frames().borrow());
    assert!(frame.player(1).is_none(), "its seat is long gone");
    let mut last = None;
    while let Some(frame) = response.frame().await {
        last = frame.ok().and_then(|frame| frame.into_trailers().ok());
    }
    let told = Status::from_header_map(&last.expect("trailers")).expect("a status");
    assert_eq!(refusal(&told), kicked());
}

#[tokio::test(start_paused = true)]
async fn a_kick_needs_somebody() {
    let net = Net::new(&[]);
    let ada = net.player("Ada").await;
    let room_id = room_id(&ada);
    for who in
        [Who::Player(0), Who::Player(7), Who::PlayerId(String::new()), Who::PlayerId("x".into())]
    {
        let refused = kick(&net, &room_id, who).await.expect_err("nobody");
        assert_eq!(refusal(&refused), because(Code::NotFound, "SESSION_NOT_FOUND"));
    }
    let refused = kick(&net, "nowhere", Who::Player(1)).await.expect_err("no such room");
    assert_eq!(refusal(&refused), because(Code::NotFound, "ROOM_NOT_FOUND"));
    let request = v1::KickRequest { room_id, who: None };
    let refused = net.admin().await.kick(request).await.expect_err("nobody named");
    assert_eq!(refusal(&refused), because(Code::InvalidArgument, "INVALID_ARGUMENT"));
}

#[tokio::test(start_paused = true)]
async fn a_match_with_kicks_comes_out_the_same_when_it_is_played_again() {
    let net = Net::new(&[]);
    let mut bob = net.player("Bob").await;
    let room_id = room_id(&bob);
    for round in 0..5 {
        let mut eve = net.player("Eve").await;
        eve.steer(40, 127).await;
        eve.until_all_is_acked().await;
        bob.steer(20 * round, 100).await;
        kick(&net, &room_id, Who::Player(eve.welcome.player)).await.expect("kicked");
        assert_eq!(refusal(&eve.raw.end().await.expect_err("told")), kicked());
        let until = bob.replica.tick() + 60;
        bob.until("three seconds are over", |bob| bob.replica.tick() >= until).await;
    }
    net.parts.sessions().rooms.close().await;
    let store = net.parts.sessions().rooms.store();
    let from = store.read(&Name::parse(&room_id).expect("a name"), 0).expect("a recording");
    let games: Vec<Arc<dyn GameFactory>> = vec![Arc::new(Arena::default())];
    let report = verify(Games(&games), from, u32::MAX, || false).expect("an answer");
    assert_eq!(report.verdict, Verdict::Same { panicked: None });
    assert_eq!(report.joins, 6);
    assert!(report.hashes_compared >= 15, "{report:?}");
}
