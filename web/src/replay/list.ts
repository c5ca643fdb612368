// The list of recordings.

import type { Recording } from "../gen/fray/v1/replays_pb";
import { Trouble, type Archive } from "../net/archive";
import { withServer } from "../net/server";
import { element, make, setText } from "../page";
import { agoText, clockText, sizeText } from "./format";
import { linkTo } from "./link";
import { troubleInWords } from "./words";

const REFRESH_MS = 5000;
const PAGE = 100;
/** As many as the server gives at once. */
const PAGE_MAX = 500;

export class List {
  readonly #root = element("replays");
  readonly #list = element("recording-list");
  readonly #status = element("recordings-status");
  readonly #older = element<HTMLButtonElement>("older");
  readonly #items = new Map<string, Item>();
  #count = PAGE;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isAsking = false;

  constructor(
    readonly archive: Archive,
    readonly chosen: (recording: string) => void,
  ) {
    this.#older.addEventListener("click", () => {
      this.#count = PAGE_MAX;
      void this.#refresh();
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && !this.#root.hidden) void this.#refresh();
    });
    setText(this.#status, "Looking for recordings…");
  }

  get isShown(): boolean {
    return !this.#root.hidden;
  }

  show(isShown: boolean): void {
    this.#root.hidden = !isShown;
    clearTimeout(this.#timer);
    if (isShown) void this.#refresh();
  }

  async #refresh(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#root.hidden || document.hidden || this.#isAsking) return;
    this.#isAsking = true;
    try {
      const { recordings, nextPageToken } = await this.archive.list(this.#count);
      this.#fill(recordings);
      this.#older.hidden = nextPageToken === "" || this.#count >= PAGE_MAX;
      setText(this.#status, recordings.length === 0 ? "Nothing is recorded yet: play, and come back." : "");
    } catch (error) {
      const { reason, isFinal } = error instanceof Trouble ? error : new Trouble("UNKNOWN", false);
      setText(this.#status, troubleInWords(reason, isFinal));
    }
    this.#isAsking = false;
    this.#timer = setTimeout(() => void this.#refresh(), REFRESH_MS);
  }

  #fill(recordings: readonly Recording[]): void {
    const names = new Set(recordings.map(({ name }) => name));
    for (const [name, item] of this.#items) {
      if (names.has(name)) continue;
      item.root.remove();
      this.#items.delete(name);
    }
    recordings.forEach((recording, index) => {
      let item = this.#items.get(recording.name);
      if (item === undefined) {
        item = this.#item(recording.name);
        this.#items.set(recording.name, item);
      }
      item.set(recording);
      const there = this.#list.children[index];
      if (there !== item.root) this.#list.insertBefore(item.root, there ?? null);
    });
  }

  #item(recording: string): Item {
    const [room, state, game, incident] = [make("b"), make("span", "badge"), make("small"), make("small", "incident")];
    const [length, size] = [make("span", "length"), make("small")];
    const link = make("a", "", make("span", "what", make("span", "title", room, state), game, incident), make("span", "extent", length, size));
    link.href = withServer(linkTo({ recording }));
    link.addEventListener("click", (event) => {
      // A new window is the browser's own affair.
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      this.chosen(recording);
    });
    return {
      root: make("li", "", link),
      set(next) {
        setText(room, next.roomName || next.name);
        const kind = kindOf(next);
        if (state.className !== `badge ${kind}`) state.className = `badge ${kind}`;
        setText(state, KINDS[kind]);
        setText(game, `${next.game} · ${agoText((Date.now() - Number(next.startedAtMs)) / 1000)}`);
        setText(incident, next.incident);
        incident.hidden = next.incident === "";
        setText(length, clockText((next.lastTick - next.firstTick) / Math.max(1, next.tickRateHz)));
        setText(size, sizeText(Number(next.sizeBytes)));
      },
    };
  }
}

interface Item {
  root: HTMLElement;
  set(recording: Recording): void;
}

const KINDS = { live: "Live", over: "Finished", incident: "Incident" };

export function kindOf({ running, incident }: Recording): keyof typeof KINDS {
  if (incident !== "") return "incident";
  return running ? "live" : "over";
}
