// A player in Node: joins, flies for 200 ticks with a copy of the world, loses its stream in the middle and comes back.
//
//   node client.mjs --url http://127.0.0.1:7777 [--ca ca.pem] [--ticks 200]
//
// What it prints is one line of JSON; it fails if the copy ever differs from the server's world, or a move was lost.

import { randomBytes, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import grpc from "@grpc/grpc-js";
import { Lobby, Play } from "./messages.mjs";
import { appliedHash, Refused, Replica } from "./replica.mjs";

const RESUMES_MAX = 20;

const { values: options } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:7777" },
    ca: { type: "string" },
    ticks: { type: "string", default: "200" },
  },
});
const ticks = Number(options.ticks);
const { protocol, host } = new URL(options.url);
const credentials =
  protocol === "https:"
    ? grpc.credentials.createSsl(options.ca === undefined ? null : readFileSync(options.ca))
    : grpc.credentials.createInsecure();
const lobby = new Lobby(host, credentials);
const play = new Play(host, credentials);

const seen = { updates: 0, checksums: 0, desyncs: 0, moves: 0, resumed: 0, as_same_player: false };
let welcome;
let replica;
let firstTick = 0;
let lastTick = 0;
/** What was sent, and the hash after each. */
const sent = [];
const hashes = [0];
let acknowledged = 0;
/** The ticket for the server that the room moved to. */
let redirect = "";

/** A ticket: for a seat, or to go on with the session. */
async function join() {
  const request = { requestId: randomBytes(16).toString("hex"), playerName: "Node", resumeToken: welcome?.resumeToken ?? "" };
  for (let attempt = 0; attempt < 8; attempt++) {
    try {
      const call = (done) => lobby.join(request, { deadline: Date.now() + 10_000 }, done);
      return (await new Promise((resolve, reject) => call((error, seat) => (error ? reject(error) : resolve(seat))))).ticket;
    } catch (error) {
      // The same request again is the same wish: it does not take two seats.
      if (![grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED].includes(error.code)) throw error;
      await sleep(50 + Math.random() * Math.min(2000, 200 * 2 ** attempt));
    }
  }
  throw new Error("nobody answers");
}

/** Plays one stream. False: it was cut off on purpose. Throws how else it ended. */
function stream(ticket) {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${ticket}`);
  const call = play.play(metadata);
  let hasLeft = false;
  call.write({ hello: { protocolVersion: 1, ticket, resumeToken: welcome?.resumeToken ?? "" } });
  return new Promise((resolve, reject) => {
    call.on("error", reject);
    call.on("end", () => resolve(true));
    call.on("data", ({ message, ...response }) => {
      try {
        if (message === "welcome") welcomed(response.welcome, call);
        if (message === "redirect") redirect = response.redirect.ticket;
        if (message === "update") updated(response.update, call, hasLeft);
      } catch (error) {
        reject(error);
        call.cancel();
      }
      if (message !== "update") return;
      const played = lastTick - firstTick;
      if (played > ticks / 2 && seen.resumed === 0) {
        resolve(false);
        call.cancel();
      } else if (played >= ticks && !hasLeft) {
        // A graceful leave: the last update acknowledges every move.
        hasLeft = true;
        call.write({ leave: {} });
        call.end();
      }
    });
  });
}

function welcomed(next, call) {
  if (welcome !== undefined) {
    const isSame = next.playerId === welcome.playerId && next.entity === welcome.entity;
    if (next.resumed) seen.resumed += 1;
    seen.as_same_player = next.resumed && isSame;
  }
  welcome = next;
  acknowledged = next.lastAppliedSequence;
  replica = new Replica(next.world, next.motions);
  if (next.restoredAgeMs !== undefined && next.restoredAgeMs !== null) setBack(next);
  for (const move of sent.slice(acknowledged)) call.write({ move });
}

/** The room was restored from what had been recorded: moves past that are gone, and their numbers are free. */
function setBack(next) {
  sent.length = Math.min(sent.length, next.lastAppliedSequence);
  hashes.length = sent.length + 1;
  const isSame = next.appliedCount === sent.length && next.appliedHash === hashes.at(-1);
  if (!isSame) throw new Error("the room was restored with other moves than those sent");
}

function updated(update, call, hasLeft) {
  seen.updates += 1;
  // Keyframes were asked for: nothing else is of use.
  if (replica.tick === 0 && update.baseTick !== 0) return;
  if (update.moveAck) check(update.moveAck);
  const before = replica.checksums;
  try {
    replica.apply(update);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.isDesync) seen.desyncs += 1;
    console.error(`tick ${update.tick}: ${error.message}`);
    call.write({ resync: { tick: update.tick } });
    return;
  } finally {
    seen.checksums += replica.checksums - before;
  }
  firstTick ||= update.tick;
  // A room that was restored plays some ticks once more.
  firstTick -= Math.max(0, lastTick - update.tick);
  lastTick = update.tick;
  if (hasLeft) return;
  // A move every tenth tick; in between the acknowledgement that is due every quarter of the window.
  if (update.tick % 10 === 0 && sent.length - acknowledged < 64) move(update.tick, call);
  else if (update.tick % 2 === 0) call.write({ ping: { seenTick: update.tick } });
}

function move(tick, call) {
  const sequence = sent.length + 1;
  const next = { sequence, seenTick: tick, axisX: randomInt(-127, 128), axisY: 100, buttons: sequence % 3 === 0 ? 1 : 0 };
  hashes.push(appliedHash(hashes.at(-1), next));
  sent.push(next);
  seen.moves += 1;
  call.write({ move: next });
}

/** The server applied exactly the moves that were sent, each once and in order. */
function check({ inputAck, appliedCount, appliedHash: told }) {
  acknowledged = inputAck;
  if (appliedCount !== inputAck || told !== hashes[inputAck]) throw new Error("other moves were applied than those sent");
}

/** The reason is in the status's details, as google.rpc.ErrorInfo. */
function hasMoved(error) {
  return (error.metadata?.get("grpc-status-details-bin") ?? []).some((details) => details.includes("ROOM_MOVED"));
}

let ticket = await join();
for (let resumes = 0; ; ) {
  redirect = "";
  try {
    if (await stream(ticket)) break;
    // It was cut off in the middle: the same ticket is still good.
  } catch (error) {
    // Only what gRPC says is worth another stream.
    if (error.code === undefined || (resumes += 1) > RESUMES_MAX) throw error;
    console.error(`the stream ended: ${error.message}`);
    // A room that moved is somewhere else already: there at once. Else nobody is in a hurry.
    if (redirect === "" && !hasMoved(error)) await sleep(50 + Math.random() * 450);
    ticket = redirect || (await join());
  }
}
lobby.close();
play.close();
if (acknowledged !== sent.length) throw new Error(`${sent.length - acknowledged} moves were lost`);
console.log(JSON.stringify(seen));
process.exitCode = seen.desyncs === 0 && seen.as_same_player && seen.checksums > 0 ? 0 : 1;
