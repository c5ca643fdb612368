//! From entities to bytes.

use super::{
    ATTRIBUTE, HAS_ENTERS, HAS_LAUNCHES, HAS_LEAVES, HEAD_BITS, HEADING, MASK_BITS, PAYLOAD,
    POSITION, Rules, THRUST, TURN, VELOCITY, id_after,
};
use crate::model::{self, ATTRIBUTES, Entity, PAYLOAD_BYTES_MAX, World};

/// Appends the delta from `before` to `after` (each in ascending order of ids, one tick apart) to `out`.
/// Returns false, and appends nothing, when the motion model alone leads from one to the other.
pub fn encode_delta(
    before: &[Entity],
    after: &[Entity],
    cell: u32,
    rules: Rules<'_>,
    out: &mut Vec<u8>,
) -> bool {
    let mut leaves = Rows::default();
    let mut changes = Rows::default();
    let mut enters = Rows::default();
    let mut launches = Rows::after(before);
    let mut stayed: Vec<&Entity> = Vec::with_capacity(before.len());
    let mut newcomers: Vec<&Entity> = Vec::new();
    let (mut old, mut new) = (0, 0);
    loop {
        match (before.get(old), after.get(new)) {
            (None, None) => break,
            (Some(b), Some(a)) if b.id == a.id && b.kind == a.kind => {
                encode_change(b, a, cell, stayed.len() as u32, rules, &mut changes);
                stayed.push(a);
                old += 1;
                new += 1;
            }
            (Some(b), a) if a.is_none_or(|a| b.id <= a.id) => {
                leaves.gap(old as u32, put_varint);
                old += 1;
            }
            (_, Some(a)) => {
                newcomers.push(a);
                new += 1;
            }
            (Some(_), None) => unreachable!("an old entity without a new one leaves, above"),
        }
    }
    for entity in newcomers {
        // Who launched it may have a higher rank, so this waits until all that stay are known.
        if let Some(parent) = parent_of(entity, &stayed, id_after(before), rules) {
            launches.gap(entity.id, put_varint);
            put_varint(&mut launches.bytes, parent as u32);
            put_varint(&mut launches.bytes, entity.kind);
        } else {
            enters.gap(entity.id, put_varint);
            encode_whole(entity, cell, rules.world, &mut enters.bytes);
        }
    }
    if leaves.count + changes.count + launches.count + enters.count == 0 {
        return false;
    }
    let has_leaves = if leaves.count > 0 { HAS_LEAVES } else { 0 };
    let has_enters = if enters.count > 0 { HAS_ENTERS } else { 0 };
    let has_launches = if launches.count > 0 { HAS_LAUNCHES } else { 0 };
    put_varint(out, changes.count << HEAD_BITS | has_launches | has_enters | has_leaves);
    if leaves.count > 0 {
        put_varint(out, leaves.count);
        out.extend_from_slice(&leaves.bytes);
    }
    out.extend_from_slice(&changes.bytes);
    if launches.count > 0 {
        put_varint(out, launches.count);
        out.extend_from_slice(&launches.bytes);
    }
    if enters.count > 0 {
        put_varint(out, enters.count);
        out.extend_from_slice(&enters.bytes);
    }
    true
}

/// The delta that says that everything moved as predicted: only to carry a checksum.
pub fn encode_empty_delta(out: &mut Vec<u8>) {
    put_varint(out, 0);
}

/// Appends the whole cell (in ascending order of ids) to `out`.
pub fn encode_keyframe(entities: &[Entity], cell: u32, world: World, out: &mut Vec<u8>) {
    let mut rows = Rows::default();
    for entity in entities {
        rows.gap(entity.id, put_varint);
        encode_whole(entity, cell, world, &mut rows.bytes);
    }
    put_varint(out, rows.count);
    out.extend_from_slice(&rows.bytes);
}

/// Rows of a section: each names its place by the gap from the one before.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
    count: u32,
    next: u32,
}

impl Rows {
    /// Rows of ids that are all above those in the cell.
    fn after(entities: &[Entity]) -> Self {
        Self { next: id_after(entities) as u32, ..Self::default() }
    }

    fn gap(&mut self, place: u32, put: impl FnOnce(&mut Vec<u8>, u32)) {
        put(&mut self.bytes, place.wrapping_sub(self.next));
        self.next = place.wrapping_add(1);
        self.count += 1;
    }
}

