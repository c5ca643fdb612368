// Puts it together: the list of recordings, and one that is watched.

import type { Update } from "../gen/fray/v1/play_pb";
import { Archive, Trouble, type Name } from "../net/archive";
import { Doors } from "../net/doors";
import { serverUrl, withServer } from "../net/server";
import { Traffic } from "../net/traffic";
import { element, setText } from "../page";
import { Screen, type Frame } from "../view/screen";
import type { Scene } from "../scene";
import { Behind } from "./behind";
import { Deck } from "./deck";
import { download } from "./download";
import { sizeText } from "./format";
import { linkTo, parseLink, type Link } from "./link";
import { List } from "./list";
import { Player } from "./player";
import { Timeline } from "./timeline";
import { troubleInWords } from "./words";

const HUD_MS = 100;
/** Where the list leaves nothing free beside it; as the style has it. */
const NARROW = 1000;
const LEADER_MS = 2000;
const GROWTH_MS = 3000;
const RETRY_MS = 3000;
/** Sparks and trails go along with the game's time, but no faster than the eye. */
const LIVELINESS_MAX = 4;
const SOUND_SPEED_MAX = 2;

export class ReplayApp {
  readonly archive = new Archive(serverUrl());
  readonly screen = new Screen();
  readonly #list: List;
  readonly #deck: Deck;
  readonly #behind = new Behind(new Doors(serverUrl()), () => this.screen.cut());
  #player: Player | undefined;
  #name: Name = { recording: "", code: "" };
  #traffic = new Traffic();
  #hudAt = 0;
  #leaderAt = 0;
  #deckHigh = 0;
  #opening = 0;
  #growth: ReturnType<typeof setTimeout> | undefined;
  #downloading: AbortController | undefined;

