//! The rules one by one, on a world that holds nothing but what the test puts there.

use super::play::Play;
use super::rules::{SHOT_DAMAGE, units};
use super::state::{Body, Gift, Pickup, Rock, Size};
use super::*;
use crate::game::{Controls, Entity, Profile, Published, Steering};

mod fighting;
mod lifecycle;

const RATE: u32 = 20;

/// Nothing in it, and 20 ticks per second.
fn empty() -> Play {
    let options = ArenaOptions { rocks: 0, pickups: 0, ..ArenaOptions::default() };
    let setup = Setup { seed: 7, tick_rate_hz: RATE, capacity: 32 };
    Play::new(options, &setup)
}

fn profile(name: &str) -> Profile {
    Profile { name: name.to_owned(), hue: 200 }
}

/// A player whose ship rests at a place in units, heads along x, and is not protected any more.
fn pilot(play: &mut Play, number: u32, place: [i32; 2]) -> u32 {
    let id = play.join(number, &profile("pilot"));
    let index = play.state.index_of(number).expect("has just joined");
    let ship = &mut play.state.players[index].ship;
    ship.body.position = place.map(units);
    ship.heading = 0;
    ship.protected_until = None;
    id
}

fn rock(play: &mut Play, place: [i32; 2], size: Size) {
    let body = Body { id: play.state.new_id(), position: place.map(units), velocity: [0, 0] };
    play.state.rocks.push(Rock { body, size, shape: 1 });
}

fn pickup(play: &mut Play, place: [i32; 2], gift: Gift) {
    let id = play.state.new_id();
    play.state.pickups.push(Pickup { id, position: place.map(units), gift, ends_at: 1000 });
}

fn buttons(buttons: u32) -> Controls {
    Controls { buttons, ..Controls::default() }
}

fn steering(axis_x: i32, axis_y: i32, aim: Option<u16>) -> Controls {
    let steering = Steering { axis_x, axis_y, aim };
    Controls { steering, ..Controls::default() }
}

fn apply(play: &mut Play, number: u32, controls: &Controls) {
    play.apply(number, controls).expect("an acceptable move");
}

fn steps(play: &mut Play, count: u32) {
    for _ in 0..count {
        play.step();
    }
}

fn published(play: &Play) -> Published {
    let mut out = Published::default();
    play.publish(&mut out);
    out
}

fn of_kind(play: &Play, kind: u32) -> Vec<Entity> {
    let all = published(play);
    let all = all.local.into_iter().chain(all.global);
    all.filter(|e| e.kind == kind).collect()
}

/// The attributes of a player's ship, if it is there.
fn ship_of(play: &Play, number: u32) -> Option<Entity> {
    let mut ships = of_kind(play, KIND_SHIP).into_iter();
    ships.find(|e| e.attributes[0] == number as i32)
}

/// A player's line: score, kills, deaths.
fn line_of(play: &Play, number: u32) -> [i32; 3] {
    let mut lines = of_kind(play, KIND_PLAYER).into_iter();
    let line = lines.find(|e| e.attributes[0] == number as i32);
    let line = line.expect("a player has a line in the global cell");
    [2, 3, 4].map(|i| line.attributes[i])
}

/// The news of one type: player and other.
fn news(play: &Play, what: i32) -> Vec<[i32; 2]> {
    let news = of_kind(play, KIND_HAPPENING).into_iter();
    let of_type = news.filter(|e| e.attributes[0] == what);
    of_type.map(|e| [e.attributes[1], e.attributes[2]]).collect()
}
