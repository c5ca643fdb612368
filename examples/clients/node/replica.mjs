// A copy of the world, as proto/REPLICATION.md describes it.

const VELOCITY_MAX = 2 ** 24;
const ENTITIES_MAX = 65536;
const TICKS_MAX = 127;
const STILL = { turnRate: 0, acceleration: 0, speedMax: 0, dragShift: 0, launchSpeed: 0, launchDistance: 0 };

/** An update does not fit, cannot be read, or (`isDesync`) leads to another world than the server's. */
export class Refused extends Error {
  constructor(why, isDesync = false) {
    super(why);
    this.isDesync = isDesync;
  }
}

function ensure(holds, why) {
  if (!holds) throw new Refused(why);
}

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// --- Motion model

function sine(angle) {
  const within = angle & 32767;
  const product = within * (32768 - within);
  const value = Math.floor((product * 2 ** 18) / (5 * 2 ** 30 - 4 * product));
  return angle < 32768 ? value : -value;
}

const direction = (heading) => [sine((heading + 16384) & 0xffff), sine(heading)];

function moveHeading(entity, motion) {
  entity.heading = (entity.heading + entity.turn * motion.turnRate) & 0xffff;
}

function moveVelocity(entity, motion) {
  let velocity = entity.velocity;
  if (entity.thrust !== 0 && motion.acceleration !== 0) {
    const push = entity.thrust * motion.acceleration;
    const along = direction(entity.heading);
    velocity = velocity.map((v, i) => v + Math.floor((along[i] * push) / 2 ** 18));
  }
  if (motion.dragShift !== 0) velocity = velocity.map((v) => v - Math.sign(v) * (Math.abs(v) >> motion.dragShift));
  velocity = velocity.map((v) => clamp(v, -VELOCITY_MAX, VELOCITY_MAX));
  const squared = velocity[0] ** 2 + velocity[1] ** 2;
  if (motion.speedMax !== 0 && squared > motion.speedMax ** 2) {
    const speed = Math.floor(Math.sqrt(squared));
    velocity = velocity.map((v) => Math.floor((v * motion.speedMax) / speed));
  }
  entity.velocity = velocity;
}

// --- Numbers on the wire

