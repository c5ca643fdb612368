// Runs the replica against proto/vectors/updates.json: `node vectors.mjs`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { decodeUpdate, PROTO } from "./messages.mjs";
import { Refused, Replica } from "./replica.mjs";

/** `snake_case` names, as the loader has them. */
function camel(fields) {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name.replace(/_(.)/g, (_, c) => c.toUpperCase()), value]));
}

function entity(held) {
  const { position = [0, 0], velocity = [0, 0], heading = 0, turn = 0, thrust = 0, attributes = Array(8).fill(0), payload = "" } = held;
  return { id: held.id, kind: held.kind ?? 0, position, velocity, heading, turn, thrust, attributes, payload };
}

const { sequences } = JSON.parse(readFileSync(`${PROTO}/vectors/updates.json`, "utf8"));
let steps = 0;
for (const { name, world, motions, steps: all } of sequences) {
  const replica = new Replica(camel(world), motions.map(camel));
  for (const [number, step] of all.entries()) {
    const where = `${name}, step ${number}`;
    steps += 1;
    let refused;
    try {
      replica.apply(decodeUpdate(Buffer.from(step.update, "hex")));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refused = error.message;
    }
    assert.equal(refused !== undefined, step.refusal !== undefined, `${where}: ${refused ?? step.refusal}`);
    assert.equal(replica.tick, step.tick ?? 0, where);
    if (step.view_checksum !== undefined) {
      assert.equal(replica.viewChecksum(), step.view_checksum, where);
      continue;
    }
    const held = [...replica.cells].map(([cell, { entities }]) => [
      String(cell),
      entities.map((one) => ({ ...one, payload: one.payload.toString("hex") })),
    ]);
    const wanted = Object.entries(step.cells ?? {}).map(([cell, entities]) => [cell, entities.map(entity)]);
    assert.deepEqual(Object.fromEntries(held), Object.fromEntries(wanted), where);
  }
}
console.log(`${sequences.length} sequences, ${steps} updates: as they should be`);
