// Entities and how they move: the integers that server and client share. The specification is proto/REPLICATION.md, the
// reference proto/model.rs; test/vectors.test.ts compares. Numbers are integers throughout, products stay below 2^53.

export const ATTRIBUTES = 8;
export const VELOCITY_LIMIT = 1 << 24;
export const LEVEL_MAX = 15;
export const PAYLOAD_BYTES_MAX = 256;

export interface Entity {
  id: number;
  kind: number;
  x: number;
  y: number;
  vx: number;
  vy: number;
  /** 65536 is a full turn, 0 along x, a quarter along y. */
  heading: number;
  turn: number;
  thrust: number;
  attributes: Int32Array;
  payload: Uint8Array | undefined;
}

/** What steering and the motion model read and write of an entity. */
export type Body = Pick<Entity, "x" | "y" | "vx" | "vy" | "heading" | "turn" | "thrust">;

export interface Motion {
  turnRate: number;
  acceleration: number;
  speedMax: number;
  dragShift: number;
  launchSpeed: number;
  launchDistance: number;
}

export interface World {
  positionBits: number;
  cellBits: number;
  unitBits: number;
}

const AT_REST: Motion = { turnRate: 0, acceleration: 0, speedMax: 0, dragShift: 0, launchSpeed: 0, launchDistance: 0 };
const KIND_MAX = 256;

/** Motion constants by kind; kinds without an entry move straight on. */
export class Motions {
  readonly #byKind: (Motion | undefined)[] = [];

  set(kind: number, motion: Motion): void {
    if (kind < KIND_MAX) {
      this.#byKind[kind] = {
        turnRate: clamp(motion.turnRate, 0, 4096),
        acceleration: clamp(motion.acceleration, 0, 1 << 16),
        speedMax: clamp(motion.speedMax, 0, VELOCITY_LIMIT),
        dragShift: clamp(motion.dragShift, 0, 31),
        launchSpeed: clamp(motion.launchSpeed, 0, 1 << 20),
        launchDistance: clamp(motion.launchDistance, 0, 1 << 20),
      };
    }
  }

  of(kind: number): Motion {
    return this.#byKind[kind] ?? AT_REST;
  }
}

export function isValidWorld(world: World): boolean {
  const { positionBits, cellBits, unitBits } = world;
  return (
    positionBits >= 8 &&
    positionBits <= 30 &&
    cellBits <= positionBits &&
    positionBits - cellBits <= 10 &&
    unitBits <= positionBits
  );
}

export function cellCount(world: World): number {
  return 1 + 2 ** (2 * (world.positionBits - world.cellBits));
}

export function originX(world: World, cell: number): number {
  const columnBits = world.positionBits - world.cellBits;
  return cell === 0 ? 0 : ((cell - 1) & ((1 << columnBits) - 1)) << world.cellBits;
}

export function originY(world: World, cell: number): number {
  const columnBits = world.positionBits - world.cellBits;
  return cell === 0 ? 0 : ((cell - 1) >>> columnBits) << world.cellBits;
}

/** Brings a coordinate onto the torus. */
export function wrap(world: World, coordinate: number): number {
  return coordinate & ((1 << world.positionBits) - 1);
}

/** The shortest way from `from` to `to` on the torus; also for fractions. */
export function difference(world: World, to: number, from: number): number {
  const size = 2 ** world.positionBits;
  const way = (to - from) % size;
  if (way >= size / 2) return way - size;
  return way < -size / 2 ? way + size : way;
}

/** Moves a body by one tick: heading, then velocity, then position. */
export function advance(body: Body, motion: Motion, world: World): void {
  advanceHeading(body, motion);
  advanceVelocity(body, motion);
  advancePosition(body, world);
}

export function advanceHeading(body: Body, motion: Motion): void {
  body.heading = (body.heading + body.turn * motion.turnRate) & 0xffff;
}