fn encode_change(
    before: &Entity,
    after: &Entity,
    cell: u32,
    rank: u32,
    rules: Rules<'_>,
    rows: &mut Rows,
) {
    // Walk the same way as the decoder will: controls, heading, velocity, position, each on what is corrected so far.
    let motion = rules.motions.of(after.kind);
    let moves = cell != 0;
    let mut predicted =
        Entity { turn: after.turn, thrust: after.thrust, payload: None, ..before.clone() };
    if moves {
        predicted.heading = model::advanced_heading(&predicted, motion);
    }
    let heading = after.heading.wrapping_sub(predicted.heading) as i16;
    predicted.heading = after.heading;
    if moves {
        predicted.velocity = model::advanced_velocity(&predicted, motion);
    }
    let velocity = sub(after.velocity, predicted.velocity);
    predicted.velocity = after.velocity;
    if moves {
        predicted.position = model::advanced_position(&predicted, rules.world);
    }
    let position =
        [0, 1].map(|axis| rules.world.difference(after.position[axis], predicted.position[axis]));

    let mut mask = 0;
    let mut set = |bit, differs| mask |= if differs { bit } else { 0 };
    set(TURN, before.turn != after.turn);
    set(THRUST, before.thrust != after.thrust);
    set(HEADING, heading != 0);
    set(VELOCITY, velocity != [0, 0]);
    set(POSITION, position != [0, 0]);
    set(ATTRIBUTE, before.attributes != after.attributes);
    set(PAYLOAD, before.payload != after.payload);
    if mask == 0 {
        return;
    }
    rows.gap(rank, |out, gap| put_varint(out, gap << MASK_BITS | mask));
    let out = &mut rows.bytes;
    if mask & TURN != 0 {
        put_signed(out, after.turn.into());
    }
    if mask & THRUST != 0 {
        put_signed(out, after.thrust.into());
    }
    if mask & HEADING != 0 {
        put_signed(out, heading.into());
    }
    if mask & VELOCITY != 0 {
        put_each(out, velocity, put_signed);
    }
    if mask & POSITION != 0 {
        put_each(out, position, put_signed);
    }
    if mask & ATTRIBUTE != 0 {
        put_attributes(out, &before.attributes, &after.attributes);
    }
    if mask & PAYLOAD != 0 {
        put_payload(out, after);
    }
}

/// All of an entity: residuals against one that is all zero and stands in the cell's corner.
fn encode_whole(entity: &Entity, cell: u32, world: World, out: &mut Vec<u8>) {
    let origin = world.origin_of(cell);
    let position = sub(entity.position, origin);
    let mut mask = 0;
    let mut set = |bit, differs| mask |= if differs { bit } else { 0 };
    set(TURN, entity.turn != 0);
    set(THRUST, entity.thrust != 0);
    set(HEADING, entity.heading != 0);
    set(VELOCITY, entity.velocity != [0, 0]);
    set(POSITION, position != [0, 0]);
    set(ATTRIBUTE, entity.attributes != [0; ATTRIBUTES]);
    set(PAYLOAD, entity.payload.is_some());
    put_varint(out, mask);
    put_varint(out, entity.kind);
    if mask & TURN != 0 {
        put_signed(out, entity.turn.into());
    }
    if mask & THRUST != 0 {
        put_signed(out, entity.thrust.into());
    }
    if mask & HEADING != 0 {
        put_varint(out, entity.heading.into());
    }
    if mask & VELOCITY != 0 {
        put_each(out, entity.velocity, put_signed);
    }
    if mask & POSITION != 0 {
        put_each(out, position, |out, p| put_varint(out, p as u32));
    }
    if mask & ATTRIBUTE != 0 {
        put_attributes(out, &[0; ATTRIBUTES], &entity.attributes);
    }
    if mask & PAYLOAD != 0 {
        put_payload(out, entity);
    }
}

fn sub(a: [i32; 2], b: [i32; 2]) -> [i32; 2] {
    [a[0].wrapping_sub(b[0]), a[1].wrapping_sub(b[1])]
}

fn put_each(out: &mut Vec<u8>, pair: [i32; 2], put: impl Fn(&mut Vec<u8>, i32)) {
    for value in pair {
        put(out, value);
    }
}

fn put_attributes(out: &mut Vec<u8>, before: &[i32; ATTRIBUTES], after: &[i32; ATTRIBUTES]) {
    let differs = |index: &usize| before[*index] != after[*index];
    let mask = (0..ATTRIBUTES).filter(differs).fold(0, |mask, index| mask | 1_u8 << index);
    out.push(mask);
    for index in (0..ATTRIBUTES).filter(differs) {
        put_signed(out, after[index].wrapping_sub(before[index]));
    }
}

/// Length + 1, or 0 for none, then the bytes.
fn put_payload(out: &mut Vec<u8>, entity: &Entity) {
    match entity.payload.as_deref() {
        None | Some([]) => put_varint(out, 0),
        Some(payload) => {
            // A game that gives more is cut here, for everybody alike, rather than refused by every client.
            let payload = &payload[..payload.len().min(PAYLOAD_BYTES_MAX)];
            put_varint(out, payload.len() as u32 + 1);
            out.extend_from_slice(payload);
        }
    }
}

/// Which of the entities that stay launched this one in this tick, by rank; `None` if none did.
fn parent_of(entity: &Entity, stayed: &[&Entity], next_id: u64, rules: Rules<'_>) -> Option<usize> {
    let motion = rules.motions.of(entity.kind);
    if motion.launch_speed == 0 || u64::from(entity.id) < next_id {
        return None;
    }
    stayed.iter().position(|parent| {
        parent.attributes[0] == entity.attributes[0]
            && model::launched(parent, entity.id, entity.kind, motion, rules.world) == *entity
    })
}

/// Appends a number in LEB128, as protobuf does.
pub fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i32) {
    put_varint(out, (value << 1) as u32 ^ (value >> 31) as u32);
}
