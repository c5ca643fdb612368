//! What there is, and rooms that are closed.

use super::support::recorded::Hooked;
use super::{Net, because, calls, create, into, join, logged, plays, refusal, room_id};
use fray_proto::v1;
use fray_proto::v1::admin_player::State;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::Code;

#[tokio::test(start_paused = true)]
async fn a_server_says_what_it_is_and_what_it_has() {
    let net = Net::new(&["--name", "ada", "--rooms-max", "9"]);
    let mut admin = net.admin().await;
    let _one = plays(&net, create("One", false)).await;
    join(&net, create("Two", false)).await.expect("joined");
    let said = admin.get_server(v1::GetServerRequest {}).await.expect("said").into_inner();
    let me = net.parts.sessions().fleet.directory.me().to_string();
    assert_eq!((said.name.as_str(), said.instance_id), ("ada", me));
    assert_eq!(said.release, net.parts.sessions().fleet.release);
    assert_eq!((said.rooms, said.rooms_max, said.players), (2, 9, 2));
    assert!(said.reaches_directory && !said.draining && !said.shutting_down);
}

#[tokio::test(start_paused = true)]
async fn all_rooms_are_listed_in_pages_private_ones_without_their_code() {
    let net = Net::new(&[]);
    let mut admin = net.admin().await;
    let mut expected = Vec::new();
    let mut codes = Vec::new();
    for index in 0..5 {
        let is_private = index == 3;
        let joined = join(&net, create(&format!("Room {index}"), is_private)).await;
        let room = joined.expect("joined").room.expect("a room");
        expected.push((room.room_id, room.name, is_private));
        codes.extend((!room.code.is_empty()).then_some(room.code));
    }
    expected.sort_unstable();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let frozen = net.parts.sessions().rooms.all().remove(0);
    frozen.freeze().expect("told");
    frozen.frozen().wait_for(|frozen| *frozen).await.expect("stands still");

    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::AdminListRoomsRequest { page_size: 2, page_token };
        let page = admin.list_rooms(request).await.expect("listed").into_inner();
        assert!(page.rooms.len() <= 2);
        listed.extend(page.rooms);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let names: Vec<_> =
        listed.iter().map(|room| (room.room_id.clone(), room.name.clone(), room.private)).collect();
    assert_eq!(names, expected);
    for room in &listed {
        assert_eq!((room.players, room.capacity, room.epoch), (1, 64, 1));
        assert!(room.tick > 40 && room.game == "arena", "{room:?}");
        assert_eq!(room.frozen, room.room_id == frozen.info().id.as_str());
        assert!(!format!("{room:?}").contains(&codes[0]));
    }
    for wrong in [
        v1::AdminListRoomsRequest { page_size: -1, ..Default::default() },
        v1::AdminListRoomsRequest { page_token: "!".into(), ..Default::default() },
    ] {
        let refused = admin.list_rooms(wrong).await.expect_err("refused");
        assert_eq!(refusal(&refused), because(Code::InvalidArgument, "INVALID_ARGUMENT"));
    }
}

#[tokio::test(start_paused = true)]
async fn players_are_listed_with_what_they_do_and_for_how_long() {
    let net = Net::new(&[]);
    let mut admin = net.admin().await;
    let mut ada = net.player("Ada").await;
    let room_id = room_id(&ada);
    let bob = net.player("Bob").await;
    let token = bob.welcome.resume_token.clone();
    drop(bob);
    join(&net, into(&room_id, "")).await.expect("joined");
    let mut eve = net.player("Eve").await;
    eve.leave().await.expect("left");
    let last = ada.welcome.first_tick + 200;
    ada.until("ten seconds are over", |ada| ada.replica.tick() >= last).await;

    let request = v1::ListPlayersRequest { room_id: room_id.clone() };
    let players = admin.list_players(request.clone()).await.expect("listed").into_inner().players;
    let seen: Vec<_> = players
        .iter()
        .map(|row| (row.player, row.name.as_str(), row.state(), row.streams))
        .collect();
    let guest = players[2].name.as_str();
    assert_eq!(
        seen,
        [
            (1, "Ada", State::Playing, 1),
            (2, "Bob", State::Dropped, 1),
            (3, guest, State::Reserved, 0)
        ],
        "Eve has left"
    );
    assert!(guest.starts_with("Guest ") && players[0].player_id == ada.welcome.player_id);
    assert!(players.iter().all(|row| (8_000..=11_000).contains(&row.in_state_ms)), "{players:?}");

    let _back = net.open(super::support::hello_with_token(&token)).await.expect("comes back");
    let players = admin.list_players(request).await.expect("listed").into_inner().players;
    assert_eq!((players[1].state(), players[1].streams), (State::Playing, 2));
    assert!(players[1].in_state_ms < 1000, "{players:?}");

    for room_id in ["nowhere", "NO!", ""] {
        let request = v1::ListPlayersRequest { room_id: room_id.into() };
        let refused = admin.list_players(request).await.expect_err("refused");
        let expected = if room_id.is_empty() {
            because(Code::InvalidArgument, "INVALID_ARGUMENT")
        } else {
            because(Code::NotFound, "ROOM_NOT_FOUND")
        };
        assert_eq!(refusal(&refused), expected, "{room_id}");
    }
}

