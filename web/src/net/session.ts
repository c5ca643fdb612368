// The player's session: one stream after the other, the same ship. Rules: proto/fray/v1/play.proto, above service Play. When
// to join, to resume, to wait and to give up is the connection's affair (connection.ts).
//
// No browser here: sockets, time and chance come from a `Host`, so that tests run it in virtual time.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  Notice_Kind,
  PlayRequestSchema,
  PlayResponseSchema,
  type Notice,
  type PlayRequest,
  type Redirect,
  type Update,
  type Welcome,
} from "../gen/fray/v1/play_pb";
import { Connection, type Action, type Chance, type Ended, type Input } from "./connection";
import { endOf } from "./ends";
import { isSame, MoveLog, type Controls, type SentMove } from "./moves";
import { Replica, ReplicaError } from "./replica";
import { Traffic } from "./traffic";

export const PROTOCOL_VERSION = 1;

/** Where a session is in its life. */
export type SessionState =
  | { kind: "connecting"; isBusy: boolean }
  | { kind: "playing"; isFrozen: boolean }
  /** The ship waits in the room until `graceUntil` (in the host's time). */
  | { kind: "reconnecting"; since: number; graceUntil: number; isFrozen: boolean; isBusy: boolean; isMoving: boolean }
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

/** A seat, as `Join` gives it. */
export interface Seat {
  ticket: string;
  expiresInS: number;
}

/** The world outside. */
export interface Host extends Chance {
  /** Milliseconds that only grow. */
  now(): number;
  /** Returns what cancels it. */
  after(ms: number, run: () => void): () => void;
  openSocket(ticket: string, events: SocketEvents): Socket;
  /** Asks for a seat, or with a resume token for a ticket to go on. Throws `Failed`. */
  join(requestId: string, resumeToken: string): Promise<Seat>;
}

/** How a call ended that was not answered well. */
export class Failed extends Error {
  constructor(readonly ended: Ended) {
    super(ended.reason);
  }
}

export interface Listener {
  welcomed(welcome: Welcome, replica: Replica): void;
  /** The replica holds the update. `acked` is the newest move that it names for the first time. */
  updated(update: Update, replica: Replica, acked: SentMove | undefined): void;
  noticed(notice: Notice): void;
  changed(state: SessionState): void;
}

const WATCHDOG_MS = 250;
const ECHO_INTERVAL_MS = 1000;
const LEAVE_TIMEOUT_MS = 1000;
const RESYNC_REPEAT_MS = 2000;
/** The stream was cut here, or something on the way did it. */
const CUT: Ended = { code: Code.Unavailable, reason: "" };

export class Session {
  state: SessionState = { kind: "connecting", isBusy: false };
  welcome: Welcome | undefined;
  replica: Replica | undefined;
  readonly moves = new MoveLog();
  readonly traffic = new Traffic();
  /** Replicas thrown away because a checksum differed; and for any reason. */
  desyncs = 0;
  resyncs = 0;
  reconnects = 0;
  /** Streams that were followed to another server, because the room moved there. */
  redirects = 0;

