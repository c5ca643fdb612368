// Which tick it is: from when updates come, ticks as a number that grows smoothly with time.

/** A late update says that the network was slow, not that the server's clock is: it moves the estimate this little. */
const LATE_WEIGHT = 1 / 32;
/** An early one proves that the estimate was too late. */
const EARLY_WEIGHT = 1 / 4;
const JITTER_WEIGHT = 1 / 16;
/** The most ticks that an update is taken to span, at the speed of life: more means that the page slept. */
const SPAN_TICKS_MAX = 20;
/** Further off than this many ticks, again and again: the clock was set anew (another owner of the room, a long sleep). */
const LOST_TICKS = 12;
const LOST_TIMES = 3;

export class TickClock {
  /** Mean lateness of updates, ms. */
  jitterMs = 0;
  /** Ticks that an update spans, smoothed: 1 when nothing is skipped. */
  span: number;
  /** How long a tick is in the game. */
  readonly tickMs: number;
  /** How long it takes here: shorter where the past is shown faster than it was. */
  readonly #paceMs: number;
  /** When tick 0 would have come. */
  #zeroAt: number | undefined;
  #newest = 0;
  #lost = 0;

  /** `span` is what to expect of the updates, in ticks, until some came. */
  constructor(
    tickRateHz: number,
    readonly speed = 1,
    span = 1,
  ) {
    this.tickMs = 1000 / Math.max(1, tickRateHz);
    this.#paceMs = this.tickMs / speed;
    this.span = span;
  }

  /** An update came that leads to this tick. */
  arrived(tick: number, at: number): void {
    const zeroAt = at - tick * this.#paceMs;
    if (this.#newest > 0 && tick > this.#newest) {
      const most = SPAN_TICKS_MAX * Math.max(1, this.speed);
      this.span += (Math.min(most, tick - this.#newest) - this.span) / 8;
    }
    this.#newest = tick;
    if (this.#zeroAt === undefined) {
      this.#zeroAt = zeroAt;
      return;
    }
    const late = zeroAt - this.#zeroAt;
    this.#lost = Math.abs(late) > LOST_TICKS * this.tickMs ? this.#lost + 1 : 0;
    if (this.#lost >= LOST_TIMES) {
      this.#zeroAt = zeroAt;
      this.#lost = 0;
      return;
    }
    if (this.#lost > 0) return;
    this.#zeroAt += late * (late < 0 ? EARLY_WEIGHT : LATE_WEIGHT);
    this.jitterMs += (Math.abs(late) - this.jitterMs) * JITTER_WEIGHT;
  }

  /** The tick whose update should just have come, with its fraction. */
  at(now: number): number {
    return this.#zeroAt === undefined ? 0 : (now - this.#zeroAt) / this.#paceMs;
  }

  /** How many ticks in the past others are to be drawn so that there is always an update to draw from. */
  delay(): number {
    return this.span + Math.min(this.tickMs, 2 * this.jitterMs) / this.#paceMs;
  }
}
