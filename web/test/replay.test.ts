// The replays' arithmetic: formats, links, time lines, clocks at other speeds.

import { describe, expect, it } from "vitest";
import { TickClock } from "../src/clock";
import { Marker_Kind } from "../src/gen/fray/v1/replays_pb";
import { fileName } from "../src/replay/download";
import { agoText, clockText, sizeText } from "../src/replay/format";
import { isReplayPath, linkTo, parseLink } from "../src/replay/link";
import { Timeline } from "../src/replay/timeline";
import { troubleInWords } from "../src/replay/words";
import { timelineOf, type MarkerTuple } from "./recordings";

const { JOINED, KILL, LEFT, ROUND } = Marker_Kind;

describe("formats", () => {
  it("writes times, sizes and ages", () => {
    expect([0, 9.9, 65, 3725].map(clockText)).toEqual(["0:00", "0:09", "1:05", "1:02:05"]);
    expect([0, 812, 4200, 9960, 31_400_000, 999_600].map(sizeText)).toEqual(["0 B", "812 B", "4.2 KB", "10 KB", "31 MB", "1.0 MB"]);
    expect([-5, 59, 60, 7300, 200_000].map(agoText)).toEqual(["just now", "just now", "1 min ago", "2 h ago", "2 d ago"]);
  });

  it("saves under names that no folder can be in", () => {
    expect(fileName("../../etc/x y")).toBe("_.._etc_x_y.fray");
    expect(fileName("abc123")).toBe("abc123.fray");
  });

  it("has words for every reason, and never the reason itself", () => {
    for (const reason of ["RECORDING_NOT_FOUND", "RECORDING_DAMAGED", "SIM_VERSION_UNSUPPORTED", "WHATEVER"]) {
      expect(troubleInWords(reason, true)).not.toMatch(/[A-Z]_|undefined/);
    }
  });
});

describe("links", () => {
  it("come back as they were made", () => {
    const link = { recording: "room & more", tick: 0, code: "se cret", player: 3, plays: true };
    expect(parseLink(new URL(linkTo(link), "http://x").search)).toEqual(link);
    expect(linkTo({})).toBe("/replay");
    expect(linkTo({ recording: "a", code: "", player: 0 })).toBe("/replay?recording=a");
  });

  it("are read with care", () => {
    expect(parseLink("?tick=5")).toBeUndefined();
    expect(parseLink("?recording=a&tick=-5&player=1e3")).toEqual({ recording: "a", tick: undefined, code: "", player: 0, plays: false });
    expect(parseLink("?recording=a&tick=9999999999")!.tick).toBe(0xffffffff);
  });

  it("tell the replays from the game", () => {
    expect(["/replay", "/replay/", "/fray/replay", "/", "/replays"].map(isReplayPath)).toEqual([true, true, true, false, false]);
  });
});

describe("a time line", () => {
  it("maps ticks to places and back", () => {
    const timeline = new Timeline(timelineOf([]), 0);
    expect(timeline.partOf(600, 1100)).toBe(0.5);
    for (const tick of [100, 101, 777, 1100]) expect(timeline.tickAt(timeline.partOf(tick, 1100), 1100)).toBe(tick);
    expect([timeline.tickAt(-1, 1100), timeline.tickAt(2, 1100)]).toEqual([100, 1100]);
    expect(timeline.partOf(5, 100)).toBe(0);
    expect(timeline.seconds(140)).toBe(2);
  });

  it("grows between answers while the room plays, but not for ever", () => {
    const timeline = new Timeline(timelineOf([], { running: true }), 1000);
    expect([1000, 2000, 3025, 100_000].map((now) => timeline.last(now))).toEqual([1100, 1120, 1140, 1220]);
    expect(new Timeline(timelineOf([]), 1000).last(9000)).toBe(1100);
    // Asked again at once it is as it was, and goes on; later it stands still.
    timeline.grow(timelineOf([], { running: true }), 1100);
    expect(timeline.last(2100)).toBe(1120);
    timeline.grow(timelineOf([], { running: true }), 4000);
    expect(timeline.last(6000)).toBe(1100);
    timeline.saw(1130);
    expect(timeline.last(6000)).toBe(1130);
  });

  it("adds what came since, each once", () => {
    const timeline = new Timeline(timelineOf([[110, JOINED, 1, 0, "Ada"]], { running: true }), 0);
    expect(timeline.askAfter).toBe(1100);
    expect(timeline.grow(timelineOf([[1100, KILL, 1, 2], [1150, KILL, 1, 2]], { lastTick: 1160 }), 0)).toBe(false);
    expect(timeline.markers.map(({ tick }) => tick)).toEqual([110, 1150]);
    expect(timeline.askAfter).toBe(1160);
  });

  it("asks again for the tick at which an answer was cut off", () => {
    const many: MarkerTuple[] = Array.from({ length: 10_000 }, (_, index) => [100 + Math.floor(index / 3), KILL, 1, 2]);
    const timeline = new Timeline(timelineOf(many, { lastTick: 99_999 }), 0);
    // 9999 is the only one of its tick that came.
    expect(timeline.markers.length).toBe(9999);
    expect(timeline.askAfter).toBe(100 + 3332);
  });

  it("says who did what, by the name of that time", () => {
    const timeline = new Timeline(
      timelineOf([[110, JOINED, 1, 0, "Ada"], [120, JOINED, 2, 0, "Bob"], [200, KILL, 1, 2], [210, KILL, 2, 2], [220, LEFT, 1], [300, JOINED, 1, 0, "Eve"], [310, KILL, 1, 2], [400, ROUND, 0]]),
      0,
    );
    expect(timeline.markers.map((marker) => timeline.textOf(marker))).toEqual([
      "Ada joined", "Bob joined", "Ada ▸ Bob", "Bob was lost", "Ada left", "Eve joined", "Eve ▸ Bob", "A round began",
    ]);
  });

  it("finds what is near, kills first", () => {
    const timeline = new Timeline(timelineOf([[200, JOINED, 1], [204, KILL, 1, 2], [500, KILL, 1, 2]]), 0);
    expect(timeline.nearest(200, 10)?.tick).toBe(204);
    expect(timeline.nearest(350, 10)).toBeUndefined();
  });

  it("leads from kill to kill, a little before each", () => {
    const timeline = new Timeline(timelineOf([[110, KILL, 1, 2], [300, KILL, 1, 2], [500, KILL, 3, 4]]), 0);
    expect(timeline.killFrom(100, true)).toBe(270);
    expect(timeline.killFrom(270, true)).toBe(470);
    expect(timeline.killFrom(270, true, 1)).toBeUndefined();
    expect(timeline.killFrom(480, false)).toBe(270);
    expect(timeline.killFrom(275, false)).toBe(100);
  });
});

describe("a clock", () => {
  it.each([0.25, 1, 16])("runs %d times as fast as life, and stays behind what came", (speed) => {
    const tickRateHz = 20;
    const span = Math.max(1, speed);
    const clock = new TickClock(tickRateHz, speed, span);
    const msPerUpdate = (span * 1000) / tickRateHz / speed;
    let now = 5000;
    let tick = 700;
    for (let update = 0; update < 60; update++) {
      clock.arrived(tick, now);
      const shown = clock.at(now + msPerUpdate * 0.99) - clock.delay();
      expect(shown).toBeLessThanOrEqual(tick + 0.01);
      expect(shown).toBeGreaterThan(tick - 2 * span - 1);
      tick += span;
      now += msPerUpdate;
    }
    const before = clock.at(now);
    expect(clock.at(now + 100) - before).toBeCloseTo((100 / 1000) * tickRateHz * speed, 6);
  });
});
