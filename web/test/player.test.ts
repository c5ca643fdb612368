// The player of replays against a fake server, in virtual time: the fake gives out streams by the rules of `Play.Watch`.

import { create } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, it } from "vitest";
import { UpdateSchema, WelcomeSchema } from "../src/gen/fray/v1/play_pb";
import { Trouble, type Past, type PastListener, type Wish } from "../src/net/archive";
import { Replica } from "../src/net/replica";
import { Player, type PlayerHost } from "../src/replay/player";
import { Timeline } from "../src/replay/timeline";
import { timelineOf } from "./recordings";

const TICK_MS = 50;
const NEWEST = 0xffffffff;

class Stream {
  isClosed = false;
  #tick = 0;
  readonly #replica: Replica;

  constructor(
    readonly wish: Wish,
    readonly listener: PastListener,
  ) {
    const world = { positionBits: 20, cellBits: 18, unitBits: 8 };
    const welcome = create(WelcomeSchema, { game: "arena", tickRateHz: 20, world });
    this.#replica = Replica.forWelcome(welcome)!;
    listener.welcomed(welcome, this.#replica);
  }

  update(tick: number): void {
    const update = create(UpdateSchema, { tick, baseTick: this.#tick });
    this.#tick = tick;
    this.#replica.apply(update);
    this.listener.updated(update);
  }

  still(): void {
    this.update(this.wish.fromTick);
    this.listener.ended(undefined);
  }

  fail(reason: string, isFinal: boolean): void {
    this.listener.ended(new Trouble(reason, isFinal));
  }
}

class World implements PlayerHost, Past {
  time = 1000;
  timers: { at: number; run: () => void }[] = [];
  streams: Stream[] = [];

  now(): number {
    return this.time;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.time + ms, run };
    this.timers.push(timer);
    return () => (this.timers = this.timers.filter((other) => other !== timer));
  }

  watch(wish: Wish, listener: PastListener): () => void {
    const stream = new Stream(wish, listener);
    this.streams.push(stream);
    return () => (stream.isClosed = true);
  }

  pass(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const next = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== next);
      this.time = Math.max(this.time, next.at);
      next.run();
    }
    this.time = end;
  }

  get stream(): Stream {
    return this.streams.at(-1)!;
  }

  get open(): Stream[] {
    return this.streams.filter(({ isClosed }) => !isClosed);
  }
}

let world: World;
let player: Player;
let timeline: Timeline;
let cuts: boolean[];
let mayBeOver: number;

function start(recording: object = {}): void {
  world = new World();
  timeline = new Timeline(timelineOf([], recording), world.time);
  cuts = [];
  mayBeOver = 0;
  player = new Player(world, world, { recording: "r", code: "c" }, timeline, {
    changed: () => {},
    showed: (_, isCut) => cuts.push(isCut),
    updated: () => {},
    mayBeOver: () => (mayBeOver += 1),
  });
}

/** Streams updates as the server does, and draws frames between them. */
function run(seconds: number): void {
  const { stream } = world;
  const { speed } = stream.wish;
  const span = Math.max(1, speed);
  let tick = player.scene === undefined || world.streams.length === 1 ? stream.wish.fromTick : Math.max(stream.wish.fromTick, 1);
  for (let at = 0; at < seconds * 1000; at += (span * TICK_MS) / speed) {
    stream.update(tick);
    tick += span;
    for (let frame = 0; frame < 4; frame++) {
      world.pass((span * TICK_MS) / speed / 4);
      player.frame(world.time);
    }
  }
}

beforeEach(() => start());

