// The player's moves: numbered, kept until the server acknowledges them, and counted the way the server counts.

import type { MoveAck, Welcome } from "../gen/fray/v1/play_pb";
import { appliedHash } from "./hash";

/** What a player holds down. */
export interface Controls {
  axisX: number;
  axisY: number;
  aim: number | undefined;
  buttons: number;
}

export const NEUTRAL: Controls = { axisX: 0, axisY: 0, aim: undefined, buttons: 0 };

export function isSame(a: Controls, b: Controls): boolean {
  return a.axisX === b.axisX && a.axisY === b.axisY && a.aim === b.aim && a.buttons === b.buttons;
}

export interface SentMove {
  sequence: number;
  controls: Controls;
  /** The tick in which the client expects it to be applied, and how many ticks before that it was made. */
  tick: number;
  early: number;
}

/** The server takes no more than this many that it has not applied. */
const UNACKNOWLEDGED_MAX = 64;
const NO_BYTES = new Uint8Array();

export class MoveLog {
  /** Sent and not acknowledged, in order. */
  pending: SentMove[] = [];
  /** What the server steers by: the newest acknowledged move. */
  applied: Controls = NEUTRAL;
  /** How often the server's count or hash was not what was sent. */
  mismatches = 0;
  /** Moves that are gone because the room was restored from what had been recorded. */
  setBack = 0;
  #acked = 0;
  #count = 0;
  #hash = 0;

  /** The newest that was made, acknowledged or not. */
  get lastSequence(): number {
    return this.pending.at(-1)?.sequence ?? this.#acked;
  }

  get last(): Controls {
    return this.pending.at(-1)?.controls ?? this.applied;
  }

  /** Numbers a move that is made at a tick, with its fraction; undefined while too many are unacknowledged. */
  record(controls: Controls, at: number): SentMove | undefined {
    if (this.pending.length >= UNACKNOWLEDGED_MAX) return undefined;
    const tick = Math.floor(at) + 1;
    const move = { sequence: this.lastSequence + 1, controls, tick, early: tick - at };
    this.pending.push(move);
    return move;
  }

  /** Takes the server's acknowledgement, and returns the newest move that it names, if it is new. */
  acknowledge(ack: MoveAck): SentMove | undefined {
    const newest = this.#fold(ack.inputAck);
    const differs =
      ack.inputAck !== this.#acked || ack.appliedCount !== this.#count || ack.appliedHash !== this.#hash;
    if (differs) {
      this.mismatches += 1;
      this.#adopt(ack.inputAck, ack.appliedCount, ack.appliedHash);
    }
    return newest;
  }

  /** A stream (again): what is left in `pending` is to be sent (again). The server holds the controls while a room moves; after
      any other loss it let them go. */
  welcome(welcome: Welcome, holds = false): void {
    const { lastAppliedSequence: last, appliedCount, appliedHash: hash } = welcome;
    const isSetBack = welcome.resumed && welcome.restoredAgeMs !== undefined;
    const isPast = last < this.#acked;
    const newest = this.lastSequence;
    this.#fold(last);
    if (isSetBack) {
      this.setBack += Math.max(0, newest - last);
      this.pending = [];
    }
    const differs = last !== this.#acked || appliedCount !== this.#count || hash !== this.#hash;
    if (differs) {
      // Another session; or moves are gone that had been acknowledged, and the numbers go on from where the server stands.
      if (welcome.resumed && !(isSetBack && isPast)) this.mismatches += 1;
      if (isPast || !welcome.resumed) this.pending = [];
      this.#adopt(last, appliedCount, hash);
    }
    if (!holds || isSetBack) this.applied = NEUTRAL;
  }

  #fold(upTo: number): SentMove | undefined {
    let newest: SentMove | undefined;
    while (this.pending.length > 0 && this.pending[0]!.sequence <= upTo) {
      newest = this.pending.shift()!;
      const { sequence, controls } = newest;
      this.#hash = appliedHash(this.#hash, { sequence, ...controls, payload: NO_BYTES });
      this.#count = (this.#count + 1) >>> 0;
      this.#acked = sequence;
      this.applied = controls;
    }
    return newest;
  }

  #adopt(acked: number, count: number, hash: number): void {
    this.#acked = acked;
    this.#count = count;
    this.#hash = hash;
    this.pending = this.pending.filter((move) => move.sequence > acked);
  }
}
