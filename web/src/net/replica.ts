// The client's copy of the world: applies updates, refuses what does not fit, checks every checksum.

import { Resync_Reason, type Update, type Welcome } from "../gen/fray/v1/play_pb";
import type { CellUpdate } from "../gen/fray/v1/world_pb";
import { advanceCell, applyDelta, DecodeError, readKeyframe, type Rules } from "./cell";
import { cellChecksum } from "./hash";
import { cellCount, isValidWorld, Motions, type Entity, type World } from "./model";

/** The most ticks that one update may span; `place` tells 128 apart. */
const UPDATE_TICKS_MAX = 127;

export type ReplicaRefusal =
  | "base_mismatch"
  | "malformed"
  | "inconsistent"
  | "unknown_encoding"
  | "cell_checksum"
  | "view_checksum";

/** Why an update was refused. The replica is then empty. */
export class ReplicaError extends Error {
  constructor(
    readonly refusal: ReplicaRefusal,
    readonly cell?: number,
  ) {
    super(cell === undefined ? `update refused: ${refusal}` : `update refused: ${refusal} in cell ${cell}`);
  }

  /** Whether the worlds came apart though every byte was well formed. */
  isDesync(): boolean {
    return this.refusal === "cell_checksum" || this.refusal === "view_checksum";
  }

  reason(): Resync_Reason {
    if (this.isDesync()) return Resync_Reason.CHECKSUM_MISMATCH;
    return this.refusal === "base_mismatch" ? Resync_Reason.BASE_MISMATCH : Resync_Reason.MALFORMED;
  }
}

interface Cell {
  tick: number;
  entities: Entity[];
}

export class Replica {
  /** The tick held; 0 is nothing. */
  tick = 0;
  checksumsChecked = 0;
  readonly #cells = new Map<number, Cell>();

  constructor(readonly rules: Rules) {}

  /** For the room that a `Welcome` describes, or undefined when its numbers are out of range. */
  static forWelcome(welcome: Welcome): Replica | undefined {
    const world = welcome.world;
    if (world === undefined || !isValidWorld(world)) return undefined;
    const motions = new Motions();
    for (const motion of welcome.motions) motions.set(motion.kind, motion);
    return new Replica({ world, motions });
  }

  get world(): World {
    return this.rules.world;
  }

  /** Applies an update, or throws a `ReplicaError` and is empty. */
  apply(update: Update): void {
    try {
      this.#apply(update);
    } catch (error) {
      this.clear();
      throw error;
    }
  }

  clear(): void {
    this.tick = 0;
    this.#cells.clear();
  }

  *cells(): Iterable<[number, readonly Entity[]]> {
    for (const [index, cell] of this.#cells) yield [index, cell.entities];
  }

  /** The entities that have a place in the world. */
  *entities(): Iterable<Entity> {
    for (const [index, cell] of this.#cells) {
      if (index !== 0) yield* cell.entities;
    }
  }

  /** The entities of the global cell. */
  globals(): readonly Entity[] {
    return this.#cells.get(0)?.entities ?? [];
  }

  entity(id: number): Entity | undefined {
    for (const [index, cell] of this.#cells) {
      const found = index === 0 ? undefined : search(cell.entities, id);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  viewChecksum(): number {
    let sum = 0;
    for (const [index, cell] of this.#cells) sum = (sum + cellChecksum(index, cell.entities)) >>> 0;
    return sum;
  }

  #apply(update: Update): void {
    const base = update.baseTick ?? (update.tick - 1) >>> 0;
    if (base === 0) this.clear();
    else if (base !== this.tick) throw new ReplicaError("base_mismatch");
    const from = base === 0 ? update.tick - 1 : base;
    if (update.tick <= from || update.tick === 0 || update.tick - from > UPDATE_TICKS_MAX) {
      throw new ReplicaError("inconsistent");
    }
    for (const cell of update.cellsRemoved) {
      if (!this.#cells.delete(cell)) throw new ReplicaError("inconsistent", cell);
    }
    const announced = new Set(update.cellsAdded);
    for (const message of update.cells) {
      const isNew = this.#applyCell(message, from, update.tick);
      if (isNew && !announced.delete(message.place >>> 7)) throw new ReplicaError("inconsistent", message.place >>> 7);
    }
    if (announced.size > 0) throw new ReplicaError("inconsistent");
    for (const [index, cell] of this.#cells) this.#advance(cell, index, update.tick);
    this.tick = update.tick;
    if (update.viewChecksum !== undefined) {
      this.checksumsChecked += 1;
      if (this.viewChecksum() !== update.viewChecksum) throw new ReplicaError("view_checksum");
    }
  }

  /** Returns whether the cell is new. */
  #applyCell(message: CellUpdate, from: number, to: number): boolean {
    const index = message.place >>> 7;
    if (index >= cellCount(this.world)) throw new ReplicaError("inconsistent", index);
    const back = (to - message.place) & 127;
    const tick = to - back;
    const held = this.#cells.get(index);
    let cell: Cell;
    if (message.encoding.case === "keyframe") {
      if (back !== 0) throw new ReplicaError("inconsistent", index);
      const bytes = message.encoding.value;
      cell = { tick, entities: decoded(index, () => readKeyframe(bytes, index, this.world)) };
      this.#cells.set(index, cell);
    } else if (message.encoding.case === "delta") {
      if (held === undefined || tick <= from || tick <= held.tick) throw new ReplicaError("inconsistent", index);
      const bytes = message.encoding.value;
      cell = held;
      this.#advance(cell, index, tick - 1);
      cell.entities = decoded(index, () => applyDelta(cell.entities, bytes, index, this.rules));
      cell.tick = tick;
    } else {
      throw new ReplicaError("unknown_encoding", index);
    }
    if (message.checksum !== undefined) {
      this.checksumsChecked += 1;
      if (cellChecksum(index, cell.entities) !== message.checksum) throw new ReplicaError("cell_checksum", index);
    }
    return held === undefined;
  }

  #advance(cell: Cell, index: number, tick: number): void {
    for (; cell.tick < tick; cell.tick++) advanceCell(cell.entities, index, this.rules);
  }
}

function decoded<T>(cell: number, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof DecodeError) throw new ReplicaError("malformed", cell);
    throw error;
  }
}

function search(entities: readonly Entity[], id: number): Entity | undefined {
  let low = 0;
  let high = entities.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (entities[middle]!.id < id) low = middle + 1;
    else high = middle;
  }
  return entities[low]?.id === id ? entities[low] : undefined;
}
