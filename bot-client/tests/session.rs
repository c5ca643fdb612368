//! Goal: a session keeps the rules of the stream, and finds every way in which a server breaks them.
//! Method: a session and a fake room exchange messages by hand, in virtual time, over a way of a given length that can be
//! cut at any moment.

mod support;

use fray_bot::client::session::Violation;
use fray_bot::client::{Config, Event, SendError, Session};
use fray_proto::v1::{self, play_request::Message as Request, play_response::Message as Response};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use support::pair::{Pair, TICK_MS, play};
use support::room::{Faults, WINDOW_MS, encode};

#[test]
fn moves_are_applied_once_and_acknowledged_and_checksums_agree() {
    for way_ms in [0, 80, 200] {
        let mut pair = Pair::new(Faults::default(), way_ms);
        pair.pass(3 * way_ms + 100);
        play(&mut pair, 30);
        assert!(!pair.counters.has_faults(), "{:?}", pair.counters);
        assert_eq!(pair.room.applied_count(1), 30);
        assert_eq!(pair.session.unacknowledged(), 0);
        assert!(pair.counters.checksums > 200);
    }
}

#[test]
fn predictions_need_no_corrections_when_nothing_surprises() {
    let mut pair = Pair::new(Faults::default(), 60);
    pair.pass(300);
    play(&mut pair, 3);
    pair.events.clear();
    play(&mut pair, 30);
    let corrections = pair.events.iter().filter_map(|event| match event {
        Event::Updated(update) => update.correction,
        _ => None,
    });
    assert_eq!(corrections.collect::<Vec<_>>(), []);
    let round_trip = pair.session.round_trip().expect("moves were acknowledged");
    assert!(round_trip.abs_diff(Duration::from_millis(120)) < Duration::from_millis(52));
}

#[test]
fn a_flipped_bit_is_found_and_healed_by_keyframes() {
    let mut pair = Pair::new(Faults { flip_bit_at: Some(20), ..Faults::default() }, 10);
    pair.pass(200);
    play(&mut pair, 15);
    assert_eq!(pair.counters.desyncs + pair.counters.broken_updates, 1);
    assert!(pair.requests().iter().any(|r| matches!(r, Request::Resync(_))));
    let last = pair.events.last().expect("something came");
    assert!(matches!(last, Event::Updated(_)), "{last:?}");
}

#[test]
fn a_world_that_came_apart_is_a_desync() {
    let mut pair = Pair::new(Faults { shift_silently_at: Some(20), ..Faults::default() }, 10);
    pair.pass(200);
    play(&mut pair, 15);
    assert_eq!(pair.counters.desyncs, 1);
    assert_eq!(pair.counters.broken_updates, 0);
}

#[test]
fn a_dropped_move_is_found() {
    let mut pair = Pair::new(Faults { drop_move: Some(7), ..Faults::default() }, 10);
    pair.pass(200);
    play(&mut pair, 15);
    assert_eq!((pair.counters.lost_moves, pair.counters.duplicate_moves), (1, 0));
}

#[test]
fn a_doubled_move_is_found() {
    let mut pair = Pair::new(Faults { double_move: Some(7), ..Faults::default() }, 10);
    pair.pass(200);
    play(&mut pair, 15);
    assert_eq!((pair.counters.lost_moves, pair.counters.duplicate_moves), (0, 1));
}

#[test]
fn a_dropped_and_a_doubled_move_in_one_acknowledgement_do_not_cancel_out() {
    let faults = Faults { drop_move: Some(3), double_move: Some(4), ..Faults::default() };
    let mut pair = Pair::new(faults, 10);
    pair.pass(200);
    for n in 0..5 {
        pair.steer(n).expect("there is room");
    }
    pair.pass(200);
    assert_eq!(pair.counters.altered_moves, 1);
}

