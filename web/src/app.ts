// Puts it together: the lobby over a watched room, the flight, and the loop that draws either.

import * as arena from "./arena";
import type { JoinRequest } from "./gen/fray/v1/lobby_pb";
import { Notice_Kind, type Notice, type Welcome } from "./gen/fray/v1/play_pb";
import { Flight } from "./flight";
import { Hands } from "./input/controls";
import { listenToKeys, listenToMouse, readPad } from "./input/devices";
import { Touch } from "./input/touch";
import { LobbyView, type Pilot } from "./lobby/lobby";
import { Doors } from "./net/doors";
import { serverUrl, withServer } from "./net/server";
import type { SessionState } from "./net/session";
import { Traffic } from "./net/traffic";
import { element, setText } from "./page";
import type { Pose } from "./predict";
import { linkTo } from "./replay/link";
import { Scene } from "./scene";
import { Screen, type Frame } from "./view/screen";
import { inWords, IS_GONE, restoredTo, waiting, WILL_MOVE } from "./words";

const HUD_MS = 100;
const PING_MS = 4000;
/** How long people are told that some of what they did is gone. */
const RESTORED_MS = 6000;
/** So much of a watched room is shown again. */
const REWIND_S = 10;

export class App {
  flight: Flight | undefined;
  /** The room that is on the screen, flown in or watched. */
  scene: Scene | undefined;
  readonly doors = new Doors(serverUrl());
  readonly hands = new Hands();
  readonly screen = new Screen(() => (this.#hudAt = 0));
  readonly hud = this.screen.hud;
  readonly lobby: LobbyView;
  readonly #touch: Touch;
  #watchTraffic = new Traffic();
  #stopRooms: (() => void) | undefined;
  #stopWatching: (() => void) | undefined;
  #watchedRoom = "";
  #hudAt = 0;

  constructor() {
    const { screen } = this;
    this.lobby = new LobbyView({
      join: (room, pilot) => this.#join(room, pilot),
      watch: (room) => this.#watchOpenly(room.roomId),
    });
    this.#touch = new Touch(this.hands, screen.canvas);
    listenToMouse(this.hands, screen.canvas);
    listenToKeys(this.hands, () => this.flight !== undefined, {
      n: () => screen.graph.toggle(),
      m: () => screen.toggleSound(),
      "?": () => screen.showKeys(),
      escape: () => this.#escape(),
    });
    element("ping").addEventListener("click", () => screen.graph.toggle());
    element("sound").addEventListener("click", () => screen.toggleSound());
    element("help").addEventListener("click", () => screen.showKeys());
    element("leave").addEventListener("click", () => this.#escape());
    element("unwatch").addEventListener("click", () => this.#openLobby(""));
    element("rewind").addEventListener("click", () => this.#rewind());
    addEventListener("pagehide", () => this.flight?.session.leave());
    this.hud.hint(matchMedia("(pointer: coarse)").matches);
  }

  start(): void {
    this.lobby.show(true);
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

  #join(room: JoinRequest["room"], pilot: Pilot): void {
    this.lobby.busy("Joining…");
    const flight = new Flight(this.doors.host(room, pilot.name, pilot.hue), {
      entered: (scene, welcome) => this.#entered(scene, welcome),
      // What a flight that was left still has to say is of no use.
      changed: (state) => {
        if (this.flight === flight) this.#changed(state);
      },
      noticed: (notice) => this.#noticed(notice),
    });
    this.flight = flight;
    flight.session.start();
  }

  #entered(scene: Scene, welcome: Welcome): void {
    const isNew = this.scene?.ownEntity !== scene.ownEntity;
    this.scene = scene;
    if (isNew) {
      this.screen.particles.clear();
      this.hud.clear();
      this.hands.release();
      this.screen.canvas.focus();
      const code = welcome.room?.code ?? "";
      if (code !== "") this.hud.banner("Private room", `tell your friends the code ${code}`, performance.now(), 8000);
    }
    const { restoredAgeMs } = welcome;
    if (restoredAgeMs !== undefined) {
      this.hud.banner("The room's server was lost", restoredTo(Number(restoredAgeMs)), performance.now(), RESTORED_MS);
    }
    this.#show();
  }

  #noticed({ kind, text }: Notice): void {
    // Mostly nobody would see it otherwise.
    if (kind === Notice_Kind.ROOM_MOVING) this.hud.note(WILL_MOVE);
    else this.hud.banner(text, "", performance.now(), 4000);
  }

  #changed(state: SessionState): void {
    if (state.kind === "ended") this.#openLobby(inWords(state.reason), IS_GONE.has(state.reason));
    else if (state.kind === "connecting") this.lobby.busy(state.isBusy ? "The server is busy…" : "Joining…");
    else this.#showStatus();
  }

  #openLobby(text: string, findsAnother = false): void {
    const { flight } = this;
    this.flight = undefined;
    flight?.session.leave();
    this.hud.status("");
    this.lobby.show(true);
    this.lobby.say(text);
    this.lobby.offer(findsAnother ? "Find another room" : "Play");
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
        this.screen.particles.clear();
        this.lobby.shows(welcome.room?.roomId ?? "");
        this.#show();
      },
      updated: (update) => {
        const now = performance.now();
        this.scene?.updated(update, now);
        this.#watchTraffic.updated(now, update, 0, 0);
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

  /** What was just seen, again. */
  #rewind(): void {
    const { scene } = this;
    const recording = scene?.welcome.room?.roomId ?? "";
    if (scene === undefined || recording === "") return;
    const tick = Math.max(1, scene.tick - Math.round((REWIND_S * 1000) / scene.clock.tickMs));
    location.assign(withServer(linkTo({ recording, tick, plays: true })));
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
    element("watching").hidden = !isWatching;
    if (this.scene !== undefined) this.hud.update(this.scene, performance.now());
  }

  // --- The loop

  #frame(now: number): void {
    requestAnimationFrame((next) => this.#frame(next));
    const frame = this.screen.begin(now);
    const isWide = innerWidth > 820;
    this.screen.fit(this.lobby.isShown ? (isWide ? { x: 0.17, y: 0 } : { x: 0, y: -0.32 }) : { x: 0, y: 0 });
    const { scene } = this;
    if (scene === undefined || scene.tick === 0) this.screen.drawEmpty(frame);
    else this.#drawScene(scene, frame);
  }

  #drawScene(scene: Scene, frame: Frame): void {
    const { picture } = this.screen;
    const { now, seconds } = frame;
    scene.advance(now);
    readPad(this.hands);
    const own = this.flight?.fly(this.hands, scene, now, frame.elapsedMs, (pose) => picture.toCss(pose, scene.world));
    if (own !== undefined) picture.camera.ride(own.pose, scene.world, scene.clock.tickMs, seconds);
    else if (this.flight === undefined) this.screen.followLeader(scene, seconds);
    this.screen.draw(scene, own, frame);
    if (this.#touch.thumb !== undefined) picture.drawThumb(this.#touch.thumb.origin, this.#touch.thumb.at);
    this.#drawHud(scene, own?.pose, now);
  }

  #drawHud(scene: Scene, own: Pose | undefined, now: number): void {
    if (now - this.#hudAt >= HUD_MS) {
      this.#hudAt = now;
      if (!this.lobby.isShown) this.hud.update(scene, now);
      this.#showStatus();
      const ping = this.flight?.session.traffic.pingSmooth;
      if (ping !== undefined) setText(element("ping"), `${ping < 10 ? ping.toFixed(1) : Math.round(ping)} ms`);
    }
    if (!this.lobby.isShown) this.screen.drawRadar(scene, own, now);
    const { session, predictor } = this.flight ?? {};
    const traffic = session?.traffic ?? this.#watchTraffic;
    this.screen.graph.update({ scene, traffic, session, predictor, framesPerS: this.screen.quality.framesPerS }, now);
  }

  #showStatus(): void {
    const state = this.flight?.session.state;
    if (state?.kind === "playing" || state?.kind === "reconnecting") this.hud.status(waiting(state, performance.now()));
    else this.hud.status("");
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
      shown: this.screen.picture.shown,
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
      redirects: flight?.session.redirects ?? 0,
      setBack: flight?.session.moves.setBack ?? 0,
      corrections: flight?.predictor?.corrections ?? 0,
      lead: flight?.predictor?.lead ?? 0,
      checksums: scene?.replica.checksumsChecked ?? 0,
      ping: flight?.session.traffic.ping,
      framesPerS: this.screen.quality.framesPerS,
      pixel: this.screen.picture.pixel,
      privates: scene?.privates ?? [],
    };
  }
}
