// The own ship, ahead of the server: the same integer rules, from the newest state that the server sent, with the moves
// that it has not applied yet. When the server turns out to have had it otherwise, what is drawn glides there.

import { advance, difference, steer, type Body, type Motion, type World } from "./net/model";
import type { Controls, MoveLog, SentMove } from "./net/moves";

/** What is to be drawn; in sub-units, with fractions. */
export interface Pose {
  x: number;
  y: number;
  vx: number;
  vy: number;
  heading: number;
  thrust: number;
}

/** A correction is over after this long. */
const GLIDE_MS = 100;
/** New controls bend the step that is under way: that shows at once, and is over sooner. */
const BEND_MS = 60;
/** A step larger than this, in units, is no correction: the ship is somewhere else now. */
const JUMP_UNITS = 250;
/** Smaller corrections are nobody's business; in units. */
const NOTED_UNITS = 0.5;
/** Prediction goes no further ahead than this. */
const TICKS_AHEAD_MAX = 40;
const LEAD_WEIGHT = 0.15;
const LEAD_STEP_PER_S = 2;

export class Predictor {
  /** Corrections that were worth a note, and the last one's size in units. */
  corrections = 0;
  lastCorrection = 0;
  /** How many ticks ahead of the newest expected update a move works that is made now. */
  lead = 0.1;
  #leadWanted = 0.1;
  #base: Body | undefined;
  #baseTick = 0;
  /** Where the ship was drawn last on the stream before. */
  #continues: Pose | undefined;
  #shown: { tick: number; controls: Controls } | undefined;
  /** What is drawn differs from what is predicted by these, and ever less. */
  readonly #glide = new Glide(GLIDE_MS, (part) => part * part * (3 - 2 * part));
  readonly #bend = new Glide(BEND_MS, (part) => 1 - (1 - part) ** 2);

  constructor(
    readonly motion: Motion,
    readonly world: World,
    readonly tickMs: number,
  ) {}

  /** The ship goes on from where it was drawn, on another stream: controls hold, and the way's length is as it was. */
  continueFrom(pose: Pose | undefined): void {
    this.#base = undefined;
    this.#shown = undefined;
    this.#stay();
    this.#continues = pose === undefined ? undefined : { ...pose };
  }

  /** What the server says of the ship at a tick; undefined while it has none. */
  reconcile(own: Body | undefined, tick: number, moves: MoveLog): void {
    const shown = this.#shown;
    const before = shown === undefined ? undefined : this.#predicted(shown.tick, shown.controls, moves);
    const wasThere = this.#base !== undefined;
    if (own === undefined) {
      this.#base = undefined;
      this.#shown = undefined;
      return;
    }
    const { x, y, vx, vy, heading, turn, thrust } = own;
    this.#base = { x, y, vx, vy, heading, turn, thrust };
    this.#baseTick = tick;
    if (shown === undefined || before === undefined || !wasThere) {
      this.#stay();
      return;
    }
    const after = this.#predicted(shown.tick, shown.controls, moves);
    if (after !== undefined) this.#correct(before, after);
  }

  /** Learns how long moves are under way, from when the server had one and in which tick it applied it. */
  learn(move: SentMove, appliedTick: number, span: number, marginMs: number): void {
    // An update over several ticks does not tell in which of them it was.
    if (span > 1) return;
    // In ticks: it came so long before its tick, and was to come `move.early` before the tick that it was meant for.
    const late = appliedTick - marginMs / this.tickMs - (move.tick - move.early);
    this.#leadWanted += LEAD_WEIGHT * Math.max(-2, Math.min(2, late));
    this.#leadWanted = Math.max(0.05, Math.min(TICKS_AHEAD_MAX, this.#leadWanted));
  }

  /** The first guess, from the round trip. */
  assumeRoundTrip(ms: number): void {
    this.#leadWanted = this.lead = Math.min(TICKS_AHEAD_MAX, ms / this.tickMs + 0.1);
  }

