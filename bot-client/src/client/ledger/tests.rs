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
fn a_room_that_fell_back_gets_its_moves_again() {
    let mut ledger = ledger_with(5);
    ledger.acknowledge(applied_of(&[1, 2, 3, 4]), at(1));
    let outcome = ledger.resume(applied_of(&[1, 2]), at(2));
    assert_eq!((outcome.fault, outcome.rolled_back), (None, 2));
    assert_eq!(ledger.unacknowledged(), 3);
    assert_eq!(ledger.message(3, at(2)).expect("kept").axis_x, 3);
    assert_eq!(ledger.acknowledge(applied_of(&[1, 2, 3, 4, 5]), at(3)).fault, None);
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
