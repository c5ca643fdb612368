//! From what is known to shapes around a camera; nothing here knows cells or colours of terminals.
//!
//! Scenes are in units, x to the right and y down, around the camera's place.

use super::feed::{BURST, Burst};
use super::history::Pose;
use super::lens::Lens;
use super::people::People;
use super::things::thing;
use crate::arena;
use std::time::Instant;

/// Stars stand in squares of this edge; it divides every world.
const STAR_UNITS: f64 = 64.0;

/// What a shape is of; the picture gives it its colour. Later ones are drawn over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Paint {
    Star,
    Edge,
    Rock,
    Pickup(i32),
    /// Of any game: by its kind.
    Thing(u32),
    /// An explosion of something of this hue, so far gone, in percent.
    Burst(i32, u8),
    Shield,
    Flame,
    Shot(i32),
    Ship {
        hue: i32,
        is_protected: bool,
    },
    Own {
        hue: i32,
        is_protected: bool,
    },
}

/// A shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Dot([f64; 2]),
    Line([f64; 2], [f64; 2]),
    Ring([f64; 2], f64),
    /// Starts here.
    Text([f64; 2], String),
}

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scene {
    /// How far it reaches from the camera to each side.
    pub(super) half: [f64; 2],
    pub(super) shapes: Vec<(Paint, Form)>,
}

impl Scene {
    /// Nothing yet, seen through this lens.
    pub(super) fn through(lens: &Lens) -> Self {
        Self { half: lens.half, shapes: Vec::new() }
    }
}

/// What a scene of the arena is made from.
pub(super) struct Arena<'a> {
    pub(super) poses: &'a [Pose],
    pub(super) people: &'a People,
    pub(super) bursts: &'a [Burst],
    /// Instead of the entity of the same id.
    pub(super) own: Option<&'a Pose>,
    pub(super) now: Instant,
}

/// The arena.
pub(super) fn arena(lens: &Lens, from: &Arena<'_>) -> Scene {
    let mut scene = Scene::through(lens);
    stars(lens, &mut scene);
    let own_id = from.own.map(|own| own.id);
    for pose in from.poses.iter().filter(|pose| Some(pose.id) != own_id) {
        draw(lens, pose, from.people, false, &mut scene);
    }
    if let Some(own) = from.own {
        draw(lens, own, from.people, true, &mut scene);
    }
    for burst in from.bursts {
        let age = from.now.saturating_duration_since(burst.at);
        let share = age.as_secs_f64() / BURST.as_secs_f64();
        if share < 1.0 {
            let paint = Paint::Burst(burst.hue, (share * 100.0) as u8);
            let centre = lens.see(burst.position);
            let ring = Form::Ring(centre, 10.0 + 60.0 * share.sqrt());
            scene.shapes.push((paint, ring));
            shards(paint, centre, 70.0 * share.sqrt(), &mut scene);
        }
    }
    scene.shapes.sort_by_key(|(paint, _)| layer(*paint));
    scene
}

fn draw(lens: &Lens, pose: &Pose, people: &People, is_own: bool, scene: &mut Scene) {
    let centre = lens.see(pose.position);
    let radius = match pose.kind {
        arena::ROCK => f64::from(pose.attributes[0]),
        _ => 20.0,
    };
    if !lens.holds(centre, radius) {
        if pose.kind == arena::SHIP {
            marker(lens, pose, centre, people, scene);
        }
        return;
    }
    let mut put = |paint, form| scene.shapes.push((paint, form));
    match pose.kind {
        arena::SHIP => ship(lens, pose, people, is_own, centre, scene),
        arena::SHOT => {
            let hue = people.hue(pose.attributes[0]);
            let speed = pose.velocity[0].hypot(pose.velocity[1]).max(1e-6);
            let tail = [0, 1].map(|i| centre[i] - pose.velocity[i] / speed * 2.2 * lens.dot);
            put(Paint::Shot(hue), Form::Line(tail, centre));
        }
        arena::ROCK => put(Paint::Rock, Form::Ring(centre, radius)),
        arena::PICKUP => {
            let gift = pose.attributes[0];
            let sign = match gift {
                1 => "+",
                2 => "O",
                3 => "»",
                _ => "?",
            };
            put(Paint::Pickup(gift), Form::Ring(centre, 2.6 * lens.dot));
            put(Paint::Pickup(gift), Form::Text(centre, sign.to_owned()));
        }
        kind => thing(lens, kind, centre, scene),
    }
}

