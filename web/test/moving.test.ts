// A room that moves to another server, or is restored on one: what a session and its picture do.

import { beforeEach, describe, expect, it } from "vitest";
import { Flight } from "../src/flight";
import { appliedHash } from "../src/net/hash";
import { Session, type SessionState } from "../src/net/session";
import type { Scene } from "../src/scene";
import { waiting } from "../src/words";
import { COAST, FIRE, start as started, welcome as welcomed, World } from "./world";

type Reconnecting = Extract<SessionState, { kind: "reconnecting" }>;

let world: World;
let session: Session;

const welcome = (more?: Partial<Record<string, unknown>>): void => welcomed(world, more);
const start = (tick: number): void => started(world, tick);

beforeEach(async () => {
  world = new World();
  session = new Session(world, { welcomed: () => {}, updated: () => {}, noticed: () => {}, changed: () => {} });
  session.start();
  await world.pass(0);
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
    // Just after it was looked whether the stream is alive.
    await world.pass(210);
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

describe("the picture of a room that moves", () => {
  it("stays until there is another one", async () => {
    const entered: Scene[] = [];
    world = new World();
    const flight = new Flight(world, { entered: (scene) => entered.push(scene), changed: () => {}, noticed: () => {} });
    flight.session.start();
    await world.pass(0);
    welcome({ epoch: 3n });
    start(10);
    expect(entered.length).toBe(1);
    world.socket.says({ case: "redirect", value: { ticket: "there", expiresInS: 60, epoch: 4n } });
    world.socket.events.closed(4014, "ROOM_MOVED: to another server");
    welcome({ resumed: true, epoch: 4n });
    expect(flight.scene).toBe(entered[0]);
    expect(flight.scene?.tick).toBe(10);
    start(12);
    expect(entered.length).toBe(2);
    expect(flight.scene).toBe(entered[1]);
    expect(flight.scene?.tick).toBe(12);
  });
});
