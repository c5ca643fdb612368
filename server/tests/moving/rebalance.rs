//! Rooms of a server that has more than its share.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_with_more_than_its_share_gives_away_what_is_too_much() {
    let world = World::new(Fault::Nothing).await;
    for id in ["abc", "xyz", "few"] {
        let room = world.open(id).await;
        crowd(&room, if id == "few" { 4 } else { 20 }).await;
    }
    let rebalancer = Rebalancer { mover: Arc::clone(&world.mover) };
    let sent = rebalancer.even_out(8).await;
    assert_eq!(sent.len(), 1, "24 and 20 are about the same: {sent:?}");
    assert_eq!((sent[0].players, sent[0].to.as_deref()), (20, Ok("to")));
    assert!(world.there(sent[0].room.as_str()).is_some());
    assert_eq!(rebalancer.even_out(8).await, [], "though the other's record does not say so yet");
    // One room, by hand.
    let few = world.mover.rooms.get(&RoomId::parse("few").expect("an id")).expect("it is here");
    let own = world.from.directory.server(world.from.directory.me()).expect("a record").record;
    let stays = rebalancer.send(few.clone(), Some(own)).await;
    assert_eq!(stays.to, Err("that server has it".to_owned()));
    let goes = rebalancer.send(few, Some(Arc::new(world.target.clone()))).await;
    assert_eq!(goes.to.as_deref(), Ok("to"));
    assert_eq!(world.mover.rooms.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_server_fills_up_once_nobody_joins_the_fleet_any_more() {
    let world = World::new(Fault::Nothing).await;
    for id in ["abc", "xyz"] {
        let room = world.open(id).await;
        crowd(&room, 20).await;
    }
    let health = Arc::clone(world.from.net.parts.health());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let rebalancer = Arc::new(Rebalancer { mover: Arc::clone(&world.mover) });
    tasks.spawn(rebalancer.run(Duration::from_secs(10), health, stop.clone()));
    tasks.close();
    let renew = async {
        for _ in 0..40 {
            world.to.directory.announce(world.target.clone()).await.expect("announced");
            sleep(Duration::from_secs(1)).await;
        }
    };
    // The first look only sees who is there.
    let (moved_after, ()) = tokio::join!(
        async {
            let began = Instant::now();
            while world.mover.rooms.all().len() > 1 {
                sleep(Duration::from_millis(100)).await;
            }
            began.elapsed()
        },
        renew
    );
    let (first, second) = (Duration::from_secs(20), Duration::from_secs(31));
    assert!(moved_after >= first && moved_after < second, "{moved_after:?}");
    stop.cancel();
    tasks.wait().await;
}
