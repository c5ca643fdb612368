//! Servers, their links and their directory in simulated time: whatever is delayed, cut, paused or killed, no server lets a
//! room tick after another one has claimed it.
//!
//! The machines are the real ones: lease, witness, the view, the judge of fates, the rooms' permit. What carries messages between them
//! is not. Each seed is another schedule; a failure names its seed.

mod face;
mod world;

use crate::cluster::lease::CLAIM_AFTER;
use std::time::Duration;
use world::World;

/// What a run came across: that the test means something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) ticks: u64,
    pub(super) claims: u64,
    pub(super) claims_of_the_living: u64,
    pub(super) freezes: u64,
    pub(super) thaws: u64,
    pub(super) disowned: u64,
    pub(super) played_on: u64,
    pub(super) ticks_after_claim: u64,
}

fn over_seeds(
    count: usize,
    seeds: std::ops::Range<u64>,
    claim_after: Duration,
) -> (Seen, Vec<u64>) {
    let mut all = Seen::default();
    let mut violations = Vec::new();
    for seed in seeds {
        let seen = World::new(seed, count, claim_after).run();
        if seen.ticks_after_claim > 0 {
            violations.push(seed);
        }
        all.ticks += seen.ticks;
        all.claims += seen.claims;
        all.claims_of_the_living += seen.claims_of_the_living;
        all.freezes += seen.freezes;
        all.thaws += seen.thaws;
        all.disowned += seen.disowned;
        all.played_on += seen.played_on;
        all.ticks_after_claim += seen.ticks_after_claim;
    }
    (all, violations)
}

fn seeds() -> u64 {
    std::env::var("FRAY_SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(150)
}

#[tokio::test(start_paused = true)]
async fn no_room_ticks_after_it_was_claimed_whatever_is_cut_delayed_paused_or_killed() {
    for count in [2, 3, 4] {
        let (seen, violations) = over_seeds(count, 0..seeds(), CLAIM_AFTER);
        assert!(violations.is_empty(), "{count} servers, seeds {violations:?}: {seen:?}");
        // All that is meant to happen did.
        assert!(seen.claims > 5 && seen.claims_of_the_living > 0, "{seen:?}");
        assert!(seen.freezes > 10 && seen.thaws > 5 && seen.disowned > 5, "{seen:?}");
        assert!(seen.played_on > 5 && seen.ticks > 10_000, "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_simulation_sees_it_when_servers_claim_too_early() {
    let (seen, violations) = over_seeds(3, 0..seeds(), Duration::from_secs(3));
    assert!(!violations.is_empty(), "{seen:?}");
}
