// A server and a browser for sessions, in virtual time.

import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import {
  PlayRequestSchema,
  PlayResponseSchema,
  WelcomeSchema,
  type PlayRequest,
  type PlayResponseSchema as PlayResponseType,
} from "../src/gen/fray/v1/play_pb";
import type { Host, Seat, SocketEvents } from "../src/net/session";

type Response = NonNullable<MessageInitShape<typeof PlayResponseType>["message"]>;

/** Time stands still until it is told to go on. */
export class World implements Host {
  time = 1000;
  timers: { at: number; run: () => void }[] = [];
  sockets: FakeSocket[] = [];
  tickets: string[] = [];
  joins: { requestId: string; resumeToken: string }[] = [];
  joinFails: Error | undefined;
  ids = 0;

  now(): number {
    return this.time;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.time + ms, run };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  fraction(): number {
    return 0.5;
  }

  requestId(): string {
    return `wish-${(this.ids += 1)}`;
  }

  openSocket(ticket: string, events: SocketEvents): FakeSocket {
    const socket = new FakeSocket(events);
    this.tickets.push(ticket);
    this.sockets.push(socket);
    return socket;
  }

  join(requestId: string, resumeToken: string): Promise<Seat> {
    this.joins.push({ requestId, resumeToken });
    const ticket = resumeToken === "" ? "ticket" : "fresh";
    return this.joinFails === undefined ? Promise.resolve({ ticket, expiresInS: 60 }) : Promise.reject(this.joinFails);
  }

  get rejoins(): string[] {
    return this.joins.map(({ resumeToken }) => resumeToken).filter((token) => token !== "");
  }

  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      await Promise.resolve();
      await Promise.resolve();
      const next = this.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== next);
      this.time = next.at;
      next.run();
    }
    this.time = end;
  }

  get socket(): FakeSocket {
    return this.sockets.at(-1)!;
  }
}

export class FakeSocket {
  sent: PlayRequest["message"][] = [];
  isClosed = false;

  constructor(readonly events: SocketEvents) {}

  send(bytes: Uint8Array): void {
    this.sent.push(fromBinary(PlayRequestSchema, bytes).message);
  }

  close(): void {
    this.isClosed = true;
  }

  says(message: Response): void {
    this.events.received(toBinary(PlayResponseSchema, create(PlayResponseSchema, { message })));
  }

  of<K extends PlayRequest["message"]["case"]>(kind: K): Extract<PlayRequest["message"], { case: K }>["value"][] {
    return this.sent.filter((message) => message.case === kind).map((message) => message.value as never);
  }
}

export const WELCOME = {
  protocolMin: 1,
  protocolMax: 1,
  tickRateHz: 20,
  world: { positionBits: 16, cellBits: 14, unitBits: 4 },
  stalenessWindowMs: 1000,
  heartbeatMs: 1000,
  idleTimeoutMs: 15000,
  graceMs: 30000,
  resumeToken: "secret",
  player: 1,
  entity: 7,
} satisfies MessageInitShape<typeof WelcomeSchema>;

export const FIRE = { axisX: 0, axisY: 127, aim: undefined, buttons: 1 };
export const COAST = { axisX: 0, axisY: 0, aim: undefined, buttons: 0 };

/** The stream opens, and the server welcomes. */
export function welcome(world: World, more: Partial<Record<string, unknown>> = {}): void {
  world.socket.events.opened();
  world.socket.says({ case: "welcome", value: { ...WELCOME, ...more } as never });
}

/** A keyframe of an empty cell 0, at a tick. */
export function start(world: World, tick: number): void {
  const cells = [{ place: tick % 128, encoding: { case: "keyframe" as const, value: new Uint8Array([0]) } }];
  world.socket.says({ case: "update", value: { tick, baseTick: 0, cellsAdded: [0], cells } });
}
