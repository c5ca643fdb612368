// Finds Chromium and opens pages in it.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";

const NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

export function findChromium(): string {
  const wanted = process.env.FRAY_CHROMIUM;
  if (wanted !== undefined && wanted !== "") return wanted;
  for (const name of NAMES) {
    for (const folder of (process.env.PATH ?? "").split(delimiter)) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here.
      }
    }
  }
  throw new Error(`no Chromium found: set FRAY_CHROMIUM, or have one of ${NAMES.join(", ")} on the PATH`);
}

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: findChromium(), args: FLAGS });
}

export interface Opened {
  page: Page;
  /** Errors on the console, uncaught ones, and violations of the page's policy. */
  problems: string[];
}

/** `server`: the one other origin that the page may talk to. */
export async function open(browser: Browser, url: string, size = { width: 1280, height: 720 }, touch = false, server = url, options: BrowserContextOptions = {}): Promise<Opened> {
  const context = await browser.newContext({ viewport: size, hasTouch: touch, ...options });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`uncaught: ${error.stack ?? error.message}`));
  page.on("request", (request) => {
    const to = new URL(request.url());
    const isKnown = [url, server].some((known) => to.origin === new URL(known).origin);
    if (to.protocol !== "data:" && to.protocol !== "blob:" && !isKnown) problems.push(`request to ${to.origin}`);
  });
  await page.goto(url);
  return { page, problems };
}
