// Watches a scene, and has effects, sounds and lines of text made of what happens in it.

import * as arena from "../arena";
import { difference } from "../net/model";
import type { Pose } from "../predict";
import type { Happening, Scene } from "../scene";
import type { Track } from "../tracks";
import type { Camera } from "./camera";
import type { Effects } from "./effects";

export interface Stage {
  effects: Effects;
  camera: Camera;
  isCalm(): boolean;
  /** A line for the feed. */
  tell(happening: Happening, scene: Scene): void;
  sound(kind: "shot" | "hit" | "boom" | "gain", nearness: number): void;
  /** The own ship lost hull. */
  hurt(points: number): void;
}

const HEARD_UNITS = 900;
/** Further from the own ship nothing shakes the picture. */
const FELT_UNITS = 420;

export class Director {
  readonly #pose: Pose = { x: 0, y: 0, vx: 0, vy: 0, heading: 0, thrust: 0 };

  constructor(readonly stage: Stage) {}

  watch(scene: Scene): void {
    for (const happening of scene.takeHappenings()) this.#happened(happening, scene);
    for (const { track, tick } of scene.takeEndings()) this.#ended(track, tick, scene);
    for (const track of scene.tracks.values()) {
      if (track.bornTick <= scene.shownTick) this.#changed(track, scene);
    }
  }

  #happened(happening: Happening, scene: Scene): void {
    const { stage } = this;
    const unit = 2 ** scene.world.unitBits;
    const [x, y] = [happening.x / unit, happening.y / unit];
    if (happening.what === arena.What.Kill) {
      const victim = scene.player(happening.other);
      stage.effects.explosion(x, y, victim?.hue ?? 20);
      const distance = this.#distance(x, y, scene);
      if (!stage.isCalm()) stage.camera.jolt(11 * Math.max(0, 1 - distance / FELT_UNITS));
      stage.sound("boom", nearness(distance));
    } else if (happening.what === arena.What.Pickup) {
      stage.effects.pickedUp(x, y, happening.other);
      if (happening.player === scene.ownNumber) stage.sound("gain", 1);
    }
    stage.tell(happening, scene);
  }

  #ended(track: Track, tick: number, scene: Scene): void {
    if (track.kind === arena.KIND_SHIP) return;
    const unit = 2 ** scene.world.unitBits;
    const pose = track.pose(tick, scene.world, scene.motions, this.#pose);
    const [x, y] = [pose.x / unit, pose.y / unit];
    // What merely went out of view is far away.
    if (this.#distance(x, y, scene) > HEARD_UNITS) return;
    if (track.kind === arena.KIND_SHOT) {
      const hue = scene.player(track.attributes[0] ?? 0)?.hue ?? 50;
      const isHit = this.#isAt(x, y, scene);
      this.stage.effects.impact(x, y, hue, isHit);
      if (isHit) this.stage.sound("hit", nearness(this.#distance(x, y, scene)));
    } else if (track.kind === arena.KIND_ROCK) {
      this.stage.effects.rockBreaks(x, y, track.attributes[0] ?? 20);
    }
  }

  #changed(track: Track, scene: Scene): void {
    const { memory } = track;
    const isFirst = memory.seen === undefined;
    memory.seen = 1;
    if (track.kind === arena.KIND_SHIP) {
      const hull = track.attributes[1] ?? 0;
      const before = memory.hull;
      memory.hull = hull;
      if (isFirst && track.isNew) this.#arrived(track, scene);
      if (before !== undefined && hull < before && track.id === scene.ownEntity) this.stage.hurt(before - hull);
    } else if (track.kind === arena.KIND_SHOT && isFirst && track.isNew) {
      this.#fired(track, scene);
    }
  }

  #arrived(track: Track, scene: Scene): void {
    const unit = 2 ** scene.world.unitBits;
    const pose = track.pose(scene.shownTick, scene.world, scene.motions, this.#pose);
    const player = scene.player(track.attributes[0] ?? 0);
    // A ship that flies into view did not come into being there.
    const isSpawned = ((track.attributes[2] ?? 0) & arena.FLAG_PROTECTED) !== 0;
    if (isSpawned) this.stage.effects.arrival(pose.x / unit, pose.y / unit, player?.hue ?? 200);
  }

  #fired(track: Track, scene: Scene): void {
    const unit = 2 ** scene.world.unitBits;
    const pose = track.pose(track.bornTick, scene.world, scene.motions, this.#pose);
    const [x, y] = [pose.x / unit, pose.y / unit];
    const perSecond = 1000 / scene.clock.tickMs / unit;
    const hue = scene.player(track.attributes[0] ?? 0)?.hue ?? 50;
    // The flash goes with the ship, which is slower than its shot.
    this.stage.effects.muzzle(x, y, pose.vx * perSecond * 0.35, pose.vy * perSecond * 0.35, hue);
    this.stage.sound("shot", nearness(this.#distance(x, y, scene)));
  }

  #isAt(x: number, y: number, scene: Scene): boolean {
    const unit = 2 ** scene.world.unitBits;
    const pose: Pose = { ...this.#pose };
    for (const track of scene.tracks.values()) {
      if (track.kind !== arena.KIND_SHIP && track.kind !== arena.KIND_ROCK) continue;
      track.pose(scene.shownTick, scene.world, scene.motions, pose);
      const reach = (track.kind === arena.KIND_SHIP ? arena.SHIP_RADIUS : (track.attributes[0] ?? 20)) + 26;
      const dx = difference(scene.world, pose.x, x * unit) / unit;
      const dy = difference(scene.world, pose.y, y * unit) / unit;
      if (Math.hypot(dx, dy) < reach) return true;
    }
    return false;
  }

  /** From the middle of the picture, in units. */
  #distance(x: number, y: number, scene: Scene): number {
    const unit = 2 ** scene.world.unitBits;
    const dx = difference(scene.world, x * unit, this.stage.camera.x * unit) / unit;
    const dy = difference(scene.world, y * unit, this.stage.camera.y * unit) / unit;
    return Math.hypot(dx, dy);
  }
}

function nearness(distance: number): number {
  return Math.max(0, 1 - distance / HEARD_UNITS);
}
