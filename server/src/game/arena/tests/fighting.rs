//! Guns, hits, rocks, pick-ups.

use super::*;

/// Two ships on a line, the first aims at the second, which has little hull left.
fn duel(hull: i32) -> (Play, u32) {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    let victim = pilot(&mut play, 2, [1200, 1000]);
    play.state.players[1].ship.hull = hull;
    (play, victim)
}

#[test]
fn a_gun_fires_along_the_heading_with_the_ships_own_velocity() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    play.state.players[0].ship.body.velocity = [0, 1280];
    play.state.players[0].ship.heading = 0;
    apply(&mut play, 1, &buttons(BUTTON_FIRE));
    play.step();
    let shots = of_kind(&play, KIND_SHOT);
    let ship = ship_of(&play, 1).expect("alive");
    assert_eq!(shots.len(), 1);
    assert_eq!(shots[0].attributes[0], 1, "a shot names its shooter");
    assert_eq!(shots[0].velocity[0], ship.velocity[0] + 520 * 256 / RATE as i32);
    assert_eq!(shots[0].velocity[1], ship.velocity[1]);
}

#[test]
fn a_shot_flies_straight_and_ends_after_its_life() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    apply(&mut play, 1, &buttons(BUTTON_FIRE));
    play.step();
    apply(&mut play, 1, &buttons(0));
    let first = of_kind(&play, KIND_SHOT).remove(0);
    for age in 1..22 {
        play.step();
        let shot = of_kind(&play, KIND_SHOT).remove(0);
        assert_eq!(shot.position[0], first.position[0] + age * first.velocity[0]);
        assert_eq!(shot.velocity, first.velocity);
    }
    play.step();
    assert!(of_kind(&play, KIND_SHOT).is_empty());
}

#[test]
fn a_button_that_was_down_in_any_move_of_a_tick_fires_once() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    apply(&mut play, 1, &buttons(BUTTON_FIRE));
    apply(&mut play, 1, &buttons(0));
    steps(&mut play, 10);
    assert_eq!(of_kind(&play, KIND_SHOT).len(), 1);
}

#[test]
fn heat_slows_a_gun_that_does_not_rest() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    apply(&mut play, 1, &buttons(BUTTON_FIRE));
    let mut fired_at = Vec::new();
    for tick in 1..=200_u32 {
        let before = play.state.next_id;
        play.step();
        if play.state.next_id != before {
            fired_at.push(tick);
        }
        let mut private = Vec::new();
        play.private(1, &mut private);
        assert!(private[0] - tick as i32 <= 48, "never hotter than 2.4 s");
    }
    let gaps: Vec<u32> = fired_at.windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(gaps[..5], [4; 5], "cold: every 200 ms");
    assert!(gaps.ends_with(&[8; 10]), "hot: every 400 ms, {gaps:?}");
}

#[test]
fn rapid_fire_is_faster_and_ends_by_itself() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    pickup(&mut play, [1000, 1000], Gift::Rapid);
    play.step();
    assert_eq!(ship_of(&play, 1).expect("alive").attributes[2], 0b100);
    assert_eq!(news(&play, 2), [[1, 3]]);
    apply(&mut play, 1, &buttons(BUTTON_FIRE));
    steps(&mut play, 20);
    assert_eq!(of_kind(&play, KIND_SHOT).len(), 10);
    steps(&mut play, 8 * RATE);
    assert_eq!(ship_of(&play, 1).expect("alive").attributes[2], 0);
}

#[test]
fn a_hit_takes_hull_and_knocks_back() {
    let (mut play, _) = duel(100);
    apply(&mut play, 1, &buttons(BUTTON_FIRE));
    play.step();
    apply(&mut play, 1, &buttons(0));
    steps(&mut play, 10);
    let hit = ship_of(&play, 2).expect("alive");
    assert_eq!(hit.attributes[1], 100 - SHOT_DAMAGE);
    assert!(hit.velocity[0] > 0 && hit.velocity[1] == 0);
    assert!(of_kind(&play, KIND_SHOT).is_empty());
    assert_eq!(ship_of(&play, 1).expect("alive").attributes[1], 100, "nobody hits himself");
}

