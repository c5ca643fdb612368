// The player's session: one stream after the other, the same ship. Rules: proto/fray/v1/play.proto, above service Play.
//
// No browser here: sockets, time and chance come from a `Host`, so that tests run it in virtual time.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  PlayRequestSchema,
  PlayResponseSchema,
  type Notice,
  type PlayRequest,
  type Update,
  type Welcome,
} from "../gen/fray/v1/play_pb";
import { endOf } from "./ends";
import { isSame, MoveLog, type Controls, type SentMove } from "./moves";
import { Replica, ReplicaError } from "./replica";
import { Traffic } from "./traffic";

export const PROTOCOL_VERSION = 1;

/** Where a session is in its life. */
export type SessionState =
  | { kind: "connecting" }
  | { kind: "playing" }
  /** The ship waits in the room until `graceUntil` (in the host's time). */
  | { kind: "reconnecting"; graceUntil: number; attempt: number }
  | { kind: "ended"; reason: string };

export interface Socket {
  send(bytes: Uint8Array): void;
  close(): void;
}

export interface SocketEvents {
  opened(): void;
  received(bytes: Uint8Array): void;
  closed(code: number, reason: string): void;
}

/** The world outside. */
export interface Host {
  /** Milliseconds that only grow. */
  now(): number;
  /** Returns what cancels it. */
  after(ms: number, run: () => void): () => void;
  random(): number;
  openSocket(ticket: string, events: SocketEvents): Socket;
  /** A fresh ticket for a session; throws `Refused` when there is no such session any more. */
  rejoin(resumeToken: string): Promise<string>;
}

/** The server said no, and asking again does not help. */
export class Refused extends Error {
  constructor(readonly reason: string) {
    super(reason);
  }
}

export interface Listener {
  welcomed(welcome: Welcome, replica: Replica): void;
  /** The replica holds the update. `acked` is the newest move that it names for the first time. */
  updated(update: Update, replica: Replica, acked: SentMove | undefined): void;
  noticed(notice: Notice): void;
  changed(state: SessionState): void;
}

const BACK_OFF_MS = 250;
const BACK_OFF_MS_MAX = 5000;
/** A ticket waits for its player; not for ever. */
const FIRST_ATTEMPTS_MAX = 5;
const CONNECT_TIMEOUT_MS = 8000;
const WATCHDOG_MS = 250;
const ECHO_INTERVAL_MS = 1000;
const LEAVE_TIMEOUT_MS = 1000;
const RESYNC_REPEAT_MS = 2000;
/** Before the first Welcome: as in a server's defaults. */
const GRACE_MS = 30_000;

export class Session {
  state: SessionState = { kind: "connecting" };
  welcome: Welcome | undefined;
  replica: Replica | undefined;
  readonly moves = new MoveLog();
  readonly traffic = new Traffic();
  /** Replicas thrown away because a checksum differed; and for any reason. */
  desyncs = 0;
  resyncs = 0;
  reconnects = 0;

  #ticket: string;
  #resumeToken = "";
  #socket: Socket | undefined;
  /** Counts sockets: what an older one still says is ignored. */
  #generation = 0;
  #attempt = 0;
  #isWelcomed = false;
  /** When the last Resync went out, while its answer is awaited. */
  #resyncSentAt: number | undefined;
  #seenTick = 0;
  #sentAt = 0;
  #receivedAt = 0;
  #moveSentAt = -Infinity;
  #echoSentAt = -Infinity;
  #watchedAt = 0;
  #echoes = new Map<bigint, number>();
  #nextEcho = 1n;
  #cancelTimer: () => void = () => {};

  constructor(
    readonly host: Host,
    readonly listener: Listener,
    ticket: string,
    resumeToken = "",
  ) {
    this.#ticket = ticket;
    this.#resumeToken = resumeToken;
  }

  start(): void {
    this.#open();
  }

  /** Graceful: the seat is given up. */
  leave(): void {
    if (this.state.kind === "ended") return;
    if (this.#socket !== undefined && this.#isWelcomed) {
      this.#send({ case: "leave", value: {} });
      this.#after(LEAVE_TIMEOUT_MS, () => this.#end("LEFT"));
    } else {
      this.#end("LEFT");
    }
  }

