//! What the directory in NATS does when NATS does not do what it should.

use super::*;
use async_nats::jetstream::{self, kv, stream};
use fray_server::cluster::nats::{Options, SETTLE};
use fray_server::session::directory::{DirectoryError, Voter};
use tokio::time::Instant;

#[tokio::test]
async fn unknown_fields_are_read_over_and_what_cannot_be_read_is_left_alone_and_counted() {
    let Some(mut nats) = Nats::start("malformed").await else { return };
    let joined = nats.join().await;
    let directory = &joined.directory;
    let me = directory.me().clone();
    directory.create(room("sound", &me)).await.expect("created");
    directory.create(room("spoilt", &me)).await.expect("created");

    let outside = outside(&mut nats).await;
    let rooms = outside.get_key_value("fray_rooms").await.expect("a bucket");
    let servers = outside.get_key_value("fray_servers").await.expect("a bucket");
    let mut later = serde_json::to_value(room("later", &me)).expect("JSON");
    later["phase_of_the_moon"] = serde_json::json!({ "full": [1, 2, 3] });
    for key in ["followers", "code_hash", "lost"] {
        later.as_object_mut().expect("an object").remove(key);
    }
    rooms.put("later", later.to_string().into()).await.expect("put");

    let other_id = serde_json::to_vec(&room("other", &me)).expect("JSON");
    let no_instance = String::from_utf8_lossy(&other_id).replace(me.as_str(), "me");
    let deep = "[".repeat(10_000);
    let malformed: Vec<(&str, Vec<u8>)> = vec![
        ("spoilt", b"not JSON".to_vec()),
        ("empty", Vec::new()),
        ("bytes", vec![0xff, 0, 1]),
        ("array", b"[]".to_vec()),
        ("deep", deep.into_bytes()),
        ("mismatch", other_id),
        ("other", no_instance.into_bytes()),
        ("Upper.case-key", b"{}".to_vec()),
        ("long", vec![b' '; 300 * 1024]),
    ];
    let count = malformed.len() as u64 + 3;
    for (key, value) in malformed {
        rooms.put(key, value.into()).await.expect("put");
    }
    rooms.delete("Another.key").await.expect("deleted");
    servers.put("0000", "{}".into()).await.expect("put");
    let stranger = serde_json::to_string(&server(&me)).expect("JSON");
    let stranger =
        stranger.replace("\"voters\":[]", "\"voters\":[{\"instance\":\"me\",\"votes\":1}]");
    servers.put(me.as_str(), stranger.into()).await.expect("put");
    until("all were seen", || joined.metrics.directory.malformed.get() >= count).await;
    assert_eq!(joined.metrics.directory.malformed.get(), count);

    // Whoever was there before stays, and is still found.
    let names: Vec<_> = directory.rooms().iter().map(|held| held.record.room.to_string()).collect();
    assert_eq!(names, ["later", "sound", "spoilt"]);
    assert_eq!(directory.room(&id("later")).expect("a record").record.followers, []);
    assert_eq!(directory.read(&id("spoilt")).await, Err(DirectoryError::Malformed));
    assert_eq!(directory.create(room("spoilt", &me)).await, Err(DirectoryError::Conflict));

    // And whoever comes later reads what can be read.
    let second = nats.join().await;
    assert_eq!(second.directory.rooms().len(), 2);
    second.leave().await;
    joined.leave().await;
}

#[tokio::test]
async fn while_nats_is_stopped_reads_go_on_and_writes_do_not_and_then_all_heals() {
    let Some(mut nats) = Nats::start("stopped").await else { return };
    let (one, two) = (nats.join().await, nats.join().await);
    let record = room("kept", one.directory.me());
    let revision = one.directory.create(record.clone()).await.expect("created");
    until("the other has heard of it", || two.directory.room(&id("kept")).is_some()).await;
    one.directory.announce(server(one.directory.me())).await.expect("announced");

    nats.kill();
    until("it is noticed", || !one.directory.is_reachable()).await;
    for joined in [&one, &two] {
        let directory = &joined.directory;
        let away = Err(DirectoryError::Away);
        assert_eq!(directory.create(room("new", directory.me())).await, away);
        assert_eq!(directory.swap(record.clone(), revision).await, away);
        assert_eq!(directory.remove(&id("kept"), revision).await, Err(DirectoryError::Away));
        assert_eq!(directory.read(&id("kept")).await, Err(DirectoryError::Away));
        let renewed = directory.announce(server(directory.me())).await;
        assert_eq!(renewed, Err(DirectoryError::Away));
        assert_eq!(directory.room(&id("kept")), Some(held(record.clone(), revision)));
        assert!(directory.is_settled(), "what is not there was not there");
    }

    nats.launch().await;
    let back = async {
        while two.directory.announce(server(two.directory.me())).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, back).await.expect("it is back");
    assert!(two.directory.is_reachable());
    assert!(two.directory.is_settled(), "it is the same directory");
    assert_eq!(two.directory.read(&id("kept")).await, Ok(Some(held(record.clone(), revision))));
    assert_eq!(two.directory.read(&id("new")).await, Ok(None), "it was not sent afterwards");
    two.directory.swap(RoomRecord { epoch: 2, ..record }, revision).await.expect("swapped");
    // The watch is back, too.
    let heard = || one.directory.room(&id("kept")).is_some_and(|held| held.record.epoch == 2);
    until("the other has heard of it", heard).await;
    assert_eq!(one.metrics.directory.wipes.get() + two.metrics.directory.wipes.get(), 0);
    one.leave().await;
    two.leave().await;
}