#[test]
fn a_kill_scores_and_the_ship_comes_back_with_its_id() {
    let (mut play, victim) = duel(SHOT_DAMAGE);
    play.state.players[1].score = 50;
    apply(&mut play, 1, &buttons(BUTTON_FIRE));
    play.step();
    apply(&mut play, 1, &buttons(0));
    let mut died = 0;
    let mut place = [0, 0];
    while let Some(ship) = ship_of(&play, 2) {
        place = ship.position;
        play.step();
        died = play.state.tick;
        assert!(died < 20, "the shot hits");
    }
    assert_eq!(line_of(&play, 1), [100, 1, 0]);
    assert_eq!(line_of(&play, 2), [30, 0, 1]);
    assert_eq!(news(&play, 1), [[1, 2]]);
    assert_eq!(play.view(Some(2)).center, place, "the view stays where it died");
    let mut private = Vec::new();
    play.private(2, &mut private);
    assert_eq!(private[1], died as i32 + 2 * RATE as i32);

    apply(&mut play, 2, &steering(0, 127, None));
    while ship_of(&play, 2).is_none() {
        assert_eq!(play.view(Some(2)).center, place);
        play.step();
    }
    assert_eq!(play.state.tick, died + u64::from(2 * RATE));
    let back = ship_of(&play, 2).expect("is back");
    assert_eq!((back.id, back.attributes[1], back.attributes[2]), (victim, 100, 1));
    assert_eq!(back.thrust, 15, "what was held while dead counts now");
}

#[test]
fn protection_wards_off_shots_and_ends_with_the_first_own_shot() {
    let (mut play, _) = duel(SHOT_DAMAGE);
    play.state.players[1].ship.protected_until = Some(100);
    apply(&mut play, 1, &buttons(BUTTON_FIRE));
    steps(&mut play, 15);
    assert_eq!(ship_of(&play, 2).expect("alive").attributes[1..3], [SHOT_DAMAGE, 1]);
    apply(&mut play, 2, &buttons(BUTTON_FIRE));
    play.step();
    assert_eq!(ship_of(&play, 2).expect("alive").attributes[2], 0);
    steps(&mut play, 15);
    assert!(ship_of(&play, 2).is_none());
}

#[test]
fn protection_ends_after_two_seconds() {
    let mut play = empty();
    play.join(1, &profile("new"));
    steps(&mut play, 2 * RATE - 1);
    assert_eq!(ship_of(&play, 1).expect("alive").attributes[2], 1);
    play.step();
    assert_eq!(ship_of(&play, 1).expect("alive").attributes[2], 0);
}

#[test]
fn a_shield_takes_the_first_blows() {
    let (mut play, _) = duel(100);
    pickup(&mut play, [1200, 1000], Gift::Shield);
    play.step();
    assert_eq!(ship_of(&play, 2).expect("alive").attributes[2], 0b10);
    play.hurt(1, 40, None);
    assert_eq!(ship_of(&play, 2).expect("alive").attributes[1..3], [100, 0b10]);
    play.hurt(1, 40, None);
    assert_eq!(ship_of(&play, 2).expect("alive").attributes[1..3], [80, 0]);
}

#[test]
fn a_repair_mends_up_to_a_whole_hull_and_scores() {
    let (mut play, _) = duel(70);
    pickup(&mut play, [1200, 1000], Gift::Repair);
    play.step();
    assert_eq!(ship_of(&play, 2).expect("alive").attributes[1], 100);
    assert_eq!(line_of(&play, 2), [10, 0, 0]);
    assert!(of_kind(&play, KIND_PICKUP).is_empty());
}

#[test]
fn a_rock_splits_and_the_smallest_vanish() {
    for (size, score, pieces) in [
        (Size::Large, 5, vec![28, 28]),
        (Size::Medium, 10, vec![16, 16]),
        (Size::Small, 20, vec![]),
    ] {
        let mut play = empty();
        pilot(&mut play, 1, [1000, 1000]);
        rock(&mut play, [1200, 1000], size);
        apply(&mut play, 1, &buttons(BUTTON_FIRE));
        play.step();
        apply(&mut play, 1, &buttons(0));
        steps(&mut play, 10);
        let rocks = of_kind(&play, KIND_ROCK);
        assert_eq!(rocks.iter().map(|e| e.attributes[0]).collect::<Vec<_>>(), pieces);
        assert!(rocks.iter().all(|e| e.velocity != [0, 0]));
        assert_eq!(line_of(&play, 1), [score, 0, 0]);
    }
}

