// How streams end, and whether it is worth opening another; the statuses are listed above service Play.

const CLOSE_CODE_BASE = 4000;
const OK = 0;
const UNAUTHENTICATED = 16;
/** gRPC statuses after which a stream may be opened again: cancelled, unknown, deadline, internal, unavailable, the ticket. */
const WORTH_A_RETRY = new Set([1, 2, 4, 13, 14, UNAUTHENTICATED]);
/** Reasons within statuses of which others are final. */
const RETRIED_REASONS = new Set(["MOVE_FLOOD", "OVERLOADED", "ROOM_FAILED"]);

/** From a WebSocket's close code and its text: the reason if that was the end of the session, else undefined. */
export function endOf(code: number, text: string, hasResumeToken: boolean): string | undefined {
  const status = code - CLOSE_CODE_BASE;
  const [reason = ""] = text.split(":", 1);
  if (status === OK) return "LEFT";
  const isOurs = status > 0 && status <= 16;
  const isWorthARetry = !isOurs || WORTH_A_RETRY.has(status) || RETRIED_REASONS.has(reason);
  // Without a session there is nothing to get a fresh ticket for.
  if (isWorthARetry && (status !== UNAUTHENTICATED || hasResumeToken)) return undefined;
  return reason === "" ? `STATUS_${status}` : reason;
}
