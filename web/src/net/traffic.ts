// What comes down the stream, measured: for the net graph.

import type { Update } from "../gen/fray/v1/play_pb";

export interface Sample {
  /** When the update came. */
  at: number;
  bytes: number;
  /** Since the update before, ms. */
  gap: number;
  /** How many ticks it spans. */
  ticks: number;
  hasKeyframe: boolean;
}

const SAMPLES_MAX = 240;

export class Traffic {
  /** The newest updates, oldest first. */
  readonly samples: Sample[] = [];
  /** Round trip in ms: the newest, and smoothed. */
  ping: number | undefined;
  pingSmooth: number | undefined;
  pings: number[] = [];
  bytesTotal = 0;
  updatesTotal = 0;
  arrivalMarginMs: number | undefined;
  /** The trace of the newest of the player's own moves that the server sampled: 32 hexadecimal digits. */
  traceId: string | undefined;
  #lastTick = 0;

  updated(at: number, update: Update, bytes: number, player: number): void {
    const last = this.samples.at(-1);
    const base = update.baseTick ?? update.tick - 1;
    this.samples.push({
      at,
      bytes,
      gap: last === undefined ? 0 : at - last.at,
      ticks: base === 0 ? Math.max(1, this.#lastTick === 0 ? 1 : update.tick - this.#lastTick) : update.tick - base,
      hasKeyframe: update.cells.some((cell) => cell.encoding.case === "keyframe"),
    });
    if (this.samples.length > SAMPLES_MAX) this.samples.shift();
    this.#lastTick = update.tick;
    this.bytesTotal += bytes;
    this.updatesTotal += 1;
    for (const { context, player: mover } of update.cells.flatMap((cell) => cell.tracedMoves)) {
      if (mover === player && context !== undefined) this.traceId = hex(context.traceIdHigh) + hex(context.traceIdLow);
    }
    if (update.moveAck !== undefined) this.arrivalMarginMs = update.moveAck.arrivalMarginMs;
  }

  pinged(ms: number): void {
    this.ping = ms;
    this.pingSmooth = this.pingSmooth === undefined ? ms : this.pingSmooth + (ms - this.pingSmooth) / 4;
    this.pings.push(ms);
    if (this.pings.length > SAMPLES_MAX) this.pings.shift();
  }

  /** Over the last two seconds. */
  rates(now: number): { updatesPerS: number; bytesPerS: number; ticksPerS: number } {
    const recent = this.samples.filter((sample) => now - sample.at < 2000);
    const first = recent[0];
    if (first === undefined) return { updatesPerS: 0, bytesPerS: 0, ticksPerS: 0 };
    const seconds = Math.max(0.25, (now - first.at + first.gap) / 1000);
    const sum = (of: (sample: Sample) => number): number => recent.reduce((total, sample) => total + of(sample), 0);
    return {
      updatesPerS: recent.length / seconds,
      bytesPerS: sum((sample) => sample.bytes) / seconds,
      ticksPerS: sum((sample) => sample.ticks) / seconds,
    };
  }
}

function hex(half: bigint): string {
  return half.toString(16).padStart(16, "0");
}