#[test]
fn a_fast_shot_does_not_jump_over_what_is_between() {
    // At 5 Hz a shot goes 104 units per tick, and a small rock is 32 wide.
    for offset in 0..104 {
        let mut play = empty();
        play.rules = super::super::rules::Rules::new(play.rules.options, 5);
        pilot(&mut play, 1, [1000, 1000]);
        rock(&mut play, [1100 + offset, 1000], Size::Small);
        apply(&mut play, 1, &buttons(BUTTON_FIRE));
        play.step();
        apply(&mut play, 1, &buttons(0));
        steps(&mut play, 4);
        assert!(of_kind(&play, KIND_ROCK).is_empty(), "at {offset}");
    }
}

#[test]
fn a_ship_bounces_off_a_rock_and_is_hurt_by_speed() {
    for (speed, hurt) in [(40, false), (300, true)] {
        let mut play = empty();
        pilot(&mut play, 1, [1000, 1000]);
        rock(&mut play, [1080, 1000], Size::Large);
        play.state.players[0].ship.body.velocity = [units(speed) / RATE as i32, 0];
        steps(&mut play, 20);
        let ship = ship_of(&play, 1).expect("alive");
        assert!(ship.velocity[0] < 0, "it flies back");
        assert_eq!(ship.attributes[1] < 100, hurt);
        assert_eq!(of_kind(&play, KIND_ROCK)[0].velocity, [0, 0], "rocks never change course");
    }
}

#[test]
fn a_ship_that_pushes_against_a_rock_neither_sticks_nor_passes() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    rock(&mut play, [1080, 1000], Size::Large);
    apply(&mut play, 1, &steering(0, 127, None));
    for _ in 0..400 {
        play.step();
        let ship = ship_of(&play, 1).expect("slow bumps do no harm");
        assert!(ship.position[0] < units(1040), "at most some units deep");
    }
}

#[test]
fn ships_that_collide_part_and_both_are_hurt() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    pilot(&mut play, 2, [1060, 1000]);
    play.state.players[0].ship.body.velocity = [units(200) / RATE as i32, 0];
    play.state.players[1].ship.body.velocity = [units(-200) / RATE as i32, 0];
    steps(&mut play, 5);
    let [one, two] = [1, 2].map(|n| ship_of(&play, n).expect("alive"));
    assert!(one.velocity[0] < 0 && two.velocity[0] > 0);
    assert_eq!(one.attributes[1], two.attributes[1]);
    assert!(one.attributes[1] < 100);
}

#[test]
fn a_protected_ship_neither_rams_nor_is_rammed() {
    let mut play = empty();
    pilot(&mut play, 1, [1000, 1000]);
    pilot(&mut play, 2, [1060, 1000]);
    play.state.players[0].ship.body.velocity = [units(300) / RATE as i32, 0];
    play.state.players[0].ship.protected_until = Some(100);
    steps(&mut play, 5);
    let [one, two] = [1, 2].map(|n| ship_of(&play, n).expect("alive"));
    assert!(one.velocity[0] < two.velocity[0], "they bounce");
    assert_eq!([one.attributes[1], two.attributes[1]], [100, 100]);
}

#[test]
fn who_hurt_a_ship_last_has_the_kill_when_a_rock_finishes_it() {
    let (mut play, _) = duel(100);
    play.hurt(1, 90, Some(1));
    steps(&mut play, 20);
    play.hurt(1, 10, None);
    assert_eq!(line_of(&play, 1), [100, 1, 0]);
    assert_eq!(news(&play, 1), [[1, 2]]);

    let (mut play, _) = duel(100);
    play.hurt(1, 90, Some(1));
    steps(&mut play, 5 * RATE + 1);
    play.hurt(1, 10, None);
    assert_eq!(line_of(&play, 1), [0, 0, 0]);
    assert_eq!(news(&play, 1), [[2, 2]], "too long ago: its own doing");
}
