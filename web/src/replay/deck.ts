// The controls below the picture: buttons, the time, whom to follow, how fast.

import { element, make, setText } from "../page";
import { Bar } from "./bar";
import { clockText, speedText } from "./format";
import { kindOf } from "./list";
import { SPEEDS, type Player } from "./player";

const SKIP_S = 5;
const PAGE_S = 30;

export interface DeckEvents {
  leave(): void;
  copyLink(): void;
  download(): void;
}

export class Deck {
  readonly root = element("deck");
  readonly #toggle = element("toggle");
  readonly #speed = element<HTMLSelectElement>("speed");
  readonly #follow = element<HTMLSelectElement>("follow");
  readonly #live = element<HTMLButtonElement>("live");
  readonly #bar: Bar;
  #player: Player | undefined;
  #followKey = "";

  constructor(readonly events: DeckEvents) {
    this.#bar = new Bar({
      grabbed: () => this.#player?.grab(),
      dragged: (tick) => this.#player?.seek(tick),
      released: () => this.#player?.release(),
    });
    for (const speed of SPEEDS) {
      const option = make("option", "", speedText(speed));
      option.value = String(speed);
      this.#speed.append(option);
    }
    const click = (id: string, run: () => void): void => element(id).addEventListener("click", run);
    click("toggle", () => this.#player?.toggle());
    click("live", () => this.#player?.live());
    click("kill-before", () => this.#skipToKill(false));
    click("kill-after", () => this.#skipToKill(true));
    click("copy", () => events.copyLink());
    click("download", () => events.download());
    this.#speed.addEventListener("change", () => {
      this.#player?.setSpeed(Number(this.#speed.value));
      this.update();
    });
    this.#follow.addEventListener("change", () => this.#player?.follow(Number(this.#follow.value)));
    element("ranking").addEventListener("click", (event) => this.#picked(event));
    // Who uses a mouse goes on with the keyboard's shortcuts, not with the button that was clicked.
    this.root.addEventListener("click", (event) => {
      if (event.detail > 0 && event.target instanceof Element) event.target.closest("button")?.blur();
    });
    for (const select of [this.#speed, this.#follow]) {
      let byPointer = false;
      select.addEventListener("pointerdown", () => (byPointer = true));
      select.addEventListener("keydown", () => (byPointer = false));
      select.addEventListener("change", () => {
        if (byPointer) select.blur();
      });
    }
    addEventListener("keydown", (event) => this.#key(event));
  }

  open(player: Player | undefined): void {
    this.#player = player;
    this.root.hidden = player === undefined;
    this.#followKey = "";
    this.update();
  }

  /** Often: what moves. */
  draw(): void {
    const player = this.#player;
    if (player === undefined) return;
    const { timeline, position, last, isLive, follows } = player;
    this.#bar.show({ timeline, position, last, isLive, follows });
    setText(element("time"), clockText(timeline.seconds(position)));
    setText(element("total"), clockText(timeline.seconds(Math.max(last, position))));
    setText(element("tick"), `tick ${Math.round(position)}`);
  }

  /** Now and then: what changes. */
  update(): void {
    const player = this.#player;
    if (player === undefined) return;
    const { recording } = player.timeline;
    setText(element("deck-title"), recording.roomName || recording.name);
    const kind = kindOf(recording);
    const badge = element("deck-badge");
    badge.className = `badge ${kind}`;
    setText(badge, kind === "incident" ? recording.incident : kind === "live" ? "Running" : "Finished");
    this.#toggle.classList.toggle("going", player.isGoing);
    this.#toggle.setAttribute("aria-label", player.isGoing ? "Pause" : "Play");
    this.#speed.value = String(player.speed);
    this.#live.hidden = !player.timeline.isRunning;
    this.#live.setAttribute("aria-pressed", String(player.isLive));
    this.root.classList.toggle("waiting", player.isWaiting);
    this.#showFollow(player);
  }

  #showFollow(player: Player): void {
    const players = [...(player.scene?.players.values() ?? [])].sort((a, b) => a.number - b.number);
    const options = players.map(({ number, name }) => [number, name] as const);
    if (player.follows !== 0 && !players.some(({ number }) => number === player.follows)) {
      options.push([player.follows, player.timeline.nameOf(player.follows, player.position)]);
    }
    const key = `${player.follows} ${options.join()}`;
    // An open list is not changed under the hand.
    if (key === this.#followKey || (document.activeElement === this.#follow && this.#followKey !== "")) return;
    this.#followKey = key;
    const made = [[0, "the leader"] as const, ...options].map(([number, name]) => {
      const option = make("option", "", name);
      option.value = String(number);
      return option;
    });
    this.#follow.replaceChildren(...made);
    this.#follow.value = String(player.follows);
  }

  #picked(event: Event): void {
    const line = event.target instanceof Element ? event.target.closest("li") : null;
    const number = Number(line?.dataset.player ?? 0);
    if (number !== 0) this.#player?.follow(this.#player.follows === number ? 0 : number);
  }

  #skipToKill(isForward: boolean): void {
    const player = this.#player;
    const tick = player?.timeline.killFrom(player.position, isForward, player.follows);
    if (tick !== undefined) player?.seek(tick);
  }

  #key(event: KeyboardEvent): void {
    const player = this.#player;
    if (player === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.closest("input, textarea, select, dialog[open]") !== null) return;
    const isPressing = event.key === " " || event.key === "Enter";
    if (isPressing && target.closest("button, a") !== null) return;
    const skip = (seconds: number): void => player.step(Math.round(seconds * player.timeline.ticksPerS));
    const keys: Record<string, () => void> = {
      " ": () => {
        if (!event.repeat) player.toggle();
      },
      ArrowLeft: () => (event.shiftKey ? step(player, -1) : skip(-SKIP_S)),
      ArrowRight: () => (event.shiftKey ? step(player, 1) : skip(SKIP_S)),
      ArrowUp: () => player.changeSpeed(1),
      ArrowDown: () => player.changeSpeed(-1),
      PageUp: () => skip(PAGE_S),
      PageDown: () => skip(-PAGE_S),
      Home: () => player.seek(player.timeline.first),
      End: () => (player.timeline.isRunning ? player.live() : player.seek(player.last)),
      k: () => this.#skipToKill(!event.shiftKey),
      K: () => this.#skipToKill(!event.shiftKey),
      l: () => player.live(),
    };
    const run = keys[event.key];
    if (run === undefined) return;
    event.preventDefault();
    run();
  }
}

/** Tick by tick one goes standing still. */
function step(player: Player, ticks: number): void {
  if (player.isGoing) player.pause();
  player.step(ticks);
}
