// The way to a server, and back to it: Join, Play, resume, rejoin.
//
// A machine without I/O and without a clock: what happened and the time go in, what to do comes out, and chance comes from
// outside. docs/CONNECTION.md specifies it; bot-client/src/client/connection.rs is the same machine, and both are tested by
// proto/connection/cases.json.

import { Code } from "@connectrpc/connect";

/** How long a call of `Join` may take. */
export const JOIN_MS = 10_000;
/** How long a stream may take until it is open. */
const CONNECT_MS = 5_000;
/** How long a stream may take until its `Welcome`, connecting included. */
const WELCOME_MS = 10_000;
/** How long a ticket is tried whose streams fail without a reason. */
const TICKET_MS = 5_000;
/** A stream that was good for so long ends a series of failures. */
export const STEADY_MS = 2_000;
/** The first pause between two attempts is below this; it doubles with each further one, up to the longest. */
const PAUSE_MS_FIRST = 200;
const PAUSE_MS_LONGEST = 2_000;
/** The pause below which whoever is sent elsewhere goes there. */
export const HURRY_MS = 50;
/** The first pause while a room moves is below this; it doubles, too. Its players see the gap. */
const MOVING_MS_FIRST = 50;
/** A stream that does not end by itself after its Redirect is left after this. */
const FOLLOW_MS = 200;
/** The least ceiling of a pause after what happens to all players of a server at once. */
const SPREAD_MS = 1_000;
/** Pauses of whoever is told that there is too much. */
const BUSY_MS_FIRST = 1_000;
const BUSY_MS_LONGEST = 10_000;
/** A room that is said to stand still is waited for at most so long, unless the grace period is longer. */
const FROZEN_MS_MAX = 300_000;
/** A first attempt is given up after this. */
export const FIRST_MS = 30_000;

/** The reason where nobody answered until it was of no use any more. */
export const UNREACHABLE = "UNREACHABLE";

/** Code 0, which the library's enumeration of errors does not have. */
const OK = 0;

export interface Chance {
  /** From 0 to 1, without 1. */
  fraction(): number;
  /** 16 random bytes as hex. */
  requestId(): string;
}

/** How a call or a stream ended: a gRPC status, and the server's reason for it, empty if something on the way ended it. */
export interface Ended {
  code: number;
  reason: string;
}

/** What happened. */
export type Input =
  /** The player wants in. */
  | { kind: "begin" }
  /** `Join` gave a seat; 0 seconds: not known. */
  | { kind: "joined"; ticket: string; expiresInS: number }
  /** `Join` was refused, or failed. */
  | { kind: "refused"; ended: Ended }
  /** The stream is open, but nothing came yet. */
  | { kind: "opened" }
  /** `Welcome` came. */
  | { kind: "welcomed"; resumeToken: string; graceMs: number; idleTimeoutMs: number }
  /** The server says that the room stands still, or that it goes on. */
  | { kind: "frozen"; isFrozen: boolean }
  /** The server says that the room is on another server, and the stream is about to end. No ticket: the text is empty. */
  | { kind: "redirected"; ticket: string; expiresInS: number }
  /** The stream ended though the player did not leave, or could not be opened. */
  | { kind: "ended"; ended: Ended }
  /** The time of `deadline` has come. */
  | { kind: "timer" }
  /** The player has left, or does not wait any longer. */
  | { kind: "left" };

/** What to do. Everything but `nothing` also means: let go of the call or the stream that there was. */
export type Action =
  | { kind: "nothing" }
  /** Call `Join`. The id is the same when the call is repeated; without a resume token it is for a new session. */
  | { kind: "join"; requestId: string; resumeToken: string }
  /** Open a stream with this ticket, and with the resume token if there is one. */
  | { kind: "open"; ticket: string }
  /** Wait for `deadline`. */
  | { kind: "wait" }
  /** It is over. */
  | { kind: "over"; reason: string };

type State =
  | { kind: "idle" }
  | { kind: "joining"; until: number }
  | { kind: "opening"; until: number; welcomeUntil: number }
  | { kind: "playing"; since: number }
  | { kind: "waiting"; until: number }
  | { kind: "over" };