  constructor() {
    this.#list = new List(this.archive, (recording) => {
      history.pushState(null, "", withServer(linkTo({ recording })));
      void this.#open(parseLink(location.search));
    });
    this.#deck = new Deck({
      leave: () => this.#leave(),
      copyLink: () => void this.#copyLink(),
      download: () => void this.#download(),
    });
    new ResizeObserver(() => (this.#deckHigh = this.#deck.root.offsetHeight)).observe(this.#deck.root);
    const { screen } = this;
    element("sound").addEventListener("click", () => screen.toggleSound());
    element("help").addEventListener("click", () => screen.showKeys());
    element("leave").addEventListener("click", () => this.#leave());
    element("ping").addEventListener("click", () => screen.graph.toggle());
    element("to-list").addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      this.#leave();
    });
    addEventListener("keydown", (event) => this.#key(event));
    addEventListener("popstate", () => void this.#open(parseLink(location.search)));
    document.addEventListener("visibilitychange", () => {
      this.#player?.hide(document.hidden);
      this.#behind.show(this.#list.isShown && !document.hidden);
      if (!document.hidden) void this.#grow();
    });
  }

  start(): void {
    document.body.classList.add("replaying");
    setText(element("ping"), "Net");
    element("leave").title = "Back to the recordings (Esc)";
    void this.#open(parseLink(location.search));
    requestAnimationFrame((now) => this.#frame(now));
  }

  // --- From one state to another

  async #open(link: Link | undefined): Promise<void> {
    this.#close();
    const opening = ++this.#opening;
    this.#showList(link === undefined);
    document.title = "Replays – Fray";
    if (link === undefined) return;
    this.#name = { recording: link.recording, code: link.code };
    this.#say("Opening the recording…");
    const timeline = await this.#firstTimeline(opening);
    if (timeline === undefined || opening !== this.#opening) return;
    const host = {
      now: () => performance.now(),
      after: (ms: number, run: () => void) => {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
    };
    const player = new Player(host, this.archive, this.#name, timeline, {
      changed: () => this.#changed(),
      showed: (_, isCut) => this.#showed(isCut),
      updated: (update) => this.#updated(update),
      mayBeOver: () => void this.#grow(),
    });
    this.#player = player;
    document.title = `${timeline.recording.roomName || timeline.recording.name} – Fray replay`;
    this.#say("");
    this.screen.hud.clear();
    this.screen.hud.show(false, true);
    this.#deck.open(player);
    begin(player, link);
    void this.#grow();
  }

  async #firstTimeline(opening: number): Promise<Timeline | undefined> {
    while (opening === this.#opening) {
      try {
        return new Timeline(await this.archive.timeline(this.#name, 0), performance.now());
      } catch (error) {
        const { reason, isFinal } = asTrouble(error);
        if (opening === this.#opening) this.#say(troubleInWords(reason, isFinal));
        if (isFinal) {
          // There is nothing to show but the way back.
          this.#showList(true);
          return undefined;
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    return undefined;
  }

  #showList(isShown: boolean): void {
    this.#list.show(isShown);
    this.#behind.show(isShown && !document.hidden);
  }

  /** A room that plays on has more to show every now and then. */
  async #grow(): Promise<void> {
    const player = this.#player;
    clearTimeout(this.#growth);
    if (player === undefined || document.hidden) return;
    const { timeline } = player;
    try {
      let isCut: boolean;
      do {
        isCut = timeline.grow(await this.archive.timeline(this.#name, timeline.askAfter), performance.now());
      } while (isCut && player === this.#player);
    } catch (error) {
      // The streams say what is wrong with the recording; the time line just stays as it is.
      if (asTrouble(error).isFinal) return;
    }
    if (player !== this.#player) return;
    this.#deck.update();
    // A stream that ended though the room plays on, as when a server hands over: go on.
    if (player.mode === "ended" && timeline.isRunning) player.live();
    clearTimeout(this.#growth);
    if (timeline.isRunning) this.#growth = setTimeout(() => void this.#grow(), GROWTH_MS);
  }

  #close(): void {
    clearTimeout(this.#growth);
    this.#downloading?.abort();
    this.#player?.close();
    this.#player = undefined;
    this.#deck.open(undefined);
    this.screen.hud.show(false, false);
    this.screen.cut();
    this.#traffic = new Traffic();
    this.#say("");
  }

  #leave(): void {
    history.pushState(null, "", withServer(linkTo({})));
    void this.#open(undefined);
  }

  #changed(): void {
    const player = this.#player;
    if (player === undefined) return;
    const { trouble, mode } = player;
    this.#say(trouble === undefined ? "" : troubleInWords(trouble.reason, trouble.isFinal));
    this.#deck.update();
    this.screen.hud.followed = player.follows;
    this.#hudAt = 0;
    if (mode !== "playing" && !player.isSeeking) this.#keepAddress(player);
  }

  /** What one would share is in the address: where it stands, or what it is. */
  #keepAddress(player: Player): void {
    const address = this.#address(player);
    if (`${location.pathname}${location.search}` !== address) history.replaceState(null, "", address);
  }

  /** With the tick that is on the screen; but what follows a room may go on doing so. */
  #address(player: Player, keepsTick = !player.isLive): string {
    const tick = keepsTick ? Math.round(player.position) : undefined;
    return withServer(linkTo({ ...this.#name, player: player.follows, ...(tick === undefined ? {} : { tick }) }));
  }

  #showed(isCut: boolean): void {
    this.screen.forgetLeader();
    if (isCut) this.screen.cut();
  }

  #updated(update: Update): void {
    this.#traffic.updated(performance.now(), update, 0, 0);
  }

  async #copyLink(): Promise<void> {
    const player = this.#player;
    if (player === undefined) return;
    const address = new URL(this.#address(player, true), location.origin).href;
    try {
      await navigator.clipboard.writeText(address);
      this.#note("Link copied");
    } catch {
      // Pages that are not served securely may not: then it is at least where one can copy it from.
      history.replaceState(null, "", address);
      this.#note("The link is in the address bar");
    }
  }

  async #download(): Promise<void> {
    if (this.#downloading !== undefined) {
      this.#downloading.abort();
      return;
    }
    const stop = new AbortController();
    this.#downloading = stop;
    const text = element("download-text");
    try {
      await download(this.archive, this.#name, stop.signal, (bytes) => setText(text, sizeText(bytes)));
    } catch (error) {
      const { reason, isFinal } = asTrouble(error);
      if (!stop.signal.aborted) this.#note(troubleInWords(reason, isFinal));
    }
    this.#downloading = undefined;
    setText(text, "Download");
  }

  #note(text: string): void {
    this.screen.hud.banner("", text, performance.now(), 2500);
  }

  #say(text: string): void {
    this.screen.hud.status(text);
  }

  #key(event: KeyboardEvent): void {
    const target = event.target instanceof Element ? event.target : document.body;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, dialog[open]") !== null) return;
    if (event.key === "?") this.screen.showKeys();
    else if (event.key === "m") this.screen.toggleSound();
    else if (event.key === "n" && this.#player !== undefined) this.screen.graph.toggle();
    else if (event.key === "Escape" && !this.#list.isShown) this.#leave();
  }

  // --- The loop

  #frame(now: number): void {
    requestAnimationFrame((next) => this.#frame(next));
    const player = this.#player;
    // Behind the list a room plays, live.
    const behind = this.#list.isShown ? this.#behind.scene : undefined;
    const speed = behind !== undefined ? 1 : player?.mode === "playing" ? player.speed : 0;
    const frame = this.screen.begin(now, Math.min(LIVELINESS_MAX, speed));
    if (player !== undefined) this.screen.fit({ x: 0, y: -this.#deckHigh / 2 / innerHeight });
    else this.screen.fit({ x: this.#list.isShown && innerWidth > NARROW ? 0.25 : 0, y: 0 });
    this.screen.sound.isMuted = speed > SOUND_SPEED_MAX;
    player?.frame(now);
    if (behind !== undefined && behind.tick > 0) this.#drawBehind(behind, frame);
    else if (player?.scene === undefined) this.screen.drawEmpty(frame);
    else this.#drawScene(player, player.scene, frame);
    this.#deck.draw();
  }

  #drawBehind(scene: Scene, frame: Frame): void {
    scene.advance(frame.now);
    this.screen.followLeader(scene, frame.seconds);
    this.screen.draw(scene, undefined, frame);
  }

  #drawScene(player: Player, scene: Scene, frame: Frame): void {
    const { screen } = this;
    // The camera floats in the game's time; while that stands still, in ours.
    const seconds = frame.seconds * Math.max(1, player.mode === "playing" ? player.speed : 1);
    // Whom the server takes for the leader may be another by now.
    if (frame.now - this.#leaderAt > LEADER_MS) {
      this.#leaderAt = frame.now;
      screen.forgetLeader();
    }
    if (player.follows !== 0) screen.followPlayer(player.follows, scene, seconds);
    else screen.followLeader(scene, seconds);
    screen.draw(scene, undefined, frame);
    screen.drawRadar(scene, undefined, frame.now);
    if (frame.now - this.#hudAt >= HUD_MS) {
      this.#hudAt = frame.now;
      screen.hud.update(scene, frame.now);
      this.#deck.update();
    }
    const { framesPerS } = screen.quality;
    screen.graph.update({ scene, traffic: this.#traffic, session: undefined, predictor: undefined, framesPerS }, frame.now);
  }

  /** For tests and the curious; read only. */
  debug(): object {
    const player = this.#player;
    const scene = player?.scene;
    return {
      state: player === undefined ? "list" : player.mode,
      isLive: player?.isLive ?? false,
      isWaiting: player?.isWaiting ?? false,
      speed: player?.speed ?? 1,
      position: player?.position ?? 0,
      last: player?.last ?? 0,
      follows: player?.follows ?? 0,
      trouble: player?.trouble?.reason,
      markers: player?.timeline.markers.length ?? 0,
      ticksPerS: player?.timeline.ticksPerS ?? 0,
      tick: scene?.tick ?? 0,
      shownTick: scene?.shownTick ?? 0,
      entities: scene?.entityCount ?? 0,
      shown: this.screen.picture.shown,
      viewChecksum: scene?.replica.viewChecksum() ?? 0,
      checksums: scene?.replica.checksumsChecked ?? 0,
      framesPerS: this.screen.quality.framesPerS,
    };
  }
}

function begin(player: Player, link: Link): void {
  player.follows = link.player;
  if (link.tick !== undefined) {
    player.position = link.tick;
    if (link.plays) player.play();
    else player.seek(link.tick);
  } else if (player.timeline.isRunning) player.live();
  else player.play();
}

function asTrouble(error: unknown): Trouble {
  return error instanceof Trouble ? error : new Trouble("UNKNOWN", false);
}