describe("playing", () => {
  it.each([0.25, 1, 4, 16])("goes through %d times as many ticks as life", (speed) => {
    player.setSpeed(speed);
    player.play();
    expect(world.stream.wish).toMatchObject({ recording: "r", code: "c", fromTick: 100, speed, isStill: false });
    run(1);
    const before = player.position;
    expect(before).toBeGreaterThan(100);
    expect(before - 100).toBeLessThanOrEqual(20 * speed);
    expect(before - 100).toBeGreaterThan(20 * speed - 3 * Math.max(1, speed) - 2);
  });

  it("stands still at a whole tick when paused, and goes on from there", () => {
    player.play();
    const stream = world.stream;
    run(1);
    player.pause();
    expect([player.mode, stream.isClosed]).toEqual(["paused", true]);
    const { position } = player;
    expect(position).toBe(Math.round(position));
    expect(world.stream.wish).toMatchObject({ fromTick: position, isStill: true });
    world.stream.still();
    expect(player.scene).toMatchObject({ tick: position, shownTick: position });
    for (let frame = 0; frame < 10; frame++) {
      world.pass(16);
      player.frame(world.time);
    }
    expect([player.position, player.scene!.shownTick]).toEqual([position, position]);
    player.toggle();
    expect(world.stream.wish).toMatchObject({ fromTick: position, isStill: false });
    // The first picture, then one that follows on, again, and again.
    world.stream.update(position);
    expect(cuts).toEqual([true, false, false]);
  });

  it("ends at the last tick, once that is shown, and begins anew", () => {
    player.play();
    run(0.5);
    const stream = world.stream;
    stream.listener.ended(undefined);
    expect(player.mode).toBe("playing");
    world.pass(1000);
    player.frame(world.time);
    expect([player.mode, player.position, mayBeOver]).toEqual(["ended", player.scene!.tick, 1]);
    player.toggle();
    expect(world.stream.wish.fromTick).toBe(100);
  });

  it("changes speed where it is, once the key is let go", () => {
    player.play();
    run(1);
    player.changeSpeed(1);
    player.changeSpeed(1);
    expect([player.speed, world.streams.length]).toEqual([4, 1]);
    world.pass(200);
    expect(world.streams.length).toBe(2);
    expect(world.stream.wish).toMatchObject({ fromTick: Math.floor(player.position), speed: 4 });
    player.changeSpeed(9);
    expect(player.speed).toBe(16);
  });

  it("follows whom it is told to, from the same tick", () => {
    player.play();
    run(1);
    player.follow(7);
    expect(world.stream.wish).toMatchObject({ player: 7, fromTick: Math.floor(player.position), isStill: false });
    player.pause();
    world.stream.still();
    player.follow(0);
    expect(world.stream.wish).toMatchObject({ player: 0, fromTick: player.position, isStill: true });
  });

  it("has no stream open while nobody looks", () => {
    player.play();
    run(1);
    player.hide(true);
    expect(world.open.length).toBe(0);
    world.pass(60_000);
    player.hide(false);
    expect(world.open.map(({ wish }) => wish.fromTick)).toEqual([Math.floor(player.position)]);
  });
});

describe("seeking", () => {
  it("asks for one still at a time, and then for the latest", () => {
    player.grab();
    for (const tick of [200, 300, 400, 500]) player.seek(tick);
    expect(world.streams.map(({ wish }) => wish.fromTick)).toEqual([200]);
    world.stream.still();
    expect(player.scene!.tick).toBe(200);
    expect(player.position).toBe(500);
    expect(world.streams.map(({ wish }) => wish.fromTick)).toEqual([200, 500]);
    player.seek(500);
    world.stream.still();
    player.release();
    expect([player.scene!.tick, player.mode, world.streams.length, player.isWaiting]).toEqual([500, "paused", 2, false]);
  });

  it("stays within the recording", () => {
    player.seek(5);
    expect(player.position).toBe(100);
    player.seek(99_999);
    expect(player.position).toBe(1100);
  });

  it("plays on afterwards if it played before", () => {
    player.play();
    run(1);
    const played = world.stream;
    player.grab();
    player.seek(800);
    world.pass(5000);
    expect([played.isClosed, player.isGoing, player.mode]).toEqual([true, true, "paused"]);
    player.release();
    expect([player.mode, world.stream.wish.isStill, world.stream.wish.fromTick]).toEqual(["playing", false, 800]);
  });

  it("plays on when single steps are over", () => {
    player.play();
    run(1);
    player.step(100);
    world.pass(200);
    player.step(100);
    world.pass(200);
    expect(player.mode).toBe("paused");
    world.pass(100);
    expect([player.mode, world.stream.wish.isStill]).toEqual(["playing", false]);
    expect(world.stream.wish.fromTick).toBeGreaterThan(300);
  });

  it("gives up a still that does not come, and asks again", () => {
    player.seek(300);
    world.pass(9000);
    expect(world.streams.map(({ isClosed }) => isClosed)).toEqual([true, false]);
    world.stream.still();
    expect(player.scene!.tick).toBe(300);
  });

  it("goes on to the same tick after the end was seen", () => {
    player.seek(1100);
    world.stream.still();
    world.pass(1000);
    player.play();
    expect(world.stream.wish.fromTick).toBe(100);
  });
});

