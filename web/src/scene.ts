// A room as the view sees it: tracks of entities, who plays, the round, and what happened. Fed by a player's session or
// by a spectator's stream alike.

import * as arena from "./arena";
import { TickClock } from "./clock";
import type { Update, Welcome } from "./gen/fray/v1/play_pb";
import type { Entity, Motions, World } from "./net/model";
import type { Replica } from "./net/replica";
import { Track } from "./tracks";

export interface Player {
  number: number;
  ship: number;
  name: string;
  score: number;
  kills: number;
  deaths: number;
  hue: number;
  isConnected: boolean;
  isAlive: boolean;
}

export interface Round {
  number: number;
  isPlaying: boolean;
  endsTick: number;
  winner: number;
}

export interface Happening {
  what: arena.What;
  player: number;
  other: number;
  tick: number;
  x: number;
  y: number;
}

/** An entity that is no more, when the view comes to that tick. */
export interface Ending {
  track: Track;
  tick: number;
}

const decoder = new TextDecoder();

const UNSEEN_MS_MAX = 4000;
/** The picture goes back this far rather than wait, at the speed of life. */
const BACK_TICKS_MIN = 20;

/** How fast a room's time passes here, and how many ticks its updates are expected to span. */
export interface Pace {
  speed: number;
  span: number;
}

export class Scene {
  readonly clock: TickClock;
  readonly tracks = new Map<number, Track>();
  readonly players = new Map<number, Player>();
  round: Round | undefined;
  tick = 0;
  /** What the server tells this player alone. */
  privates: readonly number[] = [];
  entityCount = 0;
  readonly ownNumber: number;
  readonly ownEntity: number;
  readonly world: World;
  readonly motions: Motions;
  /** Drawn up to this tick so far. */
  shownTick = 0;
  #newestHappening = 0;
  #isFirst = true;
  #happenings: Happening[] = [];
  #endings: Ending[] = [];

  constructor(
    readonly welcome: Welcome,
    readonly replica: Replica,
    pace: Pace = { speed: 1, span: 1 },
  ) {
    this.clock = new TickClock(welcome.tickRateHz, pace.speed, pace.span);
    this.ownNumber = welcome.player;
    this.ownEntity = welcome.entity;
    this.world = replica.world;
    this.motions = replica.rules.motions;
  }

  /** The same room on another stream: what is on the screen stays there. */
  continuedBy(welcome: Welcome, replica: Replica): Scene {
    const next = new Scene(welcome, replica);
    // A room that was restored counts them again.
    if (welcome.restoredAgeMs === undefined) next.#newestHappening = this.#newestHappening;
    return next;
  }

  updated(update: Update, now: number): void {
    const tick = update.tick;
    this.clock.arrived(tick, now);
    if (update.private !== undefined) this.privates = update.private.values;
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    this.tick = tick;
    this.entityCount = 0;
    for (const entity of this.replica.entities()) {
      this.entityCount += 1;
      let track = this.tracks.get(entity.id);
      if (track === undefined || track.goneTick !== undefined) {
        const shownFrom = isFirst ? 0 : tick;
        track = new Track(entity.id, entity.kind, shownFrom, !isFirst, entity);
        this.tracks.set(entity.id, track);
      }
      track.push(tick, entity);
    }
    for (const track of this.tracks.values()) {
      if (track.newestTick !== tick && track.goneTick === undefined) {
        track.goneTick = tick;
        this.#endings.push({ track, tick });
      }
    }
    this.#readGlobals(this.replica.globals(), isFirst);
    this.#forgetUnseen(tick);
  }

  /** A hidden page shows nothing: what happened meanwhile is not kept for it. */
  #forgetUnseen(tick: number): void {
    const oldest = tick - (UNSEEN_MS_MAX / this.clock.tickMs);
    if ((this.#endings[0]?.tick ?? tick) < oldest) {
      for (const { track, tick: at } of this.#endings) if (at < oldest) this.#drop(track);
      this.#endings = this.#endings.filter((ending) => ending.tick >= oldest);
    }
    if ((this.#happenings[0]?.tick ?? tick) < oldest) {
      this.#happenings = this.#happenings.filter((happening) => happening.tick >= oldest);
    }
  }

  #drop(track: Track): void {
    // Its id may be in use again: a ship that came back.
    if (this.tracks.get(track.id) === track) this.tracks.delete(track.id);
  }

  /** To be drawn at this time: others are shown as they were then. Never goes back. */
  advance(now: number): number {
    const tick = this.clock.at(now) - this.clock.delay();
    // A clock that was set anew may be far from what was shown.
    const back = BACK_TICKS_MIN * Math.max(1, this.clock.speed);
    this.shownTick = Math.abs(tick - this.shownTick) > back ? tick : Math.max(this.shownTick, tick);
    return this.shownTick;
  }

  /** To be drawn as it was at this tick, for as long as it is not told to advance. */
  hold(tick: number): void {
    this.shownTick = tick;
  }

  /** What happened up to the tick that is shown, each once. */
  takeHappenings(): Happening[] {
    const due = this.#happenings.filter((happening) => happening.tick <= this.shownTick);
    if (due.length > 0) this.#happenings = this.#happenings.filter((happening) => happening.tick > this.shownTick);
    return due;
  }

  /** What went up to the tick that is shown, each once. */
  takeEndings(): Ending[] {
    const due = this.#endings.filter((ending) => ending.tick <= this.shownTick);
    if (due.length > 0) {
      this.#endings = this.#endings.filter((ending) => ending.tick > this.shownTick);
      for (const { track } of due) this.#drop(track);
    }
    return due;
  }

  player(number: number): Player | undefined {
    return this.players.get(number);
  }

  nameOf(number: number): string {
    return this.players.get(number)?.name ?? "somebody";
  }

  /** Best first. */
  ranking(): Player[] {
    return [...this.players.values()].sort((a, b) => b.score - a.score || b.kills - a.kills || a.number - b.number);
  }

  /** Seconds from the shown tick to another. */
  secondsTo(tick: number): number {
    return ((tick - this.shownTick) * this.clock.tickMs) / 1000;
  }

  #readGlobals(entities: readonly Entity[], isFirst: boolean): void {
    const present = new Set<number>();
    for (const { id, kind, attributes, payload } of entities) {
      const a = (index: number): number => attributes[index] ?? 0;
      if (kind === arena.KIND_PLAYER) {
        present.add(a(0));
        const name = payload === undefined ? `Pilot ${a(0)}` : decoder.decode(payload);
        const isConnected = (a(6) & arena.FLAG_CONNECTED) !== 0;
        const isAlive = (a(6) & arena.FLAG_ALIVE) !== 0;
        this.players.set(a(0), {
          number: a(0), ship: a(1) >>> 0, name, score: a(2), kills: a(3), deaths: a(4), hue: a(5), isConnected, isAlive,
        });
      } else if (kind === arena.KIND_ROUND) {
        this.round = { number: a(0), isPlaying: a(1) === 1, endsTick: a(2), winner: a(3) };
      } else if (kind === arena.KIND_HAPPENING && id > this.#newestHappening) {
        this.#newestHappening = id;
        const happening = { what: a(0), player: a(1), other: a(2), tick: a(3), x: a(4), y: a(5) };
        if (!isFirst) this.#happenings.push(happening);
      }
    }
    for (const number of this.players.keys()) if (!present.has(number)) this.#forget(number);
  }

  /** Its name is still needed to say that it left. */
  #forget(number: number): void {
    if (!this.#happenings.some((happening) => happening.player === number || happening.other === number)) {
      this.players.delete(number);
    }
  }
}
