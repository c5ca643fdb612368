// The overlay: who one is, and where to play. The room behind it plays on.

import type { JoinRequest } from "../gen/fray/v1/lobby_pb";
import type { Room } from "../gen/fray/v1/world_pb";
import { element, make, setText } from "../page";

export const HUES = [190, 215, 245, 275, 305, 335, 0, 25, 45, 70, 120, 155];
const KEPT = "fray.pilot";

export interface Pilot {
  name: string;
  hue: number;
}

export interface LobbyEvents {
  join(room: JoinRequest["room"], pilot: Pilot): void;
  watch(room: Room): void;
}

export class LobbyView {
  readonly #root = element("lobby");
  readonly #name = element<HTMLInputElement>("name");
  readonly #hues = element("hues");
  readonly #play = element<HTMLButtonElement>("play");
  readonly #status = element("join-status");
  readonly #list = element("room-list");
  readonly #roomsStatus = element("rooms-status");
  readonly #items = new Map<string, RoomItem>();
  #hue: number;
  #shownRoom = "";

  constructor(readonly events: LobbyEvents) {
    const kept = readKept();
    this.#name.value = kept.name;
    this.#hue = kept.hue;
    this.#makeHues();
    element("join").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#join({ case: undefined });
    });
    const code = element<HTMLInputElement>("code");
    const joinByCode = (): void => {
      if (code.value.trim() !== "") this.#join({ case: "code", value: code.value.trim() });
    };
    element("join-code").addEventListener("click", joinByCode);
    code.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      joinByCode();
    });
    element("create").addEventListener("click", () => {
      this.#join({ case: "create", value: { private: true, name: "", capacity: 0 } } as unknown as JoinRequest["room"]);
    });
    setText(this.#roomsStatus, "Looking for rooms…");
  }

  show(isShown: boolean): void {
    this.#root.hidden = !isShown;
    if (isShown) this.busy("");
  }

  get isShown(): boolean {
    return !this.#root.hidden;
  }

  /** While something is under way the button waits; with an empty text it is ready again. */
  busy(text: string): void {
    this.#play.disabled = text !== "";
    setText(element("play-text"), text === "" ? "Play" : text);
  }

  /** What the button says, until it is pressed. */
  offer(text: string): void {
    setText(element("play-text"), text);
  }

  say(text: string): void {
    setText(this.#status, text);
  }

  ping(ms: number): void {
    setText(element("lobby-ping"), `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);
  }

  /** Which room plays behind the overlay. */
  shows(roomId: string): void {
    this.#shownRoom = roomId;
    for (const [id, item] of this.#items) item.root.classList.toggle("shown", id === roomId);
  }

  rooms(rooms: readonly Room[]): void {
    for (const [id, item] of this.#items) {
      if (rooms.some((room) => room.roomId === id)) continue;
      item.root.remove();
      this.#items.delete(id);
    }
    rooms.forEach((room, index) => {
      let item = this.#items.get(room.roomId);
      if (item === undefined) {
        item = this.#item();
        this.#items.set(room.roomId, item);
      }
      item.set(room);
      if (this.#list.children[index] !== item.root) this.#list.insertBefore(item.root, this.#list.children[index] ?? null);
    });
    this.shows(this.#shownRoom);
    setText(this.#roomsStatus, rooms.length === 0 ? "No rooms yet: Play opens the first one." : "");
  }

  roomsFailed(): void {
    setText(this.#roomsStatus, "The server does not answer. Trying again…");
  }

  #join(room: JoinRequest["room"]): void {
    const pilot = { name: this.#name.value.trim(), hue: this.#hue };
    keep(pilot);
    this.say("");
    this.events.join(room, pilot);
  }

  #makeHues(): void {
    for (const hue of HUES) {
      const input = make("input");
      input.type = "radio";
      input.name = "hue";
      input.value = String(hue);
      input.checked = hue === this.#hue;
      input.setAttribute("aria-label", `Hue ${hue}`);
      const label = make("label", "", input, make("i"));
      label.style.setProperty("--hue", String(hue));
      input.addEventListener("change", () => this.#paint(hue));
      this.#hues.append(label);
    }
    this.#paint(this.#hue);
  }

  #paint(hue: number): void {
    this.#hue = hue;
    this.#root.style.setProperty("--hue", String(hue));
  }

  #item(): RoomItem {
    const name = make("b");
    const players = make("small");
    const meter = make("meter");
    const join = make("button", "", "Join");
    const watch = make("button", "", "Watch");
    join.type = watch.type = "button";
    let room: Room | undefined;
    join.addEventListener("click", () => {
      if (room !== undefined) this.#join({ case: "roomId", value: room.roomId });
    });
    watch.addEventListener("click", () => {
      if (room !== undefined) this.events.watch(room);
    });
    const root = make("li", "", make("div", "room", name, players), meter, watch, join);
    return {
      root,
      set(next) {
        room = next;
        setText(name, next.name || next.roomId);
        setText(players, `${next.players} of ${next.capacity} pilots`);
        meter.max = Math.max(1, next.capacity);
        meter.value = next.players;
        meter.setAttribute("aria-label", "Seats taken");
        join.disabled = next.players >= next.capacity;
      },
    };
  }
}

interface RoomItem {
  root: HTMLElement;
  set(room: Room): void;
}

function readKept(): Pilot {
  const hue = HUES[Math.floor(Math.random() * HUES.length)]!;
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    if (typeof kept !== "object" || kept === null) return { name: "", hue };
    const { name, hue: keptHue } = kept as Partial<Pilot>;
    return {
      name: typeof name === "string" ? name : "",
      hue: typeof keptHue === "number" && HUES.includes(keptHue) ? keptHue : hue,
    };
  } catch {
    return { name: "", hue };
  }
}

function keep(pilot: Pilot): void {
  try {
    localStorage.setItem(KEPT, JSON.stringify(pilot));
  } catch {
    // Private windows may have no storage; the name is then typed again.
  }
}
