// How streams over a WebSocket end; the statuses are listed above service Play.

import { Code } from "@connectrpc/connect";
import type { Ended } from "./connection";

/** Close codes of the server are this and a gRPC status; any other is of something on the way. */
const CLOSE_CODE_BASE = 4000;
const STATUS_MAX = 16;

/** From a close code and its text, which is the reason, maybe followed by ": " and more. */
export function endOf(code: number, text: string): Ended {
  const status = code - CLOSE_CODE_BASE;
  if (status < 0 || status > STATUS_MAX) return { code: Code.Unavailable, reason: "" };
  return { code: status, reason: text.split(":", 1)[0] ?? "" };
}
