use super::*;
use crate::cluster::records;
use std::sync::Arc;

const ME: &str = "00000000000000aa";
const OTHER: &str = "00000000000000bb";

fn instance(id: &str) -> InstanceId {
    InstanceId::parse(id).expect("an id")
}

fn id(room: &str) -> RoomId {
    RoomId::parse(room).expect("an id")
}

fn record(room: &str, owner: &str, epoch: u64) -> Held<RoomRecord> {
    let record = records::room(room, instance(owner), epoch);
    Held { record: Arc::new(record), revision: Revision(7) }
}

fn lost(room: &str, owner: &str) -> Held<RoomRecord> {
    let mut held = record(room, owner, 2);
    Arc::make_mut(&mut held.record).lost = Some("gone".into());
    held
}

fn here(room: &str, is_frozen: bool) -> Here {
    Here { room: id(room), epoch: 1, is_frozen, is_departing: false }
}

struct Case {
    here: Vec<Here>,
    records: Vec<Held<RoomRecord>>,
    standing: Standing,
    is_sure: bool,
    cut_off: BTreeSet<RoomId>,
    claiming: BTreeSet<RoomId>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            here: Vec::new(),
            records: Vec::new(),
            standing: Standing::Held,
            is_sure: true,
            cut_off: BTreeSet::new(),
            claiming: BTreeSet::new(),
        }
    }
}

impl Case {
    fn steps(&self, accord: &mut Accord, now: Instant) -> Vec<Step> {
        let me = instance(ME);
        let scene = Scene {
            me: &me,
            here: &self.here,
            records: &self.records,
            standing: self.standing,
            is_sure: self.is_sure,
            cut_off: &self.cut_off,
            claiming: &self.claiming,
        };
        accord.steps(&scene, now)
    }

    fn once(&self) -> Vec<Step> {
        self.steps(&mut Accord::default(), Instant::now())
    }
}

#[test]
fn rooms_and_records_in_accord_need_nothing() {
    let case = Case {
        here: vec![here("one", false)],
        records: vec![record("one", ME, 1), record("two", OTHER, 1), lost("three", OTHER)],
        ..Case::default()
    };
    assert_eq!(case.once(), []);
}

#[test]
fn a_record_without_a_room_is_removed_but_not_while_the_room_is_opened() {
    let case = Case { records: vec![record("one", ME, 1)], ..Case::default() };
    let (mut accord, now) = (Accord::default(), Instant::now());
    assert_eq!(case.steps(&mut accord, now), []);
    assert_eq!(case.steps(&mut accord, now + Duration::from_millis(4900)), []);
    let steps = case.steps(&mut accord, now + OPENING_MAX);
    assert_eq!(steps, [Step::Remove(record("one", ME, 1))]);
    // Another record of that room has its own time.
    let mut newer = record("one", ME, 1);
    newer.revision = Revision(8);
    let case = Case { records: vec![newer], ..Case::default() };
    assert_eq!(case.steps(&mut accord, now + OPENING_MAX), []);
}

#[test]
fn a_room_that_was_here_and_is_over_has_its_record_removed_at_once_and_again_until_it_is_gone() {
    let mut case = Case {
        here: vec![here("one", false)],
        records: vec![record("one", ME, 1)],
        ..Case::default()
    };
    let (mut accord, now) = (Accord::default(), Instant::now());
    assert_eq!(case.steps(&mut accord, now), []);
    case.here.clear();
    for _ in 0..2 {
        assert_eq!(case.steps(&mut accord, now), [Step::Remove(record("one", ME, 1))]);
    }
}

#[test]
fn a_room_that_had_to_end_is_declared_lost() {
    let cut_off = BTreeSet::from([id("one")]);
    let case = Case { records: vec![record("one", ME, 1)], cut_off, ..Case::default() };
    assert_eq!(case.once(), [Step::Lose(record("one", ME, 1))]);
}

#[test]
fn a_room_without_a_record_or_with_one_that_is_only_remembered_is_written_again() {
    let mut case = Case { here: vec![here("one", false)], ..Case::default() };
    assert_eq!(case.once(), [Step::Restore(id("one"))]);
    let mut remembered = record("one", ME, 1);
    remembered.revision = Revision::LOST;
    case.records = vec![remembered];
    assert_eq!(case.once(), [Step::Restore(id("one"))]);
    // Nobody's business but the owner's.
    case.here.clear();
    case.records[0] = Held { revision: Revision::LOST, ..record("one", OTHER, 1) };
    assert_eq!(case.once(), []);
}

