// Listens to keyboard, mouse and pad, and tells the hands.

import type { Hands, Key } from "./controls";

const KEYS: Record<string, Key> = {
  KeyW: "forward",
  ArrowUp: "forward",
  KeyS: "back",
  ArrowDown: "back",
  KeyA: "left",
  ArrowLeft: "left",
  KeyD: "right",
  ArrowRight: "right",
  Space: "fire",
};

/** What keys do besides steering; by `KeyboardEvent.key`, in lower case. */
export type Shortcuts = Record<string, () => void>;

function isTyping(event: Event): boolean {
  const target = event.target;
  return target instanceof HTMLElement && target.closest("input, textarea, select, dialog[open]") !== null;
}

export function listenToKeys(hands: Hands, isFlying: () => boolean, shortcuts: Shortcuts): void {
  addEventListener("keydown", (event) => {
    if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    const shortcut = shortcuts[event.key.toLowerCase()];
    if (shortcut !== undefined && !event.repeat) shortcut();
    const key = KEYS[event.code];
    if (key === undefined || !isFlying()) return;
    // A focused button is not to be clicked by firing.
    event.preventDefault();
    if (event.repeat) return;
    if (key === "left" || key === "right") hands.pointer = undefined;
    if (key === "fire") hands.pressFire();
    hands.keys.add(key);
  });
  addEventListener("keyup", (event) => {
    const key = KEYS[event.code];
    if (key !== undefined) hands.keys.delete(key);
  });
  addEventListener("blur", () => hands.release());
}

export function listenToMouse(hands: Hands, picture: HTMLElement): void {
  picture.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch" && (event.movementX !== 0 || event.movementY !== 0)) {
      hands.pointer = { x: event.clientX, y: event.clientY };
    }
  });
  const press = (event: PointerEvent, isDown: boolean): void => {
    if (event.pointerType === "touch") return;
    if (event.button === 0) hands.isPointerFiring = isDown;
    if (event.button === 2) hands.isPointerThrusting = isDown;
    if (event.button === 0 && isDown) hands.pressFire();
  };
  picture.addEventListener("pointerdown", (event) => press(event, true));
  addEventListener("pointerup", (event) => press(event, false));
  picture.addEventListener("contextmenu", (event) => event.preventDefault());
}

const DEAD_ZONE = 0.25;

/** Pads are asked, once a frame: left stick points, A or the right trigger fires, the left trigger or B thrusts. */
export function readPad(hands: Hands): void {
  const pad = navigator.getGamepads?.().find((candidate) => candidate?.connected === true && candidate.axes.length >= 2);
  if (pad === undefined || pad === null) {
    hands.pad = undefined;
    return;
  }
  const [x = 0, y = 0] = pad.axes;
  const down = (button: number): boolean => pad.buttons[button]?.pressed === true;
  const isOut = Math.hypot(x, y) > DEAD_ZONE;
  hands.pad = {
    stick: isOut ? { x, y } : undefined,
    thrust: down(6) || down(1) ? 1 : 0,
    isFiring: down(0) || down(7),
  };
}
