// What is seen when something happens.

import { PICKUP_HUES, ROCK_HUE } from "./colour";
import { Look, type Particles } from "./particles";

export class Effects {
  constructor(
    readonly particles: Particles,
    /** Fewer and calmer ones, for whoever asked for that. */
    readonly isCalm: () => boolean,
  ) {}

  explosion(x: number, y: number, hue: number): void {
    const add = this.particles;
    const count = this.isCalm() ? 12 : 48;
    add.add({ look: Look.White, x, y, life: 0.28, size: 80, hue });
    add.add({ look: Look.Glow, x, y, life: 1.1, size: 130, hue, alpha: 0.75 });
    add.add({ look: Look.Ring, x, y, life: 0.7, size: 10, change: 300, hue });
    add.add({ look: Look.Ring, x, y, life: 0.45, size: 6, change: 190, hue, alpha: 0.6 });
    for (let index = 0; index < count; index++) {
      const [vx, vy] = anyWay(40, 330);
      const look = index % 3 === 0 ? Look.Shard : index % 3 === 1 ? Look.Spark : Look.Glow;
      const life = 0.6 + Math.random() * 1.1;
      const size = look === Look.Glow ? 9 + Math.random() * 10 : 3 + Math.random() * 6;
      const change = (Math.random() - 0.5) * 14;
      add.add({ look, x, y, vx, vy, life, size, change, turn: Math.random() * 7, hue: hue + Math.random() * 30 - 15 });
    }
  }

  muzzle(x: number, y: number, vx: number, vy: number, hue: number): void {
    this.particles.add({ look: Look.White, x, y, vx, vy, life: 0.09, size: 11, hue, alpha: 0.9 });
    this.particles.add({ look: Look.Glow, x, y, vx, vy, life: 0.16, size: 20, hue, alpha: 0.8 });
  }

  /** A shot's end: `isHit` where it met something. */
  impact(x: number, y: number, hue: number, isHit: boolean): void {
    this.particles.add({ look: Look.Glow, x, y, life: isHit ? 0.3 : 0.2, size: isHit ? 26 : 9, hue, alpha: isHit ? 0.9 : 0.5 });
    if (!isHit || this.isCalm()) return;
    for (let index = 0; index < 7; index++) {
      const [vx, vy] = anyWay(60, 240);
      this.particles.add({ look: Look.Spark, x, y, vx, vy, life: 0.2 + Math.random() * 0.25, size: 1, hue });
    }
  }

  rockBreaks(x: number, y: number, radius: number): void {
    this.particles.add({ look: Look.Ring, x, y, life: 0.5, size: radius * 0.5, change: radius * 3, hue: ROCK_HUE, alpha: 0.6 });
    this.particles.add({ look: Look.Glow, x, y, life: 0.4, size: radius * 1.6, hue: 205, alpha: 0.5 });
    for (let index = 0; index < (this.isCalm() ? 5 : 8 + radius / 3); index++) {
      const [vx, vy] = anyWay(20, 150);
      const life = 0.6 + Math.random() * 0.8;
      const change = (Math.random() - 0.5) * 9;
      const size = 2 + Math.random() * radius * 0.12;
      this.particles.add({ look: Look.Shard, x, y, vx, vy, life, size, change, turn: Math.random() * 7, hue: ROCK_HUE, alpha: 0.8 });
    }
  }

  pickedUp(x: number, y: number, type: number): void {
    const hue = PICKUP_HUES[type] ?? 280;
    this.particles.add({ look: Look.Ring, x, y, life: 0.6, size: 14, change: 170, hue });
    this.particles.add({ look: Look.Ring, x, y, life: 0.45, size: 8, change: 110, hue, alpha: 0.6 });
    this.particles.add({ look: Look.Glow, x, y, life: 0.4, size: 60, hue, alpha: 0.8 });
  }

  arrival(x: number, y: number, hue: number): void {
    this.particles.add({ look: Look.Ring, x, y, life: 0.8, size: 60, change: -95, hue });
    this.particles.add({ look: Look.Glow, x, y, life: 0.6, size: 90, hue, alpha: 0.6 });
  }

  ember(x: number, y: number, vx: number, vy: number, hue: number): void {
    this.particles.add({ look: Look.Glow, x, y, vx, vy, life: 0.25 + Math.random() * 0.2, size: 5 + Math.random() * 4, hue, alpha: 0.7 });
  }
}

/** A velocity of any direction, in units per second. */
function anyWay(slow: number, fast: number): [number, number] {
  const turn = Math.random() * 2 * Math.PI;
  const speed = slow + Math.random() * (fast - slow);
  return [Math.cos(turn) * speed, Math.sin(turn) * speed];
}
