// The own ship ahead of a server that is a few ticks away, in virtual time.

import { describe, expect, it } from "vitest";
import { TickClock } from "../src/clock";
import { advance, difference, steer, type Body, type Entity } from "../src/net/model";
import { MoveLog, NEUTRAL, type Controls } from "../src/net/moves";
import { Predictor } from "../src/predict";
import { Track } from "../src/tracks";
import { Motions } from "../src/net/model";
import { appliedHash } from "../src/net/hash";

const WORLD = { positionBits: 20, cellBits: 18, unitBits: 8 };
const MOTION = { turnRate: 125, acceleration: 178, speedMax: 4352, dragShift: 7, launchSpeed: 0, launchDistance: 0 };
const TICK_MS = 50;
const AHEAD: Controls = { axisX: 0, axisY: 127, aim: undefined, buttons: 0 };
const LEFT: Controls = { axisX: -127, axisY: 127, aim: undefined, buttons: 0 };

function body(): Body {
  return { x: 1000, y: 2 ** 20 - 500, vx: 0, vy: 0, heading: 0, turn: 0, thrust: 0 };
}

/** A server: the same rules, and moves that arrive some time after they were made. */
class Server {
  ship = body();
  tick = 100;
  held: Controls = NEUTRAL;
  underway: { at: number; sequence: number; controls: Controls }[] = [];
  marginMs = 0;
  acked = 0;
  hash = 0;

  step(now: number): void {
    this.tick += 1;
    while (this.underway[0] !== undefined && this.underway[0].at <= now) {
      const { at, sequence, controls } = this.underway.shift()!;
      this.marginMs = now - at;
      this.held = controls;
      this.acked = sequence;
      this.hash = appliedHash(this.hash, { sequence, ...controls, payload: new Uint8Array() });
    }
    steer(this.ship, this.held, MOTION);
    advance(this.ship, MOTION, WORLD);
  }
}

/** Flies for a while, 60 frames a second. `controls` says what is held when; `jitter` how late an update is. */
function fly(options: {
  roundTripMs: number;
  ms: number;
  controls: (ms: number) => Controls;
  jitter?: (tick: number) => number;
  meddle?: (server: Server) => void;
}): { server: Server; predictor: Predictor; steps: number[]; errors: number[] } {
  const { roundTripMs, ms, controls, jitter = () => 0, meddle } = options;
  const server = new Server();
  const clock = new TickClock(20);
  const predictor = new Predictor(MOTION, WORLD, TICK_MS);
  const moves = new MoveLog();
  predictor.assumeRoundTrip(roundTripMs);
  const updates: { at: number; tick: number; ship: Body; ack: [number, number, number] }[] = [];
  const truth = new Map<number, Body>();
  const steps: number[] = [];
  const errors: number[] = [];
  let nextTick = 0;
  let last: { x: number; y: number } | undefined;
  const frameMs = 1000 / 60;
  for (let now = 0; now < ms; now += frameMs) {
    while (nextTick <= now) {
      meddle?.(server);
      server.step(nextTick);
      truth.set(server.tick, { ...server.ship });
      const at = nextTick + roundTripMs / 2 + jitter(server.tick);
      updates.push({ at, tick: server.tick, ship: { ...server.ship }, ack: [server.acked, server.hash, server.marginMs] });
      nextTick += TICK_MS;
    }
    while (updates[0] !== undefined && updates[0].at <= now) {
      const { at, tick, ship, ack } = updates.shift()!;
      clock.arrived(tick, at);
      const acked = moves.acknowledge({ inputAck: ack[0], appliedCount: ack[0], appliedHash: ack[1] } as never);
      if (acked !== undefined) predictor.learn(acked, tick, 1, ack[2]);
      predictor.reconcile(ship, tick, moves);
    }
    const tick = clock.at(now) + predictor.lead;
    const held = controls(now);
    if (held !== moves.last) {
      const move = moves.record(held, tick);
      if (move !== undefined) server.underway.push({ at: now + roundTripMs / 2, ...move });
    }
    const pose = predictor.pose(tick, held, moves, frameMs);
    if (pose !== undefined && last !== undefined) {
      steps.push(Math.hypot(difference(WORLD, pose.x, last.x), difference(WORLD, pose.y, last.y)) / 256);
    }
    if (pose !== undefined) last = { x: pose.x, y: pose.y };
    const whole = truth.get(Math.floor(tick));
    if (pose !== undefined && whole !== undefined && tick % 1 < 0.3) {
      errors.push(Math.hypot(difference(WORLD, pose.x, whole.x), difference(WORLD, pose.y, whole.y)) / 256);
    }
  }
  expect(moves.mismatches).toBe(0);
  return { server, predictor, steps, errors };
}

const weave = (ms: number): Controls => (ms < 400 ? NEUTRAL : Math.floor(ms / 350) % 2 === 0 ? AHEAD : LEFT);

