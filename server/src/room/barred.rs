//! Who gets no seat in a room: players whom an operator removed from it a while ago.

use super::travel::BarredPlayer;
use std::collections::VecDeque;
use std::time::Duration;

/// For how long a player who was kicked gets no seat in the room; counted in the room's ticks.
pub const BARRED_FOR: Duration = Duration::from_secs(600);
/// How many are remembered in a room; the oldest are forgotten first.
pub const BARRED_MAX: usize = 256;

/// Those of one room.
#[derive(Debug, Default)]
pub(super) struct Barred {
    /// All are barred equally long, so the oldest runs out first.
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    until_tick: u32,
    player_id: String,
    token_hash: Option<[u8; 32]>,
}

impl Barred {
    /// Keeps this player out until that tick, whatever it shows.
    pub(super) fn add(&mut self, player_id: String, token_hash: Option<[u8; 32]>, until_tick: u32) {
        if self.entries.len() == BARRED_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { until_tick, player_id, token_hash });
    }

    /// Whether this player is kept out at this tick.
    pub(super) fn has_player(&self, player_id: &str, tick: u32) -> bool {
        self.any(tick, |entry| entry.player_id == player_id)
    }

    /// Whether whoever has this resume token is.
    pub(super) fn has_token(&self, hash: &[u8; 32], tick: u32) -> bool {
        self.any(tick, |entry| entry.token_hash.as_ref() == Some(hash))
    }

    /// Those who are still kept out at this tick.
    pub(super) fn list(&self, tick: u32) -> Vec<BarredPlayer> {
        let kept = self.entries.iter().filter(|entry| tick < entry.until_tick);
        let barred = kept.map(|entry| BarredPlayer {
            player_id: entry.player_id.clone(),
            token_hash: entry.token_hash,
            until_tick: entry.until_tick,
        });
        barred.collect()
    }

    fn any(&self, tick: u32, is_meant: impl Fn(&Entry) -> bool) -> bool {
        self.entries.iter().any(|entry| tick < entry.until_tick && is_meant(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_is_barred_by_id_and_by_token_until_its_time_is_over() {
        let mut barred = Barred::default();
        barred.add("ada".into(), Some([1; 32]), 100);
        assert!(barred.has_player("ada", 99) && barred.has_token(&[1; 32], 99));
        assert!(!barred.has_player("bob", 99) && !barred.has_token(&[2; 32], 99));
        assert!(!barred.has_player("ada", 100) && !barred.has_token(&[1; 32], 100));
    }

    #[test]
    fn so_many_are_remembered_and_the_oldest_is_forgotten_first() {
        let mut barred = Barred::default();
        for number in 0..=BARRED_MAX {
            barred.add(number.to_string(), None, 100);
        }
        assert_eq!(barred.entries.len(), BARRED_MAX);
        assert!(!barred.has_player("0", 1) && barred.has_player("1", 1));
    }
}