interface Ticket {
  text: string;
  expiresAt: number;
  /** When a stream with it first failed. */
  failedAt: number | undefined;
}

/** What a failure means: the same once more; another ticket at once, or after a pause; wait for longer; nothing helps. */
type Verdict = "again" | "elsewhere" | "spread" | "busy" | "over";

const NOTHING: Action = { kind: "nothing" };

export class Connection {
  #state: State = { kind: "idle" };
  #ticket: Ticket | undefined;
  /** Takes its place when the stream ends, or at this time. */
  #redirect: { ticket: Ticket; until: number } | undefined;
  /** How long after the loss of its stream the session may still be there: a server may notice as late as it gives up
      silent clients. */
  #session: { resumeToken: string; keptMs: number; graceMs: number } | undefined;
  /** The id of the wish that is not fulfilled yet. */
  #requestId: string | undefined;
  /** Since when there is no stream. */
  #apartSince = 0;
  /** From when the grace period counts: it does not while the room stands still. */
  #graceFrom = 0;
  #isFrozen = false;
  /** The stream was lost because the room moves. */
  #isMoving = false;
  /** Somebody was sent elsewhere without a pause since the last stream that was good for a while. */
  #hasHurried = false;
  #failures = 0;
  #last: Verdict | undefined;

  constructor(
    readonly chance: Chance,
    readonly firstMs = FIRST_MS,
  ) {}

  get state(): State["kind"] {
    return this.#state.kind;
  }

  /** When to say `timer`. */
  get deadline(): number | undefined {
    const until = "until" in this.#state ? this.#state.until : Infinity;
    const next = Math.min(until, this.#redirect?.until ?? Infinity);
    return next === Infinity ? undefined : next;
  }

  /** While the stream is lost: until when the session is there for certain. */
  get graceUntil(): number | undefined {
    return this.#session === undefined || !this.#isApart() ? undefined : this.#graceFrom + this.#session.graceMs;
  }

  /** Whether the session's room is said to stand still. */
  get isFrozen(): boolean {
    return this.#isFrozen && this.#session !== undefined && this.#state.kind !== "over";
  }

  /** Whether the server has too much to do just now. */
  get isBusy(): boolean {
    return this.#isApart() && this.#last === "busy";
  }

  /** Whether there is no stream because the room moves to another server; mostly that takes less than people notice. */
  get isMoving(): boolean {
    return this.#isApart() && this.#isMoving;
  }

  /** The secret by which another page may continue this session. */
  get resumeToken(): string {
    return this.#session?.resumeToken ?? "";
  }

  #isApart(): boolean {
    return this.#state.kind !== "playing" && this.#state.kind !== "over";
  }

  /** What is to be done about what happened. Times are milliseconds from any origin, and only grow. */
  handle(now: number, input: Input): Action {
    const state = this.#state;
    if (state.kind === "over") return NOTHING;
    switch (input.kind) {
      case "left":
        return this.#end("LEFT");
      case "begin":
        if (state.kind !== "idle") return NOTHING;
        this.#apartSince = now;
        return this.#join(now);
      case "joined":
        return state.kind === "joining" ? this.#joined(now, input.ticket, input.expiresInS) : NOTHING;
      case "refused":
        if (state.kind !== "joining") return NOTHING;
        return this.#failed(now, refused(input.ended, this.#session !== undefined), input.ended);
      case "opened":
        if (state.kind === "opening") state.until = state.welcomeUntil;
        return NOTHING;
      case "welcomed": {
        if (state.kind !== "opening") return NOTHING;
        const { resumeToken, graceMs, idleTimeoutMs } = input;
        this.#session = resumeToken === "" ? undefined : { resumeToken, graceMs, keptMs: graceMs + idleTimeoutMs };
        this.#requestId = undefined;
        this.#isFrozen = false;
        this.#isMoving = false;
        this.#state = { kind: "playing", since: now };
        return NOTHING;
      }
      case "redirected":
        if (state.kind === "opening" || state.kind === "playing") {
          const { ticket, expiresInS } = input;
          const redirect = { ticket: newTicket(now, ticket, expiresInS), until: now + FOLLOW_MS };
          this.#redirect = ticket === "" ? undefined : redirect;
          this.#isFrozen = false;
        }
        return NOTHING;
      case "frozen":
        if (state.kind === "playing") this.#isFrozen = input.isFrozen;
        return NOTHING;
      case "ended":
        return state.kind === "opening" || state.kind === "playing" ? this.#ended(now, input.ended) : NOTHING;
      case "timer":
        return this.#timer(now);
    }
  }

