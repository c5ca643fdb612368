// Goal: what people see is what the server said. Method: a session that is fed with messages as a server would send
// them, drawn on a terminal in memory, in virtual time.

mod room;

use super::model::Model;
use crate::client::{Ended, Event};
use fray_proto::model::Entity;
use fray_proto::v1::{self, notice::Kind, play_response::Message};
use room::{HAPPENING, OWN, Room, entity, entry};
use std::time::Duration;

fn is_drawn(symbol: char) -> bool {
    ('\u{2801}'..='\u{28ff}').contains(&symbol)
}

#[test]
fn the_own_ship_is_in_the_middle_and_others_are_around_it_across_the_edge() {
    let mut room = Room::arena(1);
    let lines = room.lines(80, 24);
    let middle: String = lines[11].chars().skip(25).take(3).collect();
    assert!(middle.chars().all(is_drawn), "{middle}");
    // bob is 96 units to the left and 40 below, through the world's edge: 8 cells and 2 lines away.
    let line = lines.iter().position(|line| line.contains("bob") && !line.contains("120"));
    assert!(line.is_some_and(|line| (13..17).contains(&line)), "{lines:#?}");
    let picture: Vec<String> = lines.iter().map(|line| line.chars().take(50).collect()).collect();
    assert!(!picture.join("").contains("eve"), "far away");
}

#[test]
fn the_panel_tells_the_round_the_board_the_hull_and_the_way() {
    let mut room = Room::arena(1);
    room.private = vec![(room.tick + 25) as i32, 0, 0];
    room.update();
    let screen = room.screen();
    for part in [
        "FRAY Cobalt arena",
        "Round 3",
        "1:35",
        "  1 bob",
        "> 2 ada",
        "  3 eve",
        "Hull",
        "72",
        "Heat",
        "ping –",
        "/20 Hz",
    ] {
        assert!(screen.contains(part), "{part} is not in\n{screen}");
    }
}

#[test]
fn a_kill_is_told_beside_the_picture() {
    let mut room = Room::arena(1);
    assert!(room.screen().contains("space fires"), "help until the first kill");
    room.global.push(entity(900, HAPPENING, [1, 1, 2, 101, 0, 0, 0, 0]));
    room.update();
    let screen = room.screen();
    assert!(screen.contains("ada × bob"), "{screen}");
    assert!(!screen.contains("space fires"), "{screen}");
}

#[test]
fn a_broken_stream_is_one_line_and_the_picture_stays() {
    let mut room = Room::arena(1);
    room.disconnect();
    room.now += Duration::from_secs(3);
    let screen = room.screen();
    assert!(screen.contains("Reconnecting… your ship holds course for 27 s"), "{screen}");
    assert!(screen.contains("bob") && screen.chars().any(is_drawn), "{screen}");
    room.now += Duration::from_secs(60);
    assert!(room.screen().contains("your ship may be gone by now"));
    room.welcome();
    room.update();
    assert!(!room.screen().contains("Reconnecting"));
}

#[test]
fn a_room_that_moves_is_told_before_and_while_only_if_it_takes_long() {
    let mut room = Room::arena(1);
    let text = "a server's words".to_owned();
    let notice = v1::Notice { kind: Kind::RoomMoving.into(), text, in_ms: 500 };
    room.receive(Message::Notice(notice));
    assert!(room.screen().contains("The room moves to another server in a moment."));
    room.moves();
    for _ in 0..9 {
        let screen = room.screen();
        assert!(!screen.contains("another server") && !screen.contains("Reconnecting"), "{screen}");
        assert!(screen.contains("bob") && screen.chars().any(is_drawn), "{screen}");
        room.now += Duration::from_millis(50);
    }
    room.now += Duration::from_millis(50);
    assert!(room.screen().contains("The room moves to another server…"));
    room.now += Duration::from_secs(6);
    assert!(room.screen().contains("Reconnecting… your ship holds course for 24 s"));
    room.welcome();
    room.update();
    let screen = room.screen();
    assert!(!screen.contains("another server") && !screen.contains("Reconnecting"), "{screen}");
}

#[test]
fn a_restored_room_tells_from_when_it_goes_on_also_to_those_who_look_on() {
    for player in [0, 1] {
        let mut room = Room::arena(player);
        room.disconnect();
        room.restored_age_ms = Some(7300);
        room.tick = 30;
        room.welcome();
        room.update();
        let screen = room.screen();
        assert!(screen.contains("The room lost its server: restored to 7 s ago."), "{screen}");
        assert!(screen.contains("bob") && screen.chars().any(is_drawn), "{screen}");
        room.now += Duration::from_secs(7);
        assert!(!room.screen().contains("restored"));
    }
}

#[test]
fn a_dead_player_is_told_when_the_next_ship_comes() {
    let mut room = Room::arena(1);
    room.local.remove(0);
    room.private = vec![0, (room.tick + 1 + 30) as i32, 0];
    room.update();
    assert!(room.screen().contains("A new one in 1.5 s"));
}

#[test]
fn a_spectator_follows_the_best_and_then_the_next() {
    let mut room = Room::arena(0);
    let screen = room.screen();
    assert!(screen.contains("Watching bob") && !screen.contains("Hull"), "{screen}");
    room.model.target = room.model.next_target();
    assert!(room.screen().contains("Watching eve"));
    room.model.target = room.model.next_target();
    assert!(room.screen().contains("Watching ada"));
}

#[test]
fn the_names_of_others_command_nothing() {
    let mut room = Room::arena(1);
    room.global[1] = entry(2, "\x1b[2Jbob\u{7}", 120, OWN + 1);
    room.update();
    let screen = room.screen();
    assert!(screen.contains("[2Jbob"), "{screen}");
    assert!(!screen.contains('\x1b') && !screen.contains('\u{7}'));
}

#[test]
fn a_small_board_of_an_unknown_game_is_shown_as_a_whole_with_kinds() {
    let mut room = Room::of("snakes", 13, 1);
    let at = |id, kind, units: [i32; 2]| Entity {
        position: units.map(|u| u << 8),
        ..entity(id, kind, [0; 8])
    };
    room.local = vec![at(OWN, 1, [1, 1]), at(OWN + 1, 77, [30, 30]), at(OWN + 2, 77, [5, 20])];
    room.update();
    let lines = room.lines(80, 24);
    let own = lines.iter().position(|line| line.contains('@')).expect("the own one");
    let far = lines.iter().rposition(|line| line.contains("77")).expect("the others");
    assert!(own < 5 && far > 18, "{lines:#?}");
    let screen = lines.join("\n");
    assert!(screen.contains("snakes") && screen.contains("kind 77       2"), "{screen}");
}

#[test]
fn a_terminal_that_is_too_small_is_told_so_and_any_other_is_drawn() {
    let mut room = Room::arena(1);
    assert!(room.lines(40, 10).join("").contains("this is 40×10"));
    for (columns, lines) in [(1, 1), (60, 18), (80, 24), (200, 60), (500, 20)] {
        room.lines(columns, lines);
    }
}

#[test]
fn before_the_welcome_there_is_a_line_and_no_picture() {
    let mut room = Room::arena(1);
    room.model = Model::new(0);
    assert!(room.screen().contains("Looking for a room…"));
    let failed = Event::AttemptFailed(Ended::broken("a test"));
    room.model.handle(&failed, &room.session, room.now);
    assert!(room.screen().contains("The server does not answer. Trying again…"));
}
