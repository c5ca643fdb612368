//! Streams that begin or go on as none should: each gets its status, and is counted under its reason.

use crate::attacker::Scene;
use crate::support::{Raw, hello, hello_with_ticket, hello_with_token, reason};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fray_proto::v1::play_request::Message as Request;
use fray_proto::v1::{self, Hello, JoinRequest, Move, Ping};
use fray_server::session::keyring::{Ring, TicketKey, new_pem};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use tonic::Code;

/// Not a stream's first message, but what follows a good one.
async fn after_a_good_beginning(scene: &Scene, messages: Vec<Request>) -> Raw {
    let ticket = scene.net.ticket("Eve").await;
    let mut player = scene.net.open(hello_with_ticket(&ticket)).await.expect("seated");
    for message in messages {
        player.raw.send(message).await;
    }
    player.raw
}

async fn beginning(scene: &Scene, message: Request) -> Raw {
    let mut raw = scene.net.raw().await;
    raw.send(message).await;
    raw
}

fn a_move(change: impl FnOnce(&mut Move)) -> Request {
    let mut message = Move { sequence: 1, ..Default::default() };
    change(&mut message);
    Request::Move(message)
}

#[tokio::test(start_paused = true)]
async fn each_bad_input_has_its_status_and_its_counter() {
    let scene = Scene::new(&["--allow-guests", "false"]).await;
    let good = scene.net.ticket("Eve").await;
    let other = scene.net.ticket("Mallory").await;
    let parts = |ticket: &str| ticket.split('.').map(str::to_owned).collect::<Vec<_>>();
    // Another's claims under a good signature.
    let forged =
        [&parts(&good)[0], &parts(&other)[1], &parts(&good)[2]].map(String::as_str).join(".");
    let large = Request::Hello(Hello { player_name: "a".repeat(17 * 1024), ..hello() });
    let unauthenticated = Code::Unauthenticated;
    let invalid = Code::InvalidArgument;
    let beginnings = [
        (Request::Ping(Ping::default()), invalid, "HELLO_EXPECTED"),
        (a_move(|_| {}), invalid, "HELLO_EXPECTED"),
        (Request::Hello(hello()), unauthenticated, "TICKET_MISSING"),
        (Request::Hello(hello_with_ticket("what")), unauthenticated, "TICKET_INVALID"),
        (Request::Hello(hello_with_ticket(&forged)), unauthenticated, "TICKET_INVALID"),
        (Request::Hello(hello_with_ticket(&"a.".repeat(4000))), unauthenticated, "TICKET_INVALID"),
        (Request::Hello(hello_with_token("what")), Code::NotFound, "SESSION_NOT_FOUND"),
        (
            Request::Hello(Hello { protocol_version: 99, ..hello() }),
            Code::FailedPrecondition,
            "PROTOCOL_UNSUPPORTED",
        ),
        (large, Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
    ];
    for (message, code, why) in beginnings {
        let before = scene.refused(why);
        let status = beginning(&scene, message).await.end().await.expect_err(why);
        assert_eq!((status.code(), reason(&status).as_str()), (code, why));
        assert_eq!(scene.refused(why), before + 1, "{why} is counted");
    }

    let far = (2..70).map(|sequence| a_move(|message| message.sequence = sequence)).collect();
    let flood: Vec<_> =
        (1..300).map(|sequence| a_move(|message| message.sequence = sequence)).collect();
    let large = a_move(|message| message.payload = vec![0; 17 * 1024]);
    let pings: Vec<_> =
        (1..300).map(|echo| Request::Ping(Ping { echo, ..Default::default() })).collect();
    let later = [
        (vec![Request::Hello(hello())], invalid, "HELLO_EXPECTED"),
        (vec![a_move(|message| message.axis_x = i32::MAX)], invalid, "INVALID_ARGUMENT"),
        (vec![a_move(|message| message.axis_y = i32::MIN)], invalid, "INVALID_ARGUMENT"),
        (vec![a_move(|message| message.aim = Some(u32::MAX))], invalid, "INVALID_ARGUMENT"),
        (vec![a_move(|message| message.sequence = 0)], invalid, "INVALID_ARGUMENT"),
        (vec![a_move(|message| message.payload = vec![0; 65])], invalid, "INVALID_ARGUMENT"),
        (vec![large], Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        // From the future: the next is missing, and so many are not kept.
        (
            vec![a_move(|message| message.sequence = u32::MAX)],
            Code::ResourceExhausted,
            "MOVE_FLOOD",
        ),
        (far, Code::ResourceExhausted, "MOVE_FLOOD"),
        (flood, Code::ResourceExhausted, "MOVE_FLOOD"),
        (pings, Code::ResourceExhausted, "MOVE_FLOOD"),
    ];
    for (messages, code, why) in later {
        let before = scene.refused(why);
        let status = after_a_good_beginning(&scene, messages).await.end().await.expect_err(why);
        assert_eq!((status.code(), reason(&status).as_str()), (code, why));
        assert_eq!(scene.refused(why), before + 1, "{why} is counted");
    }

    let before = scene.refused("HELLO_TIMEOUT");
    let began = Instant::now();
    let status = scene.net.raw().await.end().await.expect_err("nothing is said");
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "HELLO_TIMEOUT")
    );
    assert_eq!(scene.refused("HELLO_TIMEOUT"), before + 1);
    let grace = std::time::Duration::from_secs(120);
    tokio::time::sleep(grace).await;
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_ticket_opens_nothing() {
    let scene = Scene::new(&[]).await;
    // The server's key from now on, so that the test can sign, too.
    let pem = new_pem().expect("a key");
    let key = TicketKey::from_pem("a", &pem).expect("it is sound");
    scene.net.parts.sessions().keys.replace(Ring::of_one(key));
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = EncodingKey::from_ec_der(&STANDARD.decode(der).expect("base64"));
    let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::ES256) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let ticket = |expires_s: u64| {
        let claims = json!({
            "iss": "fray", "aud": "play", "sub": "p1", "room": "nosuchroom", "route": "MTA=", "version": "v1",
            "iat": now - 100, "exp": expires_s,
        });
        jsonwebtoken::encode(&header, &claims, &key).expect("signed")
    };
    // What is as good in all else gets as far as to its room, which is not there.
    for (expires_s, code, why) in [
        (now + 100, Code::NotFound, "ROOM_NOT_FOUND"),
        (now - 10, Code::Unauthenticated, "TICKET_INVALID"),
    ] {
        let before = scene.refused(why);
        let hello = Request::Hello(hello_with_ticket(&ticket(expires_s)));
        let status = beginning(&scene, hello).await.end().await.expect_err(why);
        assert_eq!((status.code(), reason(&status).as_str()), (code, why));
        assert_eq!(scene.refused(why), before + 1, "{why} is counted");
    }
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_has_so_many_streams_after_each_other_and_then_waits() {
    let scene = Scene::new(&[]).await;
    let ticket = scene.net.ticket("Eve").await;
    let player = scene.net.open(hello_with_ticket(&ticket)).await.expect("seated");
    let hello = hello_with_token(&player.welcome.resume_token);
    let mut resumed = 0;
    let mut streams = Vec::new();
    let refused = loop {
        match scene.net.open(hello.clone()).await {
            Ok(stream) => streams.push(stream),
            Err(status) => break status,
        }
        resumed += 1;
        assert!(resumed < 100, "it is never refused");
    };
    // Some come back while all of this goes on.
    assert!((20..30).contains(&resumed), "{resumed}");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(scene.refused("OVERLOADED"), 1);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut last = scene.net.open(hello).await.expect("after a while it may again");
    last.update().await.expect("goes on").expect("an update");
    drop((streams, player));
    assert!(last.leave().await.is_ok());
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn rooms_that_are_not_there_and_names_that_cannot_be_are_counted() {
    let scene = Scene::new(&["--allow-guests"]).await;
    let nowhere = Hello { room_id: "nosuchroom".into(), ..hello() };
    let named = Hello { player_name: "a".repeat(1000), ..hello() };
    for (message, code, why) in [
        (nowhere, Code::NotFound, "ROOM_NOT_FOUND"),
        (named, Code::InvalidArgument, "INVALID_ARGUMENT"),
    ] {
        let before = scene.refused(why);
        let status = beginning(&scene, Request::Hello(message)).await.end().await.expect_err(why);
        assert_eq!((status.code(), reason(&status).as_str()), (code, why));
        assert_eq!(scene.refused(why), before + 1, "{why} is counted");
    }
    let room = v1::join_request::Room::RoomId("nosuchroom".into());
    let join = JoinRequest { room: Some(room), ..Default::default() };
    let before = scene.refused("ROOM_NOT_FOUND");
    let status = scene.net.lobby().await.join(join).await.expect_err("no such room");
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(scene.refused("ROOM_NOT_FOUND"), before + 1);
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn moves_of_the_past_are_ignored_and_extreme_values_are_survived() {
    let scene = Scene::new(&[]).await;
    let ticket = scene.net.ticket("Eve").await;
    let mut player = scene.net.open(hello_with_ticket(&ticket)).await.expect("seated");
    for step in 0..5 {
        player.steer(step, 127).await;
        player.until_all_is_acked().await;
    }
    // Again, and otherwise than the first time.
    for sequence in 1..=5 {
        let again = Move { sequence, axis_x: -127, axis_y: -127, ..Default::default() };
        player.raw.send(Request::Move(again)).await;
    }
    // All that a move may be at its limits; what the client says that it saw may be anything.
    for (x, y, seen) in [(127, -127, u32::MAX), (-127, 127, 0)] {
        let sequence = player.sent.len() as u32 + 1;
        let edge = Move {
            sequence,
            axis_x: x,
            axis_y: y,
            buttons: u32::MAX,
            aim: Some(u32::from(u16::MAX)),
            target: Some(u32::MAX),
            seen_tick: seen,
            ..Default::default()
        };
        player.sent.push(edge.clone());
        player.raw.send(Request::Move(edge)).await;
        player.raw.send(Request::Ping(Ping { seen_tick: seen, echo: u64::MAX })).await;
        player.until_all_is_acked().await;
    }
    assert!(player.leave().await.is_ok());
    scene.stays_as_before().await;
}
