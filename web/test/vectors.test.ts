// The files in proto/vectors, which Rust's implementation passes too; proto/vectors/README.md says what they mean.

import { fromBinary } from "@bufbuild/protobuf";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { UpdateSchema } from "../src/gen/fray/v1/play_pb";
import { applyDelta, DecodeError, readKeyframe } from "../src/net/cell";
import { appliedHash, cellChecksum, Hasher } from "../src/net/hash";
import { advance, direction, Motions, steer, type Entity, type Motion, type World } from "../src/net/model";
import { Replica, ReplicaError } from "../src/net/replica";

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the shape of a case is the file's affair
type Case = any;

function section(file: string, name: string): Case[] {
  const text = readFileSync(new URL(`../../proto/vectors/${file}.json`, import.meta.url), "utf8");
  const cases: Case[] = JSON.parse(text)[name];
  expect(cases.length).toBeGreaterThan(0);
  return cases;
}

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (digits) => parseInt(digits, 16));
}

function entity(value: Case): Entity {
  return {
    id: value.id,
    kind: value.kind ?? 0,
    x: value.position?.[0] ?? 0,
    y: value.position?.[1] ?? 0,
    vx: value.velocity?.[0] ?? 0,
    vy: value.velocity?.[1] ?? 0,
    heading: value.heading ?? 0,
    turn: value.turn ?? 0,
    thrust: value.thrust ?? 0,
    attributes: Int32Array.from(value.attributes ?? [0, 0, 0, 0, 0, 0, 0, 0]),
    payload: value.payload === undefined ? undefined : bytes(value.payload),
  };
}

function motion(value: Case): Motion {
  return {
    turnRate: value.turn_rate,
    acceleration: value.acceleration,
    speedMax: value.speed_max,
    dragShift: value.drag_shift,
    launchSpeed: value.launch_speed,
    launchDistance: value.launch_distance,
  };
}

function world(value: Case): World {
  return { positionBits: value.position_bits, cellBits: value.cell_bits, unitBits: value.unit_bits };
}

function rules(value: Case): { world: World; motions: Motions } {
  const motions = new Motions();
  for (const of of value.motions) motions.set(of.kind, motion(of));
  return { world: world(value.world), motions };
}

describe("the motion model", () => {
  it("has the same directions", () => {
    for (const [heading, expected] of section("model", "direction")) {
      expect(direction(heading), `heading ${heading}`).toEqual(expected);
    }
  });

  it.each(section("model", "motion").map((value) => [value.name, value]))("moves: %s", (_, value) => {
    const body = entity(value.before);
    for (let tick = 0; tick < value.ticks; tick++) advance(body, motion(value.motion), world(value.world));
    expect(body).toEqual(entity(value.after));
  });

  it("steers", () => {
    for (const value of section("model", "steering")) {
      const body = entity(value.before);
      const { axis_x: axisX, axis_y: axisY, aim } = value.steering;
      steer(body, { axisX, axisY, aim }, motion(value.motion));
      expect(body, JSON.stringify(value)).toEqual(entity(value.after));
    }
  });
});

describe("hashes", () => {
  it("are MurmurHash3", () => {
    for (const { seed, words, hash } of section("hash", "murmur")) {
      const hasher = new Hasher(seed);
      for (const word of words) hasher.word(word);
      expect(hasher.finish()).toBe(hash);
    }
  });

  it("of cells", () => {
    for (const value of section("hash", "cell_checksum")) {
      expect(cellChecksum(value.cell, value.entities.map(entity))).toBe(value.checksum);
    }
  });

  it("of applied moves", () => {
    for (const moves of section("hash", "applied_hash")) {
      let hash = 0;
      for (const move of moves) {
        const { sequence, axis_x: axisX, axis_y: axisY, aim, buttons, target } = move;
        hash = appliedHash(hash, { sequence, axisX, axisY, aim, buttons, target, payload: bytes(move.payload) });
        expect(hash).toBe(move.hash);
      }
    }
  });
});

function refusal(decode: () => unknown): string | undefined {
  try {
    decode();
  } catch (error) {
    if (error instanceof DecodeError || error instanceof ReplicaError) return error.refusal;
    throw error;
  }
  return undefined;
}

describe("cells", () => {
  it.each(section("cells", "keyframes").map((value) => [value.name, value]))("keyframe: %s", (_, value) => {
    expect(readKeyframe(bytes(value.bytes), value.cell, world(value.world))).toEqual(value.entities.map(entity));
  });

  it.each(section("cells", "deltas").map((value) => [value.name, value]))("delta: %s", (_, value) => {
    const after = applyDelta(value.before.map(entity), bytes(value.bytes), value.cell, rules(value));
    expect(after).toEqual(value.after.map(entity));
  });

  it.each(section("cells", "malformed_keyframes").map((value) => [value.name, value]))("refuses: %s", (_, value) => {
    expect(refusal(() => readKeyframe(bytes(value.bytes), value.cell, world(value.world)))).toBe(value.refusal);
  });

  it.each(section("cells", "malformed_deltas").map((value) => [value.name, value]))("refuses: %s", (_, value) => {
    const apply = (): unknown => applyDelta(value.before.map(entity), bytes(value.bytes), value.cell, rules(value));
    expect(refusal(apply)).toBe(value.refusal);
  });
});

describe("updates", () => {
  it.each(section("updates", "sequences").map((value) => [value.name, value]))("%s", (_, sequence) => {
    const replica = new Replica(rules(sequence));
    for (const [index, step] of sequence.steps.entries()) {
      const update = fromBinary(UpdateSchema, bytes(step.update));
      expect(refusal(() => replica.apply(update)), `step ${index}`).toBe(step.refusal);
      expect(replica.tick, `step ${index}`).toBe(step.tick ?? 0);
      if (step.view_checksum !== undefined) {
        expect(replica.viewChecksum(), `step ${index}`).toBe(step.view_checksum);
        continue;
      }
      const expected = Object.entries<Case>(step.cells ?? {}).map(([cell, held]) => [Number(cell), held.map(entity)]);
      expect(new Map(replica.cells()), `step ${index}`).toEqual(new Map(expected as [number, Entity[]][]));
    }
  });
});
