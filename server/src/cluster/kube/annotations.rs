//! What the own pod's annotations say, and when they are written. Pure.
//!
//! - `controller.kubernetes.io/pod-deletion-cost`: of several pods, a Deployment that is made smaller takes the cheapest
//!   first. The cost is the number of players, rounded down so that small changes are none: to three binary digits, which
//!   is exact up to 8 and at most a quarter off beyond.
//! - `cluster-autoscaler.kubernetes.io/safe-to-evict`: whether the autoscaler may empty this pod's node to save it. A pod
//!   without players may go. One with players may go if other servers have places for all of its rooms: a drain moves them,
//!   at the cost of a short pause for their players. If they have not, rooms would end, only to save a node: that is never
//!   worth it. (Whoever drains a node by hand means it, and is not asked.)

use std::time::Duration;
use tokio::time::Instant;

/// The least time between two writes.
pub const WRITE_EVERY_MIN: Duration = Duration::from_secs(30);

/// How full this server is, and how much place the others have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Players here.
    pub players: u64,
    /// Rooms here.
    pub rooms: u64,
    /// Rooms that other servers could take which run the same rules and stay.
    pub places_elsewhere: u64,
}

/// What the annotations are to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotations {
    /// `controller.kubernetes.io/pod-deletion-cost`.
    pub deletion_cost: i32,
    /// `cluster-autoscaler.kubernetes.io/safe-to-evict`.
    pub is_safe_to_evict: bool,
}

impl From<Load> for Annotations {
    fn from(load: Load) -> Self {
        Self {
            deletion_cost: i32::try_from(coarse(load.players)).unwrap_or(i32::MAX),
            is_safe_to_evict: load.players == 0 || load.rooms <= load.places_elsewhere,
        }
    }
}

/// The first three binary digits.
fn coarse(players: u64) -> u64 {
    let digits = u64::BITS - players.leading_zeros();
    let dropped = digits.saturating_sub(3);
    players >> dropped << dropped
}

/// Decides when they are written: only when they say something new, and not too often, whether it succeeds or not.
#[derive(Debug, Default)]
pub struct Pace {
    written: Option<Annotations>,
    tried_at: Option<Instant>,
}

impl Pace {
    /// Whether to write these now.
    pub fn is_due(&self, wanted: Annotations, now: Instant) -> bool {
        let may = self.tried_at.is_none_or(|at| now.duration_since(at) >= WRITE_EVERY_MIN);
        may && self.written != Some(wanted)
    }

    /// They were written, or could not be.
    pub fn tried(&mut self, wanted: Annotations, is_written: bool, now: Instant) {
        self.tried_at = Some(now);
        // After a failure nobody knows what is there.
        self.written = is_written.then_some(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cost(players: u64) -> i32 {
        Annotations::from(Load { players, ..Load::default() }).deletion_cost
    }

    #[test]
    fn small_changes_of_a_full_pod_cost_nothing() {
        let costs = [0, 1, 2, 7, 8, 9, 10, 63, 64, 79, 80, 200, 1000].map(cost);
        assert_eq!(costs, [0, 1, 2, 7, 8, 8, 10, 56, 64, 64, 80, 192, 896]);
        assert_eq!(cost(u64::MAX), i32::MAX);
    }

    proptest! {
        #[test]
        fn fewer_players_never_cost_more_and_a_quarter_more_always_do(one: u32, more: u32) {
            let (one, two) = (u64::from(one), u64::from(one) + u64::from(more));
            prop_assert!(coarse(one) <= coarse(two));
            prop_assert!(coarse(one) <= one && one < coarse(one) + coarse(one) / 4 + 1);
        }
    }

    #[test]
    fn a_pod_is_safe_to_evict_if_nobody_plays_or_all_rooms_find_a_place() {
        let is_safe = |players, rooms, places_elsewhere| {
            Annotations::from(Load { players, rooms, places_elsewhere }).is_safe_to_evict
        };
        assert!(is_safe(0, 3, 0), "nobody is there to miss them");
        assert!(!is_safe(1, 1, 0));
        assert!(is_safe(1, 1, 1));
        assert!(!is_safe(9, 3, 2), "not for all of them");
    }

    #[tokio::test(start_paused = true)]
    async fn annotations_are_written_when_they_change_and_not_too_often() {
        let mut pace = Pace::default();
        let of = |players| Annotations::from(Load { players, ..Load::default() });
        assert!(pace.is_due(of(0), Instant::now()), "nothing is there yet");
        pace.tried(of(0), true, Instant::now());
        assert!(!pace.is_due(of(5), Instant::now()), "too soon");
        tokio::time::advance(WRITE_EVERY_MIN).await;
        assert!(!pace.is_due(of(0), Instant::now()), "nothing has changed");
        assert!(pace.is_due(of(5), Instant::now()));
        pace.tried(of(5), false, Instant::now());
        assert!(!pace.is_due(of(5), Instant::now()), "a failure is a try, too");
        tokio::time::advance(WRITE_EVERY_MIN).await;
        assert!(pace.is_due(of(5), Instant::now()), "it is tried again");
        assert!(pace.is_due(of(0), Instant::now()), "for it may have been written");
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_happens_there_is_at_most_one_write_in_30_s() {
        let (mut pace, mut writes) = (Pace::default(), 0);
        for second in 0..300_u64 {
            let wanted = Annotations::from(Load { players: second, ..Load::default() });
            if pace.is_due(wanted, Instant::now()) {
                pace.tried(wanted, second % 2 == 0, Instant::now());
                writes += 1;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(writes, 10);
    }
}
