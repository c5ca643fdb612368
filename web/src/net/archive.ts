// What rooms have played: the recordings of a server, their time lines, and streams from any tick of them.

import { Code, ConnectError, createClient, type Client } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Lobby } from "../gen/fray/v1/lobby_pb";
import { Play, type Update, type Welcome } from "../gen/fray/v1/play_pb";
import { Replays, type ReplaysListResponse, type TimelineResponse } from "../gen/fray/v1/replays_pb";
import { reasonOf } from "./refusals";
import { Replica, ReplicaError } from "./replica";
import { Tickets } from "./tickets";

const CALL_TIMEOUT_MS = 10_000;

/** Which recording; the code is a private room's. */
export interface Name {
  recording: string;
  code: string;
}

/** What to see of a recording. */
export interface Wish extends Name {
  /** Whose surroundings, by number; 0: the game chooses. */
  player: number;
  fromTick: number;
  speed: number;
  /** Only the state at that tick. */
  isStill: boolean;
}

export interface PastListener {
  welcomed(welcome: Welcome, replica: Replica): void;
  updated(update: Update): void;
  /** The stream is over, and nothing more is said: `undefined` where nothing is left to show, else what went wrong. */
  ended(trouble: Trouble | undefined): void;
}

/** A reason, as services Play and Replays list them, and whether it is of no use to try again. */
export class Trouble extends Error {
  constructor(
    readonly reason: string,
    readonly isFinal: boolean,
  ) {
    super(reason);
  }
}

/** What the player of replays needs of a server. */
export interface Past {
  /** Opens a stream; returns what closes it, after which the listener is told nothing. */
  watch(wish: Wish, listener: PastListener): () => void;
}

export class Archive implements Past {
  readonly #replays: Client<typeof Replays>;
  readonly #play: Client<typeof Play>;
  readonly #tickets: Tickets;

  constructor(baseUrl: string) {
    const transport = createGrpcWebTransport({ baseUrl, useBinaryFormat: true });
    this.#replays = createClient(Replays, transport);
    this.#play = createClient(Play, transport);
    this.#tickets = new Tickets(createClient(Lobby, transport));
  }

  /** Newest first. Throws `Trouble`, as the other calls do. */
  async list(pageSize: number): Promise<ReplaysListResponse> {
    return called(this.#replays.list({ pageSize }, { timeoutMs: CALL_TIMEOUT_MS }));
  }

  async timeline({ recording, code }: Name, afterTick: number): Promise<TimelineResponse> {
    return called(this.#replays.timeline({ name: recording, code, afterTick }, { timeoutMs: CALL_TIMEOUT_MS }));
  }

  /** The file, a piece at a time. */
  async *download({ recording, code }: Name, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const { headers } = await this.#tickets.of(recording);
    try {
      for await (const { data } of this.#replays.download({ name: recording, code }, { signal, headers })) yield data;
    } catch (error) {
      throw this.#refused(error);
    }
  }

  watch(wish: Wish, listener: PastListener): () => void {
    const stop = new AbortController();
    void this.#run(wish, listener, stop.signal);
    return () => stop.abort();
  }

  async #run(wish: Wish, listener: PastListener, signal: AbortSignal): Promise<void> {
    const { recording, code, player, fromTick, isStill } = wish;
    const request = { recording, code, player, fromTick, speedPercent: Math.round(wish.speed * 100), still: isStill };
    let trouble: Trouble | undefined;
    // A page that does not look shall not be told; and a broken stream is closed here, not left to the server.
    const own = new AbortController();
    signal.addEventListener("abort", () => own.abort());
    try {
      let replica: Replica | undefined;
      const { headers } = await this.#tickets.of(recording);
      if (signal.aborted) return;
      for await (const { message } of this.#play.watch(request, { signal: own.signal, headers })) {
        if (signal.aborted) return;
        if (message.case === "welcome") {
          replica = Replica.forWelcome(message.value);
          if (replica === undefined) throw new Trouble("MALFORMED", true);
          listener.welcomed(message.value, replica);
        } else if (message.case === "update" && replica !== undefined) {
          replica.apply(message.value);
          listener.updated(message.value);
        }
      }
    } catch (error) {
      trouble = this.#refused(error);
      own.abort();
    }
    if (!signal.aborted) listener.ended(trouble);
  }

  /** A ticket may have run out, or be for a server that is gone: the next call asks for another. */
  #refused(error: unknown): Trouble {
    this.#tickets.forget();
    return troubleOf(error);
  }
}

async function called<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw troubleOf(error);
  }
}

const FINAL_CODES = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.FailedPrecondition,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.DataLoss,
  Code.Unimplemented,
]);
const FINAL_REASONS = new Set(["RECORDING_TOO_LARGE"]);

export function troubleOf(error: unknown): Trouble {
  if (error instanceof Trouble) return error;
  // The replica came apart from the server's: the next stream starts from nothing.
  if (error instanceof ReplicaError) return new Trouble("REPLICA_BROKE", false);
  const connectError = ConnectError.from(error);
  const reason = reasonOf(connectError);
  const isUnanswered = connectError.code === Code.Unavailable || connectError.code === Code.Unknown;
  if (isUnanswered && connectError.details.length === 0) return new Trouble("UNREACHABLE", false);
  return new Trouble(reason, FINAL_CODES.has(connectError.code) || FINAL_REASONS.has(reason));
}
