//! A player's stream, from Hello to its status: every rule written above service `Play`.

mod support;

use http_body_util::BodyExt as _;

use fray_proto::v1::play_request::Message as Request;
use fray_proto::v1::play_response::Message as Response;
use fray_proto::v1::{self, Hello};
use support::{Net, Player, hello, hello_with_ticket, hello_with_token, reason};
use tonic::Code;

#[tokio::test(start_paused = true)]
async fn a_player_gets_the_state_of_the_game_every_tick() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    assert_eq!(player.welcome.tick_rate_hz, 20);
    assert_eq!(player.welcome.game, "arena");
    player.until("60 updates", |player| player.updates.len() >= 60).await;
    assert!(
        player.updates.iter().all(|(_, span)| *span == 1),
        "no tick was skipped: {:?}",
        player.updates
    );
    assert!(player.replica.checksums_checked() > 5);
    assert!(player.replica.entity(player.welcome.entity).is_some(), "its ship is in view");
}

#[tokio::test(start_paused = true)]
async fn two_players_see_exactly_the_same() {
    let net = Net::new(&[]);
    let mut first = net.player("Ada").await;
    let mut second = net.player("Bob").await;
    for _ in 0..30 {
        first.update().await.expect("goes on");
        let tick = first.replica.tick();
        second.until("the same tick", |player| player.replica.tick() >= tick).await;
    }
    assert_eq!(second.replica.tick(), first.replica.tick());
    for (cell, entities) in first.replica.cells() {
        if let Some((_, same)) = second.replica.cells().find(|(other, _)| *other == cell) {
            assert_eq!(entities, same, "cell {cell}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn moves_are_applied_once_each_and_in_order() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    for step in 0..200 {
        player.steer(step % 127, 127 - step).await;
        if step % 3 == 0 {
            player.update().await.expect("goes on");
        }
    }
    player.until_all_is_acked().await;
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_ignored_and_a_gap_waits() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    player.steer(1, 0).await;
    let again = player.sent[0].clone();
    player.raw.send(Request::Move(again)).await;
    player.until_all_is_acked().await;

    let held_back = v1::Move { sequence: 2, axis_x: 2, ..Default::default() };
    let early = v1::Move { sequence: 3, axis_x: 3, ..Default::default() };
    player.raw.send(Request::Move(early.clone())).await;
    let ticks = player.updates.len();
    player.until("some ticks", |player| player.updates.len() >= ticks + 5).await;
    assert_eq!(player.ack.input_ack, 1, "nothing is applied past the gap");
    player.raw.send(Request::Move(held_back.clone())).await;
    player.sent.extend([held_back, early]);
    player.until_all_is_acked().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_move_is_acknowledged_and_reported() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    let refused = v1::Move { sequence: 1, payload: b"what".to_vec(), ..Default::default() };
    player.raw.send(Request::Move(refused.clone())).await;
    player.sent.push(refused);
    player.until_all_is_acked().await;
    let told: Vec<_> =
        player.refusals.iter().map(|refusal| (refusal.sequence, refusal.reason())).collect();
    assert_eq!(told, [(1, v1::refusal::Reason::InvalidPayload)]);
}

#[tokio::test(start_paused = true)]
async fn half_closing_is_leaving_and_the_last_update_acknowledges_everything() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    player.update().await.expect("goes on");
    for step in 0..50 {
        player.steer(step, 0).await;
    }
    assert_eq!(player.leave().await.map_err(|status| status.code()), Ok(()));
    assert_eq!(player.ack.input_ack, 50);
    assert_eq!(player.ack.applied_hash, player.expected_hash());
    let token = player.welcome.resume_token.clone();
    let gone = net.open(hello_with_token(&token)).await.err().expect("the session is over");
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
}

#[tokio::test(start_paused = true)]
async fn leave_is_the_same_as_half_closing() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    player.update().await.expect("goes on");
    player.steer(5, 5).await;
    player.raw.send(Request::Leave(v1::Leave {})).await;
    player.acks_updates = false;
    while player.update().await.expect("ends well").is_some() {}
    assert_eq!(player.ack.input_ack, 1);
}

/// Breaks the stream of `player` and comes back by its token.
async fn come_back(net: &Net, player: Player) -> Player {
    let token = player.welcome.resume_token.clone();
    drop(player);
    net.open(hello_with_token(&token)).await.expect("comes back")
}

