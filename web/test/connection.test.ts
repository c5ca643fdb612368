// The machine against the table of cases, which the Rust client's is run against, too.

import { readFileSync } from "node:fs";
import { Code } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { Connection, type Action, type Ended, type Input } from "../src/net/connection";

interface Step {
  at: number;
  in: string | Record<string, unknown>;
  out: string | Record<string, string>;
  timer?: number;
  frozen?: boolean;
  busy?: boolean;
  moving?: boolean;
  grace_until?: number | "none";
}

interface Case {
  name: string;
  from: string;
  fractions?: number[];
  each?: string[];
  steps: Step[];
}

const file = new URL("../../proto/connection/cases.json", import.meta.url);
const { situations, cases } = JSON.parse(readFileSync(file, "utf8")) as { situations: Record<string, Step[]>; cases: Case[] };

const NAMES: Record<string, number> = {
  OK: 0,
  CANCELLED: Code.Canceled,
  UNKNOWN: Code.Unknown,
  INVALID_ARGUMENT: Code.InvalidArgument,
  DEADLINE_EXCEEDED: Code.DeadlineExceeded,
  NOT_FOUND: Code.NotFound,
  PERMISSION_DENIED: Code.PermissionDenied,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  ABORTED: Code.Aborted,
  UNIMPLEMENTED: Code.Unimplemented,
  INTERNAL: Code.Internal,
  UNAVAILABLE: Code.Unavailable,
  UNAUTHENTICATED: Code.Unauthenticated,
};

function ended(label: string): Ended {
  const [name = "", reason = ""] = label.split("/");
  const code = NAMES[name];
  if (code === undefined) throw new Error(`${name} is no status`);
  return { code, reason };
}

function input(of: Step["in"], status: string): Input {
  const end = (label: unknown): Ended => ended(String(label).replace("$", status));
  if (typeof of === "string") return { kind: of } as Input;
  if ("joined" in of) return { kind: "joined", ticket: String(of.joined), expiresInS: Number(of.expires_in_s) };
  if ("redirected" in of) return { kind: "redirected", ticket: String(of.redirected), expiresInS: Number(of.expires_in_s) };
  if ("refused" in of) return { kind: "refused", ended: end(of.refused) };
  if ("frozen" in of) return { kind: "frozen", isFrozen: of.frozen === true };
  if ("ended" in of) return { kind: "ended", ended: end(of.ended) };
  const { welcomed, grace_ms, idle_timeout_ms } = of;
  return { kind: "welcomed", resumeToken: String(welcomed), graceMs: Number(grace_ms), idleTimeoutMs: Number(idle_timeout_ms) };
}

function action(of: Step["out"], status: string): Action {
  if (typeof of === "string") return { kind: of } as Action;
  if (of.join !== undefined) return { kind: "join", requestId: of.join, resumeToken: of.resume_token ?? "" };
  if (of.open !== undefined) return { kind: "open", ticket: of.open };
  return { kind: "over", reason: (of.over ?? "").replace("$", status).split("/").at(-1)! };
}

describe.each(cases)("$name", ({ from, fractions = [], each = [""], steps }) => {
  it.each(each)("%s", (status) => {
    const left = [...fractions];
    let wishes = 0;
    const connection = new Connection({
      fraction: () => {
        const next = left.shift();
        if (next === undefined) throw new Error("the case has no number for this pause");
        return next;
      },
      requestId: () => `wish-${(wishes += 1)}`,
    });
    for (const step of [...situations[from]!, ...steps]) {
      const did = connection.handle(step.at, input(step.in, status));
      const { deadline, isFrozen, isBusy, isMoving, graceUntil } = connection;
      const { timer, frozen = false, busy = false, moving = false } = step;
      const should = { did: action(step.out, status), deadline: timer, isFrozen: frozen, isBusy: busy, isMoving: moving };
      expect({ at: step.at, did, deadline, isFrozen, isBusy, isMoving }).toEqual({ at: step.at, ...should });
      if (step.grace_until !== undefined) expect(graceUntil ?? "none").toBe(step.grace_until);
    }
    expect(left).toEqual([]);
  });
});

it("has a case for each row", () => {
  expect(cases.flatMap(({ each = [""] }) => each).length).toBeGreaterThanOrEqual(25);
});
