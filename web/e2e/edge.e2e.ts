// A page of another origin, through the real edge: Envoy with TLS before three servers that share a NATS. The list and looking on
// over gRPC-Web, playing over a WebSocket, events for pages that only look on.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createSocket, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launch, open } from "./browser";
import { runSwarm, type Running } from "./servers";

interface State {
  state: string;
  entities: number;
  ship: object | undefined;
  reconnects: number;
  desyncs: number;
}

const PAGE = new URL("../../server/assets/index.html", import.meta.url);
const SCRIPT = new URL("../../scripts/edge.sh", import.meta.url).pathname;

let browser: Browser;
let pages: Server;
let origin: string;
let fleet: ChildProcess;
let folder: string;
let url: string;
let swarm: Running;
let said = "";
let firstPort: number;

/** Ports that were free, one after the other; somebody else might take one before we do, and the start says so. */
async function freePorts(count: number): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 20_000);
    const sockets = Array.from({ length: count }, (_, index) => {
      const socket = createSocket().listen(first + index, "127.0.0.1");
      return Promise.race([once(socket, "listening"), once(socket, "error").then(() => undefined)]).then((ok) => ({ socket, ok }));
    });
    const all = await Promise.all(sockets);
    for (const { socket } of all) socket.close();
    if (all.every(({ ok }) => ok !== undefined)) return first;
  }
}

beforeAll(async () => {
  pages = createServer((_, response) => {
    response.setHeader("content-type", "text/html; charset=utf-8").end(readFileSync(PAGE));
  });
  await new Promise<void>((resolve) => pages.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
  folder = mkdtempSync(join(tmpdir(), "fray-edge-e2e-"));
  const values = join(folder, "values.yaml");
  writeFileSync(values, JSON.stringify({ edge: { origins: [origin] } }));
  // The first server's three other ports are 100, 200 and 300 above its own.
  const first = await freePorts(310);
  firstPort = first;
  const ports = { SERVER_PORT: first, EDGE_PORT: first + 10, EDGE_ADMIN_PORT: first + 11, NATS_PORT: first + 12 };
  const binaries = dirname(process.env.FRAY_SERVER_BIN ?? "");
  fleet = spawn(SCRIPT, {
    env: {
      ...process.env,
      ...Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, String(port)])),
      CARGO_TARGET_DIR: dirname(binaries),
      PROFILE: binaries.split("/").at(-1),
      FOLDER: join(folder, "edge"),
      EDGE_VALUES: values,
      SERVER_FLAGS: `--allow-origin ${origin}`,
      BOTS: "0",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [fleet.stdout, fleet.stderr]) stream?.setEncoding("utf8").on("data", (text: string) => (said += text));
  for (let tries = 0; !said.includes("A fleet is up"); tries++) {
    if (tries > 1200 || fleet.exitCode !== null) throw new Error(`no fleet: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  url = `https://localhost:${ports.EDGE_PORT}`;
  swarm = runSwarm(url, "--ca", join(folder, "edge/tls/ca.crt"), "--players", "9", "--rooms", "3", "--ramp", "200ms", "--duration", "0", "--quiet");
  browser = await launch();
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await swarm?.stop();
  if (fleet !== undefined && fleet.exitCode === null) {
    const gone = once(fleet, "exit");
    fleet.kill("SIGTERM");
    await gone;
  }
  pages?.close();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

async function until(page: Page, what: (state: State) => boolean): Promise<State> {
  let last: State | undefined;
  for (let tries = 0; tries < 600; tries++) {
    last = await page.evaluate(() => (window as unknown as { fray: { state: State } }).fray.state);
    if (what(last)) return last;
    await page.waitForTimeout(50);
  }
  throw new Error(`it never came to that: ${JSON.stringify(last)}`);
}

// Only the test knows who signed the certificate.
const visit = (): ReturnType<typeof open> =>
  open(browser, `${origin}/?server=${encodeURIComponent(url)}`, undefined, false, url, { ignoreHTTPSErrors: true });

it("lists, looks on, plays and comes back, from another origin, through TLS and Envoy", async () => {
  const { page, problems } = await visit();
  await page.waitForFunction(() => document.querySelectorAll("#room-list li").length >= 3);
  await until(page, (now) => now.state === "watching" && now.entities > 0);
  await page.click("#play");
  await until(page, (now) => now.state === "playing" && now.ship !== undefined);
  await page.evaluate(() => (window as unknown as { fray: { cutSocket(): void } }).fray.cutSocket());
  const back = await until(page, (now) => now.state === "playing" && now.reconnects === 1 && now.ship !== undefined);
  expect(back.desyncs).toBe(0);
  if (process.env.FRAY_PICTURES !== undefined) await page.screenshot({ path: join(process.env.FRAY_PICTURES, "edge.png") });
  expect(problems).toEqual([]);
  await page.context().close();
});

it("is told of a room's players and scores, whichever server has it", async () => {
  const { page, problems } = await visit();
  await page.waitForFunction(() => document.querySelectorAll("#room-list li").length >= 3);
  const asked = [0, 1, 2].map((number) => fetch(`http://127.0.0.1:${firstPort + 100 + number}/status.json`));
  const answers = (await Promise.all((await Promise.all(asked)).map((answer) => answer.json()))) as { rooms: { id: string }[] }[];
  const rooms = answers.flatMap((answer) => answer.rooms.map(({ id }) => id));
  expect(rooms.length).toBeGreaterThanOrEqual(3);
  // Each is asked for some times: the edge asks a server that has it, and others.
  for (const room of [...rooms, ...rooms]) {
    const told = await page.evaluate(
      (address) =>
        new Promise<{ name: string; players: number }>((resolve, reject) => {
          const events = new EventSource(address);
          let name = "";
          events.addEventListener("room", (event) => (name = JSON.parse(event.data as string).name));
          events.addEventListener("scoreboard", (event) => {
            const { players } = JSON.parse(event.data as string) as { players: object[] };
            events.close();
            resolve({ name, players: players.length });
          });
          events.addEventListener("error", () => reject(new Error("no events")));
        }),
      `${url}/rooms/${room}/events`,
    );
    expect(told.name).not.toBe("");
    expect(told.players).toBeGreaterThan(0);
  }
  expect(problems).toEqual([]);
  await page.context().close();
});
