//! A server's place in its fleet, in virtual time: what it does with its rooms and their records when it is cut off, when the
//! directory is away, when the process stands still, and when other servers are gone.

#[path = "../support/mod.rs"]
mod support;

mod fleet;
mod gone;
mod restored;

use fleet::{Fleet, Server, soon};
use fray_server::cluster::fate::SERVER_ENDED;
use fray_server::cluster::lease::{CLAIM_AFTER, DISOWN_AFTER, FREEZE_AFTER, Standing};
use fray_server::room::{Ending, Handle};
use fray_server::session::Error;
use fray_server::session::directory::{Directory as _, Fate, RoomRecord};
use std::time::Duration;
use tokio::time::{Instant, advance, sleep, sleep_until};

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_server_is_ready_once_its_lease_was_renewed_and_leaves_no_more_behind_than_players_must_know()
 {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    one.cut(true);
    let running = one.run();
    sleep(s(3.0)).await;
    assert!(!one.net.parts.health().takes_rooms(), "it has not reached the directory yet");
    assert!(one.net.parts.health().is_live() && one.net.parts.health().serves_rooms());
    one.cut(false);
    soon("it is ready", || one.net.parts.health().takes_rooms()).await;
    let record = two.directory.server(one.directory.me()).expect("a record").record;
    assert_eq!((record.name.as_str(), record.peer.as_str()), ("server 0", "0"));
    assert!(record.rooms_max > 0 && record.room_capacity_max > 0 && !record.is_draining);

    let room = one.open("abc").await;
    room.reserve("p1".into(), fray_server::game::Profile { name: "Mia".into(), hue: 1 })
        .await
        .expect("a seat");
    soon("others see how full it is", || {
        let held = two.directory.server(one.directory.me());
        held.is_some_and(|held| held.record.players.values().sum::<u32>() == 1)
    })
    .await;
    let is_draining =
        || two.directory.server(one.directory.me()).is_some_and(|held| held.record.is_draining);
    one.net.parts.health().set_awaits_edges(true);
    soon("others send it no rooms that edges do not know", is_draining).await;
    one.net.parts.health().set_awaits_edges(false);
    soon("they do again", || !is_draining()).await;
    one.net.parts.health().draining();
    soon("others see that it goes away", is_draining).await;
    let _empty = one.open("empty").await;
    running.stop().await;
    assert!(two.directory.servers().is_empty());
    let left: Vec<_> = two.directory.rooms().into_iter().map(|held| held.record).collect();
    assert_eq!(left.len(), 1, "only of the room that somebody had a seat in");
    assert_eq!((left[0].room.as_str(), left[0].lost.as_deref()), ("abc", Some(SERVER_ENDED)));
}

#[tokio::test(start_paused = true)]
async fn cut_off_alone_its_rooms_freeze_end_and_are_declared_lost_in_this_order() {
    let fleet = Fleet::new(3);
    let (one, two, three) = (fleet.server(0), fleet.server(1), fleet.server(2));
    let _running = [one.run(), two.run(), three.run()];
    let room = one.open("abc").await;
    sleep(s(20.0)).await;
    let held = two.directory.room(&room.info().id).expect("a record");
    let tick = || room.frames().borrow().tick;

    one.cut(true);
    one.cut_from_peers(true);
    // All counts from the last renewal.
    let cut = Instant::now() - two.directory.silence(one.directory.me()).expect("a record");
    let settle = async || two.fates.settle(held.clone()).await;
    sleep_until(cut + FREEZE_AFTER - s(0.1)).await;
    assert!(!*room.frozen().borrow(), "a short break is nobody's business");
    sleep_until(cut + FREEZE_AFTER + s(0.1)).await;
    assert!(*room.frozen().borrow(), "its players are told");
    assert!(!one.net.parts.health().takes_rooms());
    let frozen_at = tick();
    assert_eq!(settle().await, Err(Error::OwnerUnreachable), "not yet");
    // Whoever is asked and does not answer is waited for: a second.
    sleep_until(cut + DISOWN_AFTER - s(0.1)).await;
    assert_eq!(settle().await, Err(Error::OwnerUnreachable), "not yet, either");
    assert!(DISOWN_AFTER < cut.elapsed() && cut.elapsed() < CLAIM_AFTER);
    assert_eq!(room.ending(), Some(Ending::Disowned));
    assert_eq!(tick(), frozen_at, "no tick after it froze");

    sleep_until(cut + CLAIM_AFTER + s(1.0)).await;
    let Ok(Fate::Lost(why)) = settle().await else { panic!("it is known by now") };
    assert!(why.contains("gone"), "{why}");
    let lost = three.directory.room(&room.info().id).expect("a record").record;
    assert_eq!((lost.epoch, &lost.owner), (2, two.directory.me()));
    assert_eq!(three.fates.settle(held).await, Ok(Fate::Lost(why)), "all say the same");
    assert_eq!(two.metrics().claims.get(), 1);
    assert_eq!(three.metrics().claims.get(), 0);

    one.cut(false);
    soon("it takes rooms again", || one.net.parts.health().takes_rooms()).await;
    one.open("def").await;
}

