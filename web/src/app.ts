// Puts it together: the lobby over a watched room, the flight, and the loop that draws either.

import * as arena from "./arena";
import type { JoinRequest } from "./gen/fray/v1/lobby_pb";
import type { Welcome } from "./gen/fray/v1/play_pb";
import { Flight } from "./flight";
import { Hands } from "./input/controls";
import { listenToKeys, listenToMouse, readPad } from "./input/devices";
import { Touch } from "./input/touch";
import { LobbyView, type Pilot } from "./lobby/lobby";
import { Doors } from "./net/doors";
import { Refused, type SessionState } from "./net/session";
import { Traffic } from "./net/traffic";
import { element, setText } from "./page";
import { Scene } from "./scene";
import { Director } from "./view/director";
import { Effects } from "./view/effects";
import { Graph } from "./view/graph";
import { Hud } from "./view/hud";
import { Particles, PARTICLES_MAX } from "./view/particles";
import { Picture } from "./view/picture";
import { Quality } from "./view/quality";
import { Radar } from "./view/radar";
import { Sound } from "./view/sound";
import { inWords, reconnecting } from "./words";

/** Longer steps are not animated: the page slept. */
const STEP_S_MAX = 0.1;
const RADAR_MS = 50;
const HUD_MS = 100;
const PING_MS = 4000;

export class App {
  flight: Flight | undefined;
  /** The room that is on the screen, flown in or watched. */
  scene: Scene | undefined;
  readonly doors = new Doors(location.origin);
  readonly hands = new Hands();
  readonly particles = new Particles();
  readonly hud = new Hud();
  readonly graph = new Graph();
  readonly sound = new Sound();
  readonly quality = new Quality();
  readonly picture: Picture;
  readonly lobby: LobbyView;
  readonly #canvas = element<HTMLCanvasElement>("picture");
  readonly #touch: Touch;
  readonly #radar = new Radar(element<HTMLCanvasElement>("radar"));
  readonly #director: Director;
  readonly #calm = matchMedia("(prefers-reduced-motion: reduce)");
  #watchTraffic = new Traffic();
  #stopRooms: (() => void) | undefined;
  #stopWatching: (() => void) | undefined;
  #watchedRoom = "";
  #watchedPlayer = 0;
  #drawnAt = 0;
  #hudAt = 0;
  #radarAt = 0;
  #hurt = 0;

