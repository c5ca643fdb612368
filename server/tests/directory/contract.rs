//! What every directory promises.

use super::*;
use fray_server::session::directory::DirectoryError::Conflict;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_room_is_created_once_changed_by_who_knows_it_and_removed() {
    with_both("life", 2, async |accesses: &Accesses| {
        let (one, two) = (&accesses[0], &accesses[1]);
        assert!(one.read(&id("abc")).await.expect("an answer").is_none());
        let record = room("abc", one.me());
        let first = one.create(record.clone()).await.expect("created");
        assert_eq!(one.room(&id("abc")), Some(held(record.clone(), first)), "at once");
        let known = two.read(&id("abc")).await.expect("an answer").expect("a record");
        assert_eq!(known, held(record.clone(), first));
        assert_eq!(two.create(room("abc", two.me())).await, Err(Conflict));

        let swapped = RoomRecord { owner: two.me().clone(), epoch: 2, ..record.clone() };
        let second = two.swap(swapped.clone(), first).await.expect("swapped");
        assert!(second > first);
        assert_eq!(one.swap(record.clone(), first).await, Err(Conflict), "too late");
        assert_eq!(one.remove(&id("abc"), first).await, Err(Conflict), "too late");
        assert_eq!(one.read(&id("abc")).await, Ok(Some(held(swapped, second))));

        one.remove(&id("abc"), second).await.expect("removed");
        assert_eq!(one.room(&id("abc")), None, "at once");
        assert_eq!(one.read(&id("abc")).await, Ok(None));
        assert_eq!(one.remove(&id("abc"), second).await, Err(Conflict));
        assert_eq!(one.swap(record.clone(), second).await, Err(Conflict));
        until("the other has heard of it", || two.room(&id("abc")).is_none()).await;

        let third = two.create(record.clone()).await.expect("it may be there again");
        assert!(third > second);
        until("the first has heard of it", || one.room(&id("abc")).is_some()).await;
    })
    .await;
}

#[tokio::test]
async fn of_all_who_create_or_change_a_room_at_once_one_wins() {
    const ROUNDS: usize = 50;
    const SERVERS: usize = 6;
    with_both("race", SERVERS, async |accesses: &Accesses| {
        let mut rounds = JoinSet::new();
        for round in 0..ROUNDS {
            let accesses = accesses.clone();
            rounds.spawn(async move {
                let name = format!("race{round}");
                let mut tries = JoinSet::new();
                for access in accesses.clone() {
                    let record = room(&name, access.me());
                    tries.spawn(async move { access.create(record).await });
                }
                let won = winners(&tries.join_all().await);
                let [revision] = won[..] else { panic!("{} have created one room", won.len()) };

                let mut tries = JoinSet::new();
                for access in accesses.clone() {
                    let record = RoomRecord { epoch: 2, ..room(&name, access.me()) };
                    tries.spawn(async move { access.swap(record, revision).await });
                }
                let won = winners(&tries.join_all().await);
                let [revision] = won[..] else { panic!("{} have claimed one room", won.len()) };
                let mut tries = JoinSet::new();
                for access in accesses {
                    let room = id(&name);
                    tries.spawn(
                        async move { access.remove(&room, revision).await.map(|()| revision) },
                    );
                }
                assert_eq!(winners(&tries.join_all().await).len(), 1, "of those who remove it");
            });
        }
        rounds.join_all().await;
    })
    .await;
}

/// All others must have met a conflict.
fn winners(
    outcomes: &[Result<Revision, fray_server::session::directory::DirectoryError>],
) -> Vec<Revision> {
    let lost = outcomes.iter().filter(|outcome| **outcome == Err(Conflict)).count();
    let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.ok()).collect();
    assert_eq!(lost + won.len(), outcomes.len(), "{outcomes:?}");
    won
}

#[tokio::test]
async fn every_view_follows() {
    with_both("view", 3, async |accesses: &Accesses| {
        let mut changes: Vec<_> = accesses.iter().map(|access| access.changes()).collect();
        let record = room("seen", accesses[0].me());
        let revision = accesses[0].create(record.clone()).await.expect("created");
        for (access, changes) in accesses.iter().zip(&mut changes) {
            let seen = async {
                while access.room(&id("seen")).is_none() {
                    changes.changed().await.expect("it is told");
                }
            };
            timeout(DEADLINE, seen).await.expect("seen");
            assert_eq!(access.room(&id("seen")), Some(held(record.clone(), revision)));
        }
        accesses[1].create(room("another", accesses[1].me())).await.expect("created");
        for access in accesses {
            until("both are there", || access.rooms().len() == 2).await;
            let names: Vec<_> =
                access.rooms().iter().map(|held| held.record.room.to_string()).collect();
            assert_eq!(names, ["another", "seen"], "in order");
            assert!(access.is_settled());
        }
    })
    .await;
}

#[tokio::test]
async fn servers_are_known_while_they_say_so() {
    with_both("servers", 2, async |accesses: &Accesses| {
        let (one, two) = (&accesses[0], &accesses[1]);
        assert_eq!(two.silence(one.me()), None);
        one.announce(server(one.me())).await.expect("announced");
        assert!(one.is_reachable());
        two.announce(server(two.me())).await.expect("announced");
        until("the other sees it", || two.server(one.me()).is_some()).await;
        let seen = two.server(one.me()).expect("a record");
        assert_eq!(*seen.record, server(one.me()));
        until("both see both", || one.servers().len() == 2 && two.servers().len() == 2).await;

        // The first falls silent while the second goes on.
        let silent = async {
            while two.silence(one.me()).expect("a record") < Duration::from_secs(2) {
                two.announce(server(two.me())).await.expect("announced");
                sleep(Duration::from_millis(200)).await;
            }
        };
        timeout(DEADLINE, silent).await.expect("its silence grows");
        one.announce(server(one.me())).await.expect("announced");
        until("it is heard of again", || {
            two.server(one.me()).is_some_and(|now| now.revision > seen.revision)
        })
        .await;
        assert!(two.silence(one.me()).expect("a record") < Duration::from_secs(2));

        // Only the record that was seen can be dismissed, and whoever is there after all says so again.
        assert_eq!(two.dismiss(one.me(), seen.revision).await, Err(Conflict), "too late");
        let now = two.server(one.me()).expect("a record");
        two.dismiss(one.me(), now.revision).await.expect("dismissed");
        assert_eq!(two.server(one.me()), None, "at once");
        assert_eq!(two.dismiss(one.me(), now.revision).await, Err(Conflict), "it is gone");
        until("it has heard of that itself", || one.server(one.me()).is_none()).await;
        one.announce(server(one.me())).await.expect("announced");
        until("it is there again", || two.server(one.me()).is_some()).await;

        assert_eq!(two.has_record(one.me()).await, Ok(true));
        one.withdraw().await.expect("withdrawn");
        until("the other has heard of it", || two.server(one.me()).is_none()).await;
        assert_eq!(two.has_record(one.me()).await, Ok(false));
        assert_eq!(two.silence(one.me()), None);
    })
    .await;
}
