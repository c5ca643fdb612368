//! Goal: every way of losing, doubling or changing a move is found, and found once. Method: a second ledger plays the
//! server that applies moves.
use super::*;

fn at(ms: u64) -> Instant {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(|| tokio::time::Instant::now().into_std());
    start + Duration::from_millis(ms)
}

fn fly(axis_x: i32) -> Controls {
    Controls { axis_x, ..Controls::default() }
}

fn apply(before: Applied, axis_x: i32, sequence: u32) -> Applied {
    let message = fly(axis_x).into_move(sequence);
    Applied {
        sequence,
        count: before.count + 1,
        hash: applied_hash(before.hash, &(&message).into()),
    }
}

fn ledger_with(moves: u32) -> Ledger {
    let mut ledger = Ledger::default();
    for axis_x in 1..=moves as i32 {
        ledger.push(fly(axis_x), at(0), None);
    }
    ledger
}

fn applied_of(numbers: &[u32]) -> Applied {
    let apply_one = |before, n: &u32| apply(before, *n as i32, *n);
    numbers.iter().fold(Applied::default(), apply_one)
}

#[test]
fn honest_acknowledgements_pass_and_are_timed() {
    let mut ledger = ledger_with(3);
    let outcome = ledger.acknowledge(applied_of(&[1, 2]), at(70));
    assert_eq!(outcome.fault, None);
    assert_eq!(outcome.latencies, [Duration::from_millis(70); 2]);
    assert_eq!(ledger.unacknowledged(), 1);
}

#[test]
fn a_dropped_move_is_found_once() {
    let mut ledger = ledger_with(4);
    let dropped = applied_of(&[1, 3]);
    assert_eq!(ledger.acknowledge(dropped, at(1)).fault, Some(MoveFault::Lost(1)));
    let next = apply(dropped, 4, 4);
    assert_eq!(ledger.acknowledge(next, at(2)).fault, None);
}

#[test]
fn a_doubled_move_is_found_once() {
    let mut ledger = ledger_with(3);
    let doubled = applied_of(&[1, 2, 2]);
    assert_eq!(ledger.acknowledge(doubled, at(1)).fault, Some(MoveFault::Duplicate(1)));
    assert_eq!(ledger.acknowledge(apply(doubled, 3, 3), at(2)).fault, None);
}

#[test]
fn a_dropped_and_a_doubled_move_do_not_cancel_out() {
    let mut ledger = ledger_with(3);
    let swapped = applied_of(&[1, 1, 3]);
    assert_eq!(ledger.acknowledge(swapped, at(1)).fault, Some(MoveFault::Altered));
}

#[test]
fn a_move_that_was_never_sent_is_found() {
    let mut ledger = ledger_with(1);
    assert_eq!(ledger.acknowledge(applied_of(&[1, 2]), at(1)).fault, Some(MoveFault::Altered));
    assert_eq!(ledger.push(fly(0), at(1), None), 3);
}

#[test]
fn a_restored_room_frees_the_numbers_of_what_is_gone() {
    let mut ledger = ledger_with(5);
    ledger.acknowledge(applied_of(&[1, 2, 3, 4]), at(1));
    assert_eq!(ledger.set_back(applied_of(&[1, 2])), (3, None));
    assert_eq!((ledger.unacknowledged(), ledger.acknowledged()), (0, 2));
    // Another move of the same number, and the hash goes on from where the server stands.
    assert_eq!(ledger.push(fly(9), at(2), None), 3);
    assert_eq!(ledger.acknowledge(apply(applied_of(&[1, 2]), 9, 3), at(3)).fault, None);
}

#[test]
fn a_restored_room_that_has_all_acknowledged_moves_drops_only_those_under_way() {
    let mut ledger = ledger_with(5);
    ledger.acknowledge(applied_of(&[1, 2]), at(1));
    assert_eq!(ledger.set_back(applied_of(&[1, 2, 3])), (2, None));
    assert_eq!(ledger.push(fly(9), at(2), None), 4);
}

#[test]
fn a_restored_room_with_moves_that_were_never_made_is_found() {
    let mut ledger = ledger_with(3);
    ledger.acknowledge(applied_of(&[1, 2, 3]), at(1));
    let other = Applied { hash: 7, ..applied_of(&[1, 2]) };
    assert_eq!(ledger.set_back(other), (1, Some(MoveFault::Altered)));
    assert_eq!(ledger.set_back(applied_of(&[1, 2, 3])), (0, Some(MoveFault::Altered)));
}

#[test]
fn a_room_restored_from_before_all_that_is_kept_is_believed() {
    let mut ledger = ledger_with(0);
    let mut applied = Applied::default();
    for n in 1..=1000 {
        ledger.push(fly(n as i32), at(0), None);
        applied = apply(applied, n as i32, n);
        ledger.acknowledge(applied, at(0));
    }
    assert_eq!(ledger.set_back(applied_of(&[1, 2])), (998, None));
    assert_eq!(ledger.newest(), 2);
}

#[test]
fn a_session_that_falls_back_without_a_word_has_lost_its_moves() {
    let mut ledger = ledger_with(5);
    ledger.acknowledge(applied_of(&[1, 2, 3, 4]), at(1));
    let outcome = ledger.resume(applied_of(&[1, 2]), at(2));
    assert_eq!(outcome.fault, Some(MoveFault::Lost(3)));
    assert_eq!(ledger.push(fly(9), at(2), None), 3);
}

#[test]
fn a_resumption_with_another_hash_is_found() {
    let mut ledger = ledger_with(3);
    ledger.acknowledge(applied_of(&[1, 2]), at(1));
    let other = Applied { hash: 7, ..applied_of(&[1, 2]) };
    assert_eq!(ledger.resume(other, at(2)).fault, Some(MoveFault::Altered));
}

#[test]
fn memory_stays_bounded_with_and_without_acknowledgements() {
    let mut ledger = ledger_with(0);
    let mut applied = Applied::default();
    for n in 1..=10_000 {
        ledger.push(fly(n as i32), at(0), None);
        applied = apply(applied, n as i32, n);
        assert_eq!(ledger.acknowledge(applied, at(0)).fault, None);
    }
    assert!(ledger.entries.len() <= ACKNOWLEDGED_KEPT);
    for n in 10_001..=20_000 {
        ledger.push(fly(n as i32), at(0), None);
        applied = apply(applied, n as i32, n);
    }
    assert_eq!(ledger.entries.len(), KEPT_MAX);
    assert_eq!(ledger.acknowledge(applied, at(0)).fault, None);
}
