// A visitor's first minutes: the page loads, one click and one flies, friends see each other, networks fail.

import { mkdirSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { launch, open, type Opened } from "./browser";
import { startServer, startSwarm, type Running } from "./servers";

interface State {
  state: string;
  tick: number;
  entities: number;
  shown: number;
  entity: number;
  ship: { x: number; y: number; heading: number; thrust: number } | undefined;
  drawn: { x: number; y: number } | undefined;
  ships: { id: number; x: number; y: number }[];
  desyncs: number;
  resyncs: number;
  mismatches: number;
  reconnects: number;
  checksums: number;
}

const OUT = new URL("out/", import.meta.url).pathname;
const BOTS = 8;

let browser: Browser;
let server: Running & { url: string };
let swarm: Running;
const opened: Opened[] = [];

async function visit(size?: { width: number; height: number }, touch = false): Promise<Page> {
  const visitor = await open(browser, server.url, size, touch);
  opened.push(visitor);
  return visitor.page;
}

function state(page: Page): Promise<State> {
  return page.evaluate(() => (window as unknown as { fray: { state: State } }).fray.state);
}

async function until(page: Page, what: (state: State) => boolean): Promise<State> {
  let last: State | undefined;
  for (let tries = 0; tries < 200; tries++) {
    last = await state(page);
    if (what(last)) return last;
    await page.waitForTimeout(50);
  }
  throw new Error(`it never came to that: ${JSON.stringify({ ...last, ships: last?.ships.length })}`);
}

async function play(page: Page, name: string): Promise<State> {
  await page.fill("#name", name);
  await page.click("#play");
  return until(page, isFlying);
}

function isFlying(now: State): boolean {
  return now.state === "playing" && now.ship !== undefined;
}

/** Returns its code. */
async function openPrivateRoom(page: Page): Promise<string> {
  await page.click("summary");
  await page.click("#create");
  await until(page, isFlying);
  const code = /code (\S+)/.exec((await page.textContent("#banner")) ?? "")?.[1] ?? "";
  expect(code).not.toBe("");
  return code;
}

async function joinByCode(page: Page, code: string): Promise<void> {
  if (!(await page.isVisible("#code"))) await page.click("summary");
  await page.fill("#code", code);
  await page.click("#join-code");
}

function shot(page: Page, name: string): Promise<unknown> {
  return page.screenshot({ path: `${OUT}${name}.png` });
}

beforeAll(async () => {
  mkdirSync(OUT, { recursive: true });
  [server, browser] = await Promise.all([startServer("--grace", "20s"), launch()]);
  swarm = startSwarm(server.url, BOTS);
});

afterEach(async () => {
  const problems = opened.flatMap((visitor) => visitor.problems);
  const states = await Promise.all(opened.map(({ page }) => state(page)));
  await Promise.all(opened.map(({ page }) => page.context().close()));
  opened.length = 0;
  expect(problems).toEqual([]);
  for (const { desyncs, resyncs, mismatches } of states) expect({ desyncs, resyncs, mismatches }).toEqual({ desyncs: 0, resyncs: 0, mismatches: 0 });
});

afterAll(async () => {
  await browser?.close();
  await swarm?.stop();
  await server?.stop();
});

it("shows the lobby over a room that plays on, and lists the room", async () => {
  const page = await visit();
  await page.waitForSelector("#room-list li");
  const first = await until(page, (now) => now.state === "watching" && now.entities > 0);
  await until(page, (now) => now.tick > first.tick + 10);
  await page.waitForTimeout(500);
  await shot(page, "lobby");
  expect(await page.textContent("#room-list")).toContain("pilots");
});

it("flies after one click, and the ship obeys", async () => {
  const page = await visit();
  await page.waitForSelector("#room-list li");
  const before = await play(page, "Ada");
  expect(before.entities).toBeGreaterThan(BOTS / 2);
  await page.keyboard.down("KeyW");
  await page.keyboard.down("KeyD");
  await page.waitForTimeout(600);
  await page.keyboard.up("KeyD");
  await page.keyboard.down("Space");
  const after = await until(page, (now) => now.ship !== undefined && now.ship.heading !== before.ship!.heading
    && Math.hypot(now.ship.x - before.ship!.x, now.ship.y - before.ship!.y) > 60);
  expect(after.checksums).toBeGreaterThan(0);
  await page.waitForTimeout(1500);
  await shot(page, "flight");
  await page.keyboard.press("n");
  await page.waitForTimeout(2500);
  await shot(page, "graph");
});

it("shows each of two pilots the other's flight", async () => {
  const [one, two] = await Promise.all([visit(), visit()]);
  const code = await openPrivateRoom(one);
  await joinByCode(two, code);
  const [first, second] = [await until(one, isFlying), await until(two, isFlying)];
  // Ships come into the world far from each other: fly until they meet.
  await meet(one, two);
  for (const [flyer, watcher, ship] of [[one, two, first.entity], [two, one, second.entity]] as const) {
    const before = await until(watcher, (now) => now.ships.some(({ id }) => id === ship));
    const from = before.ships.find(({ id }) => id === ship)!;
    await flyer.keyboard.down("KeyW");
    await until(watcher, (now) => {
      const to = now.ships.find(({ id }) => id === ship);
      return to !== undefined && Math.hypot(to.x - from.x, to.y - from.y) > 40;
    });
    await flyer.keyboard.up("KeyW");
  }
  await shot(one, "two-pilots");
});

/** The first aims at the second with the mouse, and thrusts, until each sees the other. */
async function meet(one: Page, two: Page): Promise<void> {
  await one.keyboard.down("KeyW");
  for (let tries = 0; tries < 300; tries++) {
    const [here, there] = [await state(one), await state(two)];
    if (here.ships.some(({ id }) => id === there.entity) && there.ships.some(({ id }) => id === here.entity)) {
      await one.keyboard.up("KeyW");
      return;
    }
    if (here.ship !== undefined && there.ship !== undefined) {
      const way = (to: number, from: number): number => ((to - from + 3 * 2048) % 4096) - 2048;
      const [dx, dy] = [way(there.ship.x, here.ship.x), way(there.ship.y, here.ship.y)];
      const length = Math.hypot(dx, dy);
      await one.mouse.move(640 + (dx / length) * 330, 360 + (dy / length) * 330);
    }
    await one.waitForTimeout(100);
  }
  throw new Error("they did not meet");
}

it("comes back to the same ship after the stream is cut", async () => {
  const page = await visit();
  const before = await play(page, "Kathleen");
  await page.keyboard.down("KeyW");
  for (let cut = 1; cut <= 3; cut++) {
    await page.waitForTimeout(400);
    await page.evaluate(() => (window as unknown as { fray: { cutSocket(): void } }).fray.cutSocket());
    const after = await until(page, (now) => now.state === "playing" && now.reconnects === cut && now.tick > before.tick);
    expect(after.entity).toBe(before.entity);
  }
});

it("says what happens while the server is away, and goes on when it is back", async () => {
  const page = await visit();
  const before = await play(page, "Hedy");
  // No route to the server: new sockets and calls fail.
  await page.context().setOffline(true);
  await page.evaluate(() => (window as unknown as { fray: { cutSocket(): void } }).fray.cutSocket());
  await page.waitForTimeout(1200);
  expect(await page.textContent("#status")).toMatch(/^Reconnecting… your ship holds course for \d+ s$/);
  await shot(page, "reconnecting");
  // The browser's own reports of the calls that failed.
  opened[0]!.problems.length = 0;
  await page.context().setOffline(false);
  const after = await until(page, (now) => now.state === "playing" && now.ship !== undefined);
  expect(after.entity).toBe(before.entity);
  await until(page, (now) => now.tick > after.tick);
  opened[0]!.problems.length = 0;
});

it("lets go of the ship when the page is hidden, and is up to date when it is shown again", async () => {
  const page = await visit();
  await play(page, "Mary");
  await page.keyboard.down("KeyW");
  await until(page, (now) => (now.ship?.thrust ?? 0) > 0);
  const hide = (isHidden: boolean): Promise<void> =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
  await page.keyboard.up("KeyW");
  await page.keyboard.down("KeyW");
  await hide(true);
  const hidden = await until(page, (now) => now.ship?.thrust === 0);
  await hide(false);
  await until(page, (now) => now.state === "playing" && now.tick > hidden.tick + 5);
});

it("keeps few connections open, so that many windows can play", async () => {
  // Browsers open six to a host, for all windows together; each of these needs one to join.
  const context = await browser.newContext();
  const pages = await Promise.all(Array.from({ length: 8 }, () => context.newPage()));
  for (const [index, page] of pages.entries()) {
    await page.goto(server.url);
    await play(page, `Window ${index + 1}`);
  }
  for (const page of pages) await until(page, isFlying);
  await context.close();
});

it("plays in a private room by its code", async () => {
  const [host, guest] = await Promise.all([visit(), visit()]);
  const code = await openPrivateRoom(host);
  await joinByCode(guest, code);
  const joined = await until(guest, isFlying);
  expect(joined.entity).not.toBe((await state(host)).entity);
  await guest.waitForFunction(() => document.querySelectorAll("#ranking li").length === 2);
  await guest.keyboard.press("Escape");
  await joinByCode(guest, "nosuchcode");
  await guest.waitForFunction(() => (document.querySelector("#join-status")?.textContent ?? "") !== "");
  opened[1]!.problems.length = 0;
});

it("leaves, and the room goes on behind the lobby", async () => {
  const page = await visit();
  await play(page, "Barbara");
  await page.keyboard.press("Escape");
  await until(page, (now) => now.state === "watching" && now.entities > 0);
  expect(await page.isVisible("#play")).toBe(true);
});

it("fits a phone, and thumbs fly it", async () => {
  const page = await visit({ width: 360, height: 740 }, true);
  await page.waitForSelector("#room-list li");
  await shot(page, "phone-lobby");
  const before = await play(page, "Thumb");
  const touch = await page.context().newCDPSession(page);
  const at = (type: string, ...points: [number, number][]): Promise<unknown> =>
    touch.send("Input.dispatchTouchEvent", { type: type as "touchStart", touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  await at("touchStart", [90, 600]);
  await at("touchMove", [140, 560]);
  await at("touchStart", [140, 560], [300, 600]);
  await until(page, (now) => now.ship !== undefined && Math.hypot(now.ship.x - before.ship!.x, now.ship.y - before.ship!.y) > 40);
  await shot(page, "phone-flight");
  await at("touchEnd");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  expect(wide).toBeLessThanOrEqual(360);
});

it("fits a 4K screen", async () => {
  const page = await visit({ width: 3840, height: 2160 });
  await page.waitForSelector("#room-list li");
  await page.waitForTimeout(1000);
  await shot(page, "4k-lobby");
  await play(page, "Wide");
  await page.keyboard.down("KeyW");
  await page.keyboard.down("Space");
  await page.keyboard.press("n");
  await page.waitForTimeout(2500);
  await shot(page, "4k-flight");
});

it("runs under the policy that the server sends", async () => {
  const answer = await fetch(server.url);
  const policy = answer.headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toMatch(/script-src 'sha256-[^' ]+'(;|$)/);
  expect(policy).toMatch(/style-src 'sha256-[^' ]+'(;|$)/);
  expect(policy).not.toContain("unsafe");
});
