// Checksums of cells, and the rolling hash over applied moves: MurmurHash3_x86_32 over words.

import type { Entity } from "./model";

export class Hasher {
  #state: number;
  #words = 0;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  word(word: number): void {
    let mixed = Math.imul(word, 0xcc9e2d51);
    mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    const state = this.#state ^ mixed;
    this.#state = (Math.imul((state << 13) | (state >>> 19), 5) + 0xe6546b64) | 0;
    this.#words += 1;
  }

  /** The length, then the bytes as little-endian words, the last one padded with zeros. */
  bytes(bytes: Uint8Array): void {
    this.word(bytes.length);
    for (let at = 0; at < bytes.length; at += 4) {
      const byte = (offset: number): number => bytes[at + offset] ?? 0;
      this.word(byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24));
    }
  }

  finish(): number {
    let hash = this.#state ^ Math.imul(this.#words, 4);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  }
}

const NO_BYTES = new Uint8Array();

/** The checksum of a cell that holds these entities, in the order of their ids. */
export function cellChecksum(cell: number, entities: readonly Entity[]): number {
  const hasher = new Hasher(cell);
  for (const entity of entities) {
    hasher.word(entity.id);
    hasher.word(entity.kind);
    hasher.word(entity.x);
    hasher.word(entity.y);
    hasher.word(entity.vx);
    hasher.word(entity.vy);
    hasher.word(entity.heading | ((entity.turn & 255) << 16) | ((entity.thrust & 255) << 24));
    for (const attribute of entity.attributes) hasher.word(attribute);
    hasher.bytes(entity.payload ?? NO_BYTES);
  }
  return hasher.finish();
}

/** What the applied hash covers of a move. */
export interface MoveContent {
  sequence: number;
  axisX: number;
  axisY: number;
  aim?: number | undefined;
  buttons: number;
  target?: number | undefined;
  payload: Uint8Array;
}

/** The rolling hash over applied moves, with one more of them; it starts at 0. */
export function appliedHash(before: number, move: MoveContent): number {
  const hasher = new Hasher(before);
  hasher.word(move.sequence);
  hasher.word(move.axisX);
  hasher.word(move.axisY);
  for (const optional of [move.aim, move.target]) {
    hasher.word(optional === undefined ? 0 : 1);
    hasher.word(optional ?? 0);
  }
  hasher.word(move.buttons);
  hasher.bytes(move.payload);
  return hasher.finish();
}
