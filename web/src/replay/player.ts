// Plays a recording: which tick is shown, and which stream it comes from. Time, timers and streams come in from outside.
//
//   paused   a still is on the screen, or on its way
//   playing  a stream brings what comes next
//   ended    the last tick of a game that is over is on the screen
//   failed   nothing more can be shown; `trouble` says why

import type { Update, Welcome } from "../gen/fray/v1/play_pb";
import type { Name, Past, Trouble } from "../net/archive";
import type { Replica } from "../net/replica";
import { Scene } from "../scene";
import { Pace } from "./pace";
import { Stills } from "./stills";
import { clamp, type Timeline } from "./timeline";

export const SPEEDS: readonly number[] = [0.25, 0.5, 1, 2, 4, 8, 16];

/** Server and page agree on this many updates a second at most. */
const UPDATES_PER_S_MAX = 20;
/** A tick after the last one means the last one: the newest that there is. */
const NEWEST = 0xffffffff;
/** Single steps are over when none came for so long; then it plays on. */
const SETTLE_MS = 250;
const SPEED_SETTLE_MS = 120;
const RETRY_MS = 1500;
/** An answer to a still that takes longer is given up. */
const STILL_MS_MAX = 8000;
/** This close to the newest tick one is as good as live. */
const LIVE_S = 1.2;
/** Up to so many ticks away the picture goes on; further away it is cut. */
const NEAR_TICKS = 3;

export type Mode = "paused" | "playing" | "ended" | "failed";

export interface PlayerHost {
  now(): number;
  /** Returns what takes it back. */
  after(ms: number, run: () => void): () => void;
}

export interface PlayerEvents {
  /** Mode, speed, trouble or whom it follows is another. */
  changed(): void;
  /** Another scene is on the screen; where `isCut`, it does not follow from the one before. */
  showed(scene: Scene, isCut: boolean): void;
  updated(update: Update): void;
  /** The stream of a running room ended: it may be over. */
  mayBeOver(): void;
}

interface Stream {
  close: () => void;
  from: number;
  scene: Scene | undefined;
  isOver: boolean;
}

export class Player {
  mode: Mode = "paused";
  speed = 1;
  /** The tick that is shown or being fetched, with its fraction. */
  position = 0;
  scene: Scene | undefined;
  trouble: Trouble | undefined;
  follows = 0;
  /** Whether it stays at the newest tick of a running room. */
  isLive = false;
  readonly #stills = new Stills((tick, done) => this.#openStill(tick, done));
  #stream: Stream | undefined;
  readonly #timers = new Map<"settle" | "retry", () => void>();
  /** Whether it plays on after seeking. */
  #resumes = false;
  #isSeeking = false;
  #isGrabbed = false;
  #isHidden = false;

  constructor(
    readonly host: PlayerHost,
    readonly past: Past,
    readonly name: Name,
    readonly timeline: Timeline,
    readonly events: PlayerEvents,
  ) {
    this.position = timeline.first;
  }

  get last(): number {
    return this.timeline.last(this.host.now());
  }

  get isSeeking(): boolean {
    return this.#isSeeking;
  }