/// A triangle, long ahead, that stays recognizable however small it is.
fn ship(
    lens: &Lens,
    pose: &Pose,
    people: &People,
    is_own: bool,
    centre: [f64; 2],
    scene: &mut Scene,
) {
    let [number, _, flags, ..] = pose.attributes;
    let hue = people.hue(number);
    let is_protected = flags & 1 != 0;
    let paint =
        if is_own { Paint::Own { hue, is_protected } } else { Paint::Ship { hue, is_protected } };
    let size = 14.0_f64.max(if is_own { 3.6 } else { 3.0 } * lens.dot);
    let corner = |turn: f64, length: f64| {
        let angle = pose.heading + turn;
        [centre[0] + angle.cos() * length, centre[1] + angle.sin() * length]
    };
    let (nose, left, right) = (corner(0.0, size * 1.35), corner(2.5, size), corner(-2.5, size));
    let notch = corner(std::f64::consts::PI, size * 0.3);
    let mut put = |paint, form| scene.shapes.push((paint, form));
    for (from, to) in [(nose, left), (left, notch), (notch, right), (right, nose)] {
        put(paint, Form::Line(from, to));
    }
    if is_own {
        // Filled, so that nobody looks for it.
        for share in [0.25, 0.5, 0.75] {
            let along = |a: [f64; 2], b: [f64; 2]| [0, 1].map(|i| a[i] + (b[i] - a[i]) * share);
            put(paint, Form::Line(nose, along(left, notch)));
            put(paint, Form::Line(nose, along(notch, right)));
        }
    } else {
        let name = people.person(number).map(|person| super::words::fitted(&person.name, 10));
        let below = [centre[0] - 2.0 * lens.dot, centre[1] + 2.0 * size];
        put(paint, Form::Text(below, name.unwrap_or_default()));
    }
    if pose.thrust > 0 {
        let length = size * (0.9 + 0.8 * f64::from(pose.thrust) / 15.0);
        let flame = corner(std::f64::consts::PI, length);
        put(Paint::Flame, Form::Line(corner(std::f64::consts::PI, size * 0.7), flame));
    }
    if flags & 2 != 0 {
        put(Paint::Shield, Form::Ring(centre, size * 1.6));
    }
}

/// A ship out of sight leaves a dot on the edge of the picture, in its direction.
fn marker(lens: &Lens, pose: &Pose, [x, y]: [f64; 2], people: &People, scene: &mut Scene) {
    if x.hypot(y) > 3.0 * lens.half[0].max(lens.half[1]) {
        return;
    }
    let reach = [lens.half[0] - 2.0 * lens.dot, lens.half[1] - 2.0 * lens.dot];
    let scale = (reach[0] / x.abs().max(1e-9)).min(reach[1] / y.abs().max(1e-9));
    let hue = people.hue(pose.attributes[0]);
    let place = [x * scale, y * scale];
    let beside = [place[0] - lens.dot * x.signum(), place[1]];
    scene.shapes.push((Paint::Shot(hue), Form::Line(beside, place)));
}

fn shards(paint: Paint, centre: [f64; 2], distance: f64, scene: &mut Scene) {
    for i in 0..8_u32 {
        let angle = f64::from(i) * 0.8;
        let length = distance * (0.4 + 0.1 * f64::from(i * 5 % 8));
        let place = [centre[0] + angle.cos() * length, centre[1] + angle.sin() * length];
        scene.shapes.push((paint, Form::Dot(place)));
    }
}

/// Points that stand still in the world: they show the own motion.
pub(super) fn stars(lens: &Lens, scene: &mut Scene) {
    let columns = (lens.edge / STAR_UNITS) as i64;
    let first = [0, 1].map(|i| ((lens.centre[i] - lens.half[i]) / STAR_UNITS).floor() as i64);
    let last = [0, 1].map(|i| ((lens.centre[i] + lens.half[i]) / STAR_UNITS).ceil() as i64);
    for y in first[1]..last[1] {
        for x in first[0]..last[0] {
            let square = x.rem_euclid(columns.max(1)) + y.rem_euclid(columns.max(1)) * columns;
            let random = scattered(square as u64 + 1);
            if random.is_multiple_of(3) {
                let part = |bits: u64| (random >> bits & 0xff) as f64 / 256.0;
                let place = [x as f64 + part(8), y as f64 + part(18)].map(|p| p * STAR_UNITS);
                let seen = [place[0] - lens.centre[0], place[1] - lens.centre[1]];
                scene.shapes.push((Paint::Star, Form::Dot(seen)));
            }
        }
    }
}

/// A number without a pattern (the end of splitmix64).
fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
}

/// Shapes of one layer may mix their dots; a higher layer covers a lower one.
pub(super) fn layer(paint: Paint) -> u8 {
    match paint {
        Paint::Star | Paint::Edge => 0,
        Paint::Rock | Paint::Thing(_) => 1,
        Paint::Pickup(_) | Paint::Burst(..) => 2,
        Paint::Shield | Paint::Flame => 3,
        Paint::Shot(_) => 4,
        Paint::Ship { .. } => 5,
        Paint::Own { .. } => 6,
    }
}
