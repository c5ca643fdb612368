// The net graph: what the stream does, update by update.

import { element, make, setText } from "../page";
import type { Predictor } from "../predict";
import type { Scene } from "../scene";
import type { Session } from "../net/session";
import type { Sample, Traffic } from "../net/traffic";

const COLOURS = {
  bytes: "#38bdf8",
  skipped: "#ffb454",
  keyframe: "#c084fc",
  gap: "#5ef2a0",
  ping: "#f9a8d4",
  text: "#a9bad8",
  rule: "hsl(210 60% 70% / 0.16)",
};
const BARS = 120;

export interface Watched {
  scene: Scene;
  traffic: Traffic;
  session: Session | undefined;
  predictor: Predictor | undefined;
  framesPerS: number;
}

interface Row {
  name: string;
  read: (watched: Watched, now: number) => string | undefined;
  mood?: (watched: Watched) => "good" | "bad" | "";
}

const ROWS: Row[] = [
  { name: "ping", read: ({ traffic }) => (traffic.pingSmooth === undefined ? undefined : `${traffic.pingSmooth.toFixed(1)} ms`) },
  { name: "tick rate", read: ({ traffic, scene }, now) => `${Math.round(traffic.rates(now).ticksPerS)} / ${scene.welcome.tickRateHz} Hz` },
  { name: "updates", read: ({ traffic }, now) => `${traffic.rates(now).updatesPerS.toFixed(1)} /s` },
  { name: "update gap", read: ({ traffic }) => gapText(traffic.samples) },
  { name: "staleness", read: ({ traffic, scene }, now) => stalenessText(traffic, scene, now) },
  { name: "view delay", read: ({ scene }) => `${(scene.clock.delay() * scene.clock.tickMs).toFixed(0)} ms` },
  { name: "down", read: ({ traffic }, now) => bytesText(traffic.rates(now).bytesPerS) },
  { name: "per entity", read: perEntityText },
  { name: "entities", read: ({ scene }) => `${scene.entityCount}` },
  { name: "prediction", read: ({ predictor, scene }) => (predictor === undefined ? undefined : `+${(predictor.lead * scene.clock.tickMs).toFixed(0)} ms`) },
  { name: "corrections", read: ({ predictor }) => predictor && `${predictor.corrections} (${predictor.lastCorrection.toFixed(1)} u)` },
  { name: "unacked moves", read: ({ session }) => session && `${session.moves.pending.length}` },
  {
    name: "checksums ok",
    read: ({ scene }) => `${scene.replica.checksumsChecked}`,
    mood: ({ session }) => (session?.desyncs === 0 ? "good" : ""),
  },
  { name: "desyncs", read: ({ session }) => session && `${session.desyncs}`, mood: ({ session }) => (session !== undefined && session.desyncs > 0 ? "bad" : "good") },
  { name: "frames", read: ({ framesPerS }) => `${Math.round(framesPerS)} /s` },
];

export class Graph {
  isShown = false;
  readonly #root = element("graph");
  readonly #canvas = element<HTMLCanvasElement>("graph-picture");
  readonly #draw = this.#canvas.getContext("2d")!;
  readonly #values: HTMLElement[];
  #textAt = 0;