  /** Whether it plays, or will when seeking is over: what the button shows. */
  get isGoing(): boolean {
    return this.mode === "playing" || (this.#isSeeking && this.#resumes);
  }

  /** Whether something is on its way that is not on the screen yet. */
  get isWaiting(): boolean {
    return this.#stills.isBusy || (this.mode === "playing" && this.#stream?.scene === undefined);
  }

  play(): void {
    const isAtEnd = this.mode === "ended" || this.position >= this.last - 0.5;
    if (this.timeline.isRunning && this.position >= this.last - LIVE_S * this.timeline.ticksPerS) this.live();
    else this.#playFrom(isAtEnd ? this.timeline.first : Math.floor(this.position));
  }

  pause(): void {
    if (this.mode !== "playing" && !this.#isSeeking) return;
    this.#stop();
    this.mode = "paused";
    this.#showStill(Math.round(this.position));
    this.events.changed();
  }

  toggle(): void {
    if (this.isGoing) this.pause();
    else this.play();
  }

  /** To the newest tick of a running room, and on with it. */
  live(): void {
    if (!this.timeline.isRunning) return;
    this.speed = 1;
    this.#playFrom(NEWEST);
  }

  /** Shows this tick; then, when no other is asked for, it is as before: it plays on, or stands. */
  seek(tick: number): void {
    this.#beginSeeking();
    const wanted = clamp(Math.round(tick), this.timeline.first, this.last);
    this.position = wanted;
    this.#stills.want(wanted);
    if (!this.#isGrabbed) this.#later("settle", SETTLE_MS, () => this.#settle());
    this.events.changed();
  }

  /** By ticks, from where it is. */
  step(ticks: number): void {
    this.seek(Math.round(this.position) + ticks);
  }

  /** While a hand is on the time line nothing plays on. */
  grab(): void {
    this.#isGrabbed = true;
    this.#beginSeeking();
    this.events.changed();
  }

  release(): void {
    if (!this.#isGrabbed) return;
    this.#isGrabbed = false;
    this.#settle();
  }

  setSpeed(speed: number): void {
    // There is no future to be fast in.
    if (this.isLive && speed > 1) speed = 1;
    if (speed === this.speed) return;
    this.speed = speed;
    this.isLive = this.isLive && speed === 1;
    if (this.mode === "playing") this.#later("settle", SPEED_SETTLE_MS, () => this.#playFrom(Math.floor(this.position)));
    this.events.changed();
  }

  /** One step slower or faster. */
  changeSpeed(by: number): void {
    const index = SPEEDS.indexOf(this.speed);
    this.setSpeed(SPEEDS[clamp(index + by, 0, SPEEDS.length - 1)]!);
  }

  follow(player: number): void {
    if (player === this.follows) return;
    this.follows = player;
    if (this.mode === "playing") this.#playFrom(this.isLive ? NEWEST : Math.floor(this.position));
    else if (this.mode !== "failed") this.#showStill(Math.round(this.position));
    this.events.changed();
  }

  /** Nobody looks: a stream that runs is closed, and opened again later. */
  hide(isHidden: boolean): void {
    if (isHidden === this.#isHidden) return;
    this.#isHidden = isHidden;
    if (this.mode !== "playing") return;
    if (isHidden) this.#stop();
    else this.#playFrom(this.isLive ? NEWEST : Math.floor(this.position));
  }

  close(): void {
    this.#stop();
    this.mode = "paused";
  }

  /** One frame: moves on what is shown. */
  frame(now: number): void {
    const stream = this.#stream;
    if (this.mode !== "playing" || stream?.scene === undefined || stream.scene !== this.scene) return;
    const { scene } = stream;
    const tick = scene.advance(now);
    const isShown = stream.isOver && tick >= scene.tick;
    this.position = clamp(tick, stream.from === NEWEST ? 0 : stream.from, scene.tick);
    if (isShown) {
      scene.hold(scene.tick);
      this.#ended();
    } else if (this.#isAtNewest() && this.speed > 1) {
      this.live();
    } else if (this.#isAtNewest() && this.speed === 1 && !this.isLive) {
      this.isLive = true;
      this.events.changed();
    }
  }

  #isAtNewest(): boolean {
    return this.timeline.isRunning && this.position >= this.last - LIVE_S * this.timeline.ticksPerS;
  }

  #playFrom(tick: number): void {
    this.#stop();
    this.mode = "playing";
    this.isLive = tick === NEWEST;
    this.trouble = undefined;
    if (!this.#isHidden) this.#openStream(tick);
    this.events.changed();
  }

  #openStream(from: number): void {
    const { speed, timeline } = this;
    const pace = new Pace(timeline.ticksPerS, speed, from === NEWEST);
    const stream: Stream = { close: () => {}, from, scene: undefined, isOver: false };
    this.#stream = stream;
    let next: Scene | undefined;
    const wish = { ...this.name, player: this.follows, fromTick: from, speed, isStill: false };
    stream.close = this.past.watch(wish, {
      welcomed: (welcome, replica) => {
        next = paced(welcome, replica, speed);
      },
      updated: (update) => {
        if (next === undefined || this.#stream !== stream) return;
        next.updated(update, this.host.now());
        this.timeline.saw(update.tick);
        this.events.updated(update);
        if (stream.scene !== undefined) {
          const now = this.host.now();
          if (timeline.isRunning && pace.isToBeLive(update.tick, timeline.last(now), now)) this.live();
          return;
        }
        stream.scene = next;
        this.#show(next, update.tick);
        // Until the clock comes to it.
        next.hold(update.tick);
      },
      ended: (trouble) => {
        if (this.#stream !== stream) return;
        if (trouble !== undefined) this.#failed(trouble, () => this.#playFrom(this.isLive ? NEWEST : Math.floor(this.position)));
        else this.#streamEnded(stream);
      },
    });
  }

  #streamEnded(stream: Stream): void {
    stream.isOver = true;
    this.events.mayBeOver();
    if (stream.scene === undefined) this.#ended();
  }

  #ended(): void {
    this.#stop();
    this.mode = "ended";
    this.isLive = false;
    this.events.changed();
  }

  #openStill(tick: number, done: () => void): () => void {
    let next: Scene | undefined;
    let isDone = false;
    const finish = (): void => {
      if (isDone) return;
      isDone = true;
      takeBack();
      done();
    };
    const wish = { ...this.name, player: this.follows, fromTick: tick, speed: 1, isStill: true };
    const close = this.past.watch(wish, {
      welcomed: (welcome, replica) => {
        next = new Scene(welcome, replica);
      },
      updated: (update) => {
        if (next === undefined || isDone) return;
        next.updated(update, this.host.now());
        next.hold(update.tick);
        this.trouble = undefined;
        this.timeline.saw(update.tick);
        this.events.updated(update);
        this.#show(next, update.tick);
      },
      ended: (trouble) => {
        if (isDone) return;
        finish();
        if (trouble !== undefined) this.#failed(trouble, () => this.#stills.want(Math.round(this.position)));
        this.events.changed();
      },
    });
    const takeBack = this.host.after(STILL_MS_MAX, () => {
      close();
      finish();
      this.#stills.want(Math.round(this.position));
    });
    return () => {
      isDone = true;
      takeBack();
      close();
    };
  }

  #show(scene: Scene, tick: number): void {
    const isCut = this.scene === undefined || Math.abs(this.scene.shownTick - tick) > NEAR_TICKS;
    this.scene = scene;
    this.trouble = undefined;
    this.events.showed(scene, isCut);
    this.events.changed();
  }

  #showStill(tick: number): void {
    this.position = tick;
    this.#stills.cancel();
    this.#stills.want(tick);
  }

