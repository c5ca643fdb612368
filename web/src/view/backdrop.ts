// What lies behind: a dim nebula, stars in three depths, and the grid that shows how one moves.

import type { World } from "../net/model";
import type { Camera } from "./camera";
import { chance } from "./colour";

const DEPTHS = [
  { stars: 90, parallax: 0.06, size: 1, alpha: 0.45 },
  { stars: 60, parallax: 0.14, size: 1.3, alpha: 0.6 },
  { stars: 30, parallax: 0.28, size: 1.9, alpha: 0.8 },
];
/** Stars repeat after this many CSS pixels. */
const TILE = 1100;
const GRID = 128;
const GRID_BOLD = 512;

export class Backdrop {
  #nebula: HTMLCanvasElement | undefined;

  draw(draw: CanvasRenderingContext2D, camera: Camera, pixel: number): void {
    const { width, height } = camera;
    if (this.#nebula?.width !== width || this.#nebula.height !== height) this.#nebula = nebula(width, height);
    draw.drawImage(this.#nebula, 0, 0);
    this.#stars(draw, camera, pixel);
  }

  #stars(draw: CanvasRenderingContext2D, camera: Camera, pixel: number): void {
    const tile = Math.max(TILE * pixel, camera.width / 2);
    const [left, top] = [camera.left * camera.zoom, camera.top * camera.zoom];
    DEPTHS.forEach(({ stars, parallax, size, alpha }, depth) => {
      const side = size * pixel;
      draw.fillStyle = `hsl(${215 + 15 * depth} 70% 84% / ${alpha})`;
      for (let star = 0; star < stars; star++) {
        const x = modulo(chance(depth, 2 * star) * tile - left * parallax, tile);
        const y = modulo(chance(depth, 2 * star + 1) * tile - top * parallax, tile);
        for (let across = x; across < camera.width; across += tile) {
          for (let down = y; down < camera.height; down += tile) draw.fillRect(across, down, side, side);
        }
      }
    });
  }

  grid(draw: CanvasRenderingContext2D, camera: Camera, pixel: number): void {
    const lines = (step: number, style: string, skip: number): void => {
      draw.strokeStyle = style;
      draw.lineWidth = pixel;
      draw.beginPath();
      eachLine(camera.left, camera.width / camera.zoom, step, (at) => {
        if (skip !== 0 && modulo(at, skip) === 0) return;
        const x = Math.round((at - camera.left) * camera.zoom) + 0.5;
        draw.moveTo(x, 0);
        draw.lineTo(x, camera.height);
      });
      eachLine(camera.top, camera.height / camera.zoom, step, (at) => {
        if (skip !== 0 && modulo(at, skip) === 0) return;
        const y = Math.round((at - camera.top) * camera.zoom) + 0.5;
        draw.moveTo(0, y);
        draw.lineTo(camera.width, y);
      });
      draw.stroke();
    };
    lines(GRID, "hsl(214 80% 62% / 0.085)", GRID_BOLD);
    lines(GRID_BOLD, "hsl(206 90% 64% / 0.17)", 0);
    this.#crosses(draw, camera, pixel);
  }

  #crosses(draw: CanvasRenderingContext2D, camera: Camera, pixel: number): void {
    const arm = 6 * pixel;
    draw.strokeStyle = "hsl(196 95% 70% / 0.5)";
    draw.lineWidth = 1.5 * pixel;
    draw.beginPath();
    eachLine(camera.left, camera.width / camera.zoom, GRID_BOLD, (atX) => {
      eachLine(camera.top, camera.height / camera.zoom, GRID_BOLD, (atY) => {
        const x = Math.round((atX - camera.left) * camera.zoom) + 0.5;
        const y = Math.round((atY - camera.top) * camera.zoom) + 0.5;
        draw.moveTo(x - arm, y);
        draw.lineTo(x + arm, y);
        draw.moveTo(x, y - arm);
        draw.lineTo(x, y + arm);
      });
    });
    draw.stroke();
  }

