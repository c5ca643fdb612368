//! What a swarm is to do.

use std::time::Duration;

/// A run of the swarm.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many players.
    pub players: usize,
    /// Over how many rooms to spread them; `None` leaves that to the server.
    pub rooms: Option<usize>,
    /// Over how long to start them.
    pub ramp: Duration,
    /// How long to go on after that; `None` until stopped.
    pub duration: Option<Duration>,
    /// Moves per second and player, regardless of what the pilot does; `None`: as people do.
    pub rate_hz: Option<f64>,
    /// Where the pilots' random numbers start.
    pub seed: u64,
    /// How many of the players stop reading, from 0 to 1.
    pub stall: f64,
    /// Whether those acknowledge what they do not read.
    pub stall_lies: bool,
    /// How many of the players drop their stream again and again and come back, from 0 to 1.
    pub churn: f64,
    /// Whether what the players of a room see is compared with each other.
    pub compares_worlds: bool,
    /// How long players may take to leave at the end.
    pub leave_timeout: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            players: 10,
            rooms: None,
            ramp: Duration::from_secs(2),
            duration: Some(Duration::from_secs(30)),
            rate_hz: None,
            seed: 1,
            stall: 0.0,
            stall_lies: false,
            churn: 0.0,
            compares_worlds: false,
            leave_timeout: Duration::from_secs(10),
        }
    }
}

/// What one of the players is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Plays.
    Steady,
    /// Stops reading after a while.
    Stalls,
    /// Drops and resumes.
    Churns,
}

impl Plan {
    /// When a player starts, from the beginning.
    pub fn start_of(&self, index: usize) -> Duration {
        self.ramp.mul_f64(index as f64 / self.players.max(1) as f64)
    }

    /// What a player is for: spread evenly over the players, so that every room gets its share.
    pub fn role_of(&self, index: usize) -> Role {
        if is_one_of(index, self.stall) {
            Role::Stalls
        } else if is_one_of(index, self.churn / (1.0 - self.stall).max(f64::EPSILON)) {
            Role::Churns
        } else {
            Role::Steady
        }
    }
}

/// Whether a share of all, spread evenly, includes this one.
fn is_one_of(index: usize, share: f64) -> bool {
    let share = share.clamp(0.0, 1.0);
    let up_to = |count: usize| (count as f64 * share).floor();
    up_to(index + 1) > up_to(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_met() {
        let plan = Plan { players: 100, stall: 0.1, ..Plan::default() };
        let stalled = (0..100).filter(|index| plan.role_of(*index) == Role::Stalls).count();
        assert_eq!(stalled, 10);
        let plan = Plan { churn: 1.0, ..Plan::default() };
        assert!((0..10).all(|index| plan.role_of(index) == Role::Churns));
    }
}
