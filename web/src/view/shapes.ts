// Ships, shots and rocks: as filled shapes, not as images or strokes. A machine without a GPU turns a shape far faster than a
// picture, and fills it far faster than it strokes; so an outline is a bright shape with a dark, smaller one on it.
// All lengths are units; the caller's transform does the rest.

import { chance, colour } from "./colour";

type Point = readonly [number, number];

/** Half of each hull, from the bow to the stern; the other half is its mirror image. */
const HULLS: readonly (readonly Point[])[] = [
  [[19, 0], [4, 4.5], [-12, 11.5], [-7, 3], [-8, 0]],
  [[17, 0], [7, 5], [1, 13], [-7, 14], [-5, 6], [-11, 4], [-9, 0]],
  [[13, 0], [18, 5.5], [4, 7], [-13, 10], [-9, 4], [-12, 0]],
  [[20, 0], [6, 3], [-3, 5], [-6, 13], [-12, 13], [-11, 4], [-7, 0]],
];

interface Inks {
  halo: string;
  line: string;
  fill: string;
  spine: string;
  light: string;
}

interface Hull {
  halo: Path2D;
  outer: Path2D;
  inner: Path2D;
}

interface Rock {
  halo: Path2D;
  outer: Path2D;
  inner: Path2D;
  ridge: Path2D;
}

export class Shapes {
  readonly #hulls = HULLS.map((half): Hull => {
    const outline = [...half, ...half.slice(1, -1).reverse().map(([x, y]): Point => [x, -y])];
    return {
      halo: polygon(grown(outline, 3.4)),
      outer: polygon(grown(outline, 1)),
      inner: polygon(grown(outline, -0.9)),
    };
  });
  readonly #spine = polygon([[-6, 0.5], [9, 0], [-6, -0.5]]);
  readonly #cockpit = polygon([[9, 0], [6, 1.7], [2.4, 0], [6, -1.7]]);
  readonly #tracerHalo = polygon([[12, 0], [7, 4], [-12, 1.6], [-12, -1.6], [7, -4]]);
  readonly #tracer = polygon([[9, 0], [6, 1.9], [-10, 1], [-10, -1], [6, -1.9]]);
  readonly #core = polygon([[8.5, 0], [5.5, 1], [-3, 0], [5.5, -1]]);
  readonly #rocks = new Map<string, Rock>();
  readonly #stones = new Map<number, CanvasGradient>();
  readonly #inks = new Map<string, Inks>();

  ship(draw: CanvasRenderingContext2D, hue: number, variant: number, isOwn: boolean): void {
    const { halo, outer, inner } = this.#hulls[variant % this.#hulls.length]!;
    const inks = this.#inksOf(hue, isOwn);
    fill(draw, halo, inks.halo);
    fill(draw, outer, inks.line);
    fill(draw, inner, inks.fill);
    fill(draw, this.#spine, inks.spine);
    fill(draw, this.#cockpit, inks.light);
  }

  shot(draw: CanvasRenderingContext2D, hue: number): void {
    const inks = this.#inksOf(hue, false);
    fill(draw, this.#tracerHalo, inks.halo);
    fill(draw, this.#tracer, inks.line);
    fill(draw, this.#core, inks.light);
  }

  rock(draw: CanvasRenderingContext2D, radius: number, shape: number): void {
    const { halo, outer, inner, ridge } = this.#rock(radius, shape);
    fill(draw, halo, "hsl(222 85% 56% / 0.15)");
    fill(draw, outer, "hsl(216 42% 68%)");
    fill(draw, inner, this.#stone(draw, radius));
    fill(draw, ridge, "hsl(220 30% 62% / 0.09)");
    draw.strokeStyle = "hsl(218 32% 60% / 0.3)";
    draw.lineWidth = 1;
    draw.stroke(ridge);
  }

  #inksOf(hue: number, isOwn: boolean): Inks {
    const key = `${hue} ${isOwn}`;
    let inks = this.#inks.get(key);
    if (inks === undefined) {
      inks = {
        halo: colour(hue, 58, isOwn ? 0.34 : 0.24),
        line: colour(hue, isOwn ? 86 : 70),
        fill: colour(hue, isOwn ? 27 : 20, 0.94),
        spine: colour(hue, 78, 0.55),
        light: colour(hue, 93),
      };
      this.#inks.set(key, inks);
    }
    return inks;
  }

  /** Lighter in the middle. A gradient is made for the coordinates that it is used in, so one does for all of a size. */
  #stone(draw: CanvasRenderingContext2D, radius: number): CanvasGradient {
    let stone = this.#stones.get(radius);
    if (stone === undefined) {
      stone = draw.createRadialGradient(-radius * 0.25, -radius * 0.3, radius * 0.1, 0, 0, radius * 1.1);
      stone.addColorStop(0, "hsl(218 24% 34%)");
      stone.addColorStop(1, "hsl(228 32% 12%)");
      this.#stones.set(radius, stone);
    }
    return stone;
  }

  #rock(radius: number, shape: number): Rock {
    const key = `${radius} ${shape}`;
    const kept = this.#rocks.get(key);
    if (kept !== undefined) return kept;
    const corners = 9 + Math.floor(chance(shape, 0) * 4);
    const rim = Array.from({ length: corners }, (_, corner): Point => {
      const turn = ((corner + 0.55 * chance(shape, corner + 20)) / corners) * 2 * Math.PI;
      const reach = radius * (0.78 + 0.34 * chance(shape, corner + 1));
      return [Math.cos(turn) * reach, Math.sin(turn) * reach];
    });
    // A ridge inside, and edges from it to every other corner.
    const inside = rim.map(([x, y], corner): Point => {
      const depth = 0.42 + 0.22 * chance(shape, corner + 60);
      return [x * depth, y * depth];
    });
    const ridge = polygon(inside);
    rim.forEach(([x, y], corner) => {
      if (corner % 2 !== 0) return;
      ridge.moveTo(x * 0.98, y * 0.98);
      ridge.lineTo(...inside[corner]!);
    });
    const made = { halo: polygon(grown(rim, 4)), outer: polygon(grown(rim, 0.9)), inner: polygon(grown(rim, -0.9)), ridge };
    this.#rocks.set(key, made);
    return made;
  }
}

function fill(draw: CanvasRenderingContext2D, path: Path2D, style: string | CanvasGradient): void {
  draw.fillStyle = style;
  draw.fill(path);
}

/** Every edge of an outline (counted clockwise on the screen) moved outwards; corners are cut off where they get too long. */
function grown(outline: readonly Point[], by: number): Point[] {
  const count = outline.length;
  const normal = (from: Point, to: Point): Point => {
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const length = Math.hypot(dx, dy) || 1;
    return [dy / length, -dx / length];
  };
  return outline.map((corner, index) => {
    const before = normal(outline[(index + count - 1) % count]!, corner);
    const after = normal(corner, outline[(index + 1) % count]!);
    const [x, y] = [before[0] + after[0], before[1] + after[1]];
    // The longer the sum of the normals, the blunter the corner.
    const square = Math.max(0.55, x * x + y * y);
    return [corner[0] + (2 * by * x) / square, corner[1] + (2 * by * y) / square];
  });
}

function polygon(points: readonly Point[]): Path2D {
  const path = new Path2D();
  for (const [x, y] of points) path.lineTo(x, y);
  path.closePath();
  return path;
}
