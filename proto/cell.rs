//! The bytes of a cell: a delta takes it from one tick to the next, a keyframe is all of it.
//!
//! A delta holds only what the motion model misses: entities that left, residuals of those that stayed, and entities
//! that entered. proto/REPLICATION.md has the layout. Encoder and decoder live side by side so that they change together.

use crate::model::{self, ATTRIBUTES, Entity, Motions, PAYLOAD_BYTES_MAX, VELOCITY_LIMIT, World};
use std::cmp::Ordering;

/// The most entities that a cell may hold; a decoder refuses more.
pub const CELL_ENTITIES_MAX: usize = 1 << 16;

const TURN: u32 = 1;
const THRUST: u32 = 2;
const HEADING: u32 = 4;
const VELOCITY: u32 = 8;
const POSITION: u32 = 16;
const ATTRIBUTE: u32 = 32;
const PAYLOAD: u32 = 64;
/// Bits of a row's mask; the rank gap stands above them.
const MASK_BITS: u32 = 7;

const HAS_LEAVES: u32 = 1;
const HAS_ENTERS: u32 = 2;
const HAS_LAUNCHES: u32 = 4;
/// Bits of a delta's head below the count of changes.
const HEAD_BITS: u32 = 3;

/// Why bytes are not a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end in the middle.
    #[error("the cell's bytes end too early")]
    Truncated,
    /// Bytes are left over.
    #[error("bytes are left over after the cell")]
    Trailing,
    /// A number is outside its range.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    /// An entity is named that the cell does not hold.
    #[error("no entity of rank {0}")]
    UnknownRank(usize),
    /// An entity enters twice.
    #[error("entity {0} is there already")]
    DuplicateId(u32),
}

/// What both sides must agree on to read a cell.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The shape of the world.
    pub world: World,
    /// Motion constants by kind.
    pub motions: &'a Motions,
}

/// Moves all entities of a cell by one tick; the global cell's stay where they are.
pub fn advance_cell(entities: &mut [Entity], cell: u32, rules: Rules<'_>) {
    if cell != 0 {
        for entity in entities {
            let motion = rules.motions.of(entity.kind);
            model::advance(entity, motion, rules.world);
        }
    }
}

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
            launches.gap(entity.id, |out, gap| put_varint(out, gap));
            put_varint(&mut launches.bytes, parent as u32);
            put_varint(&mut launches.bytes, entity.kind);
        } else {
            enters.gap(entity.id, |out, gap| put_varint(out, gap));
            encode_whole(entity, cell, rules.world, &mut enters.bytes);
        }
    }
    if leaves.count + changes.count + launches.count + enters.count == 0 {
        return false;
    }
    let has_leaves = if leaves.count > 0 { HAS_LEAVES } else { 0 };
    let has_enters = if enters.count > 0 { HAS_ENTERS } else { 0 };
    let has_launches = if launches.count > 0 { HAS_LAUNCHES } else { 0 };
    put_varint(
        out,
        changes.count << HEAD_BITS | has_launches | has_enters | has_leaves,
    );
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
        Self {
            next: id_after(entities),
            ..Self::default()
        }
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
    let mut predicted = Entity {
        turn: after.turn,
        thrust: after.thrust,
        payload: None,
        ..before.clone()
    };
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
    let position = [0, 1].map(|axis| {
        rules
            .world
            .difference(after.position[axis], predicted.position[axis])
    });

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
    let mask = (0..ATTRIBUTES)
        .filter(differs)
        .fold(0, |mask, index| mask | 1_u8 << index);
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

/// Takes a cell from one tick to the next. On an error the cell is in no defined state and must be thrown away.
pub fn apply_delta(
    entities: &mut Vec<Entity>,
    bytes: &[u8],
    cell: u32,
    rules: Rules<'_>,
) -> Result<(), DecodeError> {
    let mut reader = Reader(bytes);
    let head = reader.varint()?;
    let next_id = id_after(entities);
    if head & HAS_LEAVES != 0 {
        read_leaves(&mut reader, entities)?;
    }
    let mut advanced = 0;
    let mut rank = 0;
    for _ in 0..head >> HEAD_BITS {
        let row = reader.varint()?;
        rank += (row >> MASK_BITS) as usize;
        let known = entities.len();
        let skipped = entities
            .get_mut(advanced..rank)
            .ok_or(DecodeError::UnknownRank(rank))?;
        advance_cell(skipped, cell, rules);
        let entity = entities
            .get_mut(rank)
            .ok_or(DecodeError::UnknownRank(known))?;
        read_change(&mut reader, entity, row, cell, rules)?;
        rank += 1;
        advanced = rank;
    }
    advance_cell(&mut entities[advanced..], cell, rules);
    let launched = match head & HAS_LAUNCHES {
        0 => Vec::new(),
        _ => read_launches(&mut reader, entities, next_id, rules)?,
    };
    entities.extend(launched);
    if head & HAS_ENTERS != 0 {
        let entered = read_whole_entities(&mut reader, cell, rules.world)?;
        merge(entities, entered)?;
    }
    reader.end()
}

