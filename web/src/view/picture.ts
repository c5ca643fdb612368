// Draws a scene. What is drawn where comes from tracks and the predictor; nothing here decides anything.

import * as arena from "../arena";
import type { World } from "../net/model";
import type { Pose } from "../predict";
import type { Scene } from "../scene";
import type { Track } from "../tracks";
import { Backdrop } from "./backdrop";
import { Camera } from "./camera";
import { chance, colour } from "./colour";
import type { Effects } from "./effects";
import type { Particles } from "./particles";
import { Shapes } from "./shapes";
import { Sprites } from "./sprites";
import { Trails } from "./trails";

/** From units to device pixels. */
export type Place = (x: number, y: number) => readonly [number, number];

/** All that one picture is made of. */
export interface Sight {
  scene: Scene;
  /** The own ship, ahead of the server, and the tick that it is shown at. */
  own: Pose | undefined;
  ownTick: number;
  /** Of what only looks alive: since the page was opened, and since the last picture. Stands still with the game. */
  time: number;
  seconds: number;
  showsCells: boolean;
  isCalm: boolean;
}

/** In this many seconds an own shot falls back from the own ship's time into everybody else's. */
const OWN_SHOT_S = 0.45;
const TEXT_CSS = 11.5;

interface Item {
  track: Track;
  x: number;
  y: number;
  pose: Pose;
}

export class Picture {
  readonly camera = new Camera();
  /** Device pixels per CSS pixel; the same times what text and fine lines grow by on large screens. */
  pixel = 1;
  fine = 1;
  /** How many entities the last picture showed. */
  shown = 0;
  readonly #draw: CanvasRenderingContext2D;
  readonly #backdrop = new Backdrop();
  readonly #trails = new Trails();
  readonly #shapes = new Shapes();
  #sprites = new Sprites(1, 1);
  #items: Record<number, Item[]> = {};
  #poses: Pose[] = [];

  constructor(
    readonly canvas: HTMLCanvasElement,
    readonly particles: Particles,
    readonly effects: Effects,
  ) {
    this.#draw = canvas.getContext("2d", { alpha: false })!;
  }

  resize(cssWidth: number, cssHeight: number, pixel: number, growth: number): void {
    const [width, height] = [Math.max(1, Math.round(cssWidth * pixel)), Math.max(1, Math.round(cssHeight * pixel))];
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.pixel = pixel;
    this.fine = pixel * growth;
    this.camera.resize(width, height);
    this.#sprites = new Sprites(this.camera.zoom, this.fine);
  }

  /** What things left behind is gone: what is shown next does not follow from what was shown. */
  cut(): void {
    this.particles.clear();
    this.#trails.clear();
  }

  /** Only the sky, drifting. */
  drawEmpty(seconds: number, time: number): void {
    this.camera.x += 26 * seconds;
    this.camera.y -= 11 * seconds;
    this.camera.settle(seconds, time);
    this.#backdrop.draw(this.#draw, this.camera, this.fine);
    this.#backdrop.grid(this.#draw, this.camera, this.fine);
  }