#[tokio::test]
async fn after_nats_was_emptied_owners_write_their_records_again_and_nobody_else_takes_them() {
    let Some(mut nats) = Nats::start("wiped").await else { return };
    let (one, two) = (nats.join().await, nats.join().await);
    let record = RoomRecord { epoch: 5, ..room("kept", one.directory.me()) };
    one.directory.create(record.clone()).await.expect("created");
    one.directory.create(room("forgotten", one.directory.me())).await.expect("created");
    one.directory.announce(server(one.directory.me())).await.expect("announced");
    until("the other has heard of it", || {
        two.directory.rooms().len() == 2 && two.directory.server(one.directory.me()).is_some()
    })
    .await;

    nats.kill();
    nats.wipe();
    let emptied = Instant::now();
    nats.launch().await;
    for joined in [&one, &two] {
        until("it is noticed", || joined.metrics.directory.wipes.get() == 1).await;
    }
    until("the buckets are there", || !two.directory.is_settled()).await;
    // What was known is remembered, and marked.
    let remembered = two.directory.room(&id("kept")).expect("remembered");
    assert_eq!((remembered.revision, remembered.record.epoch), (Revision::LOST, 5));
    assert!(two.directory.server(one.directory.me()).is_some(), "remembered");
    let mine = RoomRecord { owner: two.directory.me().clone(), ..record.clone() };
    let mut outcome = two.directory.create(mine.clone()).await;
    assert_eq!(outcome, Err(DirectoryError::Conflict), "it has an owner");
    let again = async {
        loop {
            outcome = one.directory.create(record.clone()).await;
            match outcome {
                Err(DirectoryError::Away) => sleep(Duration::from_millis(20)).await,
                _ => return,
            }
        }
    };
    timeout(DEADLINE, again).await.expect("written again");
    outcome.expect("written again");
    until("the other has heard of it", || {
        two.directory.room(&id("kept")).is_some_and(|held| held.revision != Revision::LOST)
    })
    .await;
    assert_eq!(*two.directory.room(&id("kept")).expect("a record").record, record);
    assert!(!two.directory.is_settled());

    until("it settles", || two.directory.is_settled()).await;
    assert!(emptied.elapsed() >= SETTLE, "not before");
    assert_eq!(two.directory.rooms().len(), 1, "what did not come back is gone");
    assert!(two.directory.server(one.directory.me()).is_none(), "who did not come back is gone");
    let forgotten = room("forgotten", two.directory.me());
    two.directory.create(forgotten).await.expect("it is free now");
    one.leave().await;
    two.leave().await;
}

#[tokio::test]
async fn a_server_that_starts_before_nats_waits_for_it() {
    let Some(mut nats) = Nats::prepare("early", &[]) else { return };
    let options = Options { url: nats.url(), ..Options::default() };
    let joined = Joined::start(options).await;
    assert!(!joined.directory.is_settled() && !joined.directory.is_reachable());
    let away = joined.directory.create(room("new", joined.directory.me())).await;
    assert_eq!(away, Err(DirectoryError::Away));
    nats.launch().await;
    until("the directory is read", || joined.directory.is_settled()).await;
    joined.directory.create(room("new", joined.directory.me())).await.expect("created");
    joined.leave().await;

    // And one that never finds it can still be ended.
    nats.kill();
    let options = Options { url: nats.url(), ..Options::default() };
    let joined = Joined::start(options).await;
    joined.leave().await;
}

