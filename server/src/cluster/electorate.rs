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

use crate::session::directory::InstanceId;
use std::collections::BTreeSet;

/// The most servers of an electorate. It is in every renewal, which every server hears of: so not all of a large fleet. Which
/// ones does not matter for safety, and a part taken by chance loses the directory when all do.
pub const ELECTORATE_MAX: usize = 32;

/// This server's electorate, of all that it knows: itself and those whose ids come next, in a circle. So each comes and goes
/// in a few electorates only.
pub fn of(me: &InstanceId, known: impl IntoIterator<Item = InstanceId>) -> Vec<InstanceId> {
    let others: BTreeSet<_> = known.into_iter().filter(|known| known != me).collect();
    let (before, after): (Vec<_>, Vec<_>) = others.into_iter().partition(|other| other < me);
    let next = after.into_iter().chain(before).take(ELECTORATE_MAX - 1);
    let mut electorate: Vec<_> = std::iter::once(me.clone()).chain(next).collect();
    electorate.sort_unstable();
    electorate
}

/// Whether at least half of an electorate are so. Nobody is not half of nobody: such a record says that it does not know.
pub fn half_are(electorate: &[InstanceId], is: impl Fn(&InstanceId) -> bool) -> bool {
    let members: BTreeSet<_> = electorate.iter().collect();
    let count = members.iter().filter(|member| is(member)).count();
    !members.is_empty() && 2 * count >= members.len()
}

/// The electorates of this server that others may have read: the one that was acknowledged last, and one that was sent and
/// was not.
#[derive(Clone, Debug, Default)]
pub struct Published {
    acknowledged: Option<Vec<InstanceId>>,
    pending: Option<Vec<InstanceId>>,
}

impl Published {
    /// What the next renewal says: what is known now; or once more what was sent before and not acknowledged, so that there
    /// are never more than two.
    pub fn next(&mut self, now: impl FnOnce() -> Vec<InstanceId>) -> Vec<InstanceId> {
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
        self.each().flatten().cloned().collect()
    }

    /// Whether more than half of each electorate are so. Never before one was acknowledged: others may have read none.
    pub fn most_are(&self, is: impl Fn(&InstanceId) -> bool) -> bool {
        let most = |electorate: &Vec<InstanceId>| {
            2 * electorate.iter().filter(|member| is(member)).count() > electorate.len()
        };
        self.acknowledged.is_some() && self.each().all(most)
    }

    fn each(&self) -> impl Iterator<Item = &Vec<InstanceId>> {
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

    fn among(members: impl IntoIterator<Item = usize>) -> impl Fn(&InstanceId) -> bool {
        let members = ids(members);
        move |member| members.contains(member)
    }

    #[test]
    fn it_is_this_server_and_all_others_or_those_that_come_next() {
        assert_eq!(of(&id(2), ids([])), ids([2]));
        assert_eq!(of(&id(2), ids([3, 1, 2, 3])), ids([1, 2, 3]));
        let many = of(&id(90), ids(0..100));
        assert_eq!(many.len(), ELECTORATE_MAX);
        assert_eq!(many, ids((0..22).chain(90..100)));
        // Who is far away in the circle changes nothing.
        assert_eq!(of(&id(90), ids((0..50).chain(60..100))), many);
    }

    #[test]
    fn most_and_half_of_the_same_servers_always_have_one_in_common() {
        for size in 1..=8_usize {
            let electorate = ids(0..size);
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
        assert!(half_are(&ids([1, 2]), among([1])));
        assert!(!half_are(&ids([1, 2, 3]), among([1])));
        assert!(half_are(&ids([1, 2, 3, 4]), among([1, 2])));
        assert!(!half_are(&ids([1]), among([2, 3, 4])), "newcomers are not asked");
        assert!(!half_are(&[], among([1])), "nothing is known of whom it asks");
        assert!(!half_are(&ids([1, 1, 1, 2, 3]), among([1])), "each counts once");
    }

    #[test]
    fn a_majority_of_all_that_others_may_have_read_is_needed() {
        let mut published = Published::default();
        assert!(!published.most_are(|_| true), "others may have read nothing");
        assert_eq!(published.next(|| ids([1])), ids([1]));
        assert!(!published.most_are(|_| true), "it may not have come");
        published.acknowledge();
        assert!(published.most_are(among([1])));

        // Two more are known: what is not acknowledged is said again, whatever is known by then.
        assert_eq!(published.next(|| ids([1, 2, 3])), ids([1, 2, 3]));
        assert_eq!(published.next(|| ids([1, 2, 3, 4])), ids([1, 2, 3]));
        assert_eq!(published.members().len(), 3);
        assert!(!published.most_are(among([1])), "not of the newer one");
        assert!(!published.most_are(among([2, 3])), "not of the older one");
        assert!(published.most_are(among([1, 2])));
        published.acknowledge();
        assert!(published.most_are(among([2, 3])), "nobody reads the older one any more");
        assert_eq!(published.next(|| ids([1, 2, 3, 4])), ids([1, 2, 3, 4]));
        assert!(!published.most_are(among([1, 2])) && published.most_are(among([1, 2, 3])));
    }
}
