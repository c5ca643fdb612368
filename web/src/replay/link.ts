// What the page's address says: which recording, from which tick, whose eyes.

export interface Link {
  recording: string;
  /** Undefined: from where it makes sense. */
  tick: number | undefined;
  /** A private room's code. */
  code: string;
  /** Whom to follow, by number; 0: nobody. */
  player: number;
  /** Whether it plays on from there; else it stands still at the tick. */
  plays: boolean;
}

const U32_MAX = 0xffffffff;

/** Of `location.search`; undefined where it names no recording. */
export function parseLink(search: string): Link | undefined {
  const parameters = new URLSearchParams(search);
  const recording = parameters.get("recording") ?? "";
  if (recording === "") return undefined;
  return {
    recording,
    tick: number(parameters.get("tick")),
    code: parameters.get("code") ?? "",
    player: number(parameters.get("player")) ?? 0,
    plays: parameters.has("play"),
  };
}

/** The address of it, from the root of the server; of nothing, that of the list. */
export function linkTo(link: Partial<Link>): string {
  const parameters = new URLSearchParams();
  if (link.recording !== undefined) parameters.set("recording", link.recording);
  if (link.tick !== undefined) parameters.set("tick", String(link.tick));
  if (link.code !== undefined && link.code !== "") parameters.set("code", link.code);
  if (link.player !== undefined && link.player !== 0) parameters.set("player", String(link.player));
  if (link.plays === true) parameters.set("play", "1");
  const query = parameters.toString();
  return query === "" ? "/replay" : `/replay?${query}`;
}

/** Whether this path is the replays' and not the game's. */
export function isReplayPath(path: string): boolean {
  return /\/replay\/?$/.test(path);
}

function number(text: string | null): number | undefined {
  if (text === null || !/^\d{1,10}$/.test(text)) return undefined;
  return Math.min(U32_MAX, Number(text));
}
