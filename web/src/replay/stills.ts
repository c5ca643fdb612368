// Scrubbing: one still at a time is asked for, and of all that are wanted meanwhile only the latest.

export class Stills {
  #inFlight: { tick: number; close: () => void } | undefined;
  #wanted: number | undefined;

  /** `open` asks for a tick, and calls `done` once, when it came or failed; it returns what gives up. */
  constructor(readonly open: (tick: number, done: () => void) => () => void) {}

  get isBusy(): boolean {
    return this.#inFlight !== undefined;
  }

  want(tick: number): void {
    if (this.#inFlight !== undefined) {
      this.#wanted = this.#inFlight.tick === tick ? undefined : tick;
      return;
    }
    const flight = { tick, close: () => {} };
    this.#inFlight = flight;
    const close = this.open(tick, () => {
      if (this.#inFlight === flight) this.#done();
    });
    flight.close = close;
  }

  /** None is wanted any more. */
  cancel(): void {
    this.#wanted = undefined;
    const flight = this.#inFlight;
    this.#inFlight = undefined;
    flight?.close();
  }

  #done(): void {
    this.#inFlight = undefined;
    const next = this.#wanted;
    this.#wanted = undefined;
    if (next !== undefined) this.want(next);
  }
}
