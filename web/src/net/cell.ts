// The bytes of a cell: a delta takes it from one tick to the next, a keyframe is all of it.

import {
  ATTRIBUTES,
  advance,
  advanceHeading,
  advancePosition,
  advanceVelocity,
  launched,
  LEVEL_MAX,
  originX,
  originY,
  PAYLOAD_BYTES_MAX,
  VELOCITY_LIMIT,
  wrap,
  type Entity,
  type Motions,
  type World,
} from "./model";

export type Refusal = "truncated" | "trailing" | "out_of_range" | "unknown_rank" | "duplicate_id";

export class DecodeError extends Error {
  constructor(readonly refusal: Refusal) {
    super(`the cell's bytes are malformed: ${refusal}`);
  }
}

/** What both sides must agree on to read a cell. */
export interface Rules {
  world: World;
  motions: Motions;
}

const CELL_ENTITIES_MAX = 1 << 16;

const TURN = 1;
const THRUST = 2;
const HEADING = 4;
const VELOCITY = 8;
const POSITION = 16;
const ATTRIBUTE = 32;
const PAYLOAD = 64;
const MASK_BITS = 7;

const HAS_LEAVES = 1;
const HAS_ENTERS = 2;
const HAS_LAUNCHES = 4;
/** Bits of a delta's head below the count of changes. */
const HEAD_BITS = 3;

/** Moves entities of a cell, from one rank up to another, by a tick; the global cell's stay where they are. */
export function advanceCell(entities: readonly Entity[], cell: number, rules: Rules, from = 0, to = entities.length): void {
  if (cell === 0) return;
  for (let rank = from; rank < to; rank++) {
    const entity = entities[rank]!;
    advance(entity, rules.motions.of(entity.kind), rules.world);
  }
}

/** Takes a cell from one tick to the next, in place. When it throws, the entities are to be thrown away. */
export function applyDelta(held: Entity[], bytes: Uint8Array, cell: number, rules: Rules): Entity[] {
  const reader = new Reader(bytes);
  const head = reader.varint();
  const last = held[held.length - 1];
  const nextId = last === undefined ? 0 : last.id + 1;
  let entities = (head & HAS_LEAVES) !== 0 ? withoutLeaves(reader, held) : held;
  let advanced = 0;
  let rank = 0;
  for (let change = head >>> HEAD_BITS; change > 0; change--) {
    const row = reader.varint();
    rank += row >>> MASK_BITS;
    const entity = entities[rank];
    if (entity === undefined) throw new DecodeError("unknown_rank");
    advanceCell(entities, cell, rules, advanced, rank);
    readChange(reader, entity, row, cell, rules);
    rank += 1;
    advanced = rank;
  }
  advanceCell(entities, cell, rules, advanced);
  if ((head & HAS_LAUNCHES) !== 0) entities.push(...readLaunches(reader, entities, nextId, rules));
  if ((head & HAS_ENTERS) !== 0) {
    entities = merged(entities, readWholeEntities(reader, cell, rules.world));
  }
  reader.end();
  return entities;
}

/** Reads a whole cell. */
export function readKeyframe(bytes: Uint8Array, cell: number, world: World): Entity[] {
  const reader = new Reader(bytes);
  const entities = readWholeEntities(reader, cell, world);
  reader.end();
  return entities;
}

function withoutLeaves(reader: Reader, entities: Entity[]): Entity[] {
  const count = reader.varint();
  if (count > entities.length) throw new DecodeError("unknown_rank");
  const remaining: Entity[] = [];
  let rank = 0;
  for (let index = 0; index < count; index++) {
    const leaves = rank + reader.varint();
    if (leaves >= entities.length) throw new DecodeError("unknown_rank");
    while (rank < leaves) remaining.push(entities[rank++]!);
    rank = leaves + 1;
  }
  while (rank < entities.length) remaining.push(entities[rank++]!);
  return remaining;
}

function readLaunches(reader: Reader, entities: readonly Entity[], nextId: number, rules: Rules): Entity[] {
  const count = reader.varint();
  if (count > reader.left() || count + entities.length > CELL_ENTITIES_MAX) throw new DecodeError("out_of_range");
  const born: Entity[] = [];
  let next = nextId;
  for (let index = 0; index < count; index++) {
    const id = next + reader.varint();
    if (id > 0xffffffff) throw new DecodeError("out_of_range");
    next = id + 1;
    const parent = entities[reader.varint()];
    if (parent === undefined) throw new DecodeError("unknown_rank");
    const kind = reader.varint();
    born.push(launched(parent, id, kind, rules.motions.of(kind), rules.world));
  }
  return born;
}

