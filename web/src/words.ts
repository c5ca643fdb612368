// What players are told when a session ends or cannot begin. Never a raw error.

import type { SessionState } from "./net/session";

const WORDS: Record<string, string> = {
  TAKEN_OVER: "You fly this ship from another window now.",
  SESSION_NOT_FOUND: "Your ship waited as long as it could, and is gone. Fly again!",
  ROOM_NOT_FOUND: "That room is no more.",
  ROOM_ENDED: "The room has ended.",
  ROOM_FAILED: "Something in the room broke, and it had to end.",
  ROOM_LOST: "The server that ran this room is gone; the room with it.",
  ROOM_FULL: "That room is full.",
  ROOMS_EXHAUSTED: "The server has no place for another room just now.",
  KICKED: "An operator removed you from the room.",
  PROTOCOL_UNSUPPORTED: "This page and the server do not understand each other: reload the page.",
  TICKET_INVALID: "Your seat was given away meanwhile. Try again.",
  UNREACHABLE: "The server does not answer. Try again in a moment.",
  INVALID_ARGUMENT: "The server did not like that name or code.",
  SHUTTING_DOWN: "The server is going away. Try again in a moment.",
  LEFT: "",
};

export function inWords(reason: string): string {
  return WORDS[reason] ?? "The server ended the game. Try again.";
}

/** Reasons after which there is nothing to come back to: another room is to be found. */
export const IS_GONE = new Set(["ROOM_LOST", "ROOM_NOT_FOUND", "ROOM_ENDED", "ROOM_FAILED", "SESSION_NOT_FOUND"]);

/** Nobody needs to know of a move that is over before this. */
const MOVE_SHOWN_AFTER_MS = 500;
/** What takes longer is no move any more: the new server may be gone, too. */
const MOVE_LONGEST_MS = 5000;

/** While something is not as it should be; else nothing. */
export function waiting(state: Extract<SessionState, { kind: "playing" | "reconnecting" }>, now: number): string {
  if (state.isFrozen) return "The room stands still. It goes on as soon as its server may.";
  if (state.kind === "playing") return "";
  if (state.isBusy) return "The server has too much to do just now. Trying again…";
  const lasts = now - state.since;
  if (state.isMoving && lasts < MOVE_SHOWN_AFTER_MS) return "";
  if (state.isMoving && lasts < MOVE_LONGEST_MS) return "The room moves to another server…";
  const seconds = Math.ceil((state.graceUntil - now) / 1000);
  if (seconds > 0) return `Reconnecting… your ship holds course for ${seconds} s`;
  return "Reconnecting… your ship may be gone by now";
}

export const WILL_MOVE = "The room moves to another server in a moment";

/** After the room's server was lost: how old the state is that the room went on from. */
export function restoredTo(ageMs: number): string {
  const seconds = Math.floor(ageMs / 1000);
  if (seconds < 1) return "restored to a moment ago";
  if (seconds < 120) return `restored to ${seconds} s ago`;
  if (seconds < 7200) return `restored to ${Math.floor(seconds / 60)} min ago`;
  return `restored to ${Math.floor(seconds / 3600)} h ago`;
}
