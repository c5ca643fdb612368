// What is written over the picture: scores, hull and heat, the feed, banners.

import * as arena from "../arena";
import { element, make, setText } from "../page";
import type { Happening, Player, Scene } from "../scene";

const RANKS = 5;
const FEED_MAX = 5;
const FEED_MS = 6500;
const HINTS = {
  keys: "Turn with A D, thrust with W, fire with Space — or aim with the mouse",
  touch: "Left thumb steers, right thumb fires",
};

export class Hud {
  readonly #root = element("hud");
  readonly #ranking = element("ranking");
  readonly #round = element("round");
  readonly #pilots = element("pilots");
  readonly #clock = element("clock");
  readonly #feed = element("feed");
  readonly #gauges = element("gauges");
  readonly #hull = gauge("hull");
  readonly #heat = gauge("heat");
  readonly #hint = element("hint");
  readonly #banner = element("banner");
  readonly #status = element("status");
  /** Whose line stands out for a spectator; 0: nobody's. */
  followed = 0;
  #rankingKey = "";
  #bannerUntil = 0;
  #hasKilled = false;

  show(isFlying: boolean, isWatching: boolean): void {
    this.#root.hidden = !isFlying && !isWatching;
    this.#gauges.hidden = this.#hint.hidden = !isFlying;
    if (!isFlying) this.#banner.classList.remove("on");
  }

  clear(): void {
    this.#feed.replaceChildren();
    this.#hasKilled = false;
    this.#hint.classList.remove("done");
  }

  hint(isTouch: boolean): void {
    setText(this.#hint, isTouch ? HINTS.touch : HINTS.keys);
  }

  /** One line on top of everything; empty: nothing to say. */
  status(text: string): void {
    setText(this.#status, text);
  }

  banner(text: string, small: string, now: number, ms: number): void {
    this.#banner.replaceChildren(text, make("small", "", small));
    this.#banner.classList.add("on");
    this.#bannerUntil = now + ms;
  }

  update(scene: Scene, now: number): void {
    this.#showRanking(scene);
    this.#showRound(scene);
    this.#showGauges(scene);
    if (now > this.#bannerUntil) this.#banner.classList.remove("on");
    const respawn = scene.privates[1] ?? 0;
    if (scene.ownNumber !== 0 && respawn > 0) {
      const seconds = Math.max(0, scene.secondsTo(respawn));
      if (seconds > 0.05) this.banner("Destroyed", `back in ${seconds.toFixed(1)} s`, now, 150);
    }
  }

  tell(happening: Happening, scene: Scene, now: number): void {
    const { what, player, other } = happening;
    const isOwn = scene.ownNumber !== 0 && (player === scene.ownNumber || other === scene.ownNumber);
    const who = (number: number): Node => name(scene.player(number), scene.nameOf(number));
    if (what === arena.What.Kill) {
      if (player === other) this.#line(isOwn, who(player), note(" met a rock"));
      else this.#line(isOwn, who(player), note(" ▸ "), who(other));
      if (player === scene.ownNumber && player !== other) this.#killed();
    } else if (what === arena.What.Pickup) {
      if (isOwnPlayer(player, scene)) this.#line(true, who(player), note(` got ${arena.PICKUP_NAMES[other] ?? "something"}`));
    } else if (what === arena.What.Joined) {
      this.#line(isOwnPlayer(player, scene), who(player), note(" joined"));
    } else if (what === arena.What.Left) {
      this.#line(false, who(player), note(" left"));
    } else if (what === arena.What.RoundBegan) {
      this.banner(`Round ${other}`, "go", now, 2200);
    } else if (what === arena.What.RoundEnded) {
      const winner = player === 0 ? "Nobody" : player === scene.ownNumber ? "You" : scene.nameOf(player);
      this.banner(`${winner} won`, `round ${other} is over`, now, 5000);
    }
  }

  /** What players may like to know, but need not. */
  note(text: string): void {
    this.#line(false, note(text));
  }

  #killed(): void {
    this.#hasKilled = true;
    this.#hint.classList.add("done");
  }

  get hasKilled(): boolean {
    return this.#hasKilled;
  }

  #line(isOwn: boolean, ...children: Node[]): void {
    const line = make("li", isOwn ? "own" : "", ...children);
    this.#feed.prepend(line);
    setTimeout(() => line.remove(), FEED_MS);
    while (this.#feed.childElementCount > FEED_MAX) this.#feed.lastElementChild?.remove();
  }

  #showRanking(scene: Scene): void {
    const ranking = scene.ranking();
    const shown = ranking.slice(0, RANKS).map((player, index) => ({ player, place: index + 1 }));
    const looked = scene.ownNumber === 0 ? this.followed : scene.ownNumber;
    const own = ranking.findIndex((player) => player.number === looked);
    if (own >= RANKS) shown.push({ player: ranking[own]!, place: own + 1 });
    const key = this.followed + shown.map(({ player: p, place }) => `${place} ${p.number} ${p.name} ${p.score} ${p.hue} ${p.isConnected}`).join();
    if (key === this.#rankingKey) return;
    this.#rankingKey = key;
    const lines = shown.map(({ player, place }) => {
      const isOwn = player.number === scene.ownNumber;
      const mark = make("span", "mark");
      mark.style.setProperty("--hue", String(player.hue));
      const isFollowed = player.number === this.followed;
      const line = make("li", `${isOwn ? "own" : isFollowed ? "followed" : ""} ${player.isConnected ? "" : "away"}`);
      line.dataset.player = String(player.number);
      line.append(make("span", "place", `${place}`), mark, make("span", "name", player.name), make("span", "score", `${player.score}`));
      return line;
    });
    this.#ranking.replaceChildren(...lines);
  }

  #showRound({ round, players }: Scene): void {
    if (round === undefined) return;
    setText(this.#round, round.isPlaying ? `Round ${round.number}` : "Pause");
    setText(this.#pilots, ` · ${players.size} pilot${players.size === 1 ? "" : "s"}`);
  }

  #showGauges(scene: Scene): void {
    if (scene.round !== undefined) {
      const left = Math.max(0, Math.ceil(scene.secondsTo(scene.round.endsTick)));
      setText(this.#clock, `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`);
    }
    if (scene.ownNumber === 0) return;
    const hull = scene.tracks.get(scene.ownEntity)?.attributes[1] ?? 0;
    this.#hull.set(hull / arena.HULL_MAX, `${hull}`, hull <= 30 ? "low" : "");
    const heatMs = Math.max(0, scene.secondsTo(scene.privates[0] ?? 0) * 1000);
    const part = Math.min(1, heatMs / arena.HEAT_MAX_MS);
    this.#heat.set(part, part > 0.86 ? "hot" : "", part > 0.86 ? "hot" : "");
  }
}

function isOwnPlayer(number: number, scene: Scene): boolean {
  return scene.ownNumber !== 0 && number === scene.ownNumber;
}

function name(player: Player | undefined, text: string): HTMLElement {
  const bold = make("b", "", text);
  bold.style.setProperty("--hue", String(player?.hue ?? 200));
  return bold;
}

function note(text: string): HTMLElement {
  return make("i", "", text);
}

function gauge(id: string): { set(part: number, text: string, state: string): void } {
  const root = element(id);
  const bar = root.querySelector("i")!;
  const value = root.querySelector("b")!;
  let shown = -1;
  return {
    set(part, text, state) {
      const width = Math.round(part * 200) / 200;
      if (width !== shown) bar.style.transform = `scaleX(${(shown = width)})`;
      setText(value, text);
      if (root.className !== `gauge ${state}`) root.className = `gauge ${state}`;
    },
  };
}
