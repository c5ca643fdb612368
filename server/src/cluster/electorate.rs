//! Which servers decide whether the directory is away for everybody. Pure.
//!
//! Each server says in its own record whom it would ask: its electorate. It plays on without the directory only while more
//! than half of them, itself included, say that they do not reach it either ([`super::lease`]). Whoever takes its silence as
//! proof that it is gone must see at least half of the same servers renew their records ([`super::witness`]). More than half
//! and half have at least one server in common, and that one cannot do both.
//!
//! So it does not matter how many servers have come, gone or been forgotten since, nor which side of a cut is the larger:
//! what counts is what the silent server's record says, and that does not change while it is silent. A server that nobody
//! could ask anything but itself is claimed by nobody who only does not hear of it.

use crate::session::directory::{InstanceId, Voter};
use std::collections::{BTreeMap, BTreeSet};

/// The most servers of an electorate. It is in every renewal, which every server hears of: so not all of a large fleet. Which
/// ones does not matter for safety, and a part taken by chance loses the directory when all do.
pub const ELECTORATE_MAX: usize = 32;

/// This server's electorate, of all that it knows, with their machines (empty: not known): itself and those whose ids come
/// next, in a circle. So each comes and goes in a few electorates only.
pub fn of<'a>(
    me: (&InstanceId, &'a str),
    known: impl IntoIterator<Item = (InstanceId, &'a str)>,
) -> Vec<Voter> {
    let others: BTreeMap<_, _> = known.into_iter().filter(|(known, _)| known != me.0).collect();
    let (before, after): (Vec<_>, Vec<_>) = others.into_iter().partition(|(other, _)| other < me.0);
    let next = after.into_iter().chain(before).take(ELECTORATE_MAX - 1);
    let members = std::iter::once((me.0.clone(), me.1)).chain(next);
    let mut machines: BTreeMap<(&str, Option<InstanceId>), Vec<InstanceId>> = BTreeMap::new();
    for (member, node) in members {
        let on_its_own = node.is_empty().then(|| member.clone());
        machines.entry((node, on_its_own)).or_default().push(member);
    }
    // As many votes for each machine, without a remainder: half of the machines are half of the votes.
    let each = machines.values().map(Vec::len).fold(1, least_common_multiple);
    let voters = machines.into_values().flat_map(|servers| {
        let votes = each / servers.len();
        // At most 5,460: of numbers whose sum is 32.
        let votes = u32::try_from(votes).unwrap_or(u32::MAX);
        servers.into_iter().map(move |instance| Voter { instance, votes })
    });
    let mut electorate: Vec<_> = voters.collect();
    electorate.sort_unstable();
    electorate
}

fn least_common_multiple(one: usize, other: usize) -> usize {
    let (mut divisor, mut rest) = (one, other);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    one / divisor * other
}

/// Whether at least half of an electorate, by votes, are so. Nobody is not half of nobody: such a record says that it does not
/// know.
pub fn half_are(electorate: &[Voter], is: impl Fn(&InstanceId) -> bool) -> bool {
    // Each counts once, whatever a record says.
    let voters: BTreeMap<_, _> =
        electorate.iter().map(|voter| (&voter.instance, u64::from(voter.votes))).collect();
    let all: u64 = voters.values().sum();
    let votes: u64 = voters.iter().filter(|(voter, _)| is(voter)).map(|(_, votes)| votes).sum();
    all > 0 && votes >= all - votes
}

/// The electorates of this server that others may have read: the one that was acknowledged last, and one that was sent and
/// was not.
#[derive(Clone, Debug, Default)]
pub struct Published {
    acknowledged: Option<Vec<Voter>>,
    pending: Option<Vec<Voter>>,
}

impl Published {
    /// What the next renewal says: what is known now; or once more what was sent before and not acknowledged, so that there
    /// are never more than two.
    pub fn next(&mut self, now: impl FnOnce() -> Vec<Voter>) -> Vec<Voter> {
        self.pending.get_or_insert_with(now).clone()
    }

    /// The renewal was acknowledged: what was there before is gone.
    pub fn acknowledge(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.acknowledged = Some(pending);
        }
    }

    /// All who are to be asked.
    pub fn members(&self) -> BTreeSet<InstanceId> {
        self.each().flatten().map(|voter| voter.instance.clone()).collect()
    }

    /// Whether more than half of each electorate, by votes, are so. Never before one was acknowledged: others may have read none.
    pub fn most_are(&self, is: impl Fn(&InstanceId) -> bool) -> bool {
        let most = |electorate: &Vec<Voter>| {
            let votes = |voter: &Voter| u64::from(voter.votes);
            let all: u64 = electorate.iter().map(votes).sum();
            let those = electorate.iter().filter(|voter| is(&voter.instance)).map(votes);
            2 * those.sum::<u64>() > all
        };
        self.acknowledged.is_some() && self.each().all(most)
    }

    fn each(&self) -> impl Iterator<Item = &Vec<Voter>> {
        self.acknowledged.iter().chain(&self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> InstanceId {
        InstanceId::parse(&format!("{number:016x}")).expect("an id")
    }

    fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<InstanceId> {
        numbers.into_iter().map(id).collect()
    }

    /// Each with a vote.
    fn voters(numbers: impl IntoIterator<Item = usize>) -> Vec<Voter> {
        numbers.into_iter().map(|number| Voter { instance: id(number), votes: 1 }).collect()
    }

    /// Of servers whose machines nobody knows.
    fn of_all(me: usize, known: impl IntoIterator<Item = usize>) -> Vec<Voter> {
        of((&id(me), ""), known.into_iter().map(|number| (id(number), "")))
    }

    fn among(members: impl IntoIterator<Item = usize>) -> impl Fn(&InstanceId) -> bool {
        let members = ids(members);
        move |member| members.contains(member)
    }

    #[test]
    fn it_is_this_server_and_all_others_or_those_that_come_next() {
        assert_eq!(of_all(2, []), voters([2]));
        assert_eq!(of_all(2, [3, 1, 2, 3]), voters([1, 2, 3]));
        let many = of_all(90, 0..100);
        assert_eq!(many.len(), ELECTORATE_MAX);
        assert_eq!(many, voters((0..22).chain(90..100)));
        // Who is far away in the circle changes nothing.
        assert_eq!(of_all(90, (0..50).chain(60..100)), many);
    }

    /// The electorate of the first server, of servers whose machines have these names.
    fn on_machines(nodes: &[&str]) -> Vec<Voter> {
        let known = nodes.iter().enumerate().map(|(number, node)| (id(number), *node));
        of((&id(0), nodes[0]), known)
    }

    #[test]
    fn each_machine_has_as_many_votes_as_any_other() {
        let votes =
            |nodes: &[&str]| on_machines(nodes).iter().map(|voter| voter.votes).collect::<Vec<_>>();
        assert_eq!(votes(&["a", "a", "b"]), [1, 1, 2]);
        assert_eq!(votes(&["a", "b", "b"]), [2, 1, 1]);
        assert_eq!(votes(&["a", "a", "a"]), [1, 1, 1]);
        assert_eq!(votes(&["a", "b", "c"]), [1, 1, 1]);
        assert_eq!(votes(&["a", "a", "b", "b", "b"]), [3, 3, 2, 2, 2]);
        assert_eq!(votes(&["", "", "a", "a"]), [2, 2, 1, 1], "each a machine of its own");
    }

    #[test]
    fn whoever_is_left_of_two_machines_can_claim_and_nobody_plays_on_with_its_own_machine_alone() {
        for (nodes, ended) in [
            (&["a", "a", "b"][..], "a"),
            (&["a", "b", "b"], "a"),
            (&["a", "a", "a", "a", "b"], "a"),
            (&["a", "b", "b", "c", "c", "c", "c"], "c"),
        ] {
            let electorate = on_machines(nodes);
            let is_on = |wanted: bool| {
                move |server: &InstanceId| {
                    (0..nodes.len()).any(|n| id(n) == *server && (nodes[n] == ended) == wanted)
                }
            };
            assert!(half_are(&electorate, is_on(false)), "{nodes:?}: {ended} ends");
            let mut published = Published::default();
            published.next(|| electorate.clone());
            published.acknowledge();
            assert!(!published.most_are(is_on(true)), "{nodes:?}: {ended} is cut off");
        }
    }

    #[test]
    fn most_and_half_of_the_same_servers_always_have_one_in_common() {
        for size in 1..=8_usize {
            // Whatever votes they have.
            let electorate: Vec<_> = (0..size)
                .map(|number| Voter { instance: id(number), votes: 1 + number as u32 % 3 })
                .collect();
            for answering in 0..1_u32 << size {
                let mut published = Published::default();
                published.next(|| electorate.clone());
                published.acknowledge();
                let answers = |member: &InstanceId| {
                    (0..size).any(|number| (answering >> number) & 1 == 1 && *member == id(number))
                };
                let others_are_half = half_are(&electorate, |member| !answers(member));
                assert!(!(published.most_are(answers) && others_are_half), "{size} {answering:b}");
                assert!(published.most_are(answers) || others_are_half, "one of them always can");
            }
        }
    }

    #[test]
    fn half_of_an_electorate_is_enough_to_claim_and_less_is_not() {
        assert!(half_are(&voters([1, 2]), among([1])));
        assert!(!half_are(&voters([1, 2, 3]), among([1])));
        assert!(half_are(&voters([1, 2, 3, 4]), among([1, 2])));
        assert!(!half_are(&voters([1]), among([2, 3, 4])), "newcomers are not asked");
        assert!(!half_are(&[], among([1])), "nothing is known of whom it asks");
        assert!(!half_are(&voters([1, 1, 1, 2, 3]), among([1])), "each counts once");
    }

    #[test]
    fn a_majority_of_all_that_others_may_have_read_is_needed() {
        let mut published = Published::default();
        assert!(!published.most_are(|_| true), "others may have read nothing");
        assert_eq!(published.next(|| voters([1])), voters([1]));
        assert!(!published.most_are(|_| true), "it may not have come");
        published.acknowledge();
        assert!(published.most_are(among([1])));

        // Two more are known: what is not acknowledged is said again, whatever is known by then.
        assert_eq!(published.next(|| voters([1, 2, 3])), voters([1, 2, 3]));
        assert_eq!(published.next(|| voters([1, 2, 3, 4])), voters([1, 2, 3]));
        assert_eq!(published.members().len(), 3);
        assert!(!published.most_are(among([1])), "not of the newer one");
        assert!(!published.most_are(among([2, 3])), "not of the older one");
        assert!(published.most_are(among([1, 2])));
        published.acknowledge();
        assert!(published.most_are(among([2, 3])), "nobody reads the older one any more");
        assert_eq!(published.next(|| voters([1, 2, 3, 4])), voters([1, 2, 3, 4]));
        assert!(!published.most_are(among([1, 2])) && published.most_are(among([1, 2, 3])));
    }
}