  #timer(now: number): Action {
    const late = { code: Code.DeadlineExceeded, reason: "" };
    switch (this.#state.kind) {
      case "joining":
        return this.#failed(now, "again", late);
      case "opening":
        return this.#ended(now, late);
      case "playing":
        return this.#redirect === undefined ? NOTHING : this.#ended(now, late);
      case "waiting":
        return this.#attempt(now);
      default:
        return NOTHING;
    }
  }

  /** With the ticket at hand, or another one. */
  #attempt(now: number): Action {
    const ticket = this.#usableTicket(now);
    return ticket === undefined ? this.#join(now) : this.#open(now, ticket);
  }

  #join(now: number): Action {
    this.#state = { kind: "joining", until: now + JOIN_MS };
    this.#requestId ??= this.chance.requestId();
    return { kind: "join", requestId: this.#requestId, resumeToken: this.resumeToken };
  }

  #joined(now: number, ticket: string, expiresInS: number): Action {
    this.#ticket = newTicket(now, ticket, expiresInS);
    this.#isFrozen = false;
    // A further ticket for a session is another wish. Without a session the wish is a seat, and that waits for its player.
    if (this.#session !== undefined) this.#requestId = undefined;
    return this.#open(now, ticket);
  }

  #open(now: number, ticket: string): Action {
    this.#state = { kind: "opening", until: now + CONNECT_MS, welcomeUntil: now + WELCOME_MS };
    return { kind: "open", ticket };
  }

  /** The ticket at hand, if a stream may be tried with it. */
  #usableTicket(now: number): string | undefined {
    const ticket = this.#ticket;
    if (ticket === undefined || now >= ticket.expiresAt) return undefined;
    return ticket.failedAt === undefined || now < ticket.failedAt + TICKET_MS ? ticket.text : undefined;
  }

  /** The stream is gone, or never came. */
  #ended(now: number, ended: Ended): Action {
    if (this.#state.kind === "playing") {
      this.#apartSince = this.#graceFrom = now;
      if (now - this.#state.since >= STEADY_MS) {
        this.#failures = 0;
        this.#hasHurried = false;
        this.#last = undefined;
      }
      if (this.#ticket !== undefined) this.#ticket.failedAt = undefined;
    }
    const verdict = streamEnded(ended, this.#session !== undefined);
    const redirect = this.#redirect;
    this.#redirect = undefined;
    this.#isMoving ||= redirect !== undefined || ended.reason === ROOM_MOVED;
    if (redirect !== undefined && verdict !== "over") {
      this.#ticket = redirect.ticket;
      return this.#follow(now, ended);
    }
    if (verdict === "elsewhere" || verdict === "spread") this.#ticket = undefined;
    else if (this.#ticket !== undefined) this.#ticket.failedAt ??= now;
    return this.#failed(now, verdict, ended);
  }

  /** However the stream ended: the room is elsewhere, and its players go there at once. Whoever is sent on before a stream
      was good for a while takes a pause: servers may not agree where the room is. */
  #follow(now: number, ended: Ended): Action {
    if (this.#hasHurried || now >= this.#giveUpAt()) return this.#failed(now, "again", ended);
    this.#hasHurried = true;
    this.#last = undefined;
    return this.#attempt(now);
  }

  #failed(now: number, verdict: Verdict, ended: Ended): Action {
    if (verdict === "over") return this.#end(ended.reason === "" ? nameOf(ended.code) : ended.reason);
    // Without a reason it is nothing of the server's own.
    if (ended.reason !== "") this.#isFrozen = STANDS_STILL.has(ended.reason);
    if (this.#isFrozen) this.#graceFrom = now;
    const giveUpAt = this.#giveUpAt();
    if (now >= giveUpAt) return this.#end(UNREACHABLE);
    const pause = this.#pause(verdict);
    this.#last = verdict;
    // The last attempt is at the very end.
    this.#state = { kind: "waiting", until: Math.min(giveUpAt, now + pause) };
    return { kind: "wait" };
  }

  #giveUpAt(): number {
    if (this.#session === undefined) return this.#apartSince + this.firstMs;
    const { keptMs } = this.#session;
    return Math.max(this.#apartSince + keptMs, Math.min(this.#graceFrom + keptMs, this.#apartSince + FROZEN_MS_MAX));
  }

  /** Thousands that lost the same server must not come back in step, and nobody may be in a loop without a pause. */
  #pause(verdict: Verdict): number {
    const fraction = this.chance.fraction();
    const between = (low: number, high: number): number => low + Math.floor(fraction * (high - low));
    if (verdict === "elsewhere" && !this.#hasHurried) {
      this.#hasHurried = true;
      return between(0, HURRY_MS);
    }
    const failures = this.#failures;
    this.#failures += 1;
    const doubled = (first: number, longest: number): number => Math.min(longest, first * 2 ** Math.min(16, failures));
    if (verdict === "busy") {
      const high = doubled(BUSY_MS_FIRST, BUSY_MS_LONGEST);
      return between(Math.floor(high / 4), high);
    }
    if (this.#isMoving && verdict !== "spread") {
      const high = doubled(MOVING_MS_FIRST, PAUSE_MS_LONGEST);
      return between(high / 2, high);
    }
    const high = Math.max(doubled(PAUSE_MS_FIRST, PAUSE_MS_LONGEST), verdict === "spread" ? SPREAD_MS : 0);
    return between(failures === 0 ? 0 : Math.floor(high / 4), high);
  }

  #end(reason: string): Action {
    this.#state = { kind: "over" };
    this.#redirect = undefined;
    return { kind: "over", reason };
  }
}

