//! From bytes to entities, or a clear refusal: whatever the bytes are, nothing panics and nothing grows without bound.

use super::{
    ATTRIBUTE, CELL_ENTITIES_MAX, HAS_ENTERS, HAS_LAUNCHES, HAS_LEAVES, HEAD_BITS, HEADING,
    MASK_BITS, PAYLOAD, POSITION, Rules, THRUST, TURN, VELOCITY, advance_cell, id_after,
};
use crate::model::{self, ATTRIBUTES, Entity, PAYLOAD_BYTES_MAX, VELOCITY_LIMIT, World};
use std::cmp::Ordering;

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
        let skipped = entities.get_mut(advanced..rank).ok_or(DecodeError::UnknownRank(rank))?;
        advance_cell(skipped, cell, rules);
        let entity = entities.get_mut(rank).ok_or(DecodeError::UnknownRank(known))?;
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
            entity.position[axis] = rules.world.wrap(entity.position[axis].wrapping_add(residual));
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
        if mask >> MASK_BITS != 0 {
            return Err(DecodeError::OutOfRange("a mask"));
        }
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

fn read_launches(
    reader: &mut Reader<'_>,
    entities: &[Entity],
    next_id: u64,
    rules: Rules<'_>,
) -> Result<Vec<Entity>, DecodeError> {
    let count = reader.varint()? as usize;
    if count > reader.0.len() || count + entities.len() > CELL_ENTITIES_MAX {
        return Err(DecodeError::OutOfRange("the count of launches"));
    }
    let mut launched = Vec::with_capacity(count);
    let mut next = next_id;
    for _ in 0..count {
        let id = next + u64::from(reader.varint()?);
        next = id + 1;
        let id = u32::try_from(id).map_err(|_| DecodeError::OutOfRange("an id"))?;
        let rank = reader.varint()? as usize;
        let parent = entities.get(rank).ok_or(DecodeError::UnknownRank(rank))?;
        let kind = reader.varint()?;
        launched.push(model::launched(parent, id, kind, rules.motions.of(kind), rules.world));
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
        let (payload, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(Some(payload.into()))
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}
