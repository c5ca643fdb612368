//! Who plays, and how the round stands: the arena's global cell.

use super::words::printable;
use crate::arena;
use fray_proto::model::Entity;

/// A player of the arena.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) number: i32,
    pub(super) ship: u32,
    pub(super) score: i32,
    pub(super) kills: i32,
    pub(super) deaths: i32,
    pub(super) hue: i32,
    pub(super) is_connected: bool,
    pub(super) is_alive: bool,
    pub(super) name: String,
}

/// How the round stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) number: i32,
    pub(super) is_pause: bool,
    pub(super) ends_at: u32,
    pub(super) winner: i32,
}

/// All of them, the best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct People {
    pub(super) ranked: Vec<Person>,
    pub(super) round: Option<Round>,
    /// Who went with the newest update: it is still to be told.
    gone: Vec<Person>,
}

impl People {
    /// Reads the global cell.
    pub(super) fn of(globals: &[Entity]) -> Self {
        let players = globals.iter().filter(|entity| entity.kind == arena::PLAYER);
        let mut ranked: Vec<Person> = players.map(person).collect();
        ranked.sort_by_key(|person| (-i64::from(person.score), person.number));
        let round = globals.iter().find(|entity| entity.kind == arena::ROUND);
        Self {
            ranked,
            round: round.map(|entity| Round {
                number: entity.attributes[0],
                is_pause: entity.attributes[1] == 2,
                ends_at: entity.attributes[2] as u32,
                winner: entity.attributes[3],
            }),
            gone: Vec::new(),
        }
    }

    /// What the global cell holds now, after what it held before.
    #[must_use]
    pub(super) fn become_those_of(self, globals: &[Entity]) -> Self {
        let mut now = Self::of(globals);
        let left = |person: &Person| now.person(person.number).is_none();
        now.gone = self.ranked.into_iter().filter(left).collect();
        now
    }

    /// The player of this number.
    pub(super) fn person(&self, number: i32) -> Option<&Person> {
        self.ranked.iter().find(|person| person.number == number)
    }

    fn person_or_gone(&self, number: i32) -> Option<&Person> {
        let gone = || self.gone.iter().find(|person| person.number == number);
        self.person(number).or_else(gone)
    }

    /// Its name, as far as it is known.
    pub(super) fn name(&self, number: i32) -> String {
        let known = self.person_or_gone(number).map(|person| person.name.clone());
        known.unwrap_or_else(|| format!("#{number}"))
    }

    /// Its hue.
    pub(super) fn hue(&self, number: i32) -> i32 {
        self.person_or_gone(number).map_or(210, |person| person.hue)
    }

    /// The best so many with their ranks, and this player's own line.
    pub(super) fn top(&self, count: usize, own: i32) -> Vec<(usize, &Person)> {
        let ranked = self.ranked.iter().enumerate();
        let shown = ranked.filter(|(i, person)| *i < count || person.number == own);
        shown.map(|(i, person)| (i + 1, person)).collect()
    }
}

fn person(entity: &Entity) -> Person {
    let [number, ship, score, kills, deaths, hue, flags, _] = entity.attributes;
    let name = entity.payload.as_deref().map(String::from_utf8_lossy);
    let name = printable(&name.unwrap_or_default());
    Person {
        number,
        ship: ship as u32,
        score,
        kills,
        deaths,
        hue,
        is_connected: flags & 1 != 0,
        is_alive: flags & 2 != 0,
        name: if name.trim().is_empty() { format!("#{number}") } else { name },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: i32, score: i32, name: &str) -> Entity {
        Entity {
            id: number as u32,
            kind: arena::PLAYER,
            attributes: [number, 0, score, 0, 0, 0, 3, 0],
            payload: Some(name.as_bytes().into()),
            ..Entity::default()
        }
    }

    #[test]
    fn the_board_has_the_best_and_oneself() {
        let globals: Vec<_> = (1..=8).map(|n| entry(n, n * 10, "a")).collect();
        let people = People::of(&globals);
        let ranks = |own| -> Vec<_> {
            let top = people.top(5, own);
            top.iter().map(|(rank, person)| (*rank, person.number)).collect()
        };
        assert_eq!(ranks(1), [(1, 8), (2, 7), (3, 6), (4, 5), (5, 4), (8, 1)]);
        assert_eq!(ranks(7).len(), 5);
    }

    #[test]
    fn who_left_has_a_name_until_that_is_told() {
        let people = People::of(&[entry(3, 0, "eve")]).become_those_of(&[]);
        assert_eq!(people.name(3), "eve");
        assert_eq!(people.become_those_of(&[]).name(3), "#3");
    }

    #[test]
    fn players_without_a_readable_name_have_their_number() {
        let people = People::of(&[entry(3, 0, "\u{1b}"), entry(4, 0, "\x1b[31mred")]);
        assert_eq!(people.name(3), "#3");
        assert_eq!(people.name(4), "[31mred");
        assert_eq!(people.name(9), "#9");
    }
}
