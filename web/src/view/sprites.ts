// Everything that glows, drawn once and kept: a blur is too dear to be drawn anew in every frame.

import { chance, colour, PICKUP_HUES, ROCK_HUE } from "./colour";

type Point = readonly [number, number];

/** Half of each hull, from the bow to the stern, in units; the other half is its mirror image. */
const HULLS: readonly (readonly Point[])[] = [
  [[19, 0], [4, 4.5], [-12, 11.5], [-7, 3], [-8, 0]],
  [[17, 0], [7, 5], [1, 13], [-7, 14], [-5, 6], [-11, 4], [-9, 0]],
  [[13, 0], [18, 5.5], [4, 7], [-13, 10], [-9, 4], [-12, 0]],
  [[20, 0], [6, 3], [-3, 5], [-6, 13], [-12, 13], [-11, 4], [-7, 0]],
];

const CACHE_MAX = 700;

export class Sprites {
  readonly #cache = new Map<string, HTMLCanvasElement>();

  /** `scale` is device pixels per unit, `pixel` device pixels per pixel of text. */
  constructor(
    readonly scale: number,
    readonly pixel: number,
  ) {}

  ship(hue: number, variant: number, isOwn: boolean): HTMLCanvasElement {
    const hull = HULLS[variant % HULLS.length]!;
    return this.#sprite(`ship ${hue} ${variant % HULLS.length} ${isOwn}`, 48, (draw) => {
      const outline = [...hull, ...hull.slice(1, -1).reverse().map(([x, y]): Point => [x, -y])];
      const path = polygon(outline);
      draw.lineJoin = "round";
      draw.shadowColor = colour(hue, 60, isOwn ? 1 : 0.85);
      draw.shadowBlur = (isOwn ? 15 : 10) * this.scale;
      draw.strokeStyle = colour(hue, 62);
      draw.lineWidth = 2.2;
      draw.stroke(path);
      if (isOwn) draw.stroke(path);
      draw.shadowBlur = 0;
      const fill = draw.createLinearGradient(-14, 0, 20, 0);
      fill.addColorStop(0, colour(hue, 14, 0.95));
      fill.addColorStop(1, colour(hue, isOwn ? 44 : 32, 0.95));
      draw.fillStyle = fill;
      draw.fill(path);
      draw.strokeStyle = colour(hue, isOwn ? 88 : 70);
      draw.lineWidth = isOwn ? 1.9 : 1.6;
      draw.stroke(path);
      // A spine and a cockpit: which way it points is to be seen at a glance.
      draw.strokeStyle = colour(hue, 78, 0.55);
      draw.lineWidth = 1;
      draw.beginPath();
      draw.moveTo(-6, 0);
      draw.lineTo(9, 0);
      draw.stroke();
      draw.fillStyle = colour(hue, 93);
      draw.beginPath();
      draw.ellipse(5.5, 0, 3.4, 1.6, 0, 0, 2 * Math.PI);
      draw.fill();
    });
  }

  shot(hue: number, isOwn: boolean): HTMLCanvasElement {
    return this.#sprite(`shot ${hue} ${isOwn}`, 24, (draw) => {
      const long = isOwn ? 10 : 8.5;
      draw.lineCap = "round";
      draw.shadowColor = colour(hue, 60);
      draw.shadowBlur = 7 * this.scale;
      draw.strokeStyle = colour(hue, 66);
      draw.lineWidth = 3.4;
      line(draw, -long, 0, long * 0.7, 0);
      line(draw, -long, 0, long * 0.7, 0);
      draw.shadowBlur = 0;
      draw.strokeStyle = colour(hue, 95);
      draw.lineWidth = 1.7;
      line(draw, -long * 0.4, 0, long * 0.75, 0);
    });
  }

  rock(radius: number, shape: number): HTMLCanvasElement {
    return this.#sprite(`rock ${radius} ${shape}`, radius * 1.45 + 8, (draw) => {
      const corners = 9 + Math.floor(chance(shape, 0) * 4);
      const at = (corner: number): Point => {
        const turn = ((corner + 0.55 * chance(shape, corner + 20)) / corners) * 2 * Math.PI;
        const reach = radius * (0.78 + 0.34 * chance(shape, corner + 1));
        return [Math.cos(turn) * reach, Math.sin(turn) * reach];
      };
      const outline = Array.from({ length: corners }, (_, corner) => at(corner));
      const path = polygon(outline);
      draw.lineJoin = "round";
      draw.shadowColor = colour(ROCK_HUE, 45, 0.7);
      draw.shadowBlur = 8 * this.scale;
      draw.fillStyle = colour(ROCK_HUE, 9);
      draw.fill(path);
      draw.shadowBlur = 0;
      const shade = draw.createRadialGradient(-radius * 0.4, -radius * 0.4, radius * 0.1, 0, 0, radius * 1.15);
      shade.addColorStop(0, "hsl(220 22% 31%)");
      shade.addColorStop(1, "hsl(228 30% 11%)");
      draw.fillStyle = shade;
      draw.fill(path);
      // Facets: from the corners to a ridge inside.
      draw.save();
      draw.clip(path);
      draw.strokeStyle = "hsl(218 32% 55% / 0.28)";
      draw.lineWidth = 1;
      const ridge = outline.map(([x, y], corner): Point => {
        const depth = 0.38 + 0.25 * chance(shape, corner + 60);
        return [x * depth, y * depth];
      });
      draw.stroke(polygon(ridge));
      outline.forEach(([x, y], corner) => {
        if (corner % 2 === 0) line(draw, x, y, ...ridge[corner]!);
      });
      draw.restore();
      draw.strokeStyle = "hsl(216 38% 66% / 0.9)";
      draw.lineWidth = 1.6;
      draw.stroke(path);
    });
  }

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

  /** A soft dot of radius 16, for whatever shines. */
  glow(hue: number, isWhite = false): HTMLCanvasElement {
    const bucket = (Math.round(hue / 15) * 15) % 360;
    return this.#sprite(`glow ${isWhite ? "white" : bucket}`, 16, (draw) => {
      const shine = draw.createRadialGradient(0, 0, 0, 0, 0, 16);
      shine.addColorStop(0, isWhite ? "hsl(0 0% 100% / 1)" : colour(bucket, 84, 1));
      shine.addColorStop(0.25, isWhite ? "hsl(45 100% 88% / 0.75)" : colour(bucket, 62, 0.62));
      shine.addColorStop(1, isWhite ? "hsl(30 100% 70% / 0)" : colour(bucket, 50, 0));
      draw.fillStyle = shine;
      draw.fillRect(-16, -16, 32, 32);
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