function newTicket(now: number, text: string, expiresInS: number): Ticket {
  return { text, expiresAt: expiresInS === 0 ? Infinity : now + expiresInS * 1000, failedAt: undefined };
}

/** The reason by which a stream ends whose room is on another server now. */
export const ROOM_MOVED = "ROOM_MOVED";

/** Reasons by which a server says that the room may stand still: its grace periods do, too. */
const STANDS_STILL = new Set(["LEASE_LOST", "OWNER_UNREACHABLE", "DIRECTORY_AWAY"]);

/** What the end of a stream means. */
function streamEnded({ code, reason }: Ended, hasSession: boolean): Verdict {
  switch (code) {
    case OK:
    case Code.Canceled:
    case Code.DeadlineExceeded:
      return "again";
    case Code.Unavailable:
      if (reason === ROOM_MOVED) return "elsewhere";
      return reason === "" ? "again" : "spread";
    case Code.Unknown:
    case Code.Internal:
      return reason === "" ? "again" : "over";
    case Code.Unauthenticated:
      return "elsewhere";
    case Code.FailedPrecondition:
      return reason === "" || reason === "WRONG_SERVER" ? "elsewhere" : "over";
    case Code.ResourceExhausted:
      return exhausted(reason, hasSession);
    default:
      return "over";
  }
}

/** What a refusal of `Join` means. */
function refused({ code, reason }: Ended, hasSession: boolean): Verdict {
  switch (code) {
    case OK:
    case Code.Canceled:
    case Code.DeadlineExceeded:
      return "again";
    case Code.Unavailable:
      return reason === "SHUTTING_DOWN" ? "spread" : "again";
    case Code.Unknown:
    case Code.Internal:
      return reason === "" ? "again" : "over";
    case Code.FailedPrecondition:
      return reason === "" || reason === "WRONG_SERVER" ? "again" : "over";
    case Code.ResourceExhausted:
      return exhausted(reason, hasSession);
    default:
      return "over";
  }
}

function exhausted(reason: string, hasSession: boolean): Verdict {
  if (reason === "MESSAGE_TOO_LARGE") return "over";
  // Whoever has no seat yet may want another room rather than wait for this one.
  return !hasSession && (reason === "ROOM_FULL" || reason === "ROOMS_EXHAUSTED") ? "over" : "busy";
}

/** As gRPC calls it. */
function nameOf(code: number): string {
  return (Code[code] ?? "Unknown").replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}