#[tokio::test]
async fn while_nats_stands_still_an_outcome_is_unknown_and_no_silence_is_counted() {
    let Some(nats) = Nats::start("frozen").await else { return };
    let (one, two) = (nats.join().await, nats.join().await);
    for joined in [&one, &two] {
        joined.directory.announce(server(joined.directory.me())).await.expect("announced");
    }
    until("both see both", || {
        one.directory.servers().len() == 2 && two.directory.servers().len() == 2
    })
    .await;
    nats.signal("STOP");
    let stopped = Instant::now();
    let record = room("unknown", one.directory.me());
    assert_eq!(one.directory.create(record.clone()).await, Err(DirectoryError::Away));
    while stopped.elapsed() < Duration::from_secs(4) {
        let renewed = one.directory.announce(server(one.directory.me())).await;
        assert_eq!(renewed, Err(DirectoryError::Away));
        sleep(Duration::from_millis(100)).await;
    }
    nats.signal("CONT");
    let silence = || one.directory.silence(two.directory.me()).unwrap_or_default();
    let back = async {
        while one.directory.announce(server(one.directory.me())).await.is_err() {
            assert!(silence() < Duration::from_secs(3), "{:?}", silence());
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, back).await.expect("it is back");
    until("it is read", || one.directory.is_settled()).await;
    assert!(silence() < Duration::from_secs(3), "nobody could have been heard: {:?}", silence());
    // The write may have come through or not: whoever tries again learns which.
    let stored = one.directory.read(&id("unknown")).await.expect("an answer");
    let again = one.directory.create(record.clone()).await;
    match stored {
        Some(stored) => {
            assert_eq!(*stored.record, record);
            assert_eq!(again, Err(DirectoryError::Conflict));
        }
        None => {
            again.expect("created");
        }
    }
    one.leave().await;
    two.leave().await;
}

#[tokio::test]
async fn the_record_of_a_server_that_says_nothing_any_more_stays_whatever_the_bucket_was_made_for()
{
    let Some(mut nats) = Nats::start("ttl").await else { return };
    // As it was made before: records ran out.
    let outside = outside(&mut nats).await;
    let old = kv::Config {
        bucket: "short_servers".into(),
        history: 1,
        max_age: Duration::from_secs(2),
        limit_markers: Some(Duration::from_secs(60)),
        ..kv::Config::default()
    };
    outside.create_key_value(old).await.expect("a bucket");
    let options = Options { url: nats.url(), prefix: "short".into(), ..Options::default() };
    let (one, two) = (Joined::start(options.clone()).await, Joined::start(options).await);
    until("it is read", || one.directory.is_settled() && two.directory.is_settled()).await;
    for bucket in ["KV_short_servers", "KV_short_rooms"] {
        let stream = outside.get_stream(bucket).await.expect("a stream");
        assert_eq!(stream.cached_info().config.max_age, Duration::ZERO, "{bucket}");
    }
    let record = ServerRecord {
        electorate: vec![Voter { instance: two.directory.me().clone(), votes: 1 }],
        ..server(one.directory.me())
    };
    one.directory.announce(record.clone()).await.expect("announced");
    until("the other sees it", || two.directory.server(one.directory.me()).is_some()).await;
    // Longer than it would have been there.
    let silent = async {
        while two.directory.silence(one.directory.me()).expect("a record") < Duration::from_secs(5)
        {
            two.directory.announce(server(two.directory.me())).await.expect("announced");
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(DEADLINE, silent).await.expect("its silence grows");
    let third = nats.join().await;
    assert_eq!(third.directory.rooms().len() + third.directory.servers().len(), 0, "another fleet");
    assert_eq!(*two.directory.server(one.directory.me()).expect("a record").record, record);
    for joined in [one, two, third] {
        joined.leave().await;
    }
}

#[tokio::test]
async fn a_directory_that_takes_no_renewals_is_not_reachable_though_it_can_be_read_and_written() {
    let Some(mut nats) = Nats::start("full").await else { return };
    let one = nats.join().await;
    assert!(!one.directory.is_reachable(), "it has not renewed yet");
    one.directory.announce(server(one.directory.me())).await.expect("announced");
    assert!(one.directory.is_reachable());
    let outside = outside(&mut nats).await;
    let servers = outside.get_stream("KV_fray_servers").await.expect("a stream");
    let full = stream::Config { max_message_size: 1, ..servers.cached_info().config.clone() };
    outside.update_stream(full).await.expect("updated");

    let renewed = one.directory.announce(server(one.directory.me())).await;
    assert_eq!(renewed, Err(DirectoryError::Away));
    // Reading and other writes go on, for a server that starts now, too.
    let two = nats.join().await;
    let revision = two.directory.create(room("abc", two.directory.me())).await.expect("created");
    assert!(two.directory.read(&id("abc")).await.expect("an answer").is_some());
    assert!(!two.directory.is_reachable(), "its renewals are not answered");
    until("the first notices", || !one.directory.is_reachable()).await;
    two.directory.remove(&id("abc"), revision).await.expect("removed");
    assert_eq!(two.directory.announce(server(two.directory.me())).await, Err(DirectoryError::Away));
    assert!(!two.directory.is_reachable() && !one.directory.is_reachable());
    for joined in [one, two] {
        joined.leave().await;
    }
}

/// Somebody who knows nothing of directories.
async fn outside(nats: &mut Nats) -> jetstream::Context {
    jetstream::new(async_nats::connect(nats.url()).await.expect("connected"))
}

#[tokio::test]
async fn who_may_come_in_is_said_in_the_url() {
    let arguments = ["--user", "mia", "--pass", "p@ss"];
    let Some(mut nats) = Nats::start_with("password", &arguments).await else { return };
    let url = nats.url();
    let joined = |url: String| Joined::start(Options { url, ..Options::default() });
    let wrong = joined(url.replace("nats://", "nats://mia:guess@")).await;
    let right = joined(url.replace("nats://", "nats://mia:p%40ss@")).await;
    until("it is read", || right.directory.is_settled()).await;
    assert!(!wrong.directory.is_settled());
    wrong.leave().await;
    right.leave().await;

    let Some(mut nats) = Nats::start_with("token", &["--auth", "s3cret"]).await else { return };
    let right = joined(nats.url().replace("nats://", "nats://s3cret@")).await;
    until("it is read", || right.directory.is_settled()).await;
    right.leave().await;
}