/// A room of a server that is cut off so long that it stands still, and at which tick.
async fn frozen_room(server: &Server) -> (Handle, u32) {
    let room = server.open("abc").await;
    sleep(s(10.0)).await;
    server.cut(true);
    soon("it stands still", || *room.frozen().borrow()).await;
    let frozen_at = room.frames().borrow().tick;
    (room, frozen_at)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_in_time_goes_on_where_it_stood() {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let _running = [one.run(), two.run()];
    let (room, frozen_at) = frozen_room(&one).await;
    one.cut(false);
    soon("it goes on", || !*room.frozen().borrow()).await;
    sleep(s(1.0)).await;
    let ticks = room.frames().borrow().tick - frozen_at;
    assert!((15..40).contains(&ticks), "{ticks}: the time between is given up");
    assert!(room.ending().is_none());
    let held = two.directory.room(&room.info().id).expect("a record");
    assert_eq!((&held.record.owner, held.record.epoch), (one.directory.me(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_to_a_room_of_another_owner_ends_it_without_a_tick() {
    for has_heard_of_it in [true, false] {
        let fleet = Fleet::new(2);
        let (one, two) = (fleet.server(0), fleet.server(1));
        let _running = [one.run(), two.run()];
        let (room, frozen_at) = frozen_room(&one).await;
        // However that came about.
        let held = two.directory.room(&room.info().id).expect("a record");
        let owner = two.directory.me().clone();
        let claimed = RoomRecord { owner, epoch: 2, ..(*held.record).clone() };
        two.directory.swap(claimed, held.revision).await.expect("swapped");
        if !has_heard_of_it {
            one.deafen();
        }
        one.cut(false);
        soon("it ends", || room.ending().is_some()).await;
        assert_eq!(room.ending(), Some(Ending::Disowned));
        assert_eq!(room.frames().borrow().tick, frozen_at);
        soon("its lease is good", || one.standing() == Standing::Held).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_away_for_all_stops_nobody() {
    let fleet = Fleet::new(3);
    let servers = [fleet.server(0), fleet.server(1), fleet.server(2)];
    let _running: Vec<_> = servers.iter().map(Server::run).collect();
    let mut rooms = Vec::new();
    for (server, name) in servers.iter().zip(["abc", "def", "ghi"]) {
        rooms.push(server.open(name).await);
    }
    sleep(s(10.0)).await;
    for server in &servers {
        server.cut(true);
    }
    let began = Instant::now();
    let mut ticks: Vec<u32> = rooms.iter().map(|room| room.frames().borrow().tick).collect();
    while began.elapsed() < s(120.0) {
        sleep(s(1.0)).await;
        for (room, tick) in rooms.iter().zip(&mut ticks) {
            let now = room.frames().borrow().tick;
            assert!(
                now >= *tick + 15,
                "{} stands still after {:?}",
                room.info().id,
                began.elapsed()
            );
            *tick = now;
        }
    }
    for server in &servers {
        assert_eq!(server.standing(), Standing::AwayForAll);
        assert!(server.net.parts.health().takes_rooms(), "somebody must still answer joins");
        let held = server.directory.rooms();
        assert_eq!(held.len(), 3, "what is known stays known");
    }
    let other = servers[0].directory.room(&rooms[1].info().id).expect("a record");
    let fate = servers[0].fates.settle(other.clone()).await;
    assert_eq!(fate, Ok(Fate::Owned(other)), "its owner answers");

    // They come back one after another, and claim nothing of those that are still away.
    for server in &servers {
        server.cut(false);
        sleep(s(3.0)).await;
    }
    sleep(s(60.0)).await;
    for (room, server) in rooms.iter().zip(&servers) {
        assert!(room.ending().is_none() && !*room.frozen().borrow());
        let held = servers[0].directory.room(&room.info().id).expect("a record");
        assert_eq!((&held.record.owner, held.record.epoch), (server.directory.me(), 1));
        assert_eq!((server.standing(), server.metrics().claims.get()), (Standing::Held, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_alone_plays_on_without_its_directory() {
    let fleet = Fleet::new(1);
    let one = fleet.server(0);
    let _running = one.run();
    let room = one.open("abc").await;
    sleep(s(3.0)).await;
    one.cut(true);
    let tick = room.frames().borrow().tick;
    sleep(s(30.0)).await;
    assert!(room.frames().borrow().tick >= tick + 590);
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_one_that_is_cut_off_from_all_stops_and_the_other_does_not() {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let _running = [one.run(), two.run()];
    let (theirs, ours) = (one.open("abc").await, two.open("def").await);
    sleep(s(10.0)).await;
    one.cut(true);
    one.cut_from_peers(true);
    sleep(s(12.0)).await;
    assert_eq!(theirs.ending(), Some(Ending::Disowned));
    assert!(ours.ending().is_none() && !*ours.frozen().borrow());
    let held = two.directory.room(&theirs.info().id).expect("a record");
    assert!(matches!(two.fates.settle(held).await, Ok(Fate::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_lets_no_tick_out_when_it_wakes() {
    for pause in [6.0, 9.0, 30.0] {
        let fleet = Fleet::new(1);
        let one = fleet.server(0);
        // Nobody to ask, and not alone.
        fleet.add_silent_server().await;
        let running = one.run();
        let rooms: Vec<_> =
            [one.open("abc").await, one.open("def").await, one.open("ghi").await].into();
        sleep(s(2.02)).await;
        one.cut(true);
        let before: Vec<u32> = rooms.iter().map(|room| room.frames().borrow().tick).collect();
        // All timers are due at once, and the tasks run in whatever order.
        advance(s(pause)).await;
        sleep(s(0.5)).await;
        let after: Vec<u32> = rooms.iter().map(|room| room.frames().borrow().tick).collect();
        assert_eq!(before, after, "a pause of {pause} s");
        for room in &rooms {
            assert!(*room.frozen().borrow() || room.has_ended());
        }
        drop(running);
    }
}

#[tokio::test(start_paused = true)]
async fn rooms_end_with_their_records_and_records_without_rooms_go() {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let _running = [one.run(), two.run()];
    let room = one.open("abc").await;
    sleep(s(8.0)).await;
    assert!(two.directory.room(&room.info().id).is_some());
    let ended = Instant::now();
    room.end(Ending::Closed).expect("told");
    soon("its record goes", || two.directory.rooms().is_empty()).await;
    assert!(ended.elapsed() < s(2.0));

    // One that was never opened: its creator's answer was lost, say.
    let record = one.record("def", 1);
    one.directory.create(record).await.expect("created");
    sleep(s(4.0)).await;
    assert_eq!(two.directory.rooms().len(), 1, "it may just be being opened");
    soon("it goes", || two.directory.rooms().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_directory_has_lost_is_written_again_with_its_epoch_and_code() {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let _running = [one.run(), two.run()];
    let room = one.open_private("abc", 7).await;
    sleep(s(3.0)).await;
    let before = two.directory.room(&room.info().id).expect("a record");
    assert!(before.record.code_hash.is_some());
    two.directory.remove(&room.info().id, before.revision).await.expect("removed");
    soon("it is back", || two.directory.room(&room.info().id).is_some()).await;
    let after = two.directory.room(&room.info().id).expect("a record");
    assert_eq!(after.record, before.record);
    assert_eq!(after.record.epoch, 7);
    assert_eq!(one.metrics().rooms_restored.get(), 1);
    assert!(room.ending().is_none());
}

#[tokio::test(start_paused = true)]
async fn rooms_of_a_dead_server_are_declared_lost_at_once_if_asked_and_later_if_not() {
    let fleet = Fleet::new(3);
    let (one, two, three) = (fleet.server(0), fleet.server(1), fleet.server(2));
    let running = one.run();
    let _others = [two.run(), three.run()];
    let rooms = [one.open("abc").await, one.open("def").await];
    sleep(s(10.0)).await;
    let asked = two.directory.room(&rooms[0].info().id).expect("a record");
    running.die();
    let died = Instant::now();
    let fate = async {
        loop {
            match two.fates.settle(asked.clone()).await {
                Err(Error::OwnerUnreachable) => sleep(s(0.25)).await,
                other => return other,
            }
        }
    };
    assert!(matches!(fate.await, Ok(Fate::Lost(_))));
    assert!(died.elapsed() < s(4.0), "{:?}: nothing listens there any more", died.elapsed());
    let unasked = || three.directory.room(&rooms[1].info().id).expect("a record").record;
    sleep_until(died + s(29.0)).await;
    assert!(unasked().lost.is_none());
    sleep_until(died + s(35.0)).await;
    assert!(unasked().lost.is_some());
    assert_eq!(unasked().epoch, 2, "once");
    assert_eq!(two.metrics().claims.get() + three.metrics().claims.get(), 2);
    sleep(s(560.0)).await;
    assert_eq!(three.directory.rooms().len(), 2, "who comes late is told, too");
    sleep(s(70.0)).await;
    assert_eq!(three.directory.rooms().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_and_renews_is_robbed_by_nobody() {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let _running = [one.run(), two.run()];
    let room = one.open("abc").await;
    sleep(s(10.0)).await;
    let held = two.directory.room(&room.info().id).expect("a record");
    let settle = async || two.fates.settle(held.clone()).await;
    assert_eq!(settle().await, Ok(Fate::Owned(held.clone())));
    // Whatever a broken network says.
    one.refuse(true);
    assert_eq!(settle().await, Err(Error::OwnerUnreachable));
    sleep(s(60.0)).await;
    assert_eq!(settle().await, Err(Error::OwnerUnreachable));
    one.cut_from_peers(true);
    one.refuse(false);
    sleep(s(60.0)).await;
    assert_eq!(settle().await, Err(Error::OwnerUnreachable));
    assert!(room.ending().is_none() && !*room.frozen().borrow());
}