  /** Breaks the stream as a bad network would; for tests and the curious. */
  cutSocket(): void {
    if (this.#socket !== undefined) this.#broken();
  }

  /** The secret by which another page may continue this session. */
  get resumeToken(): string {
    return this.#resumeToken;
  }

  /**
   * Sends the controls when they changed, at most once a tick; `at` is the tick, with its fraction, at which the server
   * is expected to have them. Call it in every frame. Returns the move that was made.
   */
  steer(controls: Controls, at: number): SentMove | undefined {
    if (this.state.kind !== "playing" || isSame(controls, this.moves.last)) return undefined;
    const now = this.host.now();
    if (now - this.#moveSentAt < 0.9 * this.#tickMs()) return undefined;
    const move = this.moves.record(controls, at);
    if (move !== undefined) {
      this.#moveSentAt = now;
      this.#sendMove(move);
    }
    return move;
  }

  #tickMs(): number {
    return 1000 / Math.max(1, this.welcome?.tickRateHz ?? 20);
  }

  // --- Sockets

  #open(): void {
    const generation = ++this.#generation;
    const isCurrent = (): boolean => generation === this.#generation;
    this.#isWelcomed = false;
    this.#resyncSentAt = undefined;
    this.#after(CONNECT_TIMEOUT_MS, () => this.#broken());
    this.#socket = this.host.openSocket(this.#ticket, {
      opened: () => {
        if (isCurrent()) this.#hello();
      },
      received: (bytes) => {
        if (isCurrent()) this.#received(bytes);
      },
      closed: (code, reason) => {
        if (isCurrent()) this.#closed(code, reason);
      },
    });
  }

  #hello(): void {
    // A ticket came with the socket.
    this.#send({ case: "hello", value: { protocolVersion: PROTOCOL_VERSION, resumeToken: this.#resumeToken } });
  }

  #closed(code: number, reason: string): void {
    const end = endOf(code, reason, this.#resumeToken !== "");
    if (end === undefined) this.#broken();
    else this.#end(end);
  }

  /** The stream is gone, the session is not. */
  #broken(): void {
    this.#drop();
    if (this.state.kind === "ended") return;
    if (this.state.kind === "playing") {
      this.#attempt = 0;
      this.reconnects += 1;
    }
    if (this.state.kind === "connecting" && this.#attempt >= FIRST_ATTEMPTS_MAX) {
      this.#end("UNREACHABLE");
      return;
    }
    const graceMs = this.welcome?.graceMs ?? GRACE_MS;
    const graceUntil = this.state.kind === "reconnecting" ? this.state.graceUntil : this.host.now() + graceMs;
    const ceiling = Math.min(BACK_OFF_MS_MAX, BACK_OFF_MS * 2 ** this.#attempt);
    // The first try comes at once, later ones are spread over half to all of the time.
    const pause = this.#attempt === 0 ? 50 * this.host.random() : ceiling * (0.5 + 0.5 * this.host.random());
    this.#attempt += 1;
    const hasShip = this.#resumeToken !== "";
    if (hasShip) this.#change({ kind: "reconnecting", graceUntil, attempt: this.#attempt });
    this.#after(pause, () => void this.#reopen());
  }

  async #reopen(): Promise<void> {
    const generation = this.#generation;
    if (this.#resumeToken !== "") {
      try {
        this.#ticket = await this.host.rejoin(this.#resumeToken);
      } catch (error) {
        if (generation !== this.#generation) return;
        if (error instanceof Refused) this.#end(error.reason);
        else this.#broken();
        return;
      }
    }
    if (generation === this.#generation && this.state.kind !== "ended") this.#open();
  }

  #end(reason: string): void {
    this.#drop();
    if (this.state.kind !== "ended") this.#change({ kind: "ended", reason });
  }

  #drop(): void {
    this.#generation += 1;
    this.#cancelTimer();
    this.#socket?.close();
    this.#socket = undefined;
  }

  // --- Messages

  #received(bytes: Uint8Array): void {
    const now = this.host.now();
    this.#receivedAt = now;
    let message;
    try {
      ({ message } = fromBinary(PlayResponseSchema, bytes));
    } catch {
      this.#resync(new ReplicaError("malformed"), this.#seenTick);
      return;
    }
    switch (message.case) {
      case "welcome":
        this.#welcomed(message.value);
        break;
      case "update":
        this.#updated(message.value, bytes.length);
        break;
      case "pong": {
        const sentAt = this.#echoes.get(message.value.echo);
        if (sentAt !== undefined) this.traffic.pinged(now - sentAt);
        this.#echoes.delete(message.value.echo);
        break;
      }
      case "notice":
        this.listener.noticed(message.value);
        break;
      case undefined: // Of a newer server.
    }
  }

  #welcomed(welcome: Welcome): void {
    const replica = Replica.forWelcome(welcome);
    const speaksOurs = welcome.protocolMin <= PROTOCOL_VERSION && PROTOCOL_VERSION <= welcome.protocolMax;
    if (replica === undefined || !speaksOurs) {
      this.#end("PROTOCOL_UNSUPPORTED");
      return;
    }
    this.welcome = welcome;
    this.replica = replica;
    this.#resumeToken = welcome.resumeToken;
    this.#isWelcomed = true;
    this.#attempt = 0;
    this.#seenTick = 0;
    this.#echoes.clear();
    this.moves.welcome(welcome);
    this.#watchedAt = this.host.now();
    this.#cancelTimer();
    this.#watch();
    this.#change({ kind: "playing" });
    this.listener.welcomed(welcome, replica);
    for (const move of this.moves.pending) this.#sendMove(move);
  }

  #updated(update: Update, bytes: number): void {
    const replica = this.replica;
    if (!this.#isWelcomed || replica === undefined) return;
    // After a Resync only an update that starts from nothing is of use.
    const isStart = update.baseTick === 0;
    if (this.#resyncSentAt !== undefined && !isStart) return;
    try {
      replica.apply(update);
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      this.#resync(error, update.tick);
      return;
    }
    this.#resyncSentAt = undefined;
    this.#seenTick = update.tick;
    this.traffic.updated(this.host.now(), update, bytes, this.welcome?.player ?? 0);
    const acked = update.moveAck === undefined ? undefined : this.moves.acknowledge(update.moveAck);
    this.#acknowledge();
    this.listener.updated(update, replica, acked);
  }

  #resync(error: ReplicaError, tick: number): void {
    this.resyncs += 1;
    if (error.isDesync()) this.desyncs += 1;
    this.replica?.clear();
    this.#resyncSentAt = this.host.now();
    const cell = error.cell === undefined ? {} : { cell: error.cell };
    this.#send({ case: "resync", value: { reason: error.reason(), tick, ...cell } });
  }

  /** At least every quarter of the window; an echo once a second. */
  #acknowledge(): void {
    const now = this.host.now();
    const window = this.welcome?.stalenessWindowMs ?? 1000;
    const wantsEcho = now - this.#echoSentAt >= ECHO_INTERVAL_MS;
    if (wantsEcho || now - this.#sentAt + this.#tickMs() >= window / 4) this.#ping(wantsEcho);
  }

  #ping(wantsEcho: boolean): void {
    let echo = 0n;
    if (wantsEcho) {
      echo = this.#nextEcho++;
      this.#echoSentAt = this.host.now();
      this.#echoes.set(echo, this.#echoSentAt);
    }
    this.#send({ case: "ping", value: { seenTick: this.#seenTick, echo } });
  }

  #sendMove(move: SentMove): void {
    const { sequence, controls } = move;
    const { axisX, axisY, aim, buttons } = controls;
    const value = { sequence, seenTick: this.#seenTick, axisX, axisY, buttons, ...(aim === undefined ? {} : { aim }) };
    this.#send({ case: "move", value });
  }

  #send(message: { [K in NonNullable<PlayRequest["message"]["case"]>]: { case: K; value: object } }[NonNullable<
    PlayRequest["message"]["case"]
  >]): void {
    const request = create(PlayRequestSchema, { message: message as PlayRequest["message"] });
    this.#sentAt = this.host.now();
    this.#socket?.send(toBinary(PlayRequestSchema, request));
  }

  // --- Time

  /** While a stream is there: keeps it alive, and notices that it is dead. */
  #watch(): void {
    const now = this.host.now();
    const sinceWatched = now - this.#watchedAt;
    this.#watchedAt = now;
    const { heartbeatMs = 1000, idleTimeoutMs = 15_000, stalenessWindowMs = 1000 } = this.welcome ?? {};
    const silence = Math.min(idleTimeoutMs, Math.max(3 * heartbeatMs, 2000));
    // A page that slept has not listened: it hears first what waits for it.
    if (sinceWatched > 4 * WATCHDOG_MS) this.#receivedAt = Math.max(this.#receivedAt, now - silence / 2);
    if (now - this.#receivedAt > silence) {
      this.#broken();
      return;
    }
    if (this.#resyncSentAt !== undefined && now - this.#resyncSentAt > RESYNC_REPEAT_MS) {
      this.#resync(new ReplicaError("base_mismatch"), this.#seenTick);
    }
    const due = Math.max(WATCHDOG_MS, Math.min(heartbeatMs, stalenessWindowMs / 4));
    if (now - this.#sentAt >= due) this.#ping(now - this.#echoSentAt >= ECHO_INTERVAL_MS);
    this.#after(WATCHDOG_MS, () => this.#watch());
  }

  /** There is one timer: whatever waits next. */
  #after(ms: number, run: () => void): void {
    this.#cancelTimer();
    this.#cancelTimer = this.host.after(ms, run);
  }

  #change(state: SessionState): void {
    this.state = state;
    this.listener.changed(state);
  }
}
