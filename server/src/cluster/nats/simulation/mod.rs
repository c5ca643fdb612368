//! Servers, their links and their directory in simulated time: whatever is delayed, cut, paused, started, ended or killed, no
//! server lets a room tick after another one has claimed it; and when all is well again, all goes on, and what dead servers
//! have left is seen to.
//!
//! The machines are the real ones: lease, electorates, witness, the view, the judge of fates, the rooms' permit. What carries
//! messages between them is not. Each seed is another schedule; a failure names its seed.

mod face;
mod plan;
mod server;
mod world;

use std::time::Duration;
use world::World;

/// How servers decide that another one is gone.
#[derive(Clone, Copy, Debug)]
enum Claimant {
    /// As they do.
    Sound,
    /// After so long, which is too early.
    Early(Duration),
    /// Whatever the silent server's electorate is.
    WithoutElectorate,
}

/// What a run came across: that the test means something.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    ticks: u64,
    claims: u64,
    claims_of_the_living: u64,
    claims_without_record: u64,
    dismissed: u64,
    freezes: u64,
    thaws: u64,
    disowned: u64,
    played_on: u64,
    /// For longer than a minute, with the room.
    played_on_long: u64,
    ticks_after_claim: u64,
    /// In the end something was not as it should be.
    is_stuck: bool,
}

/// What all runs came across, and the seeds of those that must not be.
#[derive(Debug, Default)]
struct All {
    seen: Seen,
    unsafe_seeds: Vec<u64>,
    stuck_seeds: Vec<u64>,
}

fn over_seeds(count: usize, seeds: u64, claimant: Claimant) -> All {
    let mut all = All::default();
    for seed in 0..seeds {
        let seen = World::new(seed, count, claimant).run();
        if seen.ticks_after_claim > 0 {
            all.unsafe_seeds.push(seed);
        }
        if seen.is_stuck {
            all.stuck_seeds.push(seed);
        }
        let total = &mut all.seen;
        total.ticks += seen.ticks;
        total.claims += seen.claims;
        total.claims_of_the_living += seen.claims_of_the_living;
        total.claims_without_record += seen.claims_without_record;
        total.dismissed += seen.dismissed;
        total.freezes += seen.freezes;
        total.thaws += seen.thaws;
        total.disowned += seen.disowned;
        total.played_on += seen.played_on;
        total.played_on_long += seen.played_on_long;
        total.ticks_after_claim += seen.ticks_after_claim;
    }
    all
}

fn seeds() -> u64 {
    std::env::var("FRAY_SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(120)
}

/// Of servers that do something wrong: enough that it is seen.
const CONTROL_SEEDS: u64 = 50;

#[tokio::test(start_paused = true)]
async fn no_room_ticks_after_it_was_claimed_and_all_heals_whatever_is_cut_paused_started_or_killed()
{
    for count in [2, 3, 4, 5] {
        let All { seen, unsafe_seeds, stuck_seeds } = over_seeds(count, seeds(), Claimant::Sound);
        assert!(unsafe_seeds.is_empty(), "{count} servers, seeds {unsafe_seeds:?}: {seen:?}");
        assert!(stuck_seeds.is_empty(), "{count} servers, seeds {stuck_seeds:?}: {seen:?}");
        // All that is meant to happen did.
        assert!(seen.claims > 5 && seen.claims_of_the_living > 0, "{seen:?}");
        assert!(seen.claims_without_record > 0 && seen.dismissed > 5, "{seen:?}");
        assert!(seen.freezes > 10 && seen.thaws > 5 && seen.disowned > 5, "{seen:?}");
        assert!(seen.played_on > 5 && seen.played_on_long > 0, "{seen:?}");
        assert!(seen.ticks > 10_000, "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_simulation_sees_it_when_servers_claim_too_early() {
    let all = over_seeds(3, CONTROL_SEEDS, Claimant::Early(Duration::from_secs(3)));
    assert!(!all.unsafe_seeds.is_empty(), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn the_simulation_sees_it_when_servers_claim_whoever_is_silent_with_the_owner() {
    for count in [2, 3, 4] {
        let all = over_seeds(count, CONTROL_SEEDS, Claimant::WithoutElectorate);
        assert!(!all.unsafe_seeds.is_empty(), "{count} servers: {all:?}");
    }
}
