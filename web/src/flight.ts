// A player's flight: the session, the prediction of the own ship, and the scene that both feed.

import * as arena from "./arena";
import type { Notice, Update, Welcome } from "./gen/fray/v1/play_pb";
import type { Hands } from "./input/controls";
import { NEUTRAL, type SentMove } from "./net/moves";
import type { Replica } from "./net/replica";
import { Session, type Host, type SessionState } from "./net/session";
import { Predictor, type Pose } from "./predict";
import { Scene } from "./scene";

export interface FlightEvents {
  entered(scene: Scene, welcome: Welcome): void;
  changed(state: SessionState): void;
  noticed(notice: Notice): void;
}

export class Flight {
  readonly session: Session;
  scene: Scene | undefined;
  /** Undefined for games whose rules this page does not know: their ships are shown as the server has them. */
  predictor: Predictor | undefined;
  /** Where the own ship was drawn last. */
  drawn: Pose | undefined;
  #knowsRoundTrip = false;
  #isMoving = false;
  /** What is shown when its first update comes: until then the picture of the stream before stays. */
  #next: { scene: Scene; welcome: Welcome } | undefined;

  constructor(
    readonly host: Host,
    readonly events: FlightEvents,
  ) {
    const listener = {
      welcomed: (welcome: Welcome, replica: Replica) => this.#welcomed(welcome, replica),
      updated: (update: Update, _: Replica, acked: SentMove | undefined) => this.#updated(update, acked),
      noticed: events.noticed,
      changed: (state: SessionState) => {
        if (state.kind === "reconnecting") this.#isMoving = state.isMoving;
        events.changed(state);
      },
    };
    this.session = new Session(host, listener);
  }

  /** One frame: sends the controls, and says where the own ship is to be drawn, and at which tick. */
  fly(
    hands: Hands,
    scene: Scene,
    now: number,
    elapsedMs: number,
    toCss: (pose: Pose) => { x: number; y: number },
  ): { pose: Pose; tick: number } | undefined {
    const { predictor, session } = this;
    const controls = hands.controls(this.drawn === undefined ? undefined : toCss(this.drawn));
    const tick = scene.clock.at(now) + (predictor?.lead ?? 0);
    const move = session.steer(controls, tick);
    if (move !== undefined) hands.sent();
    if (predictor === undefined) {
      const track = scene.tracks.get(scene.ownEntity);
      if (track === undefined || track.goneTick !== undefined) return undefined;
      const out = { x: 0, y: 0, vx: 0, vy: 0, heading: 0, thrust: 0 };
      this.drawn = track.pose(scene.shownTick, scene.world, scene.motions, out);
      return { pose: this.drawn, tick: scene.shownTick };
    }
    // While the stream is away nobody flies the ship; while the room moves it is flown as it was last.
    const { state, moves } = session;
    const held = state.kind === "playing" ? controls : this.#isMoving ? moves.last : moves.applied;
    this.drawn = predictor.pose(tick, held, moves, elapsedMs);
    return this.drawn === undefined ? undefined : { pose: this.drawn, tick };
  }

  /** Lets go of the controls, also while no frames are drawn. */
  letGo(): void {
    const { scene, session, predictor } = this;
    if (scene === undefined) return;
    const tick = scene.clock.at(this.host.now()) + (predictor?.lead ?? 0);
    session.steer(NEUTRAL, tick);
  }

  #welcomed(welcome: Welcome, replica: Replica): void {
    const scene = this.scene?.continuedBy(welcome, replica) ?? new Scene(welcome, replica);
    if (this.scene === undefined) this.#enter(scene, welcome);
    else this.#next = { scene, welcome };
  }

  #enter(scene: Scene, welcome: Welcome): void {
    this.#next = undefined;
    this.scene = scene;
    const isKnown = welcome.game === arena.GAME || welcome.room?.game === arena.GAME;
    const { tickMs } = this.scene.clock;
    const before = this.predictor;
    if (this.#isMoving && welcome.restoredAgeMs === undefined && before !== undefined) before.continueFrom(this.drawn);
    else if (isKnown && arena.SIM_VERSIONS.includes(welcome.simVersion)) {
      const motion = scene.motions.of(arena.KIND_SHIP);
      this.predictor = new Predictor(motion, scene.world, tickMs);
      this.predictor.corrections = before?.corrections ?? 0;
      this.#knowsRoundTrip = false;
    }
    this.#isMoving = false;
    this.events.entered(this.scene, welcome);
  }

  #updated(update: Update, acked: SentMove | undefined): void {
    if (this.#next !== undefined) this.#enter(this.#next.scene, this.#next.welcome);
    const { scene, session, predictor } = this;
    if (scene === undefined) return;
    const now = this.host.now();
    const span = update.tick - (scene.tick === 0 ? update.tick - 1 : scene.tick);
    scene.updated(update, now);
    if (predictor === undefined) return;
    if (!this.#knowsRoundTrip && session.traffic.ping !== undefined) {
      this.#knowsRoundTrip = true;
      predictor.assumeRoundTrip(session.traffic.ping);
    }
    if (acked !== undefined) predictor.learn(acked, update.tick, span, update.moveAck?.arrivalMarginMs ?? 0);
    predictor.reconcile(scene.replica.entity(scene.ownEntity), update.tick, session.moves);
  }
}