class Reader {
  #at = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  get left() {
    return this.bytes.length - this.#at;
  }

  byte() {
    ensure(this.left > 0, "truncated");
    return this.bytes[this.#at++];
  }

  varint() {
    let value = 0;
    for (let factor = 1; factor <= 2 ** 28; factor *= 128) {
      const byte = this.byte();
      value += (byte & 127) * factor;
      if (byte < 128) {
        ensure(value < 2 ** 32, "a number out of range");
        return value;
      }
    }
    throw new Refused("a number out of range");
  }

  signed() {
    const zigzag = this.varint();
    return (zigzag >>> 1) ^ -(zigzag & 1);
  }

  level() {
    const level = this.signed();
    ensure(Math.abs(level) <= 15, "a level out of range");
    return level;
  }

  attributes(entity) {
    const mask = this.byte();
    for (let index = 0; index < 8; index++) {
      if ((mask >> index) & 1) entity.attributes[index] = (entity.attributes[index] + this.signed()) | 0;
    }
  }

  payload() {
    const length = this.varint() - 1;
    if (length < 0) return Buffer.alloc(0);
    ensure(length > 0 && length <= 256 && length <= this.left, "a payload out of range");
    this.#at += length;
    return Buffer.from(this.bytes.subarray(this.#at - length, this.#at));
  }

  end() {
    ensure(this.left === 0, "bytes left over");
  }
}

function within(velocity) {
  ensure(Math.abs(velocity) <= VELOCITY_MAX, "a velocity out of range");
  return velocity;
}

// --- Checksums

function murmur(seed, words) {
  let state = seed | 0;
  for (const word of words) {
    let mixed = Math.imul(word, 0xcc9e2d51);
    mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    state ^= mixed;
    state = (Math.imul((state << 13) | (state >>> 19), 5) + 0xe6546b64) | 0;
  }
  state ^= words.length * 4;
  state = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
  return (state ^ (state >>> 16)) >>> 0;
}

function payloadWords(payload) {
  const padded = Buffer.alloc(Math.ceil(payload.length / 4) * 4);
  padded.set(payload);
  const words = [payload.length];
  for (let at = 0; at < padded.length; at += 4) words.push(padded.readUInt32LE(at));
  return words;
}

function cellChecksum(cell, entities) {
  const words = entities.flatMap(({ id, kind, position, velocity, heading, turn, thrust, attributes, payload }) => [
    id,
    kind,
    ...position,
    ...velocity,
    heading | ((turn & 255) << 16) | ((thrust & 255) << 24),
    ...attributes,
    ...payloadWords(payload),
  ]);
  return murmur(cell, words);
}

export function appliedHash(before, { sequence, axisX, axisY, aim, target, buttons, payload }) {
  const optional = [aim, target].flatMap((value) => (value === undefined ? [0, 0] : [1, value]));
  return murmur(before, [sequence, axisX, axisY, ...optional, buttons, ...payloadWords(payload ?? Buffer.alloc(0))]);
}

// --- Cells and updates

export class Replica {
  tick = 0;
  checksums = 0;
  /** By number: the tick that the cell is at, and its entities in the order of their ids. */
  cells = new Map();
  #motions = new Map();

  constructor(world, motions) {
    this.mask = 2 ** world.positionBits - 1;
    this.cellBits = world.cellBits;
    this.columnBits = world.positionBits - world.cellBits;
    for (const motion of motions) {
      if (motion.kind < 256) this.#motions.set(motion.kind, motion);
    }
  }

  /** Leaves nothing behind if the update is refused. */
  apply(update) {
    try {
      this.#apply(update);
    } catch (error) {
      this.tick = 0;
      this.cells.clear();
      throw error;
    }
  }

  viewChecksum() {
    let sum = 0;
    for (const [cell, { entities }] of this.cells) sum = (sum + cellChecksum(cell, entities)) >>> 0;
    return sum;
  }

  #apply(update) {
    const base = update.baseTick ?? update.tick - 1;
    if (base === 0) this.cells.clear();
    else ensure(base === this.tick, "another base");
    const first = base === 0 ? update.tick - 1 : base;
    ensure(update.tick > first && update.tick > 0 && update.tick - first <= TICKS_MAX, "a tick that cannot be");
    for (const cell of update.cellsRemoved) ensure(this.cells.delete(cell), "a cell that is not held");
    const awaited = new Set(update.cellsAdded);
    for (const message of update.cells) this.#applyCell(message, first, update.tick, awaited);
    ensure(awaited.size === 0, "a cell without its keyframe");
    for (const [cell, held] of this.cells) this.#advance(cell, held, update.tick);
    this.tick = update.tick;
    if (update.viewChecksum !== undefined) this.#check(this.viewChecksum(), update.viewChecksum);
  }

  #check(own, told) {
    this.checksums += 1;
    if (own !== told) throw new Refused(`a checksum is ${own} and not ${told}`, true);
  }

  #applyCell(message, first, last, awaited) {
    const cell = message.place >>> 7;
    ensure(cell <= 2 ** (2 * this.columnBits), "no such cell");
    const tick = last - ((last - message.place) & 127);
    let held = this.cells.get(cell);
    if (message.encoding === "keyframe") {
      ensure(tick === last && (held !== undefined || awaited.has(cell)), "a keyframe that may not come");
      const reader = new Reader(message.keyframe);
      held = { tick, entities: this.#wholeEntities(reader, cell) };
      reader.end();
      this.cells.set(cell, held);
      awaited.delete(cell);
    } else {
      ensure(message.encoding === "delta", "an unknown encoding");
      ensure(held !== undefined && tick > first && tick > held.tick, "a delta that may not come");
      this.#advance(cell, held, tick - 1);
      held.entities = this.#delta(message.delta, cell, held.entities);
      held.tick = tick;
    }
    if (message.checksum !== undefined) this.#check(cellChecksum(cell, held.entities), message.checksum);
  }

  #motion(kind) {
    return this.#motions.get(kind) ?? STILL;
  }

  #advance(cell, held, tick) {
    for (; held.tick < tick; held.tick++) this.#move(cell, held.entities, 0, held.entities.length);
  }

  #move(cell, entities, from, to) {
    if (cell === 0) return;
    for (const entity of entities.slice(from, to)) {
      const motion = this.#motion(entity.kind);
      moveHeading(entity, motion);
      moveVelocity(entity, motion);
      this.#movePosition(entity, entity.velocity);
    }
  }

  #movePosition(entity, by) {
    entity.position = entity.position.map((p, i) => (p + by[i]) & this.mask);
  }

  #wholeEntities(reader, cell) {
    const count = reader.varint();
    ensure(count <= Math.min(reader.left, ENTITIES_MAX), "too many entities");
    const entities = [];
    for (let next = 0; entities.length < count; ) {
      const id = next + reader.varint();
      ensure(id < 2 ** 32, "an id out of range");
      next = id + 1;
      entities.push(this.#whole(reader, id, cell));
    }
    return entities;
  }

  #whole(reader, id, cell) {
    const mask = reader.varint();
    ensure(mask < 128, "an unknown field");
    const column = (cell - 1) & (2 ** this.columnBits - 1);
    const row = (cell - 1) >> this.columnBits;
    const corner = cell === 0 ? [0, 0] : [column << this.cellBits, row << this.cellBits];
    const entity = newEntity(id, reader.varint(), corner);
    if (mask & 1) entity.turn = reader.level();
    if (mask & 2) entity.thrust = reader.level();
    if (mask & 4) entity.heading = reader.varint();
    ensure(entity.heading < 65536, "a heading out of range");
    if (mask & 8) entity.velocity = [within(reader.signed()), within(reader.signed())];
    if (mask & 16) this.#movePosition(entity, [reader.varint(), reader.varint()]);
    if (mask & 32) reader.attributes(entity);
    if (mask & 64) entity.payload = reader.payload();
    return entity;
  }

  #delta(bytes, cell, before) {
    const reader = new Reader(bytes);
    const head = reader.varint();
    const nextId = (before.at(-1)?.id ?? -1) + 1;
    let entities = head & 1 ? withoutLeaves(reader, before) : before;
    // A change is read while its entity moves, so entities are moved rank by rank.
    let moved = 0;
    for (let change = head >>> 3, rank = 0; change > 0; change--) {
      const row = reader.varint();
      rank += row >>> 7;
      ensure(rank < entities.length, "an unknown rank");
      this.#move(cell, entities, moved, rank);
      this.#change(reader, entities[rank], row & 127, cell);
      rank += 1;
      moved = rank;
    }
    this.#move(cell, entities, moved, entities.length);
    if (head & 4) entities = [...entities, ...this.#launches(reader, entities, nextId)];
    if (head & 2) {
      entities = [...entities, ...this.#wholeEntities(reader, cell)].sort((a, b) => a.id - b.id);
      ensure(entities.every(({ id }, i) => id !== entities[i + 1]?.id), "an id that is there already");
    }
    ensure(entities.length <= ENTITIES_MAX, "too many entities");
    reader.end();
    return entities;
  }

  #change(reader, entity, mask, cell) {
    const motion = this.#motion(entity.kind);
    if (mask & 1) entity.turn = reader.level();
    if (mask & 2) entity.thrust = reader.level();
    if (cell !== 0) moveHeading(entity, motion);
    if (mask & 4) entity.heading = (entity.heading + reader.signed()) & 0xffff;
    if (cell !== 0) moveVelocity(entity, motion);
    if (mask & 8) entity.velocity = entity.velocity.map((v) => within((v + reader.signed()) | 0));
    if (cell !== 0) this.#movePosition(entity, entity.velocity);
    if (mask & 16) this.#movePosition(entity, [reader.signed(), reader.signed()]);
    if (mask & 32) reader.attributes(entity);
    if (mask & 64) entity.payload = reader.payload();
  }

  #launches(reader, entities, nextId) {
    const count = reader.varint();
    ensure(count <= reader.left, "too many launches");
    const born = [];
    for (let next = nextId; born.length < count; ) {
      const id = next + reader.varint();
      const parent = entities[reader.varint()];
      ensure(id < 2 ** 32 && parent !== undefined, "an unknown rank");
      next = id + 1;
      const kind = reader.varint();
      const { launchDistance, launchSpeed } = this.#motion(kind);
      const along = (length) => direction(parent.heading).map((d) => Math.floor((d * length) / 16384));
      const entity = newEntity(id, kind, parent.position);
      this.#movePosition(entity, along(launchDistance));
      const speed = along(launchSpeed);
      entity.velocity = parent.velocity.map((v, i) => clamp(v + speed[i], -VELOCITY_MAX, VELOCITY_MAX));
      entity.attributes[0] = parent.attributes[0];
      born.push(entity);
    }
    return born;
  }
}

function newEntity(id, kind, position) {
  const attributes = new Array(8).fill(0);
  return { id, kind, position, velocity: [0, 0], heading: 0, turn: 0, thrust: 0, attributes, payload: Buffer.alloc(0) };
}

function withoutLeaves(reader, entities) {
  const remaining = [];
  let rank = 0;
  for (let leaves = reader.varint(); leaves > 0; leaves--) {
    const gone = rank + reader.varint();
    ensure(gone < entities.length, "an unknown rank");
    remaining.push(...entities.slice(rank, gone));
    rank = gone + 1;
  }
  return [...remaining, ...entities.slice(rank)];
}