#[tokio::test(start_paused = true)]
async fn a_dropped_player_comes_back_as_itself() {
    let net = Net::new(&[]);
    let mut other = net.player("Bob").await;
    let mut player = net.player("Ada").await;
    for step in 0..20 {
        player.steer(step, 100).await;
    }
    player.until_all_is_acked().await;
    let (before, ack) = (player.welcome.clone(), player.ack);

    let token = before.resume_token.clone();
    drop(player);
    // Five seconds go by: the ship holds course, and nobody else notices.
    let seen = other.updates.len();
    other.until("time goes by", |other| other.updates.len() > seen + 100).await;
    let mut back = net.open(hello_with_token(&token)).await.expect("comes back");
    assert!(back.welcome.resumed);
    assert_eq!(back.welcome.player_id, before.player_id);
    assert_eq!(back.welcome.player, before.player);
    assert_eq!(back.welcome.entity, before.entity);
    assert_eq!(back.welcome.resume_token, before.resume_token, "constant for the session");
    assert_eq!(back.welcome.last_applied_sequence, ack.input_ack);
    assert_eq!(back.welcome.applied_hash, ack.applied_hash);
    back.steer(0, 50).await;
    back.until_all_is_acked().await;
    other.until("the other goes on", |other| other.updates.len() > 5).await;
    assert!(other.updates.iter().all(|(_, span)| *span == 1));
}

#[tokio::test(start_paused = true)]
async fn moves_that_were_on_their_way_are_resent_and_applied_once() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    player.update().await.expect("goes on");
    for step in 0..30 {
        player.steer(step, 1).await;
    }
    player.update().await.expect("goes on");
    let sent = player.sent.clone();
    let mut back = come_back(&net, player).await;
    let applied = back.welcome.last_applied_sequence as usize;
    assert!(applied < 30, "some were cut off");
    // What the client does: it resends all that it holds to be unacknowledged, also what was applied meanwhile.
    for message in &sent[applied.saturating_sub(3)..] {
        back.raw.send(Request::Move(message.clone())).await;
    }
    back.sent = sent[applied..].to_vec();
    back.until_all_is_acked().await;
    assert_eq!(back.ack.applied_count, 30);
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_period_the_session_is_over() {
    let net = Net::new(&["--grace", "2s"]);
    let mut other = net.player("Bob").await;
    let player = net.player("Ada").await;
    let (token, number) = (player.welcome.resume_token.clone(), player.welcome.player);
    drop(player);
    let is_listed = |other: &Player| {
        other.replica.globals().iter().any(|e| e.kind == 16 && e.attributes[0] == number as i32)
    };
    other.until("it is there", is_listed).await;
    other.until("it is gone", |other| !is_listed(other)).await;
    let gone = net.open(hello_with_token(&token)).await.err().expect("too late");
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
}

