// The light that ships leave behind.

import { colour } from "./colour";
import type { Place } from "./picture";

const POINTS = 34;
const STEP_S = 0.025;
const LIFE_S = 0.85;
/** A wide faint ribbon, and a bright one in it that ends sooner. */
const RIBBONS = [
  { width: 1, length: 1, lightness: 58, alpha: 0.34 },
  { width: 0.45, length: 0.6, lightness: 74, alpha: 0.55 },
];

interface Trail {
  xs: Float64Array;
  ys: Float64Array;
  times: Float64Array;
  strengths: Float64Array;
  count: number;
  seenAt: number;
}

export class Trails {
  readonly #trails = new Map<number, Trail>();
  readonly #xs = new Float64Array(POINTS + 1);
  readonly #ys = new Float64Array(POINTS + 1);
  readonly #strengths = new Float64Array(POINTS + 1);

  /** Where a ship's stern is, in units; `strength` from 0 to 1. */
  add(id: number, x: number, y: number, strength: number, time: number): void {
    let trail = this.#trails.get(id);
    if (trail === undefined) {
      const points = (): Float64Array => new Float64Array(POINTS);
      trail = { xs: points(), ys: points(), times: points(), strengths: points(), count: 0, seenAt: time };
      this.#trails.set(id, trail);
    }
    // A ship that was away for a while does not draw a line from where it was.
    if (time - trail.seenAt > 0.3) trail.count = 0;
    trail.seenAt = time;
    const last = (trail.count - 1 + POINTS) % POINTS;
    if (trail.count > 0 && time - trail.times[last]! < STEP_S) return;
    const slot = trail.count % POINTS;
    trail.xs[slot] = x;
    trail.ys[slot] = y;
    trail.times[slot] = time;
    trail.strengths[slot] = strength;
    trail.count += 1;
  }

  /** As filled shapes that taper off: a machine without a GPU fills far faster than it strokes. */
  draw(
    draw: CanvasRenderingContext2D,
    id: number,
    hue: number,
    width: number,
    head: readonly [number, number],
    time: number,
    place: Place,
    far: number,
  ): void {
    const trail = this.#trails.get(id);
    if (trail === undefined) return;
    const points = this.#spine(trail, head, time, place, far);
    if (points < 2) return;
    for (const { width: part, length, lightness, alpha } of RIBBONS) {
      draw.fillStyle = colour(hue, lightness, alpha);
      draw.beginPath();
      const end = Math.max(2, Math.round(points * length));
      for (let index = 0; index < end; index++) this.#edge(draw, index, points, (width * part * (1 - index / end)) / 2);
      for (let index = end - 1; index >= 0; index--) this.#edge(draw, index, points, (-width * part * (1 - index / end)) / 2);
      draw.fill();
    }
  }

  /** Fills `#xs`, `#ys`, `#strengths` from the head to the tail, in device pixels. */
  #spine(trail: Trail, head: readonly [number, number], time: number, place: Place, far: number): number {
    [this.#xs[0], this.#ys[0]] = head;
    let count = 1;
    for (let back = 1; back <= Math.min(trail.count, POINTS); back++) {
      const slot = (trail.count - back) % POINTS;
      const age = time - trail.times[slot]!;
      if (age > LIFE_S) break;
      const [x, y] = place(trail.xs[slot]!, trail.ys[slot]!);
      // A respawn, or the far side of the torus.
      if (Math.abs(x - this.#xs[count - 1]!) + Math.abs(y - this.#ys[count - 1]!) > far) break;
      this.#xs[count] = x;
      this.#ys[count] = y;
      this.#strengths[count] = trail.strengths[slot]!;
      count += 1;
    }
    this.#strengths[0] = this.#strengths[1] ?? 0;
    return count;
  }

  /** A point beside the spine. */
  #edge(draw: CanvasRenderingContext2D, index: number, points: number, aside: number): void {
    const before = Math.max(0, index - 1);
    const after = Math.min(points - 1, index + 1);
    const dx = this.#xs[after]! - this.#xs[before]!;
    const dy = this.#ys[after]! - this.#ys[before]!;
    const length = Math.hypot(dx, dy) || 1;
    const reach = aside * (0.25 + 0.75 * this.#strengths[index]!);
    draw.lineTo(this.#xs[index]! - (dy / length) * reach, this.#ys[index]! + (dx / length) * reach);
  }

  clear(): void {
    this.#trails.clear();
  }

  /** Forgets the ships that were not seen lately. */
  sweep(time: number): void {
    for (const [id, trail] of this.#trails) if (time - trail.seenAt > 2) this.#trails.delete(id);
  }
}
