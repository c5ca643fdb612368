use super::*;
use crate::cluster::records;

fn instance(number: usize) -> InstanceId {
    InstanceId::parse(&format!("{number:016x}")).expect("an id")
}

fn room(name: &str, owner: usize) -> Held<RoomRecord> {
    let record = records::room(name, instance(owner), 1);
    Held { record: Arc::new(record), revision: Revision(7) }
}

fn server(number: usize) -> Held<ServerRecord> {
    let record = records::server(instance(number));
    Held { record: Arc::new(record), revision: Revision(number as u64) }
}

fn silent(numbers: &[usize]) -> impl Fn(&InstanceId) -> bool {
    let silent: Vec<_> = numbers.iter().map(|&number| instance(number)).collect();
    move |server| silent.contains(server)
}

#[test]
fn rooms_of_silent_servers_come_first_and_then_their_records() {
    let mut sweep = Sweep::default();
    let servers = vec![server(1), server(2), server(3)];
    let rooms = vec![room("one", 1), room("two", 2), room("three", 4)];
    let suspects = sweep.suspects(rooms, servers.clone(), silent(&[2, 3, 4]));
    let left = |rooms: &[Held<RoomRecord>], record| Left { rooms: rooms.to_vec(), record };
    let expected = BTreeMap::from([
        (instance(2), left(&[room("two", 2)], None)),
        (instance(3), left(&[], Some(Revision(3)))),
        // It has no record, but a room.
        (instance(4), left(&[room("three", 4)], None)),
    ]);
    assert_eq!(suspects, expected);
    // Once its room is lost, nothing holds the record of the second.
    let mut two = room("two", 1);
    Arc::make_mut(&mut two.record).lost = Some("gone".into());
    let suspects = sweep.suspects(vec![two], servers, silent(&[2]));
    assert_eq!(suspects, BTreeMap::from([(instance(2), left(&[], Some(Revision(2))))]));
}

#[test]
fn what_is_only_remembered_of_a_wiped_directory_is_left_alone() {
    let remembered = Held { revision: Revision::LOST, ..room("one", 2) };
    let servers = vec![Held { revision: Revision::LOST, ..server(3) }, server(2)];
    let suspects = Sweep::default().suspects(vec![remembered], servers, silent(&[2, 3]));
    assert!(suspects.is_empty(), "{suspects:?}");
}

#[test]
fn of_many_each_has_its_turn_though_nothing_comes_of_it() {
    let mut sweep = Sweep::default();
    let rooms: Vec<_> = (0..1000).map(|number| room(&format!("r{number}"), number % 9)).collect();
    let servers: Vec<_> = (0..300).map(server).collect();
    let (mut rooms_seen, mut servers_seen) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..5 {
        let suspects = sweep.suspects(rooms.clone(), servers.clone(), |_| true);
        let mut count = 0;
        for (server, left) in suspects {
            count += left.rooms.len();
            rooms_seen.extend(left.rooms.iter().map(|held| held.record.room.clone()));
            servers_seen.extend(left.record.map(|_| server));
        }
        assert_eq!(count, ROOMS_MAX);
    }
    assert_eq!((rooms_seen.len(), servers_seen.len()), (1000, 291));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_needs_an_owner_waits_for_those_who_come_before() {
    let mut sweep = Sweep::default();
    let begun = Instant::now();
    let mut parked = room("parked", 1);
    Arc::make_mut(&mut parked.record).parked = true;
    let mut lost = room("lost", 2);
    Arc::make_mut(&mut lost.record).lost = Some("gone".into());
    let rooms = vec![room("plays", 1), room("one", 2), room("two", 2), parked, lost];
    let turn = |record: &RoomRecord| match record.room.as_str() {
        "one" => Some(1),
        "two" => None,
        _ => Some(0),
    };
    let mut due = |after: Duration| -> Vec<String> {
        let due = sweep.due(rooms.clone(), begun + after, silent(&[2]), turn);
        due.iter().map(|held| held.record.room.to_string()).collect()
    };
    assert_eq!(due(Duration::ZERO), ["parked"]);
    assert_eq!(due(TURN.saturating_sub(Duration::from_millis(1))), ["parked"]);
    assert_eq!(due(TURN), ["one", "parked"]);
    // In another epoch it has another owner, and its time begins anew.
    let mut again = room("one", 2);
    Arc::make_mut(&mut again.record).epoch = 2;
    assert!(sweep.due(vec![again], begun + TURN, silent(&[2]), turn).is_empty());
}
