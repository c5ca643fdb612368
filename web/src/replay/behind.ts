// What plays behind the list: the fullest room, if there is one.

import { Doors } from "../net/doors";
import { Scene } from "../scene";

export class Behind {
  scene: Scene | undefined;
  #stop: (() => void) | undefined;

  constructor(
    readonly doors: Doors,
    /** Another room, or the same anew. */
    readonly cut: () => void,
  ) {}

  /** Nobody looks: nothing is asked for. */
  show(isShown: boolean): void {
    if (isShown === (this.#stop !== undefined)) return;
    this.#stop?.();
    this.#stop = undefined;
    this.scene = undefined;
    if (!isShown) return;
    this.#stop = this.doors.watch("", {
      welcomed: (welcome, replica) => {
        this.scene = new Scene(welcome, replica);
        this.cut();
      },
      updated: (update) => this.scene?.updated(update, performance.now()),
      noticed: () => {},
      failed: () => {},
    });
  }
}
