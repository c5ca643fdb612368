import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { UpdateSchema } from "../src/gen/fray/v1/play_pb";
import { Traffic } from "../src/net/traffic";

function update(player: number, low: bigint) {
  const context = { traceIdHigh: 0xabcn, traceIdLow: low, spanId: 7n };
  return create(UpdateSchema, { tick: 5, cells: [{ place: 128, tracedMoves: [{ context, player, sequence: 1 }] }] });
}

test("the trace of an own sampled move is kept, and that of others is not", () => {
  const traffic = new Traffic();
  traffic.updated(0, update(2, 1n), 10, 3);
  expect(traffic.traceId).toBeUndefined();
  traffic.updated(1, update(3, 0xfeedn), 10, 3);
  expect(traffic.traceId).toBe("0000000000000abc000000000000feed");
  traffic.updated(2, update(2, 5n), 10, 3);
  expect(traffic.traceId).toBe("0000000000000abc000000000000feed");
});
