//! Geometry on the torus, and buckets that find what is near.

use crate::game::World;
use fray_proto::model::{DIRECTION_BITS, direction};

/// Times within a tick are fractions of it, in this many bits.
const TIME_BITS: u32 = 12;
/// Buckets along an edge of the world, as a power of two.
const COLUMN_BITS: u32 = 5;
const COLUMNS: usize = 1 << COLUMN_BITS;

fn dot(a: [i64; 2], b: [i64; 2]) -> i64 {
    a[0] * b[0] + a[1] * b[1]
}

/// The shortest way from one place to another.
pub(super) fn way(world: World, from: [i32; 2], to: [i32; 2]) -> [i32; 2] {
    [0, 1].map(|i| world.difference(to[i], from[i]))
}

/// The square of a length; lengths are at most `2^25` here.
pub(super) fn squared(v: [i32; 2]) -> i64 {
    dot(v.map(i64::from), v.map(i64::from))
}

/// Component by component.
pub(super) fn minus(a: [i32; 2], b: [i32; 2]) -> [i32; 2] {
    [a[0].wrapping_sub(b[0]), a[1].wrapping_sub(b[1])]
}

/// Component by component.
pub(super) fn plus(a: [i32; 2], b: [i32; 2]) -> [i32; 2] {
    [a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])]
}

/// A vector of the given length along a heading.
pub(super) fn along(heading: u16, length: i32) -> [i32; 2] {
    scaled(direction(heading), i64::from(length))
}

/// `length` times a unit vector in `DIRECTION_BITS`.
pub(super) fn scaled(unit: [i32; 2], length: i64) -> [i32; 2] {
    unit.map(|d| ((i64::from(d) * length) >> DIRECTION_BITS) as i32)
}

/// How much of a vector goes along a unit vector in `DIRECTION_BITS`.
pub(super) fn part_along(v: [i32; 2], unit: [i32; 2]) -> i64 {
    dot(v.map(i64::from), unit.map(i64::from)) >> DIRECTION_BITS
}

/// The unit vector of `v`, in `DIRECTION_BITS`; along x for no length.
pub(super) fn unit(v: [i32; 2]) -> [i32; 2] {
    match squared(v).isqrt() {
        0 => [1 << DIRECTION_BITS, 0],
        length => v.map(|c| ((i64::from(c) << DIRECTION_BITS) / length) as i32),
    }
}

/// A velocity that is too fast, in its direction at the greatest speed; as the shared motion model does it.
pub(super) fn capped(velocity: [i32; 2], max: i32) -> [i32; 2] {
    let speed = squared(velocity);
    let max = i64::from(max);
    if speed <= max * max {
        return velocity;
    }
    velocity.map(|v| (i64::from(v) * max).div_euclid(speed.isqrt()) as i32)
}

/// When something that goes from `start` to `end` within a tick, relative to a circle's middle, is in the circle: the
/// time at which it is nearest to the middle, or none if it stays out. Sweeping keeps fast shots from jumping over ships.
pub(super) fn sweep(start: [i32; 2], end: [i32; 2], radius: i32) -> Option<u32> {
    let radius = i64::from(radius);
    let from = start.map(i64::from);
    let path = minus(end, start).map(i64::from);
    if dot(from, from) <= radius * radius {
        return Some(0);
    }
    let length = dot(path, path);
    let nearest = -dot(from, path);
    if length == 0 || nearest <= 0 {
        return None;
    }
    let time = (nearest.min(length) << TIME_BITS) / length;
    let there = [0, 1].map(|i| from[i] + ((path[i] * time) >> TIME_BITS));
    (dot(there, there) <= radius * radius).then_some(time as u32)
}

/// Places sorted into square buckets, so that looking for neighbours costs what is near and not what is there.
/// The order of what it finds depends on nothing but the places and their order.
#[derive(Default)]
pub(super) struct Buckets {
    shift: u32,
    /// Where each bucket's items begin; one more at the end.
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Buckets {
    /// Sorts places anew; items are then named by their index here.
    pub(super) fn fill(&mut self, world: World, places: impl Iterator<Item = [i32; 2]> + Clone) {
        self.shift = world.position_bits - COLUMN_BITS;
        let bucket =
            |[x, y]: [i32; 2]| (x >> self.shift) as usize + (y >> self.shift) as usize * COLUMNS;
        self.starts.clear();
        self.starts.resize(COLUMNS * COLUMNS + 1, 0);
        for place in places.clone() {
            self.starts[bucket(place)] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
        self.items.clear();
        self.items.resize(sum as usize, 0);
        // Each bucket is filled from its end, so its start is in place when it is full.
        for (index, place) in places.enumerate() {
            let end = &mut self.starts[bucket(place)];
            *end -= 1;
            self.items[*end as usize] = index as u32;
        }
    }

    /// What may be within `reach` of a place along both axes, and a little more.
    pub(super) fn near(&self, middle: [i32; 2], reach: i32) -> impl Iterator<Item = usize> + '_ {
        let [xs, ys] = middle.map(|c| {
            let first = (i64::from(c) - i64::from(reach)) >> self.shift;
            let last = (i64::from(c) + i64::from(reach)) >> self.shift;
            (first, (last - first + 1).clamp(0, COLUMNS as i64))
        });
        let columns = |(first, count): (i64, i64)| {
            (first..first + count).map(|c| (c & (COLUMNS as i64 - 1)) as usize)
        };
        columns(ys).flat_map(move |y| {
            columns(xs).flat_map(move |x| {
                let bucket = x + y * COLUMNS;
                let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
                self.items[range].iter().map(|i| *i as usize)
            })
        })
    }
}