describe("a running room", () => {
  beforeEach(() => start({ running: true }));

  it("is live at its newest tick", () => {
    player.live();
    expect([player.isLive, world.stream.wish.fromTick]).toEqual([true, NEWEST]);
    world.stream.update(1101);
    player.frame(world.time);
    expect(player.position).toBe(1101);
    player.setSpeed(4);
    expect([player.speed, player.isLive]).toEqual([1, true]);
    player.seek(300);
    expect(player.isLive).toBe(false);
  });

  it("becomes live when a fast one comes up with it", () => {
    player.seek(1000);
    world.stream.still();
    world.pass(500);
    player.setSpeed(16);
    player.play();
    run(0.6);
    expect([player.isLive, player.speed, world.stream.wish.fromTick]).toEqual([true, 1, NEWEST]);
  });

  it("becomes live too when its time line lags, once the stream goes no faster than life", () => {
    timeline.recording.lastTick = 1300;
    player.seek(1150);
    world.stream.still();
    world.pass(300);
    player.setSpeed(8);
    player.play();
    for (let tick = 1200; tick < 1240; tick++) {
      if (player.isLive) break;
      world.stream.update(tick);
      world.pass(TICK_MS);
      player.frame(world.time);
    }
    expect([player.isLive, player.speed]).toEqual([true, 1]);
  });

  it("opens the stream anew when it is late, but not at once again", () => {
    player.live();
    for (let tick = 1101; world.streams.length === 1 && tick < 1400; tick++) {
      world.stream.update(tick);
      world.pass(2 * TICK_MS);
      timeline.grow(timelineOf([], { running: true, lastTick: 1101 + Math.round((world.time - 1000) / TICK_MS) }), world.time);
      player.frame(world.time);
    }
    expect([player.isLive, world.stream.wish.fromTick, world.streams.length]).toEqual([true, NEWEST, 2]);
    expect(world.time).toBeGreaterThan(6000);
  });

  it("asks whether it is over when its stream ends", () => {
    player.live();
    world.stream.update(1101);
    world.stream.listener.ended(undefined);
    expect(mayBeOver).toBe(1);
  });
});

describe("trouble", () => {
  it("is tried again from where it was, when that may help", () => {
    player.play();
    run(1);
    world.stream.fail("UNREACHABLE", false);
    expect([player.mode, player.trouble?.reason]).toEqual(["playing", "UNREACHABLE"]);
    world.pass(2000);
    expect(world.stream.wish.fromTick).toBe(Math.floor(player.position));
    world.stream.update(world.stream.wish.fromTick);
    expect(player.trouble).toBeUndefined();
  });

  it("ends it, when it does not", () => {
    player.seek(300);
    world.stream.fail("RECORDING_DAMAGED", true);
    world.pass(60_000);
    expect([player.mode, world.streams.length]).toEqual(["failed", 1]);
  });

  it("does not stop it from playing on after a still failed", () => {
    player.play();
    run(1);
    player.step(100);
    world.stream.fail("OVERLOADED", false);
    world.pass(300);
    expect([player.mode, world.stream.wish.isStill]).toEqual(["playing", false]);
    const streams = world.streams.length;
    world.pass(5000);
    expect(world.streams.length).toBe(streams);
  });
});
