// Where others are, a little in the past: the last few states of every entity, and what lies between them.

import { difference, type Entity, type Motions, type World } from "./net/model";
import { turnBetween, type Pose } from "./predict";

const KEPT = 6;
/** Beyond the newest state an entity is drawn on its predicted way for at most this many ticks. */
const AHEAD_TICKS_MAX = 10;

export class Track {
  attributes: Int32Array;
  /** The first and the newest tick at which it was seen. */
  readonly bornTick: number;
  newestTick = 0;
  /** The tick at which it was no longer there. */
  goneTick: number | undefined;
  /** For the view: what it drew of the entity before. */
  memory: Record<string, number> = {};
  turn = 0;
  readonly #ticks = new Float64Array(KEPT);
  readonly #states = new Float64Array(KEPT * 6);
  #count = 0;

  constructor(
    readonly id: number,
    readonly kind: number,
    tick: number,
    /** Whether it came into being just then, rather than into view. */
    readonly isNew: boolean,
    entity: Entity,
  ) {
    this.bornTick = tick;
    this.attributes = entity.attributes;
  }

  push(tick: number, entity: Entity): void {
    const slot = this.#count++ % KEPT;
    this.#ticks[slot] = tick;
    const { x, y, vx, vy, heading, turn, thrust, attributes } = entity;
    this.#states.set([x, y, vx, vy, heading, thrust], slot * 6);
    this.turn = turn;
    this.newestTick = tick;
    this.attributes = attributes;
  }

  /** At a tick, with its fraction. */
  pose(tick: number, world: World, motions: Motions, out: Pose): Pose {
    // The newest state that is not after the tick, and the one after it.
    let after = -1;
    let slot = -1;
    for (let back = 1; back <= Math.min(KEPT, this.#count); back++) {
      slot = (this.#count - back) % KEPT;
      if (this.#ticks[slot]! <= tick) break;
      after = slot;
    }
    const since = tick - this.#ticks[slot]!;
    this.#read(slot, out);
    if (since <= 0) return out;
    if (after >= 0) this.#between(slot, after, since / (this.#ticks[after]! - this.#ticks[slot]!), world, out);
    else this.#ahead(Math.min(AHEAD_TICKS_MAX, since), motions, out);
    return out;
  }

  #read(slot: number, out: Pose): void {
    const at = slot * 6;
    out.x = this.#states[at]!;
    out.y = this.#states[at + 1]!;
    out.vx = this.#states[at + 2]!;
    out.vy = this.#states[at + 3]!;
    out.heading = this.#states[at + 4]!;
    out.thrust = this.#states[at + 5]!;
  }

  /** A cubic that leaves and arrives with the velocities; over one tick, in which a body moves straight, a line. */
  #between(slot: number, after: number, part: number, world: World, out: Pose): void {
    const ticks = this.#ticks[after]! - this.#ticks[slot]!;
    const at = after * 6;
    const dx = difference(world, this.#states[at]!, out.x);
    const dy = difference(world, this.#states[at + 1]!, out.y);
    const [toVx, toVy] = [this.#states[at + 2]!, this.#states[at + 3]!];
    if (ticks <= 1) {
      out.x += dx * part;
      out.y += dy * part;
    } else {
      out.x += cubic(dx, out.vx * ticks, toVx * ticks, part);
      out.y += cubic(dy, out.vy * ticks, toVy * ticks, part);
    }
    out.vx += (toVx - out.vx) * part;
    out.vy += (toVy - out.vy) * part;
    out.heading += turnBetween(out.heading, this.#states[at + 4]!) * part;
    out.thrust = this.#states[at + 5]!;
  }

  #ahead(ticks: number, motions: Motions, out: Pose): void {
    out.x += out.vx * ticks;
    out.y += out.vy * ticks;
    out.heading += this.turn * motions.of(this.kind).turnRate * ticks;
  }
}

/** From 0 to `way`, starting and ending at these speeds. */
function cubic(way: number, from: number, to: number, part: number): number {
  const square = part * part;
  const cube = square * part;
  return (cube - 2 * square + part) * from + (3 * square - 2 * cube) * way + (cube - square) * to;
}
