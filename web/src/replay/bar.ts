// The time line as one sees and drags it.

import { Marker_Kind, type Marker } from "../gen/fray/v1/replays_pb";
import { element, setText } from "../page";
import { clockText } from "./format";
import { clamp, type Timeline } from "./timeline";

export interface BarEvents {
  grabbed(): void;
  dragged(tick: number): void;
  released(): void;
}

/** What is on the bar now. */
export interface BarState {
  timeline: Timeline;
  position: number;
  last: number;
  isLive: boolean;
  /** Whose kills stand out; 0: nobody's. */
  follows: number;
}

/** In CSS pixels: where the line is, and the room that is left at its ends for the knob. */
const LINE_Y = 35;
const LINE_HIGH = 5;
const KILL_HIGH = 10;
const KILLS_HIGH = 26;
const MARGIN = 9;
/** Kills this close together make one bar. */
const BUCKET = 4;
const TIP_REACH = 7;

const COLOURS = {
  line: "hsl(216 45% 32%)",
  played: "#22d3ee",
  kill: "#ff7d92",
  killOfFollowed: "#ffe08a",
  joined: "#5ef2a0",
  left: "#8294b8",
  round: "hsl(210 80% 80% / 0.55)",
  other: "#c4b5fd",
  knob: "#ffffff",
  live: "#ff6b81",
};

export class Bar {
  readonly root = element("bar");
  readonly #canvas = element<HTMLCanvasElement>("bar-picture");
  readonly #tip = element("tip");
  readonly #draw = this.#canvas.getContext("2d")!;
  readonly #marks = document.createElement("canvas");
  #marksKey = "";
  #drawnKey = "";
  #state: BarState | undefined;
  /** While it is dragged the end stays where it was: the time line shall not slip away under the finger. */
  #heldLast: number | undefined;
  #hoverX: number | undefined;
  #wide = 0;

