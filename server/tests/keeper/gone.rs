//! Who may be taken for gone, in virtual time: cuts that last, servers that come meanwhile, records that go or stay.

use super::fleet::{Fleet, Server, soon};
use super::s;
use fray_server::cluster::lease::{CLAIM_AFTER, Standing};
use fray_server::session::Error;
use fray_server::session::directory::{Directory as _, DirectoryError, Fate, Held, ServerRecord};
use tokio::time::{Instant, sleep, sleep_until};

fn record_of(server: &Server, seen_by: &Server) -> Option<Held<ServerRecord>> {
    seen_by.directory.server(server.directory.me())
}

#[tokio::test(start_paused = true)]
async fn a_majority_without_the_directory_plays_on_for_however_long_and_nobody_claims_its_rooms() {
    let fleet = Fleet::new(5);
    let servers: Vec<_> = (0..5).map(|number| fleet.server(number)).collect();
    let mut running: Vec<_> = servers[..3].iter().map(Server::run).collect();
    let room = servers[0].open("abc").await;
    let held = servers[2].directory.room(&room.info().id).expect("a record");
    sleep(s(20.0)).await;

    // Two of three lose it, and the third; then two more start where it can be reached.
    for server in &servers[..2] {
        server.cut(true);
        server.move_to_part(1);
    }
    let cut = Instant::now();
    sleep(s(15.0)).await;
    running.extend(servers[3..].iter().map(Server::run));
    let mut tick = room.frames().borrow().tick;
    while cut.elapsed() < s(150.0) {
        sleep(s(1.0)).await;
        let now = room.frames().borrow().tick;
        assert!(now >= tick + 15, "it stands still after {:?}", cut.elapsed());
        tick = now;
        for other in &servers[2..] {
            let fate = other.fates.settle(held.clone()).await;
            assert_eq!(fate, Err(Error::OwnerUnreachable), "after {:?}", cut.elapsed());
        }
    }
    assert_eq!(servers[0].standing(), Standing::AwayForAll);
    assert_eq!(servers[4].directory.servers().len(), 5, "records do not run out");
    for server in &servers[..2] {
        server.cut(false);
        server.move_to_part(0);
    }
    soon("all is as before", || servers.iter().all(|server| server.standing() == Standing::Held))
        .await;
    assert!(room.ending().is_none() && !*room.frozen().borrow());
}