#[test]
fn a_player_at_rest_acknowledges_at_least_every_quarter_of_the_window() {
    let mut pair = Pair::new(Faults::default(), 10);
    pair.pass(100);
    let mut seen = pair.requests().len();
    for _ in 0..20 {
        pair.pass(u64::from(WINDOW_MS / 4) + 1);
        let pings = pair.requests()[seen..].iter().filter(|r| matches!(r, Request::Ping(_)));
        assert!(pings.count() >= 1);
        seen = pair.requests().len();
    }
    let seen_tick = pair.stream.as_ref().expect("a stream is open").seen_tick;
    assert!(pair.room.tick - seen_tick <= 7);
}

#[test]
fn no_more_than_64_moves_wait_for_their_acknowledgement() {
    let mut pair = Pair::new(Faults::default(), 10);
    pair.pass(100);
    for n in 0..64 {
        pair.steer(n).expect("there is room");
    }
    assert_eq!(pair.steer(0), Err(SendError::WindowFull));
    pair.pass(1000);
    assert_eq!(pair.room.applied_count(1), 64);
    pair.steer(0).expect("there is room again");
}

#[test]
fn a_player_that_is_cut_off_makes_no_moves_and_loses_none() {
    let mut pair = Pair::new(Faults::default(), 100);
    pair.pass(400);
    for round in 0..20 {
        for n in 0..3 {
            pair.steer(n * 20).expect("there is room");
            // Somewhere on the way, be it up, in the room or down.
            pair.pass(40 + round * 11 % 90);
        }
        pair.cut();
        assert_eq!(pair.steer(1), Err(SendError::NotOpen));
        pair.pass(50);
        pair.open();
        pair.pass(450);
    }
    pair.pass(500);
    assert!(!pair.counters.has_faults(), "{:?}", pair.counters);
    assert_eq!(pair.room.applied_count(1), 60);
    assert_eq!(pair.session.unacknowledged(), 0);
    let resumed = pair.events.iter().filter(|e| matches!(e, Event::Welcomed { resumed: true }));
    assert_eq!(resumed.count(), 20);
}

#[test]
fn a_player_follows_its_room_with_all_moves_and_with_the_controls_that_the_room_holds() {
    let mut pair = Pair::new(Faults::default(), 60);
    pair.pass(300);
    play(&mut pair, 5);
    for round in 0..20_i32 {
        // Somewhere on the way, be it up, in the room or down.
        pair.steer(round * 6).expect("there is room");
        pair.pass(40 + round as u64 * 11 % 130);
        pair.follow();
        assert_eq!(pair.steer(1), Err(SendError::NotOpen));
        pair.events.clear();
        pair.pass(600);
        let is_move = |request: &&Request| matches!(request, Request::Move(_));
        let resent = pair.requests().iter().filter(is_move).count();
        assert!(resent <= 1, "{resent} moves, though one was under way at most");
        // The ship flew on as it was steered, and so did the one that is shown.
        let is_wrong =
            |event: &&Event| matches!(event, Event::Updated(update) if update.correction.is_some());
        assert_eq!(pair.events.iter().filter(is_wrong).count(), 0, "round {round}");
    }
    assert!(!pair.counters.has_faults(), "{:?}", pair.counters);
    assert_eq!((pair.counters.set_backs, pair.counters.set_back_moves), (0, 0));
    assert_eq!((pair.room.applied_count(1), pair.session.unacknowledged()), (25, 0));
}

#[test]
fn after_a_loss_the_ship_is_shown_without_the_controls_that_the_room_let_go() {
    let mut pair = Pair::new(Faults::default(), 60);
    pair.pass(300);
    play(&mut pair, 5);
    pair.steer(90).expect("there is room");
    pair.pass(600);
    pair.cut();
    pair.open();
    pair.events.clear();
    pair.pass(600);
    let is_wrong =
        |event: &&Event| matches!(event, Event::Updated(update) if update.correction.is_some());
    assert_eq!(pair.events.iter().filter(is_wrong).count(), 0);
    assert!(pair.events.iter().any(|event| matches!(event, Event::Updated(_))));
}