  constructor(readonly events: BarEvents) {
    const { root } = this;
    new ResizeObserver(() => (this.#wide = root.clientWidth)).observe(root);
    root.addEventListener("pointerdown", (event) => this.#down(event));
    root.addEventListener("pointermove", (event) => this.#move(event));
    root.addEventListener("pointerup", () => this.#up());
    root.addEventListener("pointercancel", () => this.#up());
    root.addEventListener("pointerleave", () => this.#hover(undefined));
  }

  show(state: BarState): void {
    const last = this.#heldLast ?? state.last;
    this.#state = { ...state, last };
    const density = Math.min(2, devicePixelRatio || 1);
    const wide = this.#wide;
    // Marks are drawn anew when they are half a pixel away from where they were.
    const length = Math.max(1, last - state.timeline.first);
    const scale = Math.floor(Math.log(length) * 2 * Math.max(1, wide));
    const marksKey = [wide, density, state.timeline.first, scale, state.timeline.markers.length, state.follows].join();
    const key = `${marksKey} ${Math.round(this.#xOf(state.position) * density * 2)} ${state.isLive} ${this.#hoverX}`;
    if (wide === 0 || key === this.#drawnKey) return;
    this.#drawnKey = key;
    if (marksKey !== this.#marksKey) this.#drawMarks(density);
    this.#marksKey = marksKey;
    this.#drawAll(density);
    this.#describe();
  }

  // --- Hands

  #down(event: PointerEvent): void {
    if (this.#state === undefined || event.button !== 0) return;
    this.root.setPointerCapture(event.pointerId);
    this.#heldLast = this.#state.last;
    this.events.grabbed();
    this.events.dragged(this.#tickAt(event));
    this.#hover(event);
  }

  #move(event: PointerEvent): void {
    this.#hover(event);
    if (this.#heldLast !== undefined) this.events.dragged(this.#tickAt(event));
  }

  #up(): void {
    if (this.#heldLast === undefined) return;
    this.#heldLast = undefined;
    this.events.released();
  }

  #tickAt(event: PointerEvent): number {
    const { timeline, last } = this.#state!;
    return timeline.tickAt(this.#partAt(this.#localX(event)), last);
  }

  #localX(event: PointerEvent): number {
    return event.clientX - this.root.getBoundingClientRect().left;
  }

  #partAt(x: number): number {
    return clamp((x - MARGIN) / Math.max(1, this.#wide - 2 * MARGIN), 0, 1);
  }

  #xOf(tick: number): number {
    const { timeline, last } = this.#state!;
    return MARGIN + timeline.partOf(tick, last) * (this.#wide - 2 * MARGIN);
  }

  // --- What is near the pointer, in words

  #hover(event: PointerEvent | undefined): void {
    const state = this.#state;
    this.#hoverX = event === undefined ? undefined : clamp(this.#localX(event), MARGIN, this.#wide - MARGIN);
    this.#tip.hidden = this.#hoverX === undefined || state === undefined;
    if (this.#hoverX === undefined || state === undefined) return;
    const { timeline, last } = state;
    const tick = timeline.tickAt(this.#partAt(this.#hoverX), last);
    const near = timeline.nearest(tick, this.#ticksOf(TIP_REACH));
    const said = near === undefined ? "" : ` · ${timeline.textOf(near)}`;
    setText(this.#tip, `${clockText(timeline.seconds(near?.tick ?? tick))}${said}`);
    const half = this.#tip.offsetWidth / 2;
    const left = clamp(this.#hoverX, half, Math.max(half, this.#wide - half)) - half;
    this.#tip.style.transform = `translateX(${Math.round(left)}px)`;
  }

  #ticksOf(pixels: number): number {
    const { timeline, last } = this.#state!;
    return (pixels / Math.max(1, this.#wide - 2 * MARGIN)) * (last - timeline.first);
  }

  #describe(): void {
    const { timeline, position, last } = this.#state!;
    const { root } = this;
    const tick = Math.round(position);
    root.setAttribute("aria-valuemin", String(timeline.first));
    root.setAttribute("aria-valuemax", String(last));
    root.setAttribute("aria-valuenow", String(tick));
    const near = timeline.nearest(tick, timeline.ticksPerS / 2);
    const said = near === undefined ? "" : `, ${timeline.textOf(near)}`;
    const [at, all] = [clockText(timeline.seconds(position)), clockText(timeline.seconds(last))];
    root.setAttribute("aria-valuetext", `${at} of ${all}, tick ${tick}${said}`);
  }

  // --- The picture

  #drawMarks(density: number): void {
    const { timeline, follows } = this.#state!;
    const [wide, high] = [Math.round(this.#wide * density), Math.round(this.root.clientHeight * density)];
    this.#marks.width = wide;
    this.#marks.height = high;
    const draw = this.#marks.getContext("2d")!;
    draw.scale(density, density);
    const kills = new Map<number, { count: number; isFollowed: boolean }>();
    for (const marker of timeline.markers) {
      const x = this.#xOf(marker.tick);
      if (marker.kind === Marker_Kind.KILL) count(kills, Math.floor(x / BUCKET), marker, follows);
      else drawMark(draw, x, marker.kind);
    }
    const most = Math.max(2, ...[...kills.values()].map((kill) => kill.count));
    for (const [bucket, { count: killed, isFollowed }] of kills) {
      const tall = KILL_HIGH + (KILLS_HIGH - KILL_HIGH) * Math.sqrt((killed - 1) / most);
      draw.fillStyle = isFollowed ? COLOURS.killOfFollowed : COLOURS.kill;
      draw.globalAlpha = isFollowed || follows === 0 ? 0.95 : 0.55;
      draw.beginPath();
      draw.roundRect(bucket * BUCKET + 0.5, LINE_Y - 4 - tall, BUCKET - 1, tall, 1.5);
      draw.fill();
    }
  }

  #drawAll(density: number): void {
    const { position, last, isLive, timeline } = this.#state!;
    const canvas = this.#canvas;
    if (canvas.width !== this.#marks.width || canvas.height !== this.#marks.height) {
      [canvas.width, canvas.height] = [this.#marks.width, this.#marks.height];
    }
    const draw = this.#draw;
    draw.setTransform(density, 0, 0, density, 0, 0);
    draw.clearRect(0, 0, this.#wide, canvas.height);
    const right = this.#wide - MARGIN;
    line(draw, MARGIN, right, COLOURS.line);
    const at = this.#xOf(position);
    const glow = draw.createLinearGradient(MARGIN, 0, Math.max(MARGIN + 1, at), 0);
    glow.addColorStop(0, "#3b82f6");
    glow.addColorStop(1, COLOURS.played);
    if (last > timeline.first) line(draw, MARGIN, at, glow);
    draw.setTransform(1, 0, 0, 1, 0, 0);
    draw.drawImage(this.#marks, 0, 0);
    draw.setTransform(density, 0, 0, density, 0, 0);
    if (this.#hoverX !== undefined) {
      draw.fillStyle = "hsl(195 90% 85% / 0.6)";
      draw.fillRect(this.#hoverX - 0.5, 4, 1, LINE_Y + 10);
    }
    draw.fillStyle = isLive ? COLOURS.live : COLOURS.knob;
    draw.shadowColor = isLive ? COLOURS.live : COLOURS.played;
    draw.shadowBlur = 10 * density;
    draw.beginPath();
    draw.arc(at, LINE_Y, 7.5, 0, 2 * Math.PI);
    draw.fill();
    draw.shadowBlur = 0;
  }
}

function count(kills: Map<number, { count: number; isFollowed: boolean }>, bucket: number, marker: Marker, follows: number): void {
  const kill = kills.get(bucket) ?? { count: 0, isFollowed: false };
  kill.count += 1;
  kill.isFollowed ||= follows !== 0 && (marker.player === follows || marker.other === follows);
  kills.set(bucket, kill);
}

/** What is no kill: above the whole line, or small below it. */
function drawMark(draw: CanvasRenderingContext2D, x: number, kind: Marker_Kind): void {
  if (kind === Marker_Kind.ROUND) {
    draw.fillStyle = COLOURS.round;
    draw.fillRect(x - 0.75, 3, 1.5, LINE_Y + 9);
    draw.beginPath();
    draw.moveTo(x - 0.75, 3);
    draw.lineTo(x + 7, 6.5);
    draw.lineTo(x - 0.75, 10);
    draw.fill();
    return;
  }
  draw.fillStyle = kind === Marker_Kind.JOINED ? COLOURS.joined : kind === Marker_Kind.LEFT ? COLOURS.left : COLOURS.other;
  draw.beginPath();
  if (kind === Marker_Kind.UNSPECIFIED) draw.arc(x, LINE_Y + 10, 2, 0, 2 * Math.PI);
  else draw.roundRect(x - 1, LINE_Y + 6, 2, 7, 1);
  draw.fill();
}

function line(draw: CanvasRenderingContext2D, from: number, to: number, fill: string | CanvasGradient): void {
  draw.fillStyle = fill;
  draw.beginPath();
  draw.roundRect(from, LINE_Y - LINE_HIGH / 2, Math.max(0, to - from), LINE_HIGH, LINE_HIGH / 2);
  draw.fill();
}
