//! A room that plays keeps its tick while recordings are verified: measured, on a real runtime.
//!
//! Not run with the others, because it takes its time and wants the machine for itself:
//! `cargo test --release -p fray-server --test verify_load -- --ignored --nocapture`

mod support;

use fray_proto::v1::{self, VerifyRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use support::recorded::{Recorded, store_of};
use support::{Net, Player};
use tokio::time::Instant;

const MEASURED: Duration = Duration::from_secs(8);
const UPLOADERS: usize = 200;

/// How much later than in its turn each frame of the player's room comes, in µs, sorted.
async fn lateness(net: &Net, player: &Player) -> Vec<u128> {
    let id = &player.welcome.room.as_ref().expect("a room").room_id;
    let rooms = &net.parts.sessions().rooms;
    let room = rooms.public().into_iter().find(|room| room.info().id.as_str() == id);
    let mut frames = room.expect("it plays").frames();
    frames.changed().await.expect("it plays");
    let (first_tick, first_at) = (frames.borrow().tick, Instant::now());
    let ends_at = first_at + MEASURED;
    let mut offsets = Vec::new();
    while Instant::now() < ends_at {
        frames.changed().await.expect("it plays");
        let at = first_at.elapsed();
        let due = Duration::from_millis(50) * (frames.borrow().tick - first_tick);
        offsets.push(at.as_micros().cast_signed() - due.as_micros().cast_signed());
    }
    let earliest = offsets.iter().min().copied().expect("ticks");
    let mut late: Vec<_> =
        offsets.iter().map(|offset| (offset - earliest).unsigned_abs()).collect();
    late.sort_unstable();
    late
}

fn say(what: &str, late: &[u128]) -> u128 {
    let at = |part: usize| late[(late.len() - 1) * part / 100];
    println!(
        "{what}: {} ticks, p50 {} µs, p99 {} µs, worst {} µs",
        late.len(),
        at(50),
        at(99),
        at(100)
    );
    at(99)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: needs the machine for itself, and release"]
async fn a_room_keeps_its_tick_while_two_hundred_verify() {
    let net = Net::with_recordings(store_of(&[]), 1);
    let recorded = Recorded::finished("past", 4000);
    let file = recorded.file();
    let messages: Vec<_> =
        file.chunks(60_000).map(|data| VerifyRequest { data: data.to_vec().into() }).collect();
    println!("{} ticks, {} KiB", recorded.last_tick(), file.len() / 1024);
    let mut player = net.player("Ada").await;
    player.update().await.expect("goes on");
    let before = say("alone", &lateness(&net, &player).await);

    let (is_over, messages) = (Arc::new(AtomicBool::new(false)), Arc::new(messages));
    let (verdicts, refusals) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut uploaders = tokio::task::JoinSet::new();
    let client = net.replays().await;
    for _ in 0..UPLOADERS {
        let (mut client, messages) = (client.clone(), Arc::clone(&messages));
        let (is_over, verdicts, refusals) =
            (Arc::clone(&is_over), Arc::clone(&verdicts), Arc::clone(&refusals));
        uploaders.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let upload = tokio_stream::iter(messages.as_ref().clone());
                match client.verify(upload).await {
                    Ok(answer) => {
                        let verdict = answer.into_inner().verdict();
                        assert_eq!(verdict, v1::verify_response::Verdict::Same);
                        verdicts.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(status) => {
                        assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
                        refusals.fetch_add(1, Ordering::Relaxed);
                        // A client that is refused tries again, but not at once.
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        });
    }
    let during = say("with 200 uploaders", &lateness(&net, &player).await);
    is_over.store(true, Ordering::Relaxed);
    uploaders.join_all().await;
    println!(
        "{} verdicts, {} refusals; p99 is {:.1} times as late",
        verdicts.load(Ordering::Relaxed),
        refusals.load(Ordering::Relaxed),
        during as f64 / before.max(1) as f64
    );
    assert!(verdicts.load(Ordering::Relaxed) > 0);
    assert!(during < 50_000, "a whole tick late: {during} µs");
}
