//! All rooms of a server that ends.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_says_so_tries_again_and_leaves_what_nobody_takes() {
    let world = World::new(Fault::Refused).await;
    let (room, empty) = (world.open("abc").await, world.open("empty").await);
    let _ann = seat(&room, "ann").await;
    let mut moving = room.moving();
    let evacuated = world.mover.evacuate(Instant::now() + Duration::from_secs(20), || false);
    let then_takes = async {
        moving.wait_for(|moving| *moving).await.expect("it says so");
        assert!(!*empty.moving().borrow());
        sleep(Duration::from_millis(400)).await;
        *world.link.fault.lock().expect("sound") = Fault::Nothing;
    };
    let (figures, ()) = tokio::join!(evacuated, then_takes);
    assert_eq!((figures.moved, figures.parked, figures.left), (1, 0, 0));
    assert!(world.there("abc").is_some() && world.there("empty").is_none());

    let world = World::new(Fault::Nothing).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let newer = ServerRecord { sim_version: 99, sim_versions: vec![99], ..world.target.clone() };
    world.to.directory.announce(newer).await.expect("announced");
    let figures = world.mover.evacuate(Instant::now() + Duration::from_secs(8), || false).await;
    assert_eq!(
        (figures.moved, figures.parked, figures.left),
        (0, 0, 1),
        "no server plays its rules"
    );
    ticks(&room, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_room_on_its_way_arrives_though_nobody_waits_for_it_any_more() {
    let world = World::new(Fault::Slow).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let waited = tokio::time::timeout(Duration::from_millis(100), world.give(&room)).await;
    assert!(waited.is_err(), "it takes longer");
    assert_eq!(ended(&room).await, Some(Ending::Moved));
    assert!(room.info().moved().is_some() && world.there("abc").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_still_on_its_way_when_the_server_ends_is_not_over() {
    let world = World::new(Fault::Late).await;
    let room = world.open("abc").await;
    let _ann = seat(&room, "ann").await;
    let (given, ()) = tokio::join!(world.give(&room), async {
        sleep(Duration::from_secs(1)).await;
        world.mover.close(Duration::ZERO).await;
    });
    assert_eq!(given, Given::Gone);
    assert_eq!(ended(&room).await, Some(Ending::Disowned));
    let unfinished = world.mover.rooms.take_unfinished();
    assert!(unfinished.contains(&room.info().id), "its record is not removed");
}

#[tokio::test(start_paused = true)]
async fn rooms_with_players_that_nobody_took_are_not_over_when_others_can_read_their_logs() {
    for others_can in [true, false] {
        let world = World::new(Fault::Nothing).await;
        let (room, empty) = (world.open("abc").await, world.open("empty").await);
        let _ann = seat(&room, "ann").await;
        let rooms = &world.mover.rooms;
        if others_can {
            rooms.leave_unfinished();
        }
        rooms.close().await;
        let is_parked = matches!(room.ending(), Some(Ending::Parked(_)));
        assert_eq!((is_parked, empty.ending()), (others_can, Some(Ending::Over)));
        assert!(is_parked || room.ending() == Some(Ending::Over));
        assert_eq!(rooms.take_unfinished(), [room.info().id.clone()].into());
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_that_comes_while_others_leave_leaves_as_well() {
    let world = World::new(Fault::Nothing).await;
    let comes = AtomicBool::new(true);
    let more_come = || comes.load(Relaxed);
    let evacuated = world.mover.evacuate(Instant::now() + Duration::from_secs(20), more_come);
    let (figures, _ann) = tokio::join!(evacuated, async {
        sleep(Duration::from_millis(300)).await;
        let room = world.open("late").await;
        let seat = seat(&room, "ann").await;
        comes.store(false, Relaxed);
        seat
    });
    assert_eq!(figures.moved, 1);
    assert!(world.there("late").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_left_alone_and_the_rooms_go_to_another() {
    let world = World::new(Fault::Nothing).await;
    // It looks like the better choice.
    let mut target = world.target.clone();
    target.players.insert(RoomId::parse("full").expect("an id"), 60);
    let silent = world.from.directory.another();
    let record = ServerRecord {
        instance: silent.me().clone(),
        peer: SILENT.into(),
        name: SILENT.into(),
        ..world.target.clone()
    };
    let renewals = async {
        loop {
            world.to.directory.announce(target.clone()).await.expect("announced");
            silent.announce(record.clone()).await.expect("announced");
            sleep(Duration::from_secs(1)).await;
        }
    };
    let rooms = [world.open("abc").await, world.open("def").await, world.open("ghi").await];
    let mut seats = Vec::new();
    for room in &rooms {
        seats.push(seat(room, "ann").await);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let figures = tokio::select! {
        figures = world.mover.evacuate(deadline, || false) => figures,
        () = renewals => unreachable!("they do not end"),
    };
    assert_eq!((figures.moved, figures.left), (3, 0));
    let asked = world.link.asked_in_vain.load(Relaxed);
    assert!((1..=3).contains(&asked), "once for each that left at the same time: {asked}");
    assert!(Instant::now() < deadline, "it does not take all the time");
}
