// From keys, mouse, touch and pad to the controls of a move. Whatever was used last steers.

import { BUTTON_FIRE } from "../arena";
import { NEUTRAL, type Controls } from "../net/moves";

/** Aims are sent in steps of this many 65536ths of a turn: finer ones would only cost moves. */
const AIM_STEP = 256;

export interface Stick {
  /** Where the thumb points, each -1 to 1. */
  x: number;
  y: number;
}

/** What all devices report into. */
export class Hands {
  readonly keys = new Set<Key>();
  /** The pointer in the picture, in CSS pixels; undefined while the mouse does not steer. */
  pointer: { x: number; y: number } | undefined;
  isPointerFiring = false;
  isPointerThrusting = false;
  stick: Stick | undefined;
  isThumbFiring = false;
  pad: { stick: Stick | undefined; thrust: number; isFiring: boolean } | undefined;
  /** Pressed since the controls were last taken: a short press is not lost between two moves. */
  #pressedFire = false;
  #last: Controls = NEUTRAL;

  pressFire(): void {
    this.#pressedFire = true;
  }

  /** Lets go of everything, as when the page loses the focus. */
  release(): void {
    this.keys.clear();
    this.isPointerFiring = this.isPointerThrusting = this.isThumbFiring = false;
    this.stick = undefined;
  }

  /** `ship` is where the own ship is drawn, in CSS pixels. The same object as long as nothing changes. */
  controls(ship: { x: number; y: number } | undefined): Controls {
    const next = this.#read(ship);
    const last = this.#last;
    const isSame =
      next.axisX === last.axisX && next.axisY === last.axisY && next.aim === last.aim && next.buttons === last.buttons;
    if (!isSame) this.#last = next;
    return this.#last;
  }

  /** The controls were sent. */
  sent(): void {
    this.#pressedFire = false;
  }

  #read(ship: { x: number; y: number } | undefined): Controls {
    const has = (key: Key): number => (this.keys.has(key) ? 1 : 0);
    let axisX = 127 * (has("right") - has("left"));
    let axisY = 127 * (has("forward") - has("back"));
    let aim: number | undefined;
    const thumb = this.stick ?? this.pad?.stick;
    if (thumb !== undefined) {
      const reach = Math.min(1, Math.hypot(thumb.x, thumb.y));
      aim = heading(thumb.x, thumb.y);
      // The first third only turns.
      axisY ||= Math.round(127 * Math.max(0, (reach - 0.33) / 0.67));
    } else if (axisX === 0 && this.pointer !== undefined && ship !== undefined) {
      const [x, y] = [this.pointer.x - ship.x, this.pointer.y - ship.y];
      if (Math.hypot(x, y) > 12) aim = heading(x, y);
      else aim = this.#last.aim;
    }
    if (this.isPointerThrusting) axisY = 127;
    if (this.pad !== undefined && this.pad.thrust !== 0) axisY = Math.round(127 * this.pad.thrust);
    if (aim !== undefined) axisX = 0;
    const isFiring =
      has("fire") === 1 || this.isPointerFiring || this.isThumbFiring || this.#pressedFire || this.pad?.isFiring === true;
    return { axisX, axisY, aim, buttons: isFiring ? BUTTON_FIRE : 0 };
  }
}

export type Key = "left" | "right" | "forward" | "back" | "fire";

function heading(x: number, y: number): number {
  const turns = Math.atan2(y, x) / (2 * Math.PI);
  return ((Math.round((turns * 65536) / AIM_STEP) * AIM_STEP) % 65536 + 65536) % 65536;
}
