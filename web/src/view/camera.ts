// Where the picture is taken from: with the ship, a little ahead of it.

import { difference, type World } from "../net/model";
import type { Pose } from "../predict";

/** The camera looks this many seconds ahead in the direction of flight, and takes its time to. */
const LEAD_S = 0.22;
const LEAD_TAU_S = 0.45;
const FOLLOW_TAU_S = 0.5;
const FAR_UNITS = 900;
/** What is to be seen at least, in units; more than the server shows would be empty. */
const VISIBLE = { width: 1120, height: 700 };
const SHAKE_TAU_S = 0.16;

export class Camera {
  /** In units. */
  x = 0;
  y = 0;
  /** Device pixels per unit, and the picture in device pixels. */
  zoom = 1;
  width = 1;
  height = 1;
  /** Where in the picture its subject is, as parts of the width and height from the middle: a panel may cover that. */
  aside = { x: 0, y: 0 };
  #leadX = 0;
  #leadY = 0;
  #shake = 0;
  #shakeX = 0;
  #shakeY = 0;
  #isPlaced = false;

  resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.zoom = Math.max(width / VISIBLE.width, height / VISIBLE.height);
  }

  /** Holds on to a ship, exactly. */
  ride(pose: Pose, world: World, tickMs: number, seconds: number): void {
    const unit = 2 ** world.unitBits;
    const perSecond = 1000 / tickMs / unit;
    const blend = 1 - Math.exp(-seconds / LEAD_TAU_S);
    this.#leadX += (pose.vx * perSecond * LEAD_S - this.#leadX) * blend;
    this.#leadY += (pose.vy * perSecond * LEAD_S - this.#leadY) * blend;
    this.#move(pose.x / unit + this.#leadX, pose.y / unit + this.#leadY, world, () => 1);
  }

  /** Floats to a place. */
  follow(x: number, y: number, world: World, seconds: number): void {
    this.#leadX = this.#leadY = 0;
    this.#move(x, y, world, (distance) => (distance > FAR_UNITS ? 1 : 1 - Math.exp(-seconds / FOLLOW_TAU_S)));
  }

  /** The short way over the torus: coordinates go on beyond its edge, so that the stars do not jump there. */
  #move(x: number, y: number, world: World, part: (distance: number) => number): void {
    const inUnits = { positionBits: world.positionBits - world.unitBits, cellBits: 0, unitBits: 0 };
    const dx = difference(inUnits, x, this.x);
    const dy = difference(inUnits, y, this.y);
    const blend = this.#isPlaced ? part(Math.hypot(dx, dy)) : 1;
    this.x += dx * blend;
    this.y += dy * blend;
    this.#isPlaced = true;
  }

  /** What it looks at next it looks at at once. */
  cut(): void {
    this.#isPlaced = false;
  }

  jolt(strength: number): void {
    this.#shake = Math.min(14, this.#shake + strength);
  }

  settle(seconds: number, time: number): void {
    this.#shake *= Math.exp(-seconds / SHAKE_TAU_S);
    if (this.#shake < 0.05) this.#shake = 0;
    this.#shakeX = this.#shake * Math.sin(time * 61);
    this.#shakeY = this.#shake * Math.sin(time * 73 + 1);
  }

  /** Where the middle of the picture is, shaken. */
  get left(): number {
    return this.x + this.#shakeX - ((0.5 + this.aside.x) * this.width) / this.zoom;
  }

  get top(): number {
    return this.y + this.#shakeY - ((0.5 + this.aside.y) * this.height) / this.zoom;
  }
}