function readChange(reader: Reader, entity: Entity, mask: number, cell: number, rules: Rules): void {
  const motion = rules.motions.of(entity.kind);
  const moves = cell !== 0;
  if ((mask & TURN) !== 0) entity.turn = reader.level();
  if ((mask & THRUST) !== 0) entity.thrust = reader.level();
  // The residuals stand in this order on the wire, so each is read where its prediction is made.
  if (moves) advanceHeading(entity, motion);
  if ((mask & HEADING) !== 0) entity.heading = (entity.heading + reader.signed()) & 0xffff;
  if (moves) advanceVelocity(entity, motion);
  if ((mask & VELOCITY) !== 0) {
    entity.vx = withinLimit((entity.vx + reader.signed()) | 0);
    entity.vy = withinLimit((entity.vy + reader.signed()) | 0);
  }
  if (moves) advancePosition(entity, rules.world);
  if ((mask & POSITION) !== 0) {
    entity.x = wrap(rules.world, entity.x + reader.signed());
    entity.y = wrap(rules.world, entity.y + reader.signed());
  }
  if ((mask & ATTRIBUTE) !== 0) reader.attributes(entity.attributes);
  if ((mask & PAYLOAD) !== 0) entity.payload = reader.payload();
}

function readWholeEntities(reader: Reader, cell: number, world: World): Entity[] {
  const count = reader.varint();
  if (count > CELL_ENTITIES_MAX || count > reader.left()) throw new DecodeError("out_of_range");
  const entities: Entity[] = [];
  let next = 0;
  for (let index = 0; index < count; index++) {
    const id = next + reader.varint();
    if (id > 0xffffffff) throw new DecodeError("out_of_range");
    next = id + 1;
    entities.push(readWhole(reader, id, cell, world));
  }
  return entities;
}

function readWhole(reader: Reader, id: number, cell: number, world: World): Entity {
  const mask = reader.varint();
  if (mask >>> MASK_BITS !== 0) throw new DecodeError("out_of_range");
  const entity: Entity = {
    id,
    kind: reader.varint(),
    x: originX(world, cell),
    y: originY(world, cell),
    vx: 0,
    vy: 0,
    heading: 0,
    turn: 0,
    thrust: 0,
    attributes: new Int32Array(ATTRIBUTES),
    payload: undefined,
  };
  if ((mask & TURN) !== 0) entity.turn = reader.level();
  if ((mask & THRUST) !== 0) entity.thrust = reader.level();
  if ((mask & HEADING) !== 0) {
    entity.heading = reader.varint();
    if (entity.heading > 0xffff) throw new DecodeError("out_of_range");
  }
  if ((mask & VELOCITY) !== 0) {
    entity.vx = withinLimit(reader.signed());
    entity.vy = withinLimit(reader.signed());
  }
  if ((mask & POSITION) !== 0) {
    entity.x = wrap(world, entity.x + reader.varint());
    entity.y = wrap(world, entity.y + reader.varint());
  }
  if ((mask & ATTRIBUTE) !== 0) reader.attributes(entity.attributes);
  if ((mask & PAYLOAD) !== 0) entity.payload = reader.payload();
  return entity;
}

function withinLimit(velocity: number): number {
  if (Math.abs(velocity) > VELOCITY_LIMIT) throw new DecodeError("out_of_range");
  return velocity;
}

/** Both in ascending order of ids, and so is what they make. */
function merged(held: readonly Entity[], entered: readonly Entity[]): Entity[] {
  if (held.length + entered.length > CELL_ENTITIES_MAX) throw new DecodeError("out_of_range");
  const all: Entity[] = [];
  let next = 0;
  for (const entity of entered) {
    while (next < held.length && held[next]!.id < entity.id) all.push(held[next++]!);
    if (held[next]?.id === entity.id) throw new DecodeError("duplicate_id");
    all.push(entity);
  }
  while (next < held.length) all.push(held[next++]!);
  return all;
}

class Reader {
  #at = 0;

  constructor(readonly bytes: Uint8Array) {}

  left(): number {
    return this.bytes.length - this.#at;
  }

  byte(): number {
    const byte = this.bytes[this.#at++];
    if (byte === undefined) throw new DecodeError("truncated");
    return byte;
  }

  varint(): number {
    let value = 0;
    for (let factor = 1; factor <= 2 ** 28; factor *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (value > 0xffffffff) throw new DecodeError("out_of_range");
        return value;
      }
    }
    throw new DecodeError("out_of_range");
  }

  signed(): number {
    const zigzag = this.varint();
    return (zigzag >>> 1) ^ -(zigzag & 1);
  }

  level(): number {
    const level = this.signed();
    if (Math.abs(level) > LEVEL_MAX) throw new DecodeError("out_of_range");
    return level;
  }

  attributes(attributes: Int32Array): void {
    const mask = this.byte();
    for (let index = 0; index < ATTRIBUTES; index++) {
      // An Int32Array wraps by itself.
      if ((mask & (1 << index)) !== 0) attributes[index]! += this.signed();
    }
  }

  payload(): Uint8Array | undefined {
    const length = this.varint() - 1;
    if (length < 0) return undefined;
    if (length === 0 || length > PAYLOAD_BYTES_MAX) throw new DecodeError("out_of_range");
    if (length > this.left()) throw new DecodeError("truncated");
    const start = this.#at;
    this.#at += length;
    // A copy: the message's buffer is not kept for the sake of a name.
    return this.bytes.slice(start, this.#at);
  }

  end(): void {
    if (this.left() !== 0) throw new DecodeError("trailing");
  }
}