  /** The replication's cells, for the curious. */
  cells(draw: CanvasRenderingContext2D, camera: Camera, pixel: number, world: World): void {
    const step = 2 ** (world.cellBits - world.unitBits);
    const columns = 2 ** (world.positionBits - world.cellBits);
    draw.strokeStyle = "hsl(275 90% 74% / 0.6)";
    draw.setLineDash([8 * pixel, 6 * pixel]);
    draw.lineWidth = 1.5 * pixel;
    draw.font = `600 ${12 * pixel}px ui-monospace, monospace`;
    draw.fillStyle = "hsl(275 90% 80% / 0.85)";
    const [wide, high] = [camera.width / camera.zoom, camera.height / camera.zoom];
    draw.beginPath();
    for (let x = Math.floor(camera.left / step); x * step < camera.left + wide; x++) {
      const left = (x * step - camera.left) * camera.zoom;
      draw.moveTo(left, 0);
      draw.lineTo(left, camera.height);
      for (let y = Math.floor(camera.top / step); y * step < camera.top + high; y++) {
        const top = (y * step - camera.top) * camera.zoom;
        draw.moveTo(0, top);
        draw.lineTo(camera.width, top);
        // In the middle of what is seen of the cell: the corners of the screen are taken.
        const middleX = (Math.max(left, 0) + Math.min(left + step * camera.zoom, camera.width)) / 2;
        const middleY = (Math.max(top, 0) + Math.min(top + step * camera.zoom, camera.height)) / 2;
        const cell = 1 + modulo(x, columns) + modulo(y, columns) * columns;
        draw.fillText(`cell ${cell}`, middleX, middleY);
      }
    }
    draw.stroke();
    draw.setLineDash([]);
  }
}

function eachLine(from: number, length: number, step: number, visit: (at: number) => void): void {
  for (let at = Math.ceil(from / step) * step; at < from + length; at += step) visit(at);
}

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by;
}

function nebula(width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const draw = canvas.getContext("2d", { alpha: false })!;
  draw.fillStyle = "#04060f";
  draw.fillRect(0, 0, width, height);
  const reach = Math.max(width, height);
  const clouds = [
    [0.18, 0.22, 0.62, "hsl(224 75% 24% / 0.55)"],
    [0.82, 0.75, 0.58, "hsl(262 62% 22% / 0.5)"],
    [0.72, 0.12, 0.42, "hsl(196 80% 22% / 0.38)"],
    [0.28, 0.92, 0.46, "hsl(330 55% 17% / 0.34)"],
  ] as const;
  draw.globalCompositeOperation = "lighter";
  for (const [x, y, radius, style] of clouds) {
    const cloud = draw.createRadialGradient(x * width, y * height, 0, x * width, y * height, radius * reach);
    cloud.addColorStop(0, style);
    cloud.addColorStop(1, "hsl(230 60% 10% / 0)");
    draw.fillStyle = cloud;
    draw.fillRect(0, 0, width, height);
  }
  draw.globalCompositeOperation = "source-over";
  const vignette = draw.createRadialGradient(width / 2, height / 2, reach * 0.25, width / 2, height / 2, reach * 0.72);
  vignette.addColorStop(0, "rgb(2 3 10 / 0)");
  vignette.addColorStop(1, "rgb(2 3 10 / 0.72)");
  draw.fillStyle = vignette;
  draw.fillRect(0, 0, width, height);
  // Grain, against bands of colour.
  draw.fillStyle = draw.createPattern(grain(), "repeat")!;
  draw.fillRect(0, 0, width, height);
  return canvas;
}

function grain(): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 128;
  const draw = canvas.getContext("2d")!;
  const image = draw.createImageData(128, 128);
  for (let at = 0; at < image.data.length; at += 4) {
    const bright = chance(7, at) > 0.5 ? 255 : 0;
    image.data[at] = image.data[at + 1] = image.data[at + 2] = bright;
    image.data[at + 3] = Math.floor(chance(8, at) * 5);
  }
  draw.putImageData(image, 0, 0);
  return canvas;
}
