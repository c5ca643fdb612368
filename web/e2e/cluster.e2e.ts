// The page that a cluster serves, wherever somebody made it reachable: FRAY_PLAY_URL, for example by `kubectl port-forward`.

import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launch, open } from "./browser";

interface State {
  state: string;
  tick: number;
  entities: number;
  ship: { x: number; y: number } | undefined;
  desyncs: number;
  checksums: number;
}

const url = process.env.FRAY_PLAY_URL ?? "";
if (url === "") console.log("SKIPPED: the page of a cluster: FRAY_PLAY_URL does not say where it is; `make test-cluster` does");

let browser: Browser | undefined;
beforeAll(async () => {
  if (url !== "") browser = await launch();
});
afterAll(() => browser?.close());

async function until(page: Page, what: (state: State) => boolean): Promise<State> {
  let last: State | undefined;
  for (let tries = 0; tries < 600; tries++) {
    last = await page.evaluate(() => (window as unknown as { fray: { state: State } }).fray.state);
    if (what(last)) return last;
    await page.waitForTimeout(50);
  }
  throw new Error(`it never came to that: ${JSON.stringify(last)}`);
}

it.skipIf(url === "")("plays", async () => {
  if (browser === undefined) throw new Error("no browser");
  const { page, problems } = await open(browser, url);
  await page.click("#play");
  const begin = await until(page, (now) => now.state === "playing" && now.ship !== undefined);
  await page.keyboard.down("KeyW");
  const later = await until(page, (now) => now.tick > begin.tick + 60 && now.ship !== undefined);
  expect({ x: later.ship?.x, y: later.ship?.y }).not.toEqual({ x: begin.ship?.x, y: begin.ship?.y });
  expect(later.desyncs).toBe(0);
  expect(later.checksums).toBeGreaterThan(0);
  if (process.env.FRAY_PICTURES !== undefined) await page.screenshot({ path: join(process.env.FRAY_PICTURES, "cluster.png") });
  await page.keyboard.up("KeyW");
  expect(problems).toEqual([]);
  await page.context().close();
});