/// Reads a whole cell.
pub fn read_keyframe(bytes: &[u8], cell: u32, world: World) -> Result<Vec<Entity>, DecodeError> {
    let mut reader = Reader(bytes);
    let entities = read_whole_entities(&mut reader, cell, world)?;
    reader.end()?;
    Ok(entities)
}

fn read_leaves(reader: &mut Reader<'_>, entities: &mut Vec<Entity>) -> Result<(), DecodeError> {
    let count = reader.varint()? as usize;
    if count > entities.len() {
        return Err(DecodeError::UnknownRank(count));
    }
    let mut gone = Vec::with_capacity(count);
    let mut rank = 0;
    for _ in 0..count {
        rank += reader.varint()? as usize;
        if rank >= entities.len() {
            return Err(DecodeError::UnknownRank(rank));
        }
        gone.push(rank);
        rank += 1;
    }
    let mut rank = 0;
    let mut gone = gone.into_iter().peekable();
    entities.retain(|_| {
        let leaves = gone.next_if_eq(&rank).is_some();
        rank += 1;
        !leaves
    });
    Ok(())
}

fn read_change(
    reader: &mut Reader<'_>,
    entity: &mut Entity,
    mask: u32,
    cell: u32,
    rules: Rules<'_>,
) -> Result<(), DecodeError> {
    let motion = rules.motions.of(entity.kind);
    let moves = cell != 0;
    if mask & TURN != 0 {
        entity.turn = reader.level()?;
    }
    if mask & THRUST != 0 {
        entity.thrust = reader.level()?;
    }
    if moves {
        entity.heading = model::advanced_heading(entity, motion);
    }
    // The residuals stand in this order on the wire, so each is read where its prediction is made.
    if mask & HEADING != 0 {
        entity.heading = entity.heading.wrapping_add(reader.signed()? as u16);
    }
    if moves {
        entity.velocity = model::advanced_velocity(entity, motion);
    }
    if mask & VELOCITY != 0 {
        for axis in 0..2 {
            entity.velocity[axis] = in_limit(entity.velocity[axis].wrapping_add(reader.signed()?))?;
        }
    }
    if moves {
        entity.position = model::advanced_position(entity, rules.world);
    }
    if mask & POSITION != 0 {
        for axis in 0..2 {
            let residual = reader.signed()?;
            entity.position[axis] = rules
                .world
                .wrap(entity.position[axis].wrapping_add(residual));
        }
    }
    if mask & ATTRIBUTE != 0 {
        reader.attributes(&mut entity.attributes)?;
    }
    if mask & PAYLOAD != 0 {
        entity.payload = reader.payload()?;
    }
    Ok(())
}

fn read_whole_entities(
    reader: &mut Reader<'_>,
    cell: u32,
    world: World,
) -> Result<Vec<Entity>, DecodeError> {
    let count = reader.varint()? as usize;
    if count > CELL_ENTITIES_MAX || count > reader.0.len() {
        return Err(DecodeError::OutOfRange("the count of entities"));
    }
    let origin = world.origin_of(cell);
    let mut entities: Vec<Entity> = Vec::with_capacity(count);
    let mut next = 0_u64;
    for _ in 0..count {
        let id = next + u64::from(reader.varint()?);
        next = id + 1;
        let mut entity = Entity {
            id: u32::try_from(id).map_err(|_| DecodeError::OutOfRange("an id"))?,
            position: origin,
            ..Entity::default()
        };
        let mask = reader.varint()?;
        entity.kind = reader.varint()?;
        if mask & TURN != 0 {
            entity.turn = reader.level()?;
        }
        if mask & THRUST != 0 {
            entity.thrust = reader.level()?;
        }
        if mask & HEADING != 0 {
            let heading = u16::try_from(reader.varint()?);
            entity.heading = heading.map_err(|_| DecodeError::OutOfRange("a heading"))?;
        }
        if mask & VELOCITY != 0 {
            entity.velocity = [in_limit(reader.signed()?)?, in_limit(reader.signed()?)?];
        }
        if mask & POSITION != 0 {
            for coordinate in &mut entity.position {
                *coordinate = world.wrap(coordinate.wrapping_add(reader.varint()? as i32));
            }
        }
        if mask & ATTRIBUTE != 0 {
            reader.attributes(&mut entity.attributes)?;
        }
        if mask & PAYLOAD != 0 {
            entity.payload = reader.payload()?;
        }
        entities.push(entity);
    }
    Ok(entities)
}

