//! One room, from one server to another.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_room_goes_on_with_its_seats_its_moves_and_its_code() {
    let world = World::new(Fault::Nothing).await;
    let room = world.open("abc").await;
    let code = room.info().code.clone();
    let ann = seat(&room, "ann").await;
    let _bo = seat(&room, "bo").await;
    let gone = seat(&room, "gonefor").await;
    room.reserve("later".into(), Profile::default()).await.expect("a seat");
    room.kick(fray_server::room::Who::Id("gonefor".into())).await.expect("kicked");
    drop(gone);
    for sequence in 1..=3 {
        ann.attachment.enqueue(a_move(sequence));
    }
    ticks(&room, 2).await;
    // Two that no tick has seen yet, the later one behind a gap.
    let departs = async {
        let given = world.give(&room).await;
        (given, room.frames().borrow().tick)
    };
    ann.attachment.enqueue(a_move(4));
    ann.attachment.enqueue(a_move(6));
    let (given, last_tick) = departs.await;
    assert_eq!(given, Given::Moved);
    assert_eq!(ended(&room).await, Some(Ending::Moved));
    let moved = room.info().moved().expect("it says where").clone();
    assert_eq!((moved.route.as_str(), moved.release.as_str()), ("to:7777", "r"));
    assert_eq!((moved.epoch, moved.first_tick), (2, last_tick + 1));

    let there = world.there("abc").expect("it is there");
    assert_eq!((there.info().epoch, there.info().first_tick), (2, last_tick + 1));
    assert_eq!(there.info().code, code);
    ticks(&there, 2).await;
    let occupants = there.occupants().await.expect("some");
    let seats: Vec<_> = occupants.iter().map(|one| (one.player_id.as_str(), one.player)).collect();
    assert_eq!(seats, [("ann", 1), ("bo", 2), ("later", 4)]);
    assert!(matches!(occupants[0].presence, Presence::Expected { .. }), "{occupants:?}");
    assert!(matches!(occupants[2].presence, Presence::Reserved { .. }), "{occupants:?}");
    let again = attach(&there, "ann").await;
    assert!(again.resumed && !again.took_over);
    assert_eq!((again.player, again.entity), (ann.player, ann.entity));
    assert_eq!(
        (again.ack.input_ack, again.ack.applied_count),
        (4, 4),
        "the one behind the gap waits"
    );
    assert_eq!(again.ack.applied_hash, applied_hash(4));
    let barred = there.reserve("gonefor".into(), Profile::default()).await;
    assert_eq!(barred, Err(fray_server::room::Error::Kicked));
    let held = world.from.directory.read(&there.info().id).await.expect("read").expect("a record");
    assert_eq!((&held.record.owner, held.record.epoch), (world.to.directory.me(), 2));
}

