// The session against a fake server, in virtual time.

import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { beforeEach, describe, expect, it } from "vitest";
import {
  Notice_Kind,
  PlayRequestSchema,
  PlayResponseSchema,
  Resync_Reason,
  WelcomeSchema,
  type PlayRequest,
  type PlayResponseSchema as PlayResponseType,
} from "../src/gen/fray/v1/play_pb";
import { appliedHash } from "../src/net/hash";
import { waiting } from "../src/words";
import { Failed, Session, type Host, type Seat, type SessionState, type SocketEvents } from "../src/net/session";

type Reconnecting = Extract<SessionState, { kind: "reconnecting" }>;
type Response = NonNullable<MessageInitShape<typeof PlayResponseType>["message"]>;

/** Time stands still until it is told to go on. */
class World implements Host {
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

class FakeSocket {
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

const WELCOME = {
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

const FIRE = { axisX: 0, axisY: 127, aim: undefined, buttons: 1 };
const COAST = { axisX: 0, axisY: 0, aim: undefined, buttons: 0 };

let world: World;
let session: Session;
let states: SessionState["kind"][];

function welcome(more: Partial<Record<string, unknown>> = {}): void {
  world.socket.events.opened();
  world.socket.says({ case: "welcome", value: { ...WELCOME, ...more } as never });
}

/** A keyframe of an empty cell 0, at a tick. */
function start(tick: number): void {
  const cells = [{ place: tick % 128, encoding: { case: "keyframe" as const, value: new Uint8Array([0]) } }];
  world.socket.says({ case: "update", value: { tick, baseTick: 0, cellsAdded: [0], cells } });
}

beforeEach(async () => {
  world = new World();
  states = [];
  const listener = {
    welcomed: () => {},
    updated: () => {},
    noticed: () => {},
    changed: (state: SessionState) => states.push(state.kind),
  };
  session = new Session(world, listener);
  session.start();
  await world.pass(0);
});

/** A refusal of `Join`. */
function refusal(code: Code, reason = ""): Failed {
  return new Failed({ code, reason });
}

describe("a session", () => {
  it("says hello first, and plays after the welcome", () => {
    expect(world.tickets).toEqual(["ticket"]);
    expect(world.socket.sent).toEqual([]);
    welcome();
    expect(world.socket.sent[0]).toMatchObject({ case: "hello", value: { protocolVersion: 1, resumeToken: "" } });
    expect(session.state.kind).toBe("playing");
  });

  it("acknowledges at least every quarter of the window", async () => {
    welcome();
    start(10);
    for (let tick = 11; tick <= 50; tick++) {
      await world.pass(50);
      world.socket.says({ case: "update", value: { tick } });
      const newest = world.socket.of("ping").at(-1)?.seenTick ?? 0;
      expect(tick - newest).toBeLessThanOrEqual(5);
    }
    expect(session.replica?.tick).toBe(50);
  });

  it("measures the round trip", async () => {
    welcome();
    start(10);
    const { echo } = world.socket.of("ping").at(-1)!;
    expect(echo).not.toBe(0n);
    await world.pass(35);
    world.socket.says({ case: "pong", value: { echo, tick: 11 } });
    expect(session.traffic.ping).toBe(35);
  });

  it("numbers moves from 1, sends them only when they change, and at most once a tick", async () => {
    welcome();
    expect(session.steer(COAST, 5)).toBeUndefined();
    expect(session.steer(FIRE, 5)?.sequence).toBe(1);
    expect(session.steer(COAST, 5)).toBeUndefined();
    await world.pass(50);
    expect(session.steer(COAST, 6)?.sequence).toBe(2);
    await world.pass(50);
    expect(session.steer({ ...COAST }, 7)).toBeUndefined();
    expect(world.socket.of("move").map((move) => move.sequence)).toEqual([1, 2]);
  });

  it("never has more than 64 moves unacknowledged", async () => {
    welcome();
    for (let turn = 0; turn < 100; turn++) {
      await world.pass(50);
      world.socket.says({ case: "pong", value: { tick: turn } });
      session.steer(turn % 2 === 0 ? FIRE : COAST, turn);
    }
    expect(world.socket.of("move").length).toBe(64);
  });

  it("checks count and hash of applied moves", async () => {
    welcome();
    start(10);
    session.steer(FIRE, 11);
    await world.pass(50);
    session.steer(COAST, 12);
    const payload = new Uint8Array();
    const one = appliedHash(0, { sequence: 1, ...FIRE, payload });
    const two = appliedHash(one, { sequence: 2, ...COAST, payload });
    const ack = (inputAck: number, hash: number) => ({ inputAck, appliedCount: inputAck, appliedHash: hash });
    world.socket.says({ case: "update", value: { tick: 11, moveAck: ack(1, one) } });
    expect(session.moves.pending.map((move) => move.sequence)).toEqual([2]);
    world.socket.says({ case: "update", value: { tick: 12, moveAck: ack(2, two) } });
    expect(session.moves.mismatches).toBe(0);
    world.socket.says({ case: "update", value: { tick: 13, moveAck: ack(2, 99) } });
    expect(session.moves.mismatches).toBe(1);
  });
});

describe("a replica that broke", () => {
  it("is thrown away, and only a new start is taken", () => {
    welcome();
    start(10);
    world.socket.says({ case: "update", value: { tick: 12 } });
    expect(world.socket.of("resync")).toMatchObject([{ reason: Resync_Reason.BASE_MISMATCH, tick: 12 }]);
    world.socket.says({ case: "update", value: { tick: 13 } });
    expect(world.socket.of("resync").length).toBe(1);
    expect(session.replica?.tick).toBe(0);
    start(14);
    expect(session.replica?.tick).toBe(14);
    expect(session.desyncs).toBe(0);
  });

  it("by a checksum is a desync", () => {
    welcome();
    start(10);
    world.socket.says({ case: "update", value: { tick: 11, viewChecksum: 1 } });
    expect(world.socket.of("resync")).toMatchObject([{ reason: Resync_Reason.CHECKSUM_MISMATCH }]);
    expect(session.desyncs).toBe(1);
  });

  it("asks again when no new start comes", async () => {
    welcome();
    start(10);
    world.socket.says({ case: "update", value: { tick: 12 } });
    for (let beat = 0; beat < 5; beat++) {
      await world.pass(1000);
      world.socket.says({ case: "pong", value: { tick: 12 + beat } });
    }
    expect(world.socket.of("resync").length).toBeGreaterThan(1);
  });
});

describe("a stream that breaks", () => {
  it("is opened again with the ticket and the resume token, and moves are sent again", async () => {
    welcome();
    start(10);
    session.steer(FIRE, 11);
    world.socket.events.closed(1006, "");
    expect(session.state).toMatchObject({ kind: "reconnecting", graceUntil: world.time + 30000 });
    expect(session.steer(COAST, 12)).toBeUndefined();
    await world.pass(100);
    expect(world.rejoins).toEqual([]);
    expect(world.tickets).toEqual(["ticket", "ticket"]);
    welcome({ resumed: true });
    expect(world.socket.sent[0]).toMatchObject({ case: "hello", value: { resumeToken: "secret" } });
    expect(world.socket.of("move").map((move) => move.sequence)).toEqual([1]);
    expect(states).toEqual(["playing", "reconnecting", "playing"]);
    expect(session.moves.mismatches).toBe(0);
    expect(session.reconnects).toBe(1);
  });

  it("gets a fresh ticket where the old one is of no use", async () => {
    welcome();
    world.socket.events.closed(4009, "WRONG_SERVER: the room is on another server");
    await world.pass(100);
    expect(world.joins.at(-1)).toEqual({ requestId: "wish-2", resumeToken: "secret" });
    expect(world.tickets).toEqual(["ticket", "fresh"]);
    welcome({ resumed: true });
    expect(session.state.kind).toBe("playing");
  });

  it("does not send again what was applied before it broke", async () => {
    welcome();
    session.steer(FIRE, 11);
    await world.pass(50);
    session.steer(COAST, 12);
    session.cutSocket();
    await world.pass(100);
    const hash = appliedHash(0, { sequence: 1, ...FIRE, payload: new Uint8Array() });
    welcome({ resumed: true, lastAppliedSequence: 1, appliedCount: 1, appliedHash: hash });
    expect(world.socket.of("move").map((move) => move.sequence)).toEqual([2]);
    expect(session.moves.mismatches).toBe(0);
  });

  it("holds the controls again that the server let go", async () => {
    welcome();
    session.steer(FIRE, 11);
    const hash = appliedHash(0, { sequence: 1, ...FIRE, payload: new Uint8Array() });
    start(10);
    world.socket.says({
      case: "update",
      value: { tick: 11, moveAck: { inputAck: 1, appliedCount: 1, appliedHash: hash } },
    });
    session.cutSocket();
    await world.pass(100);
    welcome({ resumed: true, lastAppliedSequence: 1, appliedCount: 1, appliedHash: hash });
    expect(session.steer(FIRE, 20)?.sequence).toBe(2);
  });

  it("goes on from where the server stands when it forgot moves", async () => {
    welcome();
    for (const controls of [FIRE, COAST, FIRE]) {
      await world.pass(50);
      session.steer(controls, 11);
    }
    session.cutSocket();
    await world.pass(100);
    welcome({ resumed: true, lastAppliedSequence: 0 });
    expect(world.socket.of("move").map((move) => move.sequence)).toEqual([1, 2, 3]);
  });

  it("is noticed when nothing comes any more", async () => {
    welcome();
    start(10);
    await world.pass(6000);
    expect(world.sockets.length).toBeGreaterThan(1);
  });

  it("is tried again and again, ever more slowly", async () => {
    welcome();
    world.joinFails = new Error("no network");
    world.socket.events.closed(4016, "TICKET_INVALID: expired");
    await world.pass(40_000);
    expect(world.rejoins.length).toBeGreaterThan(15);
    expect(world.rejoins.length).toBeLessThan(60);
    expect(session.state.kind).toBe("reconnecting");
    world.joinFails = undefined;
    await world.pass(3000);
    welcome({ resumed: true });
    expect(session.state.kind).toBe("playing");
  });

  it("is not tried for ever", async () => {
    welcome();
    world.joinFails = new Error("no network");
    world.socket.events.closed(4016, "TICKET_INVALID: expired");
    await world.pass(60_000);
    expect(session.state).toEqual({ kind: "ended", reason: "UNREACHABLE" });
    expect(world.timers).toEqual([]);
  });

  it("ends when the session is no more", async () => {
    welcome();
    world.joinFails = refusal(Code.NotFound, "SESSION_NOT_FOUND");
    world.socket.events.closed(4014, "SHUTTING_DOWN: the server is shutting down");
    await world.pass(1000);
    expect(session.state).toEqual({ kind: "ended", reason: "SESSION_NOT_FOUND" });
    expect(world.timers).toEqual([]);
  });

  it.each([
    [4010, "TAKEN_OVER: another stream took this session over", "TAKEN_OVER"],
    [4007, "KICKED: by an operator", "KICKED"],
    [4005, "ROOM_LOST: its server is gone", "ROOM_LOST"],
    [4005, "SESSION_NOT_FOUND: there is no such session", "SESSION_NOT_FOUND"],
    [4009, "PROTOCOL_UNSUPPORTED: no", "PROTOCOL_UNSUPPORTED"],
  ])("ends for good with %i %s", async (code, text, reason) => {
    welcome();
    world.socket.events.closed(code, text);
    await world.pass(60_000);
    expect(session.state).toEqual({ kind: "ended", reason });
    expect(world.sockets.length).toBe(1);
  });

  it.each([
    [4014, "SHUTTING_DOWN: the server is shutting down"],
    [4004, "IDLE_TIMEOUT: nothing was heard"],
    [4016, "TICKET_INVALID: expired"],
    [4008, "MOVE_FLOOD: more than 64"],
    [4000, ""],
    [1000, "a proxy"],
    [1001, ""],
  ])("comes back after %i %s", async (code, text) => {
    welcome();
    world.socket.events.closed(code, text);
    await world.pass(1000);
    expect(world.sockets.length).toBe(2);
  });

  it("does not listen to a socket that it gave up", async () => {
    welcome();
    const old = world.socket;
    session.cutSocket();
    await world.pass(100);
    welcome({ resumed: true });
    old.events.closed(4010, "TAKEN_OVER: by ourselves");
    expect(session.state.kind).toBe("playing");
    expect(old.isClosed).toBe(true);
  });
});

describe("a room that moves", () => {
  const HASH = appliedHash(0, { sequence: 1, ...FIRE, payload: new Uint8Array() });
  const APPLIED = { lastAppliedSequence: 1, appliedCount: 1, appliedHash: HASH };

  /** One move is applied, and one is under way. */
  async function playOn(): Promise<void> {
    welcome({ epoch: 3n });
    start(10);
    session.steer(FIRE, 11);
    await world.pass(50);
    world.socket.says({ case: "update", value: { tick: 11, moveAck: { inputAck: 1, appliedCount: 1, appliedHash: HASH } } });
    session.steer(COAST, 12);
  }

  function redirect(ticket = "there", epoch = 4n): void {
    world.socket.says({ case: "redirect", value: { ticket, expiresInS: 60, epoch } });
  }

  it("is followed at once, with what is under way, and the server holds the controls", async () => {
    await playOn();
    redirect();
    world.socket.events.closed(4014, "ROOM_MOVED: to another server");
    expect(world.tickets).toEqual(["ticket", "there"]);
    expect(session.state).toMatchObject({ kind: "reconnecting", isMoving: true, since: world.time });
    expect(waiting(session.state as Reconnecting, world.time + 499)).toBe("");
    expect(waiting(session.state as Reconnecting, world.time + 500)).toContain("another server");
    expect(waiting(session.state as Reconnecting, world.time + 5000)).toContain("Reconnecting");
    welcome({ resumed: true, epoch: 4n, ...APPLIED });
    expect(world.socket.sent[0]).toMatchObject({ case: "hello", value: { resumeToken: "secret" } });
    expect(world.socket.of("move").map((move) => move.sequence)).toEqual([2]);
    expect(session.moves.applied).toEqual(FIRE);
    expect(world.joins.length).toBe(1);
    expect([session.redirects, session.reconnects, session.moves.mismatches]).toEqual([1, 0, 0]);
  });

  it("is followed though the stream does not end", async () => {
    await playOn();
    redirect();
    await world.pass(199);
    expect(world.tickets).toEqual(["ticket"]);
    await world.pass(1);
    expect(world.tickets).toEqual(["ticket", "there"]);
    expect(world.sockets[0]!.isClosed).toBe(true);
  });

  it("is looked for at once where there is no redirect", async () => {
    await playOn();
    world.socket.events.closed(4014, "ROOM_MOVED: to another server");
    await world.pass(50);
    expect(world.rejoins).toEqual(["secret"]);
    expect(world.tickets).toEqual(["ticket", "fresh"]);
    expect([session.redirects, session.reconnects]).toEqual([1, 0]);
  });

  it("is not believed to be where it was before", async () => {
    await playOn();
    redirect();
    world.socket.events.closed(4014, "ROOM_MOVED: to another server");
    welcome({ resumed: true, epoch: 3n, ...APPLIED });
    expect(session.state.kind).toBe("reconnecting");
    expect(world.socket.of("move")).toEqual([]);
    await world.pass(50);
    expect(world.rejoins).toEqual(["secret"]);
    welcome({ resumed: true, epoch: 4n, ...APPLIED });
    expect(session.state.kind).toBe("playing");
  });

  it("and was restored sets the session back: its moves are gone, and their numbers are free", async () => {
    await playOn();
    session.cutSocket();
    await world.pass(100);
    welcome({ resumed: true, restoredAgeMs: 7000n, epoch: 4n });
    expect(world.socket.of("move")).toEqual([]);
    expect([session.moves.setBack, session.moves.mismatches]).toEqual([2, 0]);
    start(3);
    expect(session.replica?.tick).toBe(3);
    expect(session.steer(FIRE, 4)?.sequence).toBe(1);
    world.socket.says({ case: "update", value: { tick: 4, moveAck: { inputAck: 1, appliedCount: 1, appliedHash: HASH } } });
    expect(session.moves.mismatches).toBe(0);
  });

  it("and was restored with a move that was not acknowledged has applied that one", async () => {
    welcome();
    session.steer(FIRE, 11);
    await world.pass(50);
    session.steer(COAST, 12);
    session.cutSocket();
    await world.pass(100);
    welcome({ resumed: true, restoredAgeMs: 7000n, ...APPLIED });
    expect([session.moves.setBack, session.moves.mismatches]).toEqual([1, 0]);
    expect(session.steer(FIRE, 20)?.sequence).toBe(2);
  });

  it("that falls back without a word has lost moves", async () => {
    await playOn();
    session.cutSocket();
    await world.pass(100);
    welcome({ resumed: true, epoch: 4n });
    expect([session.moves.setBack, session.moves.mismatches]).toEqual([0, 1]);
  });
});

describe("getting in", () => {
  const connecting = { kind: "connecting", isBusy: false };

  async function begin(joinFails: Error): Promise<void> {
    world = new World();
    world.joinFails = joinFails;
    session = new Session(world, { welcomed: () => {}, updated: () => {}, noticed: () => {}, changed: () => {} });
    session.start();
    await world.pass(1000);
  }

  it("is tried again while nobody answers, as the same wish", async () => {
    await begin(new Error("no network"));
    expect(session.state).toEqual(connecting);
    expect(new Set(world.joins.map(({ requestId }) => requestId))).toEqual(new Set(["wish-1"]));
    expect(world.joins.length).toBeGreaterThan(2);
    world.joinFails = undefined;
    await world.pass(2000);
    welcome();
    expect(session.state.kind).toBe("playing");
  });

  it("is not tried for ever", async () => {
    await begin(refusal(Code.Unavailable, "DIRECTORY_AWAY"));
    await world.pass(60_000);
    expect(session.state).toEqual({ kind: "ended", reason: "UNREACHABLE" });
  });

  it("ends with a refusal that means it", async () => {
    await begin(refusal(Code.ResourceExhausted, "ROOM_FULL"));
    expect(session.state).toEqual({ kind: "ended", reason: "ROOM_FULL" });
    expect(world.joins.length).toBe(1);
  });

  it("says that the server is busy", async () => {
    await begin(refusal(Code.ResourceExhausted));
    expect(session.state).toEqual({ kind: "connecting", isBusy: true });
  });

  it("gives up a socket that does not open, and one that gets no Welcome", async () => {
    await world.pass(5200);
    expect(world.sockets.map(({ isClosed }) => isClosed)).toEqual([true, false]);
    world.socket.events.opened();
    await world.pass(9900);
    expect(world.sockets.length).toBe(2);
    await world.pass(500);
    expect(world.sockets[1]!.isClosed).toBe(true);
  });
});

describe("a room that stands still", () => {
  const notice = (kind: Notice_Kind): void => world.socket.says({ case: "notice", value: { kind, text: "for people" } });

  it("is shown, and waited for while the server is silent", async () => {
    welcome();
    notice(Notice_Kind.ROOM_FROZEN);
    expect(session.state).toEqual({ kind: "playing", isFrozen: true });
    await world.pass(12_000);
    expect(world.sockets.length).toBe(1);
    notice(Notice_Kind.ROOM_RESUMED);
    expect(session.state).toEqual({ kind: "playing", isFrozen: false });
  });

  it("keeps the ship for longer while its server is looked for", async () => {
    welcome();
    const lostAt = world.time;
    world.joinFails = refusal(Code.Unavailable, "OWNER_UNREACHABLE");
    world.socket.events.closed(4014, "LEASE_LOST: cut off");
    await world.pass(70_000);
    expect(session.state).toMatchObject({ kind: "reconnecting", isFrozen: true });
    expect((session.state as { graceUntil: number }).graceUntil).toBeGreaterThan(lostAt + 90_000);
    world.joinFails = refusal(Code.NotFound, "ROOM_LOST");
    await world.pass(3000);
    expect(session.state).toEqual({ kind: "ended", reason: "ROOM_LOST" });
  });
});

describe("leaving", () => {
  it("says good-bye and waits for the end", () => {
    welcome();
    session.leave();
    expect(world.socket.sent.at(-1)?.case).toBe("leave");
    world.socket.events.closed(4000, "");
    expect(session.state).toEqual({ kind: "ended", reason: "LEFT" });
  });

  it("does not wait long", async () => {
    welcome();
    session.leave();
    await world.pass(1500);
    expect(session.state.kind).toBe("ended");
  });
});

describe("a newer server", () => {
  it("may send what this client does not know", () => {
    welcome();
    world.socket.events.received(new Uint8Array([0xc2, 0x3e, 3, 1, 2, 3]));
    expect(session.state.kind).toBe("playing");
    expect(world.socket.of("resync")).toEqual([]);
  });

  it("that speaks another protocol ends the session", () => {
    welcome({ protocolMin: 2, protocolMax: 3 });
    expect(session.state).toEqual({ kind: "ended", reason: "PROTOCOL_UNSUPPORTED" });
  });
});