/// One above the highest id in a cell.
fn id_after(entities: &[Entity]) -> u32 {
    entities.last().map_or(0, |last| last.id.wrapping_add(1))
}

/// Which of the entities that stay launched this one in this tick, by rank; `None` if none did.
fn parent_of(entity: &Entity, stayed: &[&Entity], next_id: u32, rules: Rules<'_>) -> Option<usize> {
    let motion = rules.motions.of(entity.kind);
    if motion.launch_speed == 0 || entity.id < next_id {
        return None;
    }
    stayed.iter().position(|parent| {
        parent.attributes[0] == entity.attributes[0]
            && model::launched(parent, entity.id, entity.kind, motion, rules.world) == *entity
    })
}

fn read_launches(
    reader: &mut Reader<'_>,
    entities: &[Entity],
    next_id: u32,
    rules: Rules<'_>,
) -> Result<Vec<Entity>, DecodeError> {
    let count = reader.varint()? as usize;
    if count > reader.0.len() || count + entities.len() > CELL_ENTITIES_MAX {
        return Err(DecodeError::OutOfRange("the count of launches"));
    }
    let mut launched = Vec::with_capacity(count);
    let mut next = u64::from(next_id);
    for _ in 0..count {
        let id = next + u64::from(reader.varint()?);
        next = id + 1;
        let id = u32::try_from(id).map_err(|_| DecodeError::OutOfRange("an id"))?;
        let rank = reader.varint()? as usize;
        let parent = entities.get(rank).ok_or(DecodeError::UnknownRank(rank))?;
        let kind = reader.varint()?;
        launched.push(model::launched(
            parent,
            id,
            kind,
            rules.motions.of(kind),
            rules.world,
        ));
    }
    Ok(launched)
}

fn in_limit(velocity: i32) -> Result<i32, DecodeError> {
    if (-VELOCITY_LIMIT..=VELOCITY_LIMIT).contains(&velocity) {
        Ok(velocity)
    } else {
        Err(DecodeError::OutOfRange("a velocity"))
    }
}

/// Merges entities that entered (in order of ids) into those that are there (likewise).
fn merge(entities: &mut Vec<Entity>, entered: Vec<Entity>) -> Result<(), DecodeError> {
    if entities.len() + entered.len() > CELL_ENTITIES_MAX {
        return Err(DecodeError::OutOfRange("the count of entities"));
    }
    let held = std::mem::take(entities);
    entities.reserve(held.len() + entered.len());
    let (mut held, mut entered) = (held.into_iter().peekable(), entered.into_iter().peekable());
    while let (Some(a), Some(b)) = (held.peek(), entered.peek()) {
        let next = match a.id.cmp(&b.id) {
            Ordering::Less => held.next(),
            Ordering::Greater => entered.next(),
            Ordering::Equal => return Err(DecodeError::DuplicateId(a.id)),
        };
        entities.extend(next);
    }
    entities.extend(held);
    entities.extend(entered);
    Ok(())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| DecodeError::OutOfRange("a number"));
            }
        }
        Err(DecodeError::OutOfRange("a number"))
    }

    fn signed(&mut self) -> Result<i32, DecodeError> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32))
    }

    fn level(&mut self) -> Result<i8, DecodeError> {
        let level = self.signed()?;
        if level.unsigned_abs() > model::LEVEL_MAX as u32 {
            return Err(DecodeError::OutOfRange("a level of turn or thrust"));
        }
        Ok(level as i8)
    }

    fn attributes(&mut self, attributes: &mut [i32; ATTRIBUTES]) -> Result<(), DecodeError> {
        let mask = self.byte()?;
        for (index, attribute) in attributes.iter_mut().enumerate() {
            if mask & 1 << index != 0 {
                *attribute = attribute.wrapping_add(self.signed()?);
            }
        }
        Ok(())
    }

    fn payload(&mut self) -> Result<Option<std::sync::Arc<[u8]>>, DecodeError> {
        let Some(length) = (self.varint()? as usize).checked_sub(1) else {
            return Ok(None);
        };
        // An empty payload is none; were it something else, checksums could not tell the two apart.
        if length == 0 || length > PAYLOAD_BYTES_MAX {
            return Err(DecodeError::OutOfRange("a payload's length"));
        }
        let (payload, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(Some(payload.into()))
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
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