#[tokio::test(start_paused = true)]
async fn controls_hold_for_players_on_their_way_and_not_for_those_who_do_not_come() {
    let world = World::new(Fault::Nothing).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    ticks(&room, 2).await;
    assert_eq!(world.give(&room).await, Given::Moved);
    let there = world.there("abc").expect("it is there");
    let presence = async || there.occupants().await.expect("some")[0].presence.clone();
    ticks(&there, 20).await;
    assert!(matches!(presence().await, Presence::Expected { .. }));
    ticks(&there, 25).await;
    assert!(matches!(presence().await, Presence::Dropped { .. }), "after two seconds");
    assert!(attach(&there, "ann").await.resumed, "it may still come back");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_in_the_directory() {
    let world = World::new(Fault::LostAnswer).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    assert_eq!(world.give(&room).await, Given::Moved);
    assert_eq!(ended(&room).await, Some(Ending::Moved));
    assert_eq!(room.info().moved().expect("it says where").epoch, 2);
    assert!(world.there("abc").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_room_that_stays_is_safe_from_what_arrives_late() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    assert_eq!(world.give(&room).await, Given::Stays);
    ticks(&room, 3).await;
    let late = world.link.under_way.lock().expect("sound").pop().expect("under way");
    let taken = arriving::take(&world.link.rooms, world.link.directory.as_ref(), late).await;
    assert_eq!(taken, Err(Error::RoomExists));
    assert!(world.there("abc").is_none());
    ticks(&room, 3).await;
    assert!(!*room.moving().borrow(), "its players need not wait any more");
    // It can still move.
    *world.link.fault.lock().expect("sound") = Fault::Nothing;
    assert_eq!(world.give(&room).await, Given::Moved);
}

#[tokio::test(start_paused = true)]
async fn a_room_whose_record_is_somebody_elses_by_then_ends() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let id = room.info().id.clone();
    let claimed = async {
        sleep(Duration::from_secs(1)).await;
        let held = world.to.directory.read(&id).await.expect("read").expect("a record");
        let third = fray_server::session::directory::InstanceId::random();
        let record = RoomRecord { owner: third, epoch: 2, ..(*held.record).clone() };
        world.to.directory.swap(record, held.revision).await.expect("swapped");
    };
    let (given, ()) = tokio::join!(world.give(&room), claimed);
    assert_eq!(given, Given::Gone);
    assert_eq!(ended(&room).await, Some(Ending::Disowned));
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_no_room_is_taken() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    assert_eq!(world.give(&room).await, Given::Stays);
    let good = world.link.under_way.lock().expect("sound").pop().expect("under way");
    let revision = world.from.directory.read(&room.info().id).await.expect("read");
    let revision = revision.expect("a record").revision;
    let offer = |bytes: bytes::Bytes| Offer { revision, bytes, ..good.clone() };
    let take =
        async |offer| arriving::take(&world.link.rooms, world.link.directory.as_ref(), offer).await;
    let mut bits = good.bytes.to_vec();
    bits[good.bytes.len() / 2] ^= 1;
    let cut = good.bytes.slice(..good.bytes.len() - 1);
    let twice = [&good.bytes[..], &good.bytes[..]].concat();
    for wrong in [bits.into(), cut, twice.into(), bytes::Bytes::new()] {
        let refused = take(offer(wrong)).await.expect_err("refused");
        assert_eq!(refused.reason(), "INVALID_ARGUMENT");
    }
    let another = Offer { room: RoomId::parse("xyz").expect("an id"), ..offer(good.bytes.clone()) };
    assert_eq!(take(another).await.expect_err("refused").reason(), "INVALID_ARGUMENT");
    let held = world.from.directory.read(&room.info().id).await.expect("read").expect("a record");
    assert_eq!(held.record.owner, *world.from.directory.me(), "and the record is untouched");
}

#[tokio::test(start_paused = true)]
async fn nor_what_counts_beyond_its_end() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    assert_eq!(world.give(&room).await, Given::Stays);
    let good = world.link.under_way.lock().expect("sound").pop().expect("under way");
    for wrong in
        [Offer { epoch: u64::MAX, ..good.clone() }, Offer { tick: u32::MAX, ..good.clone() }]
    {
        let taken = arriving::take(&world.link.rooms, world.link.directory.as_ref(), wrong).await;
        assert_eq!(taken.expect_err("refused").reason(), "INVALID_ARGUMENT");
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_was_wiped_meanwhile_costs_no_room() {
    for (fault, given) in [(Fault::Late, Given::Stays), (Fault::LostAnswer, Given::Moved)] {
        let world = World::new(fault).await;
        let room = world.open("abc").await;
        let _ann = seat(&room, "ann").await;
        let id = room.info().id.clone();
        let wiped = async {
            sleep(Duration::from_secs(1)).await;
            let held = world.from.directory.read(&id).await.expect("read").expect("a record");
            world.from.directory.remove(&id, held.revision).await.expect("removed");
        };
        let (came, ()) = tokio::join!(world.give(&room), wiped);
        assert_eq!(came, given);
        let there = world.there("abc");
        assert_eq!(there.is_some(), given == Given::Moved, "at one of them");
        if given == Given::Stays {
            ticks(&room, 3).await;
            let held = world.from.directory.read(&id).await.expect("read").expect("written again");
            assert_eq!(held.record.owner, *world.from.directory.me());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn players_who_were_not_back_since_their_room_was_restored_are_told_wherever_it_is() {
    let world = World::new(Fault::Nothing).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    world
        .link
        .lost_before
        .lock()
        .expect("sound")
        .push(Restoration { epoch: 1, age: Duration::from_secs(7) });
    assert_eq!(world.give(&room).await, Given::Moved);
    let there = world.there("abc").expect("it is there");
    assert_eq!(there.info().restored_since(0), Some(Duration::from_secs(7)));
    assert_eq!(there.info().restored_since(1), None, "whoever was here since knows");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_comes_back_before_its_end_here_is_over_is_refused_for_the_moment() {
    let world = World::new(Fault::LostAnswer).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let back = async {
        // It is there, and nobody here knows yet.
        while world.there("abc").is_none() {
            sleep(Duration::from_millis(10)).await;
        }
        let there = world.there("abc").expect("it is there");
        let departure = there.depart().await.expect("it stands still");
        let held = world.from.directory.read(&there.info().id).await.expect("read");
        let offer = Offer::of(&departure, held.expect("a record").revision);
        let taken = arriving::take(&world.mover.rooms, world.from.directory.as_ref(), offer).await;
        assert_eq!(taken.expect_err("refused").reason(), "OVERLOADED");
        departure.conclude(fray_server::room::Outcome::Stays);
        there
    };
    let (given, there) = tokio::join!(world.give(&room), back);
    assert_eq!(given, Given::Moved);
    ticks(&there, 2).await;
}