  constructor() {
    const effects = new Effects(this.particles, () => this.#calm.matches);
    this.picture = new Picture(this.#canvas, this.particles, effects);
    this.#director = new Director({
      effects,
      camera: this.picture.camera,
      isCalm: () => this.#calm.matches,
      tell: (happening, scene) => this.hud.tell(happening, scene, performance.now()),
      sound: (kind, nearness) => this.sound.play(kind, nearness),
      hurt: (points) => this.#wasHurt(points),
    });
    this.lobby = new LobbyView({
      join: (room, pilot) => void this.#join(room, pilot),
      watch: (room) => this.#watchOpenly(room.roomId),
    });
    this.#touch = new Touch(this.hands, this.#canvas);
    listenToMouse(this.hands, this.#canvas);
    listenToKeys(this.hands, () => this.flight !== undefined, {
      n: () => this.graph.toggle(),
      m: () => this.#toggleSound(),
      "?": () => this.#showKeys(),
      escape: () => this.#escape(),
    });
    element("ping").addEventListener("click", () => this.graph.toggle());
    element("sound").addEventListener("click", () => this.#toggleSound());
    element("help").addEventListener("click", () => this.#showKeys());
    element("leave").addEventListener("click", () => this.#escape());
    element("unwatch").addEventListener("click", () => this.#openLobby(""));
    addEventListener("pagehide", () => this.flight?.session.leave());
    this.hud.hint(matchMedia("(pointer: coarse)").matches);
  }

  start(): void {
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    const measure = (): void => {
      if (this.lobby.isShown && !document.hidden) this.doors.measure().then((ms) => this.lobby.ping(ms), () => {});
    };
    // The first call pays for opening the connection.
    setTimeout(measure, 300);
    setInterval(measure, PING_MS);
    this.#tendStreams();
    this.#show();
    requestAnimationFrame((now) => this.#frame(now));
  }

  // --- From one state to another

  async #join(room: JoinRequest["room"], pilot: Pilot): Promise<void> {
    this.lobby.busy("Joining…");
    let ticket;
    try {
      ({ ticket } = await this.doors.join(room, pilot.name, pilot.hue));
    } catch (error) {
      this.#openLobby(inWords(error instanceof Refused ? error.reason : "UNREACHABLE"));
      return;
    }
    this.flight = new Flight(this.doors.host(), ticket, {
      entered: (scene, welcome) => this.#entered(scene, welcome),
      changed: (state) => this.#changed(state),
      noticed: (text) => this.hud.banner(text, "", performance.now(), 4000),
    });
    this.flight.session.start();
  }

  #entered(scene: Scene, welcome: Welcome): void {
    const isNew = this.scene?.ownEntity !== scene.ownEntity;
    this.scene = scene;
    if (isNew) {
      this.particles.clear();
      this.hud.clear();
      this.hands.release();
      this.#canvas.focus();
      const code = welcome.room?.code ?? "";
      if (code !== "") this.hud.banner("Private room", `tell your friends the code ${code}`, performance.now(), 8000);
    }
    this.#show();
  }

  #changed(state: SessionState): void {
    if (state.kind === "ended") this.#openLobby(inWords(state.reason));
    else this.#showStatus();
  }

  #openLobby(text: string): void {
    this.flight?.session.leave();
    this.flight = undefined;
    this.hud.status("");
    this.lobby.show(true);
    this.lobby.say(text);
    this.#watch("");
    this.#show();
  }

  #watch(roomId: string): void {
    this.#watchedRoom = roomId;
    this.#stopWatching?.();
    this.#stopWatching = undefined;
    this.#tendStreams();
  }

  /** Browsers open only a few connections to a host, for all windows: a stream that nobody looks at is closed. */
  #tendStreams(): void {
    const isSeen = !document.hidden && this.flight === undefined;
    if (isSeen && this.lobby.isShown) {
      this.#stopRooms ??= this.doors.watchRooms(
        (rooms) => this.lobby.rooms(rooms),
        () => this.lobby.roomsFailed(),
      );
    } else {
      this.#stopRooms?.();
      this.#stopRooms = undefined;
    }
    if (isSeen) {
      this.#stopWatching ??= this.#watchRoom();
    } else {
      this.#stopWatching?.();
      this.#stopWatching = undefined;
    }
  }

  #watchRoom(): () => void {
    this.#watchTraffic = new Traffic();
    return this.doors.watch(this.#watchedRoom, {
      welcomed: (welcome, replica) => {
        this.scene = new Scene(welcome, replica);
        this.particles.clear();
        this.lobby.shows(welcome.room?.roomId ?? "");
        this.#show();
      },
      updated: (update) => {
        const now = performance.now();
        this.scene?.updated(update, now);
        this.#watchTraffic.updated(now, update, 0);
      },
      noticed: () => {},
      failed: () => {},
    });
  }

  #visibilityChanged(): void {
    this.#tendStreams();
    if (!document.hidden) return;
    // No frames from here on: nobody holds the ship's controls.
    this.hands.release();
    this.flight?.letGo();
    setTimeout(() => {
      if (document.hidden) this.flight?.letGo();
    }, 150);
  }

  #watchOpenly(roomId: string): void {
    this.lobby.show(false);
    this.#watch(roomId);
    this.#show();
  }

  #escape(): void {
    if (!this.lobby.isShown) this.#openLobby("");
  }

  #show(): void {
    const isFlying = this.flight !== undefined && this.scene?.ownEntity !== 0 && this.scene !== undefined;
    if (isFlying) this.lobby.show(false);
    this.#tendStreams();
    const isWatching = !isFlying && !this.lobby.isShown;
    this.hud.show(isFlying, isWatching);
    element("unwatch").hidden = !isWatching;
    if (this.scene !== undefined) this.hud.update(this.scene, performance.now());
  }

  #showKeys(): void {
    const keys = element<HTMLDialogElement>("keys");
    if (keys.open) keys.close();
    else keys.showModal();
  }

  #toggleSound(): void {
    this.sound.toggle();
    element("sound").setAttribute("aria-pressed", String(this.sound.isOn));
  }

  #wasHurt(points: number): void {
    this.#hudAt = 0;
    this.#hurt = Math.min(1, this.#hurt + 0.25 + points / 60);
    if (!this.#calm.matches) this.picture.camera.jolt(2 + points / 6);
  }

  // --- The loop

  #frame(now: number): void {
    requestAnimationFrame((next) => this.#frame(next));
    const elapsed = now - this.#drawnAt;
    this.#drawnAt = now;
    this.quality.drawn(elapsed);
    const seconds = Math.min(STEP_S_MAX, elapsed / 1000);
    this.#fit();
    this.particles.limit = PARTICLES_MAX * (0.25 + 0.75 * this.quality.richness);
    this.particles.advance(seconds);
    this.#hurt = Math.max(0, this.#hurt - 2.2 * seconds);
    const { scene } = this;
    if (scene === undefined || scene.tick === 0) this.picture.drawEmpty(seconds, now / 1000);
    else this.#drawScene(scene, now, elapsed, seconds);
  }

  #fit(): void {
    const [width, height] = [innerWidth, innerHeight];
    // As the style has it: text grows with the screen.
    const growth = Math.max(1, Math.min(2, (9 + 0.0032 * width) / 13));
    this.picture.resize(width, height, this.quality.pixel(width, height), growth);
    const isWide = width > 820;
    const { camera } = this.picture;
    const aside = this.lobby.isShown ? (isWide ? { x: 0.17, y: 0 } : { x: 0, y: -0.32 }) : { x: 0, y: 0 };
    camera.aside.x += (aside.x - camera.aside.x) * 0.12;
    camera.aside.y += (aside.y - camera.aside.y) * 0.12;
  }

  #drawScene(scene: Scene, now: number, elapsedMs: number, seconds: number): void {
    const { picture } = this;
    const { camera } = picture;
    scene.advance(now);
    readPad(this.hands);
    const own = this.flight?.fly(this.hands, scene, now, elapsedMs, (pose) => picture.toCss(pose, scene.world));
    if (own !== undefined) camera.ride(own.pose, scene.world, scene.clock.tickMs, seconds);
    else if (this.flight === undefined) this.#followLeader(scene, seconds);
    camera.settle(seconds, now / 1000);
    this.#director.watch(scene);
    picture.draw({
      scene,
      own: own?.pose,
      ownTick: own?.tick ?? 0,
      time: now / 1000,
      seconds,
      showsCells: this.graph.isShown,
      isCalm: this.#calm.matches,
    });
    if (this.#hurt > 0) picture.drawHurt(this.#hurt);
    if (this.#touch.thumb !== undefined) picture.drawThumb(this.#touch.thumb.origin, this.#touch.thumb.at);
    this.#drawHud(scene, own?.pose, now);
  }

  #drawHud(scene: Scene, own: { x: number; y: number; vx: number; vy: number; heading: number; thrust: number } | undefined, now: number): void {
    if (now - this.#hudAt >= HUD_MS) {
      this.#hudAt = now;
      if (!this.lobby.isShown) this.hud.update(scene, now);
      this.#showStatus();
      const ping = this.flight?.session.traffic.pingSmooth;
      if (ping !== undefined) setText(element("ping"), `${ping < 10 ? ping.toFixed(1) : Math.round(ping)} ms`);
    }
    if (now - this.#radarAt >= RADAR_MS && !this.lobby.isShown) {
      this.#radarAt = now;
      this.#radar.draw(scene, this.picture.camera, own);
    }
    const { session, predictor } = this.flight ?? {};
    const traffic = session?.traffic ?? this.#watchTraffic;
    this.graph.update({ scene, traffic, session, predictor, framesPerS: this.quality.framesPerS }, now);
  }

  #showStatus(): void {
    const state = this.flight?.session.state;
    if (state?.kind === "reconnecting") this.hud.status(reconnecting(state.graceUntil - performance.now()));
    else this.hud.status("");
  }

  /** A spectator looks at the best ship that is there, and stays with it for as long as it flies. */
  #followLeader(scene: Scene, seconds: number): void {
    const flying = scene.ranking().filter((player) => scene.tracks.has(player.ship));
    const kept = flying.find((player) => player.number === this.#watchedPlayer) ?? flying[0];
    const size = 2 ** scene.world.positionBits;
    if (kept === undefined) {
      const middle = size / 2 / 2 ** scene.world.unitBits;
      this.picture.camera.follow(middle, middle, scene.world, seconds);
      return;
    }
    this.#watchedPlayer = kept.number;
    const track = scene.tracks.get(kept.ship)!;
    const pose = { x: 0, y: 0, vx: 0, vy: 0, heading: 0, thrust: 0 };
    track.pose(scene.shownTick, scene.world, scene.motions, pose);
    const unit = 2 ** scene.world.unitBits;
    this.picture.camera.follow(pose.x / unit, pose.y / unit, scene.world, seconds);
  }

  /** For tests and the curious; read only. */
  debug(): object {
    const { flight, scene } = this;
    const ship = scene?.ownEntity === undefined ? undefined : scene.replica.entity(scene.ownEntity);
    const unit = 2 ** (scene?.world.unitBits ?? 0);
    return {
      state: flight?.session.state.kind ?? (scene === undefined ? "lobby" : "watching"),
      tick: scene?.tick ?? 0,
      entities: scene?.entityCount ?? 0,
      shown: this.picture.shown,
      player: scene?.ownNumber ?? 0,
      entity: scene?.ownEntity ?? 0,
      ship: ship === undefined ? undefined : { x: ship.x / unit, y: ship.y / unit, heading: ship.heading, thrust: ship.thrust },
      drawn: flight?.drawn === undefined ? undefined : { x: flight.drawn.x / unit, y: flight.drawn.y / unit },
      ships: [...(scene?.replica.entities() ?? [])]
        .filter((entity) => entity.kind === arena.KIND_SHIP)
        .map(({ id, x, y }) => ({ id, x: x / unit, y: y / unit })),
      desyncs: flight?.session.desyncs ?? 0,
      resyncs: flight?.session.resyncs ?? 0,
      mismatches: flight?.session.moves.mismatches ?? 0,
      reconnects: flight?.session.reconnects ?? 0,
      corrections: flight?.predictor?.corrections ?? 0,
      lead: flight?.predictor?.lead ?? 0,
      checksums: scene?.replica.checksumsChecked ?? 0,
      ping: flight?.session.traffic.ping,
      framesPerS: this.quality.framesPerS,
      pixel: this.picture.pixel,
      privates: scene?.privates ?? [],
    };
  }
}
