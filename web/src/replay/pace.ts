// Whether a stream of a room that still plays keeps up with it.

/** What a stream's pace is measured over, and at most that of a room as it plays; and how near to its newest tick. */
const PACE_MS = 1200;
const PACE_OF_LIFE = 1.3;
const NEARLY_LIVE_S = 10;
/** Live and this late, and open for this long: what keeps the pace of life does not catch up by itself. */
const LATE_S_MAX = 2;
const LATE_AFTER_MS = 5000;

export class Pace {
  #mark: { tick: number; at: number } | undefined;

  constructor(
    readonly ticksPerS: number,
    readonly speed: number,
    readonly isLive: boolean,
  ) {}

  /** An update came, while the room's newest tick was thought to be that. Returns whether to go on with a live stream. */
  isToBeLive(tick: number, newest: number, now: number): boolean {
    const mark = (this.#mark ??= { tick, at: now });
    const behindS = (newest - tick) / this.ticksPerS;
    if (this.isLive) return now - mark.at > LATE_AFTER_MS && behindS > LATE_S_MAX;
    if (this.speed <= 1 || now - mark.at < PACE_MS) return false;
    this.#mark = { tick, at: now };
    // A fast one that comes no faster than life has come up with the room.
    const pace = ((tick - mark.tick) / this.ticksPerS / (now - mark.at)) * 1000;
    return pace < PACE_OF_LIFE && behindS < NEARLY_LIVE_S;
  }
}
