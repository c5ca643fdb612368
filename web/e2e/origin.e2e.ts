// A page of another origin, for a server that lets that origin in: the list, looking on, playing, coming back.

import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launch, open } from "./browser";
import { startServer, startSwarm, type Running } from "./servers";

interface State {
  state: string;
  entities: number;
  ship: object | undefined;
  reconnects: number;
  desyncs: number;
}

const PAGE = new URL("../../server/assets/index.html", import.meta.url);

let browser: Browser;
let pages: Server;
let origin: string;
let server: Running & { url: string };
let swarm: Running;

beforeAll(async () => {
  pages = createServer((_, response) => {
    response.setHeader("content-type", "text/html; charset=utf-8").end(readFileSync(PAGE));
  });
  await new Promise<void>((resolve) => pages.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
  [server, browser] = await Promise.all([startServer("--allow-origin", origin), launch()]);
  swarm = startSwarm(server.url, 4);
});

afterAll(async () => {
  await browser?.close();
  await swarm?.stop();
  await server?.stop();
  pages?.close();
});

async function until(page: Page, what: (state: State) => boolean): Promise<State> {
  let last: State | undefined;
  for (let tries = 0; tries < 300; tries++) {
    last = await page.evaluate(() => (window as unknown as { fray: { state: State } }).fray.state);
    if (what(last)) return last;
    await page.waitForTimeout(50);
  }
  throw new Error(`it never came to that: ${JSON.stringify(last)}`);
}

it("lists, looks on, plays and comes back", async () => {
  const address = `${origin}/?server=${encodeURIComponent(server.url)}`;
  const { page, problems } = await open(browser, address, undefined, false, server.url);
  await page.waitForSelector("#room-list li");
  await until(page, (now) => now.state === "watching" && now.entities > 0);
  await page.click("#play");
  await until(page, (now) => now.state === "playing" && now.ship !== undefined);
  await page.evaluate(() => (window as unknown as { fray: { cutSocket(): void } }).fray.cutSocket());
  const back = await until(page, (now) => now.state === "playing" && now.reconnects === 1 && now.ship !== undefined);
  expect(back.desyncs).toBe(0);
  expect(problems).toEqual([]);
  const links = await page.$$eval("a", (all) => all.map((link) => link.href));
  expect(links.filter((link) => link.startsWith(origin) && !link.includes("server="))).toEqual([]);
  await page.context().close();
});

it("is not let in where it is not named", async () => {
  const stranger = await startServer("--allow-origin", "https://somebody.example");
  try {
    const { page } = await open(browser, `${origin}/?server=${encodeURIComponent(stranger.url)}`, undefined, false, stranger.url);
    await page.click("#play");
    await page.waitForFunction(() => (document.querySelector("#rooms-status")?.textContent ?? "").includes("does not answer"));
    expect((await until(page, (now) => now.state !== "playing")).entities).toBe(0);
    await page.context().close();
  } finally {
    await stranger.stop();
  }
});