export function advanceVelocity(body: Body, motion: Motion): void {
  let { vx, vy } = body;
  if (body.thrust !== 0 && motion.acceleration !== 0) {
    const push = body.thrust * motion.acceleration;
    vx += Math.floor((sine((body.heading + 16384) & 0xffff) * push) / 2 ** 18);
    vy += Math.floor((sine(body.heading) * push) / 2 ** 18);
  }
  if (motion.dragShift !== 0) {
    vx -= Math.sign(vx) * (Math.abs(vx) >> motion.dragShift);
    vy -= Math.sign(vy) * (Math.abs(vy) >> motion.dragShift);
  }
  vx = clamp(vx, -VELOCITY_LIMIT, VELOCITY_LIMIT);
  vy = clamp(vy, -VELOCITY_LIMIT, VELOCITY_LIMIT);
  const max = motion.speedMax;
  const squared = vx * vx + vy * vy;
  if (max !== 0 && squared > max * max) {
    // The root of a number below 2^50 is rounded correctly, so its floor is exact.
    const speed = Math.floor(Math.sqrt(squared));
    vx = Math.floor((vx * max) / speed);
    vy = Math.floor((vy * max) / speed);
  }
  body.vx = vx;
  body.vy = vy;
}

export function advancePosition(body: Body, world: World): void {
  body.x = wrap(world, body.x + body.vx);
  body.y = wrap(world, body.y + body.vy);
}

/** The sine of a heading, times 2^14, by Bhāskara's approximation. */
export function sine(angle: number): number {
  const within = angle & 32767;
  const bow = within * (32768 - within);
  const value = Math.floor((bow * 2 ** 18) / (5 * 2 ** 30 - 4 * bow));
  // `| 0`: no negative zero.
  return (angle < 32768 ? value : -value) | 0;
}

export function direction(heading: number): [number, number] {
  return [sine((heading + 16384) & 0xffff), sine(heading)];
}

/** An entity of a kind that is launched, as it is in the tick in which `parent`, already moved, launched it. */
export function launched(parent: Entity, id: number, kind: number, motion: Motion, world: World): Entity {
  const [x, y] = direction(parent.heading);
  const along = (part: number, length: number) => Math.floor((part * length) / 16384);
  const attributes = new Int32Array(ATTRIBUTES);
  attributes[0] = parent.attributes[0]!;
  return {
    id,
    kind,
    x: wrap(world, parent.x + along(x, motion.launchDistance)),
    y: wrap(world, parent.y + along(y, motion.launchDistance)),
    vx: clamp(parent.vx + along(x, motion.launchSpeed), -VELOCITY_LIMIT, VELOCITY_LIMIT),
    vy: clamp(parent.vy + along(y, motion.launchSpeed), -VELOCITY_LIMIT, VELOCITY_LIMIT),
    heading: 0,
    turn: 0,
    thrust: 0,
    attributes,
    payload: undefined,
  };
}

/** What a player holds down, as far as it steers an entity. */
export interface Steering {
  axisX: number;
  axisY: number;
  aim: number | undefined;
}

/** Sets turn and thrust for the tick to come, as the server does; call it before `advance`. */
export function steer(body: Body, steering: Steering, motion: Motion): void {
  const forward = level(steering.axisY);
  body.thrust = forward < 0 ? (forward / 2) | 0 : forward;
  if (steering.aim === undefined) {
    body.turn = level(steering.axisX);
    return;
  }
  const missing = ((steering.aim - body.heading) << 16) >> 16;
  if (Math.abs(missing) <= LEVEL_MAX * motion.turnRate) {
    body.heading = steering.aim;
    body.turn = 0;
  } else {
    body.turn = missing > 0 ? LEVEL_MAX : -LEVEL_MAX;
  }
}

function level(axis: number): number {
  return (clamp(axis, -127, 127) / 8) | 0;
}

function clamp(value: number, min: number, max: number): number {
  return value < min ? min : value > max ? max : value;
}