  draw(sight: Sight): void {
    const { camera, fine } = this;
    const draw = this.#draw;
    const { scene, time } = sight;
    const placer = torusPlacer(camera, scene.world);
    this.#backdrop.draw(draw, camera, fine);
    this.#backdrop.grid(draw, camera, fine);
    if (sight.showsCells) this.#backdrop.cells(draw, camera, fine, scene.world);
    this.#collect(sight, placer);
    const of = (kind: number): Item[] => this.#items[kind] ?? [];
    draw.lineJoin = "round";
    for (const item of of(arena.KIND_ROCK)) this.#rock(item, time, sight.isCalm);
    for (const item of of(arena.KIND_PICKUP)) this.#pickup(item, time, sight.isCalm);
    for (const item of of(arena.KIND_SHIP)) this.#trail(item, sight, placer);
    for (const item of of(arena.KIND_SHOT)) this.#shot(item, scene);
    draw.lineCap = "round";
    for (const item of of(arena.KIND_SHIP)) this.#ship(item, sight);
    const [wide, high] = [camera.width, camera.height];
    const margin = 120 * camera.zoom;
    this.particles.draw(draw, this.#sprites, camera.zoom, (x, y) => {
      const at = placer(x, y);
      const isNear = at[0] > -margin && at[0] < wide + margin && at[1] > -margin && at[1] < high + margin;
      return isNear ? at : undefined;
    });
    for (const item of of(arena.KIND_SHIP)) this.#label(item, scene);
    this.#trails.sweep(time);
  }

  /** Where something is, in CSS pixels. */
  toCss(pose: Pose, world: World): { x: number; y: number } {
    const unit = 2 ** world.unitBits;
    const [x, y] = torusPlacer(this.camera, world)(pose.x / unit, pose.y / unit);
    return { x: x / this.pixel, y: y / this.pixel };
  }

  /** Red at the edges, from 0 to 1: the own ship was hit. */
  drawHurt(strength: number): void {
    const draw = this.#draw;
    const { width, height } = this.camera;
    const depth = 70 * this.fine;
    const edges = [
      [0, 0, width, depth, 0, 0, 0, depth],
      [0, height - depth, width, depth, 0, height, 0, height - depth],
      [0, 0, depth, height, 0, 0, depth, 0],
      [width - depth, 0, depth, height, width, 0, width - depth, 0],
    ] as const;
    for (const [x, y, wide, high, fromX, fromY, toX, toY] of edges) {
      const fade = draw.createLinearGradient(fromX, fromY, toX, toY);
      fade.addColorStop(0, `hsl(352 95% 58% / ${0.5 * strength})`);
      fade.addColorStop(1, "hsl(352 95% 58% / 0)");
      draw.fillStyle = fade;
      draw.fillRect(x, y, wide, high);
    }
  }

  drawThumb(origin: { x: number; y: number }, at: { x: number; y: number }): void {
    const draw = this.#draw;
    const pixel = this.pixel;
    draw.lineWidth = 2 * pixel;
    draw.strokeStyle = "hsl(200 90% 75% / 0.35)";
    draw.fillStyle = "hsl(200 90% 75% / 0.28)";
    draw.beginPath();
    draw.arc(origin.x * pixel, origin.y * pixel, 56 * pixel, 0, 2 * Math.PI);
    draw.stroke();
    draw.beginPath();
    draw.arc(at.x * pixel, at.y * pixel, 24 * pixel, 0, 2 * Math.PI);
    draw.fill();
  }

  #collect(sight: Sight, place: Place): void {
    for (const items of Object.values(this.#items)) items.length = 0;
    const { scene } = sight;
    const unit = 2 ** scene.world.unitBits;
    const tick = scene.shownTick;
    let used = 0;
    this.shown = 0;
    for (const track of scene.tracks.values()) {
      const isOwnShip = track.id === scene.ownEntity && sight.own !== undefined;
      if (!isOwnShip && track.goneTick !== undefined && track.goneTick <= tick) continue;
      let at = tick;
      if (track.kind === arena.KIND_SHOT && scene.ownNumber !== 0 && track.attributes[0] === scene.ownNumber) {
        at = ownShotTick(track, sight);
      }
      if (!isOwnShip && track.bornTick > at) continue;
      const pose = (this.#poses[used] ??= { x: 0, y: 0, vx: 0, vy: 0, heading: 0, thrust: 0 });
      if (isOwnShip) Object.assign(pose, sight.own);
      else track.pose(at, scene.world, scene.motions, pose);
      const [x, y] = place(pose.x / unit, pose.y / unit);
      const reach = this.camera.zoom * (track.kind === arena.KIND_ROCK ? (track.attributes[0] ?? 50) * 1.5 : 60);
      if (x < -reach || y < -reach || x > this.camera.width + reach || y > this.camera.height + reach) continue;
      used += 1;
      this.shown += 1;
      (this.#items[track.kind] ??= []).push({ track, x, y, pose });
    }
  }

  #rock({ track, x, y }: Item, time: number, isCalm: boolean): void {
    // Its spin is not sent: it does not matter to play.
    const spin = isCalm ? 0 : (chance(track.id, 1) - 0.5) * 0.5 * time;
    this.#turned(x, y, chance(track.id, 2) * 6.28 + spin, () => {
      this.#shapes.rock(this.#draw, track.attributes[0] ?? 20, track.attributes[1] ?? 0);
    });
  }

  #pickup({ track, x, y }: Item, time: number, isCalm: boolean): void {
    const sprite = this.#sprites.pickup(track.attributes[0] ?? 0);
    // It floats, slowly.
    this.#blit(sprite, x, y + (isCalm ? 0 : 2.5 * this.camera.zoom * Math.sin(time * 2.2 + track.id)));
  }

  #shot({ track, x, y, pose }: Item, scene: Scene): void {
    const number = track.attributes[0] ?? 0;
    const hue = scene.player(number)?.hue ?? 50;
    this.#blit(this.#sprites.glow(hue, 28 * this.camera.zoom), x, y, 0.5);
    this.#turned(x, y, Math.atan2(pose.vy, pose.vx), () => this.#shapes.shot(this.#draw, hue));
  }

  #trail({ track, x, y, pose }: Item, sight: Sight, place: Place): void {
    const { scene, time, seconds } = sight;
    const unit = 2 ** scene.world.unitBits;
    const number = track.attributes[0] ?? 0;
    const hue = scene.player(number)?.hue ?? 200;
    const turn = (pose.heading / 65536) * 2 * Math.PI;
    const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
    const power = Math.abs(pose.thrust) / 15;
    const [sternX, sternY] = [pose.x / unit - 10 * cos, pose.y / unit - 10 * sin];
    this.#trails.add(track.id, sternX, sternY, 0.16 + 0.84 * power, time);
    const zoom = this.camera.zoom;
    const head = [x - 9 * cos * zoom, y - 9 * sin * zoom] as const;
    this.#blit(this.#sprites.halo(hue), x, y);
    if (track.id === scene.ownEntity) this.#blit(this.#sprites.halo(hue), x, y);
    this.#trails.draw(this.#draw, track.id, hue, 8 * zoom, head, time, place, 160 * zoom);
    if (power > 0.05) this.#flame(pose, hue, head, power, unit, scene, cos, sin, sternX, sternY, seconds);
  }

  #flame(
    pose: Pose, hue: number, head: readonly [number, number], power: number, unit: number, scene: Scene,
    cos: number, sin: number, sternX: number, sternY: number, seconds: number,
  ): void {
    const back = Math.sign(pose.thrust);
    const flicker = seconds > 0 ? Math.random() : 0.5;
    const side = this.camera.zoom * (20 + 8 * flicker) * (0.4 + 0.6 * power);
    this.#blit(this.#sprites.glow(hue, side), ...head);
    this.#blit(this.#sprites.glow(0, side * 0.5, true), ...head);
    if (Math.random() > 26 * seconds * power) return;
    const perSecond = 1000 / scene.clock.tickMs / unit;
    const spread = (Math.random() - 0.5) * 60;
    const [vx, vy] = [pose.vx * perSecond - 150 * back * cos - spread * sin, pose.vy * perSecond - 150 * back * sin + spread * cos];
    this.effects.ember(sternX, sternY, vx, vy, hue);
  }

  #ship({ track, x, y, pose }: Item, { scene, time, isCalm }: Sight): void {
    const number = track.attributes[0] ?? 0;
    const flags = track.attributes[2] ?? 0;
    const isOwn = track.id === scene.ownEntity;
    const hue = scene.player(number)?.hue ?? 200;
    const draw = this.#draw;
    const zoom = this.camera.zoom;
    this.#turned(x, y, (pose.heading / 65536) * 2 * Math.PI, () => this.#shapes.ship(draw, hue, number, isOwn));
    if ((flags & arena.FLAG_SHIELD) !== 0) {
      draw.strokeStyle = colour(195, 72, 0.85);
      draw.fillStyle = colour(195, 60, 0.1);
      draw.lineWidth = 1.8 * zoom;
      draw.beginPath();
      draw.arc(x, y, 24 * zoom, 0, 2 * Math.PI);
      draw.fill();
      draw.stroke();
    }
    if ((flags & arena.FLAG_PROTECTED) !== 0) {
      const turn = isCalm ? 0 : time * 1.4;
      draw.strokeStyle = colour(hue, 84, 0.75);
      draw.lineWidth = 1.5 * zoom;
      for (let arc = 0; arc < 3; arc++) {
        const from = turn + (arc * 2 * Math.PI) / 3;
        draw.beginPath();
        draw.arc(x, y, 27 * zoom, from, from + 1.25);
        draw.stroke();
      }
    }
    if ((flags & arena.FLAG_RAPID) !== 0) {
      const turn = (pose.heading / 65536) * 2 * Math.PI;
      draw.strokeStyle = colour(35, 66, 0.95);
      draw.lineWidth = 2 * zoom;
      draw.beginPath();
      draw.arc(x, y, 22 * zoom, turn - 0.5, turn + 0.5);
      draw.stroke();
    }
  }

  #label({ track, x, y }: Item, scene: Scene): void {
    if (track.id === scene.ownEntity) return;
    const player = scene.player(track.attributes[0] ?? 0);
    if (player === undefined) return;
    const draw = this.#draw;
    const { fine: pixel } = this;
    const top = y + 25 * this.camera.zoom;
    const label = this.#sprites.label(player.name, colour(player.hue, 80, player.isConnected ? 1 : 0.5), TEXT_CSS);
    draw.drawImage(label, Math.round(x - label.width / 2), Math.round(top));
    const hull = track.attributes[1] ?? 0;
    if (hull >= arena.HULL_MAX || hull <= 0) return;
    const [wide, high] = [34 * pixel, 3 * pixel];
    const [left, at] = [Math.round(x - wide / 2), Math.round(top + label.height - 2 * pixel)];
    draw.fillStyle = "rgb(10 16 34 / 0.85)";
    draw.fillRect(left - pixel, at - pixel, wide + 2 * pixel, high + 2 * pixel);
    draw.fillStyle = colour(hull > 50 ? 140 : hull > 25 ? 40 : 355, 60);
    draw.fillRect(left, at, (wide * hull) / arena.HULL_MAX, high);
  }

  #turned(x: number, y: number, turn: number, paint: () => void): void {
    const draw = this.#draw;
    const [cos, sin] = [Math.cos(turn) * this.camera.zoom, Math.sin(turn) * this.camera.zoom];
    draw.setTransform(cos, sin, -sin, cos, x, y);
    paint();
    draw.setTransform(1, 0, 0, 1, 0, 0);
  }

  /** Unscaled, at whole pixels. */
  #blit(sprite: HTMLCanvasElement, x: number, y: number, alpha = 1): void {
    this.#draw.globalAlpha = alpha;
    this.#draw.drawImage(sprite, Math.round(x - sprite.width / 2), Math.round(y - sprite.height / 2));
    this.#draw.globalAlpha = 1;
  }
}

/** Own shots leave the muzzle when the own ship fires, which is ahead of what is shown of others. */
function ownShotTick(track: Track, { scene, ownTick, own }: Sight): number {
  if (own === undefined) return scene.shownTick;
  const age = ((ownTick - track.bornTick) * scene.clock.tickMs) / 1000;
  const ahead = Math.max(0, 1 - age / OWN_SHOT_S);
  return scene.shownTick + (ownTick - scene.shownTick) * ahead;
}

function torusPlacer(camera: Camera, world: World): Place {
  const size = 2 ** (world.positionBits - world.unitBits);
  const { left, top, zoom } = camera;
  const [middleX, middleY] = [left + camera.width / 2 / zoom, top + camera.height / 2 / zoom];
  return (x, y) => {
    const dx = x - middleX;
    const dy = y - middleY;
    return [
      (dx - size * Math.round(dx / size)) * zoom + camera.width / 2,
      (dy - size * Math.round(dy / size)) * zoom + camera.height / 2,
    ];
  };
}
