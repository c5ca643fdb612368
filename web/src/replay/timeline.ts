// A recording's length and what happened in it, and where that is on a bar.

import { Marker_Kind, type Marker, type Recording, type TimelineResponse } from "../gen/fray/v1/replays_pb";

/** An answer with so many may be cut off: it holds at most 10,000, and may leave out a tick that does not fit whole. */
const MARKERS_MANY = 5000;
/** A growing recording is taken to have grown this long since it was last asked, and no longer. */
const GROWTH_MS_MAX = 6000;
/** One that has not grown in so long does not grow. */
const STILL_MS = 1000;
/** To see a kill one begins this long before it. */
const KILL_LEAD_S = 1.5;
/** Back from just after a kill leads to the one before. */
const BACK_GRACE_S = 1;

export class Timeline {
  recording: Recording;
  readonly markers: Marker[] = [];
  readonly #names = new Map<number, [number, string][]>();
  #heardAt: number;
  #askFrom = 0;
  #seen = 0;
  #isGrowing = false;

  constructor(first: TimelineResponse, now: number) {
    this.recording = first.recording!;
    this.#heardAt = now;
    this.grow(first, now);
    this.#isGrowing = this.recording.running;
  }

  get first(): number {
    return this.recording.firstTick;
  }

  get isRunning(): boolean {
    return this.recording.running;
  }

  get ticksPerS(): number {
    return Math.max(1, this.recording.tickRateHz);
  }

  /** The last tick: as it was said, or, while the room plays, as it must be by now. */
  last(now: number): number {
    const { lastTick } = this.recording;
    const grown = this.#isGrowing ? (Math.min(GROWTH_MS_MAX, now - this.#heardAt) / 1000) * this.ticksPerS : 0;
    return Math.max(this.first, this.#seen, lastTick + Math.max(0, Math.floor(grown)));
  }

  /** That tick was there, whatever was said. */
  saw(tick: number): void {
    this.#seen = Math.max(this.#seen, tick);
  }

  /** What to ask for next: all that came after this tick. */
  get askAfter(): number {
    return this.#askFrom;
  }

  /** Adds an answer to `askAfter`. Returns whether there is more to ask for at once. */
  grow(answer: TimelineResponse, now: number): boolean {
    const before = this.recording.lastTick;
    if (answer.recording !== undefined) this.recording = answer.recording;
    // A room may stand still for a while; and logs are handed on in pieces.
    if (now - this.#heardAt >= STILL_MS) this.#isGrowing = this.recording.running && this.recording.lastTick > before;
    else if (!this.recording.running) this.#isGrowing = false;
    this.#heardAt = now;
    let { markers } = answer;
    const isCut = markers.length >= MARKERS_MANY;
    if (isCut) {
      // The last tick's may not all be there: they are asked for again.
      const end = markers.at(-1)!.tick;
      const whole = markers.filter(({ tick }) => tick < end);
      if (whole.length > 0) markers = whole;
    }
    for (const marker of markers) {
      if (marker.tick <= this.#askFrom && this.markers.length > 0) continue;
      this.markers.push(marker);
      if (marker.kind === Marker_Kind.JOINED && marker.text !== "") this.#named(marker);
    }
    const newest = this.markers.at(-1)?.tick ?? 0;
    this.#askFrom = isCut ? newest : Math.max(newest, this.recording.lastTick);
    return isCut;
  }

  /** From 0 at the first tick to 1 at the last. */
  partOf(tick: number, last: number): number {
    const length = last - this.first;
    return length <= 0 ? 0 : clamp((tick - this.first) / length, 0, 1);
  }

  tickAt(part: number, last: number): number {
    return Math.round(this.first + clamp(part, 0, 1) * Math.max(0, last - this.first));
  }

  /** Seconds from the first tick. */
  seconds(tick: number): number {
    return Math.max(0, tick - this.first) / this.ticksPerS;
  }

  nameOf(player: number, tick: number): string {
    const names = this.#names.get(player) ?? [];
    // Numbers may be given again; the latest who joined by then.
    return (names.findLast(([since]) => since <= tick) ?? names[0])?.[1] ?? "somebody";
  }

  /** A line about a marker. */
  textOf({ kind, player, other, text, tick }: Marker): string {
    const who = this.nameOf(player, tick);
    if (kind === Marker_Kind.JOINED) return `${text || who} joined`;
    if (kind === Marker_Kind.LEFT) return `${who} left`;
    if (kind === Marker_Kind.ROUND) return text || "A round began";
    if (kind !== Marker_Kind.KILL) return text;
    if (player === 0) return `${this.nameOf(other, tick)} was lost`;
    return player === other || other === 0 ? `${who} was lost` : `${who} ▸ ${this.nameOf(other, tick)}`;
  }

  /** The one nearest to a tick, at most so many ticks away; kills first. */
  nearest(tick: number, ticksMax: number): Marker | undefined {
    let best: Marker | undefined;
    let bestDistance = Infinity;
    for (let index = this.#firstFrom(tick - ticksMax); index < this.markers.length; index++) {
      const marker = this.markers[index]!;
      if (marker.tick > tick + ticksMax) break;
      const distance = Math.abs(marker.tick - tick) + (marker.kind === Marker_Kind.KILL ? 0 : ticksMax);
      if (distance < bestDistance) [best, bestDistance] = [marker, distance];
    }
    return best;
  }

  /** Where to go to see the next kill, of this player's if there is one; or the one before. */
  killFrom(tick: number, isForward: boolean, player = 0): number | undefined {
    const lead = Math.round(KILL_LEAD_S * this.ticksPerS);
    const begins = this.markers
      .filter(({ kind }) => kind === Marker_Kind.KILL)
      .filter((marker) => player === 0 || marker.player === player || marker.other === player)
      .map((marker) => Math.max(this.first, marker.tick - lead));
    if (isForward) return begins.find((begin) => begin > tick);
    return begins.findLast((begin) => begin < tick - BACK_GRACE_S * this.ticksPerS);
  }

  #firstFrom(tick: number): number {
    let [low, high] = [0, this.markers.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.markers[middle]!.tick < tick) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #named({ player, tick, text }: Marker): void {
    const names = this.#names.get(player) ?? [];
    names.push([tick, text]);
    this.#names.set(player, names);
  }
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