#[tokio::test(start_paused = true)]
async fn a_second_stream_takes_the_session_over() {
    let net = Net::new(&[]);
    let mut first = net.player("Ada").await;
    first.update().await.expect("goes on");
    let mut second =
        net.open(hello_with_token(&first.welcome.resume_token)).await.expect("takes over");
    // What the first still brings is neither applied nor acknowledged.
    first.steer(77, 77).await;
    let ended = first.raw.end().await.expect_err("taken over");
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Aborted, "TAKEN_OVER"));
    second.steer(1, 2).await;
    second.until_all_is_acked().await;
    assert_eq!(second.welcome.entity, first.welcome.entity);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_acknowledge_gets_no_more_than_the_window_and_then_one_catch_up() {
    let net = Net::new(&["--staleness-window", "500ms"]);
    let mut player = net.player("Ada").await;
    player.acks_updates = false;
    let mut heartbeats = 0;
    while heartbeats < 2 {
        match player.raw.next().await.expect("goes on") {
            Some(Response::Update(update)) => player.take_quietly(&update),
            Some(Response::Pong(pong)) => {
                assert_eq!(pong.echo, 0);
                heartbeats += 1;
                // Alive, but without having seen anything new.
                player.raw.send(Request::Ping(v1::Ping::default())).await;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(player.updates.len(), 11, "the first one and ten ticks of 50 ms");
    player.acks_updates = true;
    let seen_tick = player.replica.tick();
    player.raw.send(Request::Ping(v1::Ping { seen_tick, echo: 0 })).await;
    let next = player.update().await.expect("goes on").expect("an update");
    assert!(next.tick > seen_tick + 100, "the newest, not the next: {}", next.tick);
    assert_eq!(next.base_tick, Some(0), "too far back for deltas: from nothing");
    player
        .until("as if nothing had been", |player| {
            player.updates.iter().rev().take_while(|(_, span)| *span == 1).count() > 20
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_of_what_was_never_sent_opens_nothing() {
    let net = Net::new(&["--staleness-window", "500ms"]);
    let mut player = net.player("Ada").await;
    player.acks_updates = false;
    player.update().await.expect("goes on");
    player.raw.send(Request::Ping(v1::Ping { seen_tick: u32::MAX, echo: 0 })).await;
    while !matches!(player.raw.next().await.expect("goes on"), Some(Response::Pong(_))) {}
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_gone_after_the_idle_timeout() {
    let net = Net::new(&["--idle-timeout", "3s"]);
    let mut player = net.player("Ada").await;
    let ended = player.raw.end().await.expect_err("idle");
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::DeadlineExceeded, "IDLE_TIMEOUT"));
    let back = net.open(hello_with_token(&player.welcome.resume_token)).await;
    assert!(back.is_ok(), "but it may come back");
}

#[tokio::test(start_paused = true)]
async fn a_ping_comes_back() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    player.raw.send(Request::Ping(v1::Ping { seen_tick: 0, echo: 0xdead_beef })).await;
    loop {
        if let Some(Response::Pong(pong)) = player.raw.next().await.expect("goes on") {
            assert_eq!(pong.echo, 0xdead_beef);
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_replica_is_started_again_from_nothing() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    player.update().await.expect("goes on");
    player.raw.send(Request::Resync(v1::Resync { reason: 99, tick: 1, cell: None })).await;
    let fresh = |player: &Player, update: &v1::Update| {
        update.base_tick == Some(0) && player.updates.len() > 1
    };
    for _ in 0..20 {
        let update = player.update().await.expect("goes on").expect("an update");
        if fresh(&player, &update) {
            return;
        }
    }
    panic!("no update from nothing came");
}

/// How a stream that begins like this ends.
async fn refused(net: &Net, hello: Hello) -> (Code, String) {
    let status = net.open(hello).await.err().expect("refused");
    (status.code(), reason(&status))
}

#[tokio::test(start_paused = true)]
async fn bad_beginnings_are_refused_with_the_reason() {
    let net = Net::new(&["--allow-guests", "false"]);
    let is = |code, reason: &str| (code, reason.to_owned());
    assert_eq!(refused(&net, hello()).await, is(Code::Unauthenticated, "TICKET_MISSING"));
    assert_eq!(
        refused(&net, hello_with_ticket("what")).await,
        is(Code::Unauthenticated, "TICKET_INVALID")
    );
    assert_eq!(
        refused(&net, hello_with_token("what")).await,
        is(Code::NotFound, "SESSION_NOT_FOUND")
    );
    let from_the_future = Hello { protocol_version: 99, ..hello() };
    assert_eq!(
        refused(&net, from_the_future).await,
        is(Code::FailedPrecondition, "PROTOCOL_UNSUPPORTED")
    );

    let mut raw = net.raw().await;
    raw.send(Request::Ping(v1::Ping::default())).await;
    let status = raw.end().await.expect_err("no Hello");
    assert_eq!((status.code(), reason(&status)), is(Code::InvalidArgument, "HELLO_EXPECTED"));

    let mut raw = net.raw().await;
    let status = raw.end().await.expect_err("nothing at all");
    assert_eq!((status.code(), reason(&status)), is(Code::DeadlineExceeded, "HELLO_TIMEOUT"));

    let mut player = net.player("Ada").await;
    player.raw.send(Request::Hello(hello())).await;
    let status = player.raw.end().await.expect_err("a second Hello");
    assert_eq!((status.code(), reason(&status)), is(Code::InvalidArgument, "HELLO_EXPECTED"));
}

#[tokio::test(start_paused = true)]
async fn guests_are_seated_where_they_are_allowed() {
    let net = Net::new(&["--allow-guests"]);
    let mut guest = net.open(Hello { player_name: "Gus".into(), ..hello() }).await.expect("seated");
    guest.update().await.expect("goes on");
    let names: Vec<_> =
        guest.replica.globals().iter().filter_map(|entity| entity.payload.clone()).collect();
    assert_eq!(names, [b"Gus".as_slice().into()]);
    let nowhere = Hello { room_id: "nosuchroom".into(), ..hello() };
    assert_eq!(refused(&net, nowhere).await, (Code::NotFound, "ROOM_NOT_FOUND".into()));
}

#[tokio::test(start_paused = true)]
async fn moves_out_of_range_end_the_stream_and_harm_nobody_else() {
    let net = Net::new(&[]);
    let mut other = net.player("Bob").await;
    let wrong = [
        v1::Move { sequence: 1, axis_x: 128, ..Default::default() },
        v1::Move { sequence: 1, axis_y: i32::MIN, ..Default::default() },
        v1::Move { sequence: 1, aim: Some(1 << 16), ..Default::default() },
        v1::Move { sequence: 0, ..Default::default() },
        v1::Move { sequence: 1, payload: vec![0; 65], ..Default::default() },
    ];
    for message in wrong {
        let mut player = net.player("Eve").await;
        player.raw.send(Request::Move(message)).await;
        let status = player.raw.end().await.expect_err("refused");
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_ARGUMENT")
        );
    }
    other.until("it goes on", |other| other.updates.len() > 20).await;
    assert!(other.updates.iter().all(|(_, span)| *span == 1));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_moves_ends_the_stream_and_harms_nobody_else() {
    let net = Net::new(&[]);
    let mut other = net.player("Bob").await;
    let mut player = net.player("Eve").await;
    for step in 0..1000 {
        player.steer(step % 100, 0).await;
    }
    let status = player.raw.end().await.expect_err("flooded");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MOVE_FLOOD"));
    other.until("it goes on", |other| other.updates.len() > 20).await;
    assert!(other.updates.iter().all(|(_, span)| *span == 1));
}

#[tokio::test(start_paused = true)]
async fn when_the_server_ends_a_stream_the_client_s_half_is_cancelled_too() {
    let net = Net::new(&[]);
    let mut player = net.player("Eve").await;
    let requests = player.raw.requests.clone().expect("open");
    player.raw.send(Request::Hello(hello())).await;
    player.raw.end().await.expect_err("a second Hello");
    // Nobody reads it any more: the channel behind the request stream is dropped.
    requests.closed().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_client_cancels_the_server_lets_go_of_its_half() {
    let net = Net::new(&[]);
    let mut other = net.player("Bob").await;
    let player = net.player("Eve").await;
    let number = player.welcome.player as i32;
    let connected = |other: &Player| {
        let mut entries = other.replica.globals().iter();
        let entry = entries.find(|entity| entity.kind == 16 && entity.attributes[0] == number);
        entry.map(|entry| entry.attributes[6] & 1)
    };
    other.until("it is there", |other| connected(other) == Some(1)).await;
    drop(player);
    other.until("its stream is seen to be gone", |other| connected(other) == Some(0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_a_drop_and_never_a_leave() {
    use futures_util::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};
    use tower::{Service as _, ServiceExt as _};
    // Straight into the service, with a body that breaks the way a cancelled stream does while its response goes on.
    let net = Net::new(&["--allow-guests"]);
    let first = v1::PlayRequest { message: Some(Request::Hello(hello())) };
    let mut framed = vec![0];
    {
        use prost::Message as _;
        framed.extend((first.encoded_len() as u32).to_be_bytes());
        framed.extend(first.encode_to_vec());
    }
    let body = tokio_stream::iter([
        Ok(hyper::body::Frame::data(bytes::Bytes::from(framed))),
        Err(tonic::Status::cancelled("stream error received: stream no longer needed")),
    ]);
    let request = http::Request::post("/fray.v1.Play/Play")
        .body(tonic::body::Body::new(StreamBody::new(body)))
        .expect("a request");
    let mut service = fray_server::rpc::play::Service::new(net.parts.lobby().clone());
    let response = service.ready().await.expect("ready").call(request).await.expect("answered");
    let mut frames = response.into_body().into_data_stream();
    while frames.next().await.is_some_and(|frame| frame.is_ok()) {}
    let room = net.parts.sessions().rooms.all().pop().expect("the room is there");
    assert_eq!(room.info().players(), 1, "the player may come back");
}

#[tokio::test(start_paused = true)]
async fn leaving_with_a_gap_in_the_moves_frees_the_seat() {
    let net = Net::new(&["--allow-guests", "--room-capacity", "1"]);
    let mut player = net.open(hello()).await.expect("seated");
    for sequence in 2..=64 {
        let early = v1::Move { sequence, ..Default::default() };
        player.raw.send(Request::Move(early)).await;
    }
    assert!(player.leave().await.is_ok(), "what can be applied is applied; the rest never can");
    assert_eq!(player.ack.input_ack, 0);
    let room = net.parts.sessions().rooms.all().pop().expect("the room is there");
    assert_eq!(room.info().players(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_move_from_too_far_ahead_is_a_flood() {
    let net = Net::new(&[]);
    let mut player = net.player("Eve").await;
    player.raw.send(Request::Move(v1::Move { sequence: 66, ..Default::default() })).await;
    let status = player.raw.end().await.expect_err("too far ahead");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MOVE_FLOOD"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_peer_takes_no_bytes_is_given_up() {
    let net = Net::new(&["--allow-guests", "--idle-timeout", "3s", "--grace", "2s"]);
    let mut response = net.silent_stream().await;
    // The Welcome is taken, and from then on nothing: hyper does not poll a body that it cannot send.
    assert!(response.frame().await.is_some_and(|frame| frame.is_ok()));
    let room = net.parts.sessions().rooms.all().pop().expect("the room is there");
    assert_eq!(room.info().players(), 1);
    let mut frames = room.frames();
    let patience_ticks = 20 * (3 + 2) + 10;
    while frames.borrow_and_update().tick < patience_ticks {
        frames.changed().await.expect("the room goes on");
    }
    assert_eq!(room.info().players(), 0);
    let mut last = None;
    while let Some(frame) = response.frame().await {
        last = frame.ok().and_then(|frame| frame.into_trailers().ok());
    }
    let status = last.expect("trailers").remove("grpc-status");
    assert_ne!(status.expect("a status"), "0", "when it is polled again, it says why");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_shown_again_gives_the_same_resume_token() {
    let net = Net::new(&[]);
    let ticket = net.ticket("Ada").await;
    let first = net.open(hello_with_ticket(&ticket)).await.expect("seated");
    let second = net.open(hello_with_ticket(&ticket)).await.expect("takes over");
    assert_eq!(first.welcome.resume_token, second.welcome.resume_token);
}

#[tokio::test(start_paused = true)]
async fn messages_and_fields_from_a_newer_client_are_survived() {
    use prost::Message as _;
    // A member of the oneof that is not known here.
    let newer = v1::PlayRequest::decode(b"\xba\x3e\x03abc".as_slice()).expect("decodes");
    assert_eq!(newer.message, None);
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    let requests = player.raw.requests.clone().expect("open");
    requests.send(newer).await.expect("sent");
    player.steer(3, 3).await;
    player.until_all_is_acked().await;
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_says_so_and_ends_its_streams() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    player.update().await.expect("goes on");
    net.parts.sessions().drain();
    let mut was_told = false;
    let status = loop {
        match player.raw.next().await {
            Ok(Some(Response::Notice(notice))) => {
                was_told = notice.kind() == v1::notice::Kind::ShuttingDown;
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("it should not end with OK"),
            Err(status) => break status,
        }
    };
    assert!(was_told);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    let refused =
        net.lobby().await.join(v1::JoinRequest::default()).await.expect_err("no more players");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
}

#[tokio::test(start_paused = true)]
async fn a_spectator_sees_the_room_a_few_times_a_second() {
    let net = Net::new(&[]);
    let mut player = net.player("Ada").await;
    let mut client = v1::play_client::PlayClient::new(net.connect().await);
    let mut watched =
        client.watch(v1::WatchRequest::default()).await.expect("watches").into_inner();
    let mut replica = None;
    let mut ticks = Vec::new();
    while ticks.len() < 12 {
        let message = watched.message().await.expect("goes on").and_then(|message| message.message);
        match message.expect("a message") {
            v1::watch_response::Message::Welcome(welcome) => {
                assert_eq!((welcome.player, welcome.resume_token.as_str()), (0, ""));
                replica = fray_proto::replica::Replica::for_welcome(&welcome);
            }
            v1::watch_response::Message::Update(update) => {
                assert!(update.move_ack.is_none() && update.private.is_none());
                replica.as_mut().expect("welcomed").apply(&update).expect("fits");
                ticks.push(update.tick);
                player.update().await.expect("goes on");
            }
            v1::watch_response::Message::Notice(_) => {}
        }
    }
    assert!(
        ticks.windows(2).all(|pair| pair[1] - pair[0] >= 4),
        "at most five a second: {ticks:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_spectator_who_comes_to_a_room_that_stands_still_is_told_so() {
    let net = Net::new(&[]);
    let _player = net.player("Ada").await;
    let room = net.parts.sessions().rooms.all().remove(0);
    room.freeze().expect("told");
    room.frozen().wait_for(|frozen| *frozen).await.expect("stands still");
    let mut watched = net.watch(v1::WatchRequest::default()).await.expect("watches").responses;
    let kind = loop {
        let message = watched.message().await.expect("goes on").and_then(|message| message.message);
        if let v1::watch_response::Message::Notice(notice) = message.expect("a message") {
            break notice.kind();
        }
    };
    assert_eq!(kind, v1::notice::Kind::RoomFrozen);
}

impl Player {
    /// Applies an update without acknowledging it.
    fn take_quietly(&mut self, update: &v1::Update) {
        let held = self.replica.tick();
        self.replica.apply(update).expect("fits");
        self.updates.push((update.tick, update.tick - held));
    }
}
