// The report of a swarm, as a file that is opened in a browser.

import { readFileSync, mkdirSync } from "node:fs";
import { once } from "node:events";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { launch, open, type Opened } from "./browser";
import { runSwarm, startServer } from "./servers";

const OUT = new URL("out/", import.meta.url).pathname;
const SECTIONS = ["summary", "timeline", "times", "load", "distribution", "totals", "limits", "errors", "conditions", "method"];

let browser: Browser;
const opened: Opened[] = [];

async function visit(name: string, size: { width: number; height: number }): Promise<Page> {
  const visitor = await open(browser, `file://${OUT}${name}`, size);
  opened.push(visitor);
  return visitor.page;
}

async function swarm(url: string, ...args: string[]): Promise<void> {
  const running = runSwarm(url, "--players", "8", "--ramp", "200ms", "--duration", "6s", "--churn", "0.5", "--quiet", ...args);
  if (running.process.exitCode === null) await once(running.process, "exit");
  expect(running.process.exitCode, running.log.join("")).toBe(0);
}

beforeAll(async () => {
  mkdirSync(OUT, { recursive: true });
  browser = await launch();
  const server = await startServer("--name", "<img src=x onerror=alert(1)>");
  try {
    await swarm(server.url, "--json", `${OUT}report.json`, "--report", `${OUT}report.html`);
    await swarm(server.url, "--compare", `${OUT}report.json`, "--report", `${OUT}compared.html`);
  } finally {
    await server.stop();
  }
});

afterEach(async () => {
  const problems = opened.flatMap((visitor) => visitor.problems);
  await Promise.all(opened.map(({ page }) => page.context().close()));
  opened.length = 0;
  expect(problems).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
});

it("shows every section, and what the server calls itself as text", async () => {
  const page = await visit("report.html", { width: 1280, height: 900 });
  for (const section of SECTIONS) expect(await page.isVisible(`#${section} h2`), section).toBe(true);
  expect(await page.locator("#times svg[role=img]").count()).toBe(4);
  expect(await page.textContent("h1")).toBe("8 players on <img src=x onerror=alert(1)>");
  expect(await page.textContent("#timeline")).toContain("dropped on purpose");
  await page.screenshot({ path: `${OUT}report.png`, fullPage: true });
});

it("draws in the colours of its own style: the policy lets it, and nothing else", async () => {
  const page = await visit("report.html", { width: 1280, height: 900 });
  const stroke = await page.locator("#times path.p99").first().evaluate((path) => getComputedStyle(path).stroke);
  expect(stroke).toBe("rgb(255, 183, 87)");
  expect(await page.locator("script, img, iframe, link[rel=stylesheet]").count()).toBe(0);
  expect(readFileSync(`${OUT}report.html`, "utf8")).toContain("default-src 'none'");
});

it("compares with an earlier run", async () => {
  const page = await visit("compared.html", { width: 1280, height: 900 });
  expect(await page.locator("#times path.earlier").count()).toBe(4);
  expect(await page.textContent("#totals thead")).toMatch(/this run.*earlier.*difference/);
  await page.screenshot({ path: `${OUT}report-compared.png`, fullPage: true });
});

it("fits a phone", async () => {
  const page = await visit("compared.html", { width: 360, height: 740 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  for (const table of ["#totals", "#limits"]) {
    const [wide, shown] = await page.locator(`${table} .wide`).evaluate((box) => [box.scrollWidth, box.clientWidth]);
    expect(wide, table).toBeLessThanOrEqual(shown!);
  }
  await page.screenshot({ path: `${OUT}phone-report.png`, fullPage: true });
});

it("prints dark on white", async () => {
  const page = await visit("compared.html", { width: 900, height: 1200 });
  await page.emulateMedia({ media: "print" });
  const of = (selector: string, property: "color" | "backgroundColor"): Promise<string> =>
    page.locator(selector).first().evaluate((element, name) => getComputedStyle(element)[name], property);
  expect(await of("html", "backgroundColor")).toBe("rgb(255, 255, 255)");
  expect(await of("h2", "color")).toBe("rgb(17, 17, 17)");
  await page.screenshot({ path: `${OUT}report-print.png`, fullPage: true });
});
