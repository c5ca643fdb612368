//! What happened lately, told in lines, and where something blew up.

use super::people::People;
use fray_proto::model::{Entity, World};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How long a line is shown.
pub(super) const SHOWN: Duration = Duration::from_secs(9);
/// How long an explosion is drawn.
pub(super) const BURST: Duration = Duration::from_millis(700);
const LINES_MAX: usize = 12;
/// The kind of a happening in the global cell.
const HAPPENING: u32 = 18;

/// Part of a line, maybe in a player's hue.
pub(super) type Part = (String, Option<i32>);

/// A line and when it came.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) parts: Vec<Part>,
}

/// Something blew up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    pub(super) at: Instant,
    /// In units.
    pub(super) position: [f64; 2],
    pub(super) hue: i32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Feed {
    seen: BTreeSet<u32>,
    lines: VecDeque<Told>,
    bursts: Vec<Burst>,
    own_kills: u32,
}

impl Feed {
    /// Takes in what is new in the global cell.
    pub(super) fn note(
        &mut self,
        globals: &[Entity],
        people: &People,
        own: i32,
        world: World,
        now: Instant,
    ) {
        let happenings = || globals.iter().filter(|entity| entity.kind == HAPPENING);
        let new: Vec<_> = happenings().filter(|h| !self.seen.contains(&h.id)).collect();
        self.seen = happenings().map(|h| h.id).collect();
        for happening in new {
            let [what, one, two, _, x, y, ..] = happening.attributes;
            if what == 1 {
                let unit = f64::from(1_u32 << world.unit_bits.min(30));
                self.bursts.push(Burst {
                    at: now,
                    position: [x, y].map(|p| f64::from(p) / unit),
                    hue: people.hue(two),
                });
                self.own_kills += u32::from(one == own && two != own);
            }
            if let Some(parts) = tell(what, one, two, people) {
                self.lines.push_back(Told { at: now, parts });
            }
        }
        self.bursts.retain(|burst| now - burst.at < BURST);
        while self.lines.len() > LINES_MAX
            || self.lines.front().is_some_and(|line| now - line.at >= SHOWN)
        {
            self.lines.pop_front();
        }
    }

    /// The lines that are not faded away, the oldest first.
    pub(super) fn lines(&self, now: Instant) -> impl DoubleEndedIterator<Item = &Told> {
        let is_shown = move |line: &&Told| now.saturating_duration_since(line.at) < SHOWN;
        self.lines.iter().filter(is_shown)
    }

    /// Explosions to draw.
    pub(super) fn bursts(&self) -> &[Burst] {
        &self.bursts
    }

    /// Kills of the own player that were told.
    pub(super) fn own_kills(&self) -> u32 {
        self.own_kills
    }
}

fn tell(what: i32, one: i32, two: i32, people: &People) -> Option<Vec<Part>> {
    let person = |number: i32| (people.name(number), Some(people.hue(number)));
    let plain = |text: &str| (text.to_owned(), None);
    Some(match what {
        1 if one == two => vec![person(one), plain(" crashed")],
        1 => vec![person(one), plain(" × "), person(two)],
        2 => {
            let got = match two {
                1 => " repaired",
                2 => " has a shield",
                3 => " fires faster",
                _ => " found something",
            };
            vec![person(one), plain(got)]
        }
        3 => vec![person(one), plain(" joined")],
        4 => vec![person(one), plain(" left")],
        5 => vec![(format!("Round {two} begins"), None)],
        6 if one == 0 => vec![plain("The round is over")],
        6 => vec![person(one), plain(" won the round")],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORLD: World = World { position_bits: 20, cell_bits: 20, unit_bits: 8 };

    fn happening(id: u32, what: i32, one: i32, two: i32) -> Entity {
        Entity {
            id,
            kind: HAPPENING,
            attributes: [what, one, two, 1, 256, 512, 0, 0],
            ..Entity::default()
        }
    }

    #[test]
    fn a_kill_is_told_once_and_fades() {
        let (mut feed, now) = (Feed::default(), tokio::time::Instant::now().into_std());
        let people = People::default();
        let kill = [happening(5, 1, 1, 2)];
        for tick in 0..10 {
            feed.note(&kill, &people, 1, WORLD, now + Duration::from_millis(50) * tick);
        }
        let told: Vec<String> = feed
            .lines(now)
            .map(|line| line.parts.iter().map(|(text, _)| text.as_str()).collect())
            .collect();
        assert_eq!(told, ["#1 × #2"]);
        assert_eq!(feed.own_kills(), 1);
        assert_eq!(feed.bursts()[0].position.map(|p| p as i32), [1, 2]);
        assert_eq!(feed.lines(now + SHOWN).count(), 0);
    }

    #[test]
    fn who_hits_a_rock_crashed_and_unknown_happenings_are_not_told() {
        let (mut feed, now) = (Feed::default(), tokio::time::Instant::now().into_std());
        feed.note(
            &[happening(1, 1, 4, 4), happening(2, 99, 1, 1)],
            &People::default(),
            4,
            WORLD,
            now,
        );
        let parts: Vec<_> = feed.lines(now).flat_map(|line| line.parts.clone()).collect();
        assert_eq!(parts[1].0, " crashed");
        assert_eq!(feed.lines(now).count(), 1);
        assert_eq!(feed.own_kills(), 0);
    }
}
