//! Who has a turn when there is too much to do at once.

/// At most so many of all, in the order of their keys, from the one after the last of the time before: each has its turn,
/// whatever becomes of the others. `last` remembers it.
pub(super) fn in_turn<K: Ord + Clone, T>(
    mut all: Vec<T>,
    key: impl Fn(&T) -> &K,
    last: &mut Option<K>,
    max: usize,
) -> Vec<T> {
    if all.len() <= max {
        return all;
    }
    all.sort_by(|a, b| key(a).cmp(key(b)));
    let next = last.as_ref().map_or(0, |last| all.partition_point(|item| key(item) <= last));
    all.rotate_left(next);
    all.truncate(max);
    *last = all.last().map(key).cloned();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_though_the_others_stay() {
        let mut last = None;
        let mut taken = |all: &[u32]| in_turn(all.to_vec(), |item| item, &mut last, 3);
        let all = [5, 1, 3, 2, 4, 7, 6];
        assert_eq!(taken(&all), [1, 2, 3]);
        assert_eq!(taken(&all), [4, 5, 6]);
        assert_eq!(taken(&all), [7, 1, 2]);
        // The last one is gone, and there are others.
        assert_eq!(taken(&[1, 3, 5, 8]), [3, 5, 8]);
        assert_eq!(taken(&[9, 4]), [9, 4], "all at once");
    }
}