/// Plays 10 moves, then 5 more and one that is under way, and goes on with the room as it was after the 10.
fn restored(restored_age_ms: Option<u64>) -> (Pair, u32) {
    let mut pair = Pair::new(Faults::default(), 20);
    pair.pass(200);
    play(&mut pair, 10);
    let mut checkpoint = pair.room.clone();
    play(&mut pair, 5);
    pair.steer(77).expect("there is room");
    pair.pass(10);
    let tick = pair.session.replica().expect("it plays").tick();
    pair.cut();
    checkpoint.epoch += 1;
    checkpoint.restored_age_ms = restored_age_ms;
    pair.room = checkpoint;
    pair.events.clear();
    pair.open();
    (pair, tick)
}

#[test]
fn a_session_that_is_set_back_with_its_room_goes_on_from_there() {
    let (mut pair, tick_before) = restored(Some(7000));
    pair.pass(200);
    assert_eq!((pair.counters.set_backs, pair.counters.set_back_moves), (1, 6));
    assert!(matches!(pair.events[0], Event::Welcomed { resumed: true }), "{:?}", pair.events[0]);
    let tick = pair.session.replica().expect("it plays").tick();
    assert!(tick < tick_before && tick > 0, "{tick} after {tick_before}");
    assert_eq!(pair.steer(5), Ok(11));
    pair.room.restored_age_ms = None;
    play(&mut pair, 8);
    let moves = pair.requests().iter().filter_map(|request| match request {
        Request::Move(message) => Some(message.sequence),
        _ => None,
    });
    assert_eq!(moves.collect::<Vec<_>>(), (11..=19).collect::<Vec<_>>());
    assert_eq!((pair.room.applied_count(1), pair.session.unacknowledged()), (19, 0));
    assert!(!pair.counters.has_faults(), "{:?}", pair.counters);
}

#[test]
fn a_session_that_is_set_back_without_a_word_has_lost_moves() {
    let (mut pair, _) = restored(None);
    pair.pass(200);
    assert_eq!((pair.counters.lost_moves, pair.counters.set_back_moves), (6, 0));
    play(&mut pair, 3);
    assert_eq!((pair.counters.lost_moves, pair.counters.altered_moves), (6, 0));
}

#[test]
fn an_owner_of_an_earlier_epoch_is_not_believed() {
    let mut pair = Pair::new(Faults::default(), 0);
    pair.pass(200);
    let earlier = pair.room.clone();
    pair.follow();
    // The stream of the redirect fails, and the next one is the earlier owner's: it may not know yet that it is none.
    let welcome_of = |pair: &mut Pair, mut room: support::room::Room| {
        pair.session.handle_closed();
        pair.open();
        let now = pair.now();
        let hello = pair.session.poll_request(now).expect("its greeting");
        let Some(Request::Hello(hello)) = hello.message else { panic!("{hello:?}") };
        let (_, welcome) = room.open(&hello).expect("a known ticket");
        pair.session.handle_response(welcome, 0, now)
    };
    let refused = welcome_of(&mut pair, earlier).expect_err("the room has moved");
    assert_eq!(refused, Violation::StaleEpoch { epoch: 1, newest: 2 });
    let ended = fray_bot::client::Ended::from(refused);
    assert_eq!(ended.label(), "FAILED_PRECONDITION/WRONG_SERVER");
    assert!(pair.session.take_counters().has_faults());
    let room = pair.room.clone();
    welcome_of(&mut pair, room).expect("the owner is believed");
}

#[test]
fn coming_back_as_somebody_else_is_found() {
    let mut pair = Pair::new(Faults { forget_players: true, ..Faults::default() }, 10);
    pair.pass(200);
    pair.steer(1).expect("there is room");
    pair.cut();
    pair.open();
    pair.pass(200);
    assert_eq!(pair.counters.identity_changes, 1);
    assert_eq!(pair.counters.lost_moves, 1);
}

#[test]
fn leave_follows_all_moves_and_all_are_acknowledged() {
    let mut pair = Pair::new(Faults::default(), 80);
    pair.pass(400);
    for n in 0..10 {
        pair.steer(n).expect("there is room");
    }
    pair.session.leave();
    assert_eq!(pair.steer(1), Err(SendError::NotOpen));
    pair.pass(500);
    assert!(matches!(pair.requests().last(), Some(Request::Leave(_))));
    assert!(pair.session.has_left());
    assert!(pair.stream.as_ref().expect("a stream is open").ended);
    assert_eq!(pair.session.unacknowledged(), 0);
}

