//! Rounds, who leads, and the news.

use super::play::Play;
use super::rules::{HAPPENINGS_MAX, HULL_MAX};
use super::state::{Happening, Phase, Player, What};

impl Play {
    /// Goes from playing to the pause and back, when it is time.
    pub(super) fn turn_round(&mut self) {
        let tick = self.state.tick;
        if tick < self.state.round.ends_at {
            return;
        }
        let middle = [self.rules.world.size() / 2; 2];
        match self.state.round.phase {
            Phase::Playing => {
                let winner = self.leader().filter(|p| p.score > 0).map(|p| p.number);
                let number = self.state.round.number;
                self.state.round.phase = Phase::Pause { winner };
                self.state.round.ends_at = tick.saturating_add(self.rules.pause);
                // Nobody can be hurt in the pause, so nothing should fly that looks as if it could.
                self.state.shots.clear();
                self.tell(What::RoundEnded(winner, number), middle);
            }
            Phase::Pause { .. } => {
                let number = self.state.round.number.wrapping_add(1);
                self.state.round.number = number;
                self.state.round.phase = Phase::Playing;
                self.state.round.ends_at = tick.saturating_add(self.rules.round);
                for player in &mut self.state.players {
                    player.score = 0;
                    player.kills = 0;
                    player.deaths = 0;
                    player.ship.hurt_by = None;
                    if player.ship.is_alive() {
                        player.ship.hull = HULL_MAX;
                    }
                }
                self.tell(What::RoundBegan(number), middle);
            }
        }
    }

    /// The player with the highest score; among equals more kills, then fewer deaths, then who came first.
    pub(super) fn leader(&self) -> Option<&Player> {
        let players = self.state.players.iter();
        players.min_by_key(|p| (-p.score, -p.kills, p.deaths, p.number))
    }

    /// Adds to the news. When they are full of what must still be kept, it stays untold: scores tell it anyway.
    pub(super) fn tell(&mut self, what: What, position: [i32; 2]) {
        let tick = self.state.tick;
        if self.state.happenings.len() >= HAPPENINGS_MAX {
            self.forget(self.rules.happening_kept_min);
        }
        if self.state.happenings.len() >= HAPPENINGS_MAX || !self.state.may_spawn() {
            return;
        }
        let id = self.state.new_id();
        self.state.happenings.push_back(Happening { id, tick, what, position });
    }

    /// Takes old news away.
    pub(super) fn expire_happenings(&mut self) {
        self.forget(self.rules.happening_kept);
    }

    fn forget(&mut self, age: u64) {
        let tick = self.state.tick;
        while let Some(oldest) = self.state.happenings.front()
            && tick.saturating_sub(oldest.tick) > age
        {
            self.state.happenings.pop_front();
        }
    }
}
