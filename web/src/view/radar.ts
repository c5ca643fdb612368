// A small picture of all that is in view, and a little more than the large one shows.

import * as arena from "../arena";
import { difference } from "../net/model";
import type { Pose } from "../predict";
import type { Scene } from "../scene";
import type { Camera } from "./camera";
import { colour, PICKUP_HUES } from "./colour";

/** From the middle to the rim, in units. */
const RANGE = 1150;

export class Radar {
  readonly #draw: CanvasRenderingContext2D;
  readonly #pose: Pose = { x: 0, y: 0, vx: 0, vy: 0, heading: 0, thrust: 0 };
  #plate: HTMLCanvasElement | undefined;

  constructor(readonly canvas: HTMLCanvasElement) {
    this.#draw = canvas.getContext("2d")!;
  }

  draw(scene: Scene, camera: Camera, own: Pose | undefined): void {
    const { canvas } = this;
    const draw = this.#draw;
    const side = Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio));
    if (side === 0) return;
    if (canvas.width !== side) canvas.width = canvas.height = side;
    if (this.#plate?.width !== side) this.#plate = plate(side);
    draw.clearRect(0, 0, side, side);
    draw.drawImage(this.#plate, 0, 0);
    const unit = 2 ** scene.world.unitBits;
    const middle = own ?? { x: camera.x * unit, y: camera.y * unit };
    const radius = side / 2;
    const dot = side / 80;
    const leader = scene.ranking()[0];
    for (const track of scene.tracks.values()) {
      if (track.kind === arena.KIND_SHOT || (track.goneTick !== undefined && track.goneTick <= scene.shownTick)) continue;
      track.pose(scene.shownTick, scene.world, scene.motions, this.#pose);
      const dx = difference(scene.world, this.#pose.x, middle.x) / unit / RANGE;
      const dy = difference(scene.world, this.#pose.y, middle.y) / unit / RANGE;
      if (Math.hypot(dx, dy) > 0.95) continue;
      const [x, y] = [radius + dx * radius, radius + dy * radius];
      if (track.kind === arena.KIND_SHIP) {
        if (track.id === scene.ownEntity) continue;
        this.#ship(x, y, dot, scene, track.attributes[0] ?? 0, leader?.number);
      } else if (track.kind === arena.KIND_ROCK) {
        draw.fillStyle = "hsl(218 25% 60% / 0.55)";
        circle(draw, x, y, Math.max(dot * 0.8, ((track.attributes[0] ?? 20) / RANGE) * radius));
      } else if (track.kind === arena.KIND_PICKUP) {
        draw.fillStyle = colour(PICKUP_HUES[track.attributes[0] ?? 0] ?? 280, 66);
        draw.fillRect(x - dot, y - dot, 2 * dot, 2 * dot);
      }
    }
    if (own !== undefined) this.#own(radius, dot, own, scene);
  }

  #ship(x: number, y: number, dot: number, scene: Scene, number: number, leader: number | undefined): void {
    const draw = this.#draw;
    draw.fillStyle = colour(scene.player(number)?.hue ?? 200, 66);
    circle(draw, x, y, dot * 1.7);
    if (number !== leader) return;
    // The leader wears a ring.
    draw.strokeStyle = "#ffe08a";
    draw.lineWidth = dot * 0.7;
    draw.beginPath();
    draw.arc(x, y, dot * 3.2, 0, 2 * Math.PI);
    draw.stroke();
  }

  #own(middle: number, dot: number, own: Pose, scene: Scene): void {
    const draw = this.#draw;
    const turn = (own.heading / 65536) * 2 * Math.PI;
    draw.save();
    draw.translate(middle, middle);
    draw.rotate(turn);
    draw.fillStyle = colour(scene.player(scene.ownNumber)?.hue ?? 190, 84);
    draw.beginPath();
    draw.moveTo(dot * 4.2, 0);
    draw.lineTo(-dot * 3, dot * 2.6);
    draw.lineTo(-dot * 1.4, 0);
    draw.lineTo(-dot * 3, -dot * 2.6);
    draw.fill();
    draw.restore();
  }
}

function circle(draw: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  draw.beginPath();
  draw.arc(x, y, radius, 0, 2 * Math.PI);
  draw.fill();
}

function plate(side: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const draw = canvas.getContext("2d")!;
  const middle = side / 2;
  const shine = draw.createRadialGradient(middle, middle, 0, middle, middle, middle);
  shine.addColorStop(0, "hsl(205 80% 20% / 0.62)");
  shine.addColorStop(1, "hsl(226 60% 8% / 0.72)");
  draw.fillStyle = shine;
  circle(draw, middle, middle, middle - 1);
  draw.strokeStyle = "hsl(195 85% 65% / 0.22)";
  draw.lineWidth = Math.max(1, side / 200);
  for (const part of [1 / 3, 2 / 3]) {
    draw.beginPath();
    draw.arc(middle, middle, middle * part, 0, 2 * Math.PI);
    draw.stroke();
  }
  draw.beginPath();
  draw.moveTo(middle, 2);
  draw.lineTo(middle, side - 2);
  draw.moveTo(2, middle);
  draw.lineTo(side - 2, middle);
  draw.stroke();
  draw.strokeStyle = "hsl(195 85% 65% / 0.6)";
  draw.beginPath();
  draw.arc(middle, middle, middle - 1.5, 0, 2 * Math.PI);
  draw.stroke();
  return canvas;
}
