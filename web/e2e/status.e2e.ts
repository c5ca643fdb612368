// The operators' live page: it fills itself, goes on by itself, fits a phone, and takes names for text.

import { mkdirSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launch, open } from "./browser";
import { startServer, startSwarm, type Running } from "./servers";

const OUT = new URL("out/", import.meta.url).pathname;
const HOSTILE = "</td><script>x()</script><b>b<img src=x onerror=x()>";

let browser: Browser;
let server: Running & { url: string; admin: string };
let swarm: Running;

beforeAll(async () => {
  mkdirSync(OUT, { recursive: true });
  [server, browser] = await Promise.all([startServer("--room-capacity", "4"), launch()]);
  swarm = startSwarm(server.url, 8);
});

afterAll(async () => {
  await browser?.close();
  await swarm?.stop();
  await server?.stop();
});

/** The cells of the row whose name holds this, by their labels. */
async function row(page: Page, name: string): Promise<Record<string, string>> {
  const cells = await page.locator("#rooms tr", { hasText: name }).first().locator("td").evaluateAll((all) =>
    all.map((cell) => [(cell as HTMLElement).dataset.label ?? "", cell.textContent ?? ""]));
  return Object.fromEntries(cells) as Record<string, string>;
}

it.each([[1280, 800], [360, 780]])("shows the rooms and goes on by itself, %i wide", async (width, height) => {
  const { page, problems } = await open(browser, `${server.admin}/status`, { width, height });
  await page.waitForSelector("#rooms tr");
  const room = (await page.locator("#rooms td.name small").first().textContent()) ?? "";
  const first = await row(page, room);
  await page.waitForTimeout(3500);
  const later = await row(page, room);
  const tick = (cells: Record<string, string>): number => Number((cells.Tick ?? "").replaceAll(",", ""));
  expect(tick(later)).toBeGreaterThan(tick(first) + 20);
  expect(later.Players).toMatch(/^[1-4] \/ 4$/);
  expect(await page.locator("#rooms tr").count()).toBeGreaterThanOrEqual(2);
  expect(await page.locator(".state.good").allTextContents()).toEqual(["live", "ready", "serving"]);
  const points = await page.locator("#rooms polyline").first().getAttribute("points");
  expect(points?.split(" ").length).toBeGreaterThanOrEqual(3);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
  await page.screenshot({ path: `${OUT}status-${width}.png`, fullPage: true });
  expect(problems).toEqual([]);
});

it("takes a room's name for text, and says when the server is gone", async () => {
  const { page, problems } = await open(browser, `${server.admin}/status`);
  await page.waitForSelector("#rooms tr");
  const shown = await page.evaluate(async (name) => {
    const now = (await (await fetch("status.json")).json()) as { rooms: { name: string }[] };
    for (const room of now.rooms) room.name = name;
    (window as unknown as { show(now: unknown): void }).show(now);
    const cell = document.querySelector("#rooms td.name");
    return { text: cell?.firstChild?.textContent, strange: document.querySelectorAll("#rooms script, #rooms b, #rooms img").length };
  }, HOSTILE);
  expect(shown).toEqual({ text: HOSTILE, strange: 0 });
  expect(problems).toEqual([]);
  await server.stop();
  await page.waitForFunction(() => document.getElementById("notice")?.textContent !== "");
});