#[tokio::test(start_paused = true)]
async fn closing_a_room_ends_it_for_all_who_are_in_it_and_for_nobody_else() {
    let net = Net::new(&[]);
    let mut admin = net.admin().await;
    let mut ada = plays(&net, create("One", false)).await;
    let mut bob = plays(&net, create("Two", false)).await;
    let one = room_id(&ada);
    let watched = v1::WatchRequest { room_id: one.clone(), ..Default::default() };
    let mut watcher = net.watch(watched).await.expect("watches");
    ada.until("it plays", |ada| ada.updates.len() > 5).await;

    let request = v1::CloseRoomRequest { room_id: one.clone() };
    let closed = admin.close_room(request.clone()).await.expect("closed").into_inner();
    assert!(closed.players == 1 && closed.last_tick >= ada.replica.tick(), "{closed:?}");
    for ended in [ada.raw.end().await, watcher.ticks().await.1] {
        let ended = ended.expect_err("it ended");
        assert_eq!(refusal(&ended), because(Code::Aborted, "ROOM_ENDED"));
    }
    let again = admin.close_room(request).await.expect_err("it is gone");
    assert_eq!(refusal(&again), because(Code::NotFound, "ROOM_NOT_FOUND"));
    let late = join(&net, into(&one, "")).await.expect_err("it is gone");
    assert_eq!(refusal(&late), because(Code::NotFound, "ROOM_NOT_FOUND"));

    bob.until("it goes on", |bob| bob.updates.len() > 30).await;
    assert!(bob.updates.iter().all(|(_, span)| *span == 1));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_stands_still_can_be_closed_too() {
    let net = Net::new(&[]);
    let mut ada = net.player("Ada").await;
    let room = net.parts.sessions().rooms.all().remove(0);
    room.freeze().expect("told");
    room.frozen().wait_for(|frozen| *frozen).await.expect("stands still");
    let request = v1::CloseRoomRequest { room_id: room_id(&ada) };
    net.admin().await.close_room(request).await.expect("closed");
    let ended = ada.raw.end().await.expect_err("it ended");
    assert_eq!(refusal(&ended), because(Code::Aborted, "ROOM_ENDED"));
}

/// Lets the game go on, also when the test fails.
struct Releases(Arc<(Mutex<bool>, Condvar)>);

impl Drop for Releases {
    fn drop(&mut self) {
        *self.0.0.lock().expect("no panic") = false;
        self.0.1.notify_all();
    }
}

/// In real time: a game that hangs holds up a thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_whose_game_hangs_holds_up_nobody_who_asks() {
    let hangs = Arc::new((Mutex::new(true), Condvar::new()));
    let begins = Arc::new(AtomicBool::new(false));
    let (held, begun) = (Arc::clone(&hangs), Arc::clone(&begins));
    let game = Hooked(Arc::new(move || {
        if begun.load(Ordering::Acquire) {
            // Tasks for another thread, so that it wakes and sees to the clock: this one may have been the last to do so.
            let mut others = JoinSet::new();
            others.spawn(async {});
            others.spawn(async {});
            others.detach_all();
            let waits = held.0.lock().expect("no panic");
            drop(held.1.wait_while(waits, |hangs| *hangs).expect("no panic"));
        }
    }));
    let _releases = Releases(hangs);
    let net = Net::with_game(&[], Arc::new(game));
    let joined = join(&net, create("Hung", false)).await.expect("joined");
    let room_id = joined.room.expect("a room").room_id;
    begins.store(true, Ordering::Release);
    let room = net.parts.sessions().rooms.all().remove(0);
    // Once its thread hangs, it makes no tick any more.
    let mut frames = room.frames();
    while tokio::time::timeout(Duration::from_secs(1), frames.changed()).await.is_ok() {}

    let request = v1::ListPlayersRequest { room_id };
    let mut admin = net.admin().await;
    let late = tokio::time::timeout(Duration::from_secs(30), admin.list_players(request)).await;
    let late = late.expect("an answer").expect_err("it hangs");
    assert_eq!(refusal(&late), because(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
}

#[tokio::test(start_paused = true)]
async fn each_call_is_counted_and_logged_with_what_became_of_it() {
    logged();
    let net = Net::new(&[]);
    let ada = net.player("Ada").await;
    let room_id = room_id(&ada);
    let mut admin = net.admin().await;
    let who = Some(v1::kick_request::Who::Player(1));
    let kick = v1::KickRequest { room_id: room_id.clone(), who };
    admin.kick(kick.clone()).await.expect("kicked");
    admin.kick(kick).await.expect_err("gone");
    let calls = calls(|fields| fields["room"] == room_id);
    let said = |call: &serde_json::Value| {
        ["verb", "room", "peer", "answer"]
            .map(|field| call["fields"][field].as_str().map(str::to_owned))
    };
    let expected =
        |answer: &str| ["Kick", &room_id, "unknown", answer].map(|text| Some(text.to_owned()));
    assert_eq!(
        calls.iter().map(said).collect::<Vec<_>>(),
        [expected("OK"), expected("SESSION_NOT_FOUND")]
    );
    let text = logged().text();
    assert!(text.contains(&ada.welcome.player_id), "who it was: {text}");
    assert!(!text.contains(&ada.welcome.resume_token));

    let metrics = net.parts.sessions().metrics.render();
    for status in ["OK", "NOT_FOUND"] {
        let sample = format!(
            "fray_rpc_finished_total{{rpc_method=\"fray.v1.Admin/Kick\",grpc_status=\"{status}\"}} 1"
        );
        assert!(metrics.contains(&sample), "{sample} in {metrics}");
    }
}
