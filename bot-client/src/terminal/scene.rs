//! From what is known to shapes around a camera; nothing here knows cells or colours of terminals.
//!
//! Scenes are in units, x to the right and y down, around the camera's place.

use super::feed::{BURST, Burst};
use super::history::Pose;
use super::people::People;
use crate::arena;
use fray_proto::model::World;
use std::time::Instant;

/// A dot of braille shows so many units, if the world is large enough.
const UNITS_PER_DOT: f64 = 7.0;
/// Worlds up to this edge are shown as a whole, as a board.
const BOARD_EDGE_MAX: f64 = 64.0;
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

/// Where the camera is, and how much it sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lens {
    centre: [f64; 2],
    edge: f64,
    half: [f64; 2],
    dot: f64,
    is_board: bool,
}

impl Lens {
    /// A camera at `centre` over a picture of so many dots.
    pub(super) fn new(world: World, centre: [f64; 2], dots: [u16; 2]) -> Self {
        let edge = f64::from(world.size()) / f64::from(1_u32 << world.unit_bits.min(30));
        let dots = dots.map(|dots| f64::from(dots.max(1)));
        let is_board = edge <= BOARD_EDGE_MAX;
        let (centre, dot) = if is_board {
            let dot = (edge / (dots[0] - 4.0).max(1.0)).max(edge / (dots[1] - 4.0).max(1.0));
            ([edge / 2.0; 2], dot)
        } else {
            let whole = (edge / dots[0]).min(edge / dots[1]);
            (centre, UNITS_PER_DOT.min(whole))
        };
        Self {
            centre,
            edge,
            half: dots.map(|dots| dots * dot / 2.0),
            dot,
            is_board,
        }
    }

    /// Where something is seen; the world is a torus.
    pub(super) fn see(&self, position: [f64; 2]) -> [f64; 2] {
        let half = self.edge / 2.0;
        [0, 1].map(|axis| (position[axis] - self.centre[axis] + half).rem_euclid(self.edge) - half)
    }

    /// Whether something of this radius is seen there.
    fn holds(&self, [x, y]: [f64; 2], radius: f64) -> bool {
        x.abs() <= self.half[0] + radius && y.abs() <= self.half[1] + radius
    }

    fn empty(&self) -> Scene {
        Scene {
            half: self.half,
            shapes: Vec::new(),
        }
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
    let mut scene = lens.empty();
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

/// Any other game: dots with their kinds.
pub(super) fn things(lens: &Lens, poses: &[Pose], own: Option<u32>) -> Scene {
    let mut scene = lens.empty();
    if lens.is_board {
        let far = lens.edge / 2.0;
        let corners = [[-far, -far], [far, -far], [far, far], [-far, far]];
        for (i, corner) in corners.into_iter().enumerate() {
            let edge = Form::Line(corner, corners[(i + 1) % 4]);
            scene.shapes.push((Paint::Edge, edge));
        }
    } else {
        stars(lens, &mut scene);
    }
    // On a board positions are squares, and a square's middle is half a step on.
    let middle = if lens.is_board { 0.5 } else { 0.0 };
    for pose in poses {
        let at = pose.position.map(|p| p + middle);
        let place = if lens.is_board {
            at.map(|p| p - lens.edge / 2.0)
        } else {
            lens.see(at)
        };
        if !lens.holds(place, 0.0) {
            continue;
        }
        if Some(pose.id) == own {
            let paint = Paint::Own {
                hue: 50,
                is_protected: false,
            };
            scene
                .shapes
                .push((paint, Form::Text(place, "@".to_owned())));
        } else {
            thing(lens, pose.kind, place, &mut scene);
        }
    }
    scene.shapes.sort_by_key(|(paint, _)| layer(*paint));
    scene
}

fn thing(lens: &Lens, kind: u32, place: [f64; 2], scene: &mut Scene) {
    let beside = [place[0] + 2.0 * lens.dot, place[1]];
    let paint = Paint::Thing(kind);
    scene.shapes.push((paint, Form::Dot(place)));
    scene
        .shapes
        .push((paint, Form::Text(beside, kind.to_string())));
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
            let tail = [0, 1].map(|i| centre[i] - pose.velocity[i] / speed * 1.6 * lens.dot);
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
    let paint = if is_own {
        Paint::Own { hue, is_protected }
    } else {
        Paint::Ship { hue, is_protected }
    };
    let size = 14.0_f64.max(2.6 * lens.dot);
    let corner = |turn: f64, length: f64| {
        let angle = pose.heading + turn;
        [
            centre[0] + angle.cos() * length,
            centre[1] + angle.sin() * length,
        ]
    };
    let (nose, left, right) = (
        corner(0.0, size * 1.35),
        corner(2.5, size),
        corner(-2.5, size),
    );
    let notch = corner(std::f64::consts::PI, size * 0.3);
    let mut put = |paint, form| scene.shapes.push((paint, form));
    for (from, to) in [(nose, left), (left, notch), (notch, right), (right, nose)] {
        put(paint, Form::Line(from, to));
    }
    if is_own {
        put(paint, Form::Line(nose, notch));
    } else {
        let name = people
            .person(number)
            .map(|person| super::words::fitted(&person.name, 10));
        let below = [centre[0] - 2.0 * lens.dot, centre[1] + 2.0 * size];
        put(paint, Form::Text(below, name.unwrap_or_default()));
    }
    if pose.thrust > 0 {
        let length = size * (0.9 + 0.8 * f64::from(pose.thrust) / 15.0);
        let flame = corner(std::f64::consts::PI, length);
        put(
            Paint::Flame,
            Form::Line(corner(std::f64::consts::PI, size * 0.7), flame),
        );
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
    scene
        .shapes
        .push((Paint::Shot(hue), Form::Line(beside, place)));
}

fn shards(paint: Paint, centre: [f64; 2], distance: f64, scene: &mut Scene) {
    for i in 0..8_u32 {
        let angle = f64::from(i) * 0.8;
        let length = distance * (0.4 + 0.1 * f64::from(i * 5 % 8));
        let place = [
            centre[0] + angle.cos() * length,
            centre[1] + angle.sin() * length,
        ];
        scene.shapes.push((paint, Form::Dot(place)));
    }
}

/// Points that stand still in the world: they show the own motion.
fn stars(lens: &Lens, scene: &mut Scene) {
    let columns = (lens.edge / STAR_UNITS) as i64;
    let first = [0, 1].map(|i| ((lens.centre[i] - lens.half[i]) / STAR_UNITS).floor() as i64);
    let last = [0, 1].map(|i| ((lens.centre[i] + lens.half[i]) / STAR_UNITS).ceil() as i64);
    for y in first[1]..last[1] {
        for x in first[0]..last[0] {
            let square = x.rem_euclid(columns.max(1)) + y.rem_euclid(columns.max(1)) * columns;
            let random = (square as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            if random.is_multiple_of(3) {
                let part = |bits: u64| (random >> bits & 0xff) as f64 / 256.0;
                let place = [x as f64 + part(8), y as f64 + part(18)].map(|p| p * STAR_UNITS);
                let seen = [place[0] - lens.centre[0], place[1] - lens.centre[1]];
                scene.shapes.push((Paint::Star, Form::Dot(seen)));
            }
        }
    }
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
