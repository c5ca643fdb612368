// The session against a fake server, in virtual time.

import { Code } from "@connectrpc/connect";
import { beforeEach, describe, expect, it } from "vitest";
import { Notice_Kind, Resync_Reason } from "../src/gen/fray/v1/play_pb";
import { appliedHash } from "../src/net/hash";
import { Failed, Session, type SessionState } from "../src/net/session";
import { COAST, FIRE, start as started, welcome as welcomed, World } from "./world";

let world: World;
let session: Session;
let states: SessionState["kind"][];

const welcome = (more?: Partial<Record<string, unknown>>): void => welcomed(world, more);
const start = (tick: number): void => started(world, tick);

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