  readonly #connection: Connection;
  #socket: Socket | undefined;
  /** Counts calls and sockets: what an older one still says is ignored. */
  #generation = 0;
  #isWelcomed = false;
  #isLeaving = false;
  /** The newest epoch of the room: who owned it before knows less, and is not believed. */
  #epoch = 0n;
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
  ) {
    this.#connection = new Connection(host);
  }

  start(): void {
    this.#tell({ kind: "begin" });
  }

  /** Graceful: the seat is given up. */
  leave(): void {
    if (this.state.kind === "ended") return;
    if (this.#socket !== undefined && this.#isWelcomed) {
      this.#send({ case: "leave", value: {} });
      this.#isLeaving = true;
      this.#after(LEAVE_TIMEOUT_MS, () => this.#tell({ kind: "left" }));
    } else {
      this.#tell({ kind: "left" });
    }
  }

  /** Breaks the stream as a bad network would; for tests and the curious. */
  cutSocket(): void {
    if (this.#socket !== undefined) this.#tell({ kind: "ended", ended: CUT });
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

  // --- Calls and sockets

  /** Tells the connection what happened, and does what it says. */
  #tell(input: Input): void {
    const wasPlaying = this.state.kind === "playing";
    this.#do(this.#connection.handle(this.host.now(), input));
    if (!wasPlaying || this.#isWelcomed || this.state.kind === "ended") return;
    if (this.#connection.isMoving) this.redirects += 1;
    else this.reconnects += 1;
  }

  #do(action: Action): void {
    if (action.kind === "nothing") {
      // The deadline may be another, and the room may stand still.
      if (!this.#isWelcomed) this.#awaitDeadline();
    } else {
      this.#drop();
      if (action.kind === "join") void this.#join(action.requestId, action.resumeToken);
      else if (action.kind === "open") this.#open(action.ticket);
      this.#awaitDeadline();
    }
    this.#changed(action);
  }

  #awaitDeadline(): void {
    const { deadline } = this.#connection;
    if (deadline !== undefined) this.#after(Math.max(0, deadline - this.host.now()), () => this.#tell({ kind: "timer" }));
  }

  async #join(requestId: string, resumeToken: string): Promise<void> {
    const generation = this.#generation;
    let answer: Input;
    try {
      answer = { kind: "joined", ...(await this.host.join(requestId, resumeToken)) };
    } catch (error) {
      answer = { kind: "refused", ended: error instanceof Failed ? error.ended : CUT };
    }
    if (generation === this.#generation) this.#tell(answer);
  }

  #open(ticket: string): void {
    const generation = this.#generation;
    const isCurrent = (): boolean => generation === this.#generation;
    this.#resyncSentAt = undefined;
    this.#socket = this.host.openSocket(ticket, {
      opened: () => {
        if (!isCurrent()) return;
        this.#tell({ kind: "opened" });
        // A ticket came with the socket.
        const { resumeToken } = this.#connection;
        this.#send({ case: "hello", value: { protocolVersion: PROTOCOL_VERSION, resumeToken } });
      },
      received: (bytes) => {
        if (isCurrent()) this.#received(bytes);
      },
      closed: (code, reason) => {
        if (isCurrent()) this.#tell(this.#isLeaving ? { kind: "left" } : { kind: "ended", ended: endOf(code, reason) });
      },
    });
  }

  /** Lets go of the call or the socket that there is. */
  #drop(): void {
    this.#generation += 1;
    this.#isWelcomed = false;
    this.#cancelTimer();
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** The server does not keep to the rules, or does not speak ours. */
  #end(reason: string): void {
    this.#tell({ kind: "ended", ended: { code: Code.FailedPrecondition, reason } });
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
        this.#noticed(message.value);
        break;
      case "redirect":
        this.#redirected(message.value);
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
    const isSameRoom = this.welcome === undefined || this.welcome.room?.roomId === welcome.room?.roomId;
    if (isSameRoom && welcome.epoch < this.#epoch) {
      this.#end("WRONG_SERVER");
      return;
    }
    this.#epoch = welcome.epoch;
    this.welcome = welcome;
    this.replica = replica;
    this.#isWelcomed = true;
    this.#seenTick = 0;
    this.#echoes.clear();
    this.moves.welcome(welcome, this.#connection.isMoving);
    this.#watchedAt = this.host.now();
    this.#cancelTimer();
    this.#watch();
    const { resumeToken, graceMs, idleTimeoutMs } = welcome;
    this.#tell({ kind: "welcomed", resumeToken, graceMs, idleTimeoutMs });
    this.listener.welcomed(welcome, replica);
    for (const move of this.moves.pending) this.#sendMove(move);
  }

  #redirected({ epoch, ticket, expiresInS }: Redirect): void {
    if (epoch > this.#epoch) this.#epoch = epoch;
    this.#tell({ kind: "redirected", ticket, expiresInS });
    // There is a deadline now.
    if (this.#isWelcomed) this.#watch();
  }

  #noticed(notice: Notice): void {
    const isFrozen = notice.kind === Notice_Kind.ROOM_FROZEN;
    // These two are a state, and shown as one.
    if (isFrozen || notice.kind === Notice_Kind.ROOM_RESUMED) this.#tell({ kind: "frozen", isFrozen });
    else this.listener.noticed(notice);
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
    // A room that stands still may be silent: whoever reconnects would only wait elsewhere.
    const isFrozen = this.#connection.isFrozen;
    const silence = isFrozen ? idleTimeoutMs : Math.min(idleTimeoutMs, Math.max(3 * heartbeatMs, 2000));
    // A page that slept has not listened: it hears first what waits for it.
    if (sinceWatched > 4 * WATCHDOG_MS) this.#receivedAt = Math.max(this.#receivedAt, now - silence / 2);
    if (now - this.#receivedAt > silence) {
      this.#tell({ kind: "ended", ended: CUT });
      return;
    }
    if (this.#resyncSentAt !== undefined && now - this.#resyncSentAt > RESYNC_REPEAT_MS) {
      this.#resync(new ReplicaError("base_mismatch"), this.#seenTick);
    }
    const due = Math.max(WATCHDOG_MS, Math.min(heartbeatMs, stalenessWindowMs / 4));
    if (now - this.#sentAt >= due) this.#ping(now - this.#echoSentAt >= ECHO_INTERVAL_MS);
    const { deadline = Infinity } = this.#connection;
    if (now >= deadline) this.#tell({ kind: "timer" });
    else this.#after(Math.min(WATCHDOG_MS, deadline - now), () => this.#watch());
  }

  /** There is one timer: whatever waits next. */
  #after(ms: number, run: () => void): void {
    this.#cancelTimer();
    this.#cancelTimer = this.host.after(ms, run);
  }

  /** The state as others see it, told when it is another. */
  #changed(action: Action): void {
    if (this.state.kind === "ended") return;
    const state = this.#stateAfter(action);
    if (JSON.stringify(state) === JSON.stringify(this.state)) return;
    this.state = state;
    this.listener.changed(state);
  }

  #stateAfter(action: Action): SessionState {
    const { state, graceUntil, isFrozen, isBusy } = this.#connection;
    if (action.kind === "over") return { kind: "ended", reason: action.reason };
    if (state === "playing") return { kind: "playing", isFrozen };
    if (graceUntil === undefined) return { kind: "connecting", isBusy };
    const since = this.state.kind === "reconnecting" ? this.state.since : this.host.now();
    return { kind: "reconnecting", since, graceUntil, isFrozen, isBusy, isMoving: this.#connection.isMoving };
  }
}
