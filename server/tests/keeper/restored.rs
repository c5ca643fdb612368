//! Rooms whose servers are gone, in a fleet that shares its store, in virtual time: they go on elsewhere, once.

use super::fleet::{Fleet, Server, soon};
use super::s;
use fray_server::cluster::lease::Standing;
use fray_server::game::Profile;
use fray_server::room::handle::Claim;
use fray_server::room::{Ending, Handle, RoomId};
use fray_server::session::Error;
use fray_server::session::directory::{Directory as _, Fate, Held, RoomRecord};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

fn room_of(server: &Server, room: &Handle) -> Option<Handle> {
    server.net.parts.sessions().rooms.get(&room.info().id)
}

fn record(server: &Server, room: &Handle) -> Held<RoomRecord> {
    server.directory.room(&room.info().id).expect("a record")
}

/// A room with somebody in it, who has played for a while.
async fn played(server: &Server, id: &str) -> (Handle, [u8; 32]) {
    let room = server.open(id).await;
    room.reserve("p1".into(), Profile { name: "Mia".into(), hue: 1 }).await.expect("a seat");
    let token_hash = [7; 32];
    let claim = Claim::Ticket { player_id: "p1".into(), token_hash };
    let attached = room.attach(claim).await.expect("attached");
    sleep(s(15.0)).await;
    drop(attached);
    (room, token_hash)
}

#[tokio::test(start_paused = true)]
async fn a_killed_servers_room_goes_on_elsewhere_within_seconds_and_says_how_old_it_is() {
    let fleet = Fleet::sharing(3);
    let servers = [fleet.server(0), fleet.server(1), fleet.server(2)];
    let mut running: Vec<_> = servers.iter().map(Server::run).collect();
    let (room, token_hash) = played(&servers[0], "abc").await;
    let last_tick = room.frames().borrow().tick;
    running.remove(0).die();
    let died = Instant::now();
    let others = [&servers[1], &servers[2]];
    soon("it goes on", || others.iter().any(|other| room_of(other, &room).is_some())).await;
    assert!(died.elapsed() < s(7.0), "{:?}", died.elapsed());
    let heirs: Vec<_> = others.iter().filter_map(|other| room_of(other, &room)).collect();
    assert_eq!(heirs.len(), 1, "one has it");
    let restored = &heirs[0];
    let info = restored.info();
    assert_eq!((info.epoch, &info.name), (2, &room.info().name));
    let age = info.restored_since(1).expect("something may be missing");
    assert!(age >= s(1.0) && age < s(8.0), "{age:?}");
    // Chunks of half a second are written; the room itself hears of nothing yet, and writes on until it is fenced.
    assert!(info.first_tick + 12 > last_tick, "{} {last_tick}", info.first_tick);
    assert_eq!(restored.find(token_hash).await, Ok("p1".to_owned()));
    assert_eq!(restored.find([8; 32]).await, Err(fray_server::room::Error::SessionNotFound));
    let held = record(others[0], &room);
    assert_eq!((held.record.epoch, &held.record.lost), (2, &None));
    let counts = others.map(|other| other.claims().count(false));
    assert_eq!(counts.iter().sum::<u64>(), 1, "{counts:?}");
    // And it goes on for good.
    sleep(s(30.0)).await;
    assert!(restored.ending().is_none() && restored.frames().borrow().tick > last_tick + 300);
    assert_eq!(record(others[0], &room).revision, held.revision);
}