  /** What to draw at a tick (with its fraction) while these controls are held; `elapsedMs` since the last call. */
  pose(tick: number, controls: Controls, moves: MoveLog, elapsedMs: number): Pose | undefined {
    const step = (LEAD_STEP_PER_S * elapsedMs) / 1000;
    this.lead += Math.max(-step, Math.min(step, this.#leadWanted - this.lead));
    const shown = this.#shown;
    const predicted = this.#predicted(tick, controls, moves);
    if (predicted === undefined) return undefined;
    if (shown !== undefined && shown.controls !== controls) {
      // New controls change the step that is under way, also its part that is already drawn: glide there, too.
      const before = this.#predicted(tick, shown.controls, moves);
      if (before !== undefined) this.#bend.add(before, predicted, this.world);
    }
    this.#shown = { tick, controls };
    const from = this.#continues;
    if (from !== undefined) {
      this.#continues = undefined;
      if (this.#distance(from, predicted) <= JUMP_UNITS) this.#glide.add(from, predicted, this.world);
    }
    this.#glide.apply(predicted, elapsedMs);
    this.#bend.apply(predicted, elapsedMs);
    return predicted;
  }

  #correct(before: Pose, after: Pose): void {
    const size = this.#distance(before, after);
    if (size > NOTED_UNITS) {
      this.corrections += 1;
      this.lastCorrection = size;
    }
    if (size > JUMP_UNITS) this.#stay();
    else this.#glide.add(before, after, this.world);
  }

  /** In units. */
  #distance(a: Pose, b: Pose): number {
    const { world } = this;
    return Math.hypot(difference(world, a.x, b.x), difference(world, a.y, b.y)) / 2 ** world.unitBits;
  }

  /** Without any way to glide. */
  #stay(): void {
    this.#glide.clear();
    this.#bend.clear();
  }

  #predicted(tick: number, controls: Controls, moves: MoveLog): Pose | undefined {
    if (this.#base === undefined) return undefined;
    const whole = Math.floor(tick);
    const ahead = Math.max(0, Math.min(TICKS_AHEAD_MAX, whole - this.#baseTick));
    const body = { ...this.#base };
    let next = 0;
    let held = moves.applied;
    const stepTo = (step: number, steering: Controls | undefined): void => {
      const { pending } = moves;
      // What was meant for an earlier tick and is still not applied will be in the next one.
      while (next < pending.length && pending[next]!.tick <= step) held = pending[next++]!.controls;
      steer(body, steering ?? held, this.motion);
      advance(body, this.motion, this.world);
    };
    for (let step = 1; step <= ahead; step++) stepTo(this.#baseTick + step, undefined);
    const from = { ...body };
    stepTo(this.#baseTick + ahead + 1, controls);
    // Below 0 when an update came earlier than was to be expected.
    const part = Math.max(-2, Math.min(1, tick - this.#baseTick - ahead));
    return between(from, body, part, this.world);
  }
}

/** The way from where something was drawn to where it should be, and how much of it is left. */
class Glide {
  #x = 0;
  #y = 0;
  #heading = 0;
  #ageMs = 0;

  constructor(
    readonly ms: number,
    /** How much of the way is done, from how much of the time is over. */
    readonly ease: (part: number) => number,
  ) {}

  clear(): void {
    this.#x = this.#y = this.#heading = 0;
  }

  add(before: Pose, after: Pose, world: World): void {
    const x = difference(world, before.x, after.x);
    const y = difference(world, before.y, after.y);
    const heading = turnBetween(after.heading, before.heading);
    if (x === 0 && y === 0 && heading === 0) return;
    const left = this.#left();
    this.#x = this.#x * left + x;
    this.#y = this.#y * left + y;
    this.#heading = this.#heading * left + heading;
    this.#ageMs = 0;
  }

  apply(pose: Pose, elapsedMs: number): void {
    this.#ageMs += elapsedMs;
    const left = this.#left();
    pose.x += this.#x * left;
    pose.y += this.#y * left;
    pose.heading += this.#heading * left;
  }

  #left(): number {
    return 1 - this.ease(Math.min(1, this.#ageMs / this.ms));
  }
}

/** The shortest turn from one heading to another; also for fractions. */
export function turnBetween(from: number, to: number): number {
  const turn = (to - from) % 65536;
  if (turn >= 32768) return turn - 65536;
  return turn < -32768 ? turn + 65536 : turn;
}

/** On the way from one tick to the next. */
function between(from: Body, to: Body, part: number, world: World): Pose {
  return {
    x: from.x + difference(world, to.x, from.x) * part,
    y: from.y + difference(world, to.y, from.y) * part,
    vx: from.vx + (to.vx - from.vx) * part,
    vy: from.vy + (to.vy - from.vy) * part,
    heading: from.heading + turnBetween(from.heading, to.heading) * part,
    thrust: to.thrust,
  };
}