describe("the own ship", () => {
  it("goes on from where it was drawn, on another stream", () => {
    const ship = { ...body(), vx: 2000 };
    const moves = new MoveLog();
    const predictor = new Predictor(MOTION, WORLD, TICK_MS);
    predictor.reconcile(ship, 100, moves);
    const drawn = { ...predictor.pose(104, NEUTRAL, moves, 16)! };
    // The room stood still for some ticks while it moved: the ship is behind what was drawn.
    predictor.continueFrom(drawn);
    predictor.reconcile(ship, 101, moves);
    const first = { ...predictor.pose(101, NEUTRAL, moves, 0)! };
    expect(Math.abs(difference(WORLD, first.x, drawn.x))).toBeLessThan(1);
    const later = predictor.pose(101, NEUTRAL, moves, 200)!;
    expect(Math.abs(difference(WORLD, later.x, ship.x))).toBeLessThan(1);
    expect(predictor.corrections).toBe(0);
  });

  it("is never corrected while only its own moves steer it, however far the server is", () => {
    for (const roundTripMs of [0, 20, 80, 150]) {
      const { predictor } = fly({ roundTripMs, ms: 12_000, controls: weave });
      // The first few moves teach when moves are applied.
      expect(predictor.corrections, `${roundTripMs} ms`).toBeLessThan(6);
    }
  });

  it("moves in the frame of the key press", () => {
    const { predictor } = fly({ roundTripMs: 100, ms: 2000, controls: () => NEUTRAL });
    const moves = new MoveLog();
    const before = predictor.pose(200.5, NEUTRAL, moves, 0)!.heading;
    const after = predictor.pose(200.5, LEFT, moves, 16)!.heading;
    expect(after).not.toBe(before);
  });

  it("glides to where the server has it, and is there within 100 ms", () => {
    let isPushed = false;
    const meddle = (server: Server): void => {
      if (server.tick === 140 && !isPushed) {
        isPushed = true;
        server.ship.y = (server.ship.y + 40 * 256) & (2 ** 20 - 1);
      }
    };
    const { predictor, steps, server } = fly({ roundTripMs: 60, ms: 4000, controls: () => NEUTRAL, meddle });
    expect(server.ship.y).not.toBe(body().y);
    expect(predictor.corrections).toBe(1);
    expect(predictor.lastCorrection).toBeCloseTo(40, 0);
    // 40 units, never more than 18 of them in a frame, and all but two within six frames.
    const push = steps.findIndex((step) => step > 0.5);
    expect(Math.max(...steps)).toBeLessThan(18);
    const within = steps.slice(push, push + 6).reduce((sum, step) => sum + step, 0);
    expect(within).toBeGreaterThan(37);
  });

  it("does not stutter when updates come unevenly", () => {
    const jitter = (tick: number): number => (tick * 7919) % 23;
    const { steps } = fly({ roundTripMs: 60, ms: 8000, controls: (ms) => (ms < 100 ? NEUTRAL : AHEAD), jitter });
    const late = steps.slice(240);
    const mean = late.reduce((sum, step) => sum + step, 0) / late.length;
    for (const step of late) expect(Math.abs(step - mean)).toBeLessThan(0.5 * mean);
  });

  it("is not drawn while it is dead, and jumps to where it comes back", () => {
    const predictor = new Predictor(MOTION, WORLD, TICK_MS);
    const moves = new MoveLog();
    predictor.reconcile(body(), 10, moves);
    expect(predictor.pose(10.5, NEUTRAL, moves, 16)).toBeDefined();
    predictor.reconcile(undefined, 11, moves);
    expect(predictor.pose(11.5, NEUTRAL, moves, 16)).toBeUndefined();
    predictor.reconcile({ ...body(), x: 400_000, y: 400_000 }, 12, moves);
    expect(predictor.pose(12, NEUTRAL, moves, 16)).toMatchObject({ x: 400_000, y: 400_000 });
    expect(predictor.corrections).toBe(0);
  });
});

describe("others", () => {
  const entity = (more: Partial<Entity>): Entity => ({
    id: 1, kind: 2, x: 0, y: 0, vx: 0, vy: 0, heading: 0, turn: 0, thrust: 0, attributes: new Int32Array(8), payload: undefined, ...more,
  });
  const at = (track: Track, tick: number): { x: number; heading: number } =>
    track.pose(tick, WORLD, new Motions(), { x: 0, y: 0, vx: 0, vy: 0, heading: 0, thrust: 0 });

  it("are between two states, over the edge of the torus too", () => {
    const track = new Track(1, 2, 10, true, entity({}));
    track.push(10, entity({ x: 2 ** 20 - 100, heading: 65000 }));
    track.push(11, entity({ x: 100, heading: 464 }));
    expect(at(track, 10.5).x % 2 ** 20).toBeCloseTo(0);
    expect(at(track, 10.5).heading % 65536).toBeCloseTo(65500);
  });

  it("follow their velocities over ticks that were skipped", () => {
    const track = new Track(1, 2, 10, true, entity({}));
    track.push(10, entity({ x: 0, vx: 100 }));
    track.push(14, entity({ x: 400, vx: 100 }));
    for (const part of [0.25, 0.5, 0.75]) expect(at(track, 10 + 4 * part).x).toBeCloseTo(400 * part);
  });

  it("go on along their way when no update comes, but not for ever", () => {
    const track = new Track(1, 2, 10, true, entity({}));
    track.push(10, entity({ x: 0, vx: 100 }));
    expect(at(track, 12).x).toBeCloseTo(200);
    expect(at(track, 500).x).toBeLessThan(2000);
  });
});

describe("the clock", () => {
  it("follows the server's ticks whatever the jitter", () => {
    const clock = new TickClock(20);
    for (let tick = 1; tick < 400; tick++) clock.arrived(tick, tick * 50 + ((tick * 7919) % 19));
    expect(clock.at(400 * 50)).toBeGreaterThan(399.5);
    expect(clock.at(400 * 50)).toBeLessThan(400.1);
    expect(clock.delay()).toBeLessThanOrEqual(2);
  });

  it("is set anew when the server's is", () => {
    const clock = new TickClock(20);
    for (let tick = 1; tick < 50; tick++) clock.arrived(tick, tick * 50);
    for (let tick = 5000; tick < 5010; tick++) clock.arrived(tick, (tick - 4950) * 50);
    expect(clock.at(60 * 50)).toBeCloseTo(5010, 0);
  });
});
