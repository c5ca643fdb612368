// A spectator's visit: the list, a recording, the time line, a link to a tick.

import { mkdirSync, readFileSync, statSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { launch, open, type Opened } from "./browser";
import { startServer, startSwarm, type Running } from "./servers";

interface State {
  state: string;
  isLive: boolean;
  isWaiting: boolean;
  speed: number;
  position: number;
  last: number;
  follows: number;
  markers: number;
  ticksPerS: number;
  tick: number;
  shownTick: number;
  entities: number;
  viewChecksum: number;
  checksums: number;
}

const OUT = new URL("out/", import.meta.url).pathname;
const BOTS = 8;
/** Long enough for a few kills. */
const PLAYED_MS = 15_000;

let browser: Browser;
let server: Running & { url: string };
let swarm: Running;
const opened: Opened[] = [];

async function visit(path: string, size?: { width: number; height: number }, touch = false): Promise<Page> {
  const visitor = await open(browser, new URL(path, server.url).href, size, touch);
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
  throw new Error(`it never came to that: ${JSON.stringify(last)}`);
}

/** The running room, chosen from the list, live. */
async function openRunning(size?: { width: number; height: number }, touch = false): Promise<Page> {
  const page = await visit("/replay", size, touch);
  await page.click("#recording-list li:has(.badge.live) a");
  await until(page, (now) => now.state === "playing" && now.isLive && now.entities > 0);
  return page;
}

/** A still of exactly where it stands. */
function isStill(now: State): boolean {
  return now.state === "paused" && !now.isWaiting && now.tick === Math.round(now.position) && now.shownTick === now.tick;
}

async function clickBar(page: Page, part: number): Promise<void> {
  const box = (await page.locator("#bar").boundingBox())!;
  await page.mouse.click(box.x + 9 + (box.width - 18) * part, box.y + box.height / 2);
}

function shot(page: Page, name: string): Promise<unknown> {
  return page.screenshot({ path: `${OUT}${name}.png` });
}

beforeAll(async () => {
  mkdirSync(OUT, { recursive: true });
  [server, browser] = await Promise.all([startServer(), launch()]);
  swarm = startSwarm(server.url, BOTS);
  await new Promise((resolve) => setTimeout(resolve, PLAYED_MS));
});

afterEach(async () => {
  const problems = opened.flatMap((visitor) => visitor.problems);
  await Promise.all(opened.map(({ page }) => page.context().close()));
  opened.length = 0;
  expect(problems).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await swarm?.stop();
  await server?.stop();
});

it("lists the running room, and the lobby leads there", async () => {
  const page = await visit("/");
  await page.click("#rooms a[href='/replay']");
  await page.waitForSelector("#recording-list li");
  expect(await page.textContent("#recording-list li")).toMatch(/Live.*arena · .*\d:\d\d.*B/s);
  await page.waitForTimeout(500);
  await shot(page, "replay-list");
});

it("opens a room live, goes to its middle, and plays on four times as fast", async () => {
  const page = await openRunning();
  const live = await until(page, (now) => now.markers > BOTS);
  await page.waitForTimeout(1500);
  await shot(page, "replay-live");
  await page.keyboard.press("Space");
  await until(page, isStill);
  await clickBar(page, 0.5);
  const middle = await until(page, (now) => isStill(now) && now.position < live.position * 0.75);
  expect(middle.position).toBeGreaterThan(live.position * 0.35);
  await shot(page, "replay-paused");
  await page.selectOption("#speed", "4");
  await page.keyboard.press("Space");
  const begun = await until(page, (now) => now.state === "playing" && !now.isWaiting && now.position > middle.position);
  const from = Date.now();
  await page.waitForTimeout(1000);
  const after = await state(page);
  const pace = (after.position - begun.position) / ((Date.now() - from) / 1000);
  expect(pace / after.ticksPerS).toBeGreaterThan(3);
  expect(pace / after.ticksPerS).toBeLessThan(5);
  expect(after.checksums).toBeGreaterThan(0);
  await shot(page, "replay-fast");
});

it("shows whoever follows a link the same tick, and the same game", async () => {
  const page = await openRunning();
  const { last } = await state(page);
  await page.keyboard.press("Space");
  await until(page, isStill);
  for (const part of [0.25, 0.6]) {
    await clickBar(page, part);
    const here = await until(page, (now) => isStill(now) && Math.abs(now.position - last * part) < last * 0.2);
    await page.waitForFunction(() => location.search.includes("tick="));
    const other = await visit(new URL(page.url()).pathname + new URL(page.url()).search);
    const there = await until(other, isStill);
    expect([there.tick, there.viewChecksum, there.entities]).toEqual([here.tick, here.viewChecksum, here.entities]);
  }
});

it("scrubs while it is dragged, one still after the other", async () => {
  const page = await openRunning();
  const box = (await page.locator("#bar").boundingBox())!;
  const at = (part: number): [number, number] => [box.x + 9 + (box.width - 18) * part, box.y + box.height / 2];
  let [watching, most, asked] = [0, 0, 0];
  const isWatch = (url: string): boolean => url.endsWith("/Watch");
  await page.mouse.move(...at(0.9));
  await page.mouse.down();
  await page.waitForTimeout(300);
  page.on("request", (request) => {
    if (!isWatch(request.url())) return;
    asked += 1;
    most = Math.max(most, (watching += 1));
  });
  const done = (request: { url(): string }): void => {
    if (isWatch(request.url())) watching -= 1;
  };
  page.on("requestfinished", done);
  page.on("requestfailed", done);
  for (let part = 0.9; part > 0.2; part -= 0.02) await page.mouse.move(...at(part));
  const dragged = await until(page, (now) => isStill(now) && now.position < now.last * 0.4);
  expect(asked).toBeGreaterThan(1);
  expect(most).toBe(1);
  await page.mouse.up();
  // It played before, so it plays on.
  await until(page, (now) => now.state === "playing" && !now.isLive && now.position > dragged.position);
});

it("goes by keys: steps, speeds, the newest tick, and back to the list", async () => {
  const page = await openRunning();
  await page.keyboard.press("ArrowLeft");
  const back = await until(page, (now) => now.state === "playing" && !now.isLive && !now.isWaiting);
  expect(back.last - back.position).toBeGreaterThan(20);
  await page.keyboard.press("Shift+ArrowLeft");
  const still = await until(page, isStill);
  await page.keyboard.press("Shift+ArrowRight");
  const next = await until(page, (now) => isStill(now) && now.position !== still.position);
  expect(next.position).toBe(still.position + 1);
  await page.keyboard.press("ArrowUp");
  expect((await state(page)).speed).toBe(2);
  await page.keyboard.press("l");
  await until(page, (now) => now.isLive && now.speed === 1 && now.tick > next.tick);
  await page.keyboard.press("Escape");
  await page.waitForSelector("#recording-list li");
  expect(new URL(page.url()).search).toBe("");
  await page.goBack();
  await until(page, (now) => now.state !== "list" && now.entities > 0);
});

it("follows the pilot whose name is clicked", async () => {
  const page = await openRunning();
  await page.click("#ranking li:nth-child(2)");
  const now = await until(page, ({ follows, isWaiting }) => follows !== 0 && !isWaiting);
  expect(await page.inputValue("#follow")).toBe(String(now.follows));
  await page.waitForTimeout(1000);
  await shot(page, "replay-follow");
  await page.keyboard.press("Space");
  await until(page, isStill);
  expect(new URL(page.url()).searchParams.get("player")).toBe(String(now.follows));
});

it("saves a recording", async () => {
  const page = await openRunning();
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  expect(download.suggestedFilename()).toMatch(/^\w+\.fray$/);
  const path = (await download.path())!;
  expect(statSync(path).size).toBeGreaterThan(1000);
  expect(readFileSync(path).subarray(0, 4).toString("latin1")).toMatch(/^\S{4}/);
});

it("says in a line that a recording is gone", async () => {
  const page = await visit("/replay?recording=nosuchroom&tick=5");
  await page.waitForFunction(() => (document.querySelector("#status")?.textContent ?? "") !== "Opening the recording…");
  expect(await page.textContent("#status")).toMatch(/^That recording is gone/);
  await page.waitForSelector("#recording-list li");
  // The browser's own report of the refusal.
  opened[0]!.problems.length = 0;
});

it("rewinds a room that is watched from the lobby", async () => {
  const page = await visit("/");
  await page.click("#room-list li button:has-text('Watch')");
  await page.waitForTimeout(1000);
  await page.click("#rewind");
  await page.waitForURL(/\/replay\?recording=/);
  await until(page, (now) => now.state === "playing" && !now.isLive && now.entities > 0);
});

it("fits a phone", async () => {
  const page = await openRunning({ width: 360, height: 740 }, true);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  expect(wide).toBeLessThanOrEqual(360);
  await page.tap("#toggle");
  await until(page, isStill);
  const box = (await page.locator("#bar").boundingBox())!;
  await page.touchscreen.tap(box.x + box.width * 0.4, box.y + box.height / 2);
  await until(page, (now) => isStill(now) && now.position < now.last * 0.7);
  await shot(page, "phone-replay");
  await page.tap("#to-list");
  await page.waitForSelector("#recording-list li");
  await page.waitForTimeout(400);
  await shot(page, "phone-replay-list");
});

it("fits a 4K screen", async () => {
  const page = await openRunning({ width: 3840, height: 2160 });
  await page.waitForTimeout(2000);
  await shot(page, "4k-replay");
});

it("is served under the same policy as the game", async () => {
  const [game, replay] = await Promise.all([fetch(server.url), fetch(new URL("/replay", server.url))]);
  expect(replay.status).toBe(200);
  expect(replay.headers.get("content-security-policy")).toBe(game.headers.get("content-security-policy"));
});
