use super::*;
use crate::cluster::records;
use crate::session::directory::InstanceId;
use std::cell::Cell;

const A: &str = "00000000000000aa";
const B: &str = "00000000000000bb";

fn instance(id: &str) -> InstanceId {
    InstanceId::parse(id).expect("an id")
}

fn room(id: &str) -> RoomRecord {
    records::room(id, instance(A), 1)
}

fn server(id: &str) -> ServerRecord {
    records::server(instance(id))
}

fn life(created: i128, rooms: u64, servers: u64) -> Life {
    Life { created_ns: (created, created), newest: (rooms, servers) }
}

/// A view that has read two rooms and two servers, at this time.
fn read(now: Instant) -> View {
    let mut view = View::default();
    assert!(!view.is_settled(now));
    view.begin(life(1, 2, 2), false, now);
    view.hear(Entry::Room(held(room("one"), 1)), now);
    view.hear(Entry::Room(held(room("two"), 2)), now);
    view.hear(Entry::Server(held(server(A), 1)), now);
    view.hear(Entry::Server(held(server(B), 2)), now);
    assert!(!view.is_settled(now), "not before all is read");
    view.end(now);
    assert!(view.is_settled(now));
    view
}

fn ids(view: &View) -> Vec<(String, u64)> {
    view.rooms().iter().map(|held| (held.record.room.to_string(), held.revision.0)).collect()
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_is_older_changes_nothing() {
    let now = Instant::now();
    let mut view = read(now);
    assert!(view.hear(Entry::Room(held(room("one"), 7)), now));
    assert!(!view.hear(Entry::Room(held(room("one"), 6)), now));
    assert!(!view.hear(Entry::RoomGone(RoomId::parse("one").expect("an id"), Revision(6)), now));
    assert_eq!(ids(&view), [("one".into(), 7), ("two".into(), 2)]);
    assert!(view.hear(Entry::RoomGone(RoomId::parse("one").expect("an id"), Revision(8)), now));
    assert_eq!(ids(&view), [("two".into(), 2)]);
}

#[test]
fn what_is_not_read_again_is_gone_but_for_what_was_just_written() {
    let now = Instant::now();
    let mut view = read(now);
    view.begin(life(1, 5, 2), false, now);
    view.hear(Entry::Room(held(room("two"), 2)), now);
    // Written by this server after the reading began: it is heard of later.
    view.take(Entry::Room(held(room("three"), 6)), now);
    view.end(now);
    assert_eq!(ids(&view), [("three".into(), 6), ("two".into(), 2)]);
    assert!(view.is_settled(now));
    assert_eq!(view.servers().len(), 0);
}

#[test]
fn what_was_known_is_remembered_while_a_wiped_directory_settles() {
    let now = Instant::now();
    let mut view = read(now);
    assert!(!view.life().expect("one").goes_on_in(&life(2, 9, 9)), "made anew");
    assert!(!view.life().expect("one").goes_on_in(&life(1, 1, 9)), "set back");
    view.begin(life(2, 1, 0), true, now);
    view.hear(Entry::Room(held(room("two"), 1)), now);
    view.end(now);
    assert!(!view.is_settled(now + s(9)));
    assert_eq!(ids(&view), [("one".into(), 0), ("two".into(), 1)], "one is remembered");
    assert_eq!(view.servers().len(), 2);
    // Read again in between: still remembered.
    view.begin(life(2, 1, 0), false, now + s(5));
    view.hear(Entry::Room(held(room("two"), 1)), now + s(5));
    view.end(now + s(5));
    assert_eq!(ids(&view).len(), 2);
    view.hear(Entry::Server(held(server(A), 1)), now + s(6));
    assert!(!view.forget(now + s(9)));
    assert!(view.forget(now + s(10)));
    assert!(view.is_settled(now + s(10)));
    assert_eq!(ids(&view), [("two".into(), 1)]);
    assert_eq!(view.servers().len(), 1, "who has come back");
}

#[test]
fn silence_grows_only_as_far_as_a_change_would_have_been_heard_of() {
    let now = Instant::now();
    let mut view = read(now);
    let heard = Cell::new(now);
    let silence = |view: &View| view.silence(&instance(A), heard.get()).expect("a record");
    assert_eq!(silence(&view), s(0));
    // Own renewals, each second: sent, acknowledged, heard of.
    for second in 1..=8 {
        let at = now + s(second);
        heard.set(at);
        view.renewed(Revision(10 + second), at, at);
        assert_eq!(silence(&view), s(second - 1), "not before it is heard of");
        view.heard(Revision(10 + second), at + Duration::from_millis(300));
        assert_eq!(
            silence(&view),
            s(second),
            "as far as it was sent, not as far as it was heard of"
        );
    }
    // A renewal of the other.
    view.hear(Entry::Server(held(server(A), 30)), now + s(9));
    heard.set(now + s(9));
    assert_eq!(silence(&view), s(0));
    assert_eq!(view.silence(&instance("00000000000000cc"), now + s(9)), None);
}

#[test]
fn who_hears_nothing_any_more_knows_of_no_silence() {
    let now = Instant::now();
    let mut view = read(now);
    for second in 1..=8 {
        view.renewed(Revision(10 + second), now + s(second), now + s(second));
        view.heard(Revision(10 + second), now + s(second));
    }
    // Its renewals are acknowledged, and it hears of none: the other may have come back by now.
    view.renewed(Revision(19), now + s(9), now + s(9));
    assert_eq!(view.silence(&instance(A), now + s(11)), Some(s(8)));
    assert_eq!(view.silence(&instance(A), now + s(12)), Some(s(0)));
}

#[test]
fn an_answer_that_comes_after_word_that_the_record_is_gone_brings_nothing_back() {
    let now = Instant::now();
    let mut view = read(now);
    // Heard of after the full reading.
    view.hear(Entry::RoomGone(RoomId::parse("one").expect("an id"), Revision(8)), now);
    assert!(!view.take(Entry::Room(held(room("one"), 7)), now), "an older read, or a late ack");
    view.hear(Entry::ServerGone(instance(B), Revision(9)), now);
    assert!(!view.take(Entry::Server(held(server(B), 4)), now));
    // The same of a record that was never known here.
    assert!(!view.take(Entry::Room(held(room("three"), 6)), now));
    assert_eq!(ids(&view), [("two".into(), 2)]);
    assert_eq!(view.servers().len(), 1);
    // What is newer than all that was heard of is not known to be gone, and what is known may become newer.
    assert!(view.take(Entry::Room(held(room("one"), 9)), now));
    assert!(view.take(Entry::Server(held(server(B), 10)), now));
    assert!(view.take(Entry::Room(held(room("two"), 5)), now));
    assert_eq!(ids(&view), [("one".into(), 9), ("two".into(), 5)]);
}

#[test]
fn what_this_server_has_removed_itself_is_gone_at_once_unless_it_is_newer() {
    let now = Instant::now();
    let mut view = read(now);
    let one = RoomId::parse("one").expect("an id");
    view.hear(Entry::Room(held(room("one"), 5)), now);
    view.hear(Entry::Server(held(server(A), 5)), now);
    view.removed(&one, Revision(4));
    view.dismissed(&instance(A), Revision(4));
    assert_eq!((view.rooms().len(), view.servers().len()), (2, 2));
    view.removed(&one, Revision(5));
    view.dismissed(&instance(A), Revision(5));
    assert_eq!((view.rooms().len(), view.servers().len()), (1, 1));
}

#[test]
fn nor_does_one_that_comes_while_the_directory_is_read_again_or_after() {
    let now = Instant::now();
    let mut view = read(now);
    view.begin(life(1, 5, 5), false, now);
    // Both were removed while nothing was heard; the word about the one has not run out yet.
    view.hear(Entry::RoomGone(RoomId::parse("two").expect("an id"), Revision(7)), now);
    view.take(Entry::Room(held(room("two"), 6)), now);
    view.take(Entry::Room(held(room("one"), 4)), now);
    view.take(Entry::Server(held(server(A), 3)), now);
    view.end(now);
    assert_eq!(ids(&view), []);
    assert_eq!(view.servers().len(), 0);
    view.take(Entry::Room(held(room("one"), 4)), now);
    view.take(Entry::Room(held(room("two"), 6)), now);
    view.take(Entry::Server(held(server(A), 3)), now);
    assert_eq!(ids(&view), []);
    assert_eq!(view.servers().len(), 0);
    // In another directory, counting begins anew.
    view.begin(life(2, 0, 0), true, now);
    view.end(now);
    assert!(view.take(Entry::Room(held(room("one"), 1)), now));
}

#[test]
fn who_was_deaf_for_a_while_begins_to_count_anew() {
    let now = Instant::now();
    let mut view = read(now);
    let silence = |view: &View, at| view.silence(&instance(A), at).expect("a record");
    for second in 1..=4 {
        view.renewed(Revision(10 + second), now + s(second), now + s(second));
        view.heard(Revision(10 + second), now + s(second));
    }
    assert_eq!(silence(&view, now + s(4)), s(4));
    let back = now + s(30);
    view.renewed(Revision(20), back, back);
    view.heard(Revision(20), back);
    assert_eq!(silence(&view, back), s(0), "nobody knows what happened in between");
    view.renewed(Revision(21), back + s(1), back + s(1));
    view.heard(Revision(21), back + s(1));
    assert_eq!(silence(&view, back + s(1)), s(1));
    // And whoever reads all again, too.
    view.begin(life(1, 2, 40), false, back + s(2));
    view.hear(Entry::Server(held(server(A), 1)), back + s(2));
    view.end(back + s(2));
    assert_eq!(silence(&view, back + s(2)), s(0));
}
