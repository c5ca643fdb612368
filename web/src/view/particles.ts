// Sparks, embers, shards and rings. They live in units, drift, fade, and mean nothing to the game.

import type { Sprites } from "./sprites";
import { colour } from "./colour";

/** How a particle is drawn. */
export enum Look {
  Glow,
  White,
  Spark,
  Shard,
  Ring,
}

interface Particle {
  look: Look;
  x: number;
  y: number;
  vx: number;
  vy: number;
  /** Seconds lived, and to live. */
  age: number;
  life: number;
  size: number;
  /** Growth of a ring, or turning of a shard, per second. */
  change: number;
  turn: number;
  hue: number;
  alpha: number;
}

export const PARTICLES_MAX = 1200;
/** What is left of a particle's speed after a second. */
const DRAG_PER_S = 0.16;

export class Particles {
  readonly #alive: Particle[] = [];

  /** Fewer on slow machines. */
  limit = PARTICLES_MAX;

  get count(): number {
    return this.#alive.length;
  }

  add(particle: Partial<Particle> & Pick<Particle, "look" | "x" | "y" | "life" | "size" | "hue">): void {
    if (this.#alive.length >= this.limit) return;
    this.#alive.push({ vx: 0, vy: 0, age: 0, change: 0, turn: 0, alpha: 1, ...particle });
  }

  clear(): void {
    this.#alive.length = 0;
  }

  advance(seconds: number): void {
    const drag = DRAG_PER_S ** seconds;
    let kept = 0;
    for (const particle of this.#alive) {
      particle.age += seconds;
      if (particle.age >= particle.life) continue;
      particle.x += particle.vx * seconds;
      particle.y += particle.vy * seconds;
      if (particle.look !== Look.Ring) {
        particle.vx *= drag;
        particle.vy *= drag;
      }
      if (particle.look === Look.Ring) particle.size += particle.change * seconds * (1 - particle.age / particle.life);
      else particle.turn += particle.change * seconds;
      this.#alive[kept++] = particle;
    }
    this.#alive.length = kept;
  }

  /** `place` gives a position in device pixels. */
  draw(
    draw: CanvasRenderingContext2D,
    sprites: Sprites,
    zoom: number,
    place: (x: number, y: number) => readonly [number, number] | undefined,
  ): void {
    draw.globalCompositeOperation = "lighter";
    for (const particle of this.#alive) {
      const at = place(particle.x, particle.y);
      if (at === undefined) continue;
      const left = 1 - particle.age / particle.life;
      draw.globalAlpha = particle.alpha * left;
      if (particle.look === Look.Glow || particle.look === Look.White) {
        const wide = particle.size * zoom * (0.4 + 0.6 * left) * 2;
        const sprite = sprites.glow(particle.hue, wide, particle.look === Look.White);
        draw.drawImage(sprite, Math.round(at[0] - sprite.width / 2), Math.round(at[1] - sprite.width / 2));
      } else {
        this.#stroke(draw, particle, at, zoom, left);
      }
    }
    draw.globalAlpha = 1;
    draw.globalCompositeOperation = "source-over";
  }

  #stroke(
    draw: CanvasRenderingContext2D,
    particle: Particle,
    [x, y]: readonly [number, number],
    zoom: number,
    left: number,
  ): void {
    draw.strokeStyle = colour(particle.hue, particle.look === Look.Ring ? 66 : 74);
    draw.lineWidth = (particle.look === Look.Ring ? 2.4 * left + 0.4 : 1.6) * zoom;
    draw.beginPath();
    if (particle.look === Look.Ring) {
      draw.arc(x, y, Math.max(0, particle.size * zoom), 0, 2 * Math.PI);
    } else if (particle.look === Look.Spark) {
      const reach = 0.035 * zoom;
      draw.moveTo(x, y);
      draw.lineTo(x - particle.vx * reach, y - particle.vy * reach);
    } else {
      const [dx, dy] = [Math.cos(particle.turn) * particle.size * zoom, Math.sin(particle.turn) * particle.size * zoom];
      draw.moveTo(x - dx, y - dy);
      draw.lineTo(x + dx, y + dy);
    }
    draw.stroke();
  }
}