#[tokio::test(start_paused = true)]
async fn of_all_who_try_at_once_one_goes_on() {
    let fleet = Fleet::sharing(5);
    let servers: Vec<_> = (0..5).map(|number| fleet.server(number)).collect();
    let mut running: Vec<_> = servers.iter().map(Server::run).collect();
    let (room, _) = played(&servers[0], "abc").await;
    let held = record(&servers[1], &room);
    running.remove(0).die();
    // Each asks until it is known, and what it knew at first is what it would change.
    let settled = servers[1..].iter().map(|one| async {
        loop {
            match one.fates.settle(held.clone()).await {
                Err(Error::OwnerUnreachable) => sleep(s(0.01)).await,
                settled => return settled,
            }
        }
    });
    let fates = join_all(settled).await;
    let mut owners = Vec::new();
    for fate in fates {
        match fate {
            Ok(Fate::Owned(held)) => owners.push((held.record.owner.clone(), held.record.epoch)),
            other => panic!("{other:?}"),
        }
    }
    owners.dedup();
    assert_eq!(owners.len(), 1, "{owners:?}");
    assert_eq!(owners[0].1, 2);
    let has_it = servers[1..].iter().filter(|one| room_of(one, &room).is_some());
    let has_it: Vec<_> = has_it.map(|one| one.directory.me().clone()).collect();
    assert_eq!(has_it, [owners[0].0.clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_after_its_claim_is_one_whose_room_is_claimed() {
    let fleet = Fleet::sharing(3);
    let (one, two, three) = (fleet.server(0), fleet.server(1), fleet.server(2));
    let (first, second, _third) = (one.run(), two.run(), three.run());
    let (room, token_hash) = played(&one, "abc").await;
    // The second one's swap is all that it still did.
    let held = record(&two, &room);
    let mut claimed = (*held.record).clone();
    (claimed.owner, claimed.epoch) = (two.directory.me().clone(), 2);
    two.directory.swap(claimed, held.revision).await.expect("swapped");
    first.die();
    second.die();
    soon("it goes on", || room_of(&three, &room).is_some()).await;
    let restored = room_of(&three, &room).expect("it is there");
    assert_eq!(restored.info().epoch, 3);
    assert_eq!(restored.find(token_hash).await, Ok("p1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_did_not_get_to_a_room_of_its_own_restores_it_later() {
    let fleet = Fleet::sharing(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let (first, _second) = (one.run(), two.run());
    let (room, _) = played(&one, "abc").await;
    let held = record(&two, &room);
    let mut claimed = (*held.record).clone();
    (claimed.owner, claimed.epoch) = (two.directory.me().clone(), 2);
    two.directory.swap(claimed, held.revision).await.expect("swapped");
    first.die();
    soon("it goes on", || room_of(&two, &room).is_some()).await;
    assert_eq!(record(&two, &room).record.epoch, 3);
}

#[tokio::test(start_paused = true)]
async fn a_room_without_a_log_or_that_was_over_is_lost_and_its_players_are_told() {
    let fleet = Fleet::sharing(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let (first, _second) = (one.run(), two.run());
    let (over, _) = played(&one, "over").await;
    one.net.parts.sessions().rooms.close().await;
    // It was there, and nothing of it is in the store.
    let bare = one.record("bare", 1);
    one.directory.create(bare.clone()).await.expect("created");
    first.die();
    let is_lost =
        |room: &RoomId| two.directory.room(room).is_some_and(|held| held.record.lost.is_some());
    soon("it is lost", || is_lost(&bare.room)).await;
    assert!(room_of(&two, &over).is_none());
    let held = two.directory.room(&bare.room).expect("a record");
    let Ok(Fate::Lost(why)) = two.fates.settle(held).await else { panic!("not lost") };
    assert!(why.contains("gone"), "{why}");
    assert_eq!(two.claims().count(false), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_leaves_a_room_to_one_that_stays() {
    let fleet = Fleet::sharing(3);
    let (one, two, three) = (fleet.server(0), fleet.server(1), fleet.server(2));
    let (first, _second) = (one.run(), two.run());
    let (room, _) = played(&one, "abc").await;
    two.net.parts.health().draining();
    sleep(s(2.0)).await;
    first.die();
    sleep(s(20.0)).await;
    let held = record(&two, &room);
    assert_eq!(two.fates.settle(held.clone()).await, Err(Error::OwnerUnreachable));
    assert_eq!(record(&two, &room), held, "nobody has touched it");
    let _third = three.run();
    soon("the next one takes it", || room_of(&three, &room).is_some()).await;
    assert!(room_of(&three, &room).is_some_and(|room| room.info().restored_since(1).is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_was_left_in_the_store_goes_on_with_the_next_server_and_nothing_is_missing() {
    let fleet = Fleet::sharing(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let first = one.run();
    let (room, token_hash) = played(&one, "abc").await;
    let departure = room.depart().await.expect("it stands still");
    let tick = departure.tick;
    let held = record(&one, &room);
    let parked = RoomRecord { parked: true, parked_whole: true, ..(*held.record).clone() };
    one.directory.swap(parked, held.revision).await.expect("swapped");
    departure.conclude(fray_server::room::Outcome::Parked("no other server is there"));
    first.stop().await;
    assert_eq!(room.ending(), Some(Ending::Parked("no other server is there")));
    assert!(record(&two, &room).record.parked, "its server has left it there");
    sleep(s(20.0)).await;
    let _second = two.run();
    let begun = Instant::now();
    soon("it goes on", || room_of(&two, &room).is_some()).await;
    assert!(begun.elapsed() < s(3.0), "{:?}", begun.elapsed());
    let restored = room_of(&two, &room).expect("it is there");
    assert_eq!((restored.info().epoch, restored.info().first_tick), (2, tick + 1));
    assert_eq!(restored.info().restored_since(1), None, "nothing is missing");
    assert_eq!(restored.find(token_hash).await, Ok("p1".to_owned()));
    assert!(!record(&two, &room).record.parked);
    assert_eq!(two.claims().count(true), 1);
}

#[tokio::test(start_paused = true)]
async fn rooms_of_a_dead_server_are_spread_over_the_others() {
    let fleet = Fleet::sharing(4);
    let servers: Vec<_> = (0..4).map(|number| fleet.server(number)).collect();
    let mut running: Vec<_> = servers.iter().map(Server::run).collect();
    let mut rooms = Vec::new();
    for number in 0..24 {
        rooms.push(servers[0].open(&format!("room{number}")).await);
    }
    sleep(s(15.0)).await;
    running.remove(0).die();
    let heir = |room: &Handle| servers[1..].iter().position(|one| room_of(one, room).is_some());
    soon("all go on", || rooms.iter().all(|room| heir(room).is_some())).await;
    let shares: Vec<_> =
        (0..3).map(|one| rooms.iter().filter(|room| heir(room) == Some(one)).count()).collect();
    assert!(shares.iter().all(|share| *share >= 2), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_its_server_had_to_end_goes_on_when_that_is_well_again() {
    let fleet = Fleet::sharing(3);
    let (one, two, three) = (fleet.server(0), fleet.server(1), fleet.server(2));
    let _running = [one.run(), two.run(), three.run()];
    let (room, token_hash) = played(&one, "abc").await;
    one.cut(true);
    soon("it ends", || room.ending() == Some(Ending::Disowned)).await;
    one.cut(false);
    soon("it is well again", || one.standing() == Standing::Held).await;
    let all = [&one, &two, &three];
    soon("it goes on somewhere", || all.iter().any(|any| room_of(any, &room).is_some())).await;
    let restored = all.iter().find_map(|any| room_of(any, &room)).expect("it is there");
    assert!(restored.info().epoch == 2 && restored.info().restored_since(1).is_some());
    assert_eq!(restored.find(token_hash).await, Ok("p1".to_owned()));
    sleep(s(20.0)).await;
    assert!(restored.ending().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_room_that_its_server_could_give_to_nobody_goes_on_elsewhere_after_its_end() {
    let fleet = Fleet::sharing(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let (first, _second) = (one.run(), two.run());
    let (room, token_hash) = played(&one, "abc").await;
    one.net.parts.sessions().rooms.leave_unfinished();
    first.stop().await;
    soon("it goes on", || room_of(&two, &room).is_some()).await;
    let restored = room_of(&two, &room).expect("it is there");
    assert_eq!(restored.info().epoch, 2);
    assert_eq!(restored.find(token_hash).await, Ok("p1".to_owned()));
    assert!(restored.info().restored_since(1).is_some(), "nobody said that nothing is missing");
}