  constructor() {
    this.#values = ROWS.map(() => make("dd"));
    const rows = ROWS.map((row, index) => make("div", "", make("dt", "", row.name), this.#values[index]!));
    element("graph-rows").append(...rows);
  }

  toggle(): void {
    this.isShown = !this.isShown;
    this.#root.hidden = !this.isShown;
    document.body.classList.toggle("graphed", this.isShown);
  }

  update(watched: Watched, now: number): void {
    if (!this.isShown) return;
    this.#picture(watched.traffic, watched.scene.clock.tickMs);
    if (now - this.#textAt < 250) return;
    this.#textAt = now;
    const { server, room } = watched.scene.welcome;
    setText(element("graph-room"), `${server} · ${room?.name || room?.roomId || "room"} · tick ${watched.scene.tick}`);
    this.#trace(watched.traffic.traceId);
    ROWS.forEach((row, index) => {
      setText(this.#values[index]!, row.read(watched, now) ?? "–");
      this.#values[index]!.className = row.mood?.(watched) ?? "";
    });
  }

  /** For whoever wants to find a move in the traces: of the newest sampled one, to be selected and copied. */
  #trace(traceId: string | undefined): void {
    element("graph-trace").hidden = traceId === undefined;
    setText(element("graph-trace-id"), traceId ?? "");
  }

  #picture(traffic: Traffic, tickMs: number): void {
    const canvas = this.#canvas;
    const density = Math.min(2, devicePixelRatio);
    const [wide, high] = [Math.round(canvas.clientWidth * density), Math.round(canvas.clientHeight * density)];
    // The canvas is about 120 pixels of text high, however large the text is.
    const pixel = high / 120;
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    const draw = this.#draw;
    draw.clearRect(0, 0, wide, high);
    const samples = traffic.samples.slice(-BARS);
    const split = Math.round(high * 0.58);
    this.#bars(samples, wide, split, pixel);
    this.#gaps(samples, wide, split + 8 * pixel, high - split - 8 * pixel, tickMs, pixel);
    this.#pings(traffic.pings, wide, split + 8 * pixel, high - split - 8 * pixel, pixel);
  }

  /** A bar per update: its bytes. */
  #bars(samples: readonly Sample[], wide: number, high: number, pixel: number): void {
    const draw = this.#draw;
    const plain = samples.filter((sample) => !sample.hasKeyframe);
    const top = niceAbove(Math.max(120, ...plain.map((sample) => sample.bytes)));
    const step = wide / BARS;
    samples.forEach((sample, index) => {
      const x = wide - (samples.length - index) * step;
      const tall = Math.min(1, sample.bytes / top) * (high - 4 * pixel);
      const hue = sample.hasKeyframe ? COLOURS.keyframe : sample.ticks > 1 ? COLOURS.skipped : COLOURS.bytes;
      const fill = draw.createLinearGradient(0, high - tall, 0, high);
      fill.addColorStop(0, hue);
      fill.addColorStop(1, `${hue}22`);
      draw.fillStyle = fill;
      draw.fillRect(x, high - tall, Math.max(1, step - pixel), tall);
      // A keyframe taller than the graph is cut, and says so.
      if (sample.bytes > top) {
        draw.fillStyle = "#fff";
        draw.fillRect(x, 0, Math.max(1, step - pixel), 2 * pixel);
      }
    });
    this.#rules(0, wide, high, [`${top} B an update`, `${top / 2} B`], pixel);
  }

  /** The time between updates, around what it should be. */
  #gaps(samples: readonly Sample[], wide: number, top: number, high: number, tickMs: number, pixel: number): void {
    const draw = this.#draw;
    const limit = Math.max(3 * tickMs, 60);
    const y = (gap: number): number => top + high - Math.min(1, gap / limit) * (high - 2 * pixel);
    draw.strokeStyle = COLOURS.rule;
    draw.setLineDash([4 * pixel, 4 * pixel]);
    draw.beginPath();
    draw.moveTo(0, y(tickMs));
    draw.lineTo(wide, y(tickMs));
    draw.stroke();
    draw.setLineDash([]);
    this.#label(`gap ┄ ${Math.round(tickMs)} ms a tick`, 0, top + 8 * pixel, COLOURS.gap, pixel);
    const step = wide / BARS;
    this.#curve(samples.map((sample, index) => [wide - (samples.length - 0.5 - index) * step, y(sample.gap)]), COLOURS.gap, pixel);
  }

  #pings(pings: readonly number[], wide: number, top: number, high: number, pixel: number): void {
    const newest = pings.slice(-30);
    const limit = niceAbove(Math.max(4, ...newest)) * 1.2;
    const y = (ping: number): number => top + high - (ping / limit) * (high - 2 * pixel);
    this.#curve(newest.map((ping, index) => [wide - (newest.length - 0.5 - index) * (wide / 30), y(ping)]), COLOURS.ping, pixel);
    this.#label("ping", wide - 25 * pixel, top + 8 * pixel, COLOURS.ping, pixel);
  }

  #curve(points: readonly (readonly [number, number])[], style: string, pixel: number): void {
    const draw = this.#draw;
    draw.strokeStyle = style;
    draw.lineWidth = 1.5 * pixel;
    draw.lineJoin = "round";
    draw.beginPath();
    for (const [x, y] of points) draw.lineTo(x, y);
    draw.stroke();
  }

  #rules(top: number, wide: number, high: number, texts: readonly string[], pixel: number): void {
    const draw = this.#draw;
    draw.strokeStyle = COLOURS.rule;
    draw.lineWidth = pixel;
    texts.forEach((text, index) => {
      const y = top + 4 * pixel + (index / texts.length) * (high - 4 * pixel);
      draw.beginPath();
      draw.moveTo(0, y);
      draw.lineTo(wide, y);
      draw.stroke();
      this.#label(text, 0, y + 11 * pixel, COLOURS.text, pixel);
    });
  }

  #label(text: string, x: number, y: number, style: string, pixel: number): void {
    this.#draw.font = `600 ${10 * pixel}px ui-monospace, monospace`;
    this.#draw.fillStyle = style;
    this.#draw.fillText(text, x, y);
  }
}

function gapText(samples: readonly Sample[]): string {
  const gaps = samples.slice(-60).map((sample) => sample.gap).sort((a, b) => a - b);
  if (gaps.length < 2) return "–";
  const at = (part: number): string => gaps[Math.floor((gaps.length - 1) * part)]!.toFixed(0);
  return `${at(0.5)} / ${at(0.99)} ms`;
}

/** How old the newest state is: the way here, and since then. */
function stalenessText(traffic: Traffic, scene: Scene, now: number): string {
  const since = Math.max(0, (scene.clock.at(now) - scene.tick) * scene.clock.tickMs);
  return `${(since + (traffic.pingSmooth ?? 0) / 2).toFixed(0)} ms`;
}

function perEntityText({ traffic, scene }: Watched, now: number): string {
  const { bytesPerS, updatesPerS } = traffic.rates(now);
  if (scene.entityCount === 0 || updatesPerS === 0) return "–";
  return `${(bytesPerS / updatesPerS / scene.entityCount).toFixed(2)} B`;
}

function bytesText(bytesPerS: number): string {
  return bytesPerS < 1000 ? `${Math.round(bytesPerS)} B/s` : `${(bytesPerS / 1000).toFixed(1)} kB/s`;
}

function niceAbove(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((nice) => nice >= value) ?? value;
}
