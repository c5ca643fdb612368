//! Finding rooms and seats.

mod support;

use fray_proto::v1::join_request::Room;
use fray_proto::v1::{self, JoinRequest};
use support::{Net, hello_with_ticket, reason};
use tonic::Code;

fn create(name: &str, capacity: u32, private: bool) -> JoinRequest {
    let room = v1::CreateRoom { name: name.into(), capacity, private };
    JoinRequest { room: Some(Room::Create(room)), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn players_fill_one_room_before_another_is_opened() {
    let net = Net::new(&["--room-capacity", "3"]);
    let mut lobby = net.lobby().await;
    let mut rooms = Vec::new();
    for _ in 0..7 {
        let joined = lobby.join(JoinRequest::default()).await.expect("joined").into_inner();
        rooms.push(joined.room.expect("a room").room_id);
    }
    rooms.dedup();
    assert_eq!(rooms.len(), 3, "3 + 3 + 1");
}

#[tokio::test(start_paused = true)]
async fn a_full_room_is_exhausted() {
    let net = Net::new(&[]);
    let mut lobby = net.lobby().await;
    let joined = lobby.join(create("Duel", 1, false)).await.expect("joined").into_inner();
    let room_id = joined.room.expect("a room").room_id;
    let request = JoinRequest { room: Some(Room::RoomId(room_id)), ..Default::default() };
    let full = lobby.join(request).await.expect_err("full");
    assert_eq!((full.code(), reason(&full).as_str()), (Code::ResourceExhausted, "ROOM_FULL"));
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_nobody_takes_is_free_again_after_a_minute() {
    let net = Net::new(&["--room-ttl", "1h"]);
    let mut lobby = net.lobby().await;
    let joined = lobby.join(create("Duel", 1, false)).await.expect("joined").into_inner();
    let room_id = joined.room.expect("a room").room_id;
    tokio::time::advance(std::time::Duration::from_secs(62)).await;
    let mut looks =
        lobby.watch_rooms(v1::WatchRoomsRequest {}).await.expect("watches").into_inner();
    loop {
        let news = looks.message().await.expect("goes on").expect("news");
        if news.rooms.iter().any(|room| room.room_id == room_id && room.players == 0) {
            break;
        }
    }
    let request = JoinRequest { room: Some(Room::RoomId(room_id)), ..Default::default() };
    lobby.join(request).await.expect("a free seat");
    let late = net.open(hello_with_ticket(&joined.ticket)).await.err().expect("too late");
    // The ticket's times are the world's, not the test's: what has run out here is the seat.
    assert_eq!((late.code(), reason(&late).as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
}

#[tokio::test(start_paused = true)]
async fn repeating_a_join_gives_the_same_seat() {
    let net = Net::new(&["--room-capacity", "1"]);
    let mut lobby = net.lobby().await;
    let request = JoinRequest { request_id: "r-1".into(), ..Default::default() };
    let first = lobby.join(request.clone()).await.expect("joined").into_inner();
    let again = lobby.join(request).await.expect("joined").into_inner();
    assert_eq!(first.player_id, again.player_id);
    assert_eq!(first.room, again.room);
    let other = JoinRequest { request_id: "r-2".into(), ..Default::default() };
    let other = lobby.join(other).await.expect("joined").into_inner();
    assert_ne!(first.player_id, other.player_id);
}

#[tokio::test(start_paused = true)]
async fn a_private_room_is_found_by_its_code_only() {
    let net = Net::new(&[]);
    let mut lobby = net.lobby().await;
    let joined = lobby.join(create("Den", 0, true)).await.expect("joined").into_inner();
    let room = joined.room.expect("a room");
    assert!(room.private && !room.code.is_empty());
    let listed =
        lobby.list_rooms(v1::ListRoomsRequest::default()).await.expect("listed").into_inner();
    assert!(listed.rooms.is_empty());
    let by_id = JoinRequest { room: Some(Room::RoomId(room.room_id)), ..Default::default() };
    assert_eq!(lobby.join(by_id).await.expect_err("hidden").code(), Code::NotFound);
    let by_code =
        JoinRequest { room: Some(Room::Code(room.code.to_lowercase())), ..Default::default() };
    lobby.join(by_code).await.expect("joined by code");
}

#[tokio::test(start_paused = true)]
async fn a_rejoin_returns_to_the_same_session_with_a_fresh_ticket() {
    let net = Net::new(&[]);
    let player = net.player("Ada").await;
    let (token, id) = (player.welcome.resume_token.clone(), player.welcome.player_id.clone());
    drop(player);
    let request = JoinRequest { resume_token: token, ..Default::default() };
    let joined = net.lobby().await.join(request).await.expect("rejoined").into_inner();
    assert_eq!(joined.player_id, id);
    let back = net.open(hello_with_ticket(&joined.ticket)).await.expect("comes back");
    assert!(back.welcome.resumed);
    assert_eq!(back.welcome.player_id, id);
}

#[tokio::test(start_paused = true)]
async fn rooms_are_listed_in_pages() {
    let net = Net::new(&[]);
    let mut lobby = net.lobby().await;
    for index in 0..5 {
        lobby.join(create(&format!("Room {index}"), 0, false)).await.expect("joined");
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListRoomsRequest { page_size: 2, page_token };
        let page = lobby.list_rooms(request).await.expect("listed").into_inner();
        assert!(page.rooms.len() <= 2);
        names.extend(page.rooms.into_iter().map(|room| room.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    names.sort_unstable();
    assert_eq!(names, ["Room 0", "Room 1", "Room 2", "Room 3", "Room 4"]);
    let request = v1::ListRoomsRequest { page_token: "!".into(), ..Default::default() };
    assert_eq!(
        lobby.list_rooms(request).await.expect_err("not a token").code(),
        Code::InvalidArgument
    );
}

#[tokio::test(start_paused = true)]
async fn those_who_watch_the_list_hear_of_rooms_that_open_fill_and_end() {
    let net = Net::new(&["--room-ttl", "5s"]);
    let mut lobby = net.lobby().await;
    let mut watched =
        lobby.watch_rooms(v1::WatchRoomsRequest {}).await.expect("watches").into_inner();
    assert!(watched.message().await.expect("goes on").expect("the list").rooms.is_empty());
    let player = net.player("Ada").await;
    let id = player.welcome.room.as_ref().expect("a room").room_id.clone();
    let news = watched.message().await.expect("goes on").expect("news");
    assert_eq!(
        news.rooms.iter().map(|room| (room.room_id.as_str(), room.players)).collect::<Vec<_>>(),
        [(id.as_str(), 1)]
    );
    let mut player = player;
    player.leave().await.expect("leaves");
    loop {
        let news = watched.message().await.expect("goes on").expect("news");
        if news.ended_room_ids == [id.clone()] {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_watch_a_list_without_news_hear_that_too() {
    let net = Net::new(&[]);
    let mut lobby = net.lobby().await;
    let mut watched =
        lobby.watch_rooms(v1::WatchRoomsRequest {}).await.expect("watches").into_inner();
    watched.message().await.expect("goes on").expect("the list");
    let since = tokio::time::Instant::now();
    for round in 1..=4 {
        let news = watched.message().await.expect("goes on").expect("a sign of life");
        assert!(news.rooms.is_empty() && news.ended_room_ids.is_empty());
        let seconds = since.elapsed().as_secs();
        assert!((round * 30..round * 32).contains(&seconds), "{round}: {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_cannot_be_are_refused() {
    let net = Net::new(&[]);
    let mut lobby = net.lobby().await;
    let wrong = [
        JoinRequest { player_name: "x".repeat(25), ..Default::default() },
        JoinRequest { player_hue: Some(360), ..Default::default() },
        JoinRequest { request_id: "x".repeat(65), ..Default::default() },
        create(&"x".repeat(41), 0, false),
    ];
    for request in wrong {
        let refused = lobby.join(request).await.expect_err("refused");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, "INVALID_ARGUMENT")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_rooms_are_opened_than_the_server_takes() {
    let net = Net::new(&["--rooms-max", "2"]);
    let mut lobby = net.lobby().await;
    for name in ["One", "Two"] {
        lobby.join(create(name, 0, false)).await.expect("joined");
    }
    let refused = lobby.join(create("Three", 0, false)).await.expect_err("refused");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "ROOMS_EXHAUSTED")
    );
}
