// Starts the server and bots, each on a port of its own, and ends exactly those.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";

export interface Running {
  process: ChildProcess;
  log: string[];
  stop(): Promise<void>;
}

function binary(name: string): string {
  const path = process.env[name];
  if (path === undefined || path === "") throw new Error(`${name} is not set: start the tests by e2e/run.sh`);
  return path;
}

function run(path: string, args: string[]): Running {
  const child = spawn(path, args, { stdio: ["ignore", "pipe", "pipe"] });
  const log: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => log.push(text));
  }
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
    await gone;
    clearTimeout(timer);
  };
  return { process: child, log, stop };
}

/** What the pattern's group finds in the log, once it is there. */
async function said(running: Running, pattern: RegExp): Promise<string> {
  for (let tries = 0; tries < 200; tries++) {
    // eslint-disable-next-line no-control-regex -- colours
    const found = pattern.exec(running.log.join("").replace(/\x1b\[[0-9;]*m/g, ""));
    if (found?.[1] !== undefined) return found[1];
    if (running.process.exitCode !== null) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await running.stop();
  throw new Error(`it did not say ${pattern}:\n${running.log.join("")}`);
}

export async function startServer(...args: string[]): Promise<Running & { url: string; admin: string }> {
  const running = run(binary("FRAY_SERVER_BIN"), [
    "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--control", "127.0.0.1:0", "--seed", "7", ...(args.includes("--name") ? [] : ["--name", "e2e"]), ...args,
  ]);
  const url = await said(running, /play at (http:\/\/127\.0\.0\.1:\d+)\//);
  const admin = await said(running, /metrics at (http:\/\/127\.0\.0\.1:\d+)\//);
  return { ...running, url, admin };
}

export function startSwarm(url: string, players: number): Running {
  return runSwarm(url, "--players", String(players), "--ramp", "200ms", "--duration", "0", "--quiet");
}

/** A swarm with these arguments; it ends by itself if they say so. */
export function runSwarm(url: string, ...args: string[]): Running {
  return run(binary("FRAY_BOT_BIN"), ["swarm", "--url", url, ...args]);
}
