// All that shows a room: the picture and what is written over it. The game and the replays have one each.

import { element } from "../page";
import type { Pose } from "../predict";
import type { Scene } from "../scene";
import { Director } from "./director";
import { Effects } from "./effects";
import { Graph } from "./graph";
import { Hud } from "./hud";
import { Particles, PARTICLES_MAX } from "./particles";
import { Picture } from "./picture";
import { Quality } from "./quality";
import { Radar } from "./radar";
import { Sound } from "./sound";

/** Longer steps are not animated: the page slept. */
const STEP_S_MAX = 0.1;
const RADAR_MS = 50;
/** The camera takes its time to make room for a panel. */
const ASIDE_BLEND = 0.12;

/** One frame: when, and how long after the one before. */
export interface Frame {
  now: number;
  elapsedMs: number;
  seconds: number;
}

/** Whose eyes the picture is seen with, if a player's. */
export interface Own {
  pose: Pose;
  tick: number;
}

export class Screen {
  readonly canvas = element<HTMLCanvasElement>("picture");
  readonly particles = new Particles();
  readonly hud = new Hud();
  readonly graph = new Graph();
  readonly sound = new Sound();
  readonly quality = new Quality();
  readonly picture: Picture;
  readonly #radar = new Radar(element<HTMLCanvasElement>("radar"));
  readonly #director: Director;
  readonly #calm = matchMedia("(prefers-reduced-motion: reduce)");
  /** How fast what only looks alive goes. */
  #liveliness = 1;
  #time = 0;
  #drawnAt = 0;
  #radarAt = 0;
  #hurt = 0;
  #watchedPlayer = 0;
  #seenPlayer = 0;

  /** `hurt` is told when the own ship lost hull. */
  constructor(hurt: () => void = () => {}) {
    const effects = new Effects(this.particles, () => this.isCalm);
    this.picture = new Picture(this.canvas, this.particles, effects);
    this.#director = new Director({
      effects,
      camera: this.picture.camera,
      isCalm: () => this.isCalm,
      tell: (happening, scene) => this.hud.tell(happening, scene, performance.now()),
      sound: (kind, nearness) => this.sound.play(kind, nearness),
      hurt: (points) => {
        hurt();
        this.#wasHurt(points);
      },
    });
  }

  get isCalm(): boolean {
    return this.#calm.matches;
  }

  toggleSound(): void {
    this.sound.toggle();
    element("sound").setAttribute("aria-pressed", String(this.sound.isOn));
  }

  showKeys(): void {
    const keys = element<HTMLDialogElement>("keys");
    if (keys.open) keys.close();
    else keys.showModal();
  }

  /** To be called first in every frame. `liveliness` is how fast sparks fly; at 0 they hang in the air. */
  begin(now: number, liveliness = 1): Frame {
    const elapsedMs = now - this.#drawnAt;
    this.#drawnAt = now;
    this.quality.drawn(elapsedMs);
    const seconds = Math.min(STEP_S_MAX, elapsedMs / 1000);
    this.#liveliness = liveliness;
    this.#time += seconds * liveliness;
    this.particles.limit = PARTICLES_MAX * (0.25 + 0.75 * this.quality.richness);
    this.particles.advance(seconds * liveliness);
    this.#hurt = Math.max(0, this.#hurt - 2.2 * seconds);
    return { now, elapsedMs, seconds };
  }

  /** Fits the picture to the window; its subject is this far from the middle, since a panel covers the rest. */
  fit(aside: { x: number; y: number }): void {
    const [width, height] = [innerWidth, innerHeight];
    // As the style has it: text grows with the screen.
    const growth = Math.max(1, Math.min(2, (9 + 0.0032 * width) / 13));
    this.picture.resize(width, height, this.quality.pixel(width, height), growth);
    const { camera } = this.picture;
    camera.aside.x += (aside.x - camera.aside.x) * ASIDE_BLEND;
    camera.aside.y += (aside.y - camera.aside.y) * ASIDE_BLEND;
  }

  drawEmpty({ seconds, now }: Frame): void {
    this.picture.drawEmpty(this.isCalm ? 0 : seconds, now / 1000);
  }

  /** The camera is where it is to be. */
  draw(scene: Scene, own: Own | undefined, { seconds, now }: Frame): void {
    this.picture.camera.settle(seconds, now / 1000);
    this.#director.watch(scene);
    this.picture.draw({
      scene,
      own: own?.pose,
      ownTick: own?.tick ?? 0,
      time: this.#time,
      seconds: seconds * this.#liveliness,
      showsCells: this.graph.isShown,
      isCalm: this.isCalm,
    });
    if (this.#hurt > 0) this.picture.drawHurt(this.#hurt);
  }

  drawRadar(scene: Scene, own: Pose | undefined, now: number): void {
    if (now - this.#radarAt < RADAR_MS) return;
    this.#radarAt = now;
    this.#radar.draw(scene, this.picture.camera, own);
  }

  /** Looks at this player's ship, and stays where it was while it is away; at the leader if it was not seen yet. */
  followPlayer(number: number, scene: Scene, seconds: number): void {
    const ship = scene.player(number)?.ship;
    if (ship !== undefined && scene.tracks.has(ship)) {
      this.#seenPlayer = number;
      this.#follow(ship, scene, seconds);
    } else if (ship === undefined || this.#seenPlayer !== number) {
      this.followLeader(scene, seconds);
    }
  }

  /** A spectator looks at the best ship that is there, and stays with it for as long as it flies. */
  followLeader(scene: Scene, seconds: number): void {
    const flying = scene.ranking().filter((player) => scene.tracks.has(player.ship));
    const kept = flying.find((player) => player.number === this.#watchedPlayer) ?? flying[0];
    if (kept === undefined) {
      const middle = 2 ** (scene.world.positionBits - scene.world.unitBits) / 2;
      this.picture.camera.follow(middle, middle, scene.world, seconds);
      return;
    }
    this.#watchedPlayer = kept.number;
    this.#follow(kept.ship, scene, seconds);
  }

  /** The best ship is chosen anew. */
  forgetLeader(): void {
    this.#watchedPlayer = 0;
  }

  /** What is shown next does not follow from what was shown. */
  cut(): void {
    this.picture.cut();
    this.picture.camera.cut();
    this.hud.clear();
    this.#seenPlayer = 0;
  }

  #follow(ship: number, scene: Scene, seconds: number): void {
    const pose = { x: 0, y: 0, vx: 0, vy: 0, heading: 0, thrust: 0 };
    scene.tracks.get(ship)!.pose(scene.shownTick, scene.world, scene.motions, pose);
    const unit = 2 ** scene.world.unitBits;
    this.picture.camera.follow(pose.x / unit, pose.y / unit, scene.world, seconds);
  }

  #wasHurt(points: number): void {
    this.#hurt = Math.min(1, this.#hurt + 0.25 + points / 60);
    if (!this.isCalm) this.picture.camera.jolt(2 + points / 6);
  }
}
