// The doors to the server, for browsers: gRPC-Web for Lobby and Watch, a WebSocket for Play.

import { createClient, type Client } from "@connectrpc/connect";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Lobby, type JoinRequest, type JoinRequestSchema } from "../gen/fray/v1/lobby_pb";
import { Play, type Notice, type Update, type Welcome } from "../gen/fray/v1/play_pb";
import type { Room } from "../gen/fray/v1/world_pb";
import { HURRY_MS, JOIN_MS, ROOM_MOVED, STEADY_MS } from "./connection";
import { endedOf } from "./refusals";
import { Replica, ReplicaError } from "./replica";
import { Failed, type Host, type Seat, type Socket, type SocketEvents } from "./session";
import { randomId, Tickets } from "./tickets";

const RETRY_MS = 3000;
/** A spectator's stream that is this late is opened anew: it has no way to say that it cannot keep up. */
const BEHIND_MS_MAX = 2000;

export class Doors {
  readonly #lobby: Client<typeof Lobby>;
  readonly #play: Client<typeof Play>;
  readonly #tickets: Tickets;

  constructor(readonly baseUrl: string) {
    const transport = createGrpcWebTransport({ baseUrl, useBinaryFormat: true });
    this.#lobby = createClient(Lobby, transport);
    this.#play = createClient(Play, transport);
    this.#tickets = new Tickets(this.#lobby);
  }

  /** What a `Session` needs of a browser, for a player who wants to this room. */
  host(room: JoinRequest["room"], playerName: string, playerHue: number | undefined): Host {
    const hue = playerHue === undefined ? {} : { playerHue };
    return {
      now: () => performance.now(),
      after: (ms, run) => {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
      fraction: Math.random,
      requestId: randomId,
      openSocket: (ticket, events) => openSocket(this.baseUrl, ticket, events),
      join: (requestId, resumeToken) => this.#join({ requestId, resumeToken, playerName, room, ...hue }),
    };
  }

  async #join(request: MessageInitShape<typeof JoinRequestSchema>): Promise<Seat> {
    try {
      return await this.#lobby.join(request, { timeoutMs: JOIN_MS });
    } catch (error) {
      throw new Failed(endedOf(error));
    }
  }

  /** The public rooms, whenever they change; by themselves again after a failure. `failed` says that there is none now. */
  watchRooms(changed: (rooms: Room[]) => void, failed: () => void): () => void {
    const stop = new AbortController();
    const run = async (): Promise<void> => {
      const rooms = new Map<string, Room>();
      for await (const message of this.#lobby.watchRooms({}, { signal: stop.signal })) {
        for (const room of message.rooms) rooms.set(room.roomId, room);
        for (const id of message.endedRoomIds) rooms.delete(id);
        changed([...rooms.values()].sort((a, b) => b.players - a.players || (a.roomId < b.roomId ? -1 : 1)));
      }
    };
    void again(run, stop.signal, failed);
    return () => stop.abort();
  }

  /** The round trip of one small call, ms. */
  async measure(): Promise<number> {
    const start = performance.now();
    await this.#lobby.listRooms({ pageSize: 1 }, { timeoutMs: 3000 });
    return performance.now() - start;
  }

  /** Looks on at a room. Starts again by itself; returns what ends it. */
  watch(roomId: string, listener: WatchListener): () => void {
    const stop = new AbortController();
    let known = { roomId: "", epoch: 0n };
    const run = async (): Promise<void> => {
      let replica: Replica | undefined;
      let earliest = Infinity;
      let tickMs = 50;
      const { roomId: before, epoch: newest } = known;
      // A fresh one each time: the room may be on another server by now, and the fullest one another.
      const seat = await this.#tickets.fresh(roomId === "" ? { case: undefined } : { case: "roomId", value: roomId });
      const watched = { roomId: seat.roomId === "" ? roomId : seat.roomId };
      for await (const { message } of this.#play.watch(watched, { signal: stop.signal, headers: seat.headers })) {
        if (message.case === "welcome") {
          replica = Replica.forWelcome(message.value);
          if (replica === undefined) return;
          const { room, epoch } = message.value;
          // Whoever owned the room before knows less.
          if (room?.roomId === before && epoch < newest) return;
          known = { roomId: room?.roomId ?? "", epoch };
          tickMs = 1000 / Math.max(1, message.value.tickRateHz);
          listener.welcomed(message.value, replica);
        } else if (message.case === "update" && replica !== undefined) {
          try {
            replica.apply(message.value);
          } catch (error) {
            if (error instanceof ReplicaError) return;
            throw error;
          }
          const zeroAt = performance.now() - message.value.tick * tickMs;
          earliest = Math.min(earliest, zeroAt);
          if (zeroAt - earliest > BEHIND_MS_MAX && !document.hidden) return;
          listener.updated(message.value, replica);
        } else if (message.case === "notice") {
          listener.noticed(message.value);
        }
      }
    };
    void again(run, stop.signal, listener.failed);
    return () => stop.abort();
  }
}

export interface WatchListener {
  welcomed(welcome: Welcome, replica: Replica): void;
  updated(update: Update, replica: Replica): void;
  noticed(notice: Notice): void;
  failed(): void;
}

/** Runs it until it is stopped; not at once again after a failure, unless that was good for a while and says that the room moved. */
async function again(run: () => Promise<void>, stop: AbortSignal, failed: () => void): Promise<void> {
  while (!stop.aborted) {
    const began = performance.now();
    let pause = 200;
    try {
      await run();
    } catch (error) {
      if (stop.aborted) return;
      if (endedOf(error).reason === ROOM_MOVED && performance.now() - began >= STEADY_MS) {
        pause = HURRY_MS * Math.random();
      } else {
        failed();
        pause = RETRY_MS * (0.75 + Math.random() / 2);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function openSocket(baseUrl: string, ticket: string, events: SocketEvents): Socket {
  const url = new URL("/ws", baseUrl);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url, ["fray.v1", `ticket.${ticket}`]);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => events.opened());
  socket.addEventListener("message", ({ data }) => events.received(new Uint8Array(data as ArrayBuffer)));
  socket.addEventListener("close", ({ code, reason }) => events.closed(code, reason));
  return {
    send: (bytes) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(bytes as Uint8Array<ArrayBuffer>);
    },
    close: () => socket.close(),
  };
}
