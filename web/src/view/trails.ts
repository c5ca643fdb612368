// The light that ships leave behind.

import { colour } from "./colour";
import type { Place } from "./picture";

const POINTS = 34;
const STEP_S = 0.025;
const LIFE_S = 0.85;
/** Each trail is drawn in so many pieces, each fainter than the one before. */
const BANDS = 6;

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
    const points = Math.min(trail.count, POINTS);
    let [fromX, fromY] = head;
    let band = -1;
    let isOpen = false;
    const close = (): void => {
      if (isOpen) draw.stroke();
      isOpen = false;
    };
    draw.strokeStyle = colour(hue, 62);
    for (let back = 1; back <= points; back++) {
      const slot = (trail.count - back) % POINTS;
      const age = time - trail.times[slot]!;
      if (age > LIFE_S) break;
      const [x, y] = place(trail.xs[slot]!, trail.ys[slot]!);
      const strength = trail.strengths[slot]!;
      // A respawn, or the far side of the torus.
      if (Math.abs(x - fromX) + Math.abs(y - fromY) > far) break;
      const fade = (1 - age / LIFE_S) * strength;
      const now = fade < 0.04 ? BANDS : Math.min(BANDS - 1, Math.floor((1 - fade) * BANDS));
      if (now !== band) {
        close();
        band = now;
        if (band < BANDS) {
          draw.globalAlpha = 0.62 * (1 - (band + 0.35) / BANDS);
          draw.lineWidth = width * (1 - (band * 0.6) / BANDS);
          draw.beginPath();
          draw.moveTo(fromX, fromY);
          isOpen = true;
        }
      }
      if (isOpen) draw.lineTo(x, y);
      [fromX, fromY] = [x, y];
    }
    close();
    draw.globalAlpha = 1;
  }

  /** Forgets the ships that were not seen lately. */
  sweep(time: number): void {
    for (const [id, trail] of this.#trails) if (time - trail.seenAt > 2) this.#trails.delete(id);
  }
}