  #beginSeeking(): void {
    if (this.#isSeeking) return;
    const resumes = this.mode === "playing";
    this.#stop();
    this.#isSeeking = true;
    this.#resumes = resumes;
    this.isLive = false;
    this.trouble = undefined;
    this.mode = "paused";
  }

  #settle(): void {
    if (!this.#isSeeking) return;
    const resumes = this.#resumes;
    this.#isSeeking = false;
    // Where it stands, the latest still is there or comes.
    if (resumes) this.play();
    else this.events.changed();
  }

  #failed(trouble: Trouble, again: () => void): void {
    this.trouble = trouble;
    if (trouble.isFinal) {
      this.#stop();
      this.mode = "failed";
    } else {
      this.#later("retry", RETRY_MS, again);
    }
    this.events.changed();
  }

  #later(what: "settle" | "retry", ms: number, run: () => void): void {
    this.#timers.get(what)?.();
    this.#timers.set(what, this.host.after(ms, run));
  }

  /** Nothing is under way afterwards. */
  #stop(): void {
    for (const takeBack of this.#timers.values()) takeBack();
    this.#timers.clear();
    this.#stills.cancel();
    this.#isSeeking = false;
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.close();
  }
}

function paced(welcome: Welcome, replica: Replica, speed: number): Scene {
  const span = Math.max(1, (speed * welcome.tickRateHz) / UPDATES_PER_S_MAX);
  return new Scene(welcome, replica, { speed, span });
}