#[test]
fn a_room_with_another_owner_a_later_epoch_or_declared_lost_ends_here() {
    for record in [record("one", OTHER, 1), record("one", ME, 2), lost("one", ME)] {
        for standing in [Standing::Held, Standing::AwayForAll, Standing::Frozen] {
            let records = vec![record.clone()];
            let here = vec![here("one", true)];
            let case = Case { here, records, standing, ..Case::default() };
            assert_eq!(case.once(), [Step::Disown(id("one"))], "{standing:?}");
        }
    }
}

#[test]
fn what_stands_still_goes_on_when_the_lease_allows_it() {
    let case = |standing| Case {
        here: vec![here("one", true)],
        records: vec![record("one", ME, 1)],
        standing,
        ..Case::default()
    };
    assert_eq!(case(Standing::Held).once(), [Step::ThawIfOwned(id("one"))]);
    assert_eq!(case(Standing::AwayForAll).once(), [Step::Thaw(id("one"))]);
    assert_eq!(case(Standing::Frozen).once(), []);
    assert_eq!(case(Standing::Lost).once(), []);
}

#[test]
fn lost_rooms_are_remembered_for_ten_minutes() {
    let case = Case { records: vec![lost("one", OTHER)], ..Case::default() };
    let (mut accord, now) = (Accord::default(), Instant::now());
    assert_eq!(case.steps(&mut accord, now), []);
    assert_eq!(case.steps(&mut accord, now + Duration::from_secs(599)), []);
    assert_eq!(case.steps(&mut accord, now + LOST_KEPT), [Step::Forget(lost("one", OTHER))]);
}

#[test]
fn many_records_are_seen_to_in_parts_and_each_has_its_turn_though_all_fail() {
    let here = (0..1000).map(|number| here(&format!("r{number}"), false)).collect();
    let case = Case { here, ..Case::default() };
    let (mut accord, now) = (Accord::default(), Instant::now());
    let mut restored = BTreeSet::new();
    for _ in 0..4 {
        let steps = case.steps(&mut accord, now);
        assert_eq!(steps.len(), STEPS_MAX);
        restored.extend(steps.iter().map(|step| step.room().clone()));
    }
    assert_eq!(restored.len(), 1000);
}

#[test]
fn however_many_rooms_stand_still_or_have_another_owner_all_are_told() {
    let numbers = || (0..1000).map(|number| format!("r{number}"));
    let mut case = Case {
        here: numbers().map(|room| here(&room, true)).collect(),
        records: numbers().map(|room| record(&room, ME, 1)).collect(),
        ..Case::default()
    };
    // Beside as many records that are of no room.
    case.records.extend((0..1000).map(|number| lost(&format!("s{number}"), OTHER)));
    for standing in [Standing::Held, Standing::AwayForAll] {
        case.standing = standing;
        let (mut accord, now) = (Accord::default(), Instant::now());
        case.steps(&mut accord, now);
        let steps = case.steps(&mut accord, now + LOST_KEPT);
        let thawed =
            steps.iter().filter(|step| matches!(step, Step::Thaw(_) | Step::ThawIfOwned(_)));
        assert_eq!(thawed.count(), 1000, "{standing:?}");
        assert_eq!(steps.len(), 1000 + STEPS_MAX);
    }
    case.records = numbers().map(|room| record(&room, OTHER, 2)).collect();
    assert_eq!(case.once().len(), 1000);
    assert!(case.once().iter().all(|step| matches!(step, Step::Disown(_))));
}

#[test]
fn a_room_that_its_record_leaves_to_others_ends_here_unless_it_is_just_being_left() {
    let mut parked = record("one", ME, 1);
    Arc::make_mut(&mut parked.record).parked = true;
    let mut case =
        Case { here: vec![here("one", false)], records: vec![parked], ..Case::default() };
    assert_eq!(case.once(), [Step::Disown(id("one"))]);
    case.here[0].is_departing = true;
    assert_eq!(case.once(), []);
    // It is another's already, and the answer is on its way.
    let parked = std::mem::replace(&mut case.records, vec![record("one", OTHER, 2)]);
    assert_eq!(case.once(), []);
    case.here[0].is_departing = false;
    assert_eq!(case.once(), [Step::Disown(id("one"))]);
    case.here[0].is_departing = true;
    case.records = parked;
    assert_eq!(case.once(), []);
    // Nor is its record written again meanwhile: whoever gives it away asks the other server first.
    case.records.clear();
    assert_eq!(case.once(), []);
    case.here[0].is_departing = false;
    assert_eq!(case.once(), [Step::Restore(id("one"))]);
}
