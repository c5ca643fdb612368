// Tickets for those who only look on. An edge finds a room's server by them; a server alone does without.

import { Code, type Client } from "@connectrpc/connect";
import type { JoinRequest, Lobby } from "../gen/fray/v1/lobby_pb";
import { JOIN_MS } from "./connection";
import { endedOf } from "./refusals";

export interface Spectator {
  /** The room; empty: not known. */
  roomId: string;
  /** For the calls that need the ticket. */
  headers: Record<string, string>;
}

/** What has no ticket is not asked for again for so long. */
const NONE_MS = 30_000;
/** Tickets are used for this share of their time. */
const USED_SHARE = 0.75;

const NOBODY: Spectator = { roomId: "", headers: {} };

export class Tickets {
  readonly #kept = new Map<string, { until: number; spectator: Promise<Spectator> }>();

  constructor(
    readonly lobby: Client<typeof Lobby>,
    readonly now: () => number = () => performance.now(),
  ) {}

  /** A new one for a room; none from a server that knows no such tickets. Throws what the call throws. */
  async fresh(room: JoinRequest["room"]): Promise<Spectator> {
    return (await this.#ask(room)).spectator;
  }

  /** For a recording, of a room that may still play: many calls in a row use one. Never throws; a call that needs a ticket
      and has none is refused, and says so. */
  of(recording: string): Promise<Spectator> {
    const kept = this.#kept.get(recording);
    if (kept !== undefined && this.now() < kept.until) return kept.spectator;
    // By its name, of a private room, too: its code goes with the call itself, and nobody knows it but who has the recording.
    const asked = this.#ask({ case: "roomId", value: recording });
    const entry = {
      until: this.now() + NONE_MS,
      spectator: asked.then(
        ({ spectator, expiresInS }) => {
          entry.until = this.now() + expiresInS * 1000 * USED_SHARE;
          return spectator;
        },
        () => NOBODY,
      ),
    };
    // One is looked at at a time: others' tickets run out by themselves.
    this.#kept.clear();
    this.#kept.set(recording, entry);
    return entry.spectator;
  }

  /** A call with it was refused. */
  forget(): void {
    this.#kept.clear();
  }

  async #ask(room: JoinRequest["room"]): Promise<{ spectator: Spectator; expiresInS: number }> {
    try {
      const seat = await this.lobby.join({ requestId: randomId(), room, spectate: true }, { timeoutMs: JOIN_MS });
      const spectator = { roomId: seat.room?.roomId ?? "", headers: { authorization: `Bearer ${seat.ticket}` } };
      return { spectator, expiresInS: seat.expiresInS };
    } catch (error) {
      if (endedOf(error).code === Code.Unimplemented) return { spectator: NOBODY, expiresInS: NONE_MS / 1000 };
      throw error;
    }
  }
}

/** 16 random bytes as hex. Pages that are not served securely have no randomUUID. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