#[test]
fn a_silent_server_is_taken_for_dead() {
    let mut pair = Pair::new(Faults::default(), 10);
    pair.pass(200);
    let mut now = pair.now();
    loop {
        now = pair.session.poll_timeout().expect("something is always due").max(now);
        if pair.session.handle_timeout(now).is_err() {
            break;
        }
        while pair.session.poll_request(now).is_some() {}
    }
    let silent = now - pair.now();
    assert!(silent.abs_diff(Duration::from_secs(5)) < Duration::from_millis(60), "{silent:?}");
}

#[test]
fn messages_where_they_may_not_come_are_refused_and_unknown_ones_skipped() {
    let mut pair = Pair::new(Faults::default(), 0);
    let now = pair.now();
    let update = v1::PlayResponse { message: Some(Response::Update(v1::Update::default())) };
    let early = pair.session.handle_response(update, 0, now);
    assert!(matches!(early, Err(Violation::Unexpected(_))));
    pair.pass(100);
    // Field 99, a string: a kind of message that is yet to be invented.
    let unknown = bytes::Bytes::from_static(&[0x9a, 0x06, 0x02, b'h', b'i']);
    let skipped = pair.session.handle_message(unknown, 5, now);
    assert!(matches!(skipped, Ok(Event::Ignored)));
    let welcome = v1::PlayResponse { message: Some(Response::Welcome(v1::Welcome::default())) };
    let second = pair.session.handle_response(welcome, 0, now);
    assert!(matches!(second, Err(Violation::Unexpected(_))));
    let malformed = pair.session.handle_message(bytes::Bytes::from_static(&[0xff]), 5, now);
    assert!(matches!(malformed, Err(Violation::Malformed(_))));
}

#[test]
fn another_protocol_version_is_refused() {
    let mut session = Session::new(Config::default());
    let now: Instant = tokio::time::Instant::now().into_std();
    session.open("ticket");
    session.poll_request(now);
    let welcome = v1::Welcome { protocol_min: 2, protocol_max: 3, ..v1::Welcome::default() };
    let response = v1::PlayResponse { message: Some(Response::Welcome(welcome)) };
    let refused = session.handle_response(response, 0, now);
    assert!(matches!(refused, Err(Violation::Protocol { min: 2, max: 3 })));
}

#[test]
fn entity_ticks_are_the_same_whether_ticks_come_one_by_one_or_together() {
    let count = |gap_ms: u64| {
        let mut pair = Pair::new(Faults::default(), 0);
        for _ in 0..4 {
            let ticket = pair.room.join();
            pair.room.open(&v1::Hello { ticket, ..v1::Hello::default() });
        }
        pair.pass(60);
        pair.steer(30).expect("there is room");
        pair.pass(500);
        let mut held = VecDeque::new();
        if gap_ms > 0 {
            // Nothing is delivered for a while, and the stream's updates then span what it missed.
            let base_stream = pair.stream.clone();
            for _ in 0..gap_ms {
                pair.ms += 1;
                if pair.ms.is_multiple_of(TICK_MS) {
                    pair.room.step();
                }
            }
            pair.stream = base_stream;
            held.extend(pair.stream.as_mut().and_then(|s| pair.room.update(s)));
        } else {
            for _ in 0..10 {
                pair.room.step();
                held.extend(pair.stream.as_mut().and_then(|s| pair.room.update(s)));
            }
        }
        let now = pair.now();
        let mut sum = 0;
        for response in held {
            let event = pair.session.handle_message(encode(&response), 5, now);
            let Ok(Event::Updated(update)) = event else { panic!("{event:?}") };
            sum += update.entity_ticks.all;
        }
        sum
    };
    let one_by_one = count(0);
    assert_eq!(one_by_one, 10);
    assert_eq!(count(500), one_by_one);
}