#[tokio::test(start_paused = true)]
async fn a_minority_without_the_directory_ends_its_rooms_and_the_majority_says_so() {
    let fleet = Fleet::new(3);
    let servers = [fleet.server(0), fleet.server(1), fleet.server(2)];
    let _running: Vec<_> = servers.iter().map(Server::run).collect();
    let room = servers[0].open("abc").await;
    sleep(s(20.0)).await;
    let held = servers[2].directory.room(&room.info().id).expect("a record");
    servers[0].cut(true);
    servers[0].move_to_part(1);
    sleep(s(12.0)).await;
    assert!(room.ending().is_some());
    assert!(matches!(servers[2].fates.settle(held).await, Ok(Fate::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn of_a_server_that_was_alone_and_is_cut_off_a_newcomer_claims_nothing() {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let _one = one.run();
    let room = one.open("abc").await;
    sleep(s(10.0)).await;
    one.cut(true);
    one.move_to_part(1);
    sleep(s(5.0)).await;
    let _two = two.run();
    sleep(s(90.0)).await;
    let held = two.directory.room(&room.info().id).expect("a record");
    assert_eq!(two.fates.settle(held).await, Err(Error::OwnerUnreachable));
    assert!(room.ending().is_none() && !*room.frozen().borrow());
    assert_eq!(one.standing(), Standing::AwayForAll);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_others_know_of_no_more_than_it_said_asks_those_that_it_said() {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let _one = one.run();
    let room = one.open("abc").await;
    sleep(s(10.0)).await;
    // It hears of a second one, and its renewal that says so does not come through: others may have read it or not.
    let _two = two.run();
    soon("it knows of the other", || record_of(&two, &one).is_some()).await;
    one.cut(true);
    sleep(s(1.2)).await;
    one.move_to_part(1);
    sleep(s(8.0)).await;
    assert!(room.ending().is_some(), "it is no majority of two");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_server_leaves_goes_first_its_rooms_then_its_record() {
    let fleet = Fleet::new(3);
    let (one, two, three) = (fleet.server(0), fleet.server(1), fleet.server(2));
    let running = one.run();
    let _others = [two.run(), three.run()];
    let room = one.open("abc").await;
    sleep(s(10.0)).await;
    running.die();
    let died = Instant::now();
    sleep_until(died + s(28.0)).await;
    assert!(record_of(&one, &two).is_some());
    sleep_until(died + s(36.0)).await;
    let lost = || two.directory.room(&room.info().id).expect("a record").record.lost.is_some();
    assert!(lost());
    assert!(record_of(&one, &two).is_none(), "nobody needs it any more");
    assert_eq!(two.directory.servers().len(), 2);
    let electorate = record_of(&two, &three).expect("a record").record.electorate.clone();
    assert_eq!(electorate.len(), 2, "nor is it asked any more");
}

#[tokio::test(start_paused = true)]
async fn that_a_servers_record_is_not_seen_is_no_proof_while_the_directory_has_it() {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    two.directory.overlook(one.directory.me());
    let (_one, _two) = (one.run(), two.run());
    let room = one.open("abc").await;
    sleep(s(60.0)).await;
    let held = two.directory.room(&room.info().id).expect("a record");
    assert_eq!(two.fates.settle(held).await, Err(Error::OwnerUnreachable));
    assert!(room.ending().is_none());
}

#[tokio::test(start_paused = true)]
async fn alone_with_an_address_that_refuses_rooms_are_declared_lost_though_most_are_gone() {
    let fleet = Fleet::new(4);
    let servers: Vec<_> = (0..4).map(|number| fleet.server(number)).collect();
    let mut running: Vec<_> = servers.iter().map(Server::run).collect();
    let room = servers[0].open("abc").await;
    sleep(s(10.0)).await;
    let _last = running.pop();
    running.into_iter().for_each(super::fleet::Running::die);
    sleep(s(40.0)).await;
    let held = servers[3].directory.room(&room.info().id).expect("a record");
    assert!(held.record.lost.is_some(), "nothing listens there: that is proof enough");
    assert_eq!(servers[3].directory.servers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn if_most_vanish_at_once_an_operator_says_that_they_are_gone() {
    let fleet = Fleet::new(3);
    let (one, two, three) = (fleet.server(0), fleet.server(1), fleet.server(2));
    let lost = [one.run(), two.run()];
    let _three = three.run();
    let room = one.open("abc").await;
    sleep(s(10.0)).await;
    let held = three.directory.room(&room.info().id).expect("a record");
    let record = |of: &Server| record_of(of, &three).expect("a record");
    let refused = async |of: &Server, why: &str| {
        let Err(Error::ServerAlive(said)) = three.fates.forget(&record(of)).await else {
            panic!("it is forgotten: {why}")
        };
        assert!(said.contains(why), "{said}");
    };
    refused(&one, "answers").await;
    refused(&three, "asked").await;
    one.cut_from_peers(true);
    refused(&one, "within the last 8 s").await;

    lost.into_iter().for_each(super::fleet::Running::vanish);
    sleep(s(5.5)).await;
    refused(&one, "within the last 8 s").await;
    sleep(s(120.0)).await;
    let settled = three.fates.settle(held.clone()).await;
    assert_eq!(settled, Err(Error::OwnerUnreachable), "they may play on together");
    assert_eq!(three.directory.servers().len(), 3, "nobody can know");

    let older = Held {
        revision: three.directory.room(&room.info().id).expect("one").revision,
        ..record(&one)
    };
    assert!(three.fates.forget(&older).await.is_err(), "it was renewed since");
    assert_eq!(three.fates.forget(&record(&one)).await, Ok(()));
    assert!(record_of(&one, &three).is_none());
    let settled = three.fates.settle(held.clone()).await;
    assert_eq!(settled, Err(Error::OwnerUnreachable), "it might come back at once");
    sleep(CLAIM_AFTER + s(1.0)).await;
    assert!(matches!(three.fates.settle(held).await, Ok(Fate::Lost(_))));
    assert_eq!(three.directory.servers().len(), 2, "the other was not named");

    // While the directory does not answer, nobody is forgotten.
    three.cut(true);
    sleep(s(4.0)).await;
    assert_eq!(three.fates.forget(&record(&two)).await, Err(Error::DirectoryAway));
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_server_that_is_there_after_all_is_known_again_when_it_renews() {
    let fleet = Fleet::new(2);
    let (one, two) = (fleet.server(0), fleet.server(1));
    let _running = [one.run(), two.run()];
    let room = one.open("abc").await;
    sleep(s(10.0)).await;
    let record = record_of(&one, &two).expect("a record");
    let gone = two.directory.dismiss(one.directory.me(), record.revision).await;
    // It has renewed meanwhile, or not: whatever is there is of a revision.
    if gone == Err(DirectoryError::Conflict) {
        let record = record_of(&one, &two).expect("a record");
        two.directory.dismiss(one.directory.me(), record.revision).await.expect("dismissed");
    }
    assert!(record_of(&one, &two).is_none());
    soon("it is back", || record_of(&one, &two).is_some()).await;
    sleep(s(20.0)).await;
    assert!(room.ending().is_none() && !*room.frozen().borrow());
}
