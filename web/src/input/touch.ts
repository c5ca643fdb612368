// Thumbs: the left half of the picture is a stick wherever it is touched first, the right half fires.

import type { Hands } from "./controls";

const REACH = 56;

/** What the view draws of it, in CSS pixels. */
export interface ThumbView {
  origin: { x: number; y: number };
  at: { x: number; y: number };
}

export class Touch {
  thumb: ThumbView | undefined;
  fire: { x: number; y: number } | undefined;
  /** Whether this screen was ever touched. */
  isUsed = false;
  #stickId: number | undefined;
  #fireId: number | undefined;

  constructor(
    readonly hands: Hands,
    picture: HTMLElement,
  ) {
    picture.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") this.#down(event, picture);
    });
    picture.addEventListener("pointermove", (event) => {
      if (event.pointerId === this.#stickId) this.#move(event);
    });
    for (const kind of ["pointerup", "pointercancel"] as const) {
      addEventListener(kind, (event) => this.#up(event));
    }
    // No scrolling, no zooming by double tap while flying.
    picture.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  }

  #down(event: PointerEvent, picture: HTMLElement): void {
    this.isUsed = true;
    this.hands.pointer = undefined;
    if (event.clientX < picture.clientWidth / 2 && this.#stickId === undefined) {
      this.#stickId = event.pointerId;
      const at = { x: event.clientX, y: event.clientY };
      this.thumb = { origin: at, at };
    } else {
      this.#fireId = event.pointerId;
      this.fire = { x: event.clientX, y: event.clientY };
      this.hands.isThumbFiring = true;
      this.hands.pressFire();
    }
  }

  #move(event: PointerEvent): void {
    if (this.thumb === undefined) return;
    const { origin } = this.thumb;
    const [x, y] = [event.clientX - origin.x, event.clientY - origin.y];
    const length = Math.hypot(x, y);
    const scale = length > REACH ? REACH / length : 1;
    this.thumb.at = { x: origin.x + x * scale, y: origin.y + y * scale };
    this.hands.stick = length < 6 ? undefined : { x: (x * scale) / REACH, y: (y * scale) / REACH };
  }

  #up(event: PointerEvent): void {
    if (event.pointerId === this.#stickId) {
      this.#stickId = undefined;
      this.thumb = undefined;
      this.hands.stick = undefined;
    }
    if (event.pointerId === this.#fireId) {
      this.#fireId = undefined;
      this.fire = undefined;
      this.hands.isThumbFiring = false;
    }
  }
}
