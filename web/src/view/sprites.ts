// What glows, and text: drawn once and kept, since both are too dear to be drawn anew in every frame.

import { colour, PICKUP_HUES } from "./colour";

type Point = readonly [number, number];

const CACHE_MAX = 2500;

export class Sprites {
  readonly #cache = new Map<string, HTMLCanvasElement>();

  /** `scale` is device pixels per unit, `pixel` device pixels per pixel of text. */
  constructor(
    readonly scale: number,
    readonly pixel: number,
  ) {}

  pickup(type: number): HTMLCanvasElement {
    const hue = PICKUP_HUES[type] ?? 280;
    return this.#sprite(`pickup ${type}`, 36, (draw) => {
      const hexagon = Array.from({ length: 6 }, (_, corner): Point => {
        const turn = ((corner + 0.5) / 6) * 2 * Math.PI;
        return [Math.cos(turn) * 15, Math.sin(turn) * 15];
      });
      const path = polygon(hexagon);
      draw.lineJoin = draw.lineCap = "round";
      draw.shadowColor = colour(hue, 58);
      draw.shadowBlur = 12 * this.scale;
      draw.strokeStyle = colour(hue, 64);
      draw.lineWidth = 2;
      draw.stroke(path);
      draw.shadowBlur = 0;
      draw.fillStyle = colour(hue, 12, 0.9);
      draw.fill(path);
      draw.stroke(path);
      draw.strokeStyle = draw.fillStyle = colour(hue, 84);
      draw.lineWidth = 2.6;
      icon(draw, type);
    });
  }

  /**
   * A soft dot about so many device pixels wide, for whatever shines. It comes in steps of hue and size: an image that is
   * drawn as it is, at whole pixels, is drawn many times faster than one that is scaled.
   */
  glow(hue: number, wide: number, isWhite = false): HTMLCanvasElement {
    const shade = isWhite ? "white" : (((Math.round(hue / 12) * 12) % 360) + 360) % 360;
    const step = wide < 32 ? 3 : wide < 96 ? 8 : 24;
    const side = Math.max(3, Math.round(wide / step) * step);
    const key = `glow ${shade} ${side}`;
    const kept = this.#cache.get(key);
    if (kept !== undefined) return kept;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const draw = canvas.getContext("2d")!;
    const middle = side / 2;
    const shine = draw.createRadialGradient(middle, middle, 0, middle, middle, middle);
    if (shade === "white") {
      shine.addColorStop(0, "hsl(0 0% 100% / 1)");
      shine.addColorStop(0.25, "hsl(45 100% 88% / 0.75)");
      shine.addColorStop(1, "hsl(30 100% 70% / 0)");
    } else {
      shine.addColorStop(0, colour(shade, 84, 1));
      shine.addColorStop(0.25, colour(shade, 62, 0.62));
      shine.addColorStop(1, colour(shade, 50, 0));
    }
    draw.fillStyle = shine;
    draw.fillRect(0, 0, side, side);
    return this.#keep(key, canvas);
  }

  /** The light around a ship. */
  halo(hue: number): HTMLCanvasElement {
    return this.#sprite(`halo ${hue}`, 34, (draw) => {
      const shine = draw.createRadialGradient(0, 0, 4, 0, 0, 34);
      shine.addColorStop(0, colour(hue, 56, 0.34));
      shine.addColorStop(0.5, colour(hue, 54, 0.11));
      shine.addColorStop(1, colour(hue, 50, 0));
      draw.fillStyle = shine;
      draw.fillRect(-34, -34, 68, 68);
    });
  }

  /** A line of text; of the same size whatever the zoom. */
  label(text: string, style: string, size: number): HTMLCanvasElement {
    const key = `label ${style} ${size} ${text}`;
    const kept = this.#cache.get(key);
    if (kept !== undefined) return kept;
    const canvas = document.createElement("canvas");
    const font = `600 ${size * this.pixel}px system-ui, sans-serif`;
    const measure = canvas.getContext("2d")!;
    measure.font = font;
    const shadow = 3 * this.pixel;
    canvas.width = Math.ceil(measure.measureText(text).width + 2 * shadow);
    canvas.height = Math.ceil(size * this.pixel * 1.3 + 2 * shadow);
    const draw = canvas.getContext("2d")!;
    draw.font = font;
    draw.textBaseline = "middle";
    draw.shadowColor = "rgb(2 4 14 / 0.95)";
    draw.shadowBlur = shadow;
    draw.fillStyle = style;
    draw.fillText(text, shadow, canvas.height / 2);
    return this.#keep(key, canvas);
  }

  #sprite(key: string, radius: number, paint: (draw: CanvasRenderingContext2D) => void): HTMLCanvasElement {
    const kept = this.#cache.get(key);
    if (kept !== undefined) return kept;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = Math.max(2, Math.ceil(2 * radius * this.scale));
    const draw = canvas.getContext("2d")!;
    draw.translate(canvas.width / 2, canvas.height / 2);
    draw.scale(this.scale, this.scale);
    paint(draw);
    return this.#keep(key, canvas);
  }

  #keep(key: string, canvas: HTMLCanvasElement): HTMLCanvasElement {
    if (this.#cache.size >= CACHE_MAX) this.#cache.clear();
    this.#cache.set(key, canvas);
    return canvas;
  }
}

function polygon(points: readonly Point[]): Path2D {
  const path = new Path2D();
  for (const [x, y] of points) path.lineTo(x, y);
  path.closePath();
  return path;
}

function line(draw: CanvasRenderingContext2D, x: number, y: number, toX: number, toY: number): void {
  draw.beginPath();
  draw.moveTo(x, y);
  draw.lineTo(toX, toY);
  draw.stroke();
}

function icon(draw: CanvasRenderingContext2D, type: number): void {
  if (type === 1) {
    line(draw, -6, 0, 6, 0);
    line(draw, 0, -6, 0, 6);
  } else if (type === 2) {
    draw.stroke(polygon([[0, -7], [6, -4], [5, 3], [0, 7], [-5, 3], [-6, -4]]));
  } else {
    draw.fill(polygon([[2, -8], [-6, 1], [-1, 1], [-2, 8], [6, -1], [1, -1]]));
  }
}
