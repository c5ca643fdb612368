//! Goal: somebody who looks at a recording sees what a spectator would have seen, wherever he jumps. Method: a real recording; its
//! session checks every checksum.

use super::{Control, Playback, ReplayArgs, play};
use crate::client::{Event, Updated};
use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/golden/arena-v1.fray");

fn playback(from: u32, until: Option<u32>) -> Playback {
    let games: Vec<Arc<dyn GameFactory>> = vec![Arc::new(Arena::default())];
    let args =
        ReplayArgs { path: PathBuf::from(GOLDEN), from: Some(from), until, ..Default::default() };
    let mut playback =
        play(games, &args, &CancellationToken::new()).expect("a recording that can be played");
    for _ in 0..9 {
        playback.control(Control::Faster);
    }
    playback
}

/// The next update; welcomes may come before it.
async fn update(playback: &mut Playback) -> Updated {
    loop {
        match playback.next().await.expect("a stream that goes on") {
            Some(Event::Updated(update)) => return update,
            Some(Event::Welcomed { .. }) => {}
            other => panic!("neither a welcome nor an update: {other:?}"),
        }
    }
}

#[tokio::test]
async fn ticks_follow_one_another_and_every_checksum_is_right() {
    let mut playback = playback(390, Some(480));
    for tick in 390..=480 {
        let update = update(&mut playback).await;
        assert_eq!((update.tick, update.is_fresh), (tick, tick == 390));
    }
    let replica = playback.session.replica().expect("a world");
    assert!(replica.checksums_checked() > 10);
    assert!(playback.status().contains("×16"), "{}", playback.status());
}

#[tokio::test]
async fn jumps_lead_there_and_back_and_single_ticks_stand_still() {
    let mut playback = playback(300, None);
    assert_eq!(update(&mut playback).await.tick, 300);
    playback.control(Control::Pause);
    for (control, tick) in [
        (Control::Seconds(-5), 200),
        (Control::Ticks(1), 201),
        (Control::Ticks(-1), 200),
        (Control::Last, 600),
        (Control::First, 1),
        (Control::Seconds(-5), 1),
        (Control::Seconds(5), 101),
    ] {
        playback.control(control);
        assert_eq!(update(&mut playback).await.tick, tick, "{control:?}");
    }
    // Keys that come faster than the game add up.
    playback.control(Control::Seconds(5));
    playback.control(Control::Seconds(5));
    let mut tick = 0;
    while tick != 301 {
        tick = update(&mut playback).await.tick;
        assert!(tick == 201 || tick == 301, "{tick}");
    }
    playback.leave();
    assert!(playback.next().await.expect("no error").is_none());
}
