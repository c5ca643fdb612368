// What the arena's numbers mean; the table is in server/src/game/arena/mod.rs.

export const KIND_SHIP = 1;
export const KIND_SHOT = 2;
export const KIND_ROCK = 3;
export const KIND_PICKUP = 4;
export const KIND_PLAYER = 16;
export const KIND_ROUND = 17;
export const KIND_HAPPENING = 18;

export const BUTTON_FIRE = 1;

export const HULL_MAX = 100;
/** Heat at which the gun stops, ms; a shot's heat. */
export const HEAT_MAX_MS = 2400;

export const SHIP_RADIUS = 14;

export const FLAG_PROTECTED = 1;
export const FLAG_SHIELD = 2;
export const FLAG_RAPID = 4;

export const FLAG_CONNECTED = 1;
export const FLAG_ALIVE = 2;

/** Rules whose motion is the shared model and nothing else. */
export const GAME = "arena";
export const SIM_VERSIONS = [1];

export enum What {
  Kill = 1,
  Pickup = 2,
  Joined = 3,
  Left = 4,
  RoundBegan = 5,
  RoundEnded = 6,
}

export const PICKUP_NAMES: Record<number, string> = { 1: "repair", 2: "shield", 3: "rapid fire" };
